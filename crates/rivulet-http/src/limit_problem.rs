//! Refusals because of a limit: each says which one, its value, whose it is, and when to come back.

use std::{
    fmt,
    time::{Duration, Instant},
};

use actix_web::http::header::HeaderName;
use rivulet_node::{AdmitError, Limit, Node, Pace, Refused, Scope, SubscribeError, Wanted};
use serde::Serialize;

use crate::{
    auth::{AuthError, Dialect, quoted},
    bodies::BodiesBusy,
    problem::Problem,
    problem_kind::ProblemKind,
    rarely::Rarely,
    retry::{self, RETRY_TRANSPORT},
};

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// When a body may come again: others are handed over within milliseconds.
const RETRY_BODY: Duration = Duration::from_secs(1);

/// A limit of the hub refuses many or nobody: each is a story of its own in the log.
static REFUSED: [Rarely; Limit::ALL.len()] = [const { Rarely::new() }; Limit::ALL.len()];
static AWAY: Rarely = Rarely::new();
static CROWDED: Rarely = Rarely::new();
static FULL: Rarely = Rarely::new();
static TIGHT: Rarely = Rarely::new();
static BODIES: Rarely = Rarely::new();
static BODIES_OF_SUBJECT: Rarely = Rarely::new();

/// A limit as a problem tells it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LimitFacts {
    /// The limit of the hub that it is; `None`: one of this node.
    #[serde(skip)]
    pub(crate) of_hub: Option<Limit>,
    limit: &'static str,
    /// How many at the same time, or per period.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<u64>,
    scope: ScopeFacts,
    /// Of rates, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    period: Option<u64>,
    /// Of rates: how many at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    burst: Option<u32>,
    /// Among how many nodes it is divided, while the hub cannot count.
    #[serde(skip_serializing_if = "Option::is_none")]
    nodes: Option<u32>,
}

/// Whose limit it is. The text is the asker's own: its subject, its address, a topic that it has named.
#[derive(Clone, Debug, Serialize)]
struct ScopeFacts {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

impl ScopeFacts {
    const NODE: Self = Self { kind: "node", text: None };

    fn of(limit: Limit, scope: &Scope) -> Self {
        let kind = match limit {
            Limit::ConnectionsTotal => return Self { kind: "hub", text: None },
            Limit::ConnectionsPerSubject | Limit::SubscribesPerSubject | Limit::PublishesPerSubject => {
                "subject"
            }
            Limit::ConnectionsPerIp | Limit::SubscribesPerIp => "ip",
            Limit::ConnectionsPerTopic | Limit::PublishesPerTopic => "topic",
        };
        Self { kind, text: Some(scope.as_str().to_owned()) }
    }
}

impl fmt::Display for ScopeFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => write!(f, "the {} {}", self.kind, quoted(text)),
            None => write!(f, "the {}", self.kind),
        }
    }
}

impl LimitFacts {
    fn new(limit: Limit, scope: &Scope, max: u32, pace: Option<Pace>) -> Self {
        Self {
            of_hub: Some(limit),
            limit: limit.as_str(),
            value: Some(max.into()),
            scope: ScopeFacts::of(limit, scope),
            period: pace.map(|pace| retry::secs(pace.period)),
            burst: pace.map(|pace| pace.burst),
            nodes: None,
        }
    }

    pub(crate) fn of_node(limit: &'static str, value: usize) -> Self {
        Self { value: Some(value as u64), ..Self::unvalued(limit) }
    }

    /// A limit of the node whose value it does not know.
    fn unvalued(limit: &'static str) -> Self {
        let scope = ScopeFacts::NODE;
        Self { of_hub: None, limit, value: None, scope, period: None, burst: None, nodes: None }
    }
}

