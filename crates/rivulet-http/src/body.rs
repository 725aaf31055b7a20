//! Reading a request's body within bounds of size and time.

use std::time::Duration;

use actix_web::{HttpRequest, http::header, web};
use futures_util::StreamExt;

use crate::problem::{Problem, ProblemKind};

/// The media types of bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MediaType {
    /// `application/x-www-form-urlencoded`.
    Form,
    /// `application/x-ndjson`.
    Ndjson,
    /// There is no `Content-Type`.
    Missing,
    /// Any other.
    Other,
}

/// The media type that the request's `Content-Type` names; its parameters (`charset`) change nothing: it is UTF-8.
pub(crate) fn media_type(request: &HttpRequest) -> MediaType {
    let Some(value) = request.headers().get(header::CONTENT_TYPE) else {
        return MediaType::Missing;
    };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        MediaType::Form
    } else if essence.eq_ignore_ascii_case("application/x-ndjson") {
        MediaType::Ndjson
    } else {
        MediaType::Other
    }
}

/// Reads the whole body: at most `len_max` bytes within `timeout`. A client that sends half of one and falls silent
/// must not hold its memory for ever, and actix has no clock for bodies.
pub(crate) async fn read(
    request: &HttpRequest,
    payload: web::Payload,
    len_max: usize,
    timeout: Duration,
) -> Result<Vec<u8>, Problem> {
    let announced =
        request.headers().get(header::CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse().ok());
    if announced.is_some_and(|len: u64| len > len_max as u64) {
        return Err(too_long(len_max));
    }
    match tokio::time::timeout(timeout, collect(payload, len_max)).await {
        Ok(read) => read,
        Err(_) => {
            let detail = format!("the body must arrive within {} s", timeout.as_secs_f32());
            Err(Problem::new(ProblemKind::BodyTimeout, detail))
        }
    }
}

async fn collect(mut payload: web::Payload, len_max: usize) -> Result<Vec<u8>, Problem> {
    let mut body = Vec::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| Problem::new(ProblemKind::BodyBroken, error.to_string()))?;
        if body.len() + chunk.len() > len_max {
            return Err(too_long(len_max));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn too_long(len_max: usize) -> Problem {
    Problem::new(ProblemKind::BodyTooLong, format!("a body has at most {len_max} bytes"))
}
