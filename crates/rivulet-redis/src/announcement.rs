//! What arrives on a channel: an update, a tick, that the log has lost something, or that connections are to be ended.
//! `append.lua` and `tick.lua` write them, and `kick_message`.

use bytes::Bytes;
use rivulet_core::Position;
use rivulet_node::KickTarget;
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::kick_message;

/// The head holds a number per topic, and an update has at most 100: what is longer was not written by our script.
const HEAD_LEN_MAX: usize = 17 * 102;

/// One message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Announcement {
    Update(AnnouncedUpdate),
    /// Everything up to here has been announced before.
    Tick(Position),
    /// What stands before this position may have been lost by the log.
    Birth(Position),
    /// Connections are to be ended: the number of the kick, whose, and, if it is said again, when it was told first.
    Kick(u64, Box<KickTarget>, Option<Instant>),
}

/// An update with its place in the chains of its partition and of its topics; `ZERO` where nothing older is known.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AnnouncedUpdate {
    pub(crate) position: Position,
    pub(crate) previous: Position,
    /// In the order of the update's distinct topics.
    pub(crate) previous_of_topics: SmallVec<[Position; 1]>,
    pub(crate) envelope: Bytes,
}

impl Announcement {
    /// Reads a message; none if it is not ours.
    pub(crate) fn parse(message: Vec<u8>) -> Option<Self> {
        if let Some(digits) = message.strip_prefix(b"T") {
            return parse_position(digits).map(Self::Tick);
        }
        if let Some(digits) = message.strip_prefix(b"B") {
            return parse_position(digits).map(Self::Birth);
        }
        if let Some(kick) = message.strip_prefix(b"K") {
            let told = || kick_message::age(kick).and_then(|age| Instant::now().checked_sub(age));
            return kick_message::parse(kick)
                .map(|(number, target)| Self::Kick(number, Box::new(target), told()));
        }
        let head_len = message.iter().take(HEAD_LEN_MAX).position(|byte| *byte == b'\n')?;
        let mut numbers = message[..head_len].split(|byte| *byte == b' ').map(parse_position);
        let position = numbers.next()??;
        let previous = numbers.next()??;
        let previous_of_topics = numbers.collect::<Option<SmallVec<_>>>()?;
        let envelope = Bytes::from(message).slice(head_len + 1..);
        Some(Self::Update(AnnouncedUpdate { position, previous, previous_of_topics, envelope }))
    }
}

/// Reads a position as our scripts write them.
pub(crate) fn parse_position(digits: &[u8]) -> Option<Position> {
    if digits.is_empty() || digits.len() > 16 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let micros = digits.iter().fold(0, |value: u64, digit| value * 10 + u64::from(digit - b'0'));
    Some(Position::from_micros(micros)).filter(|position| *position <= Position::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements_are_read() {
        let position = Position::from_micros;
        let check = |message: &[u8], expected: Option<Announcement>| {
            assert_eq!(Announcement::parse(message.to_vec()), expected, "{message:?}");
        };
        check(
            b"20 10 0 9\nx\ny",
            Some(Announcement::Update(AnnouncedUpdate {
                position: position(20),
                previous: position(10),
                previous_of_topics: SmallVec::from_slice(&[position(0), position(9)]),
                envelope: Bytes::from_static(b"x\ny"),
            })),
        );
        check(b"T17", Some(Announcement::Tick(position(17))));
        check(b"B17", Some(Announcement::Birth(position(17))));
        let target = KickTarget { subject: Some("a".to_owned()), ..KickTarget::default() };
        check(b"K0000000000000007 {\"subject\":\"a\"}", Some(Announcement::Kick(7, Box::new(target), None)));
        check(b"K0000000000000007 {}", None);
        check(b"B", None);
        check(b"", None);
        check(b"T", None);
        check(b"20\nx", None);
        check(b"20 -1 0\nx", None);
        check(b"20 10 99999999999999999\nx", None);
        check(&[b'1'; 5000], None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_said_again_was_told_then() {
        tokio::time::advance(std::time::Duration::from_secs(100)).await;
        let message = b"K0000000000000007 {\"subject\":\"a\"}\n1500000".to_vec();
        let Some(Announcement::Kick(7, _, Some(told))) = Announcement::parse(message) else {
            panic!("it is a kick with a time")
        };
        assert_eq!(told.elapsed(), std::time::Duration::from_millis(1_500));
    }
}
