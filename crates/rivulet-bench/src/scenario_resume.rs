//! Scenario `resume`: many clients come back at once, each with its last id, and read on from the log. What does Redis
//! have to read, compared with what one client alone needs, and how much memory does the node take?

use std::time::{Duration, Instant};

use crate::{
    args::ResumeArgs,
    client::Client,
    goal::Goal,
    load,
    metric::{Phase, count, metric, ratio},
    payload::Stamp,
    poster::Poster,
    progress,
    redis_client::RedisClient,
    rounds::Plan,
    scenario_one_topic::source_of,
    servers::{Launcher, Server},
    subscriber,
    token::bench_token,
    topics::Topics,
};

const ALONE: &str = "one client alone";
const SAME_ID: &str = "all with the same id";
const OWN_IDS: &str = "each with its own id";
/// What is asked for: reads, compared with one client's, and memory above that of the idle node.
const GOAL_READS: f64 = 20.0;
const GOAL_MEMORY_MIB: f64 = 64.0;
/// Between two phases: longer than a node shares what it has read, and than a topic outlives its last subscriber.
const PAUSE: Duration = Duration::from_secs(4);
/// How long is listened for copies after the last delivery.
const AFTERMATH: Duration = Duration::from_millis(300);

/// Measures and reports.
pub(crate) fn run(args: &ResumeArgs) -> anyhow::Result<()> {
    let settings = serde_json::to_value(args)?;
    let goals = [SAME_ID, OWN_IDS].into_iter().flat_map(|phase| {
        [("reads_by_one_client", GOAL_READS), ("xranges_by_one_client", GOAL_READS)]
            .into_iter()
            .chain([("peak_above_idle_mib", GOAL_MEMORY_MIB)])
            .map(move |(metric, at_most)| Goal::new(phase, metric, at_most))
    });
    let goals = goals.collect();
    let size = (args.clients, args.rounds);
    Plan::of_rivulet("resume", &args.program, settings, size, goals).run(&|launcher, kind, round| {
        let mut resume = Resume::prepare(args, launcher, source_of(kind, round), round)?;
        let alone = resume.measure(ALONE, 1)?;
        resume.alone = Some(alone.reads);
        let same = resume.measure(SAME_ID, args.clients)?;
        let own = resume.measure(OWN_IDS, args.clients)?;
        Ok([alone, same, own].map(|measured| measured.phase).into())
    })
}

/// One round.
struct Resume<'a> {
    args: &'a ResumeArgs,
    round: u32,
    source: u8,
    server: Server,
    redis: RedisClient,
    /// Of all updates in the log, in order.
    ids: Vec<String>,
    /// Of the node before anybody came.
    idle_bytes: u64,
    alone: Option<Reads>,
}

/// What Redis has done, since it began or between two moments.
#[derive(Clone, Copy)]
struct Reads {
    scripts: u64,
    /// While nothing is published there is one per tick of the node, which is a script too.
    publishes: u64,
    /// The commands that read the log, within those scripts.
    xranges: u64,
    bytes: u64,
}

struct Measured {
    phase: Phase,
    reads: Reads,
}

impl<'a> Resume<'a> {
    /// Starts a node and fills the log: the clients with their own ids come back with the first ones, and the last of
    /// them has still missed as many updates as the arguments say.
    fn prepare(args: &'a ResumeArgs, launcher: &Launcher, source: u8, round: u32) -> anyhow::Result<Self> {
        let len = args.clients + args.updates;
        let retention = (len * 2).to_string();
        let server = launcher.launch_hub_with_redis(&["--retention-count", &retention])?;
        let topic = Topics::Shared.of_subscriber(0);
        let updates = (0..len).map(|number| (topic.clone(), Stamp { number, sent_ns: 0 }));
        let ids = Poster::connect(server.hub, &bench_token()?)?.publish_all(updates)?;
        // What only publishing takes is no part of the measurement.
        std::thread::sleep(PAUSE);
        let (redis, idle_bytes) = (server.redis_client()?, server.resident()?);
        Ok(Self { args, round, source, server, redis, ids, idle_bytes, alone: None })
    }

    /// How many updates a client has seen. Those with their own ids come in no order: the factor is a prime larger than
    /// any number of clients.
    fn seen(&self, phase: &str, client: usize) -> usize {
        let latest = self.ids.len() - self.args.updates as usize;
        if phase == OWN_IDS { 1 + client * 104_729 % latest } else { latest }
    }

