//! The limits: what this node's connections hold, told to Redis, where the nodes' shares are added up.
//!
//! The node's *ledger* says what its connections hold; it is right always. Redis has a copy under the node's
//! *incarnation*, which counts as long as its lease is renewed. An admission is one step in Redis; what is given back is
//! told in the background. Whenever the node cannot know any more what the copy says, it takes a new incarnation:
//!
//! ```text
//!              an outcome that nobody knows, a lapsed lease, lost data, another primary
//!   ┌─▶ Counted ───────────────────────────▶ Doubtful ◀──────────────┐ failed: back off
//!   │                                        ▲  │ nothing on its way  │
//!   │ one step: the new one for the old      │  ▼                     │
//!   ├────────────────────────────────────────│─ Joining: the ledger is staged
//!   └─▶ Settling ────────────────────────────┘
//!         others that were counted before are missing in a young set of leases: until they are back, or late
//! ```
//!
//! Admissions wait for that, not long; while Redis is away, each limit's `WhenAway` holds, and as well while it settles:
//! a Redis that lost its data would give out again what the nodes that are not back yet hold.

mod counter;
mod excess;
mod lessee;
mod peers;
mod publishing;
mod told;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use hashbrown::HashMap;
use parking_lot::Mutex;
use rivulet_node::{
    AdmitError, FeedSender, Keeper, Limit, LocalLimits, Permit, Refused, Scope, Share, TransportError,
    Verdict, Wanted, WhenAway, trace,
};
use tokio::{
    runtime::Handle,
    sync::{Notify, Semaphore, SemaphorePermit, oneshot},
    task::JoinHandle,
};

use self::{counter::Admission, counter::Counter, lessee::Lessee, peers::Others, told::LimitStats};
pub(crate) use self::{
    counter::{REDIS_TIME, word},
    publishing::{PublishRates, Spread, Taken, key_and_args, refusal},
};
use crate::{keys::Keys, primaries::Primaries};

/// How many admissions may be on their way to Redis at once: what waits behind them on the connection are ticks. With those
/// of one partition, and with the commands that tell what is given back (56 at most), they stay within 512, above which the
/// library's queue would double.
const ADMISSIONS_MAX: usize = 448;
/// How many more may wait for that. It makes no sense to let in without asking what comes then: Redis answers.
const WAITING_MAX: usize = 4096;
/// How often an admission is tried whose incarnation has lapsed meanwhile.
const ATTEMPTS: usize = 2;
/// How long a node that stops may take to give its lease back.
const CLOSE_MAX: Duration = Duration::from_secs(3);

/// See the module.
pub(crate) struct Limits {
    counter: Counter,
    /// The part of all incarnations' names that says which node it is.
    node: String,
    ledger: LocalLimits,
    /// Whether this node takes no new connections any more.
    leaves: AtomicBool,
    state: Mutex<State>,
    /// Told when the phase has changed.
    changed: Notify,
    /// Told when there is something to do in the background.
    work: Notify,
    admissions: Semaphore,
    waiting: Semaphore,
    stats: LimitStats,
    runtime: Handle,
    started: Instant,
}

struct State {
    phase: Phase,
    incarnation: Arc<str>,
    /// Admissions whose answers have not come yet.
    in_flight: usize,
    /// What Redis does not know yet of the ledger. Bounded by what is given back while one call is on its way: when that
    /// fails all of it is dropped, and the ledger is told anew.
    untold: HashMap<(Limit, Scope), i64>,
    /// The number of changes that Redis has answered last: one that goes back has lost some.
    changes: u64,
    /// Whether some were let in without asking since the last incarnation.
    alone: bool,
    /// When this node began, as its last incarnation was told.
    began: Option<String>,
    /// Why the last attempt to be counted failed.
    away: Option<TransportError>,
    nodes: u32,
    others: Others,
}

/// See the module's picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Counted,
    Doubtful,
    Joining,
    Settling,
}

/// What the transport holds of the task that keeps the lease. Dropping it gives the lease back, as far as there is time.
pub(crate) struct Lease {
    closing: Mutex<Option<oneshot::Sender<()>>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// An admission on its way.
struct Ticket<'a> {
    limits: &'a Limits,
    incarnation: Arc<str>,
    changes: u64,
    _places: [SemaphorePermit<'a>; 2],
}

/// Why there is no ticket.
enum NoTicket {
    /// Redis counts, but too many ask.
    Busy,
    /// It cannot be asked.
    Away(TransportError),
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut state = self.limits.state.lock();
        state.in_flight -= 1;
        if state.in_flight == 0 && state.phase == Phase::Doubtful {
            self.limits.changed.notify_waiters();
        }
    }
}

