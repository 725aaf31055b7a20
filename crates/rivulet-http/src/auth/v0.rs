//! What a token of dialect 0.x grants: the claim `mercure`.

use rivulet_core::{Grants, Matcher};
use serde_json::{Map, Value};

use super::{
    Payload,
    claims::{Claims, malformed},
    error::Refusal,
};

/// The claim's two names. Where both are, deployed hubs take the one that is a URL.
const CLAIM_NAMES: [&str; 2] = ["https://mercure.rocks/", "mercure"];

/// The most selectors in a list. A token has no room for many more of real length, and each may be a template, which
/// costs some ten microseconds.
const SELECTORS_MAX: usize = 500;

/// Reads the claim. A token without it is valid and grants nothing.
pub(super) fn grants(claims: &Claims) -> Result<(Grants, Vec<Payload>), Refusal> {
    let found = CLAIM_NAMES.iter().find_map(|name| claims.get(name).filter(|value| !value.is_null()));
    let mercure = match found {
        None => return Ok((Grants::default(), Vec::new())),
        Some(Value::Object(mercure)) => mercure,
        Some(_) => return Err(malformed("\"mercure\" must be an object with \"publish\" and \"subscribe\"")),
    };
    let grants =
        Grants { publish: selectors(mercure, "publish")?, subscribe: selectors(mercure, "subscribe")? };
    let payload = mercure.get("payload").filter(|value| !value.is_null());
    let payloads = payload.map(|value| Payload { matchers: vec![Matcher::All], value: Some(value.clone()) });
    Ok((grants, payloads.into_iter().collect()))
}

fn selectors(mercure: &Map<String, Value>, name: &str) -> Result<Vec<Matcher>, Refusal> {
    let wrong =
        || malformed(format!("\"mercure.{name}\" must be an array of at most {SELECTORS_MAX} strings"));
    let list = match mercure.get(name) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(list)) if list.len() <= SELECTORS_MAX => list,
        Some(_) => return Err(wrong()),
    };
    let mut matchers = Vec::with_capacity(list.len());
    for entry in list {
        let text = entry.as_str().ok_or_else(wrong)?;
        // As deployed hubs do: what is no URI Template selects the topic with the same text. What cannot be a topic
        // either selects nothing.
        matchers.extend(Matcher::selector(text).or_else(|_| Matcher::exact(text)));
    }
    Ok(matchers)
}
