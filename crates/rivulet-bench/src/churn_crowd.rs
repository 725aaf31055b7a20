//! The crowd of the soak: visitors that come, end in their manners and are replaced, while updates flow.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::SocketAddr,
    ops::RangeInclusive,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, bail};
use indicatif::ProgressBar;
use mio::{Events, Poll, Token};
use slab::Slab;

use crate::{
    approach::Approach,
    call::{Call, source_of_call},
    chance::Chance,
    churn_manner::Manner,
    churn_visitor::{Lateness, Step, Visitor, Wrong},
    deadlines::{Deadlines, Owner},
    flow::{Current, Flow},
    subscriber,
    token::{bench_token, token_of, token_until},
    wire::Wire,
};

/// The publisher's place among the connections.
const PUBLISHER: Token = Token(1 << 24);
const EVENTS_PER_TURN: usize = 1024;
/// Visitors that come per turn at most: below every backlog.
const ARRIVALS_PER_TURN: usize = 128;
const TURN_MAX: Duration = Duration::from_millis(20);
const READ_LEN: usize = 64 * 1024;
/// A receive buffer that is full soon, for those who stop reading and those who leave amid a replay.
const LITTLE_BUFFER_LEN: usize = 4096;
/// How long a visitor stays that leaves by itself, at most.
const STAY_MS_MAX: u64 = 300;
/// Topics that updates flow to, and the one whose updates fill the buffers of those who stop reading.
const FLOW_TOPICS: u64 = 4;
const HEAVY_TOPIC: &str = "https://example.com/bench/heavy";
/// Long and short ones in no order: the buffers of connections to Redis, which double and never shrink, are soon as large as
/// such updates can make them, wherever in them one begins.
const HEAVY_LEN: RangeInclusive<usize> = 1 << 10..=24 << 10;
const HEAVY_EVERY: Duration = Duration::from_millis(50);
/// What those have missed who come back.
const OLD_TOPIC: &str = "https://example.com/bench/old";
const OLD_UPDATES: u32 = 300;
const OLD_LEN: usize = 2048;
/// Whose visitors they are: limits count each of them.
const SUBJECTS: u64 = 64;
/// Longest wait until what was published before the first visitor is in the log.
const PREPARE_MAX: Duration = Duration::from_secs(30);

/// See the module.
pub(crate) struct Crowd {
    hub: SocketAddr,
    approach: Approach,
    with_tls: bool,
    poll: Poll,
    visitors: Slab<Visitor>,
    deadlines: Deadlines,
    flow: Option<Flow>,
    buffer: Vec<u8>,
    chance: Chance,
    tokens: Vec<String>,
    /// Tokens by the second in which they end.
    expiring: BTreeMap<u64, String>,
    /// From where on those have missed something who come back.
    old_id: String,
    next_number: u64,
    pub(crate) counts: Counts,
}

/// What became of the visitors.
pub(crate) struct Counts {
    pub(crate) by_manner: BTreeMap<Manner, u64>,
    pub(crate) wrong: BTreeMap<(Manner, Wrong), u64>,
    /// How long before and after its token the stream ended that did so longest.
    pub(crate) earliest_expiry: Duration,
    pub(crate) latest_expiry: Duration,
    pub(crate) most_at_once: usize,
    pub(crate) acknowledged: u64,
}

impl Crowd {
    /// A crowd of nobody, and a log for those who come back.
    pub(crate) fn prepare(hub: SocketAddr, approach: Approach, with_tls: bool) -> anyhow::Result<Self> {
        let tokens = (0..SUBJECTS).map(|subject| token_of(&format!("visitor-{subject}")));
        let mut crowd = Self {
            hub,
            approach,
            with_tls,
            poll: Poll::new().context("creating an epoll instance")?,
            visitors: Slab::new(),
            deadlines: Deadlines::default(),
            flow: None,
            buffer: vec![0; READ_LEN],
            chance: Chance::new(1),
            tokens: tokens.collect::<anyhow::Result<_>>()?,
            expiring: BTreeMap::new(),
            old_id: String::new(),
            next_number: 0,
            counts: Counts::new(),
        };
        crowd.fill_log()?;
        Ok(crowd)
    }

