//! Coming back: `Last-Event-ID` in every spelling, and what the log still holds.

use rivulet_tests::{
    Backend, Hub, Request, Subscriber,
    tokens::{access, publisher, subscriber},
    wire::{form, percent},
};

/// Publishes `1` to `count` on a topic and answers the ids.
async fn publish_numbers(hub: &Hub, topic: &str, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 1..=count {
        ids.push(hub.publish(&[("topic", topic), ("data", &number.to_string())]).await);
    }
    ids
}

/// What the answer says to stand before the first event.
fn resumed(stream: &Subscriber) -> (Option<&str>, Option<&str>) {
    (stream.head().header("Last-Event-ID"), stream.head().header("Mercure-Last-Event-ID"))
}

async fn every_spelling_of_the_last_id_resumes_after_it(backend: Backend) {
    let hub = backend.hub().await;
    let ids = publish_numbers(&hub, "a", 5).await;
    let last = percent(&ids[2]);
    for matcher in ["topic=a", "match=a", "topic=%7Bx%7D", "match_urlpattern=*", "topic=*"] {
        let expected =
            if matcher.starts_with("topic") { (Some(&*ids[2]), None) } else { (None, Some(&*ids[2])) };
        for name in ["lastEventID", "last_event_id", "lastEventId", "Last-Event-ID"] {
            let mut stream = hub.subscribe(&format!("{matcher}&{name}={last}")).await;
            assert_eq!(resumed(&stream), expected, "{matcher} {name}");
            assert_eq!(stream.data(2).await, ["4", "5"], "{matcher} {name}");
        }
        let header = Request::subscribe(matcher).header("Last-Event-ID", &ids[2]);
        let mut stream = hub.open(&header).await;
        assert_eq!(resumed(&stream), expected, "{matcher} header");
        assert_eq!(stream.data(2).await, ["4", "5"], "{matcher} header");
    }
}

async fn the_header_wins_over_the_parameter(backend: Backend) {
    let hub = backend.hub().await;
    let ids = publish_numbers(&hub, "a", 5).await;
    let query = format!("topic=a&lastEventID={}", percent(&ids[0]));
    let mut stream = hub.open(&Request::subscribe(&query).header("Last-Event-ID", &ids[3])).await;
    assert_eq!(resumed(&stream), (Some(&*ids[3]), None));
    assert_eq!(stream.data(1).await, ["5"]);
}

async fn earliest_and_unknown_ids_get_everything_kept(backend: Backend) {
    let hub = backend.hub().await;
    publish_numbers(&hub, "a", 3).await;
    for id in ["earliest", "urn:x:never-published", "#1", "#", "#x", "#99999999999999999999", "a\u{200b}b"] {
        let mut stream = hub.subscribe(&form(&[("topic", "a"), ("lastEventID", id)])).await;
        assert_eq!(resumed(&stream), (Some("earliest"), None), "{id:?}");
        if id != "earliest" {
            let gap = stream.event().await;
            assert_eq!(gap.kind.as_deref(), Some("rivulet-gap"), "{id:?}");
            assert!(gap.data().starts_with("{\"topics\":[\"a\"],\"oldest\":\"#"), "{id:?}: {gap:?}");
        }
        assert_eq!(stream.data(3).await, ["1", "2", "3"], "{id:?}");
    }
    let mut stream = hub.subscribe("match=a&last_event_id=earliest").await;
    assert_eq!(resumed(&stream), (None, Some("earliest")));
    assert_eq!(stream.data(3).await, ["1", "2", "3"]);
}

async fn whoever_sends_no_id_gets_only_what_is_new(backend: Backend) {
    let hub = backend.hub().await;
    publish_numbers(&hub, "a", 3).await;
    for query in ["topic=a", "topic=a&lastEventID="] {
        let mut stream = hub.subscribe(query).await;
        assert_eq!(resumed(&stream), (None, None), "{query}");
        hub.publish(&[("topic", "a"), ("data", query)]).await;
        assert_eq!(stream.data(1).await, [query]);
    }
}

