//! An update: what a publisher sends.

use std::fmt;

use bytes::Bytes;
use smallvec::SmallVec;

use crate::{Topic, TraceContext, text::forbidden_char};

/// The most topics (canonical and alternates) that one update carries: each is a log entry and an announcement.
pub const UPDATE_TOPICS_MAX: usize = 100;
/// The longest id that a publisher may choose, in bytes: it is a key in Redis and a header of reconnecting clients.
pub const EVENT_ID_LEN_MAX: usize = 1024;
/// The longest event type, in bytes.
pub const EVENT_TYPE_LEN_MAX: usize = 1024;

/// What a publisher sends; immutable once it is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// The canonical topic first, then the alternates: one to [`UPDATE_TOPICS_MAX`].
    pub topics: SmallVec<[Topic; 1]>,
    /// The content, UTF-8, with any line endings. May be empty.
    pub data: Bytes,
    /// Whether only subscribers with a grant for one of the topics receive it.
    pub private: bool,
    /// The publisher's own id, if it chose one. Without it the update's id is its position.
    pub id: Option<EventId>,
    /// The SSE `event:` field.
    pub event_type: Option<EventType>,
    /// The SSE `retry:` field: how long a client waits before it reconnects, in milliseconds.
    pub retry_ms: Option<u64>,
    /// The span that it came from, if that is recorded. No part of what was published: a repeat has another.
    pub trace: Option<Box<TraceContext>>,
}

impl Update {
    /// The canonical topic.
    pub fn canonical_topic(&self) -> &Topic {
        &self.topics[0]
    }
}

/// An id that a publisher chose for its update.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventId(Box<str>);

/// Why a string cannot be the id of an update.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventIdError {
    /// It begins with `#`, the id space that Mercure reserves for hubs.
    #[error("an id must not begin with \"#\": those ids are the hub's")]
    HubSpace,
    /// It is `earliest`, which subscribers send to ask for everything.
    #[error("the id \"earliest\" is reserved: subscribers use it to ask for everything that is kept")]
    Earliest,
    /// It contains a control or format character.
    #[error("an id must not contain control or format characters, this one contains {0:?}")]
    Forbidden(char),
    /// It is longer than [`EVENT_ID_LEN_MAX`].
    #[error("an id has at most {EVENT_ID_LEN_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// It is empty.
    #[error("an id must not be empty")]
    Empty,
}

impl EventId {
    /// Parses an id that a publisher chose.
    ///
    /// # Errors
    ///
    /// See [`EventIdError`].
    pub fn parse(text: &str) -> Result<Self, EventIdError> {
        if text.is_empty() {
            return Err(EventIdError::Empty);
        }
        if text.starts_with('#') {
            return Err(EventIdError::HubSpace);
        }
        if text == crate::cursor::EARLIEST {
            return Err(EventIdError::Earliest);
        }
        if text.len() > EVENT_ID_LEN_MAX {
            return Err(EventIdError::TooLong(text.len()));
        }
        match forbidden_char(text) {
            Some(c) => Err(EventIdError::Forbidden(c)),
            None => Ok(Self(text.into())),
        }
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The SSE event type of an update: never empty, free of control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventType(Box<str>);

/// Why a string cannot be an event type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventTypeError {
    /// It contains a control character.
    #[error("a type must not contain control characters, this one contains {0:?}")]
    Forbidden(char),
    /// It is longer than [`EVENT_TYPE_LEN_MAX`].
    #[error("a type has at most {EVENT_TYPE_LEN_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// It is empty.
    #[error("a type must not be empty")]
    Empty,
}

impl EventType {
    /// Parses an event type.
    ///
    /// # Errors
    ///
    /// See [`EventTypeError`].
    pub fn parse(text: &str) -> Result<Self, EventTypeError> {
        if text.is_empty() {
            return Err(EventTypeError::Empty);
        }
        if text.len() > EVENT_TYPE_LEN_MAX {
            return Err(EventTypeError::TooLong(text.len()));
        }
        match text.chars().find(|c| c.is_control()) {
            Some(c) => Err(EventTypeError::Forbidden(c)),
            None => Ok(Self(text.into())),
        }
    }

    /// The type's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{LastEventId, Partitions};

    #[test]
    fn ids_are_checked() {
        let check = |text: &str, expected: Result<(), EventIdError>| {
            assert_eq!(EventId::parse(text).map(drop), expected, "{text:?}");
        };
        check("urn:uuid:5e94c686-2c0b-4f9b-958c-92ccc3bbb4eb", Ok(()));
        check("earliest2", Ok(()));
        check("", Err(EventIdError::Empty));
        check("#1", Err(EventIdError::HubSpace));
        check("earliest", Err(EventIdError::Earliest));
        check("a\nb", Err(EventIdError::Forbidden('\n')));
        check("a\u{2060}b", Err(EventIdError::Forbidden('\u{2060}')));
        check(&"i".repeat(EVENT_ID_LEN_MAX + 1), Err(EventIdError::TooLong(EVENT_ID_LEN_MAX + 1)));
    }

    #[test]
    fn types_are_checked() {
        assert!(EventType::parse("message").is_ok());
        assert_eq!(EventType::parse("a\nid: 1").map(drop), Err(EventTypeError::Forbidden('\n')));
        assert_eq!(EventType::parse("").map(drop), Err(EventTypeError::Empty));
    }

    proptest! {
        #[test]
        fn an_id_comes_back_from_a_client_as_it_went(text in "(?s)#?(earliest|.{0,20})") {
            if let Ok(id) = EventId::parse(&text) {
                prop_assert_eq!(id.as_str(), &text);
                prop_assert_eq!(LastEventId::parse(&text, Partitions::ONE), LastEventId::Publisher(id));
            }
        }

        #[test]
        fn a_type_is_one_line(text in "(?s).{0,20}") {
            if let Ok(event_type) = EventType::parse(&text) {
                prop_assert_eq!(event_type.as_str(), &text);
                prop_assert!(!text.is_empty() && !text.contains(['\r', '\n', '\0']));
            }
        }
    }
}
