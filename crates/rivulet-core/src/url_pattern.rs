//! WHATWG URL Patterns.
//!
//! The crate `urlpattern` parses them. What it makes is taken apart here, because it compiles each component twice, keeps
//! what only captures need, and copies the topic's URL for every match. Patterns run in linear time: `regex` is the engine.
//! Measured for `/users/7/books/:id`: 12 µs to build, 0.5 KB; with two names, for which it takes a regular expression,
//! 31 µs and 7 to 10 KB.

use std::{cell::OnceCell, sync::Arc};

use regex::bytes::{Regex, RegexBuilder};
use url::Url;
use urlpattern::{
    UrlPatternInit, UrlPatternOptions, component::Component, matcher::InnerMatcher, parser::RegexSyntax,
    regexp::RegExp,
};

use crate::{Topic, text::strip, topic_url::check_resolved, url_pattern_brackets};

/// The largest compiled form of one component, in bytes.
const COMPILED_LEN_MAX: usize = 128 * 1024;

/// The most groups (`:name`, `*`, `{…}`, `(…)`) of a pattern, counted as the characters that may begin one. Parsing a
/// pattern of 4 KB that consists of them took 7 ms, and a subscription may have a hundred.
pub const GROUPS_MAX: usize = 100;

/// A URL Pattern, compiled once.
#[derive(Debug)]
pub struct UrlPattern {
    text: Box<str>,
    hub_url: Arc<Url>,
    /// The components that do not match everything; those that refuse most stand first.
    parts: Box<[Part]>,
}

/// Why a text is not a URL Pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Its syntax is wrong.
    #[error("{0}")]
    Syntax(String),
    /// One of its regular expressions is wrong, or cannot be matched in linear time (look-around, back references).
    #[error("the regular expression of its {component} is wrong or cannot be matched in linear time")]
    Regex {
        /// The component, in the words of the URL Pattern Standard.
        component: &'static str,
    },
    /// It has more than [`GROUPS_MAX`] groups.
    #[error("a URL Pattern has at most {GROUPS_MAX} of the characters \":*{{(\", this one has {0}")]
    TooManyGroups(usize),
    /// A `]` before its path closes nothing.
    #[error("a \"]\" before its path closes nothing")]
    Bracket,
    /// One of its components would need too much memory.
    #[error(
        "its {component} is too complex: its compiled form would need more than {COMPILED_LEN_MAX} bytes"
    )]
    TooComplex {
        /// The component, in the words of the URL Pattern Standard.
        component: &'static str,
    },
}

impl UrlPattern {
    /// Parses and compiles a pattern; a relative one is resolved against `hub_url`.
    ///
    /// # Errors
    ///
    /// See [`PatternError`].
    pub fn parse(text: &str, hub_url: &Url) -> Result<Self, PatternError> {
        let groups_count = text.bytes().filter(|byte| b":*{(".contains(byte)).count();
        if groups_count > GROUPS_MAX {
            return Err(PatternError::TooManyGroups(groups_count));
        }
        if url_pattern_brackets::close_nothing(text) {
            return Err(PatternError::Bracket);
        }
        let syntax = |error: urlpattern::Error| PatternError::Syntax(error.to_string());
        let init = UrlPatternInit::parse_constructor_string::<LazyRegex>(text, Some(hub_url.clone()));
        let pattern =
            urlpattern::UrlPattern::<LazyRegex>::parse(init.map_err(syntax)?, UrlPatternOptions::default())
                .map_err(syntax)?;
        let mut parts = Vec::new();
        for (field, component) in [
            (Field::Pathname, pattern.pathname),
            (Field::Hostname, pattern.hostname),
            (Field::Protocol, pattern.protocol),
            (Field::Port, pattern.port),
            (Field::Search, pattern.search),
            (Field::Hash, pattern.hash),
            (Field::Username, pattern.username),
            (Field::Password, pattern.password),
        ] {
            parts.extend(Part::compile(field, component)?);
        }
        Ok(Self { text: text.into(), hub_url: Arc::new(hub_url.clone()), parts: parts.into() })
    }

    /// Whether it matches the topic, resolved against the hub's URL. A topic that is no URL does not match.
    pub fn matches(&self, topic: &Topic) -> bool {
        check_resolved(topic, &self.hub_url, |url| self.parts.iter().all(|part| part.matches(url)))
    }

    /// The pattern's text.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// A component of a URL.
#[derive(Clone, Copy, Debug)]
enum Field {
    Protocol,
    Username,
    Password,
    Hostname,
    Port,
    Pathname,
    Search,
    Hash,
}

impl Field {
    fn name(self) -> &'static str {
        match self {
            Self::Protocol => "protocol",
            Self::Username => "username",
            Self::Password => "password",
            Self::Hostname => "hostname",
            Self::Port => "port",
            Self::Pathname => "pathname",
            Self::Search => "search",
            Self::Hash => "hash",
        }
    }

