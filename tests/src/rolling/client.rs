//! A subscriber with the manners of a browser's `EventSource`.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::sync::watch;

use super::{
    stage::{Phase, Stage, WIDE, topic},
    tally::Tally,
};
use crate::{
    checker::client::{Ending, Stream, Unopened},
    sse::{Block, Event},
    wire::Request,
};

/// How long a browser waits that was told nothing (Chromium).
const RETRY_DEFAULT: Duration = Duration::from_secs(3);

/// How long a client without any endpoint waits before it looks again.
const NOBODY_PAUSE: Duration = Duration::from_millis(100);

/// The receive buffer of a stream, large enough that no client of a run is slow.
const BUFFER_LEN: u32 = 64 * 1024;

/// How an attempt went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// The stream is open, or was open when its client left.
    Open,
    /// The hub ended the stream, and had said when to come back.
    Released,
    /// The stream ended without a word.
    Cut,
    /// Nobody listens there.
    Refused,
    /// Another status than 200. A browser would never come back.
    Status(u16),
    /// Neither: a reset, a broken head, or no answer in time.
    Broken(String),
}

/// One connection.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    pub(crate) node: SocketAddr,
    pub(crate) asked: Duration,
    pub(crate) opened: Option<Duration>,
    pub(crate) ended: Option<Duration>,
    pub(crate) attempt: Attempt,
}

impl Visit {
    /// Whether its stream was open at a time.
    pub(crate) fn is_open_at(&self, time: Duration) -> bool {
        self.opened.is_some_and(|opened| opened <= time) && self.ended.is_none_or(|ended| ended > time)
    }
}

/// What a client has to tell in the end.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) visits: Vec<Visit>,
    /// By the number of the topic.
    pub(crate) tallies: BTreeMap<usize, Tally>,
    pub(crate) gaps: u64,
    /// What no hub should send.
    pub(crate) strange: Vec<String>,
    /// The longest time without an update.
    pub(crate) pause_max: Duration,
}

/// A client on its way.
pub(crate) struct Client {
    stage: Arc<Stage>,
    phase: watch::Receiver<Phase>,
    query: String,
    last_id: Option<String>,
    retry: Duration,
    last_update: Option<Duration>,
    record: Record,
}

impl Client {
    /// A client of one topic, and of the wide one.
    pub(crate) fn new(stage: &Arc<Stage>, narrow: usize) -> Self {
        let topics = [WIDE, narrow];
        Self {
            stage: Arc::clone(stage),
            phase: stage.phase.subscribe(),
            query: topics.map(|index| format!("topic={}", topic(index))).join("&"),
            last_id: None,
            retry: RETRY_DEFAULT,
            last_update: None,
            record: Record {
                tallies: topics.into_iter().map(|index| (index, Tally::default())).collect(),
                ..Record::default()
            },
        }
    }

    /// Stays until it has everything, or everything is over.
    pub(crate) async fn run(mut self) -> Record {
        while !self.is_done() {
            let pause = match self.stage.choose() {
                Some(node) => {
                    self.visit(node).await;
                    self.retry
                }
                None => NOBODY_PAUSE,
            };
            if self.is_done() {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = self.phase.wait_for(|phase| matches!(phase, Phase::Over)) => {}
            }
        }
        self.record
    }

    fn is_done(&self) -> bool {
        match &*self.phase.borrow() {
            Phase::Running | Phase::Ending => false,
            Phase::Settling(published) => {
                self.record.tallies.iter().all(|(topic, tally)| tally.lost(published[*topic]) == 0)
            }
            Phase::Over => true,
        }
    }

    async fn visit(&mut self, node: SocketAddr) {
        let request = Request::subscribe(&self.query);
        let request = match &self.last_id {
            Some(id) => request.header("Last-Event-ID", id),
            None => request,
        };
        let asked = self.stage.now();
        let mut visit = Visit { node, asked, opened: None, ended: None, attempt: Attempt::Open };
        match Stream::open(node, &request, BUFFER_LEN).await {
            Ok(stream) => {
                visit.opened = Some(self.stage.now());
                self.stage.connected.fetch_add(1, Relaxed);
                let ended = self.read(stream).await;
                self.stage.connected.fetch_sub(1, Relaxed);
                if let Some(how) = ended {
                    (visit.ended, visit.attempt) = (Some(self.stage.now()), how);
                }
            }
            Err(Unopened::Refused) => visit.attempt = Attempt::Refused,
            Err(Unopened::Status(status)) => visit.attempt = Attempt::Status(status),
            Err(Unopened::Broken(reason)) => visit.attempt = Attempt::Broken(reason),
        }
        self.record.visits.push(visit);
    }

    /// Reads until the stream ends. `None`: the client left.
    async fn read(&mut self, mut stream: Stream) -> Option<Attempt> {
        let mut told = false;
        loop {
            if self.is_done() {
                return None;
            }
            let blocks = tokio::select! {
                blocks = stream.blocks() => blocks,
                _ = self.phase.changed() => continue,
            };
            match blocks {
                Ok(blocks) => {
                    for block in blocks {
                        if let Block::Event(event) = block {
                            told |= event.retry.is_some();
                            self.take(event);
                        }
                    }
                }
                Err(Ending::Closed(_)) => return Some(if told { Attempt::Released } else { Attempt::Cut }),
                Err(Ending::Malformed(reason)) => {
                    self.record.strange.push(reason);
                    return Some(Attempt::Cut);
                }
            }
        }
    }

    fn take(&mut self, event: Event) {
        if let Some(retry) = event.retry {
            self.retry = Duration::from_millis(retry);
        }
        if event.id.is_some() {
            self.last_id = event.id;
        }
        let Some(data) = event.data else { return };
        if event.kind.as_deref() == Some("rivulet-gap") {
            self.record.gaps += 1;
            return;
        }
        let numbers = data.split_once(' ').and_then(|(topic, number)| {
            let tally = self.record.tallies.get_mut(&topic.parse().ok()?)?;
            Some((tally, number.parse().ok()?))
        });
        let Some((tally, number)) = numbers else { return self.record.strange.push(data) };
        tally.take(number);
        let now = self.stage.now();
        let pause = self.last_update.replace(now).map_or(Duration::ZERO, |last| now.saturating_sub(last));
        self.record.pause_max = self.record.pause_max.max(pause);
        self.stage.deliveries.fetch_add(1, Relaxed);
    }
}
