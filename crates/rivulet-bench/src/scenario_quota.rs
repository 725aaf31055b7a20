//! Scenario `quota`: many clients of one subject on many nodes. Is its limit never exceeded, can it be reached, and does
//! the share of nodes that were killed come back within the lease time?

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use indicatif::ProgressBar;

use crate::{
    args::QuotaArgs,
    flags::Flags,
    goal::Goal,
    metric::{Metric, Phase, count, metric, ratio},
    progress,
    quota_clients::{Counts, Holding, QuotaClients, Which},
    redis_server::{Keeping, RedisServer},
    rounds::Plan,
    servers::{Launcher, Server},
    token::token_of,
};

const HAMMERED: &str = "all hammer";
const FILLED: &str = "filled until refused";
const REGAINED: &str = "half of the nodes killed";
const MOST: &str = "most_open";
const WRONG: &str = "wrong_refusals";
const LIMIT_FLAG: &str = "--limit-connections-per-subject";
const LEASE_FLAG: &str = "--limits-lease";
const SUBJECT: &str = "bench-subject";
const TOPIC: &str = "https://example.com/bench/quota";
/// How much later than the lease time the share of the dead may be reachable: until somebody asks again.
const REGAIN_MORE_S: f64 = 2.0;
/// Longest wait until all of the limit are open, beyond what it may take.
const FILL_MAX: Duration = Duration::from_secs(10);
/// Clients that ask at a time while it is filled, and refusals at the end that say that it is full.
const ASKING: usize = 16;
const LAST_REFUSALS: u64 = 64;
/// Pause after a refusal, while it is filled: it is looked at every so often whether there is room.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// Measures and reports.
pub(crate) fn run(args: &QuotaArgs) -> anyhow::Result<()> {
    let settings = serde_json::to_value(args)?;
    let (limit, lease_s) = (f64::from(args.limit), f64::from(args.lease_s));
    let mut goals = Vec::new();
    for phase in [HAMMERED, FILLED, REGAINED] {
        goals.extend([Goal::new(phase, MOST, limit), Goal::new(phase, WRONG, 0.0)]);
    }
    goals.extend([FILLED, REGAINED].map(|phase| Goal::at_least(phase, MOST, limit)));
    goals.push(Goal::new(REGAINED, "all_open_after_s", lease_s + REGAIN_MORE_S));
    let size = (args.nodes * args.clients_per_node, args.rounds);
    Plan::of_rivulet("quota", &args.program, settings, size, goals).run(&|launcher, _, round| {
        let mut quota = Quota::prepare(args, launcher, round)?;
        let phases = [quota.hammer()?, quota.fill()?, quota.regain()?];
        quota.check_alive()?;
        Ok(phases.into())
    })
}

/// One round.
struct Quota<'a> {
    args: &'a QuotaArgs,
    round: u32,
    clients: QuotaClients,
    // Fields are dropped in order: the nodes end before the Redis that they use.
    nodes: Vec<Server>,
    _redis: RedisServer,
}

impl<'a> Quota<'a> {
    fn prepare(args: &'a QuotaArgs, launcher: &Launcher, round: u32) -> anyhow::Result<Self> {
        let arguments = arguments(args, &launcher.flags()?)?;
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let redis = launcher.launch_redis(Keeping::InMemory, &[])?;
        let url = format!("redis://{}", redis.address);
        let nodes = (0..args.nodes).map(|_| launcher.launch_hub(Some(&url), &words, |cores| cores.server));
        let nodes: Vec<Server> = nodes.collect::<anyhow::Result<_>>()?;
        let addresses = nodes.iter().map(|node| node.hub).collect();
        let clients = QuotaClients::new(addresses, TOPIC, token_of(SUBJECT)?)?;
        Ok(Self { args, round, clients, nodes, _redis: redis })
    }

    /// Every client asks, holds what it gets for a moment, and asks again at once.
    fn hammer(&mut self) -> anyhow::Result<Phase> {
        let spinner = progress::wait("rivulet", self.round, HAMMERED);
        for client in 0..self.args.nodes * self.args.clients_per_node {
            self.clients.ask((client % self.args.nodes) as usize, Holding::Briefly)?;
        }
        let (began, length) = (Instant::now(), Duration::from_secs(self.args.seconds.into()));
        let (mut looks, mut open) = (0_u64, 0_u64);
        while began.elapsed() < length {
            for node in self.clients.turn()? {
                self.clients.ask(node, Holding::Briefly)?;
            }
            looks += 1;
            open += self.clients.open as u64;
            spinner.tick();
        }
        self.clients.leave_all(Which::All);
        spinner.finish_and_clear();
        let (counts, seconds) = (self.clients.take_counts(), began.elapsed().as_secs_f64());
        let mut metrics = metrics(&counts);
        metrics.extend([
            metric("mean_open", ratio(count(open), count(looks))),
            metric("answers_per_s", ratio(count(counts.opened + counts.refused), seconds)),
        ]);
        Ok(phase(HAMMERED, metrics, counts))
    }

