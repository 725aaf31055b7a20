//! The client: one epoll loop on one thread that holds all subscribers and publishers of a run.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use indicatif::ProgressBar;
use mio::{Events, Poll, Token};

use crate::{
    approach::Approach,
    event_scanner::EventScanner,
    payload::Stamp,
    publisher::Publisher,
    subscriber::{self, Subscriber},
    tally::Tally,
    token::bench_token,
    topics::Topics,
};

/// Bytes per read. A read that fills it is followed by another.
const READ_LEN: usize = 64 * 1024;
/// Events taken per turn; publishers are served after each turn.
const EVENTS_PER_TURN: usize = 1024;
/// Connections that are being opened at a time: below every server's backlog.
const OPENING_MAX: usize = 256;
/// Longest wait in which nothing opens.
const OPENING_QUIET_MAX: Duration = Duration::from_secs(20);
/// Longest wait of one turn: how often deadlines are looked at.
const TURN_MAX: Duration = Duration::from_millis(100);
/// Publishers' tokens begin here, subscribers' at zero.
const PUBLISHERS_FROM: usize = 1 << 24;

/// All connections of a run.
pub(crate) struct Client {
    hub: SocketAddr,
    approach: Approach,
    run: u8,
    token: String,
    poll: Poll,
    events: Events,
    subscribers: Vec<Subscriber>,
    /// Those whose stream has opened.
    opened: usize,
    /// In order of their tokens.
    pub(crate) publishers: Vec<Publisher>,
    receiver: Receiver,
}

/// What reads need, shared by all subscribers.
pub(crate) struct Receiver {
    pub(crate) buffer: Vec<u8>,
    scanner: EventScanner,
    began: Instant,
    tally: Tally,
    last_delivery_ns: u64,
    /// Every delivery, where that is asked for: for a load of a few.
    journal: Option<Vec<Receipt>>,
}

/// One delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Receipt {
    /// The update's.
    pub(crate) number: u32,
    /// In nanoseconds since the client began.
    pub(crate) received_ns: u64,
}

impl Receiver {
    /// Takes the first `len` bytes of the buffer as the next ones of an open stream.
    pub(crate) fn take(&mut self, len: usize, tail: &mut Vec<u8>, received: &mut u64) {
        let buffer = std::mem::take(&mut self.buffer);
        self.take_bytes(&buffer[..len], tail, received);
        self.buffer = buffer;
    }

    /// Takes the next bytes of an open stream.
    pub(crate) fn take_bytes(&mut self, bytes: &[u8], tail: &mut Vec<u8>, received: &mut u64) {
        let received_ns = elapsed_ns(self.began);
        let (before, tally, journal) = (*received, &mut self.tally, &mut self.journal);
        self.scanner.take(tail, bytes, |stamp| {
            *received += 1;
            tally.latency.record_ns(received_ns.saturating_sub(stamp.sent_ns));
            if let Some(journal) = journal {
                journal.push(Receipt { number: stamp.number, received_ns });
            }
        });
        let deliveries = *received - before;
        if deliveries > 0 {
            tally.deliveries += deliveries;
            tally.reads += 1;
            self.last_delivery_ns = received_ns;
        }
    }
}

impl Client {
    /// A client of the hub at this address. `run` chooses its source addresses.
    pub(crate) fn new(hub: SocketAddr, run: u8) -> anyhow::Result<Self> {
        Self::approaching(hub, Approach::default(), run)
    }

    /// The same for a hub that must be approached so.
    pub(crate) fn approaching(hub: SocketAddr, approach: Approach, run: u8) -> anyhow::Result<Self> {
        let receiver = Receiver {
            buffer: vec![0; READ_LEN],
            scanner: EventScanner::new(),
            began: Instant::now(),
            tally: Tally::new(),
            last_delivery_ns: 0,
            journal: None,
        };
        Ok(Self {
            hub,
            approach,
            run,
            token: bench_token()?,
            poll: Poll::new().context("creating an epoll instance")?,
            events: Events::with_capacity(EVENTS_PER_TURN),
            subscribers: Vec::new(),
            opened: 0,
            publishers: Vec::new(),
            receiver,
        })
    }

    /// Opens the streams of `count` subscribers; answers how long it took until the last was open.
    pub(crate) fn open_subscribers(
        &mut self,
        count: u32,
        topics: Topics,
        bar: &ProgressBar,
    ) -> anyhow::Result<Duration> {
        let (hub, token) = (self.hub, self.token.clone());
        self.open_streams(count, &|index| subscriber::request(hub, &topics.of_subscriber(index), &token), bar)
    }

