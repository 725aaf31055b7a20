//! An entry of a stream: its position, the one before it in the same stream's chain, and its content.

use redis::Value;
use rivulet_core::Position;
use rivulet_node::{TransportError, Void};

use crate::announcement::parse_position;

/// `append.lua` writes `p`, the previous position, and `e`, an envelope; or `t`, topics, and `n`, the envelope's length. These
/// stand first, in this order; a newer version may write more after them, which is passed over.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) position: Position,
    pub(crate) previous: Position,
    /// Nothing where there is neither an envelope nor topics: a newer version has another place for them.
    pub(crate) content: Vec<u8>,
    /// The length of the envelope.
    pub(crate) len: usize,
}

/// The error of an answer that our scripts and commands do not give.
pub(crate) fn unexpected(what: &str) -> TransportError {
    TransportError::new(format!("{what} in Redis is not what this program writes"))
}

impl Entry {
    /// Reads the answer of `XRANGE`.
    pub(crate) fn parse_all(answer: Value) -> Result<Vec<Self>, TransportError> {
        let Value::Array(entries) = answer else { return Err(unexpected("the type of a stream")) };
        entries
            .into_iter()
            .map(|entry| Self::parse(entry).ok_or_else(|| unexpected("a stream's entry")))
            .collect()
    }

    fn parse(entry: Value) -> Option<Self> {
        let Value::Array(entry) = entry else { return None };
        let [Value::BulkString(id), Value::Array(fields)] = <[Value; 2]>::try_from(entry).ok()? else {
            return None;
        };
        let (mut previous, mut content, mut len) = (None, Vec::new(), None);
        let mut fields = fields.into_iter();
        while let Some(name) = fields.next() {
            let (Value::BulkString(name), Value::BulkString(value)) = (name, fields.next()?) else {
                return None;
            };
            match &name[..] {
                b"p" => previous = Some(parse_position(&value)?),
                b"e" | b"t" => content = value,
                b"n" => len = Some(usize::try_from(parse_position(&value)?.as_micros()).ok()?),
                _ => {}
            }
        }
        let position = parse_position(id.strip_suffix(b"-0")?)?;
        Some(Self { position, previous: previous?, len: len.unwrap_or(content.len()), content })
    }
}

/// How far into a void a position may be that this log gave after all: ticks that no replica had when their primary died, or
/// that it gave afterwards, cut off from who elected another.
const SHOWN_IN_VOID_MICROS: u64 = 30_000_000;

/// The partition's clock, as it was when something else was read together with it.
#[derive(Debug)]
pub(crate) struct Clock {
    /// The last position that was given or verified.
    pub(crate) now: Position,
    /// The position of the last update.
    pub(crate) last_update: Position,
    /// Before it, nothing is known for certain: the log was created then, or has lost something then.
    pub(crate) birth: Position,
    /// Where nobody was given a position since then (`void.lua`).
    pub(crate) voids: Vec<Void>,
}

impl Clock {
    /// Reads the values of the clock's key and of the birth's. Without them Redis is empty: nothing older than now is
    /// known, whatever was asked.
    pub(crate) fn parse(clock: &Value, birth: &Value) -> Result<Self, TransportError> {
        let (Value::BulkString(clock), Value::BulkString(birth)) = (clock, birth) else {
            let (now, last_update, voids) = (Position::ZERO, Position::ZERO, Vec::new());
            return Ok(Self { now, last_update, birth: Position::MAX, voids });
        };
        let mut numbers = clock.split(|byte| *byte == b' ').map(parse_position);
        let now = numbers.next().flatten().ok_or_else(|| unexpected("the clock"))?;
        let last_update = numbers.next().flatten().unwrap_or(now);
        let mut words = birth.split(|byte| *byte == b' ');
        let birth = words.next().and_then(parse_position).ok_or_else(|| unexpected("the birth"))?;
        // A newer version may add other words.
        Ok(Self { now, last_update, birth, voids: words.filter_map(parse_void).collect() })
    }

    /// The void in which a position lies.
    pub(crate) fn void_at(&self, position: Position) -> Option<&Void> {
        self.voids.iter().find(|void| void.holds(position))
    }
}

