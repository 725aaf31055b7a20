//! One node, from its start to its end, as a kubelet looks after it.
//!
//! ```text
//!   starting ──probes──▶ ready ──delete──▶ pause ──SIGTERM──▶ stops ──▶ ended
//!                        endpoint          no endpoint          └─ grace period over: SIGKILL
//! ```

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{MissedTickBehavior, interval},
};

use super::{
    Rules,
    balancer::Balancer,
    diary::{Diary, Happening},
    readiness::Readiness,
};
use crate::{
    Hub, hub,
    metrics::{self, Metrics},
    port,
    process::Process,
};

/// How often it is looked whether a process has ended.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How often a pod's metrics are read: at its end the last ones stand for it.
const SCRAPE_INTERVAL: Duration = Duration::from_millis(500);

/// With what pods are started.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The program.
    pub program: PathBuf,
    /// Flags beside addresses.
    pub flags: Vec<String>,
}

impl Recipe {
    /// The same with another program.
    #[must_use]
    pub fn with(&self, program: &Path) -> Self {
        Self { program: program.to_owned(), ..self.clone() }
    }
}

/// What all pods of a deployment share.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The numbers by which they are treated.
    pub rules: Rules,
    /// Who sends them connections.
    pub balancer: Arc<Balancer>,
    /// Where everything is written down.
    pub diary: Diary,
}

/// A node under supervision. Dropping it kills the process.
#[derive(Debug)]
pub struct Pod {
    /// Where publishers and subscribers connect.
    pub address: SocketAddr,
    deletion: watch::Sender<bool>,
    state: Arc<State>,
    keeper: JoinHandle<()>,
}

/// What is known of it from outside.
#[derive(Debug, Default)]
struct State {
    ready_since: Mutex<Option<Instant>>,
    has_ended: AtomicBool,
    reads: AtomicU64,
}

impl Pod {
    /// Starts a node.
    pub fn start(number: usize, recipe: &Recipe, around: &Surroundings) -> Self {
        let (address, admin) = (port::free(), port::free());
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut command = hub::command_of(&recipe.program);
        command.envs(Hub::DEFAULTS).current_dir(dir.path());
        command.args(["--listen", &address.to_string(), "--admin-listen", &admin.to_string()]);
        command.args(&recipe.flags);
        let process = Process::start(&mut command, &dir.path().join("log"));
        let (deletion, deleted) = watch::channel(false);
        let (state, around) = (Arc::<State>::default(), around.clone());
        let readiness = Readiness::new(around.rules.probe);
        let keeper =
            Keeper { number, address, admin, process, dir, readiness, around, state: Arc::clone(&state) };
        keeper.note(Happening::Started);
        Self { address, deletion, state, keeper: tokio::spawn(keeper.keep(deleted)) }
    }

    /// For how long it has been ready without a break; `None` if it is not.
    pub fn ready_for(&self) -> Option<Duration> {
        let since = self.state.ready_since.lock().unwrap_or_else(PoisonError::into_inner);
        since.map(|since| since.elapsed())
    }

    /// Whether its process has ended.
    pub fn has_ended(&self) -> bool {
        self.state.has_ended.load(Relaxed)
    }

    /// Reads of the log that it has asked Redis for, as far as is known.
    pub fn reads(&self) -> u64 {
        self.state.reads.load(Relaxed)
    }

