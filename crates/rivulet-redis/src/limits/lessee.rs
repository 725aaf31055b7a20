//! The task behind the limits: it keeps the lease, tells Redis what was given back, and takes a new incarnation when what
//! Redis knows is uncertain.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;
use rivulet_core::Partition;
use rivulet_node::{FeedSender, Limit, Scope, TransportError};
use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
};

use super::{
    CLOSE_MAX, Limits, Phase,
    counter::{Joined, Leased, RENEWALS, Renewed, SCOPES_LEN},
    excess,
};
use crate::{
    command_parts::parts,
    connector::{BACKOFF_MAX, Backoff},
    keys::place,
    topology::{Map, Primacy},
};

/// For how long what is given back is gathered: a node that drains tells it in a few calls.
const GATHER: Duration = Duration::from_millis(5);
/// How long a change is as text, with what is around it.
const CHANGE_LEN: usize = 16;
/// How often it is looked whether all nodes are back after leases were lost.
const SETTLING_LOOK: Duration = Duration::from_millis(200);
/// How many earlier incarnations are remembered: all attempts in the time of the longest lease. Those from before that
/// are dead.
const EARLIER_MAX: usize = 1024;

/// See the module.
pub(super) struct Lessee {
    limits: Arc<Limits>,
    lease: Duration,
    feed: FeedSender,
    map: watch::Receiver<Arc<Map>>,
    primacy: Primacy,
    /// Told when a connection for commands is up again: what happened to Redis meanwhile nobody knows.
    connected: watch::Receiver<u64>,
    /// Those that Redis may count: the one in use, and such as were to take its place and perhaps did.
    earlier: Vec<Arc<str>>,
    renewal: Instant,
    /// When the lease was begun or renewed last, as far as is known.
    leased: Instant,
    /// When others are not waited for any more, while some are missing.
    settled: Instant,
    /// Whether Redis was told that this node leaves.
    told_to_leave: bool,
    /// Ends connections that are too many; one such task at most.
    shrinking: JoinSet<()>,
}

impl Lessee {
    pub(super) fn new(
        limits: Arc<Limits>,
        lease: Duration,
        feed: FeedSender,
        mut map: watch::Receiver<Arc<Map>>,
        connected: watch::Receiver<u64>,
    ) -> Self {
        let primacy = primacy(&map.borrow_and_update());
        Self {
            limits,
            lease,
            feed,
            map,
            primacy,
            connected,
            earlier: Vec::new(),
            renewal: Instant::now(),
            leased: Instant::now(),
            settled: Instant::now(),
            told_to_leave: false,
            shrinking: JoinSet::new(),
        }
    }

