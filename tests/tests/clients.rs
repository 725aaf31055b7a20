//! Clients that people really use, and the proxy that they really stand behind.

use std::{path::Path, process::Command};

use rivulet_tests::{
    Backend, Hub, PATIENCE, Request, Subscriber, browser::Browser, eventually, nginx::Nginx, page::Page,
    process::Process, redis::RedisServer, tap::Tap, tokens::publisher,
};
use serde_json::Value;

/// Long enough for a client's own wait before it reconnects (3 s), twice.
const RECONNECT: std::time::Duration = std::time::Duration::from_secs(30);

/// A hub whose log survives it, with heartbeats that a test can wait for.
async fn hub_and_tap() -> (Hub, Tap) {
    let hub = Backend::Redis.hub_with(&["--heartbeat", "1s", "--cors-origin", "*"]).await;
    let tap = Tap::start(hub.address()).await;
    (hub, tap)
}

/// Publishes on a topic that the client does not read, and waits until a heartbeat has told it so.
async fn pass_by(hub: &Hub, tap: &Tap) {
    let id = hub.publish(&[("topic", "busy"), ("data", "not for the client")]).await;
    let position = |id: &str| id.trim_start_matches('#').parse::<u64>().unwrap_or(0);
    let published = position(&id);
    eventually("a cursor heartbeat", PATIENCE, || async {
        let conversations = tap.conversations();
        let last = conversations
            .last()
            .and_then(|conversation| conversation.cursors().last().map(|id| position(id)));
        if last.is_some_and(|cursor| cursor >= published) {
            Ok(())
        } else {
            Err(format!("{last:?} < {published}"))
        }
    })
    .await;
}

/// What a client does with a block that has only an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cursors {
    /// It remembers the id, as the HTML standard says.
    Remembered,
    /// It remembers the ids of events only (eventsource-parser, and so npm's eventsource from version 3 on).
    Ignored,
}

