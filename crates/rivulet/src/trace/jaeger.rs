//! Asks Jaeger's query API (v3, of Jaeger 2.x) for a trace.

use std::time::Duration;

use reqwest::{Response, StatusCode};

use super::{DOCUMENT_LEN_MAX, too_long};
use crate::{client, exit::Failure};

/// How long Jaeger's storage may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The trace as JSON.
pub(super) async fn fetch(base: &str, trace_id: &str) -> Result<Vec<u8>, Failure> {
    let url = format!("{}/api/v3/traces/{trace_id}", base.trim_end_matches('/'));
    let unreachable = |error: reqwest::Error| {
        if error.is_builder() {
            return Failure::usage(format!("--jaeger {base:?} is not a URL, like http://localhost:16686"));
        }
        Failure::unavailable(format!("Jaeger at {base} is not available: {}", client::innermost(&error)))
    };
    let sent = client::client()?.get(&url).timeout(ANSWER_TIMEOUT).send().await;
    let response = sent.map_err(unreachable)?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => {
            let text = format!(
                "Jaeger at {base} has no trace {trace_id}: it was not sampled, it has not arrived yet, or the nodes \
                 export it elsewhere"
            );
            return Err(Failure::unavailable(text));
        }
        status => return Err(Failure::unavailable(format!("Jaeger at {base} answers {status}"))),
    }
    body(response, base).await?.map_err(unreachable)
}

/// The whole body, if it is not too long.
async fn body(mut response: Response, base: &str) -> Result<Result<Vec<u8>, reqwest::Error>, Failure> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > DOCUMENT_LEN_MAX => {
                return Err(too_long(&format!("what Jaeger at {base} answers")));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(Ok(body)),
            Err(error) => return Ok(Err(error)),
        }
    }
}
