//! What is due on a worker: ends of life, stalled writes, heartbeats.

use std::num::NonZero;

use bytes::Bytes;
use rivulet_core::Frame;

use crate::{
    CloseReason,
    seat::{Phase, Seat},
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
        let is_due = |seat: &Seat| {
            seat.blocked_since.is_some_and(|since| now >= since.get().saturating_add(write_deadline))
        };
        if is_due(seat) && self.takes_nothing(key, now, is_due) {
            return self.end(key, CloseReason::Stalled);
        }
        let Some(seat) = self.get(key, serial) else { return };
        if let Some(heartbeat) = times.heartbeat
            && now.saturating_sub(seat.last_write) >= ticks(heartbeat)
        {
            self.beat(key, now);
        }
        // The heartbeat may have shown that the client is gone.
        let Some(seat) = self.get(key, serial) else { return };
        let blocked_until = seat.blocked_since.map_or(now, NonZero::get).saturating_add(write_deadline);
        let (ends_at, last_write) = (seat.ends_at, seat.last_write);
        let next_beat = times.heartbeat.map_or(Tick::MAX, |every| {
            let every = ticks(every).max(1);
            // Overdue for a seat that is behind: it is looked at again after the same time.
            if now.saturating_sub(last_write) < every { last_write + every } else { now + every }
        });
        let due = ends_at.min(blocked_until).min(next_beat);
        self.wheel.insert((key, serial), due);
    }

    /// Whether a seat whose write deadline is over takes nothing now either: a worker that comes late has not yet tried a
    /// socket that has room again.
    fn takes_nothing(&mut self, key: usize, now: Tick, is_due: impl Fn(&Seat) -> bool) -> bool {
        let serial = self.seats[key].serial;
        self.serve(key);
        let Some(seat) = self.get(key, serial) else { return false };
        if seat.blocked_since.is_some() || seat.last_write >= now {
            return is_due(seat);
        }
        // What it was blocked on is gone from its ring, and the log is to be read first: that it has nothing to write says
        // nothing about its socket.
        seat.partial = Bytes::from_static(COMMENT);
        self.serve(key);
        self.get(key, serial).is_some_and(|seat| seat.last_write < now)
    }

    /// Tells an idle client up to where it has everything. One whose socket is full hears from us when it reads, or is
    /// ended as stalled.
    fn beat(&mut self, key: usize, now: Tick) {
        // During a pass there may be frames that this seat has not been offered: a cursor must never overtake them.
        let serial = self.seats[key].serial;
        self.serve(key);
        let Some(seat) = self.get(key, serial) else { return };
        if !seat.partial.is_empty() || seat.last_write >= now {
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
    use std::time::Duration;

    use rivulet_core::{Dialect, Matcher, Partition, Partitions, Position, Topic, Update};
    use tokio::io::{AsyncReadExt, DuplexStream};

    use super::*;
    use crate::{
        Appended, MemoryTransport, Node, NodeConfig, Retention, SubscribeRequest, Worker,
        delivery::{Delivery, Encoding},
        ring::Ring,
        wheel::TICK,
    };

    /// How much a socket holds that nobody reads.
    const SOCKET_LEN: usize = 1 << 16;

    /// A worker with one open stream of everything, and the client's end of it.
    async fn worker_with_a_stream(config: NodeConfig) -> (Worker, DuplexStream) {
        let (transport, feed) = MemoryTransport::start(Retention::default());
        let worker = Node::start(transport, feed, config).enter();
        let request = SubscribeRequest {
            matchers: vec![Matcher::Exact(Topic::parse("a").unwrap())],
            grants: Default::default(),
            last_event_id: None,
            expires_at: None,
            dialect: Dialect::V1,
        };
        let (socket, client) = tokio::io::duplex(SOCKET_LEN);
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

    const DEADLINE: Duration = Duration::from_secs(1);

    /// A worker with one open stream whose client takes nothing.
    async fn worker_with_a_reader_that_stopped() -> (Worker, DuplexStream) {
        let config = NodeConfig { write_deadline: DEADLINE, heartbeat: None, ..NodeConfig::default() };
        worker_with_a_stream(config).await
    }

    /// Fills the socket of the only stream; answers its key, and since when it is blocked.
    fn fill(seats: &mut Seats) -> (usize, Tick) {
        let (key, mut position) = (seats.seats.iter().next().unwrap().0, u64::MAX >> 12);
        loop {
            deliver(seats, position, Bytes::from(vec![b'1'; 100_000]));
            seats.serve(key);
            position += 1;
            if let Some(since) = seats.seats[key].blocked_since {
                return (key, since.get());
            }
        }
    }

    /// The socket may have become full at the end of a tick.
    #[tokio::test]
    async fn who_takes_nothing_has_the_whole_write_deadline() {
        let test = async {
            let (worker, _client) = worker_with_a_reader_that_stopped().await;
            let mut seats = worker.0.seats.borrow_mut();
            let (key, blocked_since) = fill(&mut seats);
            seats.advance_time(blocked_since + ticks(DEADLINE));
            assert!(seats.seats.contains(key), "ended up to a tick before its deadline");
            seats.advance_time(blocked_since + ticks(DEADLINE) + 1);
            assert!(!seats.seats.contains(key), "not ended");
        };
        tokio::task::LocalSet::new().run_until(test).await;
    }

    /// What else runs on the thread may take long between two turns.
    #[tokio::test]
    async fn the_write_deadline_of_a_busy_worker_begins_when_the_socket_is_full() {
        let test = async {
            let (worker, _client) = worker_with_a_reader_that_stopped().await;
            std::thread::sleep(TICK * 3);
            let hand = worker.0.seats.borrow().wheel.now();
            let (_, blocked_since) = fill(&mut worker.0.begin_work());
            assert!(blocked_since >= hand + 3, "blocked since {blocked_since}, the hand stands at {hand}");
        };
        tokio::task::LocalSet::new().run_until(test).await;
    }

    #[tokio::test]
    async fn who_has_read_before_the_worker_came_to_look_is_not_ended() {
        let test = async {
            let (worker, mut client) = worker_with_a_reader_that_stopped().await;
            let (key, blocked_since) = fill(&mut worker.0.seats.borrow_mut());
            // It has room at once, and the worker has had no turn yet.
            client.read_exact(&mut [0; 1000]).await.unwrap();
            let mut seats = worker.0.seats.borrow_mut();
            seats.advance_time(blocked_since + ticks(DEADLINE) + 1);
            assert!(seats.seats.contains(key), "ended although it has read");
        };
        tokio::task::LocalSet::new().run_until(test).await;
    }

    /// Fills the socket of the only stream with one update, and discards the next one; answers as [`fill`].
    fn block_between_updates(seats: &mut Seats) -> (usize, Tick) {
        let (first, around) = (u64::MAX >> 12, "id: #4503599627370495\ndata: \n\n".len());
        let (key, _) = seats.seats.iter().next().unwrap();
        deliver(seats, first, Bytes::from(vec![b'1'; SOCKET_LEN - around]));
        seats.serve(key);
        deliver(seats, first + 1, Bytes::from_static(b"2"));
        seats.serve(key);
        assert!(seats.seats[key].partial.is_empty());
        let Seats { sources, rings, .. } = seats;
        sources.iter_mut().for_each(|(_, source)| rings.change(&mut source.ring, Ring::clear));
        (key, seats.seats[key].blocked_since.expect("its socket is full").get())
    }

    /// It has nothing to write before the log is read.
    #[tokio::test]
    async fn what_a_ring_has_discarded_does_not_put_the_write_deadline_off() {
        let test = async {
            for has_read in [false, true] {
                let (worker, mut client) = worker_with_a_reader_that_stopped().await;
                let (key, blocked_since) = block_between_updates(&mut worker.0.seats.borrow_mut());
                if has_read {
                    client.read_exact(&mut vec![0; SOCKET_LEN]).await.unwrap();
                }
                let mut seats = worker.0.seats.borrow_mut();
                seats.advance_time(blocked_since + ticks(DEADLINE) + 1);
                assert_eq!(seats.seats.contains(key), has_read);
            }
        };
        tokio::task::LocalSet::new().run_until(test).await;
    }
}
