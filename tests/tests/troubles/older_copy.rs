//! An older copy of Redis' files is put back while no node runs, and nobody makes it tell so (`docs/operations.md`).

use std::{path::Path, sync::Arc};

use rivulet_tests::{Hub, Request, Subscriber, redis::RedisServer};

/// More than the minute after which the hub takes a silence for one in which no node ran.
const AGE_S: u64 = 120;

/// Makes a log look like one that was written so many microseconds earlier: a test cannot wait for minutes.
const AGED: &str = "
local age = ARGV[1] + 0
local function aged(text)
  return (string.gsub(text, '%d+', function(digits)
    return digits + 0 > age and string.format('%.0f', digits - age) or digits
  end))
end
for _, key in ipairs(redis.call('KEYS', '{rivulet:0}*')) do
  local kind = string.match(key, '}(%l+)')
  if kind == 't' or kind == 'index' then
    local entries = redis.call('XRANGE', key, '-', '+')
    local left = redis.call('PTTL', key)
    redis.call('DEL', key)
    for _, entry in ipairs(entries) do
      local fields = entry[2]
      fields[2] = aged(fields[2])
      redis.call('XADD', key, aged(entry[1]), unpack(fields))
    end
    if left > 0 then redis.call('PEXPIRE', key, left) end
  elseif kind == 'l' or kind == 'clock' or kind == 'birth' then
    redis.call('SET', key, aged(redis.call('GET', key)), 'KEEPTTL')
  end
end
return 'done'";

/// The same id in a log that was aged.
fn aged(id: &str) -> String {
    let micros: u64 = id.strip_prefix('#').expect("an id of the hub's").parse().expect("a position");
    format!("#{}", micros - AGE_S * 1_000_000)
}

fn age(redis: &RedisServer) {
    let micros = (AGE_S * 1_000_000).to_string();
    assert_eq!(redis.command(&["EVAL", AGED, "0", &micros]), Ok("done".to_owned()));
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory of ours");
    for file in std::fs::read_dir(from).expect("Redis' files") {
        let file = file.expect("a file").path();
        std::fs::copy(&file, to.join(file.file_name().expect("a name"))).expect("it can be copied");
    }
}

async fn publish(hub: &Hub, data: &str) -> String {
    hub.publish(&[("topic", "a"), ("data", data)]).await
}

async fn come_back(hub: &Hub, query: &str, id: &str) -> Subscriber {
    hub.open(&Request::subscribe(query).header("Last-Event-ID", id)).await
}

/// The next update; nothing else may come.
async fn next(stream: &mut Subscriber) -> String {
    let event = stream.event().await;
    assert_eq!(event.kind, None, "{event:?}");
    event.data().to_owned()
}

async fn expect_next(stream: &mut Subscriber, expected: &[&str]) {
    for data in expected {
        assert_eq!(next(stream).await, *data);
    }
}

/// Comes back with an id of the log: neither a gap nor anything twice.
async fn expect_known(hub: &Hub, id: &str, kept: &[&str]) {
    for query in ["topic=a", "topic=*"] {
        let mut stream = come_back(hub, query, id).await;
        assert_eq!(stream.head().header("last-event-id"), Some(id));
        publish(hub, "live").await;
        expect_next(&mut stream, kept).await;
        while next(&mut stream).await != "live" {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_seen_more_than_an_older_copy_holds_is_told_of_a_gap() {
    let mut redis = RedisServer::start().await;
    let mut hub = Hub::start_at(&redis.url(), &[]).await;
    let first = publish(&hub, "1").await;
    publish(&hub, "2").await;
    let files = redis.directory().join("appendonlydir");
    let backup = redis.directory().join("backup");
    copy(&files, &backup);
    let seen = publish(&hub, "after the copy").await;
    publish(&hub, "never seen").await;
    assert!(hub.stop().success());

    redis.crash();
    std::fs::remove_dir_all(&files).expect("a directory of ours");
    copy(&backup, &files);
    redis.restart().await;
    age(&redis);
    let hub = Hub::start_at(&redis.url(), &[]).await;
    let first = aged(&first);
    // They come at the same time, and share what is read where they can.
    let known = come_back(&hub, "topic=a", &first).await;
    let mut published = vec!["2"];
    for query in ["topic=a", "topic=*"] {
        let mut stream = come_back(&hub, query, &seen).await;
        assert_eq!(stream.head().header("last-event-id"), Some("earliest"));
        let gap = stream.event().await;
        assert_eq!(gap.kind.as_deref(), Some("rivulet-gap"), "{query}: {gap:?}");
        let said: serde_json::Value = serde_json::from_str(gap.data()).expect("JSON");
        assert_eq!(said["topics"], serde_json::json!([&query[6..]]), "{query}");
        drop(stream);
        // Who comes back with the id of the gap is told once.
        let mut again = come_back(&hub, query, gap.id()).await;
        assert_eq!(again.head().header("last-event-id"), Some(gap.id()));
        publish(&hub, query).await;
        published.push(query);
        expect_next(&mut again, &published[1..]).await;
    }
    drop(known);
    expect_known(&hub, &first, &published).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_of_all_nodes_for_minutes_is_no_gap() {
    let redis = Arc::new(RedisServer::start().await);
    let mut hub = Hub::start(Some(Arc::clone(&redis)), &["--heartbeat", "2s"]).await;
    let first = publish(&hub, "1").await;
    let second = publish(&hub, "2").await;
    let mut quiet = hub.subscribe("topic=a").await;
    let last = quiet.cursor().await;
    drop(quiet);
    assert!(hub.stop().success());
    age(&redis);
    let hub = Hub::start(Some(Arc::clone(&redis)), &[]).await;
    expect_known(&hub, &aged(&first), &["2"]).await;
    expect_known(&hub, &aged(&second), &["live"]).await;
    expect_known(&hub, &aged(&last), &["live"]).await;
    assert_eq!(hub.metrics().sum("rivulet_gaps_total", ""), Some(0.0));
}
