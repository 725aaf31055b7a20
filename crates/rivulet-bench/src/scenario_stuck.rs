//! Scenario `stuck`: readers that have stopped, on the topic of healthy ones. Do those notice? What does the hub hold
//! for the stuck ones, and when does it end them?

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::bail;

use crate::{
    args::StuckArgs,
    client::Client,
    goal::Goal,
    kernel,
    metric::{Metric, Phase, count, metric, ratio},
    paced::{Pace, Paced},
    progress,
    rounds::Plan,
    scenario_one_topic::source_of,
    servers::{Launcher, Server},
    silent::Silent,
    subscriber,
    tally::Latency,
    token::bench_token,
    topics::Topics,
};

/// The four parts of a run, in their order: what drifts drifts for both.
const PARTS: [(&str, Beside); 4] = [
    ("1: beside idle ones", Beside::Idle),
    ("2: beside stuck ones", Beside::Stuck),
    ("3: beside idle ones", Beside::Idle),
    ("4: beside stuck ones", Beside::Stuck),
];
const COMPARISON: &str = "stuck compared with idle";
/// What is asked for.
const GOAL_P99: f64 = 1.2;
const GOAL_BYTES: f64 = 4096.0;
const GOAL_STALLED_S: f64 = 2.0;
/// Twice what `--send-buffer` sets: the kernel doubles it for its own bookkeeping.
const GOAL_SEND_QUEUE: f64 = 2.0 * 32.0 * 1024.0;
/// Before it is measured: until the buffers of the stuck ones are full.
const WARM_UP: Duration = Duration::from_secs(2);
/// Longest wait for the end of the stuck ones beyond the write deadline.
const STALLED_MAX: Duration = Duration::from_secs(15);
const STALLED: &str = "rivulet_streams_closed_total{reason=\"stalled\"}";
const LOOK: Duration = Duration::from_millis(50);
/// A topic without updates.
const SILENT_TOPIC: &str = "https://example.com/bench/silent";

/// Who is there beside the healthy ones.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Beside {
    Idle,
    Stuck,
}

/// What one part found.
struct Part {
    beside: Beside,
    paced: Paced,
    resident: f64,
    heap: f64,
    tcp_memory: f64,
    send_queues: SendQueues,
    /// From the first update to the end of the last stuck one.
    stalled_s: f64,
}

/// Of the streams that are not read.
#[derive(Clone, Copy, Default)]
struct SendQueues {
    sum: u64,
    max: u64,
}

/// Measures and reports.
pub(crate) fn run(args: &StuckArgs) -> anyhow::Result<()> {
    let (load, deadline) = (WARM_UP.as_secs() + u64::from(args.seconds), u64::from(args.write_deadline_s));
    if load >= deadline {
        bail!(
            "--write-deadline-s is {deadline}: it must be more than the {load} s for which a part runs, so that the \
             stuck ones are there all the time"
        );
    }
    let settings = serde_json::to_value(args)?;
    let goals = [
        ("healthy_p99_ratio", GOAL_P99),
        ("resident_bytes_per_stuck", GOAL_BYTES),
        ("heap_bytes_per_stuck", GOAL_BYTES),
        ("send_queue_bytes_max", GOAL_SEND_QUEUE),
        ("not_ended_as_stalled", 0.0),
        ("stalled_after_deadline_s", GOAL_STALLED_S),
        ("healthy_lost", 0.0),
        ("healthy_closed", 0.0),
    ];
    let goals = goals.into_iter().map(|(figure, most)| Goal::new(COMPARISON, figure, most)).collect();
    let size = (args.healthy + args.stuck, args.rounds);
    Plan::of_rivulet("stuck", &args.program, settings, size, goals).run(&|launcher, kind, round| {
        let mut stuck = Stuck::prepare(args, launcher, source_of(kind, round), round)?;
        let parts = PARTS.iter().map(|(name, beside)| stuck.part(name, *beside));
        let parts: Vec<Part> = parts.collect::<anyhow::Result<_>>()?;
        let named = PARTS.iter().zip(&parts);
        let mut phases: Vec<Phase> =
            named.map(|((name, _), part)| Phase::new(name, part.metrics())).collect();
        phases.push(Phase::new(COMPARISON, compare(args, &parts)));
        Ok(phases)
    })
}

/// One round.
struct Stuck<'a> {
    args: &'a StuckArgs,
    round: u32,
    server: Server,
    client: Client,
}

impl<'a> Stuck<'a> {
    fn prepare(args: &'a StuckArgs, launcher: &Launcher, source: u8, round: u32) -> anyhow::Result<Self> {
        let deadline = format!("{}s", args.write_deadline_s);
        let server = launcher.launch_hub_with_redis(&["--write-deadline", &deadline, "--lifetime", "0"])?;
        let mut client = Client::new(server.hub, source)?;
        let bar = progress::bar("rivulet", round, "healthy ones connect", args.healthy.into());
        client.open_subscribers(args.healthy, Topics::Shared, &bar)?;
        bar.finish_and_clear();
        Ok(Self { args, round, server, client })
    }