async fn a_publishers_own_id_is_a_cursor_too(backend: Backend) {
    let hub = backend.hub().await;
    for (id, data) in
        [("urn:x:1", "1"), ("urn:x:twice", "2"), ("été", "3"), ("urn:x:twice", "4"), ("urn:x:5", "5")]
    {
        hub.publish(&[("topic", "a"), ("id", id), ("data", data)]).await;
    }
    for (id, rest) in
        [("urn:x:1", vec!["2", "3", "4", "5"]), ("urn:x:twice", vec!["3", "4", "5"]), ("été", vec!["4", "5"])]
    {
        let mut stream = hub.subscribe(&form(&[("topic", "a"), ("lastEventID", id)])).await;
        assert_eq!(resumed(&stream), (Some(id), None));
        assert_eq!(stream.data(rest.len()).await, rest, "after {id}");
        let mut stream = hub.open(&Request::subscribe("topic=a").header("Last-Event-ID", id)).await;
        assert_eq!(stream.data(rest.len()).await, rest, "after {id} in the header");
    }
}

async fn one_id_is_exact_for_ten_topics(backend: Backend) {
    let hub = backend.hub().await;
    let mut ids = Vec::new();
    for number in 0..50 {
        let topic = format!("t{}", number % 10);
        ids.push(hub.publish(&[("topic", &topic), ("data", &number.to_string())]).await);
    }
    let topics: Vec<String> = (0..10).map(|number| format!("topic=t{number}")).collect();
    let query = format!("{}&lastEventID={}", topics.join("&"), percent(&ids[16]));
    let mut stream = hub.subscribe(&query).await;
    let expected: Vec<String> = (17..50).map(|number| number.to_string()).collect();
    assert_eq!(stream.data(33).await, expected);
    // The id of an update on a topic that the client does not even read.
    let mut stream = hub.subscribe(&format!("topic=t0&lastEventID={}", percent(&ids[33]))).await;
    assert_eq!(stream.data(1).await, ["40"]);
}

async fn an_update_on_two_topics_is_replayed_once(backend: Backend) {
    let hub = backend.hub().await;
    hub.publish(&[("topic", "a"), ("topic", "b"), ("data", "both")]).await;
    hub.publish(&[("topic", "b"), ("data", "b")]).await;
    hub.publish(&[("topic", "a"), ("data", "a")]).await;
    for query in ["topic=a&topic=b", "topic=%7Bx%7D", "match=b&match=a", "topic=*"] {
        let name = if query.starts_with("match") { "last_event_id" } else { "lastEventID" };
        let mut stream = hub.subscribe(&format!("{query}&{name}=earliest")).await;
        hub.publish(&[("topic", "a"), ("data", query)]).await;
        let mut data = stream.data(3).await;
        while data.last().is_some_and(|last| last != query) {
            data.push(stream.event().await.data().to_owned());
        }
        let expected = ["both", "b", "a"];
        assert_eq!(data[..3], expected, "{query}: {data:?}");
        assert_eq!(data.iter().filter(|data| *data == "both").count(), 1, "{query}: {data:?}");
    }
}

async fn replay_goes_live_without_a_seam(backend: Backend) {
    let hub = backend.hub().await;
    let ids = publish_numbers(&hub, "a", 100).await;
    let address = hub.address();
    let publisher = tokio::spawn(async move {
        for number in 101..=400 {
            let data = number.to_string();
            let request = Request::publish(&[("topic", "a"), ("data", &data)]).bearer(&publisher(&["*"]));
            let response = request.send(address).await;
            assert_eq!(response.status, 200, "{response:?}");
        }
    });
    let mut readers = Vec::new();
    for start in [0, 10, 50, 98] {
        let query = format!("topic=a&lastEventID={}", percent(&ids[start]));
        readers.push((start, hub.subscribe(&query).await));
        let query = format!("topic=%7Bx%7D&lastEventID={}", percent(&ids[start]));
        readers.push((start, hub.subscribe(&query).await));
    }
    for (start, stream) in &mut readers {
        let expected: Vec<String> = (*start + 2..=400).map(|number| number.to_string()).collect();
        assert_eq!(stream.data(expected.len()).await, expected);
    }
    publisher.await.expect("the publisher ends well");
}

