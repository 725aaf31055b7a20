//! What a hub holds for its connections, as far as it shows from outside: before they come, and when they have gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
    time::{Duration, Instant},
};

use anyhow::bail;

use crate::{
    metric::{Metric, count, metric},
    redis_client::{RedisClient, Reply},
    servers::Server,
};

/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(250);
/// Kinds of keys that are the log's: they live as long as it keeps updates.
const LOG_KEYS: [&str; 10] =
    ["layout", "clock", "birth", "index", "primary", "primaries", "t:", "l:", "i:", "k:"];
/// The figures that have a name of their own here.
const NAMED: [(&str, &str); 5] = [
    ("rivulet_streams_open", "streams_left"),
    ("rivulet_connections", "connections_left"),
    ("rivulet_sources", "sources_left"),
    ("rivulet_ring_bytes", "ring_bytes_left"),
    ("rivulet_timers", "timers_left"),
];
const FILES: &str = "process_open_fds";
const TASKS: &str = "rivulet_runtime_tasks";
const HEAP: &str = "rivulet_heap_bytes";
/// Keys that a scan asks for at a time.
const SCAN_LEN: &str = "500";

/// One look.
#[derive(Debug)]
pub(crate) struct Level {
    gauges: BTreeMap<String, f64>,
    threads: u64,
    /// Of all clients, the bench included.
    redis_connections: u64,
    channels: u64,
    patterns: u64,
    /// Those that are not the log's.
    keys: BTreeSet<String>,
    /// What stands in those of quotas: a count for each scope.
    quota_entries: u64,
}

/// What is there that was not there before.
#[derive(Debug)]
pub(crate) struct Residue {
    /// By the figures' names.
    counts: Vec<(&'static str, f64)>,
    /// Other gauges, each with the value before and after.
    gauges: Vec<(String, f64, f64)>,
    keys: Vec<String>,
}

impl Level {
    /// Looks.
    pub(crate) fn read(server: &Server, redis: &mut RedisClient) -> anyhow::Result<Self> {
        let exposition = server.exposition()?;
        let info = redis.info("stats")?;
        let keys = other_keys(redis)?;
        Ok(Self {
            gauges: exposition.gauges().map(|(series, value)| (series.to_owned(), value)).collect(),
            threads: server.threads()?,
            redis_connections: redis.info("clients")?.number("connected_clients"),
            channels: info.number("pubsub_channels") + info.number("pubsubshard_channels"),
            patterns: info.number("pubsub_patterns"),
            quota_entries: quota_entries(redis, &keys)?,
            keys,
        })
    }

    fn gauge(&self, series: &str) -> f64 {
        self.gauges.get(series).copied().unwrap_or(0.0)
    }

    /// A gauge but for what it counts of connections to Redis, of which a hub keeps some at hand once they were needed: each
    /// is a file and a task.
    fn without_redis(&self, series: &str) -> f64 {
        self.gauge(series) - count(self.redis_connections)
    }

    /// Bytes that the allocator has handed out.
    pub(crate) fn heap(&self) -> f64 {
        self.gauge(HEAP)
    }

    /// What is here beyond what was `before`.
    pub(crate) fn beyond(&self, before: &Level) -> Residue {
        let above = |now: f64, before: f64| (now - before).max(0.0);
        let mut counts: Vec<(&'static str, f64)> = NAMED
            .iter()
            .map(|(series, figure)| (*figure, above(self.gauge(series), before.gauge(series))))
            .collect();
        let changed = |(series, now): (&String, &f64)| {
            let was = before.gauge(series);
            let is_different = (now - was).abs() > f64::EPSILON && tells_of_connections(series);
            is_different.then(|| (series.clone(), was, *now))
        };
        let gauges: Vec<_> = self.gauges.iter().filter_map(changed).collect();
        let keys: Vec<String> = self.keys.difference(&before.keys).cloned().collect();
        let quota_keys = keys.iter().filter(|key| is_of_quotas(key)).count();
        counts.extend([
            ("other_gauges_left", count(gauges.len() as u64)),
            ("open_files_left", above(self.without_redis(FILES), before.without_redis(FILES))),
            ("tasks_left", above(self.without_redis(TASKS), before.without_redis(TASKS))),
            ("threads_left", count(self.threads.saturating_sub(before.threads))),
            ("redis_channels_left", count(self.channels.saturating_sub(before.channels))),
            ("redis_patterns_left", count(self.patterns.saturating_sub(before.patterns))),
            ("redis_keys_left", count(keys.len() as u64)),
            ("redis_quota_keys_left", count(quota_keys as u64)),
            ("redis_quota_entries_left", count(self.quota_entries.saturating_sub(before.quota_entries))),
        ]);
        Residue { counts, gauges, keys }
    }
}

impl Residue {
    /// The figures' names.
    pub(crate) fn figures() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|(_, figure)| *figure).chain([
            "other_gauges_left",
            "open_files_left",
            "tasks_left",
            "threads_left",
            "redis_channels_left",
            "redis_patterns_left",
            "redis_keys_left",
            "redis_quota_keys_left",
            "redis_quota_entries_left",
        ])
    }

