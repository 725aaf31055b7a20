//! Kicks that were told while this node heard nothing: its feed was broken, or it was cut off for so long that nobody
//! counted it any more.
//!
//! Redis keeps the last kicks with the time at which each was told. Whenever the node is subscribed anew it reads them, and
//! those that it has not heard end whom they fit, if he was there when they were told. Ages are compared, as Redis tells
//! them, not clocks: that of this machine need not be right. In doubt (the reading takes its time, and a worker counts in
//! quarters of a second) a connection was there. Where Redis' time was set back since a kick was told, nobody knows when
//! that was: then it ends whom it fits now. Who was ended too much comes back, but a stream that should have ended must
//! not stay.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use redis::Value;
use rivulet_node::{FeedEvent, FeedSender, Kick, KickTarget, TransportError};
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

use crate::{
    connector::Backoff,
    entry::unexpected,
    kick_message,
    kicks::{HOME, Kicks},
    limits::REDIS_TIME,
    primaries::Job,
    script::Call,
    unreadable::Cause,
};

/// For how long kicks are kept for nodes that hear nothing.
const KEPT: Duration = Duration::from_secs(600);
/// The same in microseconds.
pub(crate) const KEPT_MICROS: u128 = KEPT.as_micros();
/// How many kicks are kept.
pub(crate) const RECORD_LEN: usize = 256;

/// How far this node has heard kicks.
pub(crate) struct Hearing {
    started: Instant,
    state: Mutex<State>,
    /// Told when there may be some that were not heard.
    behind: Notify,
}

struct State {
    /// Every kick that was told before has been heard or read.
    since: Instant,
    /// How often there may have been some that were not heard, and up to which of these times they have been read.
    missed: u64,
    read: u64,
}

/// What became of kicks that were read. Those that were not carried out are to be read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CarriedOut {
    All,
    NotAll,
}

/// A kick in the record.
struct Recorded {
    kick: u64,
    target: KickTarget,
    /// When it was told, or somewhat later; `None`: before this machine's time began.
    told: Option<Instant>,
}

impl Default for Hearing {
    fn default() -> Self {
        let started = Instant::now();
        let state = State { since: started, missed: 0, read: 0 };
        Self { started, state: Mutex::new(state), behind: Notify::new() }
    }
}

impl Hearing {
    /// Kicks may have been told that were not heard. From now on they are.
    pub(crate) fn missed(&self) {
        self.state.lock().missed += 1;
        self.behind.notify_one();
    }

    /// Everything has arrived that was told before a tick was sent.
    pub(crate) fn ticked(&self) {
        let mut state = self.state.lock();
        if state.missed == state.read {
            state.since = Instant::now();
        }
    }

    /// Everything was read that was told before `begun`, and missed up to then.
    fn read(&self, missed: u64, begun: Instant) {
        let mut state = self.state.lock();
        (state.read, state.since) = (missed, begun.max(state.since));
    }

    /// Since when kicks may lack, and how often they did.
    fn since(&self) -> (Instant, u64) {
        let state = self.state.lock();
        (state.since, state.missed)
    }
}

impl Kicks {
    /// Reads what was not heard whenever there may be something, until the node has ended.
    pub(crate) async fn catch_up(self: Arc<Self>, feed: FeedSender) {
        let mut backoff = Backoff::new();
        loop {
            tokio::select! {
                () = self.hearing.behind.notified() => {}
                () = feed.closed() => return,
            }
            match self.read_missed(&feed).await {
                Ok(CarriedOut::All) => backoff = Backoff::new(),
                Ok(CarriedOut::NotAll) => backoff.wait().await,
                Err(error) => {
                    tracing::debug!(%error, "kicks that this node may not have heard could not be read; trying again");
                    self.hearing.behind.notify_one();
                    backoff.wait().await;
                }
            }
        }
    }

    async fn read_missed(&self, feed: &FeedSender) -> Result<CarriedOut, TransportError> {
        let ((since, missed), begun) = (self.hearing.since(), Instant::now());
        let recorded = self.recorded().await?;
        if since.elapsed() > KEPT || recorded.len() >= RECORD_LEN {
            tracing::warn!(
                seconds = since.elapsed().as_secs(),
                "this node may not have heard more kicks, or older ones, than are kept: they have to be repeated"
            );
        }
        self.hearing.read(missed, begun);
        let mut carried_out = CarriedOut::All;
        for Recorded { kick, target, told } in recorded {
            // Nobody has been here for longer than the node.
            let Some(told) = told.filter(|told| *told > self.hearing.started) else { continue };
            if self.is_news(kick) {
                let (ended, answer) = oneshot::channel();
                let kicked = Kick { target, count_max: None, before: Some(told), ended };
                let sent = feed.send(FeedEvent::Kick(Box::new(kicked))).await;
                sent.map_err(|_| TransportError::new("the node has ended"))?;
                if self.answer_when(kick, answer).await.is_none() {
                    carried_out = CarriedOut::NotAll;
                }
            }
        }
        Ok(carried_out)
    }

