//! Partitions: the parts into which topics are hashed, so that a cluster shares the work. Positions are comparable
//! within a partition only.

use std::fmt;

use crate::Topic;

/// The most partitions of a hub: a cursor may name each of them, and travels in a header.
pub const PARTITIONS_MAX: u16 = 128;

/// One part of a hub: all updates of a topic stand in the same one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(u16);

impl Partition {
    /// The partition with this number, from 0.
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// Its number, from 0.
    pub const fn number(self) -> u16 {
        self.0
    }

    /// The same, as an index of a table with an entry per partition.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many partitions a hub has. It never changes once the hub holds data: topics would move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partitions(u16);

impl Partitions {
    /// All topics in one partition: what a transport that is one server has.
    pub const ONE: Partitions = Partitions(1);

    /// A count from 1 to [`PARTITIONS_MAX`].
    pub const fn new(count: u16) -> Option<Self> {
        if count == 0 || count > PARTITIONS_MAX { None } else { Some(Self(count)) }
    }

    /// How many there are.
    pub const fn count(self) -> u16 {
        self.0
    }

    /// The partition of a topic: by FNV-1a and a finalizer that spreads its weak bits. Nodes of all versions must agree
    /// on it: it is part of what is stored.
    pub fn of(self, topic: &Topic) -> Partition {
        if self.0 == 1 {
            return Partition(0);
        }
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        for byte in topic.as_str().bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^= hash >> 33;
        Partition(u16::try_from(hash % u64::from(self.0)).expect("less than a count of 16 bits"))
    }

    /// Whether a hub with so many partitions has this one.
    pub const fn contains(self, partition: Partition) -> bool {
        partition.0 < self.0
    }

    /// All of them, in order.
    pub fn iter(self) -> impl Iterator<Item = Partition> + Clone {
        (0..self.0).map(Partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(text: &str) -> Topic {
        Topic::parse(text).unwrap()
    }

    #[test]
    fn counts_are_bounded() {
        assert_eq!(Partitions::new(0), None);
        assert_eq!(Partitions::new(1), Some(Partitions::ONE));
        assert!(Partitions::new(PARTITIONS_MAX).is_some());
        assert_eq!(Partitions::new(PARTITIONS_MAX + 1), None);
    }

    #[test]
    fn a_topic_stands_where_it_always_stood() {
        let partitions = Partitions::new(64).unwrap();
        let check =
            |text: &str, expected: u16| assert_eq!(partitions.of(&topic(text)).number(), expected, "{text}");
        check("a", 13);
        check("https://example.com/books/1", 48);
        assert_eq!(Partitions::ONE.of(&topic("a")).number(), 0);
    }

    #[test]
    fn topics_are_spread_evenly() {
        let partitions = Partitions::new(64).unwrap();
        let mut counts = [0_u32; 64];
        for n in 0..64_000 {
            counts[partitions.of(&topic(&format!("https://example.com/orders/{n}"))).index()] += 1;
        }
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
    }
}
