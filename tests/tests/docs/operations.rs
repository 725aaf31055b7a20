//! The scenarios of `docs/operations.md`, but for the security checklist.

use std::sync::Arc;

use rivulet_tests::{
    Backend, Hub, PATIENCE, Request, eventually, guide::Kind, redis, redis::RedisServer, tokens,
};

use crate::world::World;

const TOPIC: &str = "https://example.com/books/1";

/// A batch of updates of 200 bytes for the topic that the page names.
async fn publish(hub: &Hub, count: usize) {
    let line = format!("{{\"topic\":\"{TOPIC}\",\"data\":\"{}\"}}\n", "x".repeat(200));
    let request = Request::new("POST", "/.well-known/mercure")
        .header("Content-Type", "application/x-ndjson")
        .bearer(&tokens::publisher(&["*"]))
        .body(line.repeat(count).as_bytes());
    assert_eq!(hub.send(&request).await.status, 200, "{}", hub.log());
}

/// The first number that stands alone in a line.
fn numbers(text: &str) -> Vec<f64> {
    text.lines().filter_map(|line| line.trim().parse().ok()).collect()
}

pub(crate) async fn sizing(mut world: World) {
    let hub = Backend::Redis.hub().await;
    world.node(&hub);
    world.redis(hub.redis().address());
    publish(&hub, 1000).await;
    let said = world.run("redis").await;
    let [log, updates, index] = numbers(&said)[..] else { panic!("three figures: {said}") };
    // The page's figures for 200 bytes are 312 and 63.
    assert!((250.0..370.0).contains(&(log / updates)), "{said}");
    assert!((40.0..90.0).contains(&(index / updates)), "{said}");

    let said = world.run("node").await;
    assert_eq!(
        said.lines().filter(|line| line.starts_with("process_") || line.starts_with("rivulet_")).count(),
        5
    );
    assert!(said.contains("Max open files"), "{said}");
}

pub(crate) async fn redis(mut world: World) {
    let lines = world.text(Kind::File, "redis.conf");
    let address = world.free(":6379");
    let redis = Arc::new(RedisServer::start_with(address, &[&lines]).await);
    let hub = Hub::start(Some(redis), &[]).await;
    world.node(&hub);
    world.run("settings").await;

    let stream = hub.subscribe(&format!("topic={TOPIC}")).await;
    hub.publish(&[("topic", TOPIC), ("id", "urn:example:1")]).await;
    let said = world.run("stored").await;
    for name in ["{rivulet:0}t:", "{rivulet:0}l:", "{rivulet:0}i:", "{rivulet:0}", "{rivulet}"] {
        let found = said.lines().any(|line| line.ends_with(&format!(" {name}")));
        assert!(found, "{name}: {said}");
    }
    assert!(said.contains(&format!("{{rivulet:0}}t:{TOPIC}")), "the channel: {said}");
    assert!(!hub.log().contains("noeviction"), "no warning: {}", hub.log());
    drop(stream);
}

pub(crate) async fn backup(mut world: World) {
    let address = world.free(":6379");
    let mut redis = RedisServer::start_with(address, &[]).await;
    let directory = redis.directory().display().to_string();
    world.replace("/var/lib/redis", directory);
    let scratch = world.free(":6390");
    world.replace("6390", scratch.port().to_string());
    let mut hub = Hub::start_at(&redis.url(), &[]).await;
    world.node(&hub);
    publish(&hub, 3).await;
    world.run("copy").await;
    let seen = hub.publish(&[("topic", TOPIC), ("data", "after the copy")]).await;
    hub.publish(&[("topic", TOPIC), ("data", "never seen")]).await;

    world.run("prepare").await;
    assert!(redis::command(scratch, &["PING"]).is_err(), "the other Redis has ended");
    // Nobody runs who would know better: the copy itself has to tell.
    assert!(hub.stop().success());
    world.run("swap").await;
    redis.restart().await;
    let hub = Hub::start_at(&redis.url(), &[]).await;
    let mut stream =
        hub.open(&Request::subscribe(&format!("topic={TOPIC}")).header("Last-Event-ID", &seen)).await;
    assert_eq!(stream.event().await.kind.as_deref(), Some("rivulet-gap"));
    let mut kept = hub.subscribe(&format!("topic={TOPIC}&lastEventID=earliest")).await;
    assert_eq!(kept.data(3).await.len(), 3, "what the copy holds is there");
}

pub(crate) async fn upgrade(mut world: World) {
    let mut hub = Backend::Redis.hub_with(&["--drain-delay", "3s", "--drain-period", "1s"]).await;
    let other = Hub::start(Some(hub.redis_shared()), &[]).await;
    world.node(&hub);
    world.second(&other);
    let stream = hub.subscribe(&format!("topic={TOPIC}")).await;
    let here = other.subscribe(&format!("topic={TOPIC}")).await;
    // The page waits for the process' end, which is its parent's to see.
    let waiting = tokio::task::spawn_blocking(move || (hub.wait(), hub));
    world.run("drain").await;
    let (status, hub) = waiting.await.expect("it waits");
    assert!(status.success(), "{}", hub.log());
    drop((stream, here));
}

pub(crate) async fn trouble(mut world: World) {
    let redis = RedisServer::start().await;
    let flags = ["--cors-origin", "https://app.example.com", "--limit-connections-per-topic", "1"];
    let hub = Hub::start_at(&redis.url(), &flags).await;
    let other = Hub::start_at(&redis.url(), &[]).await;
    world.node(&hub);
    world.second(&other);
    world.redis(redis.address());
    hub.publish(&[("topic", TOPIC), ("data", "kept")]).await;
    let gone = hub.subscribe("topic=gone").await;
    drop(gone);
    hub.expect_connections(0).await;

    let said = world.run("clumps").await;
    assert!(!said.contains(" 0.000000 "), "a first byte, as the page says: {said}");
    hub.expect_connections(0).await;
    for step in ["ends", "tokens", "cookies", "cors", "gaps", "storm"] {
        world.run(step).await;
        hub.expect_connections(0).await;
    }
    let full = hub.subscribe("topic=https://example.com/full").await;
    for step in ["quota", "unavailable", "memory", "slow", "balance"] {
        world.run(step).await;
    }
    drop(full);

    redis::command(redis.address(), &["SHUTDOWN", "NOSAVE"]).ok();
    eventually("the node is not ready", PATIENCE, || async {
        match rivulet_tests::metrics::get(hub.admin(), "/ready") {
            Ok((503, _)) => Ok(()),
            answer => Err(format!("{answer:?}")),
        }
    })
    .await;
    world.run("away").await;
}
