//! Positions that a log has given to nobody, and who comes with one: an older copy was restored.

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

mod harness;

use std::{sync::Arc, time::Duration};

use harness::RedisServer;
use rivulet_core::{Matcher, Partition, Position, Topic, Update};
use rivulet_node::{Feed, FeedEvent, Page, PageLimits, Selection, Transport};
use rivulet_redis::RedisTransport;

const SECOND: u64 = 1_000_000;
const VOID: &str = include_str!("../src/scripts/void.lua");
const CLOCK: &str = include_str!("../src/scripts/clock.lua");
const CLOCK_KEY: &str = "{rivulet:0}clock";
const BIRTH_KEY: &str = "{rivulet:0}birth";

fn update() -> Update {
    Update {
        topics: [Topic::parse("a").unwrap()].into_iter().collect(),
        data: "data".into(),
        private: false,
        id: None,
        event_type: None,
        retry_ms: None,
        trace: None,
    }
}

async fn now(server: &RedisServer) -> u64 {
    let (seconds, micros): (u64, u64) = server.command(&["TIME"]).await;
    seconds * SECOND + micros
}

async fn clock(server: &RedisServer) -> u64 {
    let clock: String = server.command(&["GET", CLOCK_KEY]).await;
    clock.split(' ').next().unwrap().parse().unwrap()
}

/// The birth's key: the birth, and the voids.
async fn noted(server: &RedisServer) -> (u64, Vec<(u64, u64)>) {
    let noted: String = server.command(&["GET", BIRTH_KEY]).await;
    let mut words = noted.split(' ');
    let birth = words.next().unwrap().parse().unwrap();
    let voids = words.map(|word| word.split_once('-').unwrap());
    (birth, voids.map(|(from, to)| (from.parse().unwrap(), to.parse().unwrap())).collect())
}

/// What may move the clock.
const MOVERS: [&str; 6] = ["tick", "append", "append with the clock of a tick", "read", "index", "takeover"];

/// Runs a script as the first one after a stop; readers come from `after`.
async fn move_clock(server: &RedisServer, mover: &str, after: u64) {
    let (code, keys, args) = match mover {
        "tick" => (include_str!("../src/scripts/tick.lua"), "clock birth index", "0 tick 0 control PUBLISH"),
        "read" => (include_str!("../src/scripts/read.lua"), "clock birth", "1000000 8 1000"),
        "index" => (include_str!("../src/scripts/index.lua"), "clock birth index", "1000000 8"),
        "takeover" => (
            include_str!("../src/scripts/takeover.lua"),
            "clock primary primaries birth",
            "two:2 30000000 one:1 0 3000000 control PUBLISH",
        ),
        _ => (
            include_str!("../src/scripts/append.lua"),
            "clock birth index clock clock t:a l:a",
            "e a 0 firehose control PUBLISH c 1000 1000 1000 60000000 1000000 66000",
        ),
    };
    let code = match mover {
        "read" | "index" => format!("{VOID}{CLOCK}{code}"),
        "tick" | "takeover" => format!("{VOID}{code}"),
        _ => code.to_owned(),
    };
    let keys: Vec<String> = keys.split(' ').map(|name| format!("{{rivulet:0}}{name}")).collect();
    let reader = matches!(mover, "read" | "index").then(|| after.to_string());
    let len = keys.len().to_string();
    let mut call = vec!["EVAL", &code, &len];
    call.extend(keys.iter().map(String::as_str).chain(reader.as_deref()).chain(args.split(' ')));
    let _: redis::Value = server.command(&call).await;
}

