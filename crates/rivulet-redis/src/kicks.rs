//! Kicks: a message to all nodes, which end connections and say how many.
//!
//! ```text
//!  kick ── K<kick> on the control channel, again and again ──▶ each node: its feed ends them
//!    ▲                                                              │
//!    └──────── looked at until all who live have answered ── a hash ┘
//! ```
//!
//! A message that gets lost with a broken feed is said again, with the time of the first one: who came meanwhile stays. A
//! node that has heard it ends nobody twice. What is not heard for longer than that stands in a record, which `late_kicks`
//! reads.

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
    late_kicks::{Hearing, KEPT_MICROS, RECORD_LEN},
    limits::REDIS_TIME,
    primaries::{Job, Primaries},
    script::{Call, Script},
};

/// Where kicks are told and answered.
pub(crate) const HOME: Partition = Partition::new(0);
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
/// How many kicks a node remembers: what is said again, or stands in the record, is one of the last.
const RECENT_LEN: usize = RECORD_LEN;
/// How many kicks a node answers at once. Further ones wait to be said again.
const ANSWERING_MAX: usize = 64;

/// See the module.
pub(crate) struct Kicks {
    pub(crate) primaries: Arc<Primaries>,
    pub(crate) keys: Keys,
    publish: &'static str,
    /// This node, as its incarnations begin.
    node: String,
    kick: Script,
    kicked: Script,
    pub(crate) record: Script,
    recent: Mutex<Recent>,
    /// They end within seconds, and with this.
    answering: Mutex<JoinSet<()>>,
    pub(crate) hearing: Hearing,
}

/// What became of the last kicks that this node has heard of.
#[derive(Default)]
struct Recent {
    kicks: HashMap<u64, Work>,
    order: VecDeque<u64>,
}

/// What a node has done about a kick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Begun,
    /// So many connections were ended.
    Done(usize),
    /// It was not carried out, or not known to be: when it is heard again, it is news again.
    Failed,
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
            record: Script::kicks(),
            recent: Mutex::default(),
            answering: Mutex::default(),
            hearing: Hearing::default(),
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
        let keys = [names.leases(), names.kick(&kick_message::number(kick)), names.kicks()];
        let (kept, len) = (KEPT_MICROS.to_string(), RECORD_LEN.to_string());
        let args = [REDIS_TIME, &names.control, self.publish, message, &kept, &len];
        let call = Call {
            keys: keys.iter().map(String::as_bytes).collect(),
            args: args.map(str::as_bytes).to_vec(),
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
            self.hearing.missed();
            return None;
        }
        let kicks = self.clone();
        match self.recent.lock().begin(kick) {
            Some(Work::Done(ended)) => {
                answering.spawn(async move { kicks.answer(kick, ended).await });
                None
            }
            Some(_) => None,
            None => {
                let (sender, ended) = oneshot::channel();
                answering.spawn(async move { kicks.answer_when(kick, ended).await.map_or((), drop) });
                Some(sender)
            }
        }
    }

    /// Whether a kick is news to this node; then it counts as begun.
    pub(crate) fn is_news(&self, kick: u64) -> bool {
        self.recent.lock().begin(kick).is_none()
    }

    /// Waits until the node has ended connections, and says so. Answers how many; `None` if that is not known.
    pub(crate) async fn answer_when(&self, kick: u64, ended: oneshot::Receiver<usize>) -> Option<usize> {
        let number = kick_message::number(kick);
        let ended = match tokio::time::timeout(END_MAX, ended).await {
            Ok(Ok(ended)) => ended,
            failed => {
                // Too many kicks at once, or a worker that does not answer: it is tried again from the record.
                let is_late = failed.is_err();
                tracing::warn!(
                    kick = number,
                    is_late,
                    "a kick was not carried out by this node; trying again"
                );
                self.recent.lock().note(kick, Work::Failed);
                self.hearing.missed();
                return None;
            }
        };
        self.recent.lock().note(kick, Work::Done(ended));
        tracing::info!(kick = number, ended, "connections were kicked");
        self.answer(kick, ended).await;
        Some(ended)
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
    /// What has been done about a kick; if that is nothing, it begins now.
    fn begin(&mut self, kick: u64) -> Option<Work> {
        match self.kicks.get_mut(&kick) {
            Some(work @ Work::Failed) => {
                *work = Work::Begun;
                return None;
            }
            Some(work) => return Some(*work),
            None => {}
        }
        self.kicks.insert(kick, Work::Begun);
        self.order.push_back(kick);
        if self.order.len() > RECENT_LEN
            && let Some(oldest) = self.order.pop_front()
        {
            self.kicks.remove(&oldest);
        }
        None
    }

    fn note(&mut self, kick: u64, work: Work) {
        if let Some(known) = self.kicks.get_mut(&kick) {
            *known = work;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bounded_number_of_kicks_is_remembered() {
        let mut recent = Recent::default();
        for kick in 0..1000 {
            assert_eq!(recent.begin(kick), None);
        }
        assert_eq!((recent.kicks.len(), recent.order.len()), (RECENT_LEN, RECENT_LEN));
        assert!(recent.kicks.contains_key(&999) && !recent.kicks.contains_key(&0));
    }

    #[test]
    fn a_kick_is_news_until_it_is_carried_out() {
        let mut recent = Recent::default();
        assert_eq!(recent.begin(7), None);
        assert_eq!(recent.begin(7), Some(Work::Begun));
        for _ in 0..2 * RECENT_LEN {
            recent.note(7, Work::Failed);
            assert_eq!(recent.begin(7), None, "it was not carried out");
        }
        assert_eq!(recent.order.len(), 1, "trying again pushes no other one out");
        recent.note(7, Work::Done(3));
        assert_eq!(recent.begin(7), Some(Work::Done(3)));
        recent.note(8, Work::Failed);
        assert_eq!(recent.begin(8), None, "nobody has heard of it");
    }
}