    /// Runs until the node closes; then gives back what it holds.
    pub(super) async fn run(mut self, closed: oneshot::Receiver<()>) {
        tokio::select! {
            () = self.keep() => {}
            // Closed or dropped: the same.
            _ = closed => {}
        }
        self.shrinking.shutdown().await;
        let earlier = self.earlier.iter().map(|incarnation| &**incarnation);
        let leaving = self.limits.counter.leave(earlier);
        match tokio::time::timeout(CLOSE_MAX, leaving).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the lease in Redis was not given back: it will lapse"),
            Err(_) => tracing::debug!("the lease in Redis was not given back in time: it will lapse"),
        }
    }

    async fn keep(&mut self) {
        let mut backoff = Backoff::new();
        loop {
            if self.is(Phase::Doubtful) {
                match self.join().await {
                    Ok(()) => {
                        backoff = Backoff::new();
                        self.shrink();
                    }
                    Err(error) => {
                        tracing::debug!(%error, "this node could not be counted in Redis; trying again");
                        tokio::select! {
                            () = backoff.wait() => {}
                            Ok(()) = self.connected.changed() => {}
                        }
                        continue;
                    }
                }
            }
            let limits = self.limits.clone();
            tokio::select! {
                () = limits.work.notified() => tokio::time::sleep(GATHER).await,
                () = tokio::time::sleep_until(self.renewal.into()) => {}
                Ok(()) = self.connected.changed() => self.renewal = Instant::now(),
                changed = self.map.changed() => match changed {
                    Ok(()) => self.follow(),
                    // The topology ends with the transport, which tells `closed` as well.
                    Err(_) => std::future::pending().await,
                },
            }
            self.settle().await;
            let is_news = self.limits.leaves.load(Ordering::Acquire) && !self.told_to_leave;
            if is_news || Instant::now() >= self.renewal {
                self.renew().await;
            }
        }
    }

    fn is(&self, phase: Phase) -> bool {
        self.limits.state.lock().phase == phase
    }

    fn incarnation(&self) -> Arc<str> {
        self.limits.state.lock().incarnation.clone()
    }

    /// Another server is the primary now, or the same one anew: what it had not been told is lost.
    fn follow(&mut self) {
        let now = primacy(&self.map.borrow_and_update());
        if now != self.primacy {
            self.primacy = now;
            self.limits.doubt(&self.incarnation(), "another server counts now");
        }
    }

    /// Takes a new incarnation, which holds what the ledger says.
    async fn join(&mut self) -> Result<(), TransportError> {
        self.limits.landed().await;
        self.leased = Instant::now();
        self.primacy = primacy(&self.map.borrow_and_update());
        let new: Arc<str> = format!("{}.{:08x}", self.limits.node, rand::random::<u32>()).into();
        let (held, connections, began) = {
            // With the lock: what is given back from now on is told afterwards.
            let mut state = self.limits.state.lock();
            state.phase = Phase::Joining;
            // Who has let some in without asking comes last: if they are too many, it is those that end.
            let began = state.began.clone().filter(|_| !state.alone);
            state.alone = false;
            (self.limits.ledger.held(), self.limits.ledger.connections(), began)
        };
        let joined = self.enter(&new, &held, connections, began.as_deref()).await;
        let mut state = self.limits.state.lock();
        match &joined {
            Ok(joined) => {
                let is_missing = joined.nodes < state.nodes && !joined.young.is_zero();
                state.phase = if is_missing { Phase::Settling } else { Phase::Counted };
                if is_missing {
                    tracing::info!(
                        nodes = joined.nodes,
                        known = state.nodes,
                        "Redis has lost its nodes: those that are missing still are waited for"
                    );
                    state.untold.clear();
                    self.settled = Instant::now() + joined.young;
                }
                state.began = Some(joined.began.clone());
                state.incarnation = new;
                state.changes = 0;
                state.away = None;
                self.limits.work.notify_one();
                self.renewal = Instant::now();
            }
            Err(error) => {
                state.phase = Phase::Doubtful;
                state.alone |= began.is_none();
                state.untold.clear();
                state.away = Some(error.clone());
            }
        }
        self.limits.changed.notify_waiters();
        joined.map(drop)
    }

    async fn enter(
        &mut self,
        new: &Arc<str>,
        held: &[rivulet_node::Held],
        connections: usize,
        began: Option<&str>,
    ) -> Result<Joined, TransportError> {
        let late = || TransportError::new("what was staged in Redis is gone");
        let counter = &self.limits.counter;
        // What becomes of it is not known when an answer does not come: then the next switch ends it too.
        if self.earlier.len() == EARLIER_MAX {
            self.earlier.remove(0);
        }
        self.earlier.push(new.clone());
        let Leased::Alive(()) = counter.stage(new, held).await? else { return Err(late()) };
        let others = self.earlier.iter().map(|incarnation| &**incarnation);
        let others = others.filter(|earlier| *earlier != &**new);
        let Leased::Alive(joined) = counter.switch(new, others, connections, began).await? else {
            return Err(late());
        };
        self.earlier = vec![new.clone()];
        self.told_to_leave = false;
        Ok(joined)
    }

    /// Tells what the ledger says now and Redis does not know yet.
    async fn settle(&self) {
        let (incarnation, untold) = {
            let mut state = self.limits.state.lock();
            if state.phase != Phase::Counted {
                return;
            }
            (state.incarnation.clone(), std::mem::take(&mut state.untold))
        };
        let changes: Vec<((Limit, Scope), i64)> =
            untold.into_iter().filter(|(_, change)| *change != 0).collect();
        for part in changes.chunks(SCOPES_LEN) {
            let before = self.limits.state.lock().changes;
            // They travel together.
            let told = parts(part, |((limit, scope), _)| place(*limit, scope).len() + CHANGE_LEN)
                .map(|part| self.limits.counter.settle(&incarnation, part));
            let told = match try_join_all(told).await {
                Ok(told) => told,
                Err(error) => return self.limits.doubt(&incarnation, &error.reason),
            };
            for answer in told {
                match answer {
                    Leased::Alive(changes) if changes > before => {
                        let mut state = self.limits.state.lock();
                        state.changes = state.changes.max(changes);
                    }
                    Leased::Alive(_) => {
                        return self.limits.doubt(&incarnation, "Redis has lost what it had counted");
                    }
                    Leased::Lapsed => return self.limits.doubt(&incarnation, "its lease has ended"),
                }
            }
        }
    }

    async fn renew(&mut self) {
        let begun = Instant::now();
        self.renewal = begun + self.lease / RENEWALS;
        let (incarnation, before) = {
            let state = self.limits.state.lock();
            match state.phase {
                Phase::Counted => {}
                Phase::Settling => self.renewal = Instant::now() + SETTLING_LOOK,
                Phase::Doubtful | Phase::Joining => return,
            }
            (state.incarnation.clone(), state.changes)
        };
        let leaves = self.limits.leaves.load(Ordering::Acquire);
        let said = (self.limits.ledger.connections(), leaves);
        match self.limits.counter.renew(&incarnation, said).await {
            Ok(Leased::Alive(Renewed { changes, .. })) if changes < before => {
                self.limits.doubt(&incarnation, "Redis has lost what it had counted");
            }
            Ok(Leased::Alive(renewed)) => {
                self.told_to_leave = leaves;
                self.leased = begun;
                let mut state = self.limits.state.lock();
                if state.phase != Phase::Settling {
                    (state.nodes, state.others) = (renewed.nodes, renewed.others);
                } else if renewed.nodes >= state.nodes || Instant::now() >= self.settled {
                    self.limits.begin_to_doubt(&mut state, "the nodes that are alive are back");
                }
            }
            Ok(Leased::Lapsed) => self.limits.doubt(&incarnation, "its lease has ended"),
            Err(error) if self.leased.elapsed() >= self.lease => {
                // Others count without this node by now, whether Redis says so or does not answer.
                self.limits.doubt(&incarnation, &error.reason);
            }
            Err(error) => {
                // Renewing twice does no harm: nothing is uncertain yet.
                tracing::debug!(%error, "the lease in Redis was not renewed; trying again");
                self.renewal = Instant::now() + BACKOFF_MAX;
            }
        }
    }

    /// Others may have taken places while this node was not counted.
    fn shrink(&mut self) {
        self.shrinking.abort_all();
        while self.shrinking.try_join_next().is_some() {}
        let (limits, feed) = (self.limits.clone(), self.feed.clone());
        self.shrinking.spawn(async move { excess::end(&limits, &feed).await });
    }
}

impl Limits {
    /// Waits until no admission is on its way: each has an end. While it is doubtful none is begun.
    async fn landed(&self) {
        loop {
            let changed = self.changed.notified();
            if self.state.lock().in_flight == 0 {
                return;
            }
            changed.await;
        }
    }
}

/// Who counts.
fn primacy(map: &Map) -> Primacy {
    map.primaries[Partition::default().index()].clone()
}
