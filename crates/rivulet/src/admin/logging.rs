//! `/log`: what the log says, to be looked at and changed while the hub runs.

use std::time::{Duration, Instant};

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web, web::Bytes};
use serde::{Deserialize, Serialize};
use tracing::{Level, info};

use super::{
    State, answer,
    answer::{Problem, ProblemKind},
    endpoint::{Endpoint, parameters},
    kick::{check_media_type, unread},
};
use crate::{
    logs::{CheckedFilter, Shown},
    quantity,
};

/// Longer than anybody looks for something: whoever wants it for ever says so by saying nothing.
const WHILE_MAX: Duration = Duration::from_secs(24 * 3600);
const WHILE_MIN: Duration = Duration::from_secs(1);

/// The path of this file.
pub(super) fn endpoints() -> Vec<Endpoint> {
    let about =
        "the log's filter; PUT {\"filter\": \"info,rivulet_redis=debug\", \"for\": \"10m\"} changes it";
    vec![Endpoint::change("/log", about, show, change)]
}

#[derive(Serialize)]
struct Log {
    filter: String,
    configured: String,
    falls_back_in_seconds: Option<f64>,
}

impl From<Shown> for Log {
    fn from(shown: Shown) -> Self {
        Self {
            filter: shown.current,
            configured: shown.configured,
            falls_back_in_seconds: shown.falls_back_in.map(|left| left.as_secs_f64()),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    filter: String,
    #[serde(rename = "for")]
    lasts: Option<String>,
}

async fn show(request: HttpRequest, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    let [] = parameters(&request, [])?;
    Ok(answer::json(StatusCode::OK, &Log::from(state.logs.filter().show(Instant::now()))))
}

async fn change(
    request: HttpRequest,
    body: Result<Bytes, actix_web::Error>,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    let [] = parameters(&request, [])?;
    check_media_type(request.headers())?;
    let body = body.map_err(|error| unread(&error))?;
    let Change { filter, lasts } = serde_json::from_slice(&body).map_err(|error| {
        let detail =
            format!("the body must be {{\"filter\": …, \"for\": …}}, the latter if you like: {error}");
        Problem::new(ProblemKind::BodyInvalid, detail)
    })?;
    let lasts = lasts.as_deref().map(lasts_of).transpose()?;
    let (logs, now) = (&state.logs, Instant::now());
    let next = CheckedFilter::parse(&filter)
        .map_err(|rule| Problem::new(ProblemKind::ParameterInvalid, format!("filter {rule}")).at("filter"))?;
    // Said in any case: before the change if the filter of now lets it through, else after it.
    let is_heard = tracing::enabled!(Level::INFO);
    let before = logs.filter().show(now).current;
    let peer = request.peer_addr().map(|address| address.ip().to_string()).unwrap_or_default();
    let say = || info!(peer, before, filter, lasts = ?lasts, "The log's filter is changed");
    if is_heard {
        say();
    }
    logs.filter().set(next, lasts.map(|lasts| now + lasts));
    if !is_heard {
        say();
    }
    Ok(answer::json(StatusCode::OK, &Log::from(logs.filter().show(now))))
}

fn lasts_of(text: &str) -> Result<Duration, Problem> {
    let lasts = quantity::duration(text).ok().filter(|lasts| (WHILE_MIN..=WHILE_MAX).contains(lasts));
    lasts.ok_or_else(|| {
        let detail = format!("for is {text:?}, and must be a duration from 1s to 24h, like 10m");
        Problem::new(ProblemKind::ParameterInvalid, detail).at("for")
    })
}
