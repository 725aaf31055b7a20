//! What a subscriber asks for: the parameters of both dialects.

use rivulet_core::{LastEventId, Matcher, Partitions};

use crate::{
    auth::Dialect, form::Form, hub::Hub, problem::Problem, problem_kind::ProblemKind, request::Request,
};

/// The most matchers of one subscription: each is a source on its worker and up to one channel in Redis.
pub(crate) const MATCHERS_MAX: usize = 100;

/// Every spelling of the last id's parameter that clients really send.
const LAST_EVENT_ID_NAMES: [&str; 4] = ["lastEventID", "last_event_id", "lastEventId", "Last-Event-ID"];

/// The kinds of matchers that parameters name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MatcherKind {
    /// `topic`, dialect 0.x.
    Selector,
    /// `match` and `match_exact`.
    Exact,
    /// `match_urlpattern`.
    UrlPattern,
}

/// What a subscriber asks for; its matchers are not compiled yet, which costs something and is done only for
/// subscribers that may subscribe.
#[derive(Debug)]
pub(crate) struct Wish<'a> {
    pub(crate) dialect: Dialect,
    selectors: Vec<(MatcherKind, &'a str, &'a str)>,
    /// The last id as it was sent.
    pub(crate) last_event_id: Option<String>,
}

impl<'a> Wish<'a> {
    /// Reads the parameters. Their names choose the dialect.
    pub(crate) fn read(hub: &Hub, request: &Request, form: &'a Form) -> Result<Self, Problem> {
        let mut selectors = Vec::new();
        for (name, value) in form.fields() {
            if let Some(kind) = matcher_kind(name)? {
                if selectors.len() == MATCHERS_MAX {
                    let detail = format!("a subscription has at most {MATCHERS_MAX} matchers");
                    return Err(Problem::new(ProblemKind::MatchersTooMany, detail).at(name));
                }
                selectors.push((kind, name, value));
            }
        }
        let dialect = dialect_of(&selectors)?;
        if !hub.speaks(dialect) {
            return Err(dialect_off(dialect, selectors[0].1));
        }
        let last_event_id = last_event_id(request, form);
        Ok(Self { dialect, selectors, last_event_id })
    }

    /// The compiled matchers, each once.
    pub(crate) fn matchers(&self, hub: &Hub) -> Result<Vec<Matcher>, Problem> {
        let mut matchers: Vec<Matcher> = Vec::with_capacity(self.selectors.len());
        for (kind, name, value) in &self.selectors {
            let matcher = match kind {
                MatcherKind::Selector => Matcher::selector(value),
                MatcherKind::Exact => Matcher::exact(value),
                MatcherKind::UrlPattern => Matcher::url_pattern(value, &hub.config.hub_url),
            }
            .map_err(|error| Problem::new(ProblemKind::MatcherInvalid, error.to_string()).at(*name))?;
            if !matchers.contains(&matcher) {
                matchers.push(matcher);
            }
        }
        Ok(matchers)
    }

    /// The last id, parsed as one of a hub with so many partitions.
    pub(crate) fn resume_after(&self, partitions: Partitions) -> Option<LastEventId> {
        self.last_event_id.as_deref().map(|text| LastEventId::parse(text, partitions))
    }
}

/// The kind of matcher that a parameter names; `None` if it names none.
fn matcher_kind(name: &str) -> Result<Option<MatcherKind>, Problem> {
    match name {
        "topic" => Ok(Some(MatcherKind::Selector)),
        "match" | "match_exact" => Ok(Some(MatcherKind::Exact)),
        "match_urlpattern" => Ok(Some(MatcherKind::UrlPattern)),
        // The whole prefix is reserved, so that a misspelled matcher fails instead of being ignored.
        _ if name.get(..5).is_some_and(|prefix| prefix.eq_ignore_ascii_case("match")) => {
            let detail = "matchers are \"match\", \"match_exact\" and \"match_urlpattern\", in lower case";
            Err(Problem::new(ProblemKind::MatcherUnknown, detail).at(name))
        }
        _ => Ok(None),
    }
}

fn dialect_of(selectors: &[(MatcherKind, &str, &str)]) -> Result<Dialect, Problem> {
    let of = |kind: MatcherKind| if kind == MatcherKind::Selector { Dialect::V0 } else { Dialect::V1 };
    let Some((first, ..)) = selectors.first() else {
        let detail = "say what to subscribe to: \"match\" or \"match_urlpattern\" (1.0), or \"topic\" (0.x)";
        return Err(Problem::new(ProblemKind::MatcherMissing, detail));
    };
    let dialect = of(*first);
    match selectors.iter().find(|(kind, ..)| of(*kind) != dialect) {
        None => Ok(dialect),
        Some((_, name, _)) => {
            let detail = "\"topic\" is of dialect 0.x and \"match…\" of 1.0: use the one or the other";
            Err(Problem::new(ProblemKind::DialectsMixed, detail).at(*name))
        }
    }
}

/// The answer to a parameter of a dialect that is off.
fn dialect_off(dialect: Dialect, name: &str) -> Problem {
    let detail = match dialect {
        Dialect::V0 => "dialect 0.x is off here: use \"match\" or \"match_urlpattern\" instead of \"topic\"",
        Dialect::V1 => "dialect 1.0 is off here: use \"topic\"",
    };
    Problem::new(ProblemKind::DialectOff, detail).at(name)
}

/// The last id: the header, else the first parameter that has a value. An empty one says that nothing was seen yet.
/// Bytes that are not UTF-8 cannot be an id of ours; an id of `\u{FFFD}` is unknown as well.
fn last_event_id(request: &Request, form: &Form) -> Option<String> {
    let header =
        request.headers().get("Last-Event-ID").map(|value| String::from_utf8_lossy(value.as_bytes()));
    if let Some(id) = header.filter(|id| !id.is_empty()) {
        return Some(id.into_owned());
    }
    let named = form.fields().filter(|(name, _)| LAST_EVENT_ID_NAMES.contains(name));
    named.map(|(_, value)| value).find(|value| !value.is_empty()).map(str::to_owned)
}
