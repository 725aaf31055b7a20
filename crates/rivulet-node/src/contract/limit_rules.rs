//! Rules of limits and kicks.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rivulet_core::{IdempotencyKey, Position};

use super::{
    Hub, Kept, Member,
    probe::{append, eventually, interest, read, topics, update},
};
use crate::{
    AdmitError, AppendError, FeedEvent, KickReport, KickTarget, Limit, Pace, Permit, Quota, Rate, Refused,
    Scope, Transport, Wanted, WhenAway,
};

fn quota(limit: Limit, scope: &str, max: u32) -> Quota {
    Quota { limit, scope: Scope::new(scope), max, is_of_token: false, when_away: WhenAway::Closed }
}

fn rate(limit: Limit, scope: &str, pace: Pace) -> Rate {
    Rate { limit, scope: Scope::new(scope), pace, when_away: WhenAway::Closed }
}

/// So many at once, and then none for hours.
fn once_a_day(burst: u32) -> Pace {
    Pace { count: 1, period: Duration::from_secs(86400), burst }
}

fn of_quotas(quotas: &[Quota]) -> Wanted {
    Wanted { quotas: quotas.to_vec(), rates: Vec::new() }
}

fn of_rates(rates: &[Rate]) -> Wanted {
    Wanted { quotas: Vec::new(), rates: rates.to_vec() }
}

async fn admitted(member: &Member, wanted: &Wanted) -> Permit {
    member.transport.admit(wanted.clone()).await.expect("there is a place")
}

async fn refused(member: &Member, wanted: &Wanted) -> Refused {
    match member.transport.admit(wanted.clone()).await {
        Err(AdmitError::Refused(refused)) => *refused,
        other => panic!("{wanted:?} must be refused: {other:?}"),
    }
}

fn ends(members: &[Member]) -> [&Member; 2] {
    [&members[0], members.last().expect("a hub has a node")]
}

/// Asks for so many places at the same time, on all nodes; answers the permits of those who got one.
async fn storm(members: &[Member], wanted: &Wanted, len: usize) -> Vec<Permit> {
    let asking: Vec<_> = (0..len)
        .map(|n| {
            let (transport, wanted) = (members[n % members.len()].transport.clone(), wanted.clone());
            tokio::spawn(async move { transport.admit(wanted).await })
        })
        .collect();
    let mut permits = Vec::new();
    for asked in asking {
        match asked.await.expect("an admission does not panic") {
            Ok(permit) => permits.push(permit),
            Err(AdmitError::Refused(refused)) => {
                let quota = &wanted.quotas[0];
                assert_eq!(*refused, Refused::full(quota), "who is refused is told by which limit");
            }
            Err(error) => panic!("the transport must count: {error}"),
        }
    }
    permits
}

/// However many ask at once, on however many nodes: all places of a quota are given out, and no more.
pub async fn a_quota_is_reached_and_never_exceeded(hub: &impl Hub) {
    let members = hub.start(Kept::ALL).await;
    let subject = quota(Limit::ConnectionsPerSubject, "sub:a", 20);
    let wanted = of_quotas(&[subject.clone(), quota(Limit::ConnectionsTotal, "", 1000)]);
    let permits = storm(&members, &wanted, 100).await;
    assert_eq!(permits.len(), 20);
    let mut more = Vec::new();
    for (member, max) in ends(&members).into_iter().zip([21, 22]) {
        assert_eq!(refused(member, &wanted).await, Refused::full(&subject));
        more.push(admitted(member, &of_quotas(&[quota(Limit::ConnectionsPerSubject, "sub:b", 2)])).await);
        more.push(admitted(member, &of_quotas(&[Quota { max, ..subject.clone() }])).await);
    }
}

/// A place that was given back can be had again, on every node, and is given back once only.
pub async fn places_come_back_when_connections_end(hub: &impl Hub) {
    let members = hub.start(Kept::ALL).await;
    let wanted = of_quotas(&[quota(Limit::ConnectionsPerIp, "192.0.2.7", 10)]);
    for _ in 0..3 {
        let mut permits = Vec::new();
        eventually("all places are free", || async {
            members[0].transport.admit(wanted.clone()).await.is_ok()
        })
        .await;
        // That one has gone again, but the others may not know yet.
        while permits.len() < 10 {
            permits.extend(storm(&members, &wanted, 10 - permits.len()).await);
        }
        refused(&members[0], &wanted).await;
        drop(permits.split_off(5));
        while permits.len() < 10 {
            permits.extend(storm(&members, &wanted, 20).await);
        }
        assert_eq!(permits.len(), 10);
        refused(ends(&members)[1], &wanted).await;
    }
}

