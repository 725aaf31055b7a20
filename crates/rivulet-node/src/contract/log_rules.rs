//! Rules of positions and of the log.

use std::{collections::HashSet, sync::Arc};

use rivulet_core::{Matcher, Position, Update};

use super::{
    Hub, Kept,
    probe::{
        all_data, append, append_update, data, eventually, id, matching, neighbours, partition, read,
        read_all, read_within, topics, trace, update,
    },
};
use crate::{PageLimits, Selection};

/// Of two appends, the one acknowledged before the other was begun has the lower position, also across nodes.
pub async fn positions_increase_in_the_order_of_acknowledgement(hub: &impl Hub) {
    let members = hub.start(Kept::ALL).await;
    let names = neighbours(&members[0].transport, ["a", "b"]);
    let mut last = Position::ZERO;
    for n in 0..200 {
        let member = &members[n % members.len()];
        let position = append(&member.transport, &[&names[n / 2 % 2]], "").await;
        assert!(position > last, "{position} after {last}");
        last = position;
    }
}

/// Appends that overlap get different positions, and all are in the log.
pub async fn concurrent_appends_all_get_positions_of_their_own(hub: &impl Hub) {
    let members = hub.start(Kept::ALL).await;
    let mut tasks = Vec::new();
    for n in 0..500 {
        let transport = members[n % members.len()].transport.clone();
        tasks.push(tokio::spawn(async move { append(&transport, &["a"], &n.to_string()).await }));
    }
    let mut positions = Vec::new();
    for task in tasks {
        positions.push(task.await.expect("an append does not panic"));
    }
    positions.sort_unstable();
    let before = Position::from_micros(positions[0].as_micros() - 1);
    let page = read(&members[0].transport, &topics(&["a"]), before, 1000).await;
    let read: Vec<_> = page.entries.iter().map(|entry| entry.position).collect();
    assert_eq!(read, positions);
    assert_eq!(page.entries.iter().map(|entry| data(entry)).collect::<HashSet<_>>().len(), 500);
}

/// An append that returned `Ok` can be read back on every node, with everything that it carried.
pub async fn what_was_appended_is_read_back_on_every_node(hub: &impl Hub) {
    let members = hub.start(Kept::ALL).await;
    let start = append(&members[0].transport, &["a"], "start").await;
    let update = update(&["a"], "one\r\ntwo");
    let update = Update { private: true, id: Some(id("x")), retry_ms: Some(7), trace: trace(1), ..update };
    let position = append_update(&members[0].transport, update.clone()).await;
    for member in &members {
        for selection in [topics(&["a"]), matching(&["a"])] {
            let page = read(&member.transport, &selection, start, 10).await;
            assert_eq!(page.entries.len(), 1);
            assert_eq!((page.entries[0].position, &page.entries[0].update), (position, &update));
            assert!(page.gap.is_none() && !page.more);
        }
    }
}

/// An update is read once, although several of its topics are selected.
pub async fn an_update_of_several_topics_is_read_once(hub: &impl Hub) {
    let members = hub.start(Kept::ALL).await;
    let transport = &members[0].transport;
    let [a, b, c, d] = &neighbours(transport, ["a", "b", "c", "d"]);
    let start = append(transport, &[a], "start").await;
    append(transport, &[a, b, a], "1").await;
    append(transport, &[b, c], "2").await;
    append(transport, &[d], "3").await;
    for selection in [topics(&[a, b, c, a]), matching(&[a, b, c, a])] {
        assert_eq!(all_data(&read(transport, &selection, start, 10).await), ["1", "2"], "{selection:?}");
    }
    assert_eq!(all_data(&read(transport, &topics(&[c]), start, 10).await), ["2"]);
}

