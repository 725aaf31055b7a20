//! What all tasks of a run share: its clock, its records, and which nodes can be asked.

use std::{
    collections::{BTreeMap, HashSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use rand::{rngs::StdRng, seq::IndexedRandom as _};

use super::{
    history::{Attempt, Breakage, History, Log, Moment, Name, Sighting, Update, What},
    interest::Interest,
    subscriber::Habit,
};

/// The publisher that stands for the run itself.
pub const MARKER: u32 = 0;

/// The shared state of a run.
#[derive(Debug)]
pub struct World {
    start: Instant,
    started_us: u64,
    updates: Mutex<BTreeMap<Name, Update>>,
    books: Mutex<Vec<Arc<Book>>>,
    breakages: Mutex<Vec<Breakage>>,
    accidents: Mutex<Vec<String>>,
    live: Mutex<Vec<SocketAddr>>,
    publishing: AtomicBool,
    hurry: AtomicBool,
}

/// What one subscriber records, and how it is held up.
#[derive(Debug)]
pub struct Book {
    interest: Interest,
    habit: Habit,
    sightings: Mutex<Vec<Sighting>>,
    markers: Mutex<HashSet<Name>>,
    stalled_until: Mutex<Option<Instant>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// A world in which nothing has happened.
    pub fn new() -> Arc<Self> {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Arc::new(Self {
            start: Instant::now(),
            started_us: u64::try_from(since.as_micros()).unwrap_or(u64::MAX),
            updates: Mutex::default(),
            books: Mutex::default(),
            breakages: Mutex::default(),
            accidents: Mutex::default(),
            live: Mutex::default(),
            publishing: AtomicBool::new(true),
            hurry: AtomicBool::new(false),
        })
    }

    /// Time since the start.
    pub fn now(&self) -> Moment {
        self.start.elapsed()
    }

    /// Notes an update that is about to be sent.
    pub fn begin(&self, name: Name, topics: Vec<String>, private: bool) {
        let update = Update { topics, private, begun: self.now(), attempts: Vec::new() };
        lock(&self.updates).insert(name, update);
    }

    /// Notes how an attempt to publish ended.
    pub fn attempted(&self, name: Name, attempt: Attempt) {
        if let Some(update) = lock(&self.updates).get_mut(&name) {
            update.attempts.push(attempt);
        }
    }

    /// How many updates were acknowledged so far.
    pub fn acknowledged(&self) -> usize {
        lock(&self.updates).values().filter(|update| update.id().is_some()).count()
    }

    /// A book for a new subscriber.
    pub fn book(&self, interest: Interest, habit: Habit) -> Arc<Book> {
        let book = Arc::new(Book {
            interest,
            habit,
            sightings: Mutex::default(),
            markers: Mutex::default(),
            stalled_until: Mutex::default(),
        });
        lock(&self.books).push(Arc::clone(&book));
        book
    }

    /// The books of all subscribers.
    pub fn books(&self) -> Vec<Arc<Book>> {
        lock(&self.books).clone()
    }

    /// Notes something that was broken.
    pub fn broke(&self, breakage: Breakage) {
        lock(&self.breakages).push(breakage);
    }

    /// Notes something that went wrong with the run itself.
    pub fn accident(&self, text: String) {
        lock(&self.accidents).push(text);
    }

    /// A node can be asked from now on.
    pub fn node_is_up(&self, node: SocketAddr) {
        lock(&self.live).push(node);
    }

    /// A node is not to be asked any more.
    pub fn node_is_down(&self, node: SocketAddr) {
        lock(&self.live).retain(|known| *known != node);
    }

    /// A node that can be asked, if there is one.
    pub fn any_node(&self, rng: &mut StdRng) -> Option<SocketAddr> {
        lock(&self.live).choose(rng).copied()
    }

    /// Whether publishers are to go on.
    pub fn is_publishing(&self) -> bool {
        self.publishing.load(Ordering::Relaxed)
    }

    /// Publishers come to their end.
    pub fn stop_publishing(&self) {
        self.publishing.store(false, Ordering::Relaxed);
    }

    /// Whether slow subscribers are to read as fast as they can.
    pub fn is_in_a_hurry(&self) -> bool {
        self.hurry.load(Ordering::Relaxed)
    }

    /// From now on everybody reads as fast as they can.
    pub fn hurry(&self) {
        self.hurry.store(true, Ordering::Relaxed);
    }

    /// Everything that was recorded so far.
    pub fn history(&self) -> History {
        // The books first: an update that was seen has certainly begun when the updates are read.
        let logs = self.books().iter().map(|book| book.log()).collect();
        History {
            started_us: self.started_us,
            logs,
            updates: lock(&self.updates).clone(),
            breakages: lock(&self.breakages).clone(),
            accidents: lock(&self.accidents).clone(),
        }
    }
}

impl Book {
    /// What the subscriber asks for.
    pub fn interest(&self) -> &Interest {
        &self.interest
    }

    /// Notes what was seen.
    pub fn note(&self, at: Moment, what: What) {
        if let What::Update(name, _) = &what
            && name.publisher == MARKER
        {
            lock(&self.markers).insert(*name);
        }
        lock(&self.sightings).push(Sighting { at, what });
    }

    /// Whether a marker has been seen.
    pub fn has_marker(&self, name: Name) -> bool {
        lock(&self.markers).contains(&name)
    }

    /// Whether a stream was opened at least once.
    pub fn was_opened(&self) -> bool {
        lock(&self.sightings).iter().any(|sighting| matches!(sighting.what, What::Opened { .. }))
    }

    /// Makes the subscriber stop reading for a while.
    pub fn stall(&self, at: Moment, duration: Duration) {
        self.note(at, What::Stalled(duration));
        *lock(&self.stalled_until) = Some(Instant::now() + duration);
    }

    /// Until when it does not read.
    pub fn stalled_until(&self) -> Option<Instant> {
        lock(&self.stalled_until).filter(|until| *until > Instant::now())
    }

    fn log(&self) -> Log {
        Log { interest: self.interest.clone(), habit: self.habit, sightings: lock(&self.sightings).clone() }
    }
}
