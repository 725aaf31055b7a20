//! A subscriber of a run: it comes back to any node with its last id, and records everything.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::{
    client::{Ending, Stream},
    cursor::Cursor,
    history::{Name, What},
    interest::{Interest, Matcher},
    world::{Book, World},
};
use crate::sse::{Block, Event};

/// How a subscriber reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// As fast as it can, on one connection as long as that lives.
    Steady,
    /// With a pause after each read and a small receive buffer.
    Slow(Duration),
    /// It hangs up after about this time and comes back elsewhere.
    Restless(Duration),
}

/// The end of a stream that its subscriber has chosen.
pub const LEFT: &str = "left by itself";

/// The receive buffer of subscribers. Linux' own would hide from a hub for seconds that nobody reads.
const BUFFER_LEN: u32 = 32 * 1024;

/// The receive buffer of slow ones.
const SLOW_BUFFER_LEN: u32 = 4 * 1024;

/// The subscribers of a run: all kinds of matchers with all kinds of habits.
pub fn cast(rooms: &[String], users: &[String], rng: &mut StdRng) -> Vec<(Interest, Habit)> {
    let exact = |topics: &[&String]| -> Vec<Matcher> {
        topics.iter().map(|topic| Matcher::Exact((*topic).clone())).collect()
    };
    let mut interests = Vec::new();
    for index in 0..6 {
        interests.push(exact(&[&rooms[index % rooms.len()]]));
        let many: Vec<&String> = rooms.iter().chain(users).skip(index).step_by(2 + index % 2).collect();
        interests.push(exact(&many));
    }
    for _ in 0..2 {
        interests.push(vec![Matcher::Below("rooms".to_owned())]);
        interests.push(vec![Matcher::Below("users".to_owned()), Matcher::Exact(rooms[0].clone())]);
        interests.push(vec![Matcher::All]);
    }
    let habits = interests.iter().enumerate().map(|(index, _)| match index % 4 {
        0 | 1 => Habit::Steady,
        2 => Habit::Restless(Duration::from_millis(rng.random_range(300..2_500))),
        _ => Habit::Slow(Duration::from_millis(rng.random_range(5..60))),
    });
    let habits: Vec<Habit> = habits.collect();
    let with_grants = interests.into_iter().map(|matchers| {
        let grants = match rng.random_range(0..4) {
            0 => vec![Matcher::All],
            1 => vec![Matcher::Below("users".to_owned()), Matcher::Exact(rooms[0].clone())],
            _ => Vec::new(),
        };
        Interest { matchers, grants }
    });
    with_grants.zip(habits).collect()
}

/// One subscriber at work.
#[derive(Debug)]
pub struct Subscriber {
    world: Arc<World>,
    book: Arc<Book>,
    habit: Habit,
    rng: StdRng,
    last: Option<String>,
}

impl Subscriber {
    /// A subscriber that has seen nothing yet.
    pub fn new(world: &Arc<World>, interest: Interest, habit: Habit, seed: u64) -> Self {
        let book = world.book(interest, habit);
        Self { world: Arc::clone(world), book, habit, rng: StdRng::seed_from_u64(seed), last: None }
    }

    /// Subscribes for ever: whoever started it ends it.
    pub async fn run(mut self) {
        loop {
            let Some(node) = self.world.any_node(&mut self.rng) else {
                self.pause().await;
                continue;
            };
            let request = self.book.interest().request(self.last.as_deref());
            let buffer = if matches!(self.habit, Habit::Slow(_)) { SLOW_BUFFER_LEN } else { BUFFER_LEN };
            match Stream::open(node, &request, buffer).await {
                Ok(stream) => self.read(node, stream).await,
                Err(reason) => {
                    self.note(What::Refused(node, reason.to_string()));
                    self.pause().await;
                }
            }
        }
    }

