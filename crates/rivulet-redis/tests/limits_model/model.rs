//! The model: what the scripts that count do, in a few lines of Rust, and the calls that do the same in Redis.

use std::collections::{BTreeMap, HashMap};

use redis::Value;

use crate::{
    publishing::Log,
    steps::{NODES, Step},
};

macro_rules! script {
    ($($name:literal)*) => { concat!($(include_str!(concat!("../../src/scripts/", $name, ".lua"))),*) };
}

/// The scripts, in the order of [`Script`].
pub(crate) const SCRIPTS: [&str; 8] = [
    script!("time" "live" "gcra" "admit"),
    script!("time" "settle"),
    script!("time" "stage"),
    script!("time" "live" "switch"),
    script!("time" "live" "renew"),
    script!("time" "live" "before"),
    script!("time" "gcra" "rate"),
    script!("gcra" "append"),
];

/// A script's place in [`SCRIPTS`].
#[derive(Clone, Copy, Debug)]
pub(crate) enum Script {
    Admit,
    Settle,
    Stage,
    Switch,
    Renew,
    Before,
    Rate,
    Append,
}

/// The year 2096.
const START_MICROS: u64 = 4_000_000_000_000_000;
const LEASE_MS: u64 = 15_000;
/// For how long nodes may be missing from a set of leases.
const YOUNG_MS: u64 = 6_000;
/// Each with the most connections that it may hold.
const SCOPES: [(&str, u32); 6] = [("0:", 12), ("1:a", 3), ("1:b", 5), ("2:x", 4), ("3:t", 2), ("3:u", 1)];
/// Each with its interval and burst, in microseconds.
pub(crate) const RATES: [(&str, u64, u64); 4] = [
    ("4:x", 1_000_000, 3_000_000),
    ("5:a", 1, 1),
    ("6:a", 333_333, 333_333),
    ("7:t", 86_400_000_000, 10 * 86_400_000_000),
];
/// What an incarnation is to Redis.
#[derive(Clone, Debug, Default)]
pub(crate) struct Incarnation {
    pub(crate) lease_end_ms: u64,
    pub(crate) counts: BTreeMap<&'static str, i64>,
    pub(crate) changes: i64,
    pub(crate) began: u64,
}

/// A node: its incarnation, those before it, and its ledger.
#[derive(Clone, Debug, Default)]
struct Node {
    name: String,
    began: u64,
    earlier: Vec<String>,
    connections: Vec<Vec<&'static str>>,
}

/// A call of a script, and what it must answer.
pub(crate) struct Call {
    pub(crate) script: Script,
    pub(crate) keys: Vec<String>,
    pub(crate) args: Vec<String>,
    pub(crate) expected: Value,
}

