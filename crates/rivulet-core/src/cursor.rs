//! How far a connection has read, as it stands on the wire: the SSE `id:` and `Last-Event-ID`.

use crate::{EventId, Position};

/// What a client sends to ask for everything that is kept.
pub const EARLIEST: &str = "earliest";

/// The last id that a client says it saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LastEventId {
    /// `earliest`: everything that is kept.
    Earliest,
    /// `#<position>`: one of our own ids, exact for any number of topics.
    Position(Position),
    /// An id that a publisher chose; the transport knows its position for as long as it keeps the update.
    Publisher(EventId),
    /// A string that no update of this hub can have as its id.
    Unknown,
}

impl LastEventId {
    /// Reads the last id that a client sent. Never fails: an id that cannot be ours is [`LastEventId::Unknown`], which
    /// is answered as Mercure asks for unknown ids.
    pub fn parse(text: &str) -> Self {
        if text == EARLIEST {
            return Self::Earliest;
        }
        if let Some(digits) = text.strip_prefix('#') {
            return parse_position(digits).map_or(Self::Unknown, Self::Position);
        }
        EventId::parse(text).map_or(Self::Unknown, Self::Publisher)
    }
}

/// Canonical decimal only, so that one position has one spelling.
fn parse_position(digits: &str) -> Option<Position> {
    let canonical = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    let position = Position::from_micros(canonical.then(|| digits.parse().ok())??);
    (position <= Position::MAX).then_some(position)
}

/// The wire form of a position: `#<decimal>`.
pub fn position_id(position: Position) -> String {
    format!("#{position}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn last_event_ids_are_read() {
        let check =
            |text: &str, expected: LastEventId| assert_eq!(LastEventId::parse(text), expected, "{text:?}");
        let position = |micros| LastEventId::Position(Position::from_micros(micros));
        check("earliest", LastEventId::Earliest);
        check("#0", position(0));
        check("#1763880000000000", position(1_763_880_000_000_000));
        check("#01", LastEventId::Unknown);
        check("#", LastEventId::Unknown);
        check("#+1", LastEventId::Unknown);
        check("#9007199254740992", LastEventId::Unknown);
        check("#99999999999999999999999", LastEventId::Unknown);
        check("", LastEventId::Unknown);
        check("a\u{0}", LastEventId::Unknown);
        check("urn:uuid:1", LastEventId::Publisher(EventId::parse("urn:uuid:1").unwrap()));
    }

    proptest! {
        #[test]
        fn positions_come_back(micros in 0..=Position::MAX.as_micros()) {
            let position = Position::from_micros(micros);
            prop_assert_eq!(LastEventId::parse(&position_id(position)), LastEventId::Position(position));
        }

        #[test]
        fn any_text_is_read_without_panic(text in ".*") {
            let _ = LastEventId::parse(&text);
        }
    }
}
