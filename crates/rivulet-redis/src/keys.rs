//! The names of keys and channels.
//!
//! All begin with `{<prefix>:<partition>}`, a hash tag, so that a script's keys stand in one slot of a cluster. With more
//! than one partition it is `{<prefix>:<partition>-<salt>}`: the salt is the first that puts the tag into the
//! partition's share of the slots, so that the partitions of a cluster are spread evenly. (Bare numbers collide.)
//!
//! In a database other than 0 the prefix is `<prefix>@<database>`. Databases have keys of their own, but all databases
//! of a Redis share its channels: without the number, hubs in two of them would get each other's updates. No prefix
//! that may be configured holds an `@`.

use rivulet_core::{EventId, IdempotencyKey, Partition, Partitions, Topic};
use rivulet_node::{Limit, Scope};

/// How many slots a cluster has.
const SLOTS: u32 = 16384;
/// Scopes are text of strangers, some of it long: what is longer than this stands for itself by its digest.
const SCOPE_LEN_MAX: usize = 128;

/// The names below one prefix.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    /// The key that says how the prefix is laid out.
    pub(crate) layout: String,
    partitions: Partitions,
    names: Vec<Names>,
    /// What channels begin with, up to the number of the partition.
    number_at: usize,
}

/// The names of one partition.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    tag: String,
    pub(crate) clock: String,
    pub(crate) birth: String,
    pub(crate) index: String,
    /// The server that is the primary, where servers take each other's place.
    pub(crate) primary: String,
    /// Those before it.
    pub(crate) primaries: String,
    /// Where all updates are announced.
    pub(crate) firehose: String,
    /// Where all nodes are told that updates were lost.
    pub(crate) control: String,
}

/// The slot of a cluster that a key stands in, by its tag.
fn slot(tag: &str) -> u32 {
    u32::from(crc16::State::<crc16::XMODEM>::calculate(tag.as_bytes())) % SLOTS
}

impl Keys {
    /// Names for a prefix in a database, by its number.
    pub(crate) fn new(prefix: &str, database: i64, partitions: Partitions) -> Self {
        let prefix = match database {
            0 => prefix.to_owned(),
            database => format!("{prefix}@{database}"),
        };
        let names = partitions.iter().map(|partition| Names::new(&prefix, partition, partitions)).collect();
        let layout = format!("{{{prefix}}}layout");
        Self { layout, partitions, names, number_at: prefix.len() + 2 }
    }

    pub(crate) fn partitions(&self) -> Partitions {
        self.partitions
    }

    /// What stands in front of all names, with the number of the database.
    pub(crate) fn prefix(&self) -> &str {
        &self.layout[1..self.number_at - 1]
    }

    /// The names of a partition.
    pub(crate) fn of(&self, partition: Partition) -> &Names {
        &self.names[partition.index()]
    }

    /// The slot of a partition.
    pub(crate) fn slot(&self, partition: Partition) -> u16 {
        let tag = &self.of(partition).tag;
        u16::try_from(slot(&tag[1..tag.len() - 1])).expect("fewer than 16,384")
    }

    /// The slot of the layout's key.
    pub(crate) fn layout_slot(&self) -> u16 {
        u16::try_from(slot(self.prefix())).expect("fewer than 16,384")
    }

    /// The partition where something is counted that no partition has.
    pub(crate) fn partition_of_scope(&self, scope: &Scope) -> Partition {
        let number = slot(scope.as_str()) % u32::from(self.partitions.count());
        Partition::new(u16::try_from(number).expect("there are fewer than 65,536"))
    }

    /// The partition of a channel of ours.
    pub(crate) fn partition_of(&self, channel: &[u8]) -> Option<Partition> {
        let digits = channel.get(self.number_at..)?;
        let len = digits.iter().position(|byte| !byte.is_ascii_digit())?;
        let number = std::str::from_utf8(&digits[..len]).ok()?.parse().ok()?;
        Some(Partition::new(number)).filter(|partition| self.partitions.contains(*partition))
    }
}

impl Names {
    fn new(prefix: &str, partition: Partition, partitions: Partitions) -> Self {
        let tag = match partitions.count() {
            1 => format!("{prefix}:0"),
            count => {
                let share = |number: u32| number * SLOTS / u32::from(count);
                let number = u32::from(partition.number());
                let wanted = share(number)..share(number + 1);
                let tags = (0_u32..).map(|salt| format!("{prefix}:{partition}-{salt}"));
                tags.into_iter()
                    .find(|tag| wanted.contains(&slot(tag)))
                    .expect("some number of 32 bits has a hash in each share")
            }
        };
        let name = |rest: &str| format!("{{{tag}}}{rest}");
        Self {
            clock: name("clock"),
            birth: name("birth"),
            index: name("index"),
            primary: name("primary"),
            primaries: name("primaries"),
            firehose: name("firehose"),
            control: name("control"),
            tag: name(""),
        }
    }

    /// A topic's stream, and its channel: Redis keeps the names of keys and of channels apart.
    pub(crate) fn stream(&self, topic: &Topic) -> String {
        self.name("t:", topic.as_str())
    }

    /// The key that holds a topic's last position.
    pub(crate) fn last(&self, topic: &Topic) -> String {
        self.name("l:", topic.as_str())
    }

