//! What is due on a worker: ends of life, stalled writes, heartbeats.

use std::num::NonZero;

use bytes::Bytes;
use rivulet_core::Frame;

use crate::{
    CloseReason,
    seat::Phase,
    seats::Seats,
    wheel::{Entry, Tick, ticks},
};

impl Seats {
    /// Moves the time to `now` and does what is due.
    pub(crate) fn advance_time(&mut self, now: Tick) {
        let mut due: Vec<Entry> = Vec::new();
        self.wheel.advance(now, &mut due);
        for (key, serial) in due {
            if self.get(key, serial).is_some() {
                self.look_at(key, now);
            }
        }
    }

    fn look_at(&mut self, key: usize, now: Tick) {
        let seat = &self.seats[key];
        let serial = seat.serial;
        if seat.ends_at <= now {
            return self.end(key, seat.ends_as);
        }
        let times = **self.times.load();
        // One more: part of the tick in which the socket was full had passed before, and nobody is ended early.
        let write_deadline = ticks(times.write_deadline) + 1;
        if seat.blocked_since.is_some_and(|since| now.saturating_sub(since.get()) >= write_deadline) {
            return self.end(key, CloseReason::Stalled);
        }
        if let Some(heartbeat) = times.heartbeat
            && now.saturating_sub(seat.last_write) >= ticks(heartbeat)
        {
            self.beat(key, now);
        }
        // The heartbeat may have shown that the client is gone.
        let Some(seat) = self.get(key, serial) else { return };
        let blocked_until = seat.blocked_since.map_or(now, NonZero::get) + write_deadline;
        let (ends_at, last_write) = (seat.ends_at, seat.last_write);
        let next_beat = times.heartbeat.map_or(Tick::MAX, |every| {
            let every = ticks(every).max(1);
            // Overdue for a seat that is behind: it is looked at again after the same time.
            if now - last_write < every { last_write + every } else { now + every }
        });
        let due = ends_at.min(blocked_until).min(next_beat);
        self.wheel.insert((key, serial), due);
    }

    /// Tells an idle client up to where it has everything. One whose socket is full hears from us when it reads, or is
    /// ended as stalled.
    fn beat(&mut self, key: usize, now: Tick) {
        // During a pass there may be frames that this seat has not been offered: a cursor must never overtake them.
        let serial = self.seats[key].serial;
        self.serve(key);
        let Some(seat) = self.get(key, serial) else { return };
        if !seat.partial.is_empty() || seat.last_write == now {
            return;
        }
        let beat = match &seat.phase {
            Phase::Live if !seat.behind => Frame::cursor_heartbeat(&self.freshen(key)),
            // It waits for the log: proxies must not take it for dead meanwhile.
            Phase::Replaying(replay) if replay.waits() => Bytes::from_static(COMMENT),
            _ => return,
        };
        self.seats[key].partial = beat;
        self.serve(key);
    }
}

/// A line that every client ignores.
const COMMENT: &[u8] = b":\n";

#[cfg(test)]
mod tests {
    use rivulet_core::{Dialect, Matcher, Partition, Partitions, Position, Topic, Update};
    use tokio::{
        io::AsyncReadExt,
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::{
        Appended, MemoryTransport, Node, NodeConfig, Retention, SubscribeRequest, Worker,
        delivery::{Delivery, Encoding},
        wheel::TICK,
    };

    /// A worker with one open stream of everything, and the client's end of it.
    async fn worker_with_a_stream(config: NodeConfig) -> (Worker, TcpStream) {
        let (transport, feed) = MemoryTransport::start(Retention::default());
        let worker = Node::start(transport, feed, config).enter();
        let request = SubscribeRequest {
            matchers: vec![Matcher::Exact(Topic::parse("a").unwrap())],
            grants: Default::default(),
            last_event_id: None,
            expires_at: None,
            dialect: Dialect::V1,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        socket.writable().await.unwrap();
        worker.reserve(request, None).await.unwrap().open(Box::new(socket), Bytes::new());
        (worker, client)
    }

    fn deliver(seats: &mut Seats, position: u64, data: Bytes) -> Appended {
        let update = Update {
            topics: [Topic::parse("a").unwrap()].into_iter().collect(),
            data,
            private: false,
            id: None,
            event_type: None,
            retry_ms: None,
            trace: None,
        };
        let position = Position::from_micros(position);
        let appended = Appended { partition: Partition::default(), position, update };
        let encoding = Encoding::plain(Partitions::ONE);
        seats.deliver(&Delivery::new(&encoding, &appended, Default::default()));
        appended
    }

    /// A delivery waits in the ring for its pass when the seat's heartbeat is due.
    #[tokio::test]
    async fn a_heartbeat_never_overtakes_an_update() {
        let test = async {
            let config = NodeConfig::default();
            let heartbeat_due = ticks(config.heartbeat.unwrap()) + ticks(TICK * 2);
            let (worker, mut client) = worker_with_a_stream(config).await;
            {
                let mut seats = worker.0.seats.borrow_mut();
                let appended = deliver(&mut seats, u64::MAX >> 12, Bytes::from_static(b"1"));
                seats.verify(appended.partition, appended.position.next());
                seats.advance_time(heartbeat_due);
                seats.advance_time(2 * heartbeat_due);
            }
            let mut written = [0; 512];
            let n = client.read(&mut written).await.unwrap();
            let (update, heartbeat) = (u64::MAX >> 12, (u64::MAX >> 12) + 1);
            let expected = format!("id: #{update}\ndata: 1\n\nid: #{heartbeat}\n\n");
            assert_eq!(String::from_utf8_lossy(&written[..n]), expected);
        };
        tokio::task::LocalSet::new().run_until(test).await;
    }

    /// The socket may have become full at the end of a tick.
    #[tokio::test]
    async fn who_takes_nothing_has_the_whole_write_deadline() {
        let test = async {
            let deadline = TICK * 4;
            let config = NodeConfig { write_deadline: deadline, heartbeat: None, ..NodeConfig::default() };
            let (worker, _client) = worker_with_a_stream(config).await;
            let mut seats = worker.0.seats.borrow_mut();
            let (key, mut position) = (seats.seats.iter().next().unwrap().0, u64::MAX >> 12);
            let blocked_since = loop {
                deliver(&mut seats, position, Bytes::from(vec![b'1'; 100_000]));
                seats.serve(key);
                position += 1;
                if let Some(since) = seats.seats[key].blocked_since {
                    break since.get();
                }
            };
            seats.advance_time(blocked_since + ticks(deadline));
            assert!(seats.seats.contains(key), "ended up to a tick before its deadline");
            seats.advance_time(blocked_since + ticks(deadline) + 1);
            assert!(!seats.seats.contains(key), "not ended");
        };
        tokio::task::LocalSet::new().run_until(test).await;
    }
}