    fn fill_log(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PREPARE_MAX;
        let old = || Current {
            topics: vec![OLD_TOPIC.to_owned()],
            every: Duration::from_micros(1),
            data_len: OLD_LEN..=OLD_LEN,
        };
        self.flow = Some(self.start_flow(vec![old()])?);
        while let Some(flow) = self.flow.as_mut()
            && flow.acknowledged < u64::from(OLD_UPDATES)
        {
            flow.publish(Instant::now())?;
            self.turn(TURN_MAX)?;
            if let Some(flow) = &self.flow
                && self.old_id.is_empty()
            {
                flow.last_id().clone_into(&mut self.old_id);
            }
            if Instant::now() > deadline {
                bail!("the log was not filled within {PREPARE_MAX:?}");
            }
        }
        self.flow = None;
        Ok(())
    }

    fn start_flow(&mut self, currents: Vec<Current>) -> anyhow::Result<Flow> {
        // No two flows have the same lengths.
        let chance = Chance::new(self.chance.below(u64::MAX));
        let place = (self.poll.registry(), PUBLISHER);
        Flow::start(self.hub, &self.approach, &bench_token()?, place, currents, chance)
    }

    /// Lets so many come, some of them at a time, and waits until the last has ended.
    pub(crate) fn visit(
        &mut self,
        count: u64,
        at_once: usize,
        until: Instant,
        bar: &ProgressBar,
    ) -> anyhow::Result<()> {
        self.visit_when(count, at_once, until, bar, || Ok(()))
    }

    /// The same; when updates flow and before the first one comes, this is done.
    pub(crate) fn visit_when(
        &mut self,
        count: u64,
        at_once: usize,
        until: Instant,
        bar: &ProgressBar,
        flowing: impl FnOnce() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let topics = (0..FLOW_TOPICS).map(flow_topic).collect();
        self.flow = Some(self.start_flow(vec![
            Current { topics, every: Duration::from_millis(5), data_len: 0..=0 },
            Current { topics: vec![HEAVY_TOPIC.to_owned()], every: HEAVY_EVERY, data_len: HEAVY_LEN },
        ])?);
        flowing()?;
        let mut left = count;
        while left > 0 || !self.visitors.is_empty() {
            for _ in 0..ARRIVALS_PER_TURN {
                if left > 0 && self.visitors.len() < at_once {
                    self.arrive()?;
                    left -= 1;
                }
            }
            self.counts.most_at_once = self.counts.most_at_once.max(self.visitors.len());
            let now = Instant::now();
            if let Some(flow) = &mut self.flow {
                flow.publish(now)?;
            }
            // The publisher is to be on time as well.
            let wait = if left > 0 { Duration::from_millis(1) } else { self.deadlines.wait(now, TURN_MAX) };
            self.turn(wait)?;
            bar.set_position(self.counts.ended());
            if now > until {
                bail!("the time is over with {left} of {count} connections still to come");
            }
        }
        self.end_flow(until)
    }

    /// Begins to count anew.
    pub(crate) fn reset_counts(&mut self) {
        self.counts = Counts::new();
    }

    fn end_flow(&mut self, until: Instant) -> anyhow::Result<()> {
        while self.flow.as_ref().is_some_and(|flow| !flow.is_level()) {
            if Instant::now() > until {
                bail!("the hub does not answer its publisher");
            }
            self.turn(TURN_MAX)?;
        }
        self.counts.acknowledged += self.flow.take().map_or(0, |flow| flow.acknowledged);
        Ok(())
    }

    fn arrive(&mut self) -> anyhow::Result<()> {
        let number = self.next_number;
        self.next_number += 1;
        let manner = Manner::of(number, self.with_tls);
        let stay = Duration::from_millis(self.chance.below(STAY_MS_MAX));
        let (request, expires) = self.request(manner, number)?;
        let entry = self.visitors.vacant_entry();
        let buffer_len =
            matches!(manner, Manner::StopReading | Manner::MidReplay).then_some(LITTLE_BUFFER_LEN);
        let place = (self.poll.registry(), Token(entry.key()));
        let source = Some(source_of_call(number));
        let mut wire = Wire::connect_with(self.hub, source, &self.approach, place, buffer_len)?;
        if manner == Manner::MidHandshake {
            wire.halve_hello()?;
        }
        let mut visitor = Visitor::new(Call::new(wire, request), manner, number, stay);
        visitor.expires = expires;
        let owner = Owner { key: entry.key(), number };
        self.deadlines.add(visitor.due, owner);
        entry.insert(visitor);
        Ok(())
    }

