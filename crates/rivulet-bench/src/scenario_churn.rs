//! Scenario `churn`: connections end in every manner while updates flow through Redis. Is everything that they held
//! given back when they have gone, and is the heap where it was?

use std::{
    net::Ipv4Addr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use crate::{
    approach::{Approach, Certificate},
    args::ChurnArgs,
    churn_crowd::{Counts, Crowd},
    churn_manner::Manner,
    churn_visitor::WRITE_DEADLINE,
    flags::Flags,
    goal::Goal,
    http_get::http_get_bytes,
    metric::{Metric, Phase, count, metric, ratio},
    progress,
    redis_client::RedisClient,
    residue::{self, Level, Residue},
    rounds::Plan,
    servers::{Launcher, Server},
    subscriber,
    token::bench_token,
    vanishing::Vanishing,
};

const PHASE: &str = "churn";
/// The heap is looked at after each wave, when all its connections are gone; the first fills what is kept.
const HEAP_FIGURES: [&str; 10] = [
    "heap_mib_after_wave_1",
    "heap_mib_after_wave_2",
    "heap_mib_after_wave_3",
    "heap_mib_after_wave_4",
    "heap_mib_after_wave_5",
    "heap_mib_after_wave_6",
    "heap_mib_after_wave_7",
    "heap_mib_after_wave_8",
    "heap_mib_after_wave_9",
    "heap_mib_after_wave_10",
];
/// What is asked for: expired tokens end their streams to the second.
const EXPIRY_LATE: &str = "token_expiry_late_ms_max";
const EXPIRY_LATE_MS_MAX: f64 = 1_000.0;
/// What is asked for: by how much the heap may be higher after the last wave than after the first.
const HEAP_GROWTH: &str = "heap_growth_percent";
const HEAP_GROWTH_PERCENT_MAX: f64 = 2.0;
const MIB: f64 = 1024.0 * 1024.0;
/// Before the first look as many come as are ever there at once, and wait for Redis together: queues keep the room that they
/// have needed.
const WARM_UP_PAUSE_MS: &str = "1500";
/// After a wave until its streams are gone, and after all of them until everything is: channels outlive their last
/// subscriber by some seconds, and clients that vanished are noticed after a minute and a half at most.
const WAVE_SETTLE_MAX: Duration = Duration::from_secs(15);
const LAST_SETTLE_MAX: Duration = Duration::from_secs(120);
/// Looks at the heap after a wave; the least counts, as a look takes some itself.
const HEAP_LOOKS: u32 = 4;
const HEAP_LOOK_PAUSE: Duration = Duration::from_millis(150);
/// A limit that nobody reaches: it counts, and has to count back.
const LIMIT: &str = "1000000";
const TLS_FLAGS: [&str; 2] = ["--tls-cert-file", "--tls-key-file"];

/// Soaks and reports.
pub(crate) fn run(args: &ChurnArgs) -> anyhow::Result<()> {
    let settings = serde_json::to_value(args)?;
    let mut goals: Vec<Goal> = Residue::figures().map(|figure| Goal::new(PHASE, figure, 0.0)).collect();
    goals.push(Goal::new(PHASE, "ended_otherwise", 0.0));
    goals.push(Goal::new(PHASE, EXPIRY_LATE, EXPIRY_LATE_MS_MAX));
    goals.push(Goal::new(PHASE, HEAP_GROWTH, HEAP_GROWTH_PERCENT_MAX));
    let size = (args.at_once + args.vanish, args.rounds);
    Plan::of_rivulet("churn", &args.program, settings, size, goals).run(&|launcher, _, round| {
        let mut churn = Churn::prepare(args, launcher, round)?;
        let result = churn.soak();
        // A hub that died is the better explanation of a soak that failed.
        churn.server.check_alive()?;
        Ok(vec![result?])
    })
}

/// One round.
struct Churn<'a> {
    args: &'a ChurnArgs,
    round: u32,
    until: Instant,
    server: Server,
    redis: RedisClient,
    crowd: Crowd,
    approach: Approach,
    vanishing: Option<Vanishing>,
    notes: Vec<String>,
    // Its files are read again while the hub runs.
    _certificate: Option<Certificate>,
}

impl<'a> Churn<'a> {
    fn prepare(args: &'a ChurnArgs, launcher: &Launcher, round: u32) -> anyhow::Result<Self> {
        let (flags, mut notes) = (launcher.flags()?, Vec::new());
        let vanishing = lay_link(args, &mut notes);
        let ip = vanishing.as_ref().map_or(Ipv4Addr::LOCALHOST, |vanishing| vanishing.hub_side);
        let certificate = certificate(args, &flags, ip, &mut notes)?;
        let approach = certificate.as_ref().map_or(Ok(Approach::default()), |one| one.approach(ip))?;
        let arguments = arguments(args, &flags, certificate.as_ref(), &mut notes)?;
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let server = launcher.launch_hub_with_redis_at(ip, &words)?;
        let redis = server.redis_client()?;
        let crowd = Crowd::prepare(server.hub, approach.clone(), certificate.is_some())?;
        let until = Instant::now() + Duration::from_secs(args.time_s_max.into());
        Ok(Self {
            args,
            round,
            until,
            server,
            redis,
            crowd,
            approach,
            vanishing,
            notes,
            _certificate: certificate,
        })
    }

