//! Refusals: every error of this crate becomes an RFC 9457 problem here, and nowhere else gets its status.
//!
//! A problem's `type` is `urn:rivulet:problem:<slug>`; slugs are part of the interface and do not change.

use std::{
    borrow::Cow,
    fmt,
    time::{Duration, Instant},
};

use actix_web::{
    HttpResponse, ResponseError,
    body::BoxBody,
    http::{
        StatusCode,
        header::{self, HeaderName, HeaderValue},
    },
};
use rivulet_node::{AppendError, SubscribeError, TransportError};
use serde::Serialize;

use crate::{
    auth::{AuthError, Dialect},
    publish::IDEMPOTENCY_KEY,
    rarely::Rarely,
};

/// The media type of problems.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// When a client may come back to a node that is full or stops: another one may take it at once, so soon.
const RETRY_ELSEWHERE: Duration = Duration::from_secs(2);
/// When a client may come back while the transport is away: a failover takes some seconds.
const RETRY_TRANSPORT: Duration = Duration::from_secs(5);

/// Of one node there is one transport, so that all refusals because of it are one story.
static REFUSED: Rarely = Rarely::new();

/// What kind of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProblemKind {
    NotFound,
    MethodNotAllowed,
    EncodingInvalid,
    ParametersTooMany,
    MatcherMissing,
    MatcherInvalid,
    MatcherUnknown,
    MatchersTooMany,
    DialectsMixed,
    DialectOff,
    TopicMissing,
    TopicInvalid,
    TopicsTooMany,
    TopicReserved,
    IdInvalid,
    TypeInvalid,
    TypeReserved,
    RetryInvalid,
    IdempotencyKeyInvalid,
    IdempotencyKeyReused,
    LineInvalid,
    LinesTooMany,
    MediaTypeMissing,
    MediaTypeUnsupported,
    BodyTooLong,
    BodyTimeout,
    BodyBroken,
    ConnectionBusy,
    RateExceeded,
    NodeFull,
    NodeClosing,
    TransportUnavailable,
}

impl ProblemKind {
    /// Slug, title and status.
    const fn facts(self) -> (&'static str, &'static str, u16) {
        match self {
            Self::NotFound => ("not-found", "There is nothing here", 404),
            Self::MethodNotAllowed => ("method-not-allowed", "This method is not served here", 405),
            Self::EncodingInvalid => ("encoding-invalid", "A parameter cannot be decoded", 400),
            Self::ParametersTooMany => ("parameters-too-many", "Too many parameters", 400),
            Self::MatcherMissing => ("matcher-missing", "A subscription needs a matcher", 400),
            Self::MatcherInvalid => ("matcher-invalid", "A matcher is not valid", 400),
            Self::MatcherUnknown => ("matcher-unknown", "There is no such matcher parameter", 400),
            Self::MatchersTooMany => ("matchers-too-many", "Too many matchers", 400),
            Self::DialectsMixed => ("dialects-mixed", "Parameters of two dialects in one request", 400),
            Self::DialectOff => ("dialect-off", "This dialect is not served here", 400),
            Self::TopicMissing => ("topic-missing", "An update needs a topic", 400),
            Self::TopicInvalid => ("topic-invalid", "A topic is not valid", 400),
            Self::TopicsTooMany => ("topics-too-many", "Too many topics", 400),
            Self::TopicReserved => ("topic-reserved", "This topic belongs to the hub", 400),
            Self::IdInvalid => ("id-invalid", "The id is not valid", 400),
            Self::TypeInvalid => ("type-invalid", "The type is not valid", 400),
            Self::TypeReserved => ("type-reserved", "This type belongs to the hub", 400),
            Self::RetryInvalid => ("retry-invalid", "The retry time is not valid", 400),
            Self::IdempotencyKeyInvalid => {
                ("idempotency-key-invalid", "The idempotency key is not valid", 400)
            }
            Self::IdempotencyKeyReused => {
                ("idempotency-key-reused", "The idempotency key was used for another update", 422)
            }
            Self::LineInvalid => ("line-invalid", "A line is not an update", 400),
            Self::LinesTooMany => ("lines-too-many", "Too many lines", 413),
            Self::MediaTypeMissing => ("media-type-missing", "The body needs a Content-Type", 400),
            Self::MediaTypeUnsupported => {
                ("media-type-unsupported", "The body's Content-Type is not supported", 415)
            }
            Self::BodyTooLong => ("body-too-long", "The body is too long", 413),
            Self::BodyTimeout => ("body-timeout", "The body did not arrive in time", 408),
            Self::BodyBroken => ("body-broken", "The body did not arrive completely", 400),
            Self::ConnectionBusy => ("connection-busy", "Earlier answers were not read", 408),
            Self::RateExceeded => ("rate-exceeded", "Too many of these in a short time", 429),
            Self::NodeFull => ("node-full", "This node takes no more connections", 503),
            Self::NodeClosing => ("node-closing", "This node is shutting down", 503),
            Self::TransportUnavailable => ("transport-unavailable", "The hub cannot reach its log", 503),
        }
    }
}

/// A refusal.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    slug: &'static str,
    title: &'static str,
    status: StatusCode,
    detail: Cow<'static, str>,
    parameter: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// The JSON form of a problem (RFC 9457 §3.1); `parameter` is ours.
#[derive(Serialize)]
pub(crate) struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<&'a str>,
}

