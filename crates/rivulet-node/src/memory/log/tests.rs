//! The rules of the memory log: positions, retention, and what it knows about what it discarded.

use super::*;
use std::time::Duration;

use bytes::Bytes;
use rivulet_core::Matcher;

use crate::Gap;

const SECOND: u64 = 1_000_000;

fn at(micros: u64) -> Position {
    Position::from_micros(micros)
}

fn update(topics: &[&str], id: Option<&str>) -> Update {
    Update {
        topics: topics.iter().map(|topic| Topic::parse(topic).unwrap()).collect(),
        data: Bytes::from_static(b"data"),
        private: false,
        id: id.map(|id| EventId::parse(id).unwrap()),
        event_type: None,
        retry_ms: None,
        trace: None,
    }
}

fn log(count: usize, bytes: usize) -> Log {
    Log::new(
        Retention { age: Duration::from_secs(10), count, bytes },
        Partitions::ONE,
        Partition::default(),
        at(1),
    )
}

const TEN: PageLimits = PageLimits { len: 10, bytes: usize::MAX };
const MANY: PageLimits = PageLimits { len: 1000, ..TEN };
const THREE: PageLimits = PageLimits { len: 3, ..TEN };

fn topics(names: &[&str]) -> Selection {
    Selection::Topics(names.iter().map(|name| Topic::parse(name).unwrap()).collect())
}

fn matching(name: &str) -> Selection {
    Selection::Matching(Arc::new([Matcher::Exact(Topic::parse(name).unwrap())]))
}

#[test]
fn positions_increase_when_the_clock_stands_still_or_goes_back() {
    let mut log = log(10, 1 << 20);
    let positions: Vec<_> =
        [5, 5, 3, 9].map(|now| log.append(at(now), update(&["a"], None)).position.as_micros()).into();
    assert_eq!(positions, [5, 6, 7, 9]);
}

#[test]
fn a_count_discards_the_oldest_and_says_so_only_to_who_lost_something() {
    let mut log = log(2, 1 << 20);
    for now in [10, 20, 30] {
        log.append(at(now), update(&["a"], None));
    }
    log.append(at(40), update(&["b"], None));
    let check = |selection: &Selection, after: u64, complete: bool| {
        assert_eq!(
            log.read(selection, at(after), TEN).gap.is_none(),
            complete,
            "{selection:?} after {after}"
        );
    };
    check(&topics(&["a"]), 5, false);
    check(&topics(&["a"]), 10, true);
    check(&topics(&["b"]), 5, true);
    check(&topics(&["a", "b"]), 5, false);
    check(&matching("a"), 5, false);
    check(&matching("b"), 5, true);
    check(&topics(&["b"]), 0, false);
}

#[test]
fn everything_ends_with_its_age() {
    let mut log = log(10, 1 << 20);
    for n in 0..1000 {
        log.append(at(10 + n), update(&[&format!("t{n}"), "shared"], Some(&format!("id{n}"))));
    }
    assert_eq!(log.sizes()[..3], [1001, 1000, 1000]);
    log.advance(at(20 * SECOND));
    assert_eq!(log.sizes(), [0, 0, 0, 0]);
    assert!(log.topics.capacity() < 100 && log.ids.capacity() < 100 && log.index.capacity() < 100);
    assert!(log.read(&topics(&["t1"]), at(500), TEN).gap.is_some());
    assert_eq!(log.read(&topics(&["t1"]), at(2000), TEN).gap, None);
}

#[test]
fn bytes_are_bounded_and_the_oldest_go_first() {
    let mut log = log(1000, 10 * (ENTRY_LEN + INDEX_ENTRY_LEN + 10));
    for now in 2..=100 {
        log.append(at(now), update(&["a"], None));
        assert!(log.bytes <= log.retention.bytes);
    }
    let page = log.read(&topics(&["a"]), at(1), MANY);
    assert!(page.gap.is_some() && page.entries.len() >= 10, "{}", page.entries.len());
    assert_eq!(page.entries.last().unwrap().position, at(100));
}

#[test]
fn an_id_is_known_until_its_update_left_all_topics() {
    let mut log = log(1, 1 << 20);
    let id = EventId::parse("x").unwrap();
    log.append(at(10), update(&["a", "b", "a"], Some("x")));
    log.append(at(20), update(&["c"], Some("x")));
    assert_eq!(log.locate(&id), Some(at(10)));
    log.append(at(30), update(&["a"], None));
    assert_eq!(log.locate(&id), Some(at(10)), "still kept by b");
    log.append(at(40), update(&["b"], None));
    assert_eq!(log.locate(&id), Some(at(20)));
}

#[test]
fn pages_say_how_far_they_are_complete() {
    let mut log = log(100, 1 << 20);
    for now in 1..=10 {
        log.append(at(now * 10), update(&[if now % 2 == 0 { "a" } else { "b" }], None));
    }
    for selection in [topics(&["a", "b", "a"]), Selection::Matching(Arc::new([Matcher::All]))] {
        let page = log.read(&selection, at(15), THREE);
        let read: Vec<_> = page.entries.iter().map(|entry| entry.position.as_micros()).collect();
        assert_eq!((read.as_slice(), page.through, page.more), (&[20, 30, 40][..], at(40), true));
        let page = log.read(&selection, at(70), THREE);
        assert_eq!((page.entries.len(), page.through, page.more), (3, at(100), false));
        let page = log.read(&selection, at(500), THREE);
        assert_eq!((page.entries.len(), page.through, page.more), (0, at(500), false));
        assert_eq!(page.clock, at(100), "the log has not been there yet");
    }
}

#[test]
fn a_topic_that_was_forgotten_and_is_used_again_is_not_complete() {
    let mut log = log(100, 1 << 20);
    for now in [10, 20, 30] {
        log.append(at(now), update(&["a"], None));
    }
    let later = 40 + u64::try_from(log.retention.age.as_micros()).unwrap();
    log.append(at(later), update(&["b"], None));
    assert!(log.read(&topics(&["a"]), at(10), TEN).gap.is_some());
    log.append(at(later + 1), update(&["a"], None));
    let page = log.read(&topics(&["a"]), at(10), TEN);
    let gap = Gap { topics: Some([Topic::parse("a").unwrap()].into()), oldest: at(later + 1) };
    assert_eq!((page.entries.len(), page.gap), (1, Some(gap)), "20 and 30 are gone");
    assert_eq!(log.read(&topics(&["a"]), at(30), TEN).gap, None);
}