    /// The kicks that are kept, the oldest first.
    async fn recorded(&self) -> Result<Vec<Recorded>, TransportError> {
        let (key, kept) = (self.keys.of(HOME).kicks(), KEPT_MICROS.to_string());
        let call = Call { keys: vec![key.as_bytes()], args: [REDIS_TIME, &kept].map(str::as_bytes).to_vec() };
        let done = self.primaries.run(HOME, Job::Count(&self.record, &call)).await?;
        let answered = Instant::now();
        let Some(Value::Array(answer)) = done.values.into_iter().next() else {
            return Err(unexpected("the kicks of the last time"));
        };
        let recorded = answer.chunks(2).filter_map(|entry| {
            let recorded = Recorded::read(entry, answered);
            let recorded = recorded.inspect_err(|cause| {
                let error = "its target is not known here";
                self.primaries.unreadable.note(*cause, "a kick in the record", error);
            });
            recorded.ok()
        });
        Ok(recorded.collect())
    }
}

impl Recorded {
    /// Reads an age and a message. The age was true when Redis answered, before now: so the kick was told at this time at the
    /// latest.
    fn read(entry: &[Value], answered: Instant) -> Result<Self, Cause> {
        let [Value::BulkString(age), Value::BulkString(message)] = entry else { return Err(Cause::Damaged) };
        let micros = std::str::from_utf8(age).ok().and_then(|age| age.parse::<i64>().ok());
        let (micros, message) = micros.zip(message.strip_prefix(b"K")).ok_or(Cause::Damaged)?;
        let (kick, target) = kick_message::parse(message)?;
        // Where the time was set back, the age is negative: see the module.
        let told = answered.checked_sub(Duration::from_micros(u64::try_from(micros).unwrap_or(0)));
        Ok(Self { kick, target, told })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_lack_is_known_until_it_is_read() {
        let hearing = Hearing::default();
        let start = Instant::now();
        let pass = || tokio::time::advance(Duration::from_secs(1));
        pass().await;
        hearing.ticked();
        assert_eq!(hearing.since(), (start + Duration::from_secs(1), 0));
        hearing.missed();
        pass().await;
        hearing.ticked();
        let (since, missed) = hearing.since();
        assert_eq!(
            (since, missed),
            (start + Duration::from_secs(1), 1),
            "a tick does not say what it did not hear"
        );
        let begun = Instant::now();
        hearing.missed();
        hearing.read(missed, begun);
        pass().await;
        hearing.ticked();
        assert_eq!(hearing.since(), (begun, 2), "there may be more since the reading began");
        hearing.read(2, begun);
        hearing.ticked();
        assert_eq!(hearing.since(), (start + Duration::from_secs(3), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn the_record_is_read_and_what_is_not_ours_kicks_nobody() {
        tokio::time::advance(Duration::from_secs(100)).await;
        let now = Instant::now();
        let message =
            kick_message::write(7, &KickTarget { subject: Some("a".into()), ..KickTarget::default() });
        let told = |age: &str| Recorded::read(&[bulk(age), bulk(&message)], now).map(|read| read.told);
        assert_eq!(told("1500000"), Ok(now.checked_sub(Duration::from_millis(1500))));
        assert_eq!(told("-3"), Ok(Some(now)), "told by a clock that was set back");
        let long_ago = told("9223372036854775807").expect("it is one of ours");
        assert!(long_ago.is_none_or(|told| told < now - Duration::from_secs(99)), "{long_ago:?}");
        assert_eq!(told("x"), Err(Cause::Damaged));
        assert!(Recorded::read(&[bulk("1"), bulk("K0000000000000007 {}")], now).is_err());
        assert!(Recorded::read(&[bulk("1"), bulk(&message[1..])], now).is_err());
        assert!(Recorded::read(&[bulk("1")], now).is_err());
        assert!(Recorded::read(&[Value::Int(1), bulk(&message)], now).is_err());
        let newer = bulk("K0000000000000007 {\"country\":\"a\"}");
        assert_eq!(Recorded::read(&[bulk("1"), newer], now).map(|read| read.kick), Err(Cause::Newer));
    }
}