impl Limits {
    /// Starts to count, and waits until this node is counted, for so long.
    pub(crate) async fn start(
        primaries: Arc<Primaries>,
        keys: Keys,
        lease: Duration,
        feed: FeedSender,
        patience: Duration,
    ) -> Result<(Arc<Self>, Lease), TransportError> {
        let (map, connected) = (primaries.topology.changes(), primaries.topology.connections());
        let limits = Arc::new(Self {
            counter: Counter::new(primaries, keys, lease),
            node: format!("{:016x}", rand::random::<u64>()),
            ledger: LocalLimits::default(),
            leaves: AtomicBool::new(false),
            state: Mutex::new(State {
                phase: Phase::Doubtful,
                incarnation: Arc::from(""),
                in_flight: 0,
                untold: HashMap::new(),
                changes: 0,
                alone: false,
                began: None,
                away: None,
                nodes: 1,
                others: Others::default(),
            }),
            changed: Notify::new(),
            work: Notify::new(),
            admissions: Semaphore::new(ADMISSIONS_MAX),
            waiting: Semaphore::new(ADMISSIONS_MAX + WAITING_MAX),
            stats: LimitStats::default(),
            runtime: Handle::current(),
            started: Instant::now(),
        });
        let (closing, closed) = oneshot::channel();
        let task = tokio::spawn(Lessee::new(limits.clone(), lease, feed, map, connected).run(closed));
        let lease = Lease { closing: Mutex::new(Some(closing)), task: Mutex::new(Some(task)) };
        let until = Instant::now() + patience;
        loop {
            match limits.ticket(until).await {
                Ok(ticket) => drop(ticket),
                Err(NoTicket::Away(error)) if Instant::now() >= until => return Err(error),
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            }
            return Ok((limits, lease));
        }
    }

    /// Which node this is, as incarnations begin.
    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    /// See [`rivulet_node::Transport::admit`].
    pub(crate) async fn admit(self: &Arc<Self>, wanted: Wanted) -> Result<Permit, AdmitError> {
        let first = wanted
            .quotas
            .first()
            .map(|quota| quota.limit)
            .or_else(|| wanted.rates.first().map(|rate| rate.limit));
        let Some(limit) = first else {
            let _state = self.state.lock();
            self.ledger.hold(&[]);
            return Ok(self.permit(wanted));
        };
        // A task of its own: who asks may leave before the answer comes, and what Redis has counted must be given back.
        let limits = self.clone();
        let admission = trace::carried(async move { limits.admit_to_the_end(wanted).await });
        let admission = self.runtime.spawn(admission);
        admission.await.unwrap_or_else(|error| {
            Err(AdmitError::Away { limit, error: TransportError::new(error.to_string()) })
        })
    }

    async fn admit_to_the_end(self: Arc<Self>, wanted: Wanted) -> Result<Permit, AdmitError> {
        let until = Instant::now() + self.counter.deadline();
        let mut why = TransportError::new("the lease of this node lapses again and again");
        for _ in 0..ATTEMPTS {
            let ticket = match self.ticket(until).await {
                Ok(ticket) => ticket,
                Err(NoTicket::Busy) => return Err(AdmitError::Busy(ADMISSIONS_MAX + WAITING_MAX)),
                Err(NoTicket::Away(error)) => {
                    why = error;
                    break;
                }
            };
            match self.counter.admit(&ticket.incarnation, &wanted).await {
                Ok(Admission::Admitted(changes)) => {
                    let permit = self.hold(wanted);
                    self.saw(&ticket, changes);
                    return Ok(permit);
                }
                Ok(Admission::Full(which)) if which < wanted.quotas.len() => {
                    return Err(self.refused(Refused::full(&wanted.quotas[which])));
                }
                Ok(Admission::Fast(which, wait)) if which < wanted.rates.len() => {
                    return Err(self.refused(Refused::too_fast(&wanted.rates[which], wait)));
                }
                Ok(Admission::Lapsed) => self.doubt(&ticket.incarnation, "its lease has ended"),
                Ok(Admission::Full(_) | Admission::Fast(..)) => {
                    why = crate::entry::unexpected("a refusal");
                    break;
                }
                Err(error) => {
                    self.doubt(&ticket.incarnation, &error.reason);
                    why = error;
                    break;
                }
            }
        }
        self.decide_alone(wanted, why)
    }

