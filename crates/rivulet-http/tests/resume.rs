//! Last-Event-ID: every spelling, the answer's header, and what follows.
#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod hub;

use hub::{HUB, Hub, client::Stream};
use rivulet_core::Partitions;
use rivulet_node::{MemoryTransport, NodeConfig, Retention};

#[tokio::test(flavor = "multi_thread")]
async fn every_spelling_of_the_last_id_is_understood() {
    let hub = Hub::start().await;
    let id = hub.published("topic=a&data=one").await;
    hub.published("topic=a&data=two").await;
    let escaped = id.replace('#', "%23");
    for name in ["lastEventID", "last_event_id", "lastEventId", "Last-Event-ID"] {
        let mut stream = hub.stream(&format!("match=a&{name}={escaped}")).await;
        assert_eq!(stream.header("mercure-last-event-id"), Some(id.as_str()), "{name}");
        assert!(!stream.until("data: two").await.contains("data: one"), "{name}");
        let mut stream = hub.stream(&format!("topic=a&{name}={escaped}")).await;
        assert_eq!(stream.header("last-event-id"), Some(id.as_str()), "{name}");
        assert_eq!(stream.header("mercure-last-event-id"), None, "{name}");
        assert!(!stream.until("data: two").await.contains("data: one"), "{name}");
    }
    hub.left_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_header_wins_over_the_parameter() {
    let hub = Hub::start().await;
    let one = hub.published("topic=a&data=one").await;
    let two = hub.published("topic=a&data=two&id=zwei").await;
    hub.published("topic=a&data=three").await;
    let path = format!("{HUB}?topic=a&lastEventID={}", one.replace('#', "%23"));
    let request = hub.request("GET", &path).header("Last-Event-ID", &two);
    let mut stream = Stream::of(request.send().await.unwrap());
    assert_eq!(stream.header("last-event-id"), Some("zwei"));
    assert!(!stream.until("data: three").await.contains("data: two"));
    drop(stream);
    // An empty header says nothing.
    let mut stream = Stream::of(hub.request("GET", &path).header("Last-Event-ID", "").send().await.unwrap());
    assert!(stream.until("data: two").await.contains("data: two"));
    drop(stream);
    hub.left_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_cannot_be_continued_is_answered_with_earliest() {
    let hub = Hub::start().await;
    hub.published("topic=a&data=one").await;
    let long = "x".repeat(5000);
    for id in
        ["earliest", "unknown", "%235", "%23x", "a%0D%0ASet-Cookie:%20b=c", "%00", "%C3%A9", long.as_str()]
    {
        let mut stream = hub.stream(&format!("match=a&last_event_id={id}")).await;
        assert_eq!(stream.header("mercure-last-event-id"), Some("earliest"), "{id}");
        assert_eq!(stream.header("set-cookie"), None);
        stream.until("data: one").await;
    }
    let request = hub.request("GET", &format!("{HUB}?match=a")).header("Last-Event-ID", &b"\xFF\xFE"[..]);
    let mut stream = Stream::of(request.send().await.unwrap());
    assert_eq!(stream.header("mercure-last-event-id"), Some("earliest"));
    stream.until("data: one").await;
    drop(stream);
    hub.left_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_said_in_the_stream_too() {
    let hub = Hub::start().await;
    let first = hub.published("topic=a&data=one").await;
    let gap = format!("data: {{\"topics\":[\"a\"],\"oldest\":\"{first}\"}}\n\n");
    // An id of another hub, of a hub with other partitions, and one that is far too long for any.
    for id in ["urn:uuid:elsewhere".to_owned(), "%2364:17".to_owned(), format!("%2317{}", "0".repeat(60_000))]
    {
        let mut stream = hub.stream(&format!("match=a&last_event_id={id}")).await;
        assert_eq!(stream.header("mercure-last-event-id"), Some("earliest"), "{id:.20}");
        let text = stream.until("data: one\n\n").await;
        let (before, _) = text.split_once("data: one").unwrap();
        assert!(before.starts_with(":\nevent: rivulet-gap\nid: #") && before.contains(&gap), "{text}");
    }
    let mut stream = hub.stream("match=a&last_event_id=earliest").await;
    assert!(!stream.until("data: one\n\n").await.contains("rivulet-gap"), "who asks for everything gets it");
    drop(stream);
    hub.left_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_id_of_a_megabyte_is_an_unknown_one_or_refused() {
    let hub = Hub::start().await;
    hub.published("topic=a&data=one").await;
    let form = |fill: &str| format!("match=a&last_event_id={}", fill.repeat(1_000_000 / fill.len()));
    for fill in ["x", "%231,", "%2364:5,3%2B1", "9"] {
        let request = hub.request("QUERY", HUB).header("Content-Type", "application/x-www-form-urlencoded");
        let mut stream = Stream::of(request.body(form(fill)).send().await.unwrap());
        assert_eq!(stream.header("mercure-last-event-id"), Some("earliest"), "{fill}");
        stream.until("data: one").await;
    }
    // A head is bounded by the server.
    let request =
        hub.request("GET", &format!("{HUB}?match=a")).header("Last-Event-ID", "#".repeat(1_000_000));
    if let Ok(response) = request.send().await {
        assert_eq!(response.status(), 431);
    }
    hub.left_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_with_partitions_reads_its_own_ids() {
    let (transport, feed) = MemoryTransport::partitioned(Retention::default(), Partitions::new(8).unwrap());
    let config = NodeConfig::default();
    let hub = Hub::start_on(transport, feed, config, hub::both(), |config| config.anonymous = true).await;
    let mut live = hub.stream("match=*").await;
    for topic in ["a", "b", "c", "d", "e"] {
        let id = hub.published(&format!("topic={topic}&data=data-{topic}")).await;
        assert!(id.starts_with("#8:"), "{id}");
    }
    // In between each event has its id: that of the third names the partitions it has read.
    let mut text = live.until("data: data-c\n\n").await.to_owned();
    text.truncate(text.find("data: data-c").unwrap());
    let id = text.lines().filter_map(|line| line.strip_prefix("id: ")).next_back().unwrap().to_owned();
    let request = hub.request("GET", &format!("{HUB}?match=*")).header("Last-Event-ID", &id);
    let mut stream = Stream::of(request.send().await.unwrap());
    assert_eq!(stream.header("mercure-last-event-id"), Some(id.as_str()));
    stream.until("data: data-d\n").await;
    let text = stream.until("data: data-e\n").await;
    assert!(!text.contains("data-a") && !text.contains("data-c") && !text.contains("rivulet-gap"), "{text}");
    drop((live, stream));
    hub.left_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_last_id_is_none() {
    let hub = Hub::start().await;
    hub.published("topic=a&data=one").await;
    let mut stream = hub.stream("topic=a&lastEventID=").await;
    assert_eq!(stream.header("last-event-id"), None);
    hub.published("topic=a&data=two").await;
    assert!(!stream.until("data: two").await.contains("data: one"));
    drop(stream);
    hub.left_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publishers_id_comes_back_byte_for_byte() {
    let hub = Hub::start().await;
    hub.published("topic=a&data=one&id=%C3%A9t%C3%A9").await;
    let response = hub.get("topic=a&lastEventID=%C3%A9t%C3%A9").await;
    assert_eq!(response.headers()["last-event-id"].as_bytes(), "été".as_bytes());
    drop(response);
    hub.left_nothing().await;
}
