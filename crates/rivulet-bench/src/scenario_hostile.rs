//! Scenario `hostile`: one client of each hostile kind beside healthy ones. What does the hub spend on it, and do the
//! healthy ones notice?

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    time::Duration,
};

use anyhow::Context;

use crate::{
    approach::{Approach, Certificate},
    args::HostileArgs,
    attack::{Attack, Done, Kind, Target},
    client::Client,
    flags::Flags,
    goal::Goal,
    metric::{Metric, Phase, count, metric, ratio},
    paced::Pace,
    progress,
    rounds::Plan,
    scenario_one_topic::source_of,
    servers::{Launcher, Server},
    token::bench_token,
    topics::Topics,
    usage::Usage,
};

/// The kinds, and what hub each needs.
const KINDS: [(&str, Kind, Needs); 9] = [
    ("a head, a byte a second", Kind::SlowHead, Needs::Nothing),
    ("a body, a byte a second", Kind::SlowBody, Needs::Nothing),
    ("pipelining on a stream", Kind::PipelinedFlood, Needs::Nothing),
    ("pipelining without reading", Kind::PipelinedUnread, Needs::Nothing),
    ("1 MB of headers", Kind::LongHeaders, Needs::Nothing),
    ("1 MB of headers in pieces", Kind::HeadersInPieces, Needs::Nothing),
    ("stalled TLS handshakes", Kind::StalledHandshake, Needs::Tls),
    (STORM, Kind::HandshakeStorm, Needs::Tls),
    ("stalled PROXY headers", Kind::StalledProxyHeader, Needs::Proxy),
];
const STORM: &str = "a storm of stalled TLS handshakes";
/// What is asked for: a share of a core.
const CPU: &str = "hub_cpu_share_above_idle";
const GOAL_CPU: f64 = 0.10;
/// What is asked for: the healthy ones' p99 is at most so much more than without the attack. Of several measurements the
/// least counts on both sides: what else the machine does only adds to it, and a hostile client is there in each.
const LATENCY: &str = "healthy_p99_by_allowed";
const P99_FACTOR: f64 = 1.5;
const P99_MORE_MS: f64 = 5.0;
const WARM_UP: Duration = Duration::from_millis(500);
/// From whom a PROXY header is believed.
const PROXIES: &str = "127.0.0.0/8";

/// How a hub has to be started for a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    Nothing,
    Tls,
    Proxy,
}

/// Measures and reports.
pub(crate) fn run(args: &HostileArgs) -> anyhow::Result<()> {
    let settings = serde_json::to_value(args)?;
    let goals = KINDS.iter().flat_map(|(phase, _, _)| {
        [(CPU, GOAL_CPU), (LATENCY, 1.0), ("healthy_lost", 0.0), ("healthy_closed", 0.0)]
            .map(|(figure, most)| Goal::new(phase, figure, most))
    });
    let goals = goals.chain([Goal::new(STORM, "newcomers_failed", 0.0)]).collect();
    let size = (args.healthy + args.connections, args.rounds);
    Plan::of_rivulet("hostile", &args.program, settings, size, goals).run(&|launcher, kind, round| {
        let flags = launcher.flags()?;
        let mut phases = Vec::new();
        for needs in [Needs::Nothing, Needs::Tls, Needs::Proxy] {
            let kinds = KINDS.iter().filter(|(_, _, theirs)| *theirs == needs);
            if !needs.are_met_by(&flags) {
                phases.extend(kinds.map(|(phase, _, _)| left_out(phase, needs)));
                continue;
            }
            let mut stage = Stage::set(args, launcher, needs, source_of(kind, round))?;
            for (phase, kind, _) in kinds {
                phases.push(stage.measure(phase, *kind, round)?);
            }
        }
        Ok(phases)
    })
}

fn left_out(phase: &'static str, needs: Needs) -> Phase {
    let notes = vec![format!("left out: this rivulet has no {}", needs.flags().join(" with "))];
    Phase { notes, ..Phase::new(phase, Vec::new()) }
}

impl Needs {
    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Nothing => &[],
            Self::Tls => &["--tls-cert-file", "--tls-key-file"],
            Self::Proxy => &["--proxy-protocol", "--trusted-proxy"],
        }
    }

    /// Whether the hub can be started so.
    fn are_met_by(self, flags: &Flags) -> bool {
        self.flags().iter().all(|flag| flags.has(flag))
    }

    /// What the hub is started with. The certificate is there where TLS is needed.
    fn arguments(self, certificate: Option<&Certificate>) -> anyhow::Result<Vec<String>> {
        let mut words = Vec::new();
        if let Some(certificate) = certificate {
            for (flag, file) in self.flags().iter().zip(certificate.files()) {
                let file = file.to_str().context("a temporary directory whose name is no text")?;
                words.extend([(*flag).to_owned(), file.to_owned()]);
            }
        } else if self == Self::Proxy {
            words.extend(self.flags().iter().map(|flag| (*flag).to_owned()));
            words.push(PROXIES.to_owned());
        }
        Ok(words)
    }
}