    /// The same with a request of the caller's for each subscriber.
    pub(crate) fn open_streams(
        &mut self,
        count: u32,
        request: &dyn Fn(usize) -> Vec<u8>,
        bar: &ProgressBar,
    ) -> anyhow::Result<Duration> {
        let (count, began) = (count as usize, Instant::now());
        let (mut quiet_since, mut opened_before) = (began, 0);
        while self.opened < count {
            while self.subscribers.len() < count && self.subscribers.len() - self.opened < OPENING_MAX {
                let index = self.subscribers.len();
                let source = subscriber::source_address(self.run, index);
                let place = (self.poll.registry(), Token(index));
                let subscriber =
                    Subscriber::connect(self.hub, source, &self.approach, request(index), place)?;
                self.subscribers.push(subscriber);
            }
            self.turn(TURN_MAX)?;
            bar.set_position(self.opened as u64);
            if self.opened > opened_before {
                (quiet_since, opened_before) = (Instant::now(), self.opened);
            } else if quiet_since.elapsed() > OPENING_QUIET_MAX {
                bail!("{} of {count} streams are open, and none more for {OPENING_QUIET_MAX:?}", self.opened);
            }
        }
        Ok(began.elapsed())
    }

    /// Ends all subscribers' connections.
    pub(crate) fn close_subscribers(&mut self) {
        self.subscribers.clear();
        self.opened = 0;
    }

    /// Replaces the publishers: a server may have ended those that were silent for some seconds.
    pub(crate) fn open_publishers(&mut self, count: u32) -> anyhow::Result<()> {
        self.publishers.clear();
        for index in 0..count as usize {
            let id = Token(PUBLISHERS_FROM + index);
            let registry = self.poll.registry();
            self.publishers.push(Publisher::connect(self.hub, &self.approach, &self.token, registry, id)?);
        }
        Ok(())
    }

    /// Publishes update `number` now; answers when that was, in nanoseconds since the client began.
    pub(crate) fn publish(&mut self, publisher: usize, topic: &str, number: u32) -> anyhow::Result<u64> {
        let sent_ns = elapsed_ns(self.receiver.began);
        self.publishers[publisher].publish(topic, Stamp { number, sent_ns })?;
        Ok(sent_ns)
    }

    /// Waits for events, at most `timeout`, and takes them.
    pub(crate) fn turn(&mut self, timeout: Duration) -> anyhow::Result<()> {
        match self.poll.poll(&mut self.events, Some(timeout)) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return Ok(()),
            other => other.context("waiting for events")?,
        }
        for event in &self.events {
            let Token(index) = event.token();
            if let Some(subscriber) = self.subscribers.get_mut(index) {
                let change = subscriber.on_event(event, &mut self.receiver)?;
                self.opened += usize::from(change.opened);
                self.receiver.tally.closed += u64::from(change.closed);
            } else if let Some(publisher) =
                index.checked_sub(PUBLISHERS_FROM).and_then(|index| self.publishers.get_mut(index))
            {
                publisher.flush()?;
                let answers = publisher.read(&mut self.receiver.buffer)?;
                self.receiver.tally.answers += u64::from(answers);
            }
        }
        Ok(())
    }

    /// Takes events for a while, so that heartbeats are read.
    pub(crate) fn idle_for(&mut self, duration: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + duration;
        while Instant::now() < deadline {
            self.turn(deadline.saturating_duration_since(Instant::now()).min(TURN_MAX))?;
        }
        Ok(())
    }

    /// Begins to count anew.
    pub(crate) fn reset(&mut self) {
        self.take_tally();
        for subscriber in &mut self.subscribers {
            subscriber.received = 0;
        }
    }

    /// What was counted since the last reset.
    pub(crate) fn tally(&self) -> &Tally {
        &self.receiver.tally
    }

    /// Hands over what was counted and begins to count anew.
    pub(crate) fn take_tally(&mut self) -> Tally {
        std::mem::replace(&mut self.receiver.tally, Tally::new())
    }

    /// How many updates each subscriber received since the last reset.
    pub(crate) fn received(&self) -> impl ExactSizeIterator<Item = u64> {
        self.subscribers.iter().map(|subscriber| subscriber.received)
    }

    /// Begins to note every delivery.
    pub(crate) fn start_journal(&mut self) {
        self.receiver.journal = Some(Vec::new());
    }

    /// The deliveries since the journal was started.
    pub(crate) fn journal(&self) -> &[Receipt] {
        self.receiver.journal.as_deref().unwrap_or_default()
    }

    /// The time, in nanoseconds since the client began.
    pub(crate) fn now_ns(&self) -> u64 {
        elapsed_ns(self.receiver.began)
    }

    /// When the client began.
    pub(crate) fn began(&self) -> Instant {
        self.receiver.began
    }

    /// When the last update was read, in nanoseconds since the client began.
    pub(crate) fn last_delivery_ns(&self) -> u64 {
        self.receiver.last_delivery_ns
    }
}

/// Nanoseconds since a client began: what stamps hold.
pub(crate) fn elapsed_ns(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
