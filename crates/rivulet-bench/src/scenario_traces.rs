//! Scenario `traces`: what tracing costs the hub at full load, side by side with a hub that does not trace.
//!
//! All hubs run at the same time, each with a Redis of its own, and one after the other gets the same burst, in an order
//! that moves on from turn to turn. Each figure is divided by the mean of two hubs without tracing in the same turn, so what
//! drifts drifts for all, and the median of the turns counts. How far these two are apart is noise: one process is a per
//! cent faster than its equal, by where its memory lies, so there are more rounds than turns would need.

use crate::{
    args::TracesArgs,
    client::Client,
    collector::{Collector, Manner},
    goal::Goal,
    load::{self, Load},
    metric::{Metric, Phase, count, metric, ratio},
    progress,
    rounds::Plan,
    scenario_one_topic::source_of,
    servers::{Launcher, Server},
    spread,
    topics::Topics,
    usage::Usage,
};

/// The hubs, and what is asked of their CPU in relation to the first two.
const HUBS: [(&str, Tracing, Option<f64>); 5] = [
    ("no endpoint", Tracing::Off, None),
    ("no endpoint, again", Tracing::Off, None),
    ("unsampled", Tracing::To(Manner::Answering, "parentbased_always_off", ""), Some(1.01)),
    ("1 % sampled", Tracing::To(Manner::Answering, RATIO, ONE_PERCENT), Some(1.03)),
    ("1 % sampled, mute collector", Tracing::To(Manner::Mute, RATIO, ONE_PERCENT), Some(1.03)),
];
const RATIO: &str = "parentbased_traceidratio";
const ONE_PERCENT: &str = "0.01";
/// The figures that are judged.
const CPU: &str = "hub_cpu_by_untraced";
const LOST: &str = "lost";

/// What a hub does with spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tracing {
    Off,
    /// It has a collector, and a sampler with its argument.
    To(Manner, &'static str, &'static str),
}

/// Measures and reports.
pub(crate) fn run(args: &TracesArgs) -> anyhow::Result<()> {
    let settings = serde_json::to_value(args)?;
    let judged = HUBS.iter().filter_map(|(phase, _, most)| Some(Goal::new(phase, CPU, (*most)?)));
    let goals = judged.chain(HUBS.iter().map(|(phase, ..)| Goal::new(phase, LOST, 0.0))).collect();
    let hubs = u32::try_from(HUBS.len())?;
    let size = (hubs * (args.subscribers + args.publishers), args.rounds);
    Plan::of_rivulet("traces", &args.program, settings, size, goals).run(&|launcher, kind, round| {
        let source = source_of(kind, round);
        let contestants = HUBS
            .iter()
            .map(|(name, tracing, _)| Contestant::prepare(args, launcher, source, (*name, *tracing), round));
        let mut contestants: Vec<Contestant> = contestants.collect::<anyhow::Result<_>>()?;
        let spinner = progress::wait("rivulet", round, "bursts in turn");
        let mut turns = Vec::new();
        for turn in 0..args.turns as usize {
            turns.push(take_turn(args, &mut contestants, turn)?);
            spinner.tick();
        }
        spinner.finish_and_clear();
        contestants.iter().enumerate().map(|(nth, contestant)| contestant.phase(nth, &turns)).collect()
    })
}

/// A hub, its subscribers, and where it sends its spans.
struct Contestant {
    name: &'static str,
    server: Server,
    client: Client,
    collector: Option<Collector>,
}

/// What one burst cost one hub.
#[derive(Clone, Copy, Default)]
struct Slice {
    cpu_s: f64,
    deliveries: f64,
    updates: f64,
    wall_s: f64,
    p99_ms: f64,
    lost: u64,
    closed: u64,
}

impl Contestant {
    fn prepare(
        args: &TracesArgs,
        launcher: &Launcher,
        source: u8,
        (name, tracing): (&'static str, Tracing),
        round: u32,
    ) -> anyhow::Result<Self> {
        let (collector, environment) = match tracing {
            Tracing::Off => (None, Vec::new()),
            Tracing::To(manner, sampler, argument) => {
                let collector = Collector::start(manner)?;
                let mut environment = vec![
                    ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint()),
                    ("OTEL_TRACES_SAMPLER", sampler.to_owned()),
                ];
                if !argument.is_empty() {
                    environment.push(("OTEL_TRACES_SAMPLER_ARG", argument.to_owned()));
                }
                (Some(collector), environment)
            }
        };
        let server = launcher.launch_hub_with_redis_in(&environment, &["--lifetime", "0"])?;
        let mut client = Client::new(server.hub, source)?;
        let bar = progress::bar("rivulet", round, name, args.subscribers.into());
        client.open_subscribers(args.subscribers, Topics::Shared, &bar)?;
        bar.finish_and_clear();
        let mut contestant = Self { name, server, client, collector };
        // Caches are warm then, and lazy parts are there.
        contestant.burst(args, args.updates.div_ceil(4))?;
        Ok(contestant)
    }