/// Pages of any length lead through the log of many topics, each update once, by one position.
pub async fn pages_end_where_they_say_and_lead_to_the_next(hub: &impl Hub) {
    let members = hub.start(Kept::ALL).await;
    let transport = &members[0].transport;
    let names = ["a", "topic-0", "topic-1", "topic-2", "topic-3", "topic-4", "topic-5", "topic-6", "topic-7"];
    let names = neighbours(transport, names);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let start = append(transport, &["a"], "start").await;
    for n in 0..120_usize {
        // Some topics are busy, some quiet.
        append(transport, &[names[(n * n) % 7]], &n.to_string()).await;
    }
    let expected: Vec<String> = (0..120).map(|n| n.to_string()).collect();
    for len_max in [1, 7, 50, 1000] {
        for selection in [topics(&names), Selection::Matching(Arc::new([Matcher::All])), matching(&names)] {
            let read: Vec<_> = read_all(transport, &selection, start, len_max)
                .await
                .iter()
                .map(|entry| data(entry))
                .collect();
            assert_eq!(read, expected, "in pages of {len_max}");
        }
    }
}

/// A page has an entry, if there is one, and no further one once its contents have the asked size.
pub async fn pages_are_bounded_in_bytes(hub: &impl Hub) {
    let members = hub.start(Kept::ALL).await;
    let transport = &members[0].transport;
    let start = append(transport, &["a"], "start").await;
    let lens = [1000, 1000, 1000, 5000, 0, 0, 2500, 1, 1000];
    for len in lens {
        append(transport, &["a"], &"x".repeat(len)).await;
    }
    for selection in [topics(&["a"]), matching(&["a"])] {
        for bytes in [1, 1500, 2500, 6000] {
            let (mut after, mut read) = (start, Vec::new());
            loop {
                let page = read_within(transport, &selection, after, PageLimits { len: 100, bytes }).await;
                let lens: Vec<_> = page.entries.iter().map(|entry| entry.update.data.len()).collect();
                let before_last: usize = lens.iter().rev().skip(1).sum();
                assert!(before_last < bytes, "{lens:?} within {bytes}");
                assert!(!lens.is_empty() || !page.more, "a page that is not the last one has an entry");
                read.extend(lens);
                after = page.through;
                if !page.more {
                    break;
                }
            }
            assert_eq!(read, lens, "in pages of {bytes} bytes");
        }
    }
}

/// A selection by matchers reads what any of them matches, and nothing else.
pub async fn matchers_read_what_they_select(hub: &impl Hub) {
    let members = hub.start(Kept::ALL).await;
    let transport = &members[0].transport;
    let names = neighbours(transport, ["a", "books/1", "books/2", "films/1"]);
    let start = append(transport, &["a"], "start").await;
    for n in 0..60 {
        append(transport, &[&names[1 + n % 3]], &n.to_string()).await;
    }
    let matcher = Matcher::selector("books/{id}").expect("a valid selector");
    let read = read_all(transport, &Selection::Matching(Arc::new([matcher])), start, 9).await;
    assert_eq!(read.len(), 40);
    assert!(read.iter().all(|entry| entry.update.canonical_topic().as_str().starts_with("books/")));
}

/// The position of a publisher's id is that of its earliest update, on every node.
pub async fn an_id_leads_to_its_earliest_update(hub: &impl Hub) {
    let members = hub.start(Kept::ALL).await;
    let with_id = |name: &str| Update { id: Some(id("x")), ..update(&[name], "") };
    let first = append_update(&members[0].transport, with_id("a")).await;
    let home = partition(&members[0].transport, "a");
    append_update(&members[0].transport, with_id("b")).await;
    for member in &members {
        assert_eq!(member.transport.locate(&id("x")).await.expect("a read must work"), Some((home, first)));
        assert_eq!(member.transport.locate(&id("y")).await.expect("a read must work"), None);
    }
}

/// The clock of an idle log moves on, so that a reader who has nothing to read gets a later cursor.
pub async fn the_end_of_the_log_is_later_than_what_was_read(hub: &impl Hub) {
    let members = hub.start(Kept::ALL).await;
    let transport = &members[0].transport;
    let position = append(transport, &["a"], "").await;
    for selection in [topics(&["a"]), matching(&["a"])] {
        let selection = &selection;
        eventually("the clock must move", || async move {
            read(transport, selection, position, 10).await.through > position
        })
        .await;
    }
}