/// A hub with its healthy subscribers.
struct Stage<'a> {
    args: &'a HostileArgs,
    server: Server,
    approach: Approach,
    client: Client,
    // Its files are read again while the hub runs.
    _certificate: Option<Certificate>,
}

impl<'a> Stage<'a> {
    fn set(args: &'a HostileArgs, launcher: &Launcher, needs: Needs, source: u8) -> anyhow::Result<Self> {
        let certificate =
            (needs == Needs::Tls).then(|| Certificate::make(Ipv4Addr::LOCALHOST)).transpose()?;
        let words = needs.arguments(certificate.as_ref())?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let server = launcher.launch_hub_with_redis(&words)?;
        let approach = match (&certificate, server.hub) {
            (Some(certificate), _) => certificate.approach(Ipv4Addr::LOCALHOST)?,
            (None, SocketAddr::V4(hub)) if needs == Needs::Proxy => {
                Approach::by_proxy(SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 1), hub)
            }
            (None, _) => Approach::default(),
        };
        let mut client = Client::approaching(server.hub, approach.clone(), source)?;
        let hidden = indicatif::ProgressBar::hidden();
        client.open_subscribers(args.healthy, Topics::Shared, &hidden)?;
        Ok(Self { args, server, approach, client, _certificate: certificate })
    }

    /// Without and with the attack, and again: what drifts drifts for both.
    fn measure(&mut self, phase: &'static str, kind: Kind, round: u32) -> anyhow::Result<Phase> {
        let spinner = progress::wait("rivulet", round, phase);
        let (mut idle, mut attacked, mut done) = (Seen::nothing(), Seen::nothing(), Done::default());
        for _ in 0..self.args.pairs {
            self.load(&mut idle)?;
            let target = Target {
                hub: self.server.hub,
                approach: self.approach.clone(),
                token: bench_token()?,
                connections: self.args.connections as usize,
            };
            let attack = Attack::start(kind, target);
            let loaded = self.load(&mut attacked);
            let more = attack.stop();
            self.server.check_alive()?;
            loaded?;
            done = done.and(more?);
        }
        spinner.finish_and_clear();
        Ok(Phase::new(phase, metrics(&idle, &attacked, done)))
    }

    /// Publishes for a while, and adds what the healthy ones saw and what the hub spent.
    fn load(&mut self, seen: &mut Seen) -> anyhow::Result<()> {
        let pace = Pace {
            topic: Topics::Shared.of_subscriber(0),
            updates_per_s: self.args.updates_per_s,
            warm_up: WARM_UP,
            measured: Duration::from_secs(self.args.seconds.into()),
        };
        let (server, before) = (&self.server, Usage::now(&self.server)?);
        let (cpu, wall) = (&mut seen.cpu, &mut seen.wall);
        let paced = pace.run(&mut self.client, &mut || {
            let spent = before.until(&Usage::now(server)?);
            *cpu += spent.server;
            *wall += spent.wall;
            Ok(())
        })?;
        let p99 = paced.latency.quantile(0.99);
        seen.p99_least = seen.p99_least.min(p99);
        seen.p99_most = seen.p99_most.max(p99);
        seen.lost += paced.lost;
        seen.closed += paced.closed;
        Ok(())
    }
}

/// What the healthy ones saw, and what the hub spent meanwhile.
struct Seen {
    p99_least: Duration,
    p99_most: Duration,
    lost: u64,
    closed: u64,
    cpu: Duration,
    wall: Duration,
}

impl Seen {
    fn nothing() -> Self {
        let (cpu, wall) = (Duration::ZERO, Duration::ZERO);
        Self { p99_least: Duration::MAX, p99_most: Duration::ZERO, lost: 0, closed: 0, cpu, wall }
    }

    fn cpu_share(&self) -> f64 {
        ratio(self.cpu.as_secs_f64(), self.wall.as_secs_f64())
    }
}

fn metrics(idle: &Seen, attacked: &Seen, done: Done) -> Vec<Metric> {
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let (idle_ms, ms) = (milliseconds(idle.p99_least), milliseconds(attacked.p99_least));
    vec![
        metric("hub_cpu_share_idle", idle.cpu_share()),
        metric("hub_cpu_share_attacked", attacked.cpu_share()),
        metric(CPU, attacked.cpu_share() - idle.cpu_share()),
        metric("healthy_p99_ms_idle_least", idle_ms),
        metric("healthy_p99_ms_idle_most", milliseconds(idle.p99_most)),
        metric("healthy_p99_ms_attacked_least", ms),
        metric("healthy_p99_ms_attacked_most", milliseconds(attacked.p99_most)),
        metric(LATENCY, ratio(ms, idle_ms * P99_FACTOR + P99_MORE_MS)),
        metric("healthy_lost", count(attacked.lost)),
        metric("healthy_closed", count(attacked.closed)),
        metric("attack_connections", count(done.connections)),
        metric("attack_sent_kib", count(done.bytes) / 1024.0),
        metric("attack_ended_by_hub", count(done.ended)),
        metric("newcomers", count(done.newcomers)),
        metric("newcomers_failed", count(done.newcomers_failed)),
        metric("attack_longest_s", done.longest.as_secs_f64()),
    ]
}
