//! A run: everything is started, broken, mended, ended, and judged.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use rand::{SeedableRng as _, rngs::StdRng};
use tokio::task::{JoinHandle, JoinSet};

use super::{
    evidence,
    fleet::{Fleet, Recipe},
    history::{History, Name},
    judge::{Kind, Phase, Verdict, Violation, judge},
    nemesis::Arena,
    publisher::{Letter, Press, Repeats, publish_all},
    schedule::{Nemesis, Step, draw},
    stage::{Stage, Topology},
    subscriber::{Subscriber, cast},
    world::{MARKER, World},
};

/// Topics of each of the two families.
const FAMILY: usize = 6;

/// Publishers, which share the rate.
const PUBLISHERS: u32 = 8;

/// How long everybody may take to see everything once all is well.
const CATCH_UP_MAX: Duration = Duration::from_secs(60);

/// How often a run that stops at a violation looks for one.
const LOOK_INTERVAL: Duration = Duration::from_millis(1_000);

/// What a run is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The shape of Redis.
    pub topology: Topology,
    /// What tells the schedule, the subscribers, and what is published.
    pub seed: u64,
    /// How long things are broken.
    pub time: Duration,
    /// How many nodes.
    pub nodes: usize,
    /// What is broken.
    pub nemeses: Vec<Nemesis>,
    /// Updates per second of all publishers together.
    pub rate: u32,
    /// Whether publishers repeat.
    pub repeats: Repeats,
    /// For how many replicas nodes wait before they acknowledge.
    pub replicas: usize,
    /// The program under test.
    pub program: PathBuf,
    /// The fault of a broken build.
    pub fault: Option<String>,
    /// Whether the run ends with the first violation.
    pub stops_at_violation: bool,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// What was planned.
    pub plan: Plan,
    /// What was to be broken.
    pub schedule: Vec<Step>,
    /// What happened.
    pub history: History,
    /// What is wrong with it.
    pub verdict: Verdict,
    /// How long it took in all.
    pub took: Duration,
}

impl Plan {
    /// Runs it.
    pub async fn run(self) -> Outcome {
        let start = Instant::now();
        let world = World::new();
        let schedule = draw(self.seed, &self.nemeses, self.time);
        if let Err(error) = self.play(&world, &schedule).await {
            world.accident(error);
        }
        let history = world.history();
        let verdict = judge(&history, Phase::Final);
        Outcome { plan: self, schedule, history, verdict, took: start.elapsed() }
    }

    async fn play(&self, world: &Arc<World>, schedule: &[Step]) -> Result<(), String> {
        let stage = Stage::start(self.topology, self.nodes).await;
        let fleet = Fleet::start(world, self.recipe(), stage.urls(self.nodes)).await?;
        let names = |family: &str| (0..FAMILY).map(|number| format!("{family}/{number}")).collect::<Vec<_>>();
        let (rooms, users) = (names("rooms"), names("users"));
        let topics: Arc<[String]> = rooms.iter().chain(&users).cloned().collect();
        let press = Press::new(world, self.repeats);
        let mut rng = StdRng::seed_from_u64(self.seed);
        let own_rng = StdRng::seed_from_u64(self.seed);
        let mut markers = Markers { world: Arc::clone(world), press: press.clone(), next: 0, rng: own_rng };

        let mut subscribers = JoinSet::new();
        for (number, (interest, habit)) in cast(&rooms, &users, &mut rng).into_iter().enumerate() {
            let seed = self.seed.wrapping_mul(1_000).wrapping_add(number as u64);
            subscribers.spawn(Subscriber::new(world, interest, habit, seed).run());
        }
        // Entitled is who has been there: so everybody has an id before the first update that counts.
        wait_until(world, || world.books().iter().all(|book| book.was_opened())).await?;
        markers.seen_by_all(&topics).await?;

        let interval = Duration::from_secs(1) * PUBLISHERS / self.rate.max(1);
        let publishers: Vec<JoinHandle<()>> = (1..=PUBLISHERS)
            .map(|number| {
                let seed = self.seed.wrapping_mul(7_919).wrapping_add(u64::from(number));
                tokio::spawn(publish_all(press.clone(), number, Arc::clone(&topics), interval, seed))
            })
            .collect();
        let replicas = self.replicas;
        let world = Arc::clone(world);
        let topology = self.topology;
        let mut arena = Arena { world, topology, stage, fleet, press, topics, replicas };
        self.break_things(&mut arena, schedule).await;
        let caught_up = self.catch_up(&mut arena, publishers, &mut markers).await;
        // Nodes count their streams when they end: nobody is to come and go then.
        subscribers.shutdown().await;
        if let Some(directory) = std::env::var_os("RIVULET_CHECKER_LOGS") {
            keep_logs(&PathBuf::from(directory), &arena.fleet);
        }
        arena.fleet.end().await;
        caught_up
    }

    /// Mends everything and waits until everybody has seen everything, unless a violation is certain already.
    async fn catch_up(
        &self,
        arena: &mut Arena,
        publishers: Vec<JoinHandle<()>>,
        markers: &mut Markers,
    ) -> Result<(), String> {
        arena.world.stop_publishing();
        if self.stops_at_violation && !judge(&arena.world.history(), Phase::Underway).is_clean() {
            return Ok(());
        }
        arena.heal().await;
        for publisher in publishers {
            publisher.await.map_err(|error| format!("a publisher: {error}"))?;
        }
        arena.world.hurry();
        markers.seen_by_all(&arena.topics).await
    }