/// Checks that the client came back with the last id that it knew.
fn check_return(tap: &Tap, cursors: Cursors) {
    let conversations = tap.conversations();
    let streams: Vec<_> =
        conversations.iter().filter(|conversation| conversation.received.contains(" 200 ")).collect();
    assert!(streams.len() >= 2, "{conversations:?}");
    let (events, heartbeats) = (streams[0].event_ids(), streams[0].cursors());
    let known = match cursors {
        Cursors::Remembered => heartbeats.last(),
        Cursors::Ignored => events.last(),
    };
    assert_ne!(heartbeats.last(), events.last(), "heartbeats have gone past the last event");
    assert_eq!(streams[0].header("Last-Event-ID"), None, "nothing was seen yet");
    assert_eq!(streams[1].header("Last-Event-ID"), known.copied(), "it resumes after what it knew");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_opens_receives_and_comes_back() {
    let (mut hub, tap) = hub_and_tap().await;
    let url = format!("http://{}/.well-known/mercure?topic=a", tap.address());
    let page = Page::serve(format!(
        "<!doctype html><title>rivulet</title><script>
         window.seen = {{opens: 0, errors: 0, events: []}};
         const source = new EventSource({url:?});
         source.onopen = () => seen.opens++;
         source.onerror = () => seen.errors++;
         source.onmessage = (event) => seen.events.push([event.lastEventId, event.data]);
         source.addEventListener('greeting', (event) => seen.events.push([event.lastEventId, event.data]));
         </script>"
    ))
    .await;
    let browser = Browser::start().await;
    browser.visit(&page.url()).await;
    browser.wait_for("onopen fires before anything is published", "seen.opens === 1").await;
    let one = hub.publish(&[("topic", "a"), ("data", "one\ntwo ✓")]).await;
    let two = hub.publish(&[("topic", "a"), ("data", ""), ("type", "greeting"), ("id", "urn:x:2")]).await;
    browser.wait_for("two events", "seen.events.length === 2").await;
    let events = browser.run("return seen.events").await;
    assert_eq!(events, serde_json::json!([[one, "one\ntwo ✓"], [two, ""]]));
    pass_by(&hub, &tap).await;
    hub.replace().await;
    let three = hub.publish(&[("topic", "a"), ("data", "while it was away")]).await;
    browser.wait_for("it comes back by itself", "seen.opens >= 2").await;
    browser.wait_for("a third event", "seen.events.length === 3").await;
    assert_eq!(browser.run("return seen.events[2]").await, serde_json::json!([three, "while it was away"]));
    check_return(&tap, Cursors::Remembered);
    browser.close().await;
    hub.expect_connections(0).await;
}

/// What the script printed so far.
fn printed(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn npms_eventsource_3_opens_receives_and_comes_back() {
    receive_and_come_back("eventsource", Cursors::Ignored).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn npms_eventsource_2_comes_back_with_the_id_of_a_heartbeat() {
    receive_and_come_back("eventsource-2", Cursors::Remembered).await;
}

async fn receive_and_come_back(package: &str, cursors: Cursors) {
    let (mut hub, tap) = hub_and_tap().await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let out = dir.path().join("printed");
    let js = Path::new(env!("CARGO_MANIFEST_DIR")).join("js");
    assert!(js.join("node_modules").join(package).is_dir(), "run `npm ci` in tests/js first");
    let mut command = Command::new("node");
    let url = format!("http://{}/.well-known/mercure?topic=a", tap.address());
    command.current_dir(js).args(["eventsource.mjs", &url, package]);
    let client = Process::start(&mut command, &out);
    let prints = async |what: &str, expected: Value| {
        eventually(what, RECONNECT, || async {
            let printed = printed(&out);
            if printed.contains(&expected) { Ok(()) } else { Err(format!("{printed:?}")) }
        })
        .await;
    };
    prints("onopen fires before anything is published", serde_json::json!({"open": true})).await;
    let one = hub.publish(&[("topic", "a"), ("data", "one\ntwo ✓")]).await;
    prints("an event", serde_json::json!({"id": one, "data": "one\ntwo ✓"})).await;
    pass_by(&hub, &tap).await;
    hub.replace().await;
    let two = hub.publish(&[("topic", "a"), ("data", "while it was away")]).await;
    prints("what it missed", serde_json::json!({"id": two, "data": "while it was away"})).await;
    check_return(&tap, cursors);
    let events = printed(&out).into_iter().filter(|value| value["data"].is_string()).count();
    assert_eq!(events, 2, "each event once: {:?}", printed(&out));
    drop(client);
    hub.expect_connections(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_with_its_defaults_passes_events_on_at_once() {
    let redis = std::sync::Arc::new(RedisServer::start().await);
    let hubs =
        [Hub::start(Some(std::sync::Arc::clone(&redis)), &[]).await, Hub::start(Some(redis), &[]).await];
    let addresses = [hubs[0].address(), hubs[1].address()];
    // Debian's nginx speaks HTTP/1.0 to its upstreams unless told otherwise.
    for settings in ["", "proxy_http_version 1.1; proxy_set_header Connection \"\";"] {
        let nginx = Nginx::start(&addresses, settings).await;
        let mut streams = Vec::new();
        for number in 0..10 {
            let query = format!("topic=a&topic=t{number}");
            streams.push(Subscriber::open(nginx.address(), &Request::subscribe(&query)).await);
        }
        for hub in &hubs {
            hub.expect_connections(5).await;
        }
        for number in 0..10 {
            let data = number.to_string();
            let request = Request::publish(&[("topic", "a"), ("data", &data)]).bearer(&publisher(&["*"]));
            assert_eq!(request.send(nginx.address()).await.status, 200);
            // Each is awaited before the next one is sent: a buffer would keep it until it is full.
            for stream in &mut streams {
                assert_eq!(stream.data(1).await, [&*data], "with {settings:?}");
            }
        }
        let refusal = Request::subscribe("").send(nginx.address()).await;
        refusal.expect_problem(400, "matcher-missing");
        drop(streams);
        for hub in &hubs {
            hub.expect_connections(0).await;
        }
    }
}