    pub(crate) fn is_nothing(&self) -> bool {
        self.counts.iter().all(|(_, value)| *value < 0.5)
    }

    /// Whether it is no more than so many streams hold: a file, a connection, a topic each. What is on its way to them,
    /// and whatever else shows that they are there, is theirs too. Timers forget those that have ended when they are due.
    fn is_of(&self, streams: u32) -> bool {
        let is_theirs = |name: &str| ["ring_bytes_left", "other_gauges_left"].contains(&name);
        self.counts
            .iter()
            .filter(|(name, _)| *name != "timers_left" && (streams == 0 || !is_theirs(name)))
            .all(|(_, value)| *value < f64::from(streams) + 0.5)
    }

    fn streams(&self) -> f64 {
        self.counts.first().map_or(0.0, |(_, streams)| *streams)
    }

    pub(crate) fn metrics(&self) -> Vec<Metric> {
        self.counts.iter().map(|(name, value)| metric(name, *value)).collect()
    }

    /// What the figures only count, by name.
    pub(crate) fn notes(&self) -> Vec<String> {
        let gauges = self.gauges.iter().map(|(series, was, is)| format!("{series} is {is}, and was {was}"));
        let keys = self.keys.iter().take(5).map(|key| format!("Redis has the key {key}"));
        gauges.chain(keys).collect()
    }
}

/// Waits until nothing is beyond what was `before`, or for `wait_max`; answers the last look and what was left in it.
pub(crate) fn settle(
    server: &mut Server,
    redis: &mut RedisClient,
    before: &Level,
    wait_max: Duration,
) -> anyhow::Result<(Level, Residue)> {
    wait_for(server, redis, before, wait_max, Residue::is_nothing)
}

/// Waits until no more is left of what came after `before` than so many streams hold.
pub(crate) fn settle_streams(
    server: &mut Server,
    redis: &mut RedisClient,
    before: &Level,
    streams: u32,
    wait_max: Duration,
) -> anyhow::Result<()> {
    let (_, residue) = wait_for(server, redis, before, wait_max, |residue| residue.is_of(streams))?;
    if residue.streams() > f64::from(streams) {
        bail!("{} streams are open {wait_max:?} after their clients have gone", residue.streams());
    }
    Ok(())
}

fn wait_for(
    server: &mut Server,
    redis: &mut RedisClient,
    before: &Level,
    wait_max: Duration,
    done: impl Fn(&Residue) -> bool,
) -> anyhow::Result<(Level, Residue)> {
    let deadline = Instant::now() + wait_max;
    loop {
        server.check_alive()?;
        let level = Level::read(server, redis)?;
        let residue = level.beyond(before);
        if done(&residue) || Instant::now() > deadline {
            return Ok((level, residue));
        }
        thread::sleep(LOOK);
    }
}

/// Whether a gauge counts what connections hold, as far as its name says: memory as a whole and times do not, and the
/// named ones, open files and tasks are looked at for themselves.
fn tells_of_connections(series: &str) -> bool {
    let name = series.split_once('{').map_or(series, |(name, _)| name);
    let is_named = NAMED.iter().any(|(named, _)| *named == name);
    !is_named
        && !name.starts_with("process_")
        && !name.starts_with(HEAP)
        && name != TASKS
        && !name.ends_with("_seconds")
        && !name.contains("_memory_")
}

