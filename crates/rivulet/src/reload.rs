//! Reading the configuration again while the hub runs: on SIGHUP, and when the configuration file, or a file that a
//! setting names, holds something else than before.
//!
//! ```text
//!  look ── something else, twice the same ──▶ read ── no mistake ──▶ in force, as a whole
//!  SIGHUP ────────────────────────────────────▶ └── mistakes ──▶ said, once; the one before stays in force
//! ```
//!
//! What counts at a start only is named, and stays as it was; the rest is in force.

mod files;
mod stats;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use clap::ArgMatches;
use parking_lot::Mutex;
use rivulet_http::{Certificates, LiveConfig};
use rivulet_node::Node;
use tokio::{
    runtime::Handle,
    signal::unix::Signal,
    task::{JoinHandle, spawn_blocking},
    time::{MissedTickBehavior, interval, sleep},
};
use tracing::{info, warn};

use self::files::Files;
pub(crate) use self::stats::ReloadStats;
use crate::{
    config::{Again, Config},
    layers::Environment,
    logs::Logs,
    process::Room,
    serve,
    settings::Effect,
};

/// How often the files are looked at. What is found is read once two looks have found the same, so that a file that is
/// being written is left alone; and who changes something by hand looks whether it worked.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Signals that come in this time after one are one.
const HANGUP_PAUSE: Duration = Duration::from_millis(100);

/// What the process was started with: it cannot change, and stands above the file.
pub(crate) struct Given {
    pub(crate) matches: ArgMatches,
    pub(crate) environment: Environment,
}

/// The parts that are told of another configuration.
pub(crate) struct Told {
    pub(crate) live: Arc<LiveConfig>,
    pub(crate) node: Arc<Node>,
    pub(crate) logs: Arc<Logs>,
    pub(crate) certificates: Vec<Arc<Certificates>>,
    pub(crate) stats: Arc<ReloadStats>,
    pub(crate) room: Room,
    pub(crate) runtime: Handle,
}

/// Reads the configuration again as long as it lives. Without it, SIGHUP would end the process.
pub(crate) struct Reloader {
    task: JoinHandle<()>,
    reading: Arc<Reading>,
}

struct Reading {
    given: Given,
    told: Told,
    state: Mutex<State>,
}

struct State {
    in_force: Arc<Config>,
    /// What the files held that it was made of.
    in_force_files: Files,
    /// What those held that count at a start only.
    files_at_start: Files,
    /// What they held when they were read last, well or badly.
    tried: Files,
    /// What the last look has found, if it was something else.
    found: Option<Files>,
}

impl Reloader {
    /// Begins to look, and to listen to `hangups`. `files` is what [`Given::look`] has found before `config` was read.
    pub(crate) fn start(given: Given, config: Arc<Config>, files: Seen, told: Told, hangups: Signal) -> Self {
        let Seen(files) = files;
        let state = Mutex::new(State {
            in_force: config,
            in_force_files: files.clone(),
            files_at_start: files.clone(),
            tried: files,
            found: None,
        });
        let reading = Arc::new(Reading { given, told, state });
        Self { task: tokio::spawn(run(Arc::clone(&reading), hangups)), reading }
    }

    /// The configuration in force.
    pub(crate) fn in_force(&self) -> Arc<Config> {
        Arc::clone(&self.reading.state.lock().in_force)
    }
}

impl Drop for Reloader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the files held at a moment.
pub(crate) struct Seen(Files);

impl Given {
    /// Looks at the files. Before they are read, so that nothing that changes in between is missed.
    pub(crate) fn look(&self) -> Seen {
        Seen(Files::look(&self.matches, &self.environment))
    }
}

async fn run(reading: Arc<Reading>, mut hangups: Signal) {
    let mut clock = interval(LOOK_INTERVAL);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let reading = Arc::clone(&reading);
        // A panic in there has been said, and the next change is another try.
        tokio::select! {
            hangup = hangups.recv() => {
                if hangup.is_none() {
                    return;
                }
                let _ = spawn_blocking(move || reading.hang_up()).await;
                sleep(HANGUP_PAUSE).await;
            }
            _ = clock.tick() => {
                let _ = spawn_blocking(move || reading.look()).await;
            }
        }
    }
}

impl Reading {
    /// Whoever sends a signal says that the files are whole.
    fn hang_up(&self) {
        let certificates = &self.told.certificates;
        info!(certificates = certificates.len(), "SIGHUP: the configuration and certificates are read again");
        let Seen(files) = self.given.look();
        self.read(&mut self.state.lock(), files);
        for certificates in certificates {
            // What came of it has been logged.
            let _ = certificates.reload();
        }
    }

    fn look(&self) {
        let Seen(files) = self.given.look();
        let mut state = self.state.lock();
        if files == state.tried {
            state.found = None;
        } else if state.found.as_ref() == Some(&files) {
            state.found = None;
            self.read(&mut state, files);
        } else {
            state.found = Some(files);
        }
    }

    /// Reads them, and puts what they say in force or says why not.
    fn read(&self, state: &mut State, files: Files) {
        state.tried = files.clone();
        if files == state.in_force_files {
            self.told.stats.unchanged();
            return info!("The configuration is the one that is in force");
        }
        match state.in_force.read_again(&self.given.matches, &self.given.environment) {
            Ok(again) => self.apply(state, again, files),
            Err(mistakes) => {
                self.told.stats.refused();
                // One line: of many, some would be left out.
                warn!(mistakes = %mistakes.join("; "), "The new configuration is refused, and the one before stays in force");
            }
        }
    }

    fn apply(&self, state: &mut State, again: Again, files: Files) {
        let Told { live, node, logs, stats, room, runtime, .. } = &self.told;
        let Again { config, restart_needed } = again;
        config.authorizer.start(runtime);
        live.replace(serve::http_config(&config, *room));
        node.retime(serve::stream_times(&config));
        let before = std::mem::replace(&mut state.in_force, Arc::new(config));
        node.limits_changed(&state.in_force.limits.hub);
        let config = &state.in_force;
        let changed = config.layers.differing(&before.layers, Effect::Reload).into_iter();
        let changed: BTreeSet<_> =
            changed.chain(files.changed(&state.in_force_files, Effect::Reload)).collect();
        // Under the filter before, so that it is heard whatever the next one is; unless only that one lets it through.
        let is_heard = tracing::enabled!(tracing::Level::INFO);
        let say =
            || info!(changed = listed(&changed), "The configuration has been read again and is in force");
        if is_heard {
            say();
        }
        logs.filter().configure(&config.log.filter);
        if !is_heard {
            say();
        }
        let restart_needed: BTreeSet<_> =
            restart_needed.into_iter().chain(files.changed(&state.files_at_start, Effect::Restart)).collect();
        stats.applied(!restart_needed.is_empty());
        if !restart_needed.is_empty() {
            warn!(
                settings = listed(&restart_needed),
                "Settings have changed that count at the next start: they stay as they were"
            );
        }
        for (setting, origin) in config.layers.newly_hidden(&before.layers) {
            info!(setting, %origin, "The configuration file says something in vain, since another origin stands above it");
        }
        for warning in config.warnings.iter().filter(|warning| !before.warnings.contains(warning)) {
            warn!("{warning}");
        }
        state.in_force_files = files;
    }
}

fn listed(names: &BTreeSet<&'static str>) -> String {
    names.iter().copied().collect::<Vec<_>>().join(" ")
}