async fn a_client_that_reconnects_again_and_again_misses_nothing(backend: Backend) {
    let hub = backend.hub().await;
    let mut last = hub.publish(&[("topic", "a"), ("data", "0")]).await;
    for round in 0..30 {
        let data = [format!("{round} before"), format!("{round} during")];
        hub.publish(&[("topic", "a"), ("data", &data[0])]).await;
        let mut stream = hub.open(&Request::subscribe("topic=a").header("Last-Event-ID", &last)).await;
        hub.publish(&[("topic", "a"), ("data", &data[1])]).await;
        assert_eq!(stream.event().await.data(), data[0]);
        let event = stream.event().await;
        assert_eq!(event.data(), data[1]);
        last = event.id().to_owned();
    }
}

async fn the_token_of_today_decides_what_is_replayed(backend: Backend) {
    let hub = backend.hub().await;
    hub.publish(&[("topic", "a"), ("data", "public")]).await;
    hub.publish(&[("topic", "a"), ("private", "on"), ("data", "private")]).await;
    hub.publish(&[("topic", "a"), ("data", "end")]).await;
    let old = |query: &str| Request::subscribe(&format!("{query}&lastEventID=earliest"));
    for query in ["topic=a", "topic=*", "topic=%7Bx%7D"] {
        assert_eq!(hub.open(&old(query)).await.data(2).await, ["public", "end"], "{query}");
        let request = old(query).bearer(&subscriber(&["b"]));
        assert_eq!(hub.open(&request).await.data(2).await, ["public", "end"], "{query}");
        let request = old(query).bearer(&subscriber(&["a"]));
        assert_eq!(hub.open(&request).await.data(3).await, ["public", "private", "end"], "{query}");
    }
    let request =
        Request::subscribe("match=a&last_event_id=earliest").bearer(&access(&[("subscribe", "exact", "a")]));
    assert_eq!(hub.open(&request).await.data(3).await, ["public", "private", "end"]);
}

async fn the_log_is_bounded_by_count(backend: Backend) {
    let hub = backend.hub_with(&["--retention-count", "10"]).await;
    // Redis trims in whole nodes of a stream, some hundred entries: "about" is part of the promise.
    let ids = publish_numbers(&hub, "a", 600).await;
    let mut stream = hub.subscribe("topic=a&lastEventID=earliest").await;
    let first: usize = stream.event().await.data().parse().expect("a number");
    assert!((100..=591).contains(&first), "kept from {first} on");
    let mut stream = hub.subscribe(&format!("topic=a&lastEventID={}", percent(&ids[0]))).await;
    stream.event().await;
    let mut stream = hub.subscribe(&format!("topic=a&lastEventID={}", percent(&ids[595]))).await;
    assert_eq!(resumed(&stream), (Some(&*ids[595]), None));
    assert_eq!(stream.data(4).await, ["597", "598", "599", "600"]);
}

on_both_transports!(
    every_spelling_of_the_last_id_resumes_after_it,
    the_header_wins_over_the_parameter,
    earliest_and_unknown_ids_get_everything_kept,
    whoever_sends_no_id_gets_only_what_is_new,
    a_publishers_own_id_is_a_cursor_too,
    one_id_is_exact_for_ten_topics,
    an_update_on_two_topics_is_replayed_once,
    replay_goes_live_without_a_seam,
    a_client_that_reconnects_again_and_again_misses_nothing,
    the_token_of_today_decides_what_is_replayed,
    the_log_is_bounded_by_count,
);