    /// What a visitor sends, and when its token ends if that is its manner.
    fn request(&mut self, manner: Manner, number: u64) -> anyhow::Result<(Vec<u8>, Option<SystemTime>)> {
        let subject = number % SUBJECTS;
        let token = &self.tokens[usize::try_from(subject)?];
        let own = format!("topic={}&topic=https://example.com/bench/own/{number:07}", flow_topic(number));
        let whole = |query: &str, headers: &str| subscriber::request_with(self.hub, query, token, headers);
        Ok(match manner {
            Manner::Close | Manner::Reset | Manner::HalfClose => (whole(&own, ""), None),
            Manner::StopReading => (whole(&format!("topic={HEAVY_TOPIC}"), ""), None),
            Manner::MidHandshake => (Vec::new(), None),
            Manner::MidRequest => {
                let mut half = whole(&own, "");
                half.truncate(half.len() / 2);
                (half, None)
            }
            Manner::MidReplay => {
                let last = format!("Last-Event-ID: {}\r\n", self.old_id);
                (whole(&format!("topic={OLD_TOPIC}"), &last), None)
            }
            Manner::TokenExpiry => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock")?.as_secs();
                // 1 to 3 seconds from now.
                let expires = now + 2 + number % 2;
                self.expiring.retain(|expires, _| *expires > now);
                let token = match self.expiring.entry(expires) {
                    Entry::Occupied(entry) => entry.into_mut(),
                    Entry::Vacant(entry) => entry.insert(token_until("visitor-with-an-end", expires)?),
                };
                let request = subscriber::request_with(self.hub, &own, token, "");
                (request, Some(UNIX_EPOCH + Duration::from_secs(expires)))
            }
        })
    }

    fn turn(&mut self, wait: Duration) -> anyhow::Result<()> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        match self.poll.poll(&mut events, Some(wait)) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return Ok(()),
            other => other.context("waiting for events")?,
        }
        let now = Instant::now();
        for event in &events {
            if event.token() == PUBLISHER {
                if let Some(flow) = &mut self.flow {
                    flow.on_event(&mut self.buffer)?;
                }
            } else if let Some(visitor) = self.visitors.get_mut(event.token().0) {
                let step = visitor.on_event(event, &mut self.buffer, now);
                self.take(event.token().0, step);
            }
        }
        while let Some(owner) = self.deadlines.due(now) {
            if let Some(visitor) = self.visitors.get_mut(owner.key)
                && visitor.number == owner.number
                && visitor.due <= now
            {
                let step = visitor.on_deadline(now);
                self.take(owner.key, step);
            }
        }
        Ok(())
    }

    fn take(&mut self, key: usize, step: Step) {
        let Some(visitor) = self.visitors.get_mut(key) else { return };
        let manner = visitor.manner;
        match step {
            Step::Nothing => return,
            Step::Until(at) => {
                visitor.due = at;
                self.deadlines.add(at, Owner { key, number: visitor.number });
                return;
            }
            Step::Done => {}
            Step::Expired(Lateness::Early(early)) => {
                self.counts.earliest_expiry = self.counts.earliest_expiry.max(early);
            }
            Step::Expired(Lateness::Late(late)) => {
                self.counts.latest_expiry = self.counts.latest_expiry.max(late);
            }
            Step::Wrong(wrong) => *self.counts.wrong.entry((manner, wrong)).or_default() += 1,
        }
        *self.counts.by_manner.entry(manner).or_default() += 1;
        self.visitors.remove(key);
    }
}

impl Counts {
    fn new() -> Self {
        Self {
            by_manner: BTreeMap::new(),
            wrong: BTreeMap::new(),
            earliest_expiry: Duration::ZERO,
            latest_expiry: Duration::ZERO,
            most_at_once: 0,
            acknowledged: 0,
        }
    }

    /// How many have ended.
    pub(crate) fn ended(&self) -> u64 {
        self.by_manner.values().sum()
    }

    /// How many of them not as they should.
    pub(crate) fn wrong(&self) -> u64 {
        self.wrong.values().sum()
    }
}

fn flow_topic(number: u64) -> String {
    format!("https://example.com/bench/flow/{}", number % FLOW_TOPICS)
}
