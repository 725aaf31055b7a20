//! Clients of one subject on several nodes, and an exact count of how many streams they hold at a time.
//!
//! All stand in one loop, so that nothing happens between two looks at the count. A stream counts from the first bytes
//! of its answer until its client begins to close it: the hub holds it before and after. So the count is never more
//! than what the hub holds, and a limit that the count exceeds was exceeded by the hub.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Context;
use mio::{Events, Poll, Token};
use slab::Slab;

use crate::{
    approach::Approach,
    call::{Call, Heard, source_of_call},
    chance::Chance,
    deadlines::{Deadlines, Owner},
    head::Head,
    subscriber,
    wire::Wire,
};

const EVENTS_PER_TURN: usize = 1024;
const TURN_MAX: Duration = Duration::from_millis(20);
const READ_LEN: usize = 16 * 1024;
const READS_MAX: u32 = 4;
/// Longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How long one holds its stream who does not mean to keep it, at most.
const HOLD_MS_MAX: u64 = 200;
/// The problem that a refusal names.
const PROBLEM: &str = "urn:rivulet:problem:quota-exceeded";

/// See the module.
pub(crate) struct QuotaClients {
    nodes: Vec<SocketAddr>,
    topic: String,
    token: String,
    poll: Poll,
    calls: Slab<Caller>,
    deadlines: Deadlines,
    chance: Chance,
    buffer: Vec<u8>,
    next_number: u64,
    /// Streams that are held now.
    pub(crate) open: usize,
    pub(crate) counts: Counts,
}

struct Caller {
    call: Call,
    node: usize,
    number: u64,
    due: Instant,
    holding: Holding,
    is_open: bool,
}

/// How long a client keeps a stream that it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holding {
    Briefly,
    ForGood,
}

/// What has happened since it was asked last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) most_open: usize,
    pub(crate) opened: u64,
    pub(crate) refused: u64,
    /// Refusals that do not say what they should, and connections that ended without an answer.
    pub(crate) wrong: u64,
    pub(crate) first_wrong: Option<String>,
}

impl QuotaClients {
    pub(crate) fn new(nodes: Vec<SocketAddr>, topic: &str, token: String) -> anyhow::Result<Self> {
        Ok(Self {
            nodes,
            topic: topic.to_owned(),
            token,
            poll: Poll::new().context("creating an epoll instance")?,
            calls: Slab::new(),
            deadlines: Deadlines::default(),
            chance: Chance::new(7),
            buffer: vec![0; READ_LEN],
            next_number: 0,
            open: 0,
            counts: Counts::default(),
        })
    }

    /// Asks a node for a stream.
    pub(crate) fn ask(&mut self, node: usize, holding: Holding) -> anyhow::Result<()> {
        let (hub, number) = (self.nodes[node], self.next_number);
        self.next_number += 1;
        let entry = self.calls.vacant_entry();
        let (key, source) = (entry.key(), Some(source_of_call(number)));
        let wire = Wire::connect(hub, source, &Approach::default(), self.poll.registry(), Token(key))?;
        let call = Call::new(wire, subscriber::request(hub, &self.topic, &self.token));
        let due = Instant::now() + ANSWER_MAX;
        self.deadlines.add(due, Owner { key, number });
        entry.insert(Caller { call, node, number, due, holding, is_open: false });
        Ok(())
    }

    /// How many wait for an answer.
    pub(crate) fn asking(&self) -> usize {
        self.calls.len() - self.open
    }

    /// Takes what has happened; answers the nodes of those who are free again: refused, or left.
    pub(crate) fn turn(&mut self) -> anyhow::Result<Vec<usize>> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        let wait = self.deadlines.wait(Instant::now(), TURN_MAX);
        match self.poll.poll(&mut events, Some(wait)) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return Ok(Vec::new()),
            other => other.context("waiting for events")?,
        }
        let mut free = Vec::new();
        for event in &events {
            let key = event.token().0;
            if let Some(caller) = self.calls.get_mut(key) {
                match caller.call.on_event(event, &mut self.buffer, READS_MAX) {
                    Heard::Nothing => {}
                    Heard::Opened => self.on_open(key),
                    Heard::Refused(status) => {
                        self.on_refusal(key, status);
                        free.extend(self.leave(key));
                    }
                    Heard::Ended => {
                        if !self.calls[key].is_open {
                            self.note_wrong("a connection ended without an answer".to_owned());
                        }
                        free.extend(self.leave(key));
                    }
                }
            }
        }
        let now = Instant::now();
        while let Some(owner) = self.deadlines.due(now) {
            let is_due = |caller: &Caller| caller.number == owner.number && caller.due <= now;
            if self.calls.get(owner.key).is_some_and(is_due) {
                if !self.calls[owner.key].is_open {
                    self.note_wrong(format!("a client has waited {ANSWER_MAX:?} for an answer"));
                }
                free.extend(self.leave(owner.key));
            }
        }
        Ok(free)
    }

    fn on_open(&mut self, key: usize) {
        let (caller, hold) = (&mut self.calls[key], Duration::from_millis(self.chance.below(HOLD_MS_MAX)));
        caller.is_open = true;
        self.open += 1;
        self.counts.opened += 1;
        self.counts.most_open = self.counts.most_open.max(self.open);
        // Its earlier deadline, by which it waited for an answer, is void.
        match caller.holding {
            Holding::Briefly => {
                caller.due = Instant::now() + hold;
                self.deadlines.add(caller.due, Owner { key, number: caller.number });
            }
            Holding::ForGood => caller.due += Duration::from_secs(86_400),
        }
    }

    fn on_refusal(&mut self, key: usize, status: u16) {
        self.counts.refused += 1;
        let text = self.calls[key].call.refusal();
        if !is_as_it_should(status, &text) {
            self.note_wrong(text);
        }
    }

    fn note_wrong(&mut self, what: String) {
        self.counts.wrong += 1;
        self.counts.first_wrong.get_or_insert(what);
    }

    /// Closes, which begins after it does not count any more.
    fn leave(&mut self, key: usize) -> Option<usize> {
        let caller = self.calls.try_remove(key)?;
        self.open -= usize::from(caller.is_open);
        Some(caller.node)
    }

    /// Closes all, or those only that wait for an answer.
    pub(crate) fn leave_all(&mut self, which: Which) {
        let keys: Vec<usize> = self
            .calls
            .iter()
            .filter(|(_, caller)| which == Which::All || !caller.is_open)
            .map(|(key, _)| key)
            .collect();
        for key in keys {
            self.leave(key);
        }
    }

    /// Hands over what has happened and begins to count anew.
    pub(crate) fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }
}