fn parse_void(word: &[u8]) -> Option<Void> {
    let dash = word.iter().position(|byte| *byte == b'-')?;
    let (from, before) = (parse_position(&word[..dash])?, parse_position(&word[dash + 1..])?);
    let after = Position::from_micros(from.as_micros() + SHOWN_IN_VOID_MICROS);
    (after < before).then_some(Void { after, before })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    #[test]
    fn entries_are_read() {
        let entry = |id: &str, fields: &[&str]| {
            let fields = fields.iter().map(|field| bulk(field)).collect();
            Value::Array(vec![Value::Array(vec![bulk(id), Value::Array(fields)])])
        };
        let entries = Entry::parse_all(entry("9-0", &["p", "7", "e", "xyz"])).unwrap();
        assert_eq!((entries[0].position.as_micros(), entries[0].previous.as_micros()), (9, 7));
        assert_eq!(entries[0].len, 3);
        let entries = Entry::parse_all(entry("9-0", &["p", "7", "t", "a", "n", "400"])).unwrap();
        assert_eq!((&entries[0].content[..], entries[0].len), (&b"a"[..], 400));
        let fields = ["p", "7", "t", "a", "n", "400", "x", "next"];
        let entries = Entry::parse_all(entry("9-0", &fields)).unwrap();
        assert_eq!((&entries[0].content[..], entries[0].len), (&b"a"[..], 400), "more is passed over");
        let entries = Entry::parse_all(entry("9-0", &["p", "7", "e", "xyz", "n2", "x"])).unwrap();
        assert_eq!((&entries[0].content[..], entries[0].len), (&b"xyz"[..], 3));
        let entries = Entry::parse_all(entry("9-0", &["p", "7", "e2", "xyz"])).unwrap();
        assert!(entries[0].content.is_empty(), "the update counts as one that cannot be read");
        assert!(Entry::parse_all(entry("9-1", &["p", "7", "e", "x"])).is_err());
        assert!(Entry::parse_all(entry("9-0", &["e", "7"])).is_err());
        assert!(Entry::parse_all(entry("9-0", &["p", "7", "e"])).is_err());
        assert!(Entry::parse_all(entry("9-0", &["p", "x", "e", "x"])).is_err());
        assert!(Entry::parse_all(Value::Nil).is_err());
    }

    #[test]
    fn the_clock_tells_ticks_from_updates() {
        let clock = Clock::parse(&bulk("20 10"), &bulk("5")).unwrap();
        assert_eq!([clock.now, clock.last_update, clock.birth].map(Position::as_micros), [20, 10, 5]);
        let clock = Clock::parse(&bulk("20"), &bulk("5")).unwrap();
        assert_eq!(clock.last_update.as_micros(), 20);
        assert_eq!(Clock::parse(&Value::Nil, &Value::Nil).unwrap().birth, Position::MAX);
    }

    #[test]
    fn voids_stand_behind_the_birth() {
        let check = |birth: &str, expected: Option<&[(u64, u64)]>| {
            let clock = Clock::parse(&bulk("900000000"), &bulk(birth)).ok();
            let voids = |clock: Clock| clock.voids.iter().map(|void| (void.after, void.before)).collect();
            let voids: Option<Vec<_>> = clock.map(voids);
            let micros = |(after, before): &(u64, u64)| {
                (Position::from_micros(*after), Position::from_micros(*before))
            };
            assert_eq!(voids, expected.map(|voids| voids.iter().map(micros).collect()), "{birth:?}");
        };
        check("5", Some(&[]));
        check("5 7-60000008", Some(&[(30_000_007, 60_000_008)]));
        check(
            "5 7-60000008 70000000-200000000",
            Some(&[(30_000_007, 60_000_008), (100_000_000, 200_000_000)]),
        );
        check("5 next 7-60000008 x-1 1-x - 9", Some(&[(30_000_007, 60_000_008)]));
        check("5 7-8", Some(&[]));
        check("", None);
        check("7-60000008", None);
    }
}
