//! Publishers of a run: they number what they send, and repeat it until it is acknowledged.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use super::{
    history::{Answer, Attempt, Name},
    world::World,
};
use crate::{tokens, wire::form};

/// How long a node may take for an answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(3);

/// How long an update is repeated.
const REPEAT_MAX: Duration = Duration::from_secs(30);

/// Whether a publication without an answer is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeats {
    /// With the same `Idempotency-Key`, until it is acknowledged.
    UntilAcknowledged,
    /// Only if the first one was certainly not sent: for a hub that knows no such key.
    Never,
}

/// The means of all publishers of a run.
#[derive(Clone, Debug)]
pub struct Press {
    world: Arc<World>,
    client: reqwest::Client,
    token: String,
    /// Distinguishes the keys of runs on one Redis.
    run: u64,
    repeats: Repeats,
}

/// What is published.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Its name.
    pub name: Name,
    /// The canonical topic first.
    pub topics: Vec<String>,
    /// Whether it is private.
    pub private: bool,
    /// How many bytes stand behind its name.
    pub padding: usize,
}

impl Letter {
    /// A small public update on one topic.
    pub fn marker(number: u32, topic: &str) -> Self {
        let name = Name { publisher: super::world::MARKER, number };
        Self { name, topics: vec![topic.to_owned()], private: false, padding: 0 }
    }

    fn form(&self) -> String {
        let data = format!("{} {}", self.name, "x".repeat(self.padding));
        let mut fields: Vec<(&str, &str)> =
            self.topics.iter().map(|topic| ("topic", topic.as_str())).collect();
        fields.push(("data", data.trim_end()));
        if self.private {
            fields.push(("private", "on"));
        }
        form(&fields)
    }
}

impl Press {
    /// Publishers' means in this world.
    pub fn new(world: &Arc<World>, repeats: Repeats) -> Self {
        let client = reqwest::Client::builder().no_proxy().timeout(ANSWER_PATIENCE).build();
        Self {
            world: Arc::clone(world),
            client: client.expect("a client without special settings"),
            token: tokens::publisher(&["*"]),
            run: rand::random(),
            repeats,
        }
    }

    /// Publishes until it is acknowledged, or its outcome stays unknown. Answers whether it was acknowledged.
    pub async fn publish(&self, letter: &Letter, rng: &mut StdRng) -> bool {
        let start = Instant::now();
        self.world.begin(letter.name, letter.topics.clone(), letter.private);
        let form = letter.form();
        while start.elapsed() < REPEAT_MAX {
            if let Some(node) = self.world.any_node(rng) {
                let begun = self.world.now();
                let answer = self.send(node, letter.name, form.clone()).await;
                let attempt = Attempt { begun, ended: self.world.now(), node, answer: answer.clone() };
                self.world.attempted(letter.name, attempt);
                match answer {
                    Answer::Acknowledged(_) => return true,
                    Answer::Refused(_) => return false,
                    Answer::Unknown(_) if self.repeats == Repeats::Never => return false,
                    Answer::Unknown(_) | Answer::NotSent(_) => {}
                }
            }
            tokio::time::sleep(Duration::from_millis(rng.random_range(50..150))).await;
        }
        false
    }

    async fn send(&self, node: SocketAddr, name: Name, form: String) -> Answer {
        let request = self
            .client
            .post(format!("http://{node}/.well-known/mercure"))
            .bearer_auth(&self.token)
            .header("Content-Type", "application/x-www-form-urlencoded")
            .header("Idempotency-Key", format!("{:x}-{name}", self.run))
            .body(form);
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.is_connect() => return Answer::NotSent("no connection".to_owned()),
            Err(error) => return Answer::Unknown(format!("{error:?}")),
        };
        let status = response.status();
        match response.text().await {
            Ok(id) if status == 200 => Answer::Acknowledged(id),
            // A publisher that is told to slow down comes again.
            Ok(_) if status.is_server_error() || status == 429 => Answer::Unknown(format!("status {status}")),
            Ok(body) => Answer::Refused(format!("status {status}: {body}")),
            Err(error) => Answer::Unknown(format!("status {status}, then {error:?}")),
        }
    }
}

/// One publisher, which sends one update after another at its pace until the run ends.
pub async fn publish_all(press: Press, publisher: u32, topics: Arc<[String]>, interval: Duration, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for number in 0.. {
        ticks.tick().await;
        if !press.world.is_publishing() {
            return;
        }
        let letter = compose(Name { publisher, number }, &topics, &mut rng);
        press.publish(&letter, &mut rng).await;
    }
}

fn compose(name: Name, topics: &[String], rng: &mut StdRng) -> Letter {
    let count = if rng.random_range(0..5) == 0 { 2 } else { 1 };
    let topics: Vec<String> = topics.sample(rng, count).cloned().collect();
    let padding = if rng.random_range(0..10) == 0 { rng.random_range(0..6_000) } else { 0 };
    Letter { name, topics, private: rng.random_range(0..6) == 0, padding }
}