/// Sets a log back: its clock, and the primary that it knows.
async fn set_back(server: &RedisServer, mover: &str, to: u64) {
    let last = if mover == "append" { to.to_string() } else { format!("{to} 7") };
    let () = server.command(&["MSET", CLOCK_KEY, &last, "{rivulet:0}primary", "one:1 0"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_moves_the_clock_by_more_than_a_minute_notes_a_void() {
    for mover in MOVERS {
        let server = RedisServer::start().await;
        let () = server.command(&["SET", BIRTH_KEY, "5"]).await;
        let from = now(&server).await - 50 * SECOND;
        set_back(&server, mover, from).await;
        move_clock(&server, mover, from + 40 * SECOND).await;
        assert_eq!(noted(&server).await, (5, Vec::new()), "{mover}: less than a minute");
        assert!(clock(&server).await >= from + 50 * SECOND, "{mover}");

        let from = now(&server).await - 70 * SECOND;
        set_back(&server, mover, from).await;
        // A reader pushes the clock up to the time: who comes later may have been further in the void.
        move_clock(&server, mover, from + 10 * SECOND).await;
        let (birth, voids) = noted(&server).await;
        let [(began, ended)] = voids[..] else { panic!("{mover}: one void: {voids:?}") };
        let (now, clock) = (now(&server).await, clock(&server).await);
        assert_eq!((birth, began), (5, from), "{mover}");
        assert!((from + 70 * SECOND..=now).contains(&ended), "{mover}: {from} {ended} {now}");
        // After a takeover the old primary may give positions up to where the new one's clock jumps.
        let given = match mover {
            "takeover" => ended + 30 * SECOND,
            "tick" | "read" | "index" => ended,
            _ => ended + 1,
        };
        assert_eq!(clock, given, "{mover}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_without_a_birth_gets_none_by_a_void() {
    for mover in MOVERS {
        let server = RedisServer::start().await;
        set_back(&server, mover, now(&server).await - 70 * SECOND).await;
        move_clock(&server, mover, 0).await;
        assert_eq!(server.command::<Option<String>>(&["GET", BIRTH_KEY]).await, None, "{mover}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_voids_are_kept_the_newest() {
    for mover in MOVERS {
        let server = RedisServer::start().await;
        let born = now(&server).await;
        // What a newer version has added goes with the oldest.
        let () = server.command(&["SET", BIRTH_KEY, &format!("{born} next")]).await;
        let mut noted_of = Vec::new();
        for _ in 0..20 {
            let from = now(&server).await - 70 * SECOND;
            set_back(&server, mover, from).await;
            move_clock(&server, mover, from + 40 * SECOND).await;
            noted_of.push(from);
        }
        let (birth, voids) = noted(&server).await;
        let began: Vec<u64> = voids.into_iter().map(|(from, _)| from).collect();
        assert_eq!((birth, &began[..]), (born, &noted_of[4..]), "{mover}");
    }
}

/// Reads by topic and by pattern.
async fn read(node: &RedisTransport, after: u64) -> [Page; 2] {
    let topics = Selection::Topics([Topic::parse("a").unwrap()].into());
    let all = Selection::Matching(Arc::new([Matcher::selector("*").unwrap()]));
    let limits = PageLimits { len: 10, bytes: 1 << 20 };
    let after = Position::from_micros(after);
    let read = async |selection| node.read(Partition::default(), &selection, after, limits).await.unwrap();
    [read(topics).await, read(all).await]
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_from_a_void_is_told_of_a_gap_and_nobody_else() {
    let server = RedisServer::start().await;
    let (node, _feed) = server.node().await;
    let kept = node.append(update(), None, &[]).await.unwrap();
    let (from, to) = (kept.as_micros() - 300 * SECOND, kept.as_micros() - 100 * SECOND);
    let earlier = from - 200 * SECOND;
    let words = format!("5 {earlier}-{} next {from}-{to} 7", earlier + 100 * SECOND);
    let () = server.command(&["SET", BIRTH_KEY, &words]).await;
    for (after, gap) in [
        (earlier, false),
        (earlier + 60 * SECOND, true),
        (earlier + 150 * SECOND, false),
        (from, false),
        // A primary that died may have given these.
        (from + 30 * SECOND, false),
        (from + 30 * SECOND + 1, true),
        (to - 1, true),
        (to, false),
        (kept.as_micros(), false),
    ] {
        for page in read(&node, after).await {
            let told = page.gap.as_ref().map(|gap| (gap.topics.clone(), gap.oldest.as_micros()));
            let oldest = if after < from { earlier + 100 * SECOND } else { to };
            assert_eq!(told, gap.then_some((None, oldest)), "{}", after.cast_signed() - from.cast_signed());
            assert_eq!(page.entries.len(), usize::from(after < kept.as_micros()), "what is kept is there");
            let ahead = usize::from(after < earlier + 100 * SECOND) + usize::from(after < to);
            assert_eq!(page.voids.len(), ahead, "others are behind every reader of this page");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_on_an_older_copy_tells_who_has_seen_more() {
    let server = RedisServer::start().await;
    {
        let (node, _feed) = server.node().await;
        node.append(update(), None, &[]).await.unwrap();
    }
    let seen = now(&server).await;
    let () = server.command(&["SET", BIRTH_KEY, "5"]).await;
    let () = server.command(&["SET", CLOCK_KEY, &(seen - 90 * SECOND).to_string()]).await;
    // Its first tick comes before its first reader.
    let (node, _feed) = server.node().await;
    for page in read(&node, seen - 1).await {
        assert!(page.gap.is_some_and(|gap| gap.topics.is_none() && gap.oldest.as_micros() >= seen));
    }
    for page in read(&node, seen - 90 * SECOND).await {
        assert_eq!(page.gap, None);
    }
}

/// The next loss that the feed tells of, and up to where.
async fn next_loss(feed: &mut Feed) -> Position {
    let next = async {
        loop {
            if let FeedEvent::Lost { through, topics: None, .. } = feed.recv().await.unwrap() {
                return through;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), next).await.expect("a loss must be told")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_subscribers_of_a_node_that_runs_are_told_too() {
    let server = RedisServer::start().await;
    let (node, mut feed) = server.node().await;
    let shown = node.append(update(), None, &[]).await.unwrap().as_micros();
    // It knows of no update that is missing.
    let back = format!("{} {shown}", shown - 90 * SECOND);
    let () = server.command(&["MSET", BIRTH_KEY, "5", CLOCK_KEY, &back]).await;
    // A tick may come first, or the node's reading when its connection is back.
    let _: usize = server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await;
    let through = next_loss(&mut feed).await;
    let (birth, voids) = noted(&server).await;
    assert_eq!((birth, voids.len()), (5, 1));
    assert_eq!(through.as_micros(), voids[0].1);
}

/// A replica whose clock lags so far is promoted. Where readers come from, in seconds from then, and whether they are told of
/// a gap: the old primary gave positions until then, and some more.
async fn check_failover(lag: u64, expected: &[(i64, bool)]) {
    let server = RedisServer::start().await;
    let (node, _feed) = server.node().await;
    let at = now(&server).await;
    let () = server.command(&["SET", BIRTH_KEY, "5"]).await;
    set_back(&server, "takeover", at - lag * SECOND).await;
    move_clock(&server, "takeover", 0).await;
    for (seconds, gap) in expected {
        let after = at.checked_add_signed(seconds * SECOND.cast_signed()).unwrap();
        for page in read(&node, after).await {
            assert_eq!(page.gap.is_some(), *gap, "a lag of {lag} s, {seconds} s from then");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_makes_no_void_of_what_the_old_primary_gave() {
    let check = check_failover;
    check(5, &[(-5, false), (-1, false), (20, false), (29, false)]).await;
    check(55, &[(-55, false), (-20, false), (-1, false), (10, false), (29, false)]).await;
    // It has lost what was appended meanwhile, if anything was.
    check(90, &[(-90, false), (-61, false), (-59, true), (-1, true), (10, false), (29, false)]).await;
}