    fn part(&mut self, name: &str, beside: Beside) -> anyhow::Result<Part> {
        let spinner = progress::wait("rivulet", self.round, name);
        let topic = Topics::Shared.of_subscriber(0);
        let theirs = if beside == Beside::Stuck { topic.as_str() } else { SILENT_TOPIC };
        let request = subscriber::request(self.server.hub, theirs, &bench_token()?);
        let others = Silent::open(self.server.hub, self.args.stuck as usize, &request)?;
        let stalled_before = self.stalled()?;
        let (mut memory, mut kernels) = ((0.0, 0.0), (0.0, SendQueues::default()));
        let pace = Pace {
            topic,
            updates_per_s: self.args.updates_per_s,
            warm_up: WARM_UP,
            measured: Duration::from_secs(self.args.seconds.into()),
        };
        let (server, hub, began) = (&self.server, self.server.hub, Instant::now());
        let paced = pace.run(&mut self.client, &mut || {
            memory = (count(server.resident()?), server.heap().unwrap_or(f64::NAN));
            kernels = (count(kernel::tcp_memory()?), send_queues(hub)?);
            Ok(())
        })?;
        let stalled_s = match beside {
            Beside::Idle => 0.0,
            Beside::Stuck => self.wait_stalled(began, stalled_before, others.len())?,
        };
        drop(others);
        self.server.check_alive()?;
        spinner.finish_and_clear();
        let ((resident, heap), (tcp_memory, send_queues)) = (memory, kernels);
        Ok(Part { beside, paced, resident, heap, tcp_memory, send_queues, stalled_s })
    }

    fn stalled(&self) -> anyhow::Result<f64> {
        Ok(self.server.exposition()?.value(STALLED).unwrap_or(0.0))
    }

    /// Waits until all stuck ones have been ended as such. Infinite if they were not in time.
    fn wait_stalled(&mut self, began: Instant, before: f64, stuck: usize) -> anyhow::Result<f64> {
        let deadline = Duration::from_secs(self.args.write_deadline_s.into()) + STALLED_MAX;
        while began.elapsed() < deadline {
            if self.stalled()? - before >= count(stuck as u64) {
                return Ok(began.elapsed().as_secs_f64());
            }
            self.client.idle_for(LOOK)?;
        }
        Ok(f64::INFINITY)
    }
}

/// What the hub's connections have written and their clients have not taken. The healthy ones have nothing there to
/// speak of, so the longest queues are those of the stuck ones.
fn send_queues(hub: SocketAddr) -> anyhow::Result<SendQueues> {
    let lengths = kernel::connections_of(hub)?.into_iter().map(|connection| connection.send_queue_len);
    Ok(lengths
        .fold(SendQueues::default(), |all, len| SendQueues { sum: all.sum + len, max: all.max.max(len) }))
}

impl Part {
    fn metrics(&self) -> Vec<Metric> {
        let ms = |share: f64| self.paced.latency.quantile(share).as_secs_f64() * 1e3;
        let mut metrics = vec![
            metric("updates_per_s", self.paced.updates_per_s),
            metric("deliveries_per_s", self.paced.deliveries_per_s),
            metric("healthy_p50_ms", ms(0.5)),
            metric("healthy_p99_ms", ms(0.99)),
            metric("resident_mib", self.resident / (1024.0 * 1024.0)),
            metric("heap_mib", self.heap / (1024.0 * 1024.0)),
            metric("tcp_memory_mib", self.tcp_memory / (1024.0 * 1024.0)),
        ];
        if self.beside == Beside::Stuck {
            metrics.push(metric("all_stalled_s", self.stalled_s));
        }
        metrics
    }
}

fn compare(args: &StuckArgs, parts: &[Part]) -> Vec<Metric> {
    let of = |beside: Beside| parts.iter().filter(move |part| part.beside == beside);
    let quantile_ms = |beside: Beside, share: f64| {
        let mut all = Latency::new();
        of(beside).for_each(|part| all.add(&part.paced.latency));
        all.quantile(share).as_secs_f64() * 1e3
    };
    let mean = |beside: Beside, figure: &dyn Fn(&Part) -> f64| {
        of(beside).map(figure).sum::<f64>() / count(of(beside).count() as u64)
    };
    let stuck = f64::from(args.stuck);
    let per_stuck =
        |figure: &dyn Fn(&Part) -> f64| (mean(Beside::Stuck, figure) - mean(Beside::Idle, figure)) / stuck;
    let sum = |figure: &dyn Fn(&Part) -> u64| count(parts.iter().map(figure).sum());
    let worst_stalled_s = of(Beside::Stuck).map(|part| part.stalled_s).fold(0.0, f64::max);
    let unended = of(Beside::Stuck).filter(|part| part.stalled_s.is_infinite()).count();
    vec![
        metric("healthy", args.healthy.into()),
        metric("stuck", stuck),
        metric("healthy_p50_ratio", ratio(quantile_ms(Beside::Stuck, 0.5), quantile_ms(Beside::Idle, 0.5))),
        metric("healthy_p99_ratio", ratio(quantile_ms(Beside::Stuck, 0.99), quantile_ms(Beside::Idle, 0.99))),
        metric("resident_bytes_per_stuck", per_stuck(&|part| part.resident)),
        metric("heap_bytes_per_stuck", per_stuck(&|part| part.heap)),
        metric("tcp_memory_bytes_per_stuck", per_stuck(&|part| part.tcp_memory)),
        metric(
            "send_queue_bytes_per_stuck",
            mean(Beside::Stuck, &|part| count(part.send_queues.sum)) / stuck,
        ),
        metric(
            "send_queue_bytes_max",
            count(parts.iter().map(|part| part.send_queues.max).max().unwrap_or(0)),
        ),
        metric("not_ended_as_stalled", count(unended as u64)),
        metric("stalled_after_deadline_s", worst_stalled_s - f64::from(args.write_deadline_s)),
        metric("healthy_lost", sum(&|part| part.paced.lost)),
        metric("healthy_duplicates", sum(&|part| part.paced.duplicates)),
        metric("healthy_closed", sum(&|part| part.paced.closed)),
    ]
}