    /// The key that maps a publisher's id to a position.
    pub(crate) fn id(&self, id: &EventId) -> String {
        self.name("i:", id.as_str())
    }

    /// The key that remembers an idempotency key.
    pub(crate) fn idempotency(&self, key: &IdempotencyKey) -> String {
        self.name("k:", key.as_str())
    }

    /// The key of the nodes' leases.
    pub(crate) fn leases(&self) -> String {
        self.name("q:", "nodes")
    }

    /// The key of the time at which the set of leases began: a young one may lack nodes that live.
    pub(crate) fn leases_since(&self) -> String {
        self.name("q:", "since")
    }

    /// The key of what an incarnation of a node holds.
    pub(crate) fn counts(&self, incarnation: &str) -> String {
        self.name("q:n:", incarnation)
    }

    /// The key of what nodes have answered to a kick.
    pub(crate) fn kick(&self, kick: &str) -> String {
        self.name("q:k:", kick)
    }

    /// The key of the kicks of the last time.
    pub(crate) fn kicks(&self) -> String {
        self.name("q:", "kicks")
    }

    /// The key of a rate.
    pub(crate) fn rate(&self, limit: Limit, scope: &Scope) -> String {
        self.name("r:", &place(limit, scope))
    }

    /// The channel that only one node listens to.
    pub(crate) fn node(&self, node: u64) -> String {
        self.name("n:", &format!("{node:016x}"))
    }

    /// A key, or channel, of a kind that is never used: an empty name is that of nothing.
    pub(crate) fn nothing(&self, kind: &str) -> String {
        self.name(kind, "")
    }

    fn name(&self, kind: &str, rest: &str) -> String {
        let mut name = String::with_capacity(self.tag.len() + kind.len() + rest.len());
        name.push_str(&self.tag);
        name.push_str(kind);
        name.push_str(rest);
        name
    }
}

/// The name of a limit's scope. What follows the number tells text from digests.
pub(crate) fn place(limit: Limit, scope: &Scope) -> String {
    let (number, text) = (limit as u8, scope.as_str());
    if text.len() <= SCOPE_LEN_MAX {
        format!("{number}:{text}")
    } else {
        format!("{number}#{}", sha1_smol::Sha1::from(text).digest())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_different_scopes_differ_and_are_bounded() {
        let long = "x".repeat(4096);
        let digest = place(Limit::ConnectionsPerTopic, &Scope::new(long.as_str()));
        let texts =
            ["", ":", "0:", "1:a", "a", "{b}", "a\n", "\u{0}", &long, &long[1..], &long[..128], &digest];
        let places: std::collections::HashSet<String> = Limit::ALL
            .into_iter()
            .flat_map(|limit| texts.map(|text| place(limit, &Scope::new(text))))
            .collect();
        assert_eq!(places.len(), texts.len() * Limit::ALL.len());
        assert!(places.iter().all(|place| place.len() <= SCOPE_LEN_MAX + 2));
        assert_eq!(place(Limit::ConnectionsPerIp, &Scope::new("192.0.2.7")), "2:192.0.2.7");
    }

    #[test]
    fn names_of_one_partition_share_a_tag() {
        let keys = Keys::new("rivulet", 0, Partitions::ONE);
        let names = keys.of(Partition::new(0));
        assert_eq!(names.stream(&Topic::parse("a/{b}").unwrap()), "{rivulet:0}t:a/{b}");
        assert_eq!(names.clock, "{rivulet:0}clock");
        assert_eq!(names.node(255), "{rivulet:0}n:00000000000000ff");
    }

    #[test]
    fn names_in_another_database_are_others() {
        let keys = Keys::new("rivulet", 3, Partitions::ONE);
        assert_eq!(keys.of(Partition::new(0)).firehose, "{rivulet@3:0}firehose");
        assert_eq!(keys.layout, "{rivulet@3}layout");
    }

    #[test]
    fn slots_are_those_of_redis() {
        // As CLUSTER KEYSLOT answers.
        assert_eq!([slot("foo"), slot("bar"), slot("123456789")], [12182, 5061, 12739]);
    }

    #[test]
    fn partitions_are_spread_evenly_over_the_slots() {
        for count in [2, 8, 64, 128] {
            let partitions = Partitions::new(count).unwrap();
            let keys = Keys::new("rivulet", 0, partitions);
            let share = SLOTS / u32::from(count);
            for partition in partitions.iter() {
                assert_eq!(u32::from(keys.slot(partition)) / share, u32::from(partition.number()));
            }
        }
    }

    #[test]
    fn a_channel_tells_its_partition() {
        let keys = Keys::new("a:b", 2, Partitions::new(64).unwrap());
        for partition in keys.partitions().iter() {
            let channel = keys.of(partition).stream(&Topic::parse("x").unwrap());
            assert_eq!(keys.partition_of(channel.as_bytes()), Some(partition), "{channel}");
        }
        for channel in ["", "{a:b@2:64-0}t:x", "{a:b@2:}t:x", "{a:b@2:1"] {
            assert_eq!(keys.partition_of(channel.as_bytes()), None, "{channel}");
        }
    }
}
