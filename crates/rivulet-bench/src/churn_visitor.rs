//! One visitor of the soak: a call, and the manner in which it ends.

use std::time::{Duration, Instant, SystemTime};

use mio::event::Event;

use crate::{
    call::{Call, Heard},
    churn_manner::Manner,
};

/// What ends those soon who stop reading.
pub(crate) const WRITE_DEADLINE: Duration = Duration::from_secs(1);
/// Longest wait for the first bytes of an answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Longest wait for the end of a stream whose client has half-closed it.
const HALF_CLOSED_MAX: Duration = Duration::from_secs(5);
/// Longest wait for the end of one that stopped reading: until its buffers are full, then the write deadline.
const STALLED_MAX: Duration = Duration::from_secs(20);
/// How much later than its token a stream may end, and how much earlier: a hub never goes past it.
const EXPIRY_MAX: Duration = Duration::from_secs(5);
const EARLY_MAX: Duration = Duration::from_secs(1);
/// Reads per event of those who read, and of one that reads a little only.
const READS_MAX: u32 = 64;
/// Bytes that one reads who leaves amid a replay.
const LITTLE_LEN: usize = 4096;
/// Reads of one that reads little until its stream is open: enough for a TLS record, which tells nothing before its end.
const LITTLE_READS_MAX: u32 = 6;

/// See the module.
pub(crate) struct Visitor {
    call: Call,
    pub(crate) manner: Manner,
    /// Which nobody else has.
    pub(crate) number: u64,
    /// How long it stays before it leaves by itself.
    stay: Duration,
    /// When its token ends.
    pub(crate) expires: Option<SystemTime>,
    /// When it has to do something: entries of earlier deadlines are out of date.
    pub(crate) due: Instant,
    /// When it looked last, or came.
    read_at: Instant,
    opened: bool,
    half_closed: bool,
}

/// What is to be done about a visitor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Step {
    Nothing,
    /// It wants to be asked again at this moment at the latest.
    Until(Instant),
    /// It has left, or was ended, as it should.
    Done,
    /// The same, so long before or after its token.
    Expired(Lateness),
    Wrong(Wrong),
}

/// When a stream ended that its token ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lateness {
    Early(Duration),
    Late(Duration),
}

/// What should not happen to a visitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wrong {
    Refused(u16),
    EndedEarly,
    NotAnswered,
    NotEnded,
}

impl Visitor {
    pub(crate) fn new(call: Call, manner: Manner, number: u64, stay: Duration) -> Self {
        let first = match manner {
            Manner::MidRequest | Manner::MidHandshake => stay,
            _ => ANSWER_MAX,
        };
        let now = Instant::now();
        let (due, read_at) = (now + first, now);
        Self { call, manner, number, stay, expires: None, due, read_at, opened: false, half_closed: false }
    }

    /// Takes what its connection has to say.
    pub(crate) fn on_event(&mut self, event: &Event, buffer: &mut [u8], now: Instant) -> Step {
        let heard = match self.manner {
            Manner::StopReading if self.opened => {
                // It is deaf to everything but the end.
                if event.is_error() || event.is_write_closed() { Heard::Ended } else { Heard::Nothing }
            }
            Manner::MidReplay if self.opened => Heard::Nothing,
            Manner::StopReading | Manner::MidReplay => {
                self.call.on_event(event, &mut buffer[..LITTLE_LEN], LITTLE_READS_MAX)
            }
            _ => self.call.on_event(event, buffer, READS_MAX),
        };
        let silent = std::mem::replace(&mut self.read_at, Instant::now()).elapsed();
        match heard {
            Heard::Nothing => Step::Nothing,
            Heard::Opened => self.on_open(now),
            // A hub that is busy looks at a token when it has ended.
            Heard::Refused(401) if self.late().is_some() => Step::Done,
            Heard::Refused(status) => Step::Wrong(Wrong::Refused(status)),
            Heard::Ended => self.on_end(silent),
        }
    }

    fn on_open(&mut self, now: Instant) -> Step {
        self.opened = true;
        Step::Until(match self.manner {
            Manner::StopReading => now + STALLED_MAX,
            Manner::TokenExpiry => now + self.until_expiry() + EXPIRY_MAX,
            _ => now + self.stay,
        })
    }

    fn until_expiry(&self) -> Duration {
        let left = self.expires.and_then(|expires| expires.duration_since(SystemTime::now()).ok());
        left.unwrap_or_default()
    }

