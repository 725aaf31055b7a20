//! Rules of what is discarded, and of saying so.

use std::time::Duration;

use rivulet_core::Position;

use super::{
    Hub, Kept,
    probe::{append, eventually, matching, neighbours, read, topic, topics},
};
use crate::Page;

/// How far an implementation may exceed the count.
const EXCESS_MAX: usize = 500;

/// Checks what a page says about its gap: which of the topics lost updates (a read of matchers may leave that open),
/// and that `oldest` stands between what is lost and what is kept.
fn check_gap(page: &Page, lost: &[&str], last_lost: Position, first_kept: Position, context: &str) {
    let Some(gap) = &page.gap else { panic!("{context}: a gap must be said") };
    if let Some(topics) = &gap.topics {
        let names: Vec<_> = lost.iter().map(|name| topic(name)).collect();
        assert_eq!(**topics, *names, "{context}");
    }
    assert!(
        gap.oldest > last_lost && gap.oldest <= first_kept,
        "{context}: {gap:?} {last_lost} {first_kept}"
    );
}

/// Above the count the oldest updates go. A page has a gap exactly if one of them was selected and stood after the
/// asked position.
pub async fn a_count_discards_the_oldest_and_pages_say_so(hub: &impl Hub) {
    let members = hub.start(Kept { count: 10, ..Kept::ALL }).await;
    let transport = &members[0].transport;
    let [busy, quiet] = &neighbours(transport, ["busy", "quiet"]);
    let start = append(transport, &[quiet], "").await;
    let mut positions = vec![start];
    for n in 0..10 + EXCESS_MAX {
        positions.push(append(transport, &[busy], &n.to_string()).await);
    }
    let page = read(transport, &topics(&[busy]), start, 1000).await;
    assert!(page.entries.len() >= 10 && page.entries.len() < 10 + EXCESS_MAX, "{}", page.entries.len());
    assert_eq!(page.entries.last().map(|entry| entry.position), positions.last().copied());
    let first_kept = page.entries[0].position;
    let at = positions.iter().position(|position| *position == first_kept).expect("it was appended");

    for (names, after, complete) in [
        (&[busy.as_str()][..], positions[at - 2], false),
        (&[busy], positions[at - 1], true),
        (&[busy], positions[at], true),
        (&[quiet], start, true),
        (&[quiet, busy], start, false),
        (&[quiet, busy], positions[at - 1], true),
    ] {
        for selection in [topics(names), matching(names)] {
            let page = read(transport, &selection, after, 1000).await;
            let context = format!("{selection:?} after {after}");
            if complete {
                assert_eq!(page.gap, None, "{context}");
            } else {
                check_gap(&page, &[busy], positions[at - 1], first_kept, &context);
            }
        }
    }
    let page = read(transport, &topics(&[quiet, busy]), start, 1000).await;
    assert!(
        page.gap.is_some_and(|gap| gap.topics.is_some()),
        "a read of topics says which of them lost updates"
    );
}

/// What is older than the age goes in the end, and who stood before it is told.
pub async fn an_age_discards_the_oldest_and_pages_say_so(hub: &impl Hub) {
    let members = hub.start(Kept { age: Duration::from_secs(1), ..Kept::ALL }).await;
    let transport = &members[0].transport;
    let names = &neighbours(transport, ["a", "b", "start"]);
    let start = append(transport, &[&names[2]], "").await;
    let lost = append(transport, &["a"], "").await;
    eventually("what is too old must go", || async move {
        let last = append(transport, &[&names[1]], "").await;
        let behind = read(transport, &topics(&["a"]), start, 10).await;
        let level = read(transport, &topics(&["a", &names[1]]), last, 10).await;
        assert_eq!(level.gap, None, "who has read everything lost nothing");
        let gone = behind.entries.is_empty();
        assert_eq!(behind.gap.is_some(), gone, "what is gone is said to be gone, and nothing else");
        if gone {
            check_gap(&behind, &["a"], lost, behind.clock, "a topic of which nothing is left");
        }
        gone
    })
    .await;
}

/// A position that the log's clock has not reached is none of its history: the page says so by its clock, and the
/// reader does not get on before the clock does.
pub async fn a_position_ahead_of_the_clock_is_not_of_the_log(hub: &impl Hub) {
    let members = hub.start(Kept::ALL).await;
    let transport = &members[0].transport;
    let last = append(transport, &["a"], "").await;
    let ahead = Position::from_micros(last.as_micros() + 3_600_000_000);
    for selection in [topics(&["a"]), matching(&["a"]), topics(&["unknown"])] {
        let page = read(transport, &selection, ahead, 10).await;
        assert_eq!((page.entries.len(), page.through), (0, ahead), "{selection:?}");
        assert!(page.clock < ahead, "the clock says that it has not been there: {selection:?}");
        assert!(!page.more, "nothing stands after it: {selection:?}");
    }
}

/// A position from before the hub was created, or its data lost, cannot be continued completely.
pub async fn nothing_is_known_from_before_the_hub(hub: &impl Hub) {
    let members = hub.start(Kept::ALL).await;
    let transport = &members[0].transport;
    append(transport, &["a"], "").await;
    for selection in [topics(&["a"]), matching(&["a"])] {
        let page = read(transport, &selection, Position::from_micros(1), 10).await;
        assert_eq!(page.entries.len(), 1);
        assert!(page.gap.is_some_and(|gap| gap.oldest <= page.entries[0].position && gap.topics.is_none()));
        assert!(page.clock >= page.entries[0].position);
    }
}