    /// What the component is in `url`, without the characters that delimit it.
    fn of(self, url: &Url) -> &str {
        match self {
            Self::Protocol => url.scheme(),
            Self::Username => url.username(),
            Self::Password => url.password().unwrap_or_default(),
            Self::Hostname => url.host_str().unwrap_or_default(),
            Self::Port => url::quirks::port(url),
            Self::Pathname => url.path(),
            Self::Search => url.query().unwrap_or_default(),
            Self::Hash => url.fragment().unwrap_or_default(),
        }
    }
}

/// What one component of the URL must look like: `prefix`, then `inner`, then `suffix`.
#[derive(Debug)]
struct Part {
    field: Field,
    prefix: Box<str>,
    inner: Inner,
    suffix: Box<str>,
}

#[derive(Debug)]
enum Inner {
    Literal(Box<str>),
    /// Anything, but not nothing unless allowed, and without the barred character: `*` and `:name`.
    Capture {
        barred: Option<char>,
        allow_empty: bool,
    },
    Regex(Regex),
}

impl Part {
    /// `None` if the component matches everything.
    fn compile(field: Field, component: Component<LazyRegex>) -> Result<Option<Self>, PatternError> {
        let matcher = component.matcher;
        let inner = match matcher.inner {
            InnerMatcher::Literal { literal } => Inner::Literal(literal.into()),
            InnerMatcher::SingleCapture { filter: None, allow_empty: true }
                if matcher.prefix.is_empty() && matcher.suffix.is_empty() =>
            {
                return Ok(None);
            }
            InnerMatcher::SingleCapture { filter, allow_empty } => {
                Inner::Capture { barred: filter, allow_empty }
            }
            InnerMatcher::RegExp { regexp } => {
                let component = field.name();
                let lazy = regexp.map_err(|error| PatternError::Syntax(error.to_string()))?;
                Inner::Regex(lazy.compile().map_err(|error| match error {
                    regex::Error::CompiledTooBig(_) => PatternError::TooComplex { component },
                    _ => PatternError::Regex { component },
                })?)
            }
        };
        Ok(Some(Self { field, prefix: matcher.prefix.into(), inner, suffix: matcher.suffix.into() }))
    }

    fn matches(&self, url: &Url) -> bool {
        strip(self.field.of(url), &self.prefix, &self.suffix).is_some_and(|middle| match &self.inner {
            Inner::Literal(literal) => middle.len() == literal.len() && strip(middle, literal, "").is_some(),
            Inner::Capture { barred, allow_empty } => {
                (*allow_empty || !middle.is_empty()) && !barred.is_some_and(|barred| middle.contains(barred))
            }
            Inner::Regex(regex) => regex.is_match(middle.as_bytes()),
        })
    }
}

/// A regular expression that is compiled when it is needed: of the sixteen that `urlpattern` makes for a pattern, most
/// are never used.
#[derive(Debug)]
struct LazyRegex {
    text: String,
    compiled: OnceCell<Option<Regex>>,
}

impl LazyRegex {
    /// The components of a parsed URL are ASCII, so Unicode classes only cost: without them `[^/]+` is a fifth of the
    /// size. Expressions that insist on them (`\p{L}`) get them.
    fn compile(&self) -> Result<Regex, regex::Error> {
        let with = |unicode| {
            RegexBuilder::new(&self.text)
                .unicode(unicode)
                .size_limit(COMPILED_LEN_MAX)
                .dfa_size_limit(COMPILED_LEN_MAX)
                .build()
        };
        match with(false) {
            Err(regex::Error::Syntax(_)) => with(true),
            done => done,
        }
    }
}

impl RegExp for LazyRegex {
    fn syntax() -> RegexSyntax {
        RegexSyntax::Rust
    }

    fn parse(pattern: &str, _flags: &str, _force_eval: bool) -> Result<Self, ()> {
        Ok(Self { text: pattern.to_owned(), compiled: OnceCell::new() })
    }

    /// Only `urlpattern` itself asks, when it looks whether a pattern's protocol may be a special scheme.
    fn matches<'a>(&self, text: &'a str) -> Option<Vec<Option<&'a str>>> {
        let regex = self.compiled.get_or_init(|| self.compile().ok()).as_ref()?;
        regex.is_match(text.as_bytes()).then(Vec::new)
    }

    fn pattern_string(&self) -> &str {
        &self.text
    }
}
