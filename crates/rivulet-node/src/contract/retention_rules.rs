//! Rules of what is discarded, and of saying so.

use std::time::Duration;

use rivulet_core::Position;

use super::{
    Hub, Kept,
    probe::{append, eventually, matching, read, topics},
};

/// How far an implementation may exceed the count.
const EXCESS_MAX: usize = 500;

/// Above the count the oldest updates go. A page is incomplete exactly if one of them was selected and stood after the
/// asked position.
pub async fn a_count_discards_the_oldest_and_pages_say_so(hub: &impl Hub) {
    let members = hub.start(Kept { count: 10, ..Kept::ALL }).await;
    let transport = &members[0].transport;
    let start = append(transport, &["quiet"], "").await;
    let mut positions = vec![start];
    for n in 0..10 + EXCESS_MAX {
        positions.push(append(transport, &["busy"], &n.to_string()).await);
    }
    let page = read(transport, &topics(&["busy"]), start, 1000).await;
    assert!(page.entries.len() >= 10 && page.entries.len() < 10 + EXCESS_MAX, "{}", page.entries.len());
    assert_eq!(page.entries.last().map(|entry| entry.position), positions.last().copied());
    let first_kept = page.entries[0].position;
    let at = positions.iter().position(|position| *position == first_kept).expect("it was appended");

    for (names, after, complete) in [
        (&["busy"][..], positions[at - 2], false),
        (&["busy"], positions[at - 1], true),
        (&["busy"], positions[at], true),
        (&["quiet"], start, true),
        (&["quiet", "busy"], start, false),
        (&["quiet", "busy"], positions[at - 1], true),
    ] {
        for selection in [topics(names), matching(names)] {
            let page = read(transport, &selection, after, 1000).await;
            assert_eq!(page.complete, complete, "{selection:?} after {after}");
        }
    }
}

/// What is older than the age goes in the end, and who stood before it is told.
pub async fn an_age_discards_the_oldest_and_pages_say_so(hub: &impl Hub) {
    let members = hub.start(Kept { age: Duration::from_secs(1), ..Kept::ALL }).await;
    let transport = &members[0].transport;
    let start = append(transport, &["start"], "").await;
    append(transport, &["a"], "").await;
    eventually("what is too old must go", || async move {
        let last = append(transport, &["b"], "").await;
        let behind = read(transport, &topics(&["a"]), start, 10).await;
        let level = read(transport, &topics(&["a", "b"]), last, 10).await;
        assert!(level.complete, "who has read everything lost nothing");
        assert!(
            behind.complete != behind.entries.is_empty(),
            "what is gone is said to be gone, and nothing else"
        );
        !behind.complete
    })
    .await;
}

/// A position that the log's clock has not reached is none of its history: nothing may be said to be complete after it,
/// and the reader does not get on before the clock does.
pub async fn a_position_ahead_of_the_clock_is_not_of_the_log(hub: &impl Hub) {
    let members = hub.start(Kept::ALL).await;
    let transport = &members[0].transport;
    let last = append(transport, &["a"], "").await;
    let ahead = Position::from_micros(last.as_micros() + 3_600_000_000);
    for selection in [topics(&["a"]), matching(&["a"]), topics(&["unknown"])] {
        let page = read(transport, &selection, ahead, 10).await;
        assert_eq!((page.entries.len(), page.through, page.complete), (0, ahead, false), "{selection:?}");
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
        assert_eq!((page.entries.len(), page.complete), (1, false));
    }
}
