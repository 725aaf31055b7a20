//! A build that forgets seats fires the alert on leaks, and the normal build does not: connections come and go on real
//! nodes, what they show is recorded, and `promtool` judges the recording as if there were ten minutes between two scrapes.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use rivulet_tests::{
    Hub, PATIENCE, Request, Subscriber, eventually, hub, metrics::Metrics, port, process::Process,
    prometheus::promtool, redis::RedisServer, tokens,
};
use tokio::task::JoinSet;

use super::{exposition::samples, shipped::text};

const ALERT: &str = "RivuletMemoryPerConnectionRising";

/// Scrapes, and the minutes that are said to be between them: the alert compares three hours and waits for ten minutes.
const SCRAPES: usize = 26;
const MINUTES: usize = 10;

/// Streams that stay, and those that come and go between two scrapes.
const STEADY: usize = 50;
const VISITORS: usize = 300;
/// How often they come and go before the first scrape.
const WARM_UP: usize = 12;
/// Visitors under way at once.
const AT_ONCE: usize = 25;

/// What the alert looks at.
const RECORDED: [&str; 5] = [
    "rivulet_heap_bytes",
    "rivulet_frame_bytes",
    "rivulet_body_bytes",
    "rivulet_connections",
    "rivulet_build_info",
];

/// A node of any build. Its memory would hold the log without Redis.
struct Node {
    address: SocketAddr,
    admin: SocketAddr,
    dir: tempfile::TempDir,
    _process: Process,
    _redis: RedisServer,
}

impl Node {
    async fn start(program: &Path, fault: Option<&str>) -> Self {
        let (redis, dir) = (RedisServer::start().await, tempfile::tempdir().expect("a temporary directory"));
        let (address, admin) = (port::free(), port::free());
        let mut command = hub::command_of(program);
        command.envs(Hub::DEFAULTS).envs(fault.map(|fault| ("RIVULET_FAULT", fault)));
        command.args(["--listen", &address.to_string(), "--admin-listen", &admin.to_string()]);
        command.args(["--redis-url", &redis.url()]);
        let process = Process::start(&mut command, &dir.path().join("log"));
        let node = Self { address, admin, dir, _process: process, _redis: redis };
        eventually("the node is ready", PATIENCE, || async {
            let log = || std::fs::read_to_string(node.dir.path().join("log")).unwrap_or_default();
            match rivulet_tests::metrics::get(admin, "/ready") {
                Ok((200, _)) => Ok(()),
                other => Err(format!("{other:?}\n{}", log())),
            }
        })
        .await;
        node
    }

    /// A token that allows several topics: what a seat may receive is a part of what can be forgotten.
    async fn subscribe(address: SocketAddr) -> Subscriber {
        let topics: Vec<String> =
            (0..8).map(|number| format!("https://example.com/topics/{number}")).collect();
        let token = tokens::subscriber(&topics.iter().map(String::as_str).collect::<Vec<_>>());
        Subscriber::open(address, &Request::subscribe("topic=a").bearer(&token)).await
    }

    /// Visitors come and go; when all of them are forgotten, as far as the node counts them, it is scraped.
    async fn churn(&self) -> Metrics {
        let mut visitors = JoinSet::new();
        for _ in 0..AT_ONCE {
            let address = self.address;
            visitors.spawn(async move {
                for _ in 0..VISITORS / AT_ONCE {
                    drop(Self::subscribe(address).await);
                }
            });
        }
        while let Some(ended) = visitors.join_next().await {
            ended.expect("a visitor is served");
        }
        eventually("the visitors are gone", PATIENCE, || async {
            let metrics = Metrics::scrape(self.admin)?;
            #[expect(clippy::cast_precision_loss, reason = "there are few")]
            let left = metrics.sum("rivulet_connections", "") == Some(STEADY as f64);
            if left { Ok(metrics) } else { Err("not all have left".to_owned()) }
        })
        .await
    }
}

/// What a node of this build shows, scrape by scrape, as series of a promtool test.
async fn record(program: &Path, fault: Option<&str>) -> BTreeMap<String, String> {
    let node = Node::start(program, fault).await;
    let mut steady = Vec::new();
    for _ in 0..STEADY {
        steady.push(Node::subscribe(node.address).await);
    }
    // What is kept for later ones fills first: buffers, and heads of requests, of which the HTTP library keeps 128.
    for _ in 0..WARM_UP {
        node.churn().await;
    }
    let mut series: BTreeMap<String, String> = BTreeMap::new();
    for _ in 0..SCRAPES {
        let metrics = node.churn().await;
        for sample in samples(metrics.text()).iter().filter(|sample| RECORDED.contains(&sample.name.as_str()))
        {
            let mut name = format!("{}{{job=\"rivulet\", instance=\"recorded\"", sample.name);
            for (label, value) in &sample.labels {
                write!(name, ", {label}=\"{value}\"").expect("a string takes everything");
            }
            let values = series.entry(name + "}").or_default();
            write!(values, " {}", sample.value).expect("a string takes everything");
        }
    }
    assert_eq!(series.len(), RECORDED.len(), "{series:?}");
    series
}

/// Has `promtool` check, at these minutes, how many alerts on leaks there are in this state.
fn judge(series: &BTreeMap<String, String>, state: &str, expected: &[(usize, usize)]) -> Result<(), String> {
    let mut test = format!(
        "rule_files: [rules.yaml]\nevaluation_interval: {MINUTES}m\ntests:\n  - interval: {MINUTES}m\n    input_series:\n"
    );
    for (name, values) in series {
        writeln!(test, "      - series: '{name}'\n        values: '{}'", values.trim()).expect("a string");
    }
    test += "    promql_expr_test:\n";
    for (minutes, count) in expected {
        let selector = format!("ALERTS{{alertname=\"{ALERT}\", alertstate=~\"{state}\"}}");
        writeln!(test, "      - expr: count({selector}) or vector(0)\n        eval_time: {minutes}m")
            .expect("a string");
        writeln!(test, "        exp_samples: [ {{ labels: '{{}}', value: {count} }} ]").expect("a string");
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (name, text) in [("rules.yaml", text("k8s/monitoring/rules.yaml")), ("leak.test.yaml", test.clone())]
    {
        std::fs::write(dir.path().join(name), text).expect("a file in a temporary directory");
    }
    let said = promtool(dir.path(), &["test", "rules", "leak.test.yaml"]);
    said.map(drop).map_err(|said| format!("{said}\n{test}"))
}

/// The build that forgets when it is told to.
fn faulty() -> PathBuf {
    let given = std::env::var_os("RIVULET_FAULTY_BIN").map(PathBuf::from);
    let path = given.unwrap_or_else(|| hub::built("rivulet-faulty"));
    assert!(path.is_file(), "{} is missing: tests/run builds it", path.display());
    path
}

const LAST: usize = (SCRAPES - 1) * MINUTES;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_forgets_seats_fires_the_alert_on_leaks() {
    let series = record(&faulty(), Some("forget-seat")).await;
    judge(&series, "firing", &[(60, 0), (LAST, 1)]).unwrap_or_else(|said| panic!("{said}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_normal_build_does_not() {
    let series = record(&hub::binary(), None).await;
    let never: Vec<_> = (0..SCRAPES).map(|scrape| (scrape * MINUTES, 0)).collect();
    judge(&series, "firing|pending", &never).unwrap_or_else(|said| panic!("{said}"));
}
