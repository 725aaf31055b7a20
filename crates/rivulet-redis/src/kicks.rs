//! Kicks: a message to all nodes, which end connections and say how many.
//!
//! ```text
//!  kick ── K<kick> on the control channel, again and again ──▶ each node: its feed ends them
//!    ▲                                                              │
//!    └──────── looked at until all who live have answered ── a hash ┘
//! ```
//!
//! A message that gets lost with a broken feed is said again; a node that has heard it ends nobody twice.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use redis::Value;
use rivulet_core::Partition;
use rivulet_node::{KickReport, KickTarget, TransportError};
use tokio::{sync::oneshot, task::JoinSet};

use crate::{
    entry::unexpected,
    keys::Keys,
    kick_message,
    limits::REDIS_TIME,
    primaries::{Job, Primaries},
    script::{Call, Script},
};

/// Where kicks are told and answered.
const HOME: Partition = Partition::new(0);
/// How long the nodes may take.
const KICK_MAX: Duration = Duration::from_secs(3);
/// How often it is said again to those who have not answered.
const REPEAT: Duration = Duration::from_millis(500);
/// How often the answers are looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long this node may take to end connections.
const END_MAX: Duration = Duration::from_secs(2);
/// How long answers are kept.
const ANSWERS_MS: &str = "60000";
/// How many kicks a node remembers: what is said again belongs to one of the last.
const RECENT_LEN: usize = 256;
/// How many kicks a node answers at once. Further ones wait to be said again.
const ANSWERING_MAX: usize = 64;

/// See the module.
pub(crate) struct Kicks {
    primaries: Arc<Primaries>,
    keys: Keys,
    publish: &'static str,
    /// This node, as its incarnations begin.
    node: String,
    kick: Script,
    kicked: Script,
    recent: Mutex<Recent>,
    /// They end within seconds, and with this.
    answering: Mutex<JoinSet<()>>,
}

/// What became of the last kicks that this node has heard of.
#[derive(Default)]
struct Recent {
    /// `None` while it is worked on.
    ended: HashMap<u64, Option<usize>>,
    order: VecDeque<u64>,
}

impl Kicks {
    pub(crate) fn new(primaries: Arc<Primaries>, keys: Keys, publish: &'static str, node: String) -> Self {
        Self {
            primaries,
            keys,
            publish,
            node,
            kick: Script::kick(),
            kicked: Script::kicked(),
            recent: Mutex::default(),
            answering: Mutex::default(),
        }
    }