    /// `silent` is how long it had not looked before.
    fn on_end(&self, silent: Duration) -> Step {
        match self.manner {
            // The hub may be tired of waiting for the rest first.
            Manner::MidHandshake | Manner::MidRequest => Step::Done,
            // The last words of a stream that ends as soon as it is open come with its first.
            Manner::TokenExpiry => self.on_expiry(),
            Manner::StopReading if self.opened => Step::Done,
            // Its turn came so late that the hub was right to take it for one that does not read.
            Manner::StopReading | Manner::MidReplay if self.call.has_opened() && silent >= WRITE_DEADLINE => {
                Step::Done
            }
            Manner::HalfClose if self.half_closed => Step::Done,
            _ => Step::Wrong(Wrong::EndedEarly),
        }
    }

    fn on_expiry(&self) -> Step {
        if let Some(late) = self.late() {
            return Step::Expired(Lateness::Late(late));
        }
        let early = self.until_expiry();
        if early > EARLY_MAX { Step::Wrong(Wrong::EndedEarly) } else { Step::Expired(Lateness::Early(early)) }
    }

    /// How long ago its token has ended, if it has.
    fn late(&self) -> Option<Duration> {
        self.expires.and_then(|expires| SystemTime::now().duration_since(expires).ok())
    }

    /// Does what is due. Whoever leaves does it by being dropped.
    pub(crate) fn on_deadline(&mut self, now: Instant) -> Step {
        match self.manner {
            Manner::MidRequest | Manner::MidHandshake => Step::Done,
            _ if !self.opened => Step::Wrong(Wrong::NotAnswered),
            Manner::StopReading | Manner::TokenExpiry => Step::Wrong(Wrong::NotEnded),
            Manner::HalfClose if self.half_closed => Step::Wrong(Wrong::NotEnded),
            Manner::HalfClose => {
                self.half_closed = true;
                let closed = self.call.wire.close_half();
                closed.map_or(Step::Wrong(Wrong::EndedEarly), |()| Step::Until(now + HALF_CLOSED_MAX))
            }
            Manner::Reset => {
                // Fails only where the hub has ended the connection just now.
                let _ = self.call.wire.reset_on_close();
                Step::Done
            }
            Manner::Close | Manner::MidReplay => Step::Done,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        net::{SocketAddr, TcpListener},
    };

    use mio::{Events, Poll, Token};

    use super::*;
    use crate::{approach::Approach, wire::Wire};

    /// What a visitor makes of a hub that says this and ends the connection before the visitor looks, after so long.
    fn told_at_once(manner: Manner, answer: &[u8], silent: Duration) -> Step {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
        let hub: SocketAddr = listener.local_addr().unwrap();
        let mut poll = Poll::new().unwrap();
        let place = (poll.registry(), Token(0));
        let wire = Wire::connect_with(hub, None, &Approach::default(), place, None).unwrap();
        let mut visitor = Visitor::new(Call::new(wire, Vec::new()), manner, 0, Duration::ZERO);
        visitor.read_at -= silent;
        let (mut socket, _) = listener.accept().unwrap();
        socket.write_all(answer).unwrap();
        drop(socket);
        let (mut events, mut buffer) = (Events::with_capacity(8), vec![0; 2 * LITTLE_LEN]);
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until {
            poll.poll(&mut events, Some(Duration::from_millis(100))).unwrap();
            for event in &events {
                match visitor.on_event(event, &mut buffer, Instant::now()) {
                    Step::Nothing | Step::Until(_) => {}
                    step => return step,
                }
            }
        }
        panic!("{manner:?} hears nothing");
    }

    #[test]
    fn only_who_reads_little_and_came_late_may_hear_the_end_with_the_beginning() {
        const OPENED: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";
        const EARLY: Step = Step::Wrong(Wrong::EndedEarly);
        for manner in [Manner::StopReading, Manner::MidReplay] {
            assert_eq!(told_at_once(manner, OPENED, WRITE_DEADLINE), Step::Done, "{manner:?}");
            assert_eq!(told_at_once(manner, OPENED, Duration::ZERO), EARLY, "{manner:?}");
            assert_eq!(told_at_once(manner, b"", WRITE_DEADLINE), EARLY, "{manner:?}");
        }
        for manner in [Manner::Close, Manner::Reset, Manner::HalfClose] {
            assert_eq!(told_at_once(manner, OPENED, WRITE_DEADLINE), EARLY, "{manner:?}");
        }
    }
}