    /// Leave to ask Redis, once it is certain what it knows of this node.
    async fn ticket(&self, until: Instant) -> Result<Ticket<'_>, NoTicket> {
        let late = || NoTicket::Away(TransportError::new("it takes too long to be counted in Redis"));
        let crowded = || if self.state.lock().phase == Phase::Counted { NoTicket::Busy } else { late() };
        let waiting = self.waiting.try_acquire().map_err(|_| crowded())?;
        let place = tokio::time::timeout_at(until.into(), self.admissions.acquire());
        let Ok(Ok(place)) = place.await else { return Err(crowded()) };
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.state.lock();
                if state.phase == Phase::Counted {
                    state.in_flight += 1;
                    let (incarnation, changes) = (state.incarnation.clone(), state.changes);
                    return Ok(Ticket { limits: self, incarnation, changes, _places: [place, waiting] });
                }
                if state.phase == Phase::Settling {
                    let reason = "not all nodes that Redis has lost are back";
                    return Err(NoTicket::Away(TransportError::new(reason)));
                }
                if let Some(error) = &state.away {
                    return Err(NoTicket::Away(error.clone()));
                }
            }
            tokio::time::timeout_at(until.into(), changed).await.map_err(|_| late())?;
        }
    }

    /// While Redis cannot be asked: what each limit says about that.
    fn admit_alone(self: &Arc<Self>, wanted: Wanted, error: TransportError) -> Result<Permit, AdmitError> {
        let quotas = wanted.quotas.iter().map(|quota| (quota.limit, quota.when_away));
        let rates = wanted.rates.iter().map(|rate| (rate.limit, rate.when_away));
        if let Some((limit, _)) = quotas.chain(rates).find(|(_, away)| *away == WhenAway::Closed) {
            return Err(AdmitError::Away { limit, error });
        }
        let mut state = self.state.lock();
        if state.phase == Phase::Counted {
            // What is let in without asking may be too much: that is found when the ledger is told anew.
            self.begin_to_doubt(&mut state, &error.reason);
        }
        self.ledger.admit(&wanted, Share::among(state.nodes), self.micros())?;
        state.alone = true;
        if state.phase == Phase::Joining {
            for quota in &wanted.quotas {
                state.tell((quota.limit, quota.scope.clone()), 1);
            }
        }
        drop(state);
        Ok(self.permit(wanted))
    }

    /// Writes into the ledger what Redis has counted already.
    fn hold(self: &Arc<Self>, wanted: Wanted) -> Permit {
        self.stats.verdicts.note_all(&wanted, Verdict::Admitted);
        let _state = self.state.lock();
        self.ledger.hold(&wanted.quotas);
        self.permit(wanted)
    }

    fn permit(self: &Arc<Self>, wanted: Wanted) -> Permit {
        LocalLimits::permit(self.clone(), wanted)
    }

    /// Redis has made a change for this ticket: its number is later than all that were answered before.
    fn saw(&self, ticket: &Ticket<'_>, changes: u64) {
        if changes <= ticket.changes {
            self.doubt(&ticket.incarnation, "Redis has lost what it had counted");
            return;
        }
        let mut state = self.state.lock();
        if state.incarnation == ticket.incarnation {
            state.changes = state.changes.max(changes);
        }
    }

    /// Nobody knows any more what Redis has of this incarnation.
    fn doubt(&self, incarnation: &str, reason: &str) {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Counted | Phase::Settling) && &*state.incarnation == incarnation {
            self.begin_to_doubt(&mut state, reason);
        }
    }

    fn begin_to_doubt(&self, state: &mut State, reason: &str) {
        if state.phase == Phase::Counted {
            self.stats.lapses.fetch_add(1, Relaxed);
        }
        tracing::info!(reason, "what Redis counts of this node is uncertain: it will be told anew");
        state.phase = Phase::Doubtful;
        state.untold = HashMap::new();
        self.work.notify_one();
    }

    /// A clock that does not go back.
    fn micros(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

impl Keeper for Limits {
    fn take_back(&self, held: &[(Limit, Scope)]) {
        let mut state = self.state.lock();
        self.ledger.take_back(held);
        if matches!(state.phase, Phase::Doubtful | Phase::Settling) {
            return;
        }
        for place in held {
            state.tell(place.clone(), -1);
        }
        self.work.notify_one();
    }
}

impl State {
    fn tell(&mut self, place: (Limit, Scope), change: i64) {
        *self.untold.entry(place).or_insert(0) += change;
    }
}

impl Lease {
    /// Gives the lease back, and waits for it.
    pub(crate) async fn close(&self) {
        drop(self.closing.lock().take());
        let task = self.task.lock().take();
        if let Some(mut task) = task
            && tokio::time::timeout(CLOSE_MAX, &mut task).await.is_err()
        {
            tracing::warn!("the lease in Redis could not be given back: it will lapse");
            task.abort();
        }
    }
}