    fn soak(&mut self) -> anyhow::Result<Phase> {
        let hidden = indicatif::ProgressBar::hidden();
        let before_warm_up = Level::read(&self.server, &mut self.redis)?;
        let pause = || self.redis.command(&["CLIENT", "PAUSE", WARM_UP_PAUSE_MS]).map(drop);
        let at_once = self.args.at_once;
        self.crowd.visit_when(at_once.into(), at_once as usize, self.until, &hidden, pause)?;
        let (before, _) =
            residue::settle(&mut self.server, &mut self.redis, &before_warm_up, WAVE_SETTLE_MAX)?;
        self.crowd.reset_counts();

        let (began, mut busy, mut heap) = (Instant::now(), Duration::ZERO, Vec::new());
        let bar = progress::bar("rivulet", self.round, "connections", self.args.connections.into());
        for wave in 0..self.args.waves {
            let wave_began = Instant::now();
            self.wave(wave, &bar)?;
            busy += wave_began.elapsed();
            let vanishing = if wave == 0 { 0 } else { self.args.vanish };
            heap.push(self.heap_after_wave(&before, vanishing)?);
            if wave == 0 {
                heap[0] = self.heap_without_timers()?;
                self.vanish()?;
            }
        }
        bar.finish_and_clear();
        let spinner = progress::wait("rivulet", self.round, "the rest is given back");
        let (_, left) = residue::settle(&mut self.server, &mut self.redis, &before, LAST_SETTLE_MAX)?;
        spinner.finish_and_clear();
        let last = self.heap_without_timers()?;
        if let Some(point) = heap.last_mut() {
            *point = last;
        }
        let mut metrics = self.course(began.elapsed(), busy);
        metrics.extend(heap_metrics(&heap));
        metrics.extend(left.metrics());
        self.notes.extend(left.notes());
        self.notes.extend(self.crowd.counts.wrong.iter().map(|((manner, wrong), times)| {
            format!("{times} of {manner:?} ended otherwise than they should: {wrong:?}")
        }));
        Ok(Phase { notes: std::mem::take(&mut self.notes), ..Phase::new(PHASE, metrics) })
    }

    fn wave(&mut self, wave: u32, bar: &indicatif::ProgressBar) -> anyhow::Result<()> {
        let (all, waves) = (u64::from(self.args.connections), self.args.waves);
        let until = |wave: u32| all * u64::from(wave) / u64::from(waves);
        let (visitors, at_once) = (until(wave + 1) - until(wave), self.args.at_once as usize);
        let Some(file) = self.args.heap_profile.as_deref().filter(|_| wave == waves / 2) else {
            return self.crowd.visit(visitors, at_once, self.until, bar);
        };
        let admin = self.server.admin()?;
        std::thread::scope(|scope| {
            let profile = scope.spawn(move || write_heap_profile(admin, file));
            self.crowd.visit(visitors, at_once, self.until, bar)?;
            profile.join().unwrap_or_else(|_| bail!("the heap profile was not taken"))
        })
    }

    /// The heap when the streams of a wave are gone, but for those whose clients have vanished.
    fn heap_after_wave(&mut self, before: &Level, vanished: u32) -> anyhow::Result<f64> {
        let streams = if self.vanishing.is_some() { vanished } else { 0 };
        residue::settle_streams(&mut self.server, &mut self.redis, before, streams, WAVE_SETTLE_MAX)?;
        self.least_heap()
    }

    /// What the timers know of a stream, eight bytes, goes when its next heartbeat would be due, and idle readers of the log
    /// go within fifteen seconds.
    fn heap_without_timers(&mut self) -> anyhow::Result<f64> {
        std::thread::sleep(Duration::from_secs(self.args.timers_s.into()));
        self.least_heap()
    }

    fn least_heap(&mut self) -> anyhow::Result<f64> {
        let mut least = f64::INFINITY;
        for _ in 0..HEAP_LOOKS {
            least = least.min(Level::read(&self.server, &mut self.redis)?.heap());
            std::thread::sleep(HEAP_LOOK_PAUSE);
        }
        Ok(least)
    }

