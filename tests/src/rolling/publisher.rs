//! A publisher that keeps its connection, numbers what it sends on each of its topics, and repeats it until it is
//! acknowledged.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::interval,
};

use super::stage::{Phase, Stage, topic};
use crate::{tokens, wire::Request};

/// How long a node may take for an answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);

/// How long an update is repeated.
const REPEAT_MAX: Duration = Duration::from_secs(30);

/// How long to wait before that.
const REPEAT_PAUSE: Duration = Duration::from_millis(100);

/// What a publisher has to tell in the end.
#[derive(Debug, Default)]
pub(crate) struct Press {
    /// How many updates of each topic were acknowledged.
    pub(crate) published: BTreeMap<usize, u64>,
    /// Why updates had to be repeated, and how often.
    pub(crate) repeats: BTreeMap<String, u64>,
    /// Updates that were never acknowledged.
    pub(crate) given_up: u64,
    /// The longest time until an update was acknowledged.
    pub(crate) wait_max: Duration,
}

/// A publisher at work.
pub(crate) struct Publisher {
    stage: Arc<Stage>,
    topics: Vec<usize>,
    interval: Duration,
    token: String,
    /// Distinguishes its keys from those of others.
    name: u64,
    connection: Option<Connection>,
    press: Press,
}

#[derive(Debug)]
struct Connection {
    socket: TcpStream,
    /// Whether it has carried an answer: then the hub may have closed it meanwhile, which is no fault.
    is_used: bool,
}

/// Why there is no answer.
enum Failure {
    Nobody,
    Refused,
    /// The hub had closed a connection that was kept between two requests.
    Stale,
    Broken,
}

impl Publisher {
    /// One that publishes on these topics in turn.
    pub(crate) fn new(stage: &Arc<Stage>, topics: Vec<usize>, interval: Duration) -> Self {
        Self {
            stage: Arc::clone(stage),
            topics,
            interval,
            token: tokens::publisher(&["*"]),
            name: rand::random(),
            connection: None,
            press: Press::default(),
        }
    }

    /// Publishes until the run settles.
    pub(crate) async fn run(mut self) -> Press {
        let mut clock = interval(self.interval);
        for turn in 0.. {
            clock.tick().await;
            if !matches!(*self.stage.phase.borrow(), Phase::Running) {
                break;
            }
            let index = self.topics[turn % self.topics.len()];
            let number = self.press.published.get(&index).copied().unwrap_or_default() + 1;
            if !self.publish(index, number).await {
                // Nobody knows whether it is in the log: what followed could not be numbered.
                self.press.given_up += 1;
                break;
            }
            self.press.published.insert(index, number);
        }
        self.press
    }

    /// Repeats one update until it is acknowledged. Answers whether it was.
    async fn publish(&mut self, index: usize, number: u64) -> bool {
        let data = format!("{index} {number}");
        let raw = Request::publish(&[("topic", &topic(index)), ("data", &data)])
            .bearer(&self.token)
            .header("Idempotency-Key", &format!("{:x}-{index}-{number}", self.name))
            .encode();
        let start = Instant::now();
        while start.elapsed() < REPEAT_MAX {
            let answer = tokio::time::timeout(ANSWER_PATIENCE, self.exchange(&raw)).await;
            let reason = match answer.unwrap_or(Err(Failure::Broken)) {
                Ok(200) => {
                    self.press.wait_max = self.press.wait_max.max(start.elapsed());
                    return true;
                }
                Ok(status) => format!("status {status}"),
                Err(Failure::Nobody) => "no endpoint".to_owned(),
                Err(Failure::Refused) => "refused".to_owned(),
                Err(Failure::Stale) => "kept connection was closed".to_owned(),
                Err(Failure::Broken) => "broken".to_owned(),
            };
            self.connection = None;
            let is_stale = reason.starts_with("kept");
            *self.press.repeats.entry(reason).or_default() += 1;
            if !is_stale {
                tokio::time::sleep(REPEAT_PAUSE).await;
            }
        }
        false
    }

    /// Sends a request over the connection that it has, or over a new one, and answers the status.
    async fn exchange(&mut self, raw: &[u8]) -> Result<u16, Failure> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(self.stage.choose().ok_or(Failure::Nobody)?).await?,
        };
        let (status, keeps) = match connection.exchange(raw).await {
            Ok(answer) => answer,
            Err(_) => return Err(if connection.is_used { Failure::Stale } else { Failure::Broken }),
        };
        connection.is_used = true;
        self.connection = keeps.then_some(connection);
        Ok(status)
    }
}

impl Connection {
    async fn open(node: SocketAddr) -> Result<Self, Failure> {
        let socket = TcpStream::connect(node).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::ConnectionRefused => Failure::Refused,
            _ => Failure::Broken,
        })?;
        // Head and body are one write, and the next one waits for the answer.
        let _ = socket.set_nodelay(true);
        Ok(Self { socket, is_used: false })
    }

    /// Answers the status, and whether the connection may be used again.
    async fn exchange(&mut self, raw: &[u8]) -> std::io::Result<(u16, bool)> {
        self.socket.write_all(raw).await?;
        let mut answer = Vec::with_capacity(1024);
        loop {
            if self.socket.read_buf(&mut answer).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(found) = parse(&answer) {
                return Ok(found);
            }
        }
    }
}

/// Status and whether the connection is kept, once the whole answer is there.
fn parse(answer: &[u8]) -> Option<(u16, bool)> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let header = |name: &str| {
        let mut headers = head.lines().filter_map(|line| line.split_once(':'));
        headers.find(|(known, _)| *known == name).map(|(_, value)| value.trim())
    };
    let length: usize = header("content-length").map_or(Some(0), |value| value.parse().ok())?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    (answer.len() >= end + 4 + length).then(|| (status, header("connection") != Some("close")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_to_its_end() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n#12";
        assert_eq!(parse(answer), Some((200, true)));
        assert_eq!(parse(&answer[..answer.len() - 1]), None);
        assert_eq!(
            parse(b"HTTP/1.1 503 X\r\nConnection: close\r\ncontent-length: 0\r\n\r\n"),
            Some((503, false))
        );
    }
}