/// A quota or a rate does not let it through.
pub(crate) fn refused(refused: &Refused) -> Problem {
    let Refused { limit, scope, max, pace, nodes, retry_after } = refused;
    let is_divided = *nodes > 1;
    let facts =
        LimitFacts { nodes: is_divided.then_some(*nodes), ..LimitFacts::new(*limit, scope, *max, *pace) };
    let divided = if is_divided {
        format!(", divided among {nodes} nodes while the hub cannot count")
    } else {
        String::new()
    };
    if let Some(unsaid) = REFUSED[*limit as usize].say(Instant::now()) {
        tracing::info!(limit = %limit, max, nodes, scope = scope.as_str(), unsaid, "a limit of the hub refuses");
    }
    let whose = &facts.scope;
    match pace {
        None => {
            // Whoever is refused together should not come back together.
            let wait = retry::spread(*retry_after, *retry_after / 4);
            let as_many = if is_divided { "this node's share" } else { "as many" };
            let detail = format!(
                "{limit} is {max}{divided}, and {whose} holds {as_many}: one has to end first; try again in {} s",
                retry::secs(wait)
            );
            Problem::new(ProblemKind::QuotaExceeded, detail).retry_after(wait).because_of(facts)
        }
        Some(Pace { count, period, burst }) => {
            let (name, window, left) =
                (limit.as_str(), retry::secs(*period * *nodes), retry::secs(*retry_after));
            let that = if is_divided { "this node's share" } else { "that" };
            let detail = format!(
                "{limit} is {count} per {} s, at most {burst} at once{divided}, and {whose} has used {that} up; try again in \
                 {left} s",
                period.as_secs_f64(),
            );
            Problem::new(ProblemKind::RateExceeded, detail)
                .retry_after(*retry_after)
                .because_of(facts)
                .with(RATE_LIMIT_POLICY, &format!("\"{name}\";q={count};w={window}"))
                .with(RATE_LIMIT, &format!("\"{name}\";r=0;t={left}"))
        }
    }
}

/// A connection was not admitted; `wanted` is what it asked for.
pub(crate) fn not_admitted(error: AdmitError, wanted: impl FnOnce() -> Wanted) -> Problem {
    let (limit, error) = match error {
        AdmitError::Refused(reason) => return refused(&reason),
        AdmitError::Busy(max) => return admissions_busy(max),
        AdmitError::Away { limit, error } => (limit, error),
    };
    if let Some(unsaid) = AWAY.say(Instant::now()) {
        tracing::warn!(limit = %limit, error = %error, unsaid, "a limit that cannot be counted lets nobody through");
    }
    let wait = retry::spread(RETRY_TRANSPORT, RETRY_TRANSPORT);
    let again = retry::secs(wait);
    let Wanted { quotas, rates } = wanted();
    let quotas = quotas.iter().map(|quota| (quota.limit, &quota.scope, quota.max, None));
    let rates = rates.iter().map(|rate| (rate.limit, &rate.scope, rate.pace.count, Some(rate.pace)));
    let facts = quotas.chain(rates).find(|(asked, ..)| *asked == limit);
    match facts.map(|(limit, scope, max, pace)| LimitFacts::new(limit, scope, max, pace)) {
        Some(facts) => {
            let detail = format!(
                "{limit} is {} for {}, and lets nobody through while the hub cannot count; try again in {again} s",
                facts.value.unwrap_or_default(),
                facts.scope
            );
            Problem::new(ProblemKind::LimitsAway, detail).retry_after(wait).because_of(facts)
        }
        None => {
            let detail =
                format!("{limit} lets nobody through while the hub cannot count; try again in {again} s");
            Problem::new(ProblemKind::LimitsAway, detail).retry_after(wait)
        }
    }
}

/// More come than are counted. All nodes count in the same place, so another one is no better.
fn admissions_busy(max: usize) -> Problem {
    if let Some(unsaid) = CROWDED.say(Instant::now()) {
        tracing::warn!(max, unsaid, "more subscribers come to this node than Redis counts");
    }
    let wait = retry::spread(RETRY_TRANSPORT, RETRY_TRANSPORT);
    let detail = format!(
        "more subscribers come than the hub counts: at most {max} wait for that on this node, and not for long; try again in \
         {} s",
        retry::secs(wait)
    );
    let facts = LimitFacts::of_node("node_admissions", max);
    Problem::new(ProblemKind::AdmissionsBusy, detail).retry_after(wait).because_of(facts)
}