    /// Plays the schedule, or until a violation is certain.
    async fn break_things(&self, arena: &mut Arena, schedule: &[Step]) {
        let world = Arc::clone(&arena.world);
        let end = Instant::now() + self.time;
        let play = async {
            for (number, step) in schedule.iter().enumerate() {
                // A failover takes its time, which no schedule can know.
                if Instant::now() > end {
                    return;
                }
                arena.perform(number, step).await;
            }
            if schedule.is_empty() {
                tokio::time::sleep(self.time).await;
            }
        };
        if !self.stops_at_violation {
            return play.await;
        }
        let watch = async {
            while judge(&world.history(), Phase::Underway).is_clean() {
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        };
        tokio::select! {
            () = play => {}
            () = watch => {}
        }
    }

    fn recipe(&self) -> Recipe {
        let mut flags: Vec<String> =
            ["--heartbeat", "1s", "--write-deadline", "3s", "--retention-count", "200000"]
                .map(str::to_owned)
                .into();
        if self.replicas > 0 {
            flags.extend(["--redis-wait-replicas".to_owned(), self.replicas.to_string()]);
        }
        let environment =
            self.fault.iter().map(|fault| ("RIVULET_FAULT".to_owned(), fault.clone())).collect();
        Recipe { program: self.program.clone(), flags, environment }
    }
}

/// Updates of the run itself, one on each topic, that everybody must have seen before the run goes on.
struct Markers {
    world: Arc<World>,
    press: Press,
    next: u32,
    rng: StdRng,
}

impl Markers {
    async fn seen_by_all(&mut self, topics: &[String]) -> Result<(), String> {
        let mut markers = Vec::new();
        for topic in topics {
            markers.push((topic.clone(), self.publish(topic).await?));
        }
        let books = self.world.books();
        let missing = || {
            let wanted = |book: usize, topic: &String| {
                books[book].interest().entitles(std::slice::from_ref(topic), false)
            };
            (0..books.len())
                .filter(|book| {
                    markers
                        .iter()
                        .any(|(topic, name)| wanted(*book, topic) && !books[*book].has_marker(*name))
                })
                .collect::<Vec<_>>()
        };
        let seen = wait_until(&self.world, || missing().is_empty()).await;
        seen.map_err(|error| format!("subscribers {:?} have not seen the markers: {error}", missing()))
    }

    /// Publishes a marker until one is acknowledged.
    async fn publish(&mut self, topic: &str) -> Result<Name, String> {
        let start = Instant::now();
        while start.elapsed() < CATCH_UP_MAX {
            let letter = Letter::marker(self.next, topic);
            self.next += 1;
            if self.press.publish(&letter, &mut self.rng).await {
                return Ok(Name { publisher: MARKER, number: letter.name.number });
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Err(format!("no marker on {topic} is acknowledged within {CATCH_UP_MAX:?}"))
    }
}

async fn wait_until(world: &World, mut is_true: impl FnMut() -> bool) -> Result<(), String> {
    let start = world.now();
    while !is_true() {
        if world.now() - start > CATCH_UP_MAX {
            return Err(format!("not within {CATCH_UP_MAX:?}"));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn keep_logs(directory: &std::path::Path, fleet: &Fleet) {
    for (address, log) in fleet.logs() {
        // What cannot be kept is only missing for whoever wanted to look at it.
        let _ = std::fs::write(directory.join(address), log);
    }
}

impl Outcome {
    /// One line about the run.
    pub fn summary(&self) -> String {
        let mut counts: BTreeMap<Nemesis, usize> = BTreeMap::new();
        for step in self.schedule.iter().take(self.history.breakages.len()) {
            *counts.entry(step.nemesis).or_default() += 1;
        }
        let counts: Vec<String> =
            counts.iter().map(|(nemesis, count)| format!("{} {count}", nemesis.name())).collect();
        let verdict = &self.verdict;
        format!(
            "{} seed {}: {}; {} updates acknowledged, {} unknown, {} deliveries on {} streams checked, {} gaps ({} updates excused), \
             {} forgotten and repeated; {:.1} s; {}",
            self.plan.topology.name(),
            self.plan.seed,
            counts.join(", "),
            verdict.acknowledged,
            verdict.unknown,
            verdict.deliveries,
            verdict.streams,
            verdict.gaps,
            verdict.excused,
            verdict.forgotten,
            self.took.as_secs_f64(),
            if verdict.is_clean() { "no violation" } else { "VIOLATIONS" }
        )
    }

    /// A line for each thing that was broken.
    pub fn breakages(&self) -> String {
        let lines = self.history.breakages.iter().map(|breakage| {
            format!(
                "  {:>8.3} s to {:>8.3} s  {}",
                breakage.from.as_secs_f64(),
                breakage.to.as_secs_f64(),
                breakage.text
            )
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Everything that is needed to understand, and to repeat, a run that went wrong; empty for one that did not.
    pub fn report(&self) -> String {
        let violations = &self.verdict.violations;
        if violations.is_empty() {
            return String::new();
        }
        let mut lines = vec![format!("{} seed {}, schedule:", self.plan.topology.name(), self.plan.seed)];
        lines.extend(self.schedule.iter().map(|step| format!("  {step}")));
        let mut kinds: BTreeMap<Kind, Vec<&Violation>> = BTreeMap::new();
        for violation in violations {
            kinds.entry(violation.kind).or_default().push(violation);
        }
        for (kind, violations) in kinds {
            lines.push(format!("{kind:?}: {} violations, of which the shortest:", violations.len()));
            let shortest =
                violations.iter().map(|violation| (evidence::of(&self.history, violation), violation));
            let shortest = shortest.take(50).min_by_key(|(evidence, _)| evidence.len());
            let (evidence, violation) = shortest.expect("a kind has violations");
            lines.push(format!("  {}", violation.text));
            lines.extend(evidence.into_iter().map(|line| format!("    {line}")));
        }
        lines.join("\n")
    }
}