/// A connection that is gone before it was admitted leaves nothing behind.
pub async fn who_leaves_before_the_answer_holds_nothing(hub: &impl Hub) {
    let members = hub.start(Kept::ALL).await;
    let wanted = of_quotas(&[quota(Limit::ConnectionsTotal, "", 50)]);
    for n in 0..200 {
        let (transport, wanted) = (members[n % members.len()].transport.clone(), wanted.clone());
        let asking = tokio::spawn(async move { transport.admit(wanted).await });
        for _ in 0..n % 4 {
            tokio::task::yield_now().await;
        }
        asking.abort();
        // Who was faster gives its place back here.
        drop(asking.await);
    }
    let mut permits = Vec::new();
    let begun = Instant::now();
    while permits.len() < 50 {
        assert!(begun.elapsed() < Duration::from_secs(20), "{} of 50 places are free", permits.len());
        permits.extend(storm(&members, &wanted, 50).await);
    }
    assert_eq!(permits.len(), 50);
}

/// Who is refused takes no place, and by a rate no other rate, in whatever order they stand. Who finds a quota full has
/// used his rates.
pub async fn a_refusal_takes_no_place(hub: &impl Hub) {
    let members = hub.start(Kept::ALL).await;
    let [first, last] = ends(&members);
    let full = quota(Limit::ConnectionsPerTopic, "full", 1);
    let free = quota(Limit::ConnectionsPerTopic, "free", 1);
    let unused = rate(Limit::SubscribesPerIp, "unused", once_a_day(1));
    let twice = rate(Limit::SubscribesPerIp, "twice", once_a_day(2));
    let used = rate(Limit::SubscribesPerSubject, "used", once_a_day(1));
    let _place = admitted(first, &of_quotas(std::slice::from_ref(&full))).await;
    drop(admitted(last, &of_rates(std::slice::from_ref(&used))).await);
    for quotas in [[full.clone(), free.clone()], [free.clone(), full.clone()]] {
        let wanted = Wanted { quotas: quotas.to_vec(), rates: vec![twice.clone()] };
        assert_eq!(refused(last, &wanted).await, Refused::full(&full));
    }
    for quota in [&full, &free] {
        let wanted = Wanted { quotas: vec![quota.clone()], rates: vec![unused.clone(), twice.clone()] };
        assert_eq!(refused(first, &wanted).await.limit, twice.limit, "it was used by who found no place");
    }
    for rates in [[used.clone(), unused.clone()], [unused.clone(), used.clone()]] {
        let wanted = Wanted { quotas: vec![free.clone()], rates: rates.to_vec() };
        let refused = refused(first, &wanted).await;
        assert_eq!((refused.limit, &refused.scope, refused.max), (used.limit, &used.scope, 1));
        assert_eq!(refused.pace, Some(used.pace));
        assert!(refused.retry_after > Duration::from_secs(80_000), "{:?}", refused.retry_after);
        assert!(refused.retry_after <= Duration::from_secs(86_400), "{:?}", refused.retry_after);
    }
    let _all = admitted(last, &Wanted { quotas: vec![free], rates: vec![unused.clone()] }).await;
    refused(first, &of_rates(&[unused])).await;
}

/// Scopes are text of strangers: each stands for itself, whatever it holds.
pub async fn scopes_may_be_any_text(hub: &impl Hub) {
    let members = hub.start(Kept::ALL).await;
    let long = "x".repeat(4096);
    let mut texts =
        vec!["", " ", ":", "0:", "1:a", "a", "A", "a:1", "{b}", "*", "\n", "\u{0}", "ü", "\u{1f600}"];
    texts.extend([&long[..], &long[1..], &long[..128], &long[..129]]);
    let limits = [Limit::ConnectionsPerSubject, Limit::ConnectionsPerTopic];
    let quotas: Vec<Quota> =
        limits.into_iter().flat_map(|limit| texts.iter().map(move |text| quota(limit, text, 1))).collect();
    let [first, last] = ends(&members);
    let permit = admitted(first, &of_quotas(&quotas)).await;
    for quota in &quotas {
        assert_eq!(refused(last, &of_quotas(std::slice::from_ref(quota))).await, Refused::full(quota));
    }
    drop(permit);
    eventually("all places are free again", || async {
        last.transport.admit(of_quotas(&quotas)).await.is_ok()
    })
    .await;
    for text in texts {
        let wanted = of_rates(&[rate(Limit::SubscribesPerSubject, text, once_a_day(1))]);
        drop(admitted(first, &wanted).await);
        refused(last, &wanted).await;
    }
}