    /// Clients come to all nodes and stay.
    fn fill(&mut self) -> anyhow::Result<Phase> {
        let all: Vec<usize> = (0..self.nodes.len()).collect();
        let full = self.fill_up(&all, Instant::now(), FILL_MAX)?;
        let counts = self.clients.take_counts();
        let mut metrics = metrics(&counts);
        metrics.push(metric("all_open_after_s", full));
        Ok(phase(FILLED, metrics, counts))
    }

    /// The first half of the nodes is killed, with all that it holds, and clients come to the others.
    fn regain(&mut self) -> anyhow::Result<Phase> {
        let (half, all) = (self.nodes.len() / 2, self.nodes.len());
        let held_before = self.clients.open;
        for node in &mut self.nodes[..half] {
            node.kill()?;
        }
        let killed = Instant::now();
        self.nodes.drain(..half);
        // Their clients' connections have ended with them: they are taken off the count before anybody else comes.
        while !self.clients.turn()?.is_empty() {}
        let held_after = self.clients.open;
        let rest: Vec<usize> = (half..all).collect();
        let wait_max = FILL_MAX + Duration::from_secs(self.args.lease_s.into());
        let full = self.fill_up(&rest, killed, wait_max)?;
        let counts = self.clients.take_counts();
        let mut metrics = metrics(&counts);
        metrics.extend([
            metric("held_by_the_killed", count((held_before - held_after) as u64)),
            metric("all_open_after_s", full),
        ]);
        Ok(phase(REGAINED, metrics, counts))
    }

    /// Has clients come to these nodes until the limit is reached, and then some more, who are to be refused. Answers
    /// when it was reached, in seconds from `since`; infinite if it was not.
    fn fill_up(&mut self, nodes: &[usize], since: Instant, wait_max: Duration) -> anyhow::Result<f64> {
        let spinner: ProgressBar = progress::wait("rivulet", self.round, "streams are held");
        let (limit, deadline) = (self.args.limit as usize, Instant::now() + wait_max);
        let (mut full, mut turns, mut ask_at) = (None, nodes.iter().cycle(), Instant::now());
        let mut refused_when_full = 0;
        loop {
            let now = Instant::now();
            if full.is_none() && self.clients.open >= limit {
                full = Some(since.elapsed().as_secs_f64());
                refused_when_full = self.clients.counts.refused;
            }
            let is_proven =
                full.is_some() && self.clients.counts.refused >= refused_when_full + LAST_REFUSALS;
            if is_proven || now > deadline {
                break;
            }
            while now >= ask_at && self.clients.asking() < ASKING {
                let node = *turns.next().context("there are no nodes")?;
                self.clients.ask(node, Holding::ForGood)?;
            }
            if !self.clients.turn()?.is_empty() {
                ask_at = Instant::now() + ASK_AGAIN;
            }
            spinner.tick();
        }
        self.clients.leave_all(Which::Asking);
        spinner.finish_and_clear();
        Ok(full.unwrap_or(f64::INFINITY))
    }

    fn check_alive(&mut self) -> anyhow::Result<()> {
        self.nodes.iter_mut().try_for_each(Server::check_alive)
    }
}

fn arguments(args: &QuotaArgs, flags: &Flags) -> anyhow::Result<Vec<String>> {
    if let Some(missing) = [LIMIT_FLAG, LEASE_FLAG].iter().find(|flag| !flags.has(flag)) {
        bail!("this rivulet has no {missing}: there is no quota to measure");
    }
    let words = [LIMIT_FLAG, &args.limit.to_string(), LEASE_FLAG, &format!("{}s", args.lease_s)];
    Ok(words.map(str::to_owned).into())
}

fn metrics(counts: &Counts) -> Vec<Metric> {
    vec![
        metric(MOST, count(counts.most_open as u64)),
        metric("opened", count(counts.opened)),
        metric("refused", count(counts.refused)),
        metric(WRONG, count(counts.wrong)),
    ]
}

fn phase(name: &'static str, metrics: Vec<Metric>, counts: Counts) -> Phase {
    let notes = counts.first_wrong.map(|what| format!("the first answer that was wrong: {what}"));
    Phase { notes: notes.into_iter().collect(), ..Phase::new(name, metrics) }
}
