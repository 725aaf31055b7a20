//! What a replay holds while its client takes nothing, and that this costs nothing of what the client gets.

use std::time::Duration;

use bytes::Bytes;
use rivulet_core::{Dialect, LastEventId, Update};
use tokio::io::{AsyncReadExt, DuplexStream};

use super::*;
use crate::{MemoryTransport, Node, NodeConfig, Retention, Socket, SubscribeRequest, Worker};

impl Socket for DuplexStream {
    fn reset_on_close(&self) {}
}

const UPDATES: usize = 30;

async fn publish(node: &Node, topic: &str, data: String) -> String {
    let update = Update {
        topics: [Topic::parse(topic).unwrap()].into_iter().collect(),
        data: data.into(),
        private: false,
        id: None,
        event_type: None,
        retry_ms: None,
        trace: None,
    };
    node.publish(update, None, Vec::new()).await.unwrap()
}

async fn subscribe(node: &Node, worker: &Worker, topics: &[&str], last: &str) -> DuplexStream {
    let request = SubscribeRequest {
        matchers: topics.iter().map(|topic| Matcher::exact(topic).unwrap()).collect(),
        grants: Default::default(),
        last_event_id: Some(LastEventId::parse(last, node.partitions())),
        expires_at: None,
        dialect: Dialect::V1,
    };
    let (ours, theirs) = tokio::io::duplex(4096);
    worker.reserve(request, None).await.unwrap().open(Box::new(theirs), Bytes::new());
    ours
}

/// The numbers that the data of what a client gets begins with, until there are so many.
async fn numbers(client: &mut DuplexStream, len: usize) -> Vec<usize> {
    let (mut received, mut numbers) = (Vec::new(), Vec::new());
    while numbers.len() < len {
        client.read_buf(&mut received).await.unwrap();
        while let Some(end) = received.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = received.drain(..=end).collect();
            assert!(!line.starts_with(b"event:"), "nothing is missing");
            if let Some(data) = line.strip_prefix(b"data: ") {
                let digits = data.split(|byte| *byte == b' ').next().unwrap();
                numbers.push(std::str::from_utf8(digits).unwrap().parse().unwrap());
            }
        }
    }
    numbers
}

fn held(worker: &Worker) -> (usize, usize) {
    let seats = worker.0.seats.borrow();
    let pages = |seat: &Seat| matches!(&seat.phase, Phase::Replaying(replay) if replay.page.is_some());
    (seats.seats.len(), seats.seats.iter().filter(|(_, seat)| pages(seat)).count())
}

#[tokio::test(start_paused = true)]
async fn who_stalls_holds_no_page_and_gets_everything_once_when_it_reads_on() {
    for (partitions, topics) in [(1, &["a"][..]), (4, &["a", "b", "c", "d"])] {
        let test = async {
            let partitions = Partitions::new(partitions).unwrap();
            let (transport, feed) = MemoryTransport::partitioned(Retention::default(), partitions);
            let node = Node::start(transport, feed, NodeConfig::default());
            let worker = node.enter();
            let mut ids = Vec::new();
            for n in 0..UPDATES {
                // Some of a page's frames are small.
                let len = if n % 3 == 0 { 50_000 } else { 10 };
                let data = format!("{n} {}", "x".repeat(len));
                ids.push(publish(&node, topics[n % topics.len()], data).await);
            }
            let mut clients = Vec::new();
            for (n, id) in ids[..UPDATES - 5].iter().enumerate() {
                clients.push((n, subscribe(&node, &worker, topics, id).await));
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(held(&worker), (clients.len(), 0));
            // What was shared is not kept any more, and a stalled stream does not ask for it.
            tokio::time::sleep(Duration::from_secs(5)).await;
            for (n, client) in &mut clients {
                let mut numbers = numbers(client, UPDATES - 1 - *n).await;
                if topics.len() > 1 {
                    numbers.sort_unstable();
                }
                assert_eq!(numbers, (*n + 1..UPDATES).collect::<Vec<_>>());
            }
            publish(&node, topics[0], "4711 live".to_owned()).await;
            for (_, client) in &mut clients {
                assert_eq!(numbers(client, 1).await, [4711]);
            }
        };
        tokio::task::LocalSet::new().run_until(test).await;
    }
}