/// Rates with their intervals, and until when each is used up.
pub(crate) type Taken = Vec<(&'static str, u64, u64)>;

pub(crate) struct Model {
    pub(crate) prefix: String,
    pub(crate) now: u64,
    pub(crate) alive: HashMap<String, Incarnation>,
    nodes: Vec<Node>,
    pub(crate) arrivals: HashMap<&'static str, u64>,
    /// When each rate has let something through that was not taken back.
    pub(crate) passed: HashMap<&'static str, Vec<u64>>,
    /// Updates that are not appended yet: what their rates answered, and when.
    pub(crate) published: Vec<(Taken, u64)>,
    pub(crate) log: Log,
    /// When the set of leases began, in milliseconds.
    since: Option<u64>,
    pub(crate) names: u32,
    pub(crate) calls: Vec<Call>,
}

pub(crate) fn bulk(text: &str) -> Value {
    Value::BulkString(text.as_bytes().to_vec())
}

pub(crate) fn number(number: impl TryInto<i64>) -> Value {
    Value::Int(number.try_into().ok().unwrap())
}

fn chosen<T: Copy>(of: &[T], bits: u8) -> Vec<T> {
    of.iter().enumerate().filter(|(n, _)| bits & (1 << n) != 0).map(|(_, one)| *one).collect()
}

impl Model {
    pub(crate) fn new(prefix: String) -> Self {
        let nodes = vec![Node::default(); NODES];
        let (alive, arrivals) = Default::default();
        let mut model = Self {
            prefix,
            now: START_MICROS,
            alive,
            nodes,
            arrivals,
            passed: HashMap::new(),
            published: Vec::new(),
            log: Log::default(),
            since: None,
            names: 0,
            calls: Vec::new(),
        };
        (0..NODES).for_each(|node| model.join(node));
        model
    }

    pub(crate) fn key(&self, name: &str) -> String {
        format!("{{{}}}{name}", self.prefix)
    }

    pub(crate) fn hash(&self, incarnation: &str) -> String {
        self.key(&format!("q:n:{incarnation}"))
    }

    pub(crate) fn call(&mut self, script: Script, keys: Vec<String>, args: Vec<String>, expected: Value) {
        let args = [self.now.to_string()].into_iter().chain(args).collect();
        self.calls.push(Call { script, keys, args, expected });
    }

    pub(crate) fn live(&self) -> impl Iterator<Item = (&String, &Incarnation)> {
        let ms = self.now / 1000;
        self.alive.iter().filter(move |(_, incarnation)| incarnation.lease_end_ms > ms)
    }

    fn is_live(&self, name: &str) -> bool {
        self.live().any(|(live, _)| live == name)
    }

    fn sum(&self, scope: &str) -> i64 {
        self.live().filter_map(|(_, incarnation)| incarnation.counts.get(scope)).sum()
    }

    /// GCRA, as the module `limits` of the node has it.
    pub(crate) fn pass(&mut self, rates: &[(&'static str, u64, u64)]) -> Option<(usize, u64)> {
        let mut arrivals = Vec::new();
        for (n, (name, interval, burst)) in rates.iter().enumerate() {
            let arrival = self.arrivals.get(name).copied().unwrap_or(0).max(self.now) + interval;
            if arrival - self.now > *burst {
                return Some((n, arrival - self.now - burst));
            }
            arrivals.push((*name, arrival));
        }
        for (name, _) in &arrivals {
            self.passed.entry(name).or_default().push(self.now);
        }
        self.arrivals.extend(arrivals);
        None
    }

    pub(crate) fn step(&mut self, step: &Step) {
        match step {
            Step::Admit { node, scopes, rates, off } => {
                let quotas: Vec<_> = chosen(&SCOPES, *scopes)
                    .into_iter()
                    .map(|(scope, max)| (scope, max.saturating_add_signed(*off).max(1)))
                    .collect();
                self.admit(*node, &self.nodes[*node].name.clone(), &quotas, &chosen(&RATES, *rates));
            }
            Step::Release { node, which } => {
                if !self.nodes[*node].connections.is_empty() {
                    let which = which.index(self.nodes[*node].connections.len());
                    let scopes = self.nodes[*node].connections.swap_remove(which);
                    self.settle(&self.nodes[*node].name.clone(), &scopes, -1);
                }
            }
            Step::Add { node, scopes } => {
                let scopes: Vec<_> = chosen(&SCOPES, *scopes).into_iter().map(|(scope, _)| scope).collect();
                self.settle(&self.nodes[*node].name.clone(), &scopes, 1);
                self.nodes[*node].connections.push(scopes);
            }
            Step::Renew { node } => self.renew(*node),
            Step::Join { node } => self.join(*node),
            Step::Die { node } => {
                self.nodes[*node] = Node::default();
                self.join(*node);
            }
            Step::Leave { node } => self.leave(*node),
            Step::Late { node, what } => self.late(*node, *what),
            Step::Before { node } => self.before(*node),
            Step::Publish { rates } => self.publish(&chosen(&RATES, *rates)),
            Step::GiveBack { which } => self.give_back(which),
            Step::Append { rates, again } => self.append(&chosen(&RATES, *rates), *again),
            Step::Pass { micros } => self.now += micros,
        }
    }

    fn admit(
        &mut self,
        node: usize,
        name: &str,
        quotas: &[(&'static str, u32)],
        rates: &[(&'static str, u64, u64)],
    ) {
        let full = quotas.iter().position(|(scope, max)| self.sum(scope) >= i64::from(*max));
        let expected = if !self.is_live(name) {
            vec![bulk("lapsed")]
        } else if let Some((n, wait)) = self.pass(rates) {
            vec![bulk("fast"), number(n + 1), bulk(&wait.to_string())]
        } else if let Some(full) = full {
            vec![bulk("full"), number(full + 1)]
        } else {
            let incarnation = self.alive.get_mut(name).unwrap();
            incarnation.changes += 1;
            for (scope, _) in quotas {
                *incarnation.counts.entry(scope).or_insert(0) += 1;
            }
            let changes = incarnation.changes;
            self.nodes[node].connections.push(quotas.iter().map(|(scope, _)| *scope).collect());
            for (scope, max) in quotas {
                // What nodes hold by their own ledgers, whatever the scripts have counted.
                let live = self.nodes.iter().filter(|node| self.is_live(&node.name));
                let held = live.flat_map(|node| &node.connections).flatten().filter(|held| *held == scope);
                assert!(held.count() <= *max as usize, "{scope} holds more than {max}");
            }
            vec![bulk("ok"), number(changes)]
        };
        let mut keys = vec![self.key("q:nodes"), self.hash(name)];
        let mut args = vec![name.to_owned(), quotas.len().to_string()];
        args.extend(quotas.iter().flat_map(|(scope, max)| [(*scope).to_owned(), max.to_string()]));
        for (rate, interval, burst) in rates {
            keys.push(self.key(&format!("r:{rate}")));
            args.extend([interval.to_string(), burst.to_string()]);
        }
        self.call(Script::Admit, keys, args, Value::Array(expected));
    }

    fn settle(&mut self, name: &str, scopes: &[&'static str], change: i64) {
        let expected = if self.is_live(name) {
            let incarnation = self.alive.get_mut(name).unwrap();
            incarnation.changes += 1;
            for scope in scopes {
                let count = incarnation.counts.entry(scope).or_insert(0);
                *count = (*count + change).max(0);
            }
            number(incarnation.changes)
        } else {
            bulk("lapsed")
        };
        let args = scopes.iter().flat_map(|scope| [(*scope).to_owned(), change.to_string()]);
        let args = [name.to_owned()].into_iter().chain(args).collect();
        self.call(Script::Settle, vec![self.key("q:nodes"), self.hash(name)], args, expected);
    }

    fn renew(&mut self, node: usize) {
        let name = self.nodes[node].name.clone();
        let connections = self.nodes[node].connections.len();
        let expected = if self.is_live(&name) {
            let lease_end_ms = self.now / 1000 + LEASE_MS;
            self.alive.get_mut(&name).unwrap().lease_end_ms = lease_end_ms;
            let changes = self.alive[&name].changes;
            // What others have said of their connections is not modelled: it is not what is decided by.
            vec![bulk("ok"), number(changes), number(self.live().count()), Value::Nil, Value::Nil, Value::Nil]
        } else {
            vec![bulk("lapsed")]
        };
        let ms = self.now / 1000;
        self.alive.retain(|_, incarnation| incarnation.lease_end_ms > ms);
        let args = vec![LEASE_MS.to_string(), name.clone(), connections.to_string(), "0".to_owned()];
        let keys = vec![self.key("q:nodes"), self.hash(&name), self.key("q:since")];
        self.call(Script::Renew, keys, args, Value::Array(expected));
    }

    fn join(&mut self, node: usize) {
        self.names += 1;
        let name = format!("{node:016x}.{}", self.names);
        let mut counts: BTreeMap<&'static str, i64> = BTreeMap::new();
        for scope in self.nodes[node].connections.iter().flatten() {
            *counts.entry(scope).or_insert(0) += 1;
        }
        let told = counts.iter().flat_map(|(scope, count)| [(*scope).to_owned(), count.to_string()]);
        let args = [LEASE_MS.to_string(), "1".to_owned()].into_iter().chain(told).collect();
        self.call(Script::Stage, vec![self.hash(&name)], args, number(1));
        let before = std::mem::take(&mut self.nodes[node].name);
        let ended: Vec<String> = [before.clone()].into_iter().filter(|name| !name.is_empty()).collect();
        let ms = self.now / 1000;
        let goes_on = ended.iter().any(|name| self.is_live(name));
        ended.iter().for_each(|name| drop(self.alive.remove(name)));
        let others = self.live().count();
        if others == 0 && !goes_on || self.since.is_none() {
            self.since = Some(ms);
        }
        let age = ms - self.since.unwrap();
        // Every second one has let somebody in without asking.
        let before = if self.names.is_multiple_of(2) { self.nodes[node].began } else { 0 };
        let last = self.live().map(|(_, other)| other.began + 1).max().unwrap_or(0).max(self.now);
        let began = if before > 0 && (goes_on || age < YOUNG_MS) { before } else { last };
        self.nodes[node].began = began;
        let answer = vec![bulk("ok"), number(others + 1), number(age), bulk(&began.to_string())];
        self.switch(&name, &ended, before, Value::Array(answer));
        let lease_end_ms = ms + LEASE_MS;
        self.alive.insert(name.clone(), Incarnation { lease_end_ms, counts, changes: 0, began });
        self.nodes[node].name = name;
        self.nodes[node].earlier.extend(ended);
    }

    fn switch(&mut self, new: &str, ended: &[String], began: u64, expected: Value) {
        let new_hash = if new.is_empty() { self.key("q:nodes") } else { self.hash(new) };
        let mut keys = vec![self.key("q:nodes"), new_hash, self.key("q:since")];
        keys.extend(ended.iter().map(|name| self.hash(name)));
        let mut args = vec![LEASE_MS.to_string(), "0".to_owned(), new.to_owned()];
        args.extend([YOUNG_MS.to_string(), began.to_string()]);
        args.extend(ended.iter().cloned());
        self.call(Script::Switch, keys, args, expected);
    }

    /// The node stops in order. Its next messages, if any, are those of an incarnation that nobody counts.
    fn leave(&mut self, node: usize) {
        let name = self.nodes[node].name.clone();
        self.alive.remove(&name);
        self.switch("", &[name], 0, Value::Array(vec![bulk("ok")]));
        // The sorted set holds also those who are dead and not cleared away yet.
        if self.alive.is_empty() {
            self.since = None;
        }
    }

    fn late(&mut self, node: usize, what: u8) {
        let Some(name) = self.nodes[node].earlier.last().cloned() else { return };
        match what {
            0 => self.admit(node, &name, &SCOPES[1..3], &[]),
            1 => self.settle(&name, &[SCOPES[1].0], -1),
            2 => self.switch(&name, &[], 0, Value::Array(vec![bulk("lapsed")])),
            _ => {
                let args = vec![LEASE_MS.to_string(), "0".to_owned(), SCOPES[1].0.to_owned(), "9".to_owned()];
                self.call(Script::Stage, vec![self.hash(&name)], args, bulk("lapsed"));
            }
        }
    }

    fn before(&mut self, node: usize) {
        let name = self.nodes[node].name.clone();
        let expected = match self.alive.get(&name).filter(|_| self.is_live(&name)) {
            None => bulk("lapsed"),
            Some(own) => {
                let sum = |scope: &str| {
                    let earlier = self.live().filter(|(_, other)| other.began < own.began);
                    number(earlier.filter_map(|(_, other)| other.counts.get(scope)).sum::<i64>())
                };
                Value::Array(SCOPES.iter().map(|(scope, _)| sum(scope)).collect())
            }
        };
        let scopes = SCOPES.iter().map(|(scope, _)| (*scope).to_owned());
        let args = [name.clone()].into_iter().chain(scopes).collect();
        self.call(Script::Before, vec![self.key("q:nodes"), self.hash(&name)], args, expected);
    }
}