    /// See [`rivulet_node::Transport::kick`].
    pub(crate) async fn kick(&self, target: &KickTarget) -> Result<KickReport, TransportError> {
        let kick = rand::random();
        let (message, until) = (kick_message::write(kick, target), Instant::now() + KICK_MAX);
        let (mut report, mut repeat) = (None, Instant::now());
        loop {
            let is_due = Instant::now() >= repeat;
            match self.look(kick, if is_due { &message } else { "" }).await {
                Ok(now) if now.nodes_unanswered == 0 => return Ok(now),
                Ok(now) => {
                    report = Some(now);
                    if is_due {
                        repeat = Instant::now() + REPEAT;
                    }
                }
                Err(error) if Instant::now() >= until => return report.ok_or(error),
                Err(_) => {}
            }
            if let Some(report) = report.filter(|_| Instant::now() >= until) {
                return Ok(report);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Says it, if there is something to say, and looks who has answered.
    async fn look(&self, kick: u64, message: &str) -> Result<KickReport, TransportError> {
        let names = self.keys.of(HOME);
        let (leases, answers) = (names.leases(), names.kick(&kick_message::number(kick)));
        let call = Call {
            keys: vec![leases.as_bytes(), answers.as_bytes()],
            args: [REDIS_TIME, &names.control, self.publish, message].map(str::as_bytes).to_vec(),
        };
        let done = self.primaries.run(HOME, Job::Count(&self.kick, &call)).await?;
        let Some(Value::Array(answer)) = done.values.into_iter().next() else {
            return Err(unexpected("a kick"));
        };
        let [alive, ended]: [Value; 2] = answer.try_into().map_err(|_| unexpected("a kick"))?;
        let alive: Vec<String> = redis::from_redis_value(alive).map_err(|_| unexpected("a lease"))?;
        let ended: HashMap<String, usize> = redis::from_redis_value::<std::collections::HashMap<_, _>>(ended)
            .map_err(|_| unexpected("an answer to a kick"))?
            .into_iter()
            .collect();
        // An incarnation is `<node>.<number>`, and a node may take another one meanwhile. This one lives for sure.
        let node = |incarnation: &String| incarnation.split('.').next().unwrap_or_default().to_owned();
        let alive: HashSet<String> = alive.iter().map(node).chain([self.node.clone()]).collect();
        Ok(KickReport {
            ended: ended.values().sum(),
            nodes: ended.len(),
            nodes_unanswered: alive.iter().filter(|node| !ended.contains_key(*node)).count(),
        })
    }

    /// A message has arrived. Answers where the node is to say how many connections it has ended, if it is to end some: it
    /// is the first time that this kick is heard of.
    pub(crate) fn hear(self: &Arc<Self>, kick: u64) -> Option<oneshot::Sender<usize>> {
        let mut answering = self.answering.lock();
        while answering.try_join_next().is_some() {}
        if answering.len() >= ANSWERING_MAX {
            return None;
        }
        let (kicks, mut recent) = (self.clone(), self.recent.lock());
        match recent.ended.get(&kick).copied() {
            Some(Some(ended)) => {
                answering.spawn(async move { kicks.answer(kick, ended).await });
                None
            }
            Some(None) => None,
            None => {
                recent.remember(kick);
                let (sender, ended) = oneshot::channel();
                answering.spawn(async move { kicks.answer_when(kick, ended).await });
                Some(sender)
            }
        }
    }

    /// Waits until the node has ended connections, and says so.
    async fn answer_when(&self, kick: u64, ended: oneshot::Receiver<usize>) {
        let number = kick_message::number(kick);
        match tokio::time::timeout(END_MAX, ended).await {
            Ok(Ok(ended)) => {
                if let Some(known) = self.recent.lock().ended.get_mut(&kick) {
                    *known = Some(ended);
                }
                tracing::info!(kick = number, ended, "connections were kicked");
                self.answer(kick, ended).await;
            }
            // The feed broke before it was through: when it is said again, it is news again.
            Ok(Err(_)) => drop(self.recent.lock().ended.remove(&kick)),
            Err(_) => tracing::warn!(kick = number, "a kick was not answered by this node in time"),
        }
    }

    /// Says how many connections this node has ended. What gets lost is said again when the message comes again.
    async fn answer(&self, kick: u64, ended: usize) {
        let (answers, ended) = (self.keys.of(HOME).kick(&kick_message::number(kick)), ended.to_string());
        let call = Call {
            keys: vec![answers.as_bytes()],
            args: [&self.node, ended.as_str(), ANSWERS_MS].map(str::as_bytes).to_vec(),
        };
        if let Err(error) = self.primaries.run(HOME, Job::Count(&self.kicked, &call)).await {
            tracing::debug!(%error, "how many connections a kick has ended could not be said");
        }
    }
}

impl Recent {
    fn remember(&mut self, kick: u64) {
        self.ended.insert(kick, None);
        self.order.push_back(kick);
        if self.order.len() > RECENT_LEN
            && let Some(oldest) = self.order.pop_front()
        {
            self.ended.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bounded_number_of_kicks_is_remembered() {
        let mut recent = Recent::default();
        (0..1000).for_each(|kick| recent.remember(kick));
        assert_eq!((recent.ended.len(), recent.order.len()), (RECENT_LEN, RECENT_LEN));
        assert!(recent.ended.contains_key(&999) && !recent.ended.contains_key(&0));
    }
}
