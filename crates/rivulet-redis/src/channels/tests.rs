//! What is wanted, confirmed and given up, step by step.

use super::*;

fn topic(name: &str) -> Interest {
    Interest::Topic(Topic::parse(name).unwrap())
}

fn position(micros: u64) -> Position {
    Position::from_micros(micros)
}

#[test]
fn an_interest_is_subscribed_once_and_unsubscribed_after_its_last_holder() {
    let channels = Channels::default();
    let a = topic("a");
    channels.retain(&a);
    channels.retain(&a);
    assert_eq!(channels.take_wanted(10), std::slice::from_ref(&a));
    assert!(channels.take_wanted(10).is_empty());
    channels.release(&a);
    let later = Instant::now() + LINGER * 2;
    assert!(channels.take_unwanted(later, 10).is_empty());
    channels.release(&a);
    assert!(channels.take_unwanted(Instant::now(), 10).is_empty());
    assert_eq!(channels.take_unwanted(later, 10), [a]);
    assert!(channels.lingers_until().is_none());
}

#[test]
fn an_interest_that_is_held_again_stays() {
    let channels = Channels::default();
    let a = topic("a");
    channels.retain(&a);
    channels.take_wanted(10);
    channels.release(&a);
    channels.retain(&a);
    assert!(channels.take_unwanted(Instant::now() + LINGER * 2, 10).is_empty());
}

#[test]
fn of_too_many_that_linger_the_oldest_go_at_once() {
    let channels = Channels::default();
    let interests: Vec<_> = (0..LINGERING_MAX + 3).map(|n| topic(&n.to_string())).collect();
    interests.iter().for_each(|interest| channels.retain(interest));
    channels.take_wanted(usize::MAX);
    interests.iter().for_each(|interest| channels.release(interest));
    // Held again, it stays, and lingers no more.
    channels.retain(&interests[1]);
    assert_eq!(channels.take_unwanted(Instant::now(), 10), [interests[0].clone(), interests[2].clone()]);
    assert!(channels.take_unwanted(Instant::now(), 10).is_empty());
    let left = channels.take_unwanted(Instant::now() + LINGER * 2, usize::MAX);
    assert_eq!(left, interests[3..]);
}

#[test]
fn what_had_to_go_before_it_was_subscribed_and_is_held_again_is_confirmed() {
    let channels = Channels::default();
    let interests: Vec<_> = (0..=LINGERING_MAX).map(|n| topic(&n.to_string())).collect();
    interests.iter().for_each(|interest| channels.retain(interest));
    interests.iter().for_each(|interest| channels.release(interest));
    let first = &interests[..1];
    assert_eq!(channels.take_unwanted(Instant::now(), 10), first);
    channels.retain(&first[0]);
    assert!(channels.take_wanted(usize::MAX).contains(&first[0]));
    let Confirmation::Wait(mut waiting) = channels.confirmation(&first[0]) else {
        panic!("confirmed too early")
    };
    channels.confirm(first, position(7));
    assert_eq!(waiting.try_recv(), Ok(position(7)));
}

#[test]
fn who_waits_is_told_the_position() {
    let channels = Channels::default();
    let a = topic("a");
    assert!(matches!(channels.confirmation(&a), Confirmation::NotRetained));
    channels.retain(&a);
    let Confirmation::Wait(mut waiting) = channels.confirmation(&a) else { panic!("confirmed too early") };
    channels.confirm(std::slice::from_ref(&a), position(7));
    assert_eq!(waiting.try_recv(), Ok(position(7)));
    assert!(channels.0.lock().waiting.is_empty());
    channels.begin(&Arc::default());
    assert!(matches!(channels.confirmation(&a), Confirmation::Since(since) if since == position(7)));
    assert_eq!(channels.take_wanted(10), [a]);
}

#[test]
fn a_break_forgets_what_nobody_holds_and_who_gave_up() {
    let channels = Channels::default();
    let (a, b) = (topic("a"), topic("b"));
    for interest in [&a, &b] {
        channels.retain(interest);
        // Nobody waits any more.
        assert!(matches!(channels.confirmation(interest), Confirmation::Wait(_)));
    }
    channels.release(&b);
    channels.begin(&Arc::default());
    assert_eq!(channels.wanted_len(), 1);
    assert_eq!(channels.0.lock().entries.len(), 1);
    assert!(channels.0.lock().waiting.is_empty());
}

#[test]
fn what_was_wanted_first_is_taken_first() {
    let channels = Channels::default();
    let interests = ["a", "b", "c"].map(topic);
    interests.iter().for_each(|interest| channels.retain(interest));
    assert_eq!(channels.take_wanted(2), interests[..2]);
    assert_eq!(channels.take_wanted(2), interests[2..]);
}

#[test]
fn what_is_let_go_during_a_break_and_held_again_is_subscribed_again() {
    let channels = Channels::default();
    let a = topic("a");
    channels.retain(&a);
    assert_eq!(channels.take_wanted(10), std::slice::from_ref(&a));
    channels.confirm(std::slice::from_ref(&a), position(7));
    channels.begin(&Arc::default());
    channels.release(&a);
    let mut taken = channels.take_wanted(10);
    channels.retain(&a);
    taken.extend(channels.take_wanted(10));
    assert!(taken.contains(&a), "it answers as confirmed, so its channel has to be subscribed");
}

#[test]
fn the_chain_shows_what_did_not_arrive() {
    let channels = Channels::default();
    let a = topic("a");
    channels.retain(&a);
    channels.confirm(&[a], position(10));
    let topics = [Topic::parse("b").unwrap(), Topic::parse("a").unwrap()];
    let check = |previous: u64, verified: u64, expected: bool| {
        let update = AnnouncedUpdate {
            position: position(50),
            previous: position(40),
            previous_of_topics: smallvec::smallvec![position(30), position(previous)],
            envelope: bytes::Bytes::new(),
        };
        let missing = channels.missing(&update, &topics, position(verified));
        assert_eq!(missing, expected.then(|| position(previous)), "{previous} {verified}");
    };
    check(0, 5, false);
    check(10, 5, false);
    check(11, 5, true);
    check(11, 11, false);
    channels.delivered(position(20), &topics);
    check(20, 5, false);
    check(21, 5, true);
}

#[test]
fn the_maps_shrink_again() {
    let channels = Channels::default();
    let interests: Vec<_> = (0..10_000).map(|n| topic(&n.to_string())).collect();
    interests.iter().for_each(|interest| channels.retain(interest));
    assert_eq!(channels.take_wanted(usize::MAX).len(), 10_000);
    interests.iter().for_each(|interest| channels.release(interest));
    assert_eq!(channels.take_unwanted(Instant::now() + LINGER * 2, usize::MAX).len(), 10_000);
    let state = channels.0.lock();
    assert!(state.entries.capacity() <= CAPACITY_MIN && state.lingering.capacity() <= CAPACITY_MIN);
    assert_eq!(state.wanted.capacity(), 0);
}

#[test]
fn a_topic_costs_less_than_two_hundred_bytes() {
    assert!(size_of::<(Interest, Entry)>() <= 48, "{}", size_of::<(Interest, Entry)>());
}
