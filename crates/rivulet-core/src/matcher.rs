//! What selects topics: for a subscription and for a grant.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use url::Url;

use crate::{
    Topic, TopicError,
    uri_template::{TemplateError, UriTemplate},
    url_pattern::{PatternError, UrlPattern},
};

/// The longest matcher, in bytes: as long as the longest topic.
pub const MATCHER_LEN_MAX: usize = 4096;

/// What a matcher that selects every topic looks like.
const WILDCARD: &str = "*";

/// Selects topics. Cheap to clone: compiled forms are shared. Two matchers are equal if their kind and text are.
#[derive(Clone, Debug)]
pub enum Matcher {
    /// `*`: every topic.
    All,
    /// The topic with exactly these bytes.
    Exact(Topic),
    /// A selector of dialect 0.x that has variables: an RFC 6570 URI Template; the same text as the topic matches too.
    Template(Arc<UriTemplate>),
    /// A WHATWG URL Pattern (dialect 1.0).
    Pattern(Arc<UrlPattern>),
}

/// Why a string is not a matcher of the kind that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MatcherError {
    /// It is empty.
    #[error("a matcher must not be empty")]
    Empty,
    /// It is longer than [`MATCHER_LEN_MAX`].
    #[error("a matcher has at most {MATCHER_LEN_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// It contains a control or format character.
    #[error("a matcher must not contain control or format characters, this one contains {0:?}")]
    Forbidden(char),
    /// It has a brace but is no URI Template.
    #[error("not a URI Template (RFC 6570): {0}")]
    Template(#[from] TemplateError),
    /// It is no URL Pattern.
    #[error("not a URL Pattern (WHATWG): {0}")]
    Pattern(#[from] PatternError),
}

impl Matcher {
    /// The matcher `match=` and `match_exact=` of dialect 1.0: byte comparison; `*` selects all.
    ///
    /// # Errors
    ///
    /// If it is empty, too long, or contains a forbidden character.
    pub fn exact(text: &str) -> Result<Self, MatcherError> {
        match Topic::parse(text) {
            Ok(topic) => Ok(Self::Exact(topic)),
            Err(TopicError::Wildcard) => Ok(Self::All),
            Err(TopicError::Empty) => Err(MatcherError::Empty),
            Err(TopicError::TooLong(len)) => Err(MatcherError::TooLong(len)),
            Err(TopicError::Forbidden(c)) => Err(MatcherError::Forbidden(c)),
        }
    }

    /// The selector `topic=` of dialect 0.x: `*` selects all, a text with variables is an RFC 6570 URI Template, every
    /// other text selects the topic with exactly these bytes.
    ///
    /// # Errors
    ///
    /// As for [`Matcher::exact`], and if the text has an opening brace but is not a valid template. (The reference hub
    /// takes such a text as a topic and never matches what its author meant.)
    pub fn selector(text: &str) -> Result<Self, MatcherError> {
        let exact = Self::exact(text)?;
        if !text.contains('{') {
            return Ok(exact);
        }
        Ok(Self::Template(Arc::new(UriTemplate::parse(text)?)))
    }

    /// The matcher `match_urlpattern=` of dialect 1.0: a WHATWG URL Pattern; `*` selects all. Relative patterns, and
    /// later relative topics, are resolved against the hub's URL.
    ///
    /// # Errors
    ///
    /// As for [`Matcher::exact`], and if the text is not a valid URL Pattern.
    pub fn url_pattern(text: &str, hub_url: &Url) -> Result<Self, MatcherError> {
        if let Self::All = Self::exact(text)? {
            return Ok(Self::All);
        }
        Ok(Self::Pattern(Arc::new(UrlPattern::parse(text, hub_url)?)))
    }

    /// Whether it selects this topic. Takes time linear in the topic's length.
    pub fn matches(&self, topic: &Topic) -> bool {
        match self {
            Self::All => true,
            Self::Exact(exact) => exact == topic,
            Self::Template(template) => template.matches(topic),
            Self::Pattern(pattern) => pattern.matches(topic),
        }
    }

    /// Whether it selects at least one of these topics: those of an update.
    pub fn matches_any(&self, topics: &[Topic]) -> bool {
        topics.iter().any(|topic| self.matches(topic))
    }

    /// The text that it was made from.
    pub fn text(&self) -> &str {
        match self {
            Self::All => WILDCARD,
            Self::Exact(topic) => topic.as_str(),
            Self::Template(template) => template.text(),
            Self::Pattern(pattern) => pattern.text(),
        }
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other) && self.text() == other.text()
    }
}

