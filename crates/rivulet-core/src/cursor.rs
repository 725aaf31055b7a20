//! How far a connection has read, as it stands on the wire: the SSE `id:` and `Last-Event-ID`.
//!
//! A hub with one partition writes a cursor as `#<position>`. A hub with several writes `#<partitions>:<base>`, followed
//! by `,<partition>+<lead>` for each partition in which the connection has read further than `base`, in order:
//! `#64:1763880000000000,3+1500,17+200`. All numbers are decimal, without leading zeros. So a cursor is exact for any
//! number of topics, one of another number of partitions is known for what it is, and the usual one is short.

use std::fmt::Write as _;

use crate::{EventId, Partition, Partitions, Position};

/// What a client sends to ask for everything that is kept.
pub const EARLIEST: &str = "earliest";

/// The longest text that can be a cursor: the number of partitions, a base, and a lead for each partition.
const CURSOR_LEN_MAX: usize = 32 + crate::partition::PARTITIONS_MAX as usize * 24;

/// A position per partition: everything up to it has been read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    base: Position,
    /// Where more than the base has been read: ascending partitions, each with a position after the base.
    ahead: Box<[(Partition, Position)]>,
}

impl Cursor {
    /// Everything up to `base` has been read, in all partitions.
    pub fn at(base: Position) -> Self {
        Self { base, ahead: Box::default() }
    }

    /// Up to here everything has been read, in all partitions.
    pub fn base(&self) -> Position {
        self.base
    }

    /// The partitions in which more than the base has been read, with how far.
    pub fn ahead(&self) -> &[(Partition, Position)] {
        &self.ahead
    }

    /// Up to where a partition has been read.
    pub fn position(&self, partition: Partition) -> Position {
        match self.find(partition) {
            Ok(at) => self.ahead[at].1,
            Err(_) => self.base,
        }
    }

    /// Everything up to `position` has been read in this partition. Never goes back.
    pub fn advance(&mut self, partition: Partition, position: Position) {
        if position <= self.base {
            return;
        }
        match self.find(partition) {
            Ok(at) => self.ahead[at].1 = self.ahead[at].1.max(position),
            Err(at) => {
                let mut ahead = std::mem::take(&mut self.ahead).into_vec();
                ahead.insert(at, (partition, position));
                self.ahead = ahead.into();
            }
        }
    }

    /// Everything up to `base` has been read in all partitions. Never goes back.
    pub fn raise(&mut self, base: Position) {
        if base <= self.base {
            return;
        }
        self.base = base;
        if self.ahead.iter().any(|(_, position)| *position <= base) {
            let ahead = std::mem::take(&mut self.ahead);
            self.ahead = ahead.into_iter().filter(|(_, position)| *position > base).collect();
        }
    }

    /// The wire form, see the module.
    pub fn id(&self, partitions: Partitions) -> String {
        let mut id = position_id(partitions, self.base);
        for (partition, position) in &self.ahead {
            let lead = position.as_micros() - self.base.as_micros();
            write!(id, ",{partition}+{lead}").expect("a string takes everything");
        }
        id
    }

    fn find(&self, partition: Partition) -> Result<usize, usize> {
        self.ahead.binary_search_by_key(&partition, |(partition, _)| *partition)
    }
}

/// The wire form of a position in one partition, or in all.
pub fn position_id(partitions: Partitions, position: Position) -> String {
    match partitions.count() {
        1 => format!("#{position}"),
        count => format!("#{count}:{position}"),
    }
}

/// The last id that a client says it saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LastEventId {
    /// `earliest`: everything that is kept.
    Earliest,
    /// One of our own ids, exact for any number of topics.
    Cursor(Cursor),
    /// An id that a publisher chose; the transport knows its position for as long as it keeps the update.
    Publisher(EventId),
    /// A string that no update of this hub can have as its id, also one of a hub with another number of partitions.
    Unknown,
}

impl LastEventId {
    /// Reads the last id that a client sent. Never fails: an id that cannot be ours is [`LastEventId::Unknown`], which
    /// is answered as Mercure asks for unknown ids.
    pub fn parse(text: &str, partitions: Partitions) -> Self {
        if text == EARLIEST {
            return Self::Earliest;
        }
        if let Some(text) = text.strip_prefix('#') {
            return parse_cursor(text, partitions).map_or(Self::Unknown, Self::Cursor);
        }
        EventId::parse(text).map_or(Self::Unknown, Self::Publisher)
    }
}

fn parse_cursor(text: &str, partitions: Partitions) -> Option<Cursor> {
    if text.len() > CURSOR_LEN_MAX {
        return None;
    }
    if partitions == Partitions::ONE {
        return parse_position(text).map(Cursor::at);
    }
    let (count, text) = text.split_once(':')?;
    if parse_number(count)? != u64::from(partitions.count()) {
        return None;
    }
    let mut parts = text.split(',');
    let base = parse_position(parts.next()?)?;
    let mut ahead: Vec<(Partition, Position)> = Vec::new();
    for part in parts {
        let (number, lead) = part.split_once('+')?;
        let partition = Partition::new(u16::try_from(parse_number(number)?).ok()?);
        let lead = parse_number(lead).filter(|lead| *lead > 0)?;
        let position = Position::from_micros(base.as_micros().checked_add(lead)?);
        let follows = ahead.last().is_none_or(|(last, _)| *last < partition);
        if !follows || !partitions.contains(partition) || position > Position::MAX {
            return None;
        }
        ahead.push((partition, position));
    }
    Some(Cursor { base, ahead: ahead.into() })
}