/// A key without the prefix that all have.
fn kind_of(key: &str) -> &str {
    key.split_once('}').map_or(key, |(_, kind)| kind)
}

fn is_of_quotas(key: &str) -> bool {
    kind_of(key).starts_with('q')
}

/// How many counts stand in the keys of quotas, as far as those are hashes.
fn quota_entries(redis: &mut RedisClient, keys: &BTreeSet<String>) -> anyhow::Result<u64> {
    let mut entries = 0;
    for key in keys.iter().filter(|key| is_of_quotas(key)) {
        if redis.command(&["TYPE", key])? == Reply::Text("hash".to_owned())
            && let Reply::Number(fields) = redis.command(&["HLEN", key])?
        {
            entries += u64::try_from(fields).unwrap_or(0);
        }
    }
    Ok(entries)
}

fn other_keys(redis: &mut RedisClient) -> anyhow::Result<BTreeSet<String>> {
    let (mut keys, mut cursor) = (BTreeSet::new(), "0".to_owned());
    loop {
        let answer = redis.command(&["SCAN", &cursor, "COUNT", SCAN_LEN])?;
        let Reply::List(parts) = answer else { bail!("SCAN answered {answer:?}") };
        let [Reply::Text(next), Reply::List(found)] = &parts[..] else { bail!("SCAN answered {parts:?}") };
        for key in found {
            if let Reply::Text(key) = key
                && !LOG_KEYS.iter().any(|kind| kind_of(key).starts_with(kind))
            {
                keys.insert(key.clone());
            }
        }
        if next == "0" {
            return Ok(keys);
        }
        cursor.clone_from(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(gauges: &[(&str, f64)], keys: &[&str]) -> Level {
        Level {
            gauges: gauges.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
            threads: 7,
            redis_connections: 2,
            channels: 2,
            patterns: 0,
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            quota_entries: keys.len() as u64 * 3,
        }
    }

    #[test]
    fn what_was_there_before_is_not_left() {
        let before = [("process_open_fds", 20.0), ("rivulet_runtime_tasks", 8.0), ("rivulet_feed_live", 1.0)];
        let before = level(&before, &["{r:0}lease"]);
        let same = [
            ("process_open_fds", 22.0),
            ("rivulet_runtime_tasks", 11.0),
            ("rivulet_feed_live", 1.0),
            ("rivulet_heap_bytes", 9.0),
        ];
        // Three connections to Redis are kept.
        let same = Level { redis_connections: 5, ..level(&same, &["{r:0}lease"]) };
        let residue = same.beyond(&before);
        assert!(residue.is_nothing(), "{residue:?}");
        let names: Vec<_> = residue.metrics().iter().map(|metric| metric.name).collect();
        assert_eq!(names, Residue::figures().collect::<Vec<_>>());
    }

    #[test]
    fn everything_that_stays_is_counted_and_named() {
        let after = level(
            &[
                ("rivulet_streams_open", 3.0),
                ("rivulet_timers", 5.0),
                ("rivulet_presence", 1.0),
                ("process_open_fds", 4.0),
                ("rivulet_runtime_tasks", 2.0),
            ],
            &["{r:0}q:total"],
        );
        let residue = after.beyond(&level(&[], &[]));
        let value = |name: &str| residue.metrics().iter().find(|metric| metric.name == name).unwrap().value;
        for (name, expected) in [
            ("streams_left", 3.0),
            ("timers_left", 5.0),
            ("other_gauges_left", 1.0),
            ("open_files_left", 4.0),
            ("tasks_left", 2.0),
            ("redis_quota_keys_left", 1.0),
            ("redis_quota_entries_left", 3.0),
        ] {
            assert!((value(name) - expected).abs() < 0.5, "{name}: {residue:?}");
        }
        assert_eq!(residue.notes(), ["rivulet_presence is 1, and was 0", "Redis has the key {r:0}q:total"]);
    }
}
