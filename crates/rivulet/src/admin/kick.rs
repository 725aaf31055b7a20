//! `/kick`: ends connections, on all nodes of the hub.

use std::{fmt, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        StatusCode,
        header::{CONTENT_TYPE, HeaderMap},
    },
    web::{self, Bytes},
};
use rivulet_node::{KickReport, KickTarget};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor},
};
use serde_json::Value;
use tracing::{info, warn};

use super::{
    State, answer,
    answer::{Problem, ProblemKind},
    endpoint::{Endpoint, parameters},
    target::{MEMBERS, Target},
};

/// When to ask again while the transport is away: a failover takes some seconds.
const RETRY_TRANSPORT: Duration = Duration::from_secs(5);

/// The path of this file.
pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![Endpoint::write(
        "/kick",
        "ends connections on all nodes: {\"subject\", \"ip\", \"topic\", \"subscriber\": …}",
        kick,
    )]
}

/// What became of it.
#[derive(Serialize)]
struct Kicked {
    ended: usize,
    nodes: usize,
    nodes_unanswered: usize,
}

async fn kick(
    request: HttpRequest,
    body: Result<Bytes, actix_web::Error>,
    state: web::Data<State>,
) -> Result<HttpResponse, Problem> {
    let [] = parameters(&request, [])?;
    check_media_type(request.headers())?;
    let target = target(&body.map_err(|error| unread(&error))?)?;
    let shown = format!("{target:?}");
    match state.node.kick(target).await {
        Ok(KickReport { ended, nodes, nodes_unanswered }) => {
            info!(target = shown, ended, nodes, nodes_unanswered, "A kick was asked for");
            Ok(answer::json(StatusCode::OK, &Kicked { ended, nodes, nodes_unanswered }))
        }
        Err(error) => {
            warn!(target = shown, %error, "A kick could not be told to the nodes");
            let detail = "some connections may have been ended, and others not; try again";
            Err(Problem::new(ProblemKind::TransportUnavailable, detail).retry_after(RETRY_TRANSPORT))
        }
    }
}

/// A page of any site can have a browser post text to an address of its user's network, but not JSON: for that the browser
/// would ask first.
pub(super) fn check_media_type(headers: &HeaderMap) -> Result<(), Problem> {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let detail = format!("the Content-Type is {media_type:?}, and must be application/json");
    Err(Problem::new(ProblemKind::MediaTypeUnsupported, detail))
}

pub(super) fn unread(error: &actix_web::Error) -> Problem {
    match error.as_response_error().status_code() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let detail = format!("the body must have at most {} bytes", super::BODY_LEN_MAX);
            Problem::new(ProblemKind::BodyTooLong, detail)
        }
        _ => Problem::new(ProblemKind::BodyInvalid, "the body did not arrive completely"),
    }
}

fn target(body: &[u8]) -> Result<KickTarget, Problem> {
    let Members(members) = serde_json::from_slice(body).map_err(|error| {
        Problem::new(ProblemKind::BodyInvalid, format!("the body must be a JSON object: {error}"))
    })?;
    let mut target = Target::default();
    for (index, (name, value)) in members.iter().enumerate() {
        // Few comparisons: whatever there is no such member for has ended the loop.
        if members[..index].iter().any(|(earlier, _)| earlier == name) {
            return Err(Problem::repeated(name));
        }
        let Some(text) = value.as_str() else {
            let detail = format!("{name} is {value}, and must be a text");
            return Err(Problem::new(ProblemKind::ParameterInvalid, detail).at(name));
        };
        target.set(name, text)?;
    }
    let target = target.finish();
    if target.is_empty() {
        let detail = format!("nobody is named, and everybody is not meant: say {}", MEMBERS.join(" or "));
        return Err(Problem::new(ProblemKind::ParameterMissing, detail));
    }
    Ok(target)
}

/// The members of a JSON object as they stand there. A map would have the last of two with the same name, and who is ended
/// would not be who was named first.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}
