//! The kinds of refusals: slug, title and status of each. Slugs are part of the interface and do not change.

macro_rules! kinds {
    ($($kind:ident = $slug:literal, $title:literal, $status:literal;)*) => {
        /// What kind of refusal.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum ProblemKind {
            $($kind,)*
        }

        impl ProblemKind {
            /// All kinds, in the order of their counters.
            pub(crate) const ALL: &[Self] = &[$(Self::$kind),*];

            pub(crate) const fn slug(self) -> &'static str {
                match self { $(Self::$kind => $slug,)* }
            }

            pub(crate) const fn title(self) -> &'static str {
                match self { $(Self::$kind => $title,)* }
            }

            pub(crate) const fn status(self) -> u16 {
                match self { $(Self::$kind => $status,)* }
            }
        }
    };
}

kinds! {
    NotFound = "not-found", "There is nothing here", 404;
    MethodNotAllowed = "method-not-allowed", "This method is not served here", 405;
    EncodingInvalid = "encoding-invalid", "A parameter cannot be decoded", 400;
    ParametersTooMany = "parameters-too-many", "Too many parameters", 400;
    MatcherMissing = "matcher-missing", "A subscription needs a matcher", 400;
    MatcherInvalid = "matcher-invalid", "A matcher is not valid", 400;
    MatcherUnknown = "matcher-unknown", "There is no such matcher parameter", 400;
    MatchersTooMany = "matchers-too-many", "Too many matchers", 400;
    DialectsMixed = "dialects-mixed", "Parameters of two dialects in one request", 400;
    DialectOff = "dialect-off", "This dialect is not served here", 400;
    TopicMissing = "topic-missing", "An update needs a topic", 400;
    TopicInvalid = "topic-invalid", "A topic is not valid", 400;
    TopicsTooMany = "topics-too-many", "Too many topics", 400;
    TopicReserved = "topic-reserved", "This topic belongs to the hub", 400;
    IdInvalid = "id-invalid", "The id is not valid", 400;
    TypeInvalid = "type-invalid", "The type is not valid", 400;
    TypeReserved = "type-reserved", "This type belongs to the hub", 400;
    RetryInvalid = "retry-invalid", "The retry time is not valid", 400;
    IdempotencyKeyInvalid = "idempotency-key-invalid", "The idempotency key is not valid", 400;
    IdempotencyKeyReused =
        "idempotency-key-reused", "The idempotency key was used for another update", 422;
    LineInvalid = "line-invalid", "A line is not an update", 400;
    LinesTooMany = "lines-too-many", "Too many lines", 413;
    MediaTypeMissing = "media-type-missing", "The body needs a Content-Type", 400;
    MediaTypeUnsupported =
        "media-type-unsupported", "The body's Content-Type is not supported", 415;
    BodyTooLong = "body-too-long", "The body is too long", 413;
    BodyTimeout = "body-timeout", "The body did not arrive in time", 408;
    BodyBroken = "body-broken", "The body did not arrive completely", 400;
    ConnectionBusy = "connection-busy", "Earlier answers were not read", 408;
    QuotaExceeded = "quota-exceeded", "Too many connections at the same time", 429;
    RateExceeded = "rate-exceeded", "Too many of these in a short time", 429;
    LimitsAway = "limits-away", "The hub cannot count its limits now", 503;
    AdmissionsBusy = "admissions-busy", "More subscribers come than are counted", 503;
    NodeFull = "node-full", "This node takes no more connections", 503;
    NodeClosing = "node-closing", "This node is shutting down", 503;
    NodeBusy = "node-busy", "This node has too many requests under way", 503;
    MemoryTight = "memory-tight", "This node is short of memory", 503;
    ReplaysBusy = "replays-busy", "This node is busy with replays", 503;
    Kicked = "kicked", "This connection was ended before its stream began", 503;
    BodiesBusy = "bodies-busy", "This node is busy with publications", 503;
    BodiesTooMany = "bodies-too-many", "Too much of one publisher is under way", 429;
    TransportUnavailable = "transport-unavailable", "The hub cannot reach its log", 503;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Check;

    #[test]
    fn every_kind_has_a_slug_of_its_own() {
        let kinds = ProblemKind::ALL.iter().map(|kind| kind.slug());
        let mut slugs: Vec<&str> = kinds.chain(Check::ALL.iter().map(|check| check.slug())).collect();
        assert!(slugs.iter().all(|slug| slug.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')));
        let count = slugs.len();
        slugs.sort_unstable();
        slugs.dedup();
        assert_eq!(slugs.len(), count);
    }

    #[test]
    fn what_the_hub_is_to_blame_for_is_alerted_as_such() {
        const RULES: &str = include_str!("../../../k8s/monitoring/rules.yaml");
        let listed = |with: &str| {
            let (_, rest) =
                RULES.split_once(&format!("rivulet_refusals_total{{problem{with}\"")).expect("a rule");
            let (problems, _) = rest.split_once('"').expect("its end");
            problems.split('|').collect::<Vec<_>>()
        };
        let (unavailable, not_of_clients) = (listed("=~"), listed("!~"));
        let of_hub = ProblemKind::ALL.iter().filter(|kind| kind.status() == 503);
        // Every drain has some, and somebody has ended those.
        for kind in of_hub.filter(|kind| ![ProblemKind::NodeClosing, ProblemKind::Kicked].contains(kind)) {
            let slug = kind.slug();
            assert!(unavailable.contains(&slug), "{slug}");
            let is_left_out = not_of_clients.contains(&slug) || slug.starts_with("node-");
            assert!(is_left_out, "{slug}");
        }
    }
}
