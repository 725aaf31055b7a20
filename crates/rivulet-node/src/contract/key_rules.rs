//! Rules of idempotency keys.

use rivulet_core::{IdempotencyKey, Update};

use super::{
    Hub, Kept,
    probe::{append, data, interest, neighbours, partition, read, topics, trace, update},
};
use crate::AppendError;

fn key(text: &str) -> IdempotencyKey {
    IdempotencyKey::parse(text).expect("the rules' keys are valid")
}

/// A repeat with the same key is answered as the first was, on every node, and neither appended nor announced. It comes
/// from another trace, which is no part of what was published.
pub async fn a_repeat_with_the_same_key_is_not_appended_again(hub: &impl Hub) {
    let mut members = hub.start(Kept::ALL).await;
    let start = append(&members[0].transport, &["a"], "start").await;
    members[0].subscribe(&interest("a")).await;
    let home = partition(&members[0].transport, "a");
    let mut answers = Vec::new();
    // With several partitions most of these topics stand in others: the repeat finds them all.
    let update = update(&["a", "b", "c", "d"], "once");
    for (member, number) in members.iter().cycle().zip(1..=4) {
        let update = Update { trace: trace(number), ..update.clone() };
        answers.push(member.transport.append(update, Some(&key("k")), &[]).await.expect("it must work"));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    append(&members[0].transport, &["a"], "last").await;
    for name in ["a", "b", "c", "d"] {
        let transport = &members[0].transport;
        let start = if partition(transport, name) == home { start } else { rivulet_core::Position::ZERO };
        let page = read(transport, &topics(&[name]), start, 10).await;
        assert_eq!(page.entries.iter().filter(|entry| data(entry) == "once").count(), 1, "{name}");
    }
    let fed = members[0].updates("a", 2).await;
    assert_eq!(fed.iter().map(|update| data(update)).collect::<Vec<_>>(), ["once", "last"]);
    assert_eq!(fed[0].update.trace, trace(1), "the first is what was appended");
}

/// Of repeats that overlap, on any nodes, one is appended.
pub async fn repeats_that_overlap_are_appended_once(hub: &impl Hub) {
    let members = hub.start(Kept::ALL).await;
    let start = append(&members[0].transport, &["a"], "start").await;
    let repeats: Vec<_> = (0..40)
        .map(|n| {
            let transport = members[n % members.len()].transport.clone();
            let key = key(&format!("k{}", n % 2));
            tokio::spawn(async move { transport.append(update(&["a"], "once"), Some(&key), &[]).await })
        })
        .collect();
    let mut answers = Vec::new();
    for repeat in repeats {
        answers.push(repeat.await.expect("an append does not panic").expect("it must work"));
    }
    let page = read(&members[0].transport, &topics(&["a"]), start, 100).await;
    assert_eq!(page.entries.len(), 2, "one for each key");
    assert!(answers.chunks(2).all(|pair| pair == &answers[..2]), "{answers:?}");
}

/// A key that was used for another update of the partition is refused, and nothing is appended. (Each partition knows the
/// keys of its own updates.)
pub async fn a_key_serves_one_update_only(hub: &impl Hub) {
    let members = hub.start(Kept::ALL).await;
    let transport = &members.last().expect("a hub has a node").transport;
    let first = members[0].transport.append(update(&["a"], "one"), Some(&key("k")), &[]).await;
    let first = first.expect("it must work");
    let [_, b] = &neighbours(transport, ["a", "b"]);
    let private = Update { private: true, ..update(&["a"], "one") };
    for other in [update(&["a"], "two"), update(&[b], "one"), private] {
        let answer = transport.append(other, Some(&key("k")), &[]).await;
        assert!(matches!(answer, Err(AppendError::KeyReused)), "{answer:?}");
    }
    assert_eq!(read(transport, &topics(&["a"]), first, 10).await.entries.len(), 0);
    let other_key = transport.append(update(&["a"], "two"), Some(&key("other")), &[]).await;
    assert!(other_key.expect("it must work") > first);
}