    async fn read(&mut self, node: SocketAddr, mut stream: Stream) {
        let header = stream.last_event_id().map(str::to_owned);
        self.note(What::Opened { node, after: self.last.clone(), header });
        let leaves = match self.habit {
            Habit::Restless(about) => Some(Instant::now() + about.mul_f64(self.rng.random_range(0.5..1.5))),
            _ => None,
        };
        loop {
            self.hold_up().await;
            let deadline = leaves.unwrap_or_else(|| Instant::now() + Duration::from_secs(3_600));
            match tokio::time::timeout_at(deadline.into(), stream.blocks()).await {
                Ok(Ok(blocks)) => {
                    for block in blocks {
                        self.take(block);
                    }
                }
                Ok(Err(Ending::Closed(reason))) => {
                    self.note(What::Ended(reason));
                    return self.pause().await;
                }
                Ok(Err(Ending::Malformed(reason))) => return self.note(What::Strange(reason)),
                Err(_) => return self.note(What::Ended(LEFT.to_owned())),
            }
        }
    }

    /// Reads slower than it could.
    async fn hold_up(&mut self) {
        if let Some(until) = self.book.stalled_until() {
            tokio::time::sleep_until(until.into()).await;
        }
        if let Habit::Slow(pause) = self.habit
            && !self.world.is_in_a_hurry()
        {
            tokio::time::sleep(pause).await;
        }
    }

    async fn pause(&mut self) {
        tokio::time::sleep(Duration::from_millis(self.rng.random_range(50..200))).await;
    }

    fn take(&mut self, block: Block) {
        let Block::Event(event) = block else { return };
        if let Some(id) = &event.id {
            self.last = Some(id.clone());
        }
        if let Some(what) = meaning(&event) {
            self.note(what);
        }
    }

    fn note(&self, what: What) {
        self.book.note(self.world.now(), what);
    }
}

/// What an event says; nothing where it says only when to come back.
fn meaning(event: &Event) -> Option<What> {
    let strange = || Some(What::Strange(format!("{event:?}").chars().take(300).collect()));
    let id = event.id.as_deref().and_then(Cursor::parse);
    if event.id.is_some() && id.is_none() {
        return strange();
    }
    let Some(data) = &event.data else { return id.map(What::Heartbeat) };
    match (event.kind.as_deref(), id) {
        (Some("rivulet-gap"), id) => gap(id, data).or_else(strange),
        (None, Some(id)) => match Name::parse(data) {
            Some(name) => Some(What::Update(name, id)),
            None => strange(),
        },
        _ => strange(),
    }
}

fn gap(id: Option<Cursor>, data: &str) -> Option<What> {
    let json: serde_json::Value = serde_json::from_str(data).ok()?;
    let topics = json["topics"].as_array()?.iter().map(|topic| topic.as_str().map(str::to_owned));
    Some(What::Gap {
        id,
        topics: topics.collect::<Option<_>>()?,
        oldest: Cursor::parse(json["oldest"].as_str()?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_read_as_it_is_specified() {
        let event = Event {
            kind: Some("rivulet-gap".into()),
            id: Some("#7".into()),
            data: Some(r##"{"topics":["a","b"],"oldest":"#8"}"##.into()),
            ..Event::default()
        };
        let Some(What::Gap { id, topics, oldest }) = meaning(&event) else { panic!("a gap") };
        assert_eq!((id, oldest), (Some(Cursor::at(7)), Cursor::at(8)));
        assert_eq!(topics, ["a", "b"]);
        let broken = Event { data: Some("{}".into()), ..event };
        assert!(matches!(meaning(&broken), Some(What::Strange(_))));
    }

    #[test]
    fn an_update_needs_an_id_of_the_hub() {
        let event =
            |id: &str| Event { id: Some(id.into()), data: Some("p1-2 xx".into()), ..Event::default() };
        let name = Name { publisher: 1, number: 2 };
        assert!(matches!(meaning(&event("#5")), Some(What::Update(found, _)) if found == name));
        assert!(matches!(meaning(&event("5")), Some(What::Strange(_))));
    }
}