/// A subscriber was not seated.
pub(crate) fn not_seated(node: &Node, error: SubscribeError) -> Problem {
    let wait = retry::elsewhere();
    let again = format!("try again in {} s, another node may take it at once", retry::secs(wait));
    let (kind, detail) = match error {
        SubscribeError::NodeFull => {
            let max = node.connections_max();
            if let Some(unsaid) = FULL.say(Instant::now()) {
                tracing::warn!(connections_max = max, unsaid, "this node is full and refuses subscribers");
            }
            let detail = format!("this node holds at most {max} connections, and does; {again}");
            let facts = LimitFacts::of_node("node_connections", max);
            return Problem::new(ProblemKind::NodeFull, detail).retry_after(wait).because_of(facts);
        }
        SubscribeError::MemoryTight => return memory_tight(node),
        SubscribeError::ReplaysBusy => {
            let max = node.replays_max();
            let detail =
                format!("at most {max} subscribers read what they missed on this node, and do; {again}");
            let facts = LimitFacts::of_node("node_replays", max);
            return Problem::new(ProblemKind::ReplaysBusy, detail).retry_after(wait).because_of(facts);
        }
        SubscribeError::Kicked => (ProblemKind::Kicked, "the connection was ended before its stream began"),
        // Where the token's dialect is known, its challenge says more; the status is the same in both.
        SubscribeError::TokenExpired => {
            return Problem::unauthorized(&AuthError::token_expired(Dialect::V1), None);
        }
        SubscribeError::Closing => (ProblemKind::NodeClosing, "this node takes no new subscribers"),
        SubscribeError::Transport(error) => return error.into(),
    };
    Problem::new(kind, format!("{detail}; {again}")).retry_after(wait)
}

/// This node is short of memory.
pub(crate) fn memory_tight(node: &Node) -> Problem {
    if let Some(unsaid) = TIGHT.say(Instant::now()) {
        tracing::warn!(unsaid, "this node is short of memory and refuses subscribers and large bodies");
    }
    let wait = retry::elsewhere();
    let max = node.memory_max();
    let of = max.map_or_else(String::new, |max| format!(" of its {max} bytes"));
    let detail = format!(
        "this node is short of memory and takes neither subscribers nor large bodies until it has some{of} again; try \
         again in {} s, another node may take it at once",
        retry::secs(wait)
    );
    let facts = LimitFacts { value: max, ..LimitFacts::unvalued("node_memory_bytes") };
    Problem::new(ProblemKind::MemoryTight, detail).retry_after(wait).because_of(facts)
}

/// The bodies that are under way, or those of a subject, hold as much memory as they may.
pub(crate) fn bodies_busy(busy: BodiesBusy, subject: &str) -> Problem {
    let again = format!(
        "and this one would exceed that; nothing was published, try again in {} s",
        retry::secs(RETRY_BODY)
    );
    let (kind, facts, detail) = match busy {
        BodiesBusy::All(max) => {
            if let Some(unsaid) = BODIES.say(Instant::now()) {
                tracing::warn!(
                    max,
                    unsaid,
                    "the bodies under way hold as much memory as they may: one was refused"
                );
            }
            let detail = format!(
                "the bodies of all publications under way on this node hold at most {max} bytes, {again}"
            );
            (ProblemKind::BodiesBusy, LimitFacts::of_node("bodies_in_flight_bytes", max), detail)
        }
        BodiesBusy::OfSubject(max) => {
            if let Some(unsaid) = BODIES_OF_SUBJECT.say(Instant::now()) {
                tracing::info!(
                    max,
                    subject,
                    unsaid,
                    "the bodies of a subject hold their share of memory: one was refused"
                );
            }
            let scope = ScopeFacts { kind: "subject", text: Some(subject.to_owned()) };
            let detail = format!(
                "the bodies that {scope} has under way on this node hold at most {max} bytes now, half of what others \
                 leave, {again}"
            );
            let facts =
                LimitFacts { scope, ..LimitFacts::of_node("bodies_in_flight_bytes_per_subject", max) };
            (ProblemKind::BodiesTooMany, facts, detail)
        }
    };
    Problem::new(kind, detail).retry_after(RETRY_BODY).because_of(facts)
}