fn parse_position(digits: &str) -> Option<Position> {
    parse_number(digits).map(Position::from_micros).filter(|position| *position <= Position::MAX)
}

/// Canonical decimal only, so that one cursor has one spelling.
fn parse_number(digits: &str) -> Option<u64> {
    let canonical = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    if canonical { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(micros: u64) -> Cursor {
        Cursor::at(Position::from_micros(micros))
    }

    fn with(mut cursor: Cursor, ahead: &[(u16, u64)]) -> Cursor {
        for (partition, micros) in ahead {
            cursor.advance(Partition::new(*partition), Position::from_micros(*micros));
        }
        cursor
    }

    #[test]
    fn last_event_ids_of_one_partition_are_read() {
        let check = |text: &str, expected: LastEventId| {
            assert_eq!(LastEventId::parse(text, Partitions::ONE), expected, "{text:?}");
        };
        check("earliest", LastEventId::Earliest);
        check("#0", LastEventId::Cursor(at(0)));
        check("#1763880000000000", LastEventId::Cursor(at(1_763_880_000_000_000)));
        check("#64:1763880000000000", LastEventId::Unknown);
        check("#01", LastEventId::Unknown);
        check("#", LastEventId::Unknown);
        check("#+1", LastEventId::Unknown);
        check("#9007199254740992", LastEventId::Unknown);
        check("#99999999999999999999999", LastEventId::Unknown);
        check("", LastEventId::Unknown);
        check("a\u{0}", LastEventId::Unknown);
        check("urn:uuid:1", LastEventId::Publisher(EventId::parse("urn:uuid:1").unwrap()));
    }

    #[test]
    fn last_event_ids_of_many_partitions_are_read() {
        let check = |text: &str, expected: Option<Cursor>| {
            let expected = expected.map_or(LastEventId::Unknown, LastEventId::Cursor);
            assert_eq!(LastEventId::parse(text, Partitions::new(64).unwrap()), expected, "{text:?}");
        };
        check("#64:5", Some(at(5)));
        check("#64:5,0+1,63+20", Some(with(at(5), &[(63, 25), (0, 6)])));
        check("#5", None);
        check("#32:5", None);
        check("#064:5", None);
        check("#64:", None);
        check("#64:5,", None);
        check("#64:5,3", None);
        check("#64:5,3+0", None);
        check("#64:5,3+01", None);
        check("#64:5,3+1,3+2", None);
        check("#64:5,4+1,3+2", None);
        check("#64:5,64+1", None);
        check("#64:5,3+9007199254740991", None);
        check("#64:5,3+18446744073709551615", None);
    }

    #[test]
    fn a_cursor_moves_forward_only_and_forgets_what_its_base_covers() {
        let mut cursor = with(at(10), &[(3, 20), (1, 15), (1, 12), (2, 10)]);
        assert_eq!(cursor.ahead().len(), 2);
        assert_eq!(cursor.position(Partition::new(1)).as_micros(), 15);
        assert_eq!(cursor.position(Partition::new(2)).as_micros(), 10);
        cursor.raise(Position::from_micros(5));
        assert_eq!(cursor.base().as_micros(), 10);
        cursor.raise(Position::from_micros(15));
        assert_eq!(cursor, with(at(15), &[(3, 20)]));
        assert_eq!(cursor.id(Partitions::new(8).unwrap()), "#8:15,3+5");
        assert_eq!(at(7).id(Partitions::ONE), "#7");
    }

    proptest! {
        #[test]
        fn cursors_come_back(
            base in 0..=Position::MAX.as_micros() / 2,
            ahead in prop::collection::vec((0..128_u16, 1..Position::MAX.as_micros() / 2), 0..20),
        ) {
            let partitions = Partitions::new(128).unwrap();
            let cursor = with(at(base), &ahead.into_iter().map(|(k, lead)| (k, base + lead)).collect::<Vec<_>>());
            prop_assert_eq!(LastEventId::parse(&cursor.id(partitions), partitions), LastEventId::Cursor(cursor.clone()));
            prop_assert!(cursor.id(partitions).len() <= CURSOR_LEN_MAX);
        }

        #[test]
        fn any_text_is_read_without_panic_and_has_one_spelling(text in "(#(64:)?[0-9,+]{0,30})|.*") {
            for partitions in [Partitions::ONE, Partitions::new(64).unwrap()] {
                if let LastEventId::Cursor(cursor) = LastEventId::parse(&text, partitions) {
                    prop_assert_eq!(cursor.id(partitions), text.clone());
                }
            }
        }
    }
}