    fn burst(&mut self, args: &TracesArgs, updates: u32) -> anyhow::Result<Slice> {
        let TracesArgs { publishers, pipeline, .. } = *args;
        let load = Load { topics: Topics::Shared, updates, publishers, pipeline };
        // What came while others had their turn, heartbeats perhaps, is read before.
        self.client.idle_for(std::time::Duration::from_millis(5))?;
        let before = Usage::now(&self.server)?;
        let outcome = load::burst(&mut self.client, load, &indicatif::ProgressBar::hidden());
        self.server.check_alive()?;
        let (outcome, spent) = (outcome?, before.until(&Usage::now(&self.server)?));
        Ok(Slice {
            cpu_s: spent.server.as_secs_f64(),
            deliveries: count(outcome.tally.deliveries),
            updates: outcome.updates.into(),
            wall_s: outcome.wall.as_secs_f64(),
            p99_ms: outcome.tally.latency.quantile(0.99).as_secs_f64() * 1e3,
            lost: outcome.lost,
            closed: outcome.tally.closed,
        })
    }

    /// The figures of this hub over all turns; `nth` is its place in each.
    fn phase(&self, nth: usize, turns: &[Vec<Slice>]) -> anyhow::Result<Phase> {
        let median = |figure: &dyn Fn(&[Slice]) -> f64| {
            let values: Vec<f64> = turns.iter().map(|turn| figure(turn)).collect();
            spread::quantile(&values, 0.5)
        };
        let by_untraced = |figure: fn(&Slice) -> f64| -> Vec<f64> {
            turns
                .iter()
                .map(|turn| ratio(figure(&turn[nth]), f64::midpoint(figure(&turn[0]), figure(&turn[1]))))
                .collect()
        };
        let cpu = by_untraced(Slice::cpu_us);
        let sum = |figure: &dyn Fn(&Slice) -> u64| count(turns.iter().map(|turn| figure(&turn[nth])).sum());
        let mut metrics = vec![
            metric("hub_cpu_us_per_delivery", median(&|turn| turn[nth].cpu_us())),
            metric("updates_per_s", median(&|turn| turn[nth].updates_per_s())),
            metric("latency_p99_ms", median(&|turn| turn[nth].p99_ms)),
            metric(LOST, sum(&|slice| slice.lost)),
            metric("closed_streams", sum(&|slice| slice.closed)),
            metric(CPU, spread::quantile(&cpu, 0.5)),
            metric("hub_cpu_by_untraced_p25", spread::quantile(&cpu, 0.25)),
            metric("hub_cpu_by_untraced_p75", spread::quantile(&cpu, 0.75)),
            metric("updates_per_s_by_untraced", spread::quantile(&by_untraced(Slice::updates_per_s), 0.5)),
        ];
        let mut notes = Vec::new();
        if let Some(collector) = &self.collector {
            metrics.extend(self.exported(collector)?);
            if collector.exports() == 0 {
                notes.push("its collector was never called".to_owned());
            }
        }
        Ok(Phase { notes, ..Phase::new(self.name, metrics) })
    }

    /// What its collector has seen, and what the hub says of it, if it does.
    fn exported(&self, collector: &Collector) -> anyhow::Result<Vec<Metric>> {
        let mut metrics = vec![
            metric("collector_calls", count(collector.exports())),
            metric("collector_bytes", count(collector.bytes())),
        ];
        let exposition = self.server.exposition()?;
        for (name, series) in [
            ("spans_ended", "rivulet_spans_ended_total"),
            ("spans_exported", "rivulet_spans_exported_total"),
            ("spans_dropped_queue_full", "rivulet_spans_dropped_total{reason=\"queue_full\"}"),
            ("spans_dropped_export_failed", "rivulet_spans_dropped_total{reason=\"export_failed\"}"),
        ] {
            metrics.extend(exposition.value(series).map(|value| metric(name, value)));
        }
        Ok(metrics)
    }
}

impl Slice {
    fn cpu_us(&self) -> f64 {
        ratio(self.cpu_s * 1e6, self.deliveries)
    }

    fn updates_per_s(&self) -> f64 {
        ratio(self.updates, self.wall_s)
    }
}

/// A burst for each hub; answers what they cost, in the hubs' own order. Who comes first is another one each time.
fn take_turn(args: &TracesArgs, contestants: &mut [Contestant], turn: usize) -> anyhow::Result<Vec<Slice>> {
    let mut slices = vec![Slice::default(); contestants.len()];
    for step in 0..contestants.len() {
        let nth = (turn + step) % contestants.len();
        slices[nth] = contestants[nth].burst(args, args.updates)?;
    }
    Ok(slices)
}
