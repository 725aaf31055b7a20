//! A topic: the name of a sequence of updates.

use std::{borrow::Borrow, fmt, sync::Arc};

use crate::text::forbidden_char;

/// The longest topic, in bytes: one topic is a key and a channel in Redis and a map key on each node.
pub const TOPIC_LEN_MAX: usize = 4096;

/// A topic as a publisher names it: not empty, at most [`TOPIC_LEN_MAX`] bytes, free of control and format characters,
/// and not `*`, which subscribers use for "all". Usually an IRI, but any string is allowed. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

/// Why a string is not a topic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// It is empty.
    #[error("a topic must not be empty")]
    Empty,
    /// It is longer than [`TOPIC_LEN_MAX`].
    #[error("a topic has at most {TOPIC_LEN_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// It contains a control or format character.
    #[error("a topic must not contain control or format characters, this one contains {0:?}")]
    Forbidden(char),
    /// It is `*`.
    #[error("\"*\" means all topics to a subscriber and cannot be published to")]
    Wildcard,
}

impl Topic {
    /// Parses a topic.
    ///
    /// # Errors
    ///
    /// See [`TopicError`].
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        if text.is_empty() {
            return Err(TopicError::Empty);
        }
        if text.len() > TOPIC_LEN_MAX {
            return Err(TopicError::TooLong(text.len()));
        }
        if let Some(c) = forbidden_char(text) {
            return Err(TopicError::Forbidden(c));
        }
        if text == "*" {
            return Err(TopicError::Wildcard);
        }
        Ok(Self(text.into()))
    }

    /// The topic's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Topic {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn topics_are_checked() {
        let check = |text: &str, expected: Result<(), TopicError>| {
            assert_eq!(Topic::parse(text).map(drop), expected, "{text:?}");
        };
        check("https://example.com/books/1", Ok(()));
        check("not a url", Ok(()));
        check("**", Ok(()));
        check("", Err(TopicError::Empty));
        check("*", Err(TopicError::Wildcard));
        check("a\r\nb", Err(TopicError::Forbidden('\r')));
        check("a\u{200B}", Err(TopicError::Forbidden('\u{200B}')));
        check(&"x".repeat(TOPIC_LEN_MAX), Ok(()));
        check(&"x".repeat(TOPIC_LEN_MAX + 1), Err(TopicError::TooLong(TOPIC_LEN_MAX + 1)));
    }

    proptest! {
        #[test]
        fn what_is_accepted_keeps_the_rules(text in "(?s)[a*\u{ad}\u{85}\u{200b}é]{0,3}|.{0,20}") {
            match Topic::parse(&text) {
                Ok(topic) => {
                    prop_assert_eq!(topic.as_str(), &text);
                    prop_assert!(!text.is_empty() && text != "*" && forbidden_char(&text).is_none());
                }
                Err(_) => prop_assert!(text.is_empty() || text == "*" || forbidden_char(&text).is_some()),
            }
        }
    }
}