impl Eq for Matcher {}

impl Hash for Matcher {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        self.text().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn hub_url() -> Url {
        Url::parse("https://hub.example/.well-known/mercure").unwrap()
    }

    fn topic(text: &str) -> Topic {
        Topic::parse(text).unwrap()
    }

    #[test]
    fn the_wildcard_selects_all_whatever_the_kind() {
        for matcher in [Matcher::exact("*"), Matcher::selector("*"), Matcher::url_pattern("*", &hub_url())] {
            let matcher = matcher.unwrap();
            assert!(matches!(matcher, Matcher::All));
            assert_eq!(matcher.text(), "*");
            // Also what no URL Pattern can match, because it is no URL.
            assert!(matcher.matches(&topic("https://[")));
        }
    }

    #[test]
    fn an_exact_matcher_compares_bytes() {
        let matcher = Matcher::exact("https://example.com/{id}").unwrap();
        assert!(matcher.matches(&topic("https://example.com/{id}")));
        for other in ["https://example.com/1", "https://EXAMPLE.com/{id}", "https://example.com/%7Bid%7D"] {
            assert!(!matcher.matches(&topic(other)), "{other:?}");
        }
    }

    #[test]
    fn a_selector_without_variables_is_exact() {
        for text in ["https://example.com/books/1", "a}b", "100%", "a b", "**"] {
            assert!(matches!(Matcher::selector(text), Ok(Matcher::Exact(exact)) if exact.as_str() == text));
        }
        assert!(matches!(Matcher::selector("/books/{id}"), Ok(Matcher::Template(_))));
    }

    #[test]
    fn an_update_is_selected_by_any_of_its_topics() {
        let matcher = Matcher::selector("/books/{id}").unwrap();
        assert!(matcher.matches_any(&[topic("/users/1"), topic("/books/1")]));
        assert!(!matcher.matches_any(&[topic("/users/1"), topic("/users/2")]));
        assert!(!Matcher::All.matches_any(&[]));
    }

    #[test]
    fn refusals_name_the_kind_and_the_reason() {
        let check = |result: Result<Matcher, MatcherError>, expected: &str| {
            assert_eq!(result.unwrap_err().to_string(), expected);
        };
        check(Matcher::exact(""), "a matcher must not be empty");
        check(
            Matcher::selector("a\u{0}"),
            "a matcher must not contain control or format characters, this one contains '\\0'",
        );
        check(
            Matcher::url_pattern(&"x".repeat(MATCHER_LEN_MAX + 1), &hub_url()),
            "a matcher has at most 4096 bytes, this one has 4097",
        );
        check(
            Matcher::selector("/a/{id"),
            "not a URI Template (RFC 6570): the expression that opens at byte 3 is not closed",
        );
        check(
            Matcher::url_pattern("/a/(b", &hub_url()),
            "not a URL Pattern (WHATWG): tokenizer error: invalid regex: missing closing ) (at char 3)",
        );
    }

    #[test]
    fn matchers_are_equal_by_kind_and_text() {
        let matchers: HashSet<_> = [
            Matcher::exact("/a/{b}"),
            Matcher::exact("/a/{b}"),
            Matcher::selector("/a/{b}"),
            Matcher::selector("/a/{b}"),
            Matcher::url_pattern("/a/{b}", &hub_url()),
            Matcher::url_pattern("/a/:b", &hub_url()),
            Matcher::exact("*"),
            Matcher::selector("*"),
        ]
        .into_iter()
        .map(Result::unwrap)
        .collect();
        assert_eq!(matchers.len(), 5);
    }

    proptest! {
        #[test]
        fn any_text_is_judged_without_panic(text in "\\PC{0,80}", topic_text in "\\PC{1,80}") {
            let topic = Topic::parse(&topic_text);
            let matchers = [Matcher::exact(&text), Matcher::selector(&text), Matcher::url_pattern(&text, &hub_url())];
            for matcher in matchers.into_iter().flatten() {
                prop_assert_eq!(matcher.text(), &text);
                if let Ok(topic) = &topic {
                    matcher.matches(topic);
                }
            }
        }
    }
}