    /// Opens the streams of those who vanish, half of them with updates on their way, and takes their link down.
    fn vanish(&mut self) -> anyhow::Result<()> {
        let (Some(link), hub) = (&self.vanishing, self.server.hub) else { return Ok(()) };
        let token = bench_token()?;
        let request = |number: u32| {
            let topic =
                if number.is_multiple_of(2) { "flow/0".to_owned() } else { format!("vanish/{number}") };
            subscriber::request(hub, &format!("https://example.com/bench/{topic}"), &token)
        };
        link.open(hub, &self.approach, (0..self.args.vanish).map(request).collect())?;
        link.cut(hub)
    }

    fn course(&self, all: Duration, busy: Duration) -> Vec<Metric> {
        let counts: &Counts = &self.crowd.counts;
        let ended = count(counts.ended());
        let mut metrics = vec![
            metric("connections", ended),
            metric("connections_per_s", ratio(ended, busy.as_secs_f64())),
            metric("most_at_once", count(counts.most_at_once as u64)),
            metric("updates_published", count(counts.acknowledged)),
            metric("all_s", all.as_secs_f64()),
        ];
        for manner in Manner::ALL {
            let ended = counts.by_manner.get(&manner).copied().unwrap_or(0);
            metrics.push(metric(manner.figure(), count(ended)));
        }
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        metrics.push(metric("token_expiry_early_ms_max", ms(counts.earliest_expiry)));
        metrics.push(metric(EXPIRY_LATE, ms(counts.latest_expiry)));
        metrics.push(metric("ended_otherwise", count(counts.wrong())));
        if let Some(vanishing) = &self.vanishing {
            metrics.push(metric("vanished", self.args.vanish.into()));
            let noticed = vanishing.noticed().map_or(f64::INFINITY, |noticed| noticed.as_secs_f64());
            metrics.push(metric("vanished_noticed_after_s", noticed));
        }
        metrics
    }
}

fn heap_metrics(heap: &[f64]) -> Vec<Metric> {
    let first = heap.first().copied().unwrap_or(0.0);
    let last = heap.last().copied().unwrap_or(first);
    let mut metrics: Vec<Metric> =
        HEAP_FIGURES.iter().zip(heap).map(|(name, bytes)| metric(name, bytes / MIB)).collect();
    metrics.extend([
        metric("heap_growth_bytes", last - first),
        metric(HEAP_GROWTH, ratio((last - first) * 100.0, first)),
    ]);
    metrics
}

/// Lays the link for those who vanish, or says why there are none.
fn lay_link(args: &ChurnArgs, notes: &mut Vec<String>) -> Option<Vanishing> {
    if args.vanish == 0 {
        return None;
    }
    let laid = Vanishing::lay();
    laid.map_err(|error| notes.push(format!("nobody vanishes: {error:#}; it needs root and iproute2"))).ok()
}

fn certificate(
    args: &ChurnArgs,
    flags: &Flags,
    hub: Ipv4Addr,
    notes: &mut Vec<String>,
) -> anyhow::Result<Option<Certificate>> {
    if args.tls && TLS_FLAGS.iter().all(|flag| flags.has(flag)) {
        return Certificate::make(hub).map(Some);
    }
    if args.tls {
        bail!("--tls: this rivulet has no {}", TLS_FLAGS.join(" and "));
    }
    notes.push("nobody leaves in a TLS handshake: that needs --tls, and a hub that has it".to_owned());
    Ok(None)
}

fn arguments(
    args: &ChurnArgs,
    flags: &Flags,
    certificate: Option<&Certificate>,
    notes: &mut Vec<String>,
) -> anyhow::Result<Vec<String>> {
    let in_seconds = |flag: &str, seconds: u64| [flag.to_owned(), format!("{seconds}s")];
    let mut arguments = in_seconds("--write-deadline", WRITE_DEADLINE.as_secs()).to_vec();
    arguments.extend(in_seconds("--heartbeat", args.heartbeat_s.into()));
    let before = arguments.len();
    arguments.extend(
        flags.beginning_with("--limit-connections").flat_map(|flag| [flag, LIMIT]).map(str::to_owned),
    );
    if arguments.len() == before {
        notes.push("no quotas count: this rivulet has no --limit-connections…".to_owned());
    }
    if let Some(certificate) = certificate {
        for (flag, file) in TLS_FLAGS.iter().zip(certificate.files()) {
            let file = file.to_str().context("a temporary directory whose name is no text")?.to_owned();
            arguments.extend([(*flag).to_owned(), file]);
        }
    }
    Ok(arguments)
}

fn write_heap_profile(admin: std::net::SocketAddr, file: &Path) -> anyhow::Result<()> {
    let (status, profile) = http_get_bytes(admin, "/debug/pprof/heap").context("--heap-profile")?;
    if status != 200 {
        bail!("--heap-profile: /debug/pprof/heap answered {status}: {}", String::from_utf8_lossy(&profile));
    }
    std::fs::write(file, profile).with_context(|| format!("--heap-profile {}", file.display()))
}