/// A hub without limits knows how many connections and nodes it has.
pub async fn connections_without_limits_are_counted(hub: &impl Hub) {
    let members = hub.start(Kept::ALL).await;
    let nodes = u32::try_from(members.len()).expect("a few");
    let mut permits = Vec::new();
    for member in &members {
        for _ in 0..3 {
            permits.push(admitted(member, &Wanted::default()).await);
        }
    }
    for member in ends(&members) {
        let peers = || async { member.transport.peers() };
        eventually("all nodes and connections are known", || async {
            let peers = peers().await;
            (peers.nodes, peers.connections) == (nodes, 3 * u64::from(nodes))
        })
        .await;
    }
    drop(permits);
    eventually("and their ends", || async { members[0].transport.peers().connections == 0 }).await;
}

/// A rate lets so many through at once, from all nodes together, and then one per interval.
pub async fn a_rate_lets_a_burst_through_and_then_paces(hub: &impl Hub) {
    let members = hub.start(Kept::ALL).await;
    let ends = ends(&members);
    let pace = Pace { count: 5, period: Duration::from_secs(1), burst: 3 };
    let wanted = of_rates(&[rate(Limit::SubscribesPerIp, "192.0.2.7", pace)]);
    let begun = Instant::now();
    let mut passed = 0;
    for turn in 0_usize.. {
        match ends[turn % 2].transport.admit(wanted.clone()).await {
            Ok(_) => passed += 1,
            Err(AdmitError::Refused(refused)) => {
                assert!(passed >= 3, "the burst goes through");
                assert_eq!((refused.max, refused.pace), (5, Some(pace)));
                assert!(refused.retry_after <= Duration::from_millis(200), "{:?}", refused.retry_after);
                tokio::time::sleep(refused.retry_after).await;
            }
            Err(error) => panic!("the transport must count: {error}"),
        }
        let least = Duration::from_millis(200) * (passed.max(3) - 3);
        // Clocks of several machines meet here: a hundredth more or less is not the rule's business.
        assert!(
            begun.elapsed() + Duration::from_millis(2) >= least,
            "{passed} passed in {:?}",
            begun.elapsed()
        );
        if passed == 8 {
            return;
        }
    }
}

async fn publish(member: &Member, names: &[&str], rates: &[Rate]) -> Result<Position, Refused> {
    match member.transport.append(update(names, "paced"), None, rates).await {
        Ok(position) => Ok(position),
        Err(AppendError::Refused(refused)) => Err(*refused),
        Err(error) => panic!("the transport must append: {error}"),
    }
}

async fn len(transport: &Arc<dyn Transport>, name: &str) -> usize {
    read(transport, &topics(&[name]), Position::ZERO, 100).await.entries.len()
}

/// A subject's rate holds whatever topics it publishes to, and on whichever node.
pub async fn a_subject_publishes_at_its_rate(hub: &impl Hub) {
    let members = hub.start(Kept::ALL).await;
    let [first, last] = ends(&members);
    let rates = [rate(Limit::PublishesPerSubject, "sub:a", once_a_day(3))];
    for (member, names) in [(first, &["a"][..]), (last, &["b", "c"]), (first, &["d"])] {
        publish(member, names, &rates).await.expect("a burst of three");
    }
    for (member, name) in [(first, "a"), (last, "e")] {
        let refused = publish(member, &[name], &rates).await.expect_err("the fourth");
        assert_eq!((refused.limit, refused.scope.as_str()), (Limit::PublishesPerSubject, "sub:a"));
    }
    let other = [rate(Limit::PublishesPerSubject, "sub:b", once_a_day(1))];
    publish(last, &["a"], &other).await.expect("another subject has a rate of its own");
    publish(last, &["a"], &[]).await.expect("and who has none is not held up");
    assert_eq!([len(&first.transport, "a").await, len(&first.transport, "e").await], [3, 0]);
}

