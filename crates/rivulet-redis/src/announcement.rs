//! What arrives on a channel: an update, a tick, that the log has lost something, or that connections are to be ended.
//! `append.lua` and `tick.lua` write them, and `kick_message`.
//!
//! Nodes of other versions write them too. What may follow in a newer one is passed over: words after a tick's or a birth's
//! position; words that begin with a lower-case letter after an update's positions; lines after a kick's target; and whole
//! messages that begin with a lower-case letter. Anything else is not passed over: it stands for something that is missed.

use bytes::Bytes;
use rivulet_core::Position;
use rivulet_node::KickTarget;
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::{kick_message, unreadable::Cause};

/// The head holds a number per topic, and an update has at most 100; a newer version may add some words. What is longer was
/// not written by our script.
const HEAD_LEN_MAX: usize = 17 * 102 + 1024;

/// One message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Announcement {
    Update(AnnouncedUpdate),
    /// Everything up to here has been announced before.
    Tick(Position),
    /// What stands before this position may have been lost by the log.
    Birth(Position),
    /// Connections are to be ended: the number of the kick, whose, and when it was told first; that is now, unless it is said
    /// again. `None`: before this machine's time began.
    Kick(u64, Box<KickTarget>, Option<Instant>),
    /// Connections are to be ended, but whose cannot be read.
    UnreadableKick(Cause),
    /// Nobody knows what it says: perhaps there is something new in the log.
    Unreadable(Cause),
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
    /// Reads a message; none if it may be passed over.
    pub(crate) fn parse(message: Vec<u8>) -> Option<Self> {
        let damaged = Self::Unreadable(Cause::Damaged);
        let rest = message.get(1..).unwrap_or_default();
        let word = rest.split(|byte| *byte == b' ').next().unwrap_or_default();
        let told = || Instant::now().checked_sub(kick_message::age(rest).unwrap_or_default());
        Some(match message.first() {
            Some(b'T') => parse_position(word).map_or(damaged, Self::Tick),
            Some(b'B') => parse_position(word).map_or(damaged, Self::Birth),
            Some(b'K') => match kick_message::parse(rest) {
                Ok((kick, target)) => Self::Kick(kick, Box::new(target), told()),
                Err(cause) => Self::UnreadableKick(cause),
            },
            Some(b'a'..=b'z') => return None,
            Some(b'A'..=b'Z') => Self::Unreadable(Cause::Newer),
            _ => Self::parse_update(message).unwrap_or(damaged),
        })
    }

    fn parse_update(message: Vec<u8>) -> Option<Self> {
        let head_len = message.iter().take(HEAD_LEN_MAX).position(|byte| *byte == b'\n')?;
        let words = message[..head_len].split(|byte| *byte == b' ');
        let is_added = |word: &&[u8]| word.first().is_some_and(u8::is_ascii_lowercase);
        let mut numbers = words.take_while(|word| !is_added(word)).map(parse_position);
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

    #[tokio::test(start_paused = true)]
    async fn announcements_are_read() {
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
        check(
            b"K0000000000000007 {\"subject\":\"a\"}",
            Some(Announcement::Kick(7, Box::new(target), Some(Instant::now()))),
        );
        let damaged = || Some(Announcement::Unreadable(Cause::Damaged));
        check(b"K {}", Some(Announcement::UnreadableKick(Cause::Damaged)));
        check(b"B", damaged());
        check(b"", damaged());
        check(b"T", damaged());
        check(b"20\nx", damaged());
        check(b"20 -1 0\nx", damaged());
        check(b"20 10 99999999999999999\nx", damaged());
        check(b"20 10 0 U\nx", damaged());
        check(&[b'1'; 5000], damaged());
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_newer_version_adds_is_passed_over_or_not_missed() {
        let position = Position::from_micros;
        let check = |message: &[u8], expected: Option<Announcement>| {
            assert_eq!(Announcement::parse(message.to_vec()), expected, "{message:?}");
        };
        check(
            b"20 10 9 next z=1 7\nx",
            Some(Announcement::Update(AnnouncedUpdate {
                position: position(20),
                previous: position(10),
                previous_of_topics: SmallVec::from_slice(&[position(9)]),
                envelope: Bytes::from_static(b"x"),
            })),
        );
        check(b"T17 next", Some(Announcement::Tick(position(17))));
        check(b"B17 next", Some(Announcement::Birth(position(17))));
        let target = KickTarget { subject: Some("a".to_owned()), ..KickTarget::default() };
        let kick = b"K0000000000000007 {\"subject\":\"a\"}\nnext\nand more";
        check(kick, Some(Announcement::Kick(7, Box::new(target), Some(Instant::now()))));
        let unknown = b"K0000000000000007 {\"country\":\"a\"}";
        check(unknown, Some(Announcement::UnreadableKick(Cause::Newer)));
        check(b"next 1 2 3", None);
        check(b"U1 2 3\nx", Some(Announcement::Unreadable(Cause::Newer)));
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
