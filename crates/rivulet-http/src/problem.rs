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
use rivulet_node::{AppendError, Limit, TransportError};
use serde::Serialize;

use crate::{
    auth::{AuthError, Check, Dialect},
    limit_problem::{self, LimitFacts},
    problem_kind::ProblemKind,
    publish::IDEMPOTENCY_KEY,
    rarely::Rarely,
    retry::{self, RETRY_TRANSPORT},
};

/// The media type of problems.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// Of one node there is one transport, so that all refusals because of it are one story.
static REFUSED: Rarely = Rarely::new();

/// What a refusal is counted as: its slug belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Kind(ProblemKind),
    /// A check of the token.
    Token(Check),
}

impl Cause {
    pub(crate) fn slug(self) -> &'static str {
        match self {
            Self::Kind(kind) => kind.slug(),
            Self::Token(check) => check.slug(),
        }
    }
}

/// A refusal.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    cause: Cause,
    title: &'static str,
    status: StatusCode,
    detail: Cow<'static, str>,
    parameter: Option<String>,
    /// In seconds.
    retry_after: Option<u64>,
    limit: Option<Box<LimitFacts>>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// The JSON form of a problem (RFC 9457 §3.1); `parameter`, `retry_after` and the members of limits are ours.
#[derive(Serialize)]
pub(crate) struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    limit: Option<&'a LimitFacts>,
}

impl Problem {
    /// A problem; `detail` says what was wrong and what would be right.
    pub(crate) fn new(kind: ProblemKind, detail: impl Into<Cow<'static, str>>) -> Self {
        let status = StatusCode::from_u16(kind.status()).expect("the table holds valid statuses");
        Self::of(Cause::Kind(kind), kind.title(), status, detail.into())
    }

    fn of(cause: Cause, title: &'static str, status: StatusCode, detail: Cow<'static, str>) -> Self {
        Self {
            cause,
            title,
            status,
            detail,
            parameter: None,
            retry_after: None,
            limit: None,
            headers: Vec::new(),
        }
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

    /// Names the limit that is reached.
    pub(crate) fn because_of(mut self, limit: LimitFacts) -> Self {
        self.limit = Some(Box::new(limit));
        self
    }

    /// What it is counted as.
    pub(crate) fn cause(&self) -> Cause {
        self.cause
    }

    /// The limit of the hub that is reached.
    pub(crate) fn limit(&self) -> Option<Limit> {
        self.limit.as_ref().and_then(|limit| limit.of_hub)
    }

    pub(crate) fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    /// Says when to come back.
    pub(crate) fn retry_after(mut self, wait: Duration) -> Self {
        let secs = retry::secs(wait);
        self.retry_after = Some(secs);
        self.with(header::RETRY_AFTER, &secs.to_string())
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

    /// A worker of this node has as many connections in a request, or between two, as it may have.
    pub(crate) fn node_busy(requests_max: usize) -> Self {
        let detail = format!(
            "each worker of this node answers {requests_max} connections at a time, streams not counted; try again, \
             another node may have room"
        );
        let facts = LimitFacts::of_node("worker_requests", requests_max);
        Self::new(ProblemKind::NodeBusy, detail).retry_after(retry::elsewhere()).because_of(facts)
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
        let mut problem =
            Self::of(Cause::Token(error.check()), title, status, error.detail().to_owned().into());
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
            r#type: format!("urn:rivulet:problem:{}", self.cause.slug()),
            title: self.title,
            status: self.status.as_u16(),
            detail: &self.detail,
            parameter: self.parameter.as_deref(),
            retry_after: self.retry_after,
            limit: self.limit.as_deref(),
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
        let wait = retry::spread(RETRY_TRANSPORT, RETRY_TRANSPORT);
        Self::new(ProblemKind::TransportUnavailable, detail).retry_after(wait)
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
            AppendError::Refused(reason) => limit_problem::refused(&reason),
            AppendError::Transport(error) => error.into(),
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
