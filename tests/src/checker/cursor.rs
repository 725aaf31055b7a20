//! The ids of the hub as its clients can read them: `#<position>`, or `#<P>:<base>,<k>+<delta>…` for P partitions.

use std::fmt;

/// What is shown of an id.
const BRIEF_LEN: usize = 60;

/// How far a stream has come.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cursor {
    partitions: u32,
    base: u64,
    /// Partition and what it is ahead of the base, ascending by partition.
    ahead: Box<[(u32, u64)]>,
}

impl Cursor {
    /// Reads an id; `None` if it is not one of the hub's, written as it must be.
    pub fn parse(id: &str) -> Option<Self> {
        let cursor = Self::read(id)?;
        (cursor.to_string() == id).then_some(cursor)
    }

    fn read(id: &str) -> Option<Self> {
        let text = id.strip_prefix('#')?;
        let Some((partitions, rest)) = text.split_once(':') else {
            return Some(Self::at(text.parse().ok()?));
        };
        let partitions: u32 = partitions.parse().ok().filter(|count| *count > 1)?;
        let mut parts = rest.split(',');
        let base = parts.next()?.parse().ok()?;
        let mut ahead: Vec<(u32, u64)> = Vec::new();
        for part in parts {
            let (partition, delta) = part.split_once('+')?;
            let (partition, delta) = (partition.parse().ok()?, delta.parse().ok()?);
            if delta == 0 || partition >= partitions || ahead.last().is_some_and(|last| last.0 >= partition) {
                return None;
            }
            ahead.push((partition, delta));
        }
        Some(Self { partitions, base, ahead: ahead.into() })
    }

    /// The cursor at a position where there is one partition only.
    pub fn at(position: u64) -> Self {
        Self { partitions: 1, base: position, ahead: Box::default() }
    }

    /// Whether one number says it all: positions of different updates can be compared.
    pub fn is_single(&self) -> bool {
        self.partitions == 1
    }

    /// What has been seen in all partitions.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// What has been seen in the partition that is furthest.
    pub fn top(&self) -> u64 {
        self.base + self.ahead.iter().map(|(_, delta)| *delta).max().unwrap_or(0)
    }

    /// Whether this stands nowhere behind `other`.
    pub fn reaches(&self, other: &Self) -> bool {
        self.behind(other).is_empty()
    }

    /// The partitions in which this stands behind `other`, with where the two stand.
    pub fn behind(&self, other: &Self) -> Vec<(u32, u64, u64)> {
        let all = 0..self.partitions.max(other.partitions);
        let both = all.map(|partition| (partition, self.of(partition), other.of(partition)));
        both.filter(|(_, own, others)| own < others).collect()
    }

    /// The id, or what of it fits in a line.
    pub fn brief(&self) -> String {
        let text = self.to_string();
        if text.len() <= BRIEF_LEN { text } else { format!("{}…", &text[..BRIEF_LEN]) }
    }

    fn of(&self, partition: u32) -> u64 {
        let delta = self.ahead.iter().find(|(known, _)| *known == partition);
        self.base + delta.map_or(0, |(_, delta)| *delta)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.partitions == 1 {
            return write!(f, "#{}", self.base);
        }
        write!(f, "#{}:{}", self.partitions, self.base)?;
        self.ahead.iter().try_for_each(|(partition, delta)| write!(f, ",{partition}+{delta}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor(id: &str) -> Cursor {
        Cursor::parse(id).unwrap_or_else(|| panic!("{id} is an id"))
    }

    #[test]
    fn an_id_is_read_and_written() {
        for id in ["#0", "#17", "#64:5", "#64:5,0+1,63+7"] {
            assert_eq!(cursor(id).to_string(), id);
        }
        for id in [
            "",
            "17",
            "#",
            "#017",
            "#1:5",
            "#64:",
            "#64:5,",
            "#64:5,1+0",
            "#64:5,64+1",
            "#64:5,2+1,1+1",
            "earliest",
        ] {
            assert_eq!(Cursor::parse(id), None, "{id:?}");
        }
    }

    #[test]
    fn a_cursor_reaches_another_in_every_partition() {
        for (this, other, expected) in [
            ("#5", "#5", true),
            ("#5", "#6", false),
            ("#64:10,3+50", "#64:10,3+20", true),
            ("#64:40,3+10", "#64:10,3+40", true),
            ("#64:40,3+10", "#64:10,3+41", false),
            ("#64:10,3+50", "#64:11", false),
            ("#2:10,0+5,1+6", "#2:12,1+2", true),
        ] {
            assert_eq!(cursor(this).reaches(&cursor(other)), expected, "{this} {other}");
        }
        assert_eq!(cursor("#64:10,3+50,5+7").top(), 60);
    }
}