/// An update is appended only if the rates of all its topics let it through; else it takes nothing from them, and stands
/// nowhere.
pub async fn each_topic_of_an_update_has_its_rate(hub: &impl Hub) {
    let members = hub.start(Kept::ALL).await;
    let [first, last] = ends(&members);
    let names = ["a", "b", "c", "d"];
    let of = |name: &str| rate(Limit::PublishesPerTopic, name, once_a_day(1));
    let all = names.map(of);
    append(&first.transport, &names, "without a rate").await;
    publish(first, &["d"], &[of("d")]).await.expect("the first one");
    for names in [["a", "b", "c", "d"], ["d", "c", "b", "a"]] {
        let refused = publish(last, &names, &all).await.expect_err("one of its topics is used up");
        assert_eq!((refused.limit, refused.scope.as_str()), (Limit::PublishesPerTopic, "d"));
    }
    for name in ["a", "b", "c"] {
        assert_eq!(len(&last.transport, name).await, 1, "{name}");
    }
    publish(last, &["a", "b", "c"], &all[..3]).await.expect("nothing was taken from the others");
    for name in names {
        publish(first, &[name], &[of(name)]).await.expect_err("now all are used up");
        assert_eq!(len(&last.transport, name).await, 2, "{name}");
    }
}

/// A repeat with an idempotency key is not counted again, and answered although the rates are used up; one that may not
/// use its key is not counted at all.
pub async fn a_repeat_is_not_charged(hub: &impl Hub) {
    let members = hub.start(Kept::ALL).await;
    let key = |text: &str| IdempotencyKey::parse(text).expect("a valid key");
    let rates = [
        rate(Limit::PublishesPerSubject, "sub:a", once_a_day(2)),
        rate(Limit::PublishesPerTopic, "a", once_a_day(2)),
        rate(Limit::PublishesPerTopic, "b", once_a_day(2)),
    ];
    let [first, last] = ends(&members);
    let repeats = async || {
        let mut answers = Vec::new();
        for member in members.iter().cycle().take(4) {
            let once = update(&["a", "b"], "once");
            answers
                .push(member.transport.append(once, Some(&key("k")), &rates).await.expect("it is a repeat"));
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        let other = last.transport.append(update(&["a"], "other"), Some(&key("k")), &rates).await;
        assert!(matches!(other, Err(AppendError::KeyReused)), "{other:?}");
    };
    repeats().await;
    publish(last, &["a", "b"], &rates).await.expect("one was charged, this is the second");
    publish(first, &["a", "b"], &rates).await.expect_err("the third");
    repeats().await;
    let new = first.transport.append(update(&["a"], "new"), Some(&key("new")), &rates).await;
    assert!(matches!(new, Err(AppendError::Refused(_))), "{new:?}");
    assert_eq!([len(&first.transport, "a").await, len(&first.transport, "b").await], [2, 2]);
}

/// A kick is in the feed of every node, once, and what they answer is added up.
pub async fn a_kick_reaches_every_node(hub: &impl Hub) {
    let members = hub.start(Kept::ALL).await;
    let nodes = members.len();
    let target = KickTarget {
        subject: Some("sub:\"a\"\n".to_owned()),
        scope: Some((Limit::ConnectionsPerIp, Scope::new("2001:db8::/64"))),
        ..KickTarget::default()
    };
    let (first, expected) = (members[0].transport.clone(), target.clone());
    let mut kicked = Vec::new();
    for (n, mut member) in members.into_iter().enumerate() {
        // Feeds are alive once something has come.
        member.subscribe(&interest("a")).await;
        append(&member.transport, &["a"], "first").await;
        member.updates("a", 1).await;
        let expected = expected.clone();
        kicked.push(tokio::spawn(async move {
            let mut kicks = 0;
            while kicks < 2 {
                if let FeedEvent::Kick(kick) = member.event().await {
                    assert_eq!((kick.target, kick.count_max), (expected.clone(), None));
                    kicks += 1;
                    kick.ended.send(10 * kicks + n).expect("somebody wants to know");
                }
            }
            member
        }));
    }
    for round in 1..=2 {
        let report = first.kick(&target).await.expect("it can be told");
        let ended = (0..nodes).map(|n| 10 * round + n).sum();
        assert_eq!(report, KickReport { ended, nodes, nodes_unanswered: 0 });
    }
    for kicked in kicked {
        kicked.await.expect("each node is told twice");
    }
}