#[cfg(test)]
mod tests {
    use actix_web::ResponseError as _;
    use rivulet_node::{MemoryTransport, NodeConfig, Retention, TransportError};
    use serde_json::{Value, json};

    use super::*;

    fn document(problem: &Problem) -> Value {
        serde_json::to_value(problem.document()).unwrap()
    }

    #[test]
    fn a_share_of_a_limit_is_not_told_as_the_whole() {
        let (limit, scope) = (Limit::ConnectionsPerSubject, Scope::new("sub:a"));
        let of = |nodes| Refused {
            limit,
            scope: scope.clone(),
            max: 10,
            pace: None,
            nodes,
            retry_after: Duration::from_secs(15),
        };
        let whole = document(&refused(&of(1)));
        assert_eq!((&whole["value"], &whole["nodes"]), (&json!(10), &Value::Null));
        let detail = whole["detail"].as_str().unwrap();
        assert!(detail.contains("is 10, and the subject \"sub:a\" holds as many: one has"), "{detail}");
        let share = document(&refused(&of(2)));
        assert_eq!((&share["value"], &share["nodes"]), (&json!(10), &json!(2)));
        let detail = share["detail"].as_str().unwrap();
        let said = "is 10, divided among 2 nodes while the hub cannot count, and the subject \"sub:a\" holds this \
                    node's share: one has";
        assert!(detail.contains(said), "{detail}");

        let pace = Some(Pace { count: 6, period: Duration::from_secs(60), burst: 6 });
        let problem = refused(&Refused { limit: Limit::SubscribesPerSubject, pace, ..of(3) });
        let detail = document(&problem)["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("divided among 3 nodes while the hub cannot count"), "{detail}");
        let response = problem.error_response();
        let policy = response.headers().get(RATE_LIMIT_POLICY).unwrap().to_str().unwrap();
        assert_eq!(policy, "\"subscribes_per_subject\";q=6;w=180");
    }

    #[test]
    fn admissions_that_nobody_can_wait_for_are_not_blamed_on_a_limit_of_the_hub() {
        let document = document(&not_admitted(AdmitError::Busy(4544), Wanted::default));
        assert_eq!(document["type"], "urn:rivulet:problem:admissions-busy");
        let members = ["status", "limit", "value", "scope"].map(|member| document[member].clone());
        assert_eq!(members, [json!(503), json!("node_admissions"), json!(4544), json!({"kind": "node"})]);
    }

    #[tokio::test]
    async fn a_subscriber_that_is_not_seated_is_told_why_and_when_to_come_back() {
        let (transport, feed) = MemoryTransport::start(Retention::default());
        let node = Node::start(
            transport,
            feed,
            NodeConfig { connections_max: 7, memory_max: Some(1 << 30), ..NodeConfig::default() },
        );
        for (error, slug, waits, value) in [
            (SubscribeError::NodeFull, "node-full", 2..=5, json!(7)),
            (SubscribeError::Closing, "node-closing", 2..=5, Value::Null),
            (SubscribeError::MemoryTight, "memory-tight", 2..=5, json!(1 << 30)),
            (SubscribeError::ReplaysBusy, "replays-busy", 2..=5, json!(10_000)),
            (SubscribeError::Kicked, "kicked", 2..=5, Value::Null),
            (TransportError::new("10.0.0.9 is away").into(), "transport-unavailable", 4..=8, Value::Null),
        ] {
            let problem = not_seated(&node, error);
            let document = document(&problem);
            assert_eq!(document["type"], format!("urn:rivulet:problem:{slug}"));
            assert_eq!((&document["status"], &document["value"]), (&json!(503), &value), "{slug}");
            let after = document["retry_after"].as_u64().unwrap();
            assert!(waits.contains(&after), "{slug}: {after}");
            let response = problem.error_response();
            assert_eq!(response.headers().get("retry-after").unwrap(), after.to_string().as_str());
            assert!(!document.to_string().contains("10.0.0.9"), "{document}");
        }
        node.shutdown().await;
    }
}
