//! The names of keys and channels.
//!
//! All begin with `{<prefix>:<partition>}`: a hash tag, so that a script's keys stand in one slot of a cluster. There
//! is one partition, `0`, on a standalone Redis.
//!
//! In a database other than 0 the prefix is `<prefix>@<database>`. Databases have keys of their own, but all databases
//! of a Redis share its channels: without the number, hubs in two of them would get each other's updates. No prefix
//! that may be configured holds an `@`.

use rivulet_core::{EventId, Topic};

/// Makes names below one prefix.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    tag: String,
    pub(crate) layout: String,
    pub(crate) clock: String,
    pub(crate) birth: String,
    pub(crate) index: String,
    pub(crate) firehose: String,
}

impl Keys {
    /// Names for a prefix in a database, by its number.
    pub(crate) fn new(prefix: &str, database: i64) -> Self {
        let prefix = match database {
            0 => prefix.to_owned(),
            database => format!("{prefix}@{database}"),
        };
        let tag = format!("{{{prefix}:0}}");
        Self {
            layout: format!("{{{prefix}}}layout"),
            clock: format!("{tag}clock"),
            birth: format!("{tag}birth"),
            index: format!("{tag}index"),
            firehose: format!("{tag}firehose"),
            tag,
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

    /// The channel that only one node listens to.
    pub(crate) fn node(&self, node: u64) -> String {
        self.name("n:", &format!("{node:016x}"))
    }

    fn name(&self, kind: &str, rest: &str) -> String {
        let mut name = String::with_capacity(self.tag.len() + kind.len() + rest.len());
        name.push_str(&self.tag);
        name.push_str(kind);
        name.push_str(rest);
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_one_partition_share_a_tag() {
        let keys = Keys::new("rivulet", 0);
        assert_eq!(keys.stream(&Topic::parse("a/{b}").unwrap()), "{rivulet:0}t:a/{b}");
        assert_eq!(keys.clock, "{rivulet:0}clock");
        assert_eq!(keys.node(255), "{rivulet:0}n:00000000000000ff");
    }

    #[test]
    fn names_in_another_database_are_others() {
        let keys = Keys::new("rivulet", 3);
        assert_eq!(keys.firehose, "{rivulet@3:0}firehose");
        assert_eq!(keys.layout, "{rivulet@3}layout");
    }
}
