//! What this version writes, field by field, and that it reads what a newer one may write. A change of what is recorded here
//! breaks nodes of two versions beside each other, and what they read from each other's log: see docs/upgrades.md.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod harness;

use std::{collections::BTreeMap, sync::Arc};

use futures_util::StreamExt as _;
use harness::RedisServer;
use rivulet_core::{EventId, IdempotencyKey, Partition, Position, Topic, Update, envelope};
use rivulet_node::{FeedEvent, Interest, PageLimits, Selection, Transport};

fn update(topics: &[&str], id: Option<&str>) -> Update {
    Update {
        topics: topics.iter().map(|topic| Topic::parse(topic).unwrap()).collect(),
        data: "hi".into(),
        private: false,
        id: id.map(|id| EventId::parse(id).unwrap()),
        event_type: None,
        retry_ms: None,
        trace: None,
    }
}

/// The fields of a stream's entries, in their order.
type Entries = Vec<(String, Vec<(String, Vec<u8>)>)>;

async fn entries(server: &RedisServer, key: &str) -> Entries {
    server.command(&["XRANGE", key, "-", "+"]).await
}

fn fields(of: &[(&str, &[u8])]) -> Vec<(String, Vec<u8>)> {
    of.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect()
}

/// What the firehose or the control channel brings next.
async fn next(messages: &mut redis::aio::PubSub) -> Vec<u8> {
    let mut stream = messages.on_message();
    let message = tokio::time::timeout(std::time::Duration::from_secs(20), stream.next());
    message.await.unwrap().unwrap().get_payload_bytes().to_vec()
}

const FIREHOSE: &str = "{rivulet:0}firehose";
const ENVELOPE: &[u8] = b"\x01\x02\x02\x01a\x01b\x01x\x02hi";

#[tokio::test(flavor = "multi_thread")]
async fn what_an_append_leaves_is_what_was_recorded() {
    let server = RedisServer::start().await;
    let client = redis::Client::open(server.url()).unwrap();
    let mut messages = client.get_async_pubsub().await.unwrap();
    messages.subscribe(FIREHOSE).await.unwrap();
    let (node, _feed) = server.node().await;
    let key = IdempotencyKey::parse("key").unwrap();
    let first = node.append(update(&["a"], None), None, &[]).await.unwrap().to_string();
    let second = node.append(update(&["a", "b"], Some("x")), Some(&key), &[]).await.unwrap().to_string();
    let announced = next(&mut messages).await;
    assert_eq!(announced, [format!("{first} 0 0\n").as_bytes(), b"\x01\x00\x01\x01a\x02hi"].concat());
    let announced = next(&mut messages).await;
    assert_eq!(announced, [format!("{second} {first} {first} 0\n").as_bytes(), ENVELOPE].concat());

    let at = |position: &str| format!("{position}-0");
    let of_b = [(at(&second), fields(&[("p", b"0"), ("e", ENVELOPE)]))];
    assert_eq!(entries(&server, "{rivulet:0}t:b").await, of_b);
    let index = entries(&server, "{rivulet:0}index").await;
    assert_eq!(index[0], (at(&first), fields(&[("p", b"0"), ("t", b"a"), ("n", b"8")])));
    let len = ENVELOPE.len().to_string();
    let expected = fields(&[("p", first.as_bytes()), ("t", b"a\nb"), ("n", len.as_bytes())]);
    assert_eq!(index[1], (at(&second), expected));

    let used: String = server.command(&["GET", "{rivulet:0}k:key"]).await;
    let content = sha1_smol::Sha1::from(ENVELOPE).digest().to_string();
    assert_eq!(used, format!("{second} {content}"), "a repeat at another version is compared with it");
    let id: String = server.command(&["GET", "{rivulet:0}i:x"]).await;
    assert_eq!(id, format!("{second} {{rivulet:0}}t:a"));
    let layout: BTreeMap<String, String> = server.command(&["HGETALL", "{rivulet}layout"]).await;
    let expected = [("format", "2"), ("partitions", "1"), ("reader", "2")];
    assert_eq!(layout, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
}

/// What a newer version might append: a script of ours with this changed.
async fn append_as(server: &RedisServer, old: &str, new: &str, update: &Update, position: u64) {
    let script = include_str!("../src/scripts/append.lua");
    assert!(script.contains(old), "{old:?}");
    let script = script.replace(old, new);
    let key = |name: &str| format!("{{rivulet:0}}{name}");
    let mut command = redis::cmd("EVAL");
    command.arg(script).arg(7);
    for name in ["clock", "birth", "index", "clock", "clock", "t:a", "l:a"] {
        command.arg(key(name));
    }
    command
        .arg(&envelope::encode(update)[..])
        .arg("a")
        .arg(position)
        .arg(key("firehose"))
        .arg(key("control"));
    for arg in ["PUBLISH", "", "1000", "1000", "1000", "60000000", "1000000", "66000"] {
        command.arg(arg);
    }
    let _: String = command.query_async(&mut server.connection().await).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_newer_version_changes_is_read_from_the_log_or_said_to_be_lost() {
    let server = RedisServer::start().await;
    let (node, mut feed) = server.node().await;
    let interest = Interest::Topic(Topic::parse("a").unwrap());
    node.retain(&interest);
    node.confirmed(&interest).await.unwrap();
    let before = node.append(update(&["a"], None), None, &[]).await.unwrap();
    let update = update(&["a"], None);
    // Another kind of announcement, and an envelope at another place.
    append_as(&server, "local announcement = head", "local announcement = 'U' .. head", &update, 0).await;
    let mut seen = Vec::new();
    let mut see = async |count| {
        while seen.len() < count {
            let next = tokio::time::timeout(std::time::Duration::from_secs(20), feed.recv());
            match next.await.unwrap().unwrap() {
                FeedEvent::Update(appended) => seen.push((appended.position, true)),
                FeedEvent::Lost { through, .. } => seen.push((through, false)),
                _ => {}
            }
        }
    };
    // What is announced while the log is read is left to the log.
    see(2).await;
    append_as(&server, "'p', before, 'e', envelope", "'p', before, 'e2', envelope, 'x', 'y'", &update, 0)
        .await;
    see(3).await;
    let log = entries(&server, "{rivulet:0}t:a").await;
    let positions: Vec<Position> = log
        .iter()
        .map(|(id, _)| Position::from_micros(id.strip_suffix("-0").unwrap().parse().unwrap()))
        .collect();
    assert_eq!(positions[0], before);
    assert_eq!(seen[..2], [(before, true), (positions[1], true)]);
    // The announcement of the last one is whole.
    assert_eq!(seen[2], (positions[2], true));
    let selection = Selection::Topics(Arc::new([Topic::parse("a").unwrap()]));
    let limits = PageLimits { len: 100, bytes: 1 << 20 };
    let page = node.read(Partition::default(), &selection, before, limits).await.unwrap();
    let read: Vec<Position> = page.entries.iter().map(|appended| appended.position).collect();
    assert_eq!(read, positions[1..2]);
    assert!(page.gap.is_some(), "what cannot be read is said to be lost");
    assert_eq!(node.stats().unreadable_damaged, 0);
    assert!(node.stats().unreadable_newer >= 2, "the announcement and the entry");
}
