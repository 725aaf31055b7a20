//! Rules of the feed.

use std::sync::Arc;

use super::{
    Hub, Kept,
    probe::{append, data, interest, partition, read, topics},
};
use crate::{FEED_LEN_MAX, FeedEvent, Interest, Transport};

/// Appends numbered updates from several tasks at once, each its share in order.
async fn append_concurrently(transports: Vec<Arc<dyn Transport>>, name: &'static str, each: usize) {
    let tasks = transports.into_iter().enumerate().map(|(task, transport)| {
        tokio::spawn(async move {
            for n in 0..each {
                append(&transport, &[name], &format!("{task}/{n}")).await;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.expect("an append does not panic");
    }
}

/// Everything that is appended is in the feed of every node, once, in the order of positions.
pub async fn the_feed_has_every_update_once_and_in_order(hub: &impl Hub) {
    let mut members = hub.start(Kept::ALL).await;
    let mut since = Vec::new();
    for member in &members {
        since.push(member.subscribe(&interest("a")).await);
    }
    let transports: Vec<_> = members.iter().cycle().take(8).map(|member| member.transport.clone()).collect();
    append_concurrently(transports, "a", 50).await;
    for (member, since) in members.iter_mut().zip(since) {
        let fed: Vec<_> = member.updates("a", 400).await.iter().map(|update| update.position).collect();
        let since = since.position(partition(&member.transport, "a"));
        let log = read(&member.transport, &topics(&["a"]), since, 1000).await;
        assert_eq!(fed, log.entries.iter().map(|entry| entry.position).collect::<Vec<_>>());
    }
}

/// What is appended after a confirmation is in the feed, however busy the topic was before.
pub async fn what_follows_a_confirmation_arrives(hub: &impl Hub) {
    let mut members = hub.start(Kept::ALL).await;
    let publisher = members.last().expect("a hub has a node").transport.clone();
    for round in 0..20 {
        let name: &'static str = ["a", "b", "c", "d", "e"][round % 5];
        let busy = tokio::spawn(append_concurrently(vec![publisher.clone()], name, 20));
        let since = members[0].subscribe(&interest(name)).await.position(partition(&publisher, name));
        let position = append(&publisher, &[name], &format!("marker {round}")).await;
        assert!(position > since, "{position} was appended after the confirmation of {since}");
        loop {
            let next = members[0].updates(name, 1).await;
            if data(&next[0]) == format!("marker {round}") {
                break;
            }
        }
        busy.await.expect("an append does not panic");
        members[0].transport.release(&interest(name));
    }
}

/// An update is in the feed once, although it touches several interests.
pub async fn an_update_of_several_topics_arrives_once(hub: &impl Hub) {
    let mut members = hub.start(Kept::ALL).await;
    for wanted in [interest("a"), interest("b"), Interest::All] {
        members[0].subscribe(&wanted).await;
        for n in 0..20 {
            append(&members[0].transport, &["a", "b", "a"], &n.to_string()).await;
        }
        let fed: Vec<_> = members[0].updates("a", 20).await.iter().map(|update| data(update)).collect();
        assert_eq!(fed, (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
    }
}

/// The interest in all brings the updates of topics that nobody named.
pub async fn who_wants_all_gets_all(hub: &impl Hub) {
    let mut members = hub.start(Kept::ALL).await;
    members[0].subscribe(&Interest::All).await;
    let publisher = members.last().expect("a hub has a node").transport.clone();
    for n in 0..50 {
        append(&publisher, &[&format!("topic-{n}"), "shared"], &n.to_string()).await;
    }
    let fed: Vec<_> = members[0].updates("shared", 50).await.iter().map(|update| data(update)).collect();
    assert_eq!(fed, (0..50).map(|n| n.to_string()).collect::<Vec<_>>());
}

/// The interest in all is confirmed for every partition: what is appended to any of them from then on arrives.
pub async fn who_wants_all_is_told_where_each_partition_begins(hub: &impl Hub) {
    let mut members = hub.start(Kept::ALL).await;
    let publisher = members.last().expect("a hub has a node").transport.clone();
    let names: Vec<String> = (0..40).map(|n| format!("topic-{n}")).collect();
    for name in &names {
        append(&publisher, &[name], "before").await;
    }
    let since = members[0].subscribe(&Interest::All).await;
    let mut expected = Vec::new();
    for name in &names {
        let position = append(&publisher, &[name], "after").await;
        let partition = partition(&publisher, name);
        assert!(position > since.position(partition), "{name} was appended after the confirmation");
        expected.push((partition, position));
    }
    while !expected.is_empty() {
        if let FeedEvent::Update(appended) = members[0].event().await {
            expected.retain(|place| *place != (appended.partition, appended.position));
        }
    }
}

/// An update whose topics stand in two partitions stands in both, and is in the feed of who wants all from both.
pub async fn an_update_of_two_partitions_stands_in_both(hub: &impl Hub) {
    let mut members = hub.start(Kept::ALL).await;
    let transport = members.last().expect("a hub has a node").transport.clone();
    let home = partition(&transport, "a");
    let names = (0..1000).map(|n| format!("b{n}"));
    let Some(other) = names.into_iter().find(|name| partition(&transport, name) != home) else {
        assert_eq!(transport.partitions().count(), 1, "topics are spread");
        return;
    };
    let starts = [append(&transport, &["a"], "start").await, append(&transport, &[&other], "start").await];
    members[0].subscribe(&Interest::All).await;
    let position = append(&transport, &["a", &other, "a"], "both").await;
    for (name, start) in ["a", &other].into_iter().zip(starts) {
        for member in &members {
            let page = read(&member.transport, &topics(&[name]), start, 10).await;
            assert_eq!(page.entries.len(), 1, "{name}");
            assert_eq!((data(&page.entries[0]), page.entries[0].update.topics.len()), ("both".to_owned(), 3));
            assert!(
                name != "a" || page.entries[0].position == position,
                "the answer is the canonical topic's"
            );
        }
    }
    let mut copies = vec![home, partition(&transport, &other)];
    while !copies.is_empty() {
        if let FeedEvent::Update(appended) = members[0].event().await
            && data(&appended) == "both"
        {
            let at = copies.iter().position(|copy| *copy == appended.partition);
            copies.swap_remove(at.expect("each copy comes once"));
        }
    }
}

/// One of two holders may go.
pub async fn an_interest_lasts_until_its_last_holder_releases_it(hub: &impl Hub) {
    let mut members = hub.start(Kept::ALL).await;
    let publisher = members.last().expect("a hub has a node").transport.clone();
    members[0].subscribe(&interest("a")).await;
    members[0].subscribe(&interest("a")).await;
    members[0].transport.release(&interest("a"));
    append(&publisher, &["a"], "one").await;
    assert_eq!(data(&members[0].updates("a", 1).await[0]), "one");
    members[0].transport.release(&interest("a"));
    // Released and wanted again at once: the subscription may have lingered or not.
    members[0].subscribe(&interest("a")).await;
    append(&publisher, &["a"], "two").await;
    assert_eq!(data(&members[0].updates("a", 1).await[0]), "two");
}

/// Ticks say that everything up to them has been in the feed, and go on while nothing happens.
pub async fn verified_positions_never_overtake_updates(hub: &impl Hub) {
    let mut members = hub.start(Kept::ALL).await;
    members[0].subscribe(&interest("a")).await;
    let publisher = members.last().expect("a hub has a node").transport.clone();
    let appending = tokio::spawn(append_concurrently(vec![publisher.clone(); 4], "a", 200));
    members[0].updates("a", 800).await;
    appending.await.expect("an append does not panic");
    let last = append(&publisher, &["unwanted"], "").await;
    let home = partition(&publisher, "unwanted");
    loop {
        if let FeedEvent::Verified(partition, position) = members[0].event().await
            && partition == home
            && position >= last
        {
            break;
        }
    }
}

/// A node that takes nothing from its feed for a while finds everything there, in order.
pub async fn a_feed_that_is_not_taken_loses_nothing(hub: &impl Hub) {
    let mut members = hub.start(Kept::ALL).await;
    let since = members[0].subscribe(&interest("a")).await.position(partition(&members[0].transport, "a"));
    let each = FEED_LEN_MAX * 4 / 64;
    let transports = vec![members[0].transport.clone(); 64];
    append_concurrently(transports, "a", each).await;
    let fed = members[0].updates("a", 64 * each).await;
    assert!(fed[0].position > since);
    append(&members[0].transport, &["a"], "live again").await;
    assert_eq!(data(&members[0].updates("a", 1).await[0]), "live again");
}

/// What is appended while the feed breaks, again and again, is in it, once and in order.
pub async fn a_feed_that_breaks_loses_nothing(hub: &impl Hub) {
    let mut members = hub.start(Kept::ALL).await;
    for member in &members {
        member.subscribe(&interest("a")).await;
    }
    let publishers = members.iter().map(|member| member.transport.clone()).collect::<Vec<_>>();
    let len = publishers.len();
    let appending = tokio::spawn(append_concurrently(publishers, "a", 2000));
    for _ in 0..5 {
        members[0].updates("a", 100).await;
        hub.break_feeds().await;
    }
    members[0].updates("a", 2000 * len - 500).await;
    let last = members.last_mut().expect("a hub has a node");
    if len > 1 {
        last.updates("a", 2000 * len).await;
    }
    appending.await.expect("an append does not panic");
    append(&last.transport, &["a"], "live again").await;
    assert_eq!(data(&last.updates("a", 1).await[0]), "live again");
}