    fn measure(&mut self, phase: &'static str, clients: u32) -> anyhow::Result<Measured> {
        std::thread::sleep(PAUSE);
        let (hub, topic, token) = (self.server.hub, Topics::Shared.of_subscriber(0), bench_token()?);
        let mut client = Client::new(hub, self.source)?;
        let (cpu, reads) = (self.server.cpu()?, Reads::of(&mut self.redis)?);
        self.server.forget_peak()?;
        let began = Instant::now();
        let request = |index: usize| {
            subscriber::resumption(hub, &topic, &token, &self.ids[self.seen(phase, index) - 1])
        };
        let bar = progress::bar("rivulet", self.round, &format!("{phase}: connect"), clients.into());
        let opened_in = client.open_streams(clients, &request, &bar)?;
        bar.finish_and_clear();
        let missed = |index: usize| (self.ids.len() - self.seen(phase, index)) as u64;
        let missed: Vec<u64> = (0..clients as usize).map(missed).collect();
        let due: u64 = missed.iter().sum();
        let bar = progress::bar("rivulet", self.round, &format!("{phase}: catch up"), due);
        load::wait(&mut client, &bar, |client| client.tally().deliveries >= due)?;
        bar.finish_and_clear();
        let caught_up = client.began() + Duration::from_nanos(client.last_delivery_ns());
        let (peak, cpu) = (self.server.peak()?, self.server.cpu()?.saturating_sub(cpu));
        client.idle_for(AFTERMATH)?;
        self.server.check_alive()?;
        let reads = Reads::of(&mut self.redis)?.since(reads);
        let (mut lost, mut copies) = (0, 0);
        for (missed, received) in missed.iter().zip(client.received()) {
            lost += missed.saturating_sub(received);
            copies += received.saturating_sub(*missed);
        }
        let above_idle = count(peak) - count(self.idle_bytes);
        let mut metrics = vec![
            metric("clients", f64::from(clients)),
            metric("deliveries", count(client.tally().deliveries)),
            metric("lost", count(lost)),
            metric("duplicates", count(copies)),
            metric("closed_streams", count(client.tally().closed)),
            metric("all_open_ms", opened_in.as_secs_f64() * 1e3),
            metric("all_caught_up_ms", caught_up.duration_since(began).as_secs_f64() * 1e3),
            metric("server_cpu_ms", cpu.as_secs_f64() * 1e3),
            metric("peak_above_idle_mib", above_idle / (1024.0 * 1024.0)),
        ];
        metrics.extend(reads.metrics(self.alone));
        Ok(Measured { phase: Phase::new(phase, metrics), reads })
    }
}

impl Reads {
    fn of(redis: &mut RedisClient) -> anyhow::Result<Self> {
        let (stats, net) = (redis.info("commandstats")?, redis.info("stats")?);
        Ok(Self {
            scripts: stats.calls("evalsha") + stats.calls("eval"),
            publishes: stats.calls("publish"),
            xranges: stats.calls("xrange"),
            bytes: net.number("total_net_output_bytes"),
        })
    }

    fn since(self, before: Self) -> Self {
        Self {
            scripts: self.scripts.saturating_sub(before.scripts),
            publishes: self.publishes.saturating_sub(before.publishes),
            xranges: self.xranges.saturating_sub(before.xranges),
            bytes: self.bytes.saturating_sub(before.bytes),
        }
    }

    /// Calls of scripts that read.
    fn reads(self) -> u64 {
        self.scripts.saturating_sub(self.publishes)
    }

    /// With one client's reads, the ratios to them as well.
    fn metrics(self, alone: Option<Self>) -> Vec<crate::metric::Metric> {
        let mut metrics = vec![
            metric("redis_read_scripts", count(self.reads())),
            metric("redis_xranges", count(self.xranges)),
            metric("redis_output_mib", count(self.bytes) / (1024.0 * 1024.0)),
        ];
        if let Some(alone) = alone {
            let by_one = |all: u64, one: u64| ratio(count(all), count(one));
            metrics.extend([
                metric("reads_by_one_client", by_one(self.reads(), alone.reads())),
                metric("xranges_by_one_client", by_one(self.xranges, alone.xranges)),
                metric("output_by_one_client", by_one(self.bytes, alone.bytes)),
            ]);
        }
        metrics
    }
}