/// Whose connections are closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    All,
    Asking,
}

/// Whether a refusal says what it should: 429, when to come back, and that it is a quota.
fn is_as_it_should(status: u16, text: &str) -> bool {
    let Ok(Some(head)) = Head::parse(text.as_bytes()) else { return false };
    let (head, body) = text.split_at(head.len);
    let retry_after = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("retry-after").then(|| value.trim().parse::<u32>().is_ok())
    });
    let problem: Option<serde_json::Value> = serde_json::from_str(body).ok();
    status == 429 && retry_after == Some(true) && problem.is_some_and(|problem| problem["type"] == PROBLEM)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        thread,
    };

    use super::*;

    /// Answers one client of a hub that holds at most so many.
    fn serve(mut stream: TcpStream, limit: usize, held: &AtomicUsize) {
        let mut buffer = [0; 4096];
        // A request fits into one segment.
        if stream.read(&mut buffer).unwrap_or(0) == 0 {
            return;
        }
        let taken =
            held.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |held| (held < limit).then_some(held + 1));
        if taken.is_ok() {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n:\n");
            while stream.read(&mut buffer).is_ok_and(|len| len > 0) {}
            held.fetch_sub(1, Ordering::SeqCst);
        } else {
            let body = format!("{{\"type\":\"{PROBLEM}\"}}");
            let head = format!("HTTP/1.1 429 No\r\nRetry-After: 1\r\nContent-Length: {}\r\n\r\n", body.len());
            let _ = stream.write_all((head + &body).as_bytes());
        }
    }

    fn hub_with_limit(limit: usize) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let held = Arc::new(AtomicUsize::new(0));
            while let Ok((stream, _)) = listener.accept() {
                let held = held.clone();
                thread::spawn(move || serve(stream, limit, &held));
            }
        });
        address
    }

    #[test]
    fn the_count_finds_the_limit_and_never_more() {
        let mut clients = QuotaClients::new(vec![hub_with_limit(5)], TOPIC, "token".to_owned()).unwrap();
        for _ in 0..20 {
            clients.ask(0, Holding::Briefly).unwrap();
        }
        while clients.counts.opened < 50 {
            for node in clients.turn().unwrap() {
                clients.ask(node, Holding::Briefly).unwrap();
            }
        }
        let counts = clients.take_counts();
        assert_eq!((counts.most_open, counts.wrong, counts.first_wrong), (5, 0, None));
        assert!(counts.refused > 0);
    }

    #[test]
    fn who_stays_counts_until_all_leave() {
        let mut clients = QuotaClients::new(vec![hub_with_limit(3)], TOPIC, "token".to_owned()).unwrap();
        for _ in 0..4 {
            clients.ask(0, Holding::ForGood).unwrap();
        }
        while clients.counts.refused < 1 || clients.open < 3 {
            clients.turn().unwrap();
        }
        assert_eq!((clients.open, clients.asking()), (3, 0));
        clients.leave_all(Which::Asking);
        assert_eq!(clients.open, 3);
        clients.leave_all(Which::All);
        assert_eq!(clients.open, 0);
    }

    const TOPIC: &str = "https://example.com/a";

    #[test]
    fn a_refusal_says_when_to_come_back_and_that_it_is_a_quota() {
        let refusal = |retry: &str, kind: &str| {
            format!(
                "HTTP/1.1 429 Too Many Requests\r\n{retry}\r\n\r\n{{\"type\":\"urn:rivulet:problem:{kind}\"}}"
            )
        };
        let good = refusal("retry-after: 2", "quota-exceeded");
        assert!(is_as_it_should(429, &good));
        assert!(!is_as_it_should(503, &good));
        assert!(!is_as_it_should(429, &refusal("retry-after: soon", "quota-exceeded")));
        assert!(!is_as_it_should(429, &refusal("x: 2", "quota-exceeded")));
        assert!(!is_as_it_should(429, &refusal("retry-after: 2", "node-busy")));
        assert!(!is_as_it_should(429, "nothing"));
    }
}
