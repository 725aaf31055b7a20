//! What the admin listener answers with: JSON, text, files, and refusals that explain themselves (RFC 9457, of the same
//! shape as the hub's own).

use std::{fmt, time::Duration};

use actix_web::{
    HttpResponse, ResponseError,
    http::{
        StatusCode,
        header::{ALLOW, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, RETRY_AFTER},
    },
};
use serde::Serialize;

/// JSON that nobody may keep: it tells of this moment.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> HttpResponse {
    HttpResponse::build(status).insert_header((CACHE_CONTROL, "no-store")).json(body)
}

/// A file to be saved, of a format without a media type of its own.
pub(super) fn file(name: &str, bytes: Vec<u8>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((CONTENT_TYPE, "application/octet-stream"))
        .insert_header((CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")))
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(bytes)
}

/// What kind of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProblemKind {
    NotFound,
    MethodNotAllowed,
    ParameterUnknown,
    ParameterInvalid,
    ParameterMissing,
    BodyInvalid,
    BodyTooLong,
    MediaTypeUnsupported,
    TransportUnavailable,
    ProfileRunning,
    ProfileNoRoom,
    ProfileOff,
    ProfileFailed,
}

impl ProblemKind {
    /// Slug, title and status.
    const fn facts(self) -> (&'static str, &'static str, StatusCode) {
        match self {
            Self::NotFound => ("not-found", "There is nothing here", StatusCode::NOT_FOUND),
            Self::MethodNotAllowed => {
                ("method-not-allowed", "This method is not served here", StatusCode::METHOD_NOT_ALLOWED)
            }
            Self::ParameterUnknown => {
                ("parameter-unknown", "There is no such parameter", StatusCode::BAD_REQUEST)
            }
            Self::ParameterInvalid => {
                ("parameter-invalid", "A parameter is not valid", StatusCode::BAD_REQUEST)
            }
            Self::ParameterMissing => {
                ("parameter-missing", "A parameter is missing", StatusCode::BAD_REQUEST)
            }
            Self::BodyInvalid => ("body-invalid", "The body cannot be read", StatusCode::BAD_REQUEST),
            Self::BodyTooLong => ("body-too-long", "The body is too long", StatusCode::PAYLOAD_TOO_LARGE),
            Self::MediaTypeUnsupported => (
                "media-type-unsupported",
                "The body's Content-Type is not supported",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ),
            Self::TransportUnavailable => {
                ("transport-unavailable", "The nodes cannot be reached", StatusCode::SERVICE_UNAVAILABLE)
            }
            Self::ProfileRunning => {
                ("profile-running", "A profile is being made", StatusCode::SERVICE_UNAVAILABLE)
            }
            Self::ProfileNoRoom => {
                ("profile-no-room", "Memory is too tight for a profile", StatusCode::SERVICE_UNAVAILABLE)
            }
            Self::ProfileOff => ("profile-off", "The allocator samples nothing", StatusCode::NOT_IMPLEMENTED),
            Self::ProfileFailed => {
                ("profile-failed", "The profile cannot be made", StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }
}

/// A refusal.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    kind: ProblemKind,
    detail: String,
    parameter: Option<String>,
    allow: Option<&'static str>,
    retry_after: Option<Duration>,
}

/// The JSON form of a problem (RFC 9457 §3.1); `parameter` is ours.
#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<&'a str>,
}

impl Problem {
    /// A problem; `detail` says what was wrong and what would be right.
    pub(super) fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), parameter: None, allow: None, retry_after: None }
    }

    /// Something that may stand once stands there again.
    pub(super) fn repeated(name: &str) -> Self {
        let detail = format!("{name} stands there twice, and may stand once");
        Self::new(ProblemKind::ParameterInvalid, detail).at(name)
    }

    /// There is no such path.
    pub(super) fn not_found() -> Self {
        Self::new(ProblemKind::NotFound, "/ lists what there is")
    }

    /// The path does not have this method; `allow` lists those that it has.
    pub(super) fn method_not_allowed(allow: &'static str) -> Self {
        let problem = Self::new(ProblemKind::MethodNotAllowed, format!("this path serves {allow}"));
        Self { allow: Some(allow), ..problem }
    }

    /// Names the parameter that is at fault.
    pub(super) fn at(self, parameter: impl Into<String>) -> Self {
        Self { parameter: Some(parameter.into()), ..self }
    }

    /// Says when to come back.
    pub(super) fn retry_after(self, wait: Duration) -> Self {
        Self { retry_after: Some(wait), ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.facts().1, self.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.kind.facts().2
    }

    fn error_response(&self) -> HttpResponse {
        let (slug, title, status) = self.kind.facts();
        let document = Document {
            r#type: format!("urn:rivulet:problem:{slug}"),
            title,
            status: status.as_u16(),
            detail: &self.detail,
            parameter: self.parameter.as_deref(),
        };
        let mut response = HttpResponse::build(status);
        response.insert_header((CONTENT_TYPE, "application/problem+json"));
        response.insert_header((CACHE_CONTROL, "no-store"));
        if let Some(allow) = self.allow {
            response.insert_header((ALLOW, allow));
        }
        if let Some(wait) = self.retry_after {
            response.insert_header((RETRY_AFTER, wait.as_secs().max(1).to_string()));
        }
        response.body(serde_json::to_vec(&document).expect("a document of strings and numbers serializes"))
    }
}