impl Problem {
    /// A problem; `detail` says what was wrong and what would be right.
    pub(crate) fn new(kind: ProblemKind, detail: impl Into<Cow<'static, str>>) -> Self {
        let (slug, title, status) = kind.facts();
        let status = StatusCode::from_u16(status).expect("the table holds valid statuses");
        Self { slug, title, status, detail: detail.into(), parameter: None, headers: Vec::new() }
    }

    /// Names the parameter that is at fault.
    pub(crate) fn at(mut self, parameter: impl Into<String>) -> Self {
        self.parameter = Some(parameter.into());
        self
    }

    /// The parameter that is at fault.
    #[cfg(test)]
    pub(crate) fn parameter(&self) -> Option<&str> {
        self.parameter.as_deref()
    }

    fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    fn retry_after(self, wait: Duration) -> Self {
        self.with(header::RETRY_AFTER, &wait.as_secs().max(1).to_string())
    }

    /// There is no such path.
    pub(crate) fn not_found() -> Self {
        let detail = "the hub is at /.well-known/mercure; / tells more";
        Self::new(ProblemKind::NotFound, detail)
    }

    /// The path does not have this method; `allow` lists those that it has.
    pub(crate) fn method_not_allowed(allow: &'static str) -> Self {
        Self::new(ProblemKind::MethodNotAllowed, format!("this path serves {allow}"))
            .with(header::ALLOW, allow)
    }

    /// The topic is in the hub's own namespace: 403 in dialect 0.x, 400 in 1.0.
    pub(crate) fn topic_reserved(dialect: Dialect, topic: &str) -> Self {
        let detail = format!("{topic:?} is in the hub's own namespace; nobody can publish there");
        let mut problem = Self::new(ProblemKind::TopicReserved, detail).at("topic");
        if dialect == Dialect::V0 {
            problem.status = StatusCode::FORBIDDEN;
        }
        problem
    }

    /// The request is not authorized; `metadata_url` is the address of the RFC 9728 document.
    pub(crate) fn unauthorized(error: &AuthError, metadata_url: Option<&str>) -> Self {
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::UNAUTHORIZED);
        let title = match status {
            StatusCode::SERVICE_UNAVAILABLE => "The token cannot be checked now",
            StatusCode::FORBIDDEN => "The token does not allow this",
            _ => "The request is not authorized",
        };
        let mut problem = Self {
            slug: error.check().slug(),
            title,
            status,
            detail: error.detail().to_owned().into(),
            parameter: None,
            headers: Vec::new(),
        };
        let metadata_url = metadata_url.filter(|_| error.dialect() == Dialect::V1);
        if let Some(challenge) = error.challenge(metadata_url) {
            problem = problem.with(header::WWW_AUTHENTICATE, &challenge);
        }
        match error.retry_after() {
            Some(wait) => problem.retry_after(wait),
            None => problem,
        }
    }

    /// The problem's JSON form.
    pub(crate) fn document(&self) -> Document<'_> {
        Document {
            r#type: format!("urn:rivulet:problem:{}", self.slug),
            title: self.title,
            status: self.status.as_u16(),
            detail: &self.detail,
            parameter: self.parameter.as_deref(),
        }
    }
}

impl From<TransportError> for Problem {
    fn from(error: TransportError) -> Self {
        // The reason may name machines: it is for the log only.
        if let Some(unsaid) = REFUSED.say(Instant::now()) {
            tracing::warn!(
                error = %error,
                unsaid,
                "a request was refused because the transport is unavailable"
            );
        }
        // An append that timed out may have been done: the publisher must know that it cannot know.
        let detail = "nothing was opened, and whether an update was published is not certain; try again";
        Self::new(ProblemKind::TransportUnavailable, detail).retry_after(RETRY_TRANSPORT)
    }
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::KeyReused => {
                let detail =
                    "a repeat has the same key and the same content; another update needs a key of its own";
                Self::new(ProblemKind::IdempotencyKeyReused, detail).at(IDEMPOTENCY_KEY)
            }
            AppendError::Refused(refused) => Self::new(ProblemKind::RateExceeded, refused.to_string()),
            AppendError::Transport(error) => error.into(),
        }
    }
}

impl From<SubscribeError> for Problem {
    fn from(error: SubscribeError) -> Self {
        match error {
            SubscribeError::NodeFull | SubscribeError::MemoryTight | SubscribeError::ReplaysBusy => {
                Self::new(ProblemKind::NodeFull, "try again, another node may have room")
                    .retry_after(RETRY_ELSEWHERE)
            }
            SubscribeError::Closing | SubscribeError::Kicked => {
                Self::new(ProblemKind::NodeClosing, "try again, another node will answer")
                    .retry_after(RETRY_ELSEWHERE)
            }
            SubscribeError::Transport(error) => error.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.title, self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let mut response = HttpResponse::build(self.status);
        response.insert_header((header::CONTENT_TYPE, PROBLEM_JSON));
        response.insert_header((header::CACHE_CONTROL, "no-store"));
        for (name, value) in &self.headers {
            response.insert_header((name.clone(), value.clone()));
        }
        if self.status == StatusCode::REQUEST_TIMEOUT {
            // RFC 9110 §15.5.9: the rest of the request may still be under way.
            response.force_close();
        }
        response
            .body(serde_json::to_vec(&self.document()).expect("a document of strings and numbers serializes"))
    }
}
