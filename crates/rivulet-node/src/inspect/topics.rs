//! What a node's subscribers subscribe to.

use std::sync::Arc;

use rivulet_core::{Matcher, Partition, cursor::position_id};

use super::ListCursor;
use crate::{
    Node,
    config::{SCAN_FOUND_MAX, SCAN_LEN},
    question::Scanned,
    seats::Seats,
    source::Source,
};

/// How a matcher selects topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatcherKind {
    /// One topic.
    Exact,
    /// Everything: `*`.
    All,
    /// A URI Template.
    Template,
    /// A URL Pattern.
    Pattern,
}

impl MatcherKind {
    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::All => "all",
            Self::Template => "uri_template",
            Self::Pattern => "url_pattern",
        }
    }

    fn of(matcher: &Matcher) -> Self {
        match matcher {
            Matcher::Exact(_) => Self::Exact,
            Matcher::All => Self::All,
            Matcher::Template(_) => Self::Template,
            Matcher::Pattern(_) => Self::Pattern,
        }
    }
}

/// Which topics are wanted.
#[derive(Clone, Debug, Default)]
pub struct TopicsQuery {
    /// Only the topic or other matcher with this text.
    pub topic: Option<String>,
    /// Where the page before said that the next one begins.
    pub after: Option<ListCursor>,
    /// At most so many, from 1 to [`super::INSPECT_LEN_MAX`].
    pub limit: usize,
}

/// Some topics.
#[derive(Clone, Debug)]
pub struct TopicsPage {
    /// In no order that means something.
    pub topics: Vec<TopicInfo>,
    /// Where the next page begins, if there may be one.
    pub next: Option<ListCursor>,
}

/// A topic or other matcher, in one partition on one worker.
#[derive(Clone, Debug)]
pub struct TopicInfo {
    /// As subscribers write it.
    pub matcher: String,
    /// How it selects topics.
    pub kind: MatcherKind,
    /// The worker whose subscribers these are.
    pub worker: u8,
    /// A topic stands in one, other matchers are there once for each.
    pub partition: Partition,
    /// How many subscribe to it.
    pub subscribers: usize,
    /// How many of them may have something still to take.
    pub behind: usize,
    /// Updates that are kept for those.
    pub ring_len: usize,
    /// Their bytes.
    pub ring_bytes: usize,
    /// Everything after this id is kept, or was not published yet.
    pub floor: String,
    /// The id of the last update, if any is kept; else the floor.
    pub last: String,
}

impl Node {
    /// Some of what this node's subscribers subscribe to.
    pub async fn topics(&self, query: TopicsQuery) -> TopicsPage {
        let TopicsQuery { topic, after, limit } = query;
        let topic: Option<Arc<str>> = topic.map(Into::into);
        let look =
            move |seats: &Seats, from: usize, wanted: usize| seats.topics(topic.as_deref(), from, wanted);
        let (topics, next) = self.shared.list(after, limit, look).await;
        TopicsPage { topics, next }
    }
}

impl Seats {
    fn topics(&self, topic: Option<&str>, from: usize, wanted: usize) -> Scanned<TopicInfo> {
        let mut found = Vec::new();
        let to = from.saturating_add(SCAN_LEN).min(self.sources.capacity());
        for key in from..to {
            let source = self.sources.get(key);
            let source = source.filter(|source| topic.is_none_or(|topic| source.matcher.text() == topic));
            found.extend(source.map(|source| self.describe_source(source)));
            if found.len() >= wanted.min(SCAN_FOUND_MAX) {
                return (found, Some(key + 1));
            }
        }
        (found, Some(to).filter(|to| *to < self.sources.capacity()))
    }

    fn describe_source(&self, source: &Source) -> TopicInfo {
        let id = |position| position_id(self.partitions, position);
        TopicInfo {
            matcher: source.matcher.text().to_owned(),
            kind: MatcherKind::of(&source.matcher),
            worker: self.worker,
            partition: source.partition,
            subscribers: source.members.len(),
            behind: source.behind as usize,
            ring_len: source.ring.len(),
            ring_bytes: source.ring.bytes(),
            floor: id(source.ring.floor()),
            last: id(source.ring.last()),
        }
    }
}
