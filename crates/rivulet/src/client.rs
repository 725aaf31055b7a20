//! What `publish` and `subscribe` share: the HTTP client, and what a hub's refusal means for the exit code.

use std::time::Duration;

use reqwest::{Client, Response, StatusCode};
use serde::Deserialize;

use crate::exit::{Code, Failure};

/// The hub that the client commands talk to unless told otherwise: `rivulet --dev` on this machine.
pub(crate) const URL_DEFAULT: &str = "http://127.0.0.1:3000/.well-known/mercure";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Finds dead peers of streams without heartbeats.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Of a refusal's body, more is not read: it is an explanation.
const REFUSAL_LEN_MAX: usize = 16 * 1024;

/// The client.
pub(crate) fn client() -> Result<Client, Failure> {
    Client::builder()
        .user_agent(concat!("rivulet/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_keepalive(KEEPALIVE)
        .build()
        .map_err(|error| Failure::new(Code::Software, format!("the HTTP client does not start: {error}")))
}

/// The hub could not be reached, or the connection broke.
pub(crate) fn unreachable(url: &str, error: &reqwest::Error) -> Failure {
    if error.is_builder() {
        return Failure::usage(format!("--url {url:?} is not a URL of a hub"));
    }
    Failure::unavailable(format!("the hub at {url} is not available: {}", innermost(error)))
}

/// The last cause tells most: `connection refused`.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// What the hub says about a request that it refuses (RFC 9457).
#[derive(Deserialize)]
struct Problem {
    title: Option<String>,
    detail: Option<String>,
}

/// Why the hub refused, on one line, with the exit code that fits.
pub(crate) async fn refusal(response: Response) -> Failure {
    let status = response.status();
    let body = limited_body(response).await;
    let problem: Option<Problem> = serde_json::from_slice(&body).ok();
    let text = match problem {
        Some(Problem { detail: Some(text), .. } | Problem { title: Some(text), .. }) => text,
        _ => String::from_utf8_lossy(&body).into_owned(),
    };
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = if text.is_empty() {
        format!("the hub answers {status}")
    } else {
        format!("the hub answers {status}: {text}")
    };
    Failure::new(code(status), line)
}

fn code(status: StatusCode) -> Code {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Code::Permission,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Code::TryLater,
        status if status.is_client_error() && status != StatusCode::NOT_FOUND => Code::Data,
        _ => Code::Unavailable,
    }
}

async fn limited_body(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    // A body that breaks off explains less, and that is all.
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = REFUSAL_LEN_MAX - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == REFUSAL_LEN_MAX {
            break;
        }
    }
    body
}