    /// Begins to end it, as `kubectl delete pod` does.
    pub fn delete(&self) {
        // Nobody listens any more if it has ended by itself.
        let _ = self.deletion.send(true);
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// Waits until a pod is deleted, or dropped.
async fn is_deleted(deletion: &mut watch::Receiver<bool>) {
    let _ = deletion.wait_for(|deleted| *deleted).await;
}

/// Who looks after a pod.
struct Keeper {
    number: usize,
    address: SocketAddr,
    admin: SocketAddr,
    process: Process,
    dir: TempDir,
    readiness: Readiness,
    around: Surroundings,
    state: Arc<State>,
}

impl Keeper {
    async fn keep(mut self, mut deleted: watch::Receiver<bool>) {
        let (mut probes, mut looks) = (interval(self.around.rules.probe.period), interval(LOOK_INTERVAL));
        let mut scrapes = interval(SCRAPE_INTERVAL);
        for clock in [&mut probes, &mut looks, &mut scrapes] {
            clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        loop {
            tokio::select! {
                () = is_deleted(&mut deleted) => break,
                _ = looks.tick() => if let Some(status) = self.process.status() {
                    self.say_if_panicked();
                    return self.end(Happening::Crashed(status));
                },
                _ = probes.tick() => self.probe().await,
                _ = scrapes.tick() => self.scrape().await,
            }
        }
        self.terminate().await;
    }

    async fn probe(&mut self) {
        let admin = self.admin;
        let found = tokio::task::spawn_blocking(move || metrics::get(admin, "/ready")).await;
        let passed = matches!(found, Ok(Ok((200, _))));
        match self.readiness.observe(passed) {
            Some(true) => {
                self.around.balancer.add(self.address, Instant::now());
                self.set_ready_since(Some(Instant::now()));
                self.note(Happening::Ready);
            }
            Some(false) => {
                self.leave();
                self.note(Happening::Unready);
            }
            None => {}
        }
    }

    /// One that does not answer keeps the numbers that it had.
    async fn scrape(&self) {
        let admin = self.admin;
        let scraped = tokio::task::spawn_blocking(move || Metrics::scrape(admin)).await;
        if let Ok(Ok(metrics)) = scraped {
            let reads = metrics.sum("rivulet_redis_command_duration_seconds_count", "script=\"read\"");
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a counter")]
            self.state.reads.store(reads.unwrap_or_default() as u64, Relaxed);
        }
    }

    /// The grace period begins with the deletion, so the pause is a part of it.
    async fn terminate(mut self) {
        let deleted = Instant::now();
        self.leave();
        self.note(Happening::Deleted);
        let rules = self.around.rules;
        let paused = self.ends_by(deleted + rules.pre_stop.min(rules.grace)).await;
        if paused.is_none() {
            self.note(Happening::Asked);
            self.process.signal("TERM");
        }
        let stopped = match paused {
            Some(status) => Some(status),
            None => self.ends_by(deleted + rules.grace).await,
        };
        let status = match stopped {
            Some(status) => status,
            None => {
                self.note(Happening::Killed);
                self.process.signal("KILL");
                self.process.wait(crate::PATIENCE).expect("a killed process ends")
            }
        };
        self.say_if_panicked();
        self.end(Happening::Ended(status));
    }

    /// Waits for the process' end, but not longer than to a time.
    async fn ends_by(&mut self, deadline: Instant) -> Option<ExitStatus> {
        let mut scraped = Instant::now();
        loop {
            let status = self.process.status();
            if status.is_some() || Instant::now() >= deadline {
                return status;
            }
            if scraped.elapsed() >= SCRAPE_INTERVAL {
                self.scrape().await;
                scraped = Instant::now();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            tokio::time::sleep(left.min(LOOK_INTERVAL)).await;
        }
    }

    /// Leaves the endpoints.
    fn leave(&self) {
        self.around.balancer.remove(self.address, Instant::now());
        self.set_ready_since(None);
    }

    fn end(&self, how: Happening) {
        self.leave();
        self.note(how);
        self.state.has_ended.store(true, Relaxed);
    }

    /// The files of a pod go with it, and with them why it ended badly.
    fn say_if_panicked(&self) {
        use std::io::Write as _;
        let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        let bad = log.lines().filter(|line| line.contains("panicked at") || line.starts_with("rivulet: "));
        for line in bad {
            let _ = writeln!(std::io::stderr(), "pod {}: {line}", self.number);
        }
    }

    fn set_ready_since(&self, since: Option<Instant>) {
        *self.state.ready_since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    fn note(&self, what: Happening) {
        self.around.diary.note(self.number, self.address, what);
    }
}
