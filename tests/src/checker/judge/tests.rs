//! Hand-made histories, and what the judge must say of them.

use std::time::Duration;

use super::{Kind, Phase, judge};
use crate::checker::{
    cursor::Cursor,
    evidence,
    history::{Answer, Attempt, Breakage, Effect, History, Log, Name, Sighting, Update, What},
    interest::{Interest, Matcher},
    subscriber::{Habit, LEFT},
};

fn name(number: u32) -> Name {
    Name { publisher: 1, number }
}

fn id(text: &str) -> Cursor {
    Cursor::parse(text).expect("an id")
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

fn saw(number: u32, at: &str) -> What {
    What::Update(name(number), id(at))
}

fn heartbeat(at: &str) -> What {
    What::Heartbeat(id(at))
}

fn gap(topics: &[&str], oldest: &str) -> What {
    What::Gap { id: None, topics: texts(topics), oldest: id(oldest) }
}

fn opened(after: &str, header: &str) -> What {
    let node = ([127, 0, 0, 1], 1).into();
    What::Opened { node, after: Some(after.to_owned()), header: Some(header.to_owned()) }
}

/// The updates 1, 2, … on topic `a`, acknowledged at these ids; an empty one was never acknowledged.
fn published(ids: &[&str]) -> History {
    let mut history = History::default();
    for (number, id) in (1..).zip(ids) {
        publish(&mut history, number, &["a"], id);
    }
    history
}

fn publish(history: &mut History, number: u32, topics: &[&str], id: &str) {
    let answer = match id {
        "" => Answer::Unknown("no answer".to_owned()),
        id => Answer::Acknowledged((*id).to_owned()),
    };
    let node = ([127, 0, 0, 1], 1).into();
    let attempt = Attempt { begun: Duration::ZERO, ended: Duration::ZERO, node, answer };
    let (topics, attempts) = (texts(topics), vec![attempt]);
    history.updates.insert(name(number), Update { topics, private: false, begun: Duration::ZERO, attempts });
}

/// A subscriber of these topics that saw this.
fn reader(mut history: History, topics: &[&str], what: Vec<What>) -> History {
    let sightings = what.into_iter().enumerate();
    let sightings = sightings.map(|(at, what)| Sighting { at: Duration::from_millis(at as u64), what });
    let interest = Interest {
        matchers: topics.iter().map(|topic| Matcher::Exact((*topic).to_owned())).collect(),
        grants: Vec::new(),
    };
    history.logs.push(Log { interest, habit: Habit::Steady, sightings: sightings.collect() });
    history
}

/// Something was broken in the first ten seconds.
fn broken(mut history: History, effect: Effect) -> History {
    let text = "a nemesis".to_owned();
    let (from, to) = (Duration::ZERO, Duration::from_secs(10));
    history.breakages.push(Breakage { from, to, text, node: None, effect });
    history
}

#[track_caller]
fn check(history: &History, expected: &[Kind]) {
    let verdict = judge(history, Phase::Final);
    let kinds: Vec<Kind> = verdict.violations.iter().map(|violation| violation.kind).collect();
    assert_eq!(kinds, expected, "{:#?}", verdict.violations);
    for violation in &verdict.violations {
        let evidence = evidence::of(history, violation);
        assert_eq!(evidence.is_empty(), violation.updates.is_empty() && violation.places.is_empty());
        assert!(evidence.len() <= 14, "the shortest history: {evidence:#?}");
    }
}

#[test]
fn what_is_complete_and_in_order_is_clean() {
    let all = || vec![saw(1, "#10"), heartbeat("#10"), opened("#10", "#10"), saw(2, "#20"), heartbeat("#25")];
    check(&reader(reader(published(&["#10", "#20"]), &["a"], all()), &["a"], all()), &[]);
}

#[test]
fn an_update_that_never_came_is_lost() {
    let history = reader(published(&["#10", "#20", "#30"]), &["a"], vec![saw(1, "#10"), saw(3, "#30")]);
    check(&history, &[Kind::Lost]);
    let violation = judge(&history, Phase::Final).violations.remove(0);
    assert_eq!(violation.places, [(0, 0), (0, 1)], "what stands before and after it");
    check(&reader(published(&["#10"]), &["a"], Vec::new()), &[Kind::Lost]);
    // Somebody else's topic.
    check(&reader(published(&["#10"]), &["b"], Vec::new()), &[]);
}

#[test]
fn while_a_run_goes_on_only_what_was_passed_over_is_lost() {
    let kinds = |what| {
        let verdict = judge(&reader(published(&["#10", "#20"]), &["a"], what), Phase::Underway);
        verdict.violations.iter().map(|violation| violation.kind).collect::<Vec<_>>()
    };
    assert_eq!(kinds(vec![saw(1, "#10")]), [], "the second may still come");
    assert_eq!(kinds(vec![saw(2, "#20")]), [Kind::Lost], "the first cannot come any more");
    assert_eq!(kinds(vec![saw(1, "#10"), heartbeat("#20")]), [Kind::Lost], "so says the heartbeat");
}

#[test]
fn an_update_that_came_twice_is_a_duplicate() {
    let twice = |again: &str| vec![saw(1, "#10"), opened("#9", "#9"), saw(1, again)];
    let history = reader(published(&["#10"]), &["a"], twice("#10"));
    check(&history, &[Kind::Order, Kind::Duplicate]);
    check(&reader(published(&["#10"]), &["a"], twice("#11")), &[Kind::Duplicate, Kind::Phantom]);
}

#[test]
fn what_redis_forgot_before_it_was_acknowledged_may_come_again_after_a_failover() {
    let history = |effect, repeated: bool| {
        let mut history = reader(published(&["#20"]), &["a"], vec![saw(1, "#10"), saw(1, "#20")]);
        let update = history.updates.get_mut(&name(1)).expect("it was published");
        let first = Attempt { answer: Answer::Unknown("died".to_owned()), ..update.attempts[0].clone() };
        update.attempts.splice(0..0, repeated.then_some(first));
        broken(history, effect)
    };
    check(&history(Effect::Forgets, true), &[]);
    assert_eq!(judge(&history(Effect::Forgets, true), Phase::Final).forgotten, 1);
    check(&history(Effect::Nothing, true), &[Kind::Duplicate, Kind::Phantom]);
    check(&history(Effect::Forgets, false), &[Kind::Duplicate, Kind::Phantom]);
}

#[test]
fn ids_only_grow() {
    let history = published(&["#10", "#20"]);
    check(&reader(history.clone(), &["a"], vec![saw(2, "#20"), saw(1, "#10")]), &[Kind::Order]);
    check(&reader(history, &["a"], vec![saw(1, "#10"), heartbeat("#30"), saw(2, "#20")]), &[Kind::Order]);
}

#[test]
fn two_subscribers_see_a_topic_in_one_order_whatever_their_ids_say() {
    let history = || published(&["#64:10", "#64:20", ""]);
    let one = vec![saw(1, "#64:10"), saw(2, "#64:20")];
    let other = vec![saw(2, "#64:10,1+5"), saw(1, "#64:10,1+6"), saw(3, "#64:10,1+7")];
    check(&reader(reader(history(), &["a"], one.clone()), &["a", "b"], other), &[Kind::Order]);
    check(&reader(reader(history(), &["a"], one.clone()), &["a"], one), &[]);
}

#[test]
fn an_update_of_two_topics_is_in_order_with_the_first_that_is_asked_for() {
    let mut history = History::default();
    publish(&mut history, 1, &["a", "b"], "#64:10");
    publish(&mut history, 2, &["b"], "#64:15");
    let through_b = vec![saw(1, "#64:12"), saw(2, "#64:15")];
    let through_a = vec![saw(2, "#64:5,2+10"), saw(1, "#64:10,2+5")];
    check(&reader(reader(history, &["b"], through_b), &["a", "b"], through_a), &[]);
}

#[test]
fn what_nobody_published_is_a_phantom() {
    check(&reader(published(&[]), &["a"], vec![saw(1, "#10")]), &[Kind::Phantom]);
    check(&reader(published(&["#10"]), &["a"], vec![saw(1, "#11")]), &[Kind::Phantom]);
    let strange = vec![What::Strange("an event".to_owned())];
    check(&reader(published(&[]), &["a"], strange), &[Kind::Phantom]);
    // Never acknowledged, and seen or not: both are right.
    check(&reader(published(&[""]), &["a"], vec![saw(1, "#10")]), &[]);
    check(&reader(published(&[""]), &["a"], Vec::new()), &[]);
}

#[test]
fn what_is_not_for_a_subscriber_is_a_leak() {
    let mut history = reader(published(&["#10"]), &["b"], vec![saw(1, "#10")]);
    check(&history, &[Kind::Leak]);
    history = reader(published(&["#10"]), &["a"], vec![saw(1, "#10")]);
    history.updates.get_mut(&name(1)).expect("it was published").private = true;
    check(&history, &[Kind::Leak]);
    history.logs[0].interest.grants = vec![Matcher::All];
    check(&history, &[]);
    history.logs[0].sightings.clear();
    check(&history, &[Kind::Lost]);
}

#[test]
fn a_gap_excuses_what_lies_in_it() {
    let with_gap = |topics: &[&str], oldest: &str| {
        let what = vec![saw(1, "#10"), gap(topics, oldest), saw(3, "#30")];
        broken(reader(published(&["#10", "#20", "#30"]), &["a"], what), Effect::Loses)
    };
    check(&with_gap(&["a"], "#25"), &[]);
    assert_eq!(judge(&with_gap(&["a"], "#25"), Phase::Final).excused, 1);
    check(&with_gap(&["b"], "#25"), &[Kind::FalseGap, Kind::Lost]);
    check(&with_gap(&[], "#25"), &[Kind::FalseGap, Kind::Lost]);
    check(&with_gap(&["a"], "#20"), &[Kind::Lost]);
    check(&with_gap(&["a"], "#15"), &[Kind::Lost]);
}

#[test]
fn a_gap_needs_a_loss() {
    let what = || vec![saw(1, "#10"), gap(&["a"], "#25"), saw(2, "#30")];
    let history = || reader(published(&["#10", "#30"]), &["a"], what());
    check(&history(), &[Kind::FalseGap]);
    check(&broken(history(), Effect::Forgets), &[Kind::FalseGap]);
    check(&broken(history(), Effect::Loses), &[]);
    let mut later = broken(history(), Effect::Loses);
    later.breakages[0].from = Duration::from_secs(5);
    check(&later, &[Kind::FalseGap]);
    let backwards = vec![saw(1, "#10"), gap(&["a"], "#5"), saw(2, "#30")];
    check(&broken(reader(published(&["#10", "#30"]), &["a"], backwards), Effect::Loses), &[Kind::FalseGap]);
}

#[test]
fn an_answer_that_does_not_know_the_id_is_a_gap_too() {
    let history = || reader(published(&["#10"]), &["a"], vec![saw(1, "#10"), opened("#10", "earliest")]);
    check(&history(), &[Kind::FalseGap]);
    check(&broken(history(), Effect::Loses), &[]);
    let then = |what: Vec<What>| {
        let what = [vec![saw(1, "#10"), opened("#10", "earliest")], what].concat();
        broken(reader(published(&["#10", "#20"]), &["a"], what), Effect::Loses)
    };
    check(&then(vec![heartbeat("#10"), saw(2, "#20")]), &[Kind::SilentGap]);
    check(&then(vec![gap(&["a"], "#15"), saw(2, "#20")]), &[]);
}

#[test]
fn a_stream_ends_with_its_node_or_its_reader_only() {
    let history = |what| reader(published(&[]), &["a"], what);
    let ended = || vec![opened("#10", "#10"), What::Ended("closed".to_owned())];
    check(&history(ended()), &[Kind::Dropped]);
    check(&broken(history(ended()), Effect::Nothing), &[Kind::Dropped]);
    let mut killed = broken(history(ended()), Effect::Nothing);
    killed.breakages[0].node = Some(([127, 0, 0, 1], 1).into());
    check(&killed, &[]);
    let stalled = What::Stalled(Duration::from_secs(1));
    check(&history([vec![stalled], ended()].concat()), &[]);
    check(&history(vec![opened("#10", "#10"), What::Ended(LEFT.to_owned())]), &[]);
    let mut restless = history(ended());
    restless.logs[0].habit = Habit::Restless(Duration::from_secs(1));
    check(&restless, &[]);
}

#[test]
fn an_accident_and_a_refusal_are_violations() {
    let mut history = published(&["#10"]);
    history.accidents.push("a node panicked".to_owned());
    let update = history.updates.get_mut(&name(1)).expect("it was published");
    update.attempts[0].answer = Answer::Refused("status 400".to_owned());
    check(&history, &[Kind::Refusal, Kind::Accident]);
}
