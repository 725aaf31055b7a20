//! The claim by which a token changes its bearer's limits, so that a plan can buy more.
//!
//! ```json
//! {"rivulet_limits": {"connections_per_subject": 50, "subscribes_per_subject": "10/s",
//!                     "publishes_per_subject": {"count": 6000, "period": "1m", "burst": 100}}}
//! ```
//!
//! Whatever else it holds makes the whole token invalid: a typing mistake must not silently give the default.

use std::time::Duration;

use rivulet_node::{Overrides, PACE_COUNT_MAX, Pace, PaceError};
use serde_json::{Map, Value};

use super::{
    claims::{Claims, malformed},
    error::{Refusal, quoted},
};

/// The claim's name unless another one is configured.
pub const LIMITS_CLAIM: &str = "rivulet_limits";

/// The longest name of the claim, in bytes.
const NAME_LEN_MAX: usize = 128;

/// Claims that mean something else, to us or to whoever issues tokens (RFC 7519, RFC 9068, RFC 9396, OpenID Connect).
const TAKEN: [&str; 23] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "client_id",
    "scope",
    "mercure",
    "https://mercure.rocks/",
    "authorization_details",
    "azp",
    "cnf",
    "act",
    "acr",
    "amr",
    "auth_time",
    "nonce",
    "sid",
    "roles",
    "groups",
    "entitlements",
];

/// Checks the name of the claim as it is configured.
///
/// # Errors
///
/// The rule that it breaks.
pub fn check_limits_claim(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("must not be empty".to_owned());
    }
    if name.len() > NAME_LEN_MAX {
        return Err(format!("must have at most {NAME_LEN_MAX} bytes, this one has {}", name.len()));
    }
    if name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("must not contain spaces or control characters".to_owned());
    }
    if TAKEN.contains(&name) {
        return Err(format!("{name:?} is a registered claim with a meaning of its own: use another name"));
    }
    Ok(())
}

/// Reads the claim; without it, or where it is off, everything is as configured.
pub(super) fn overrides(claims: &Claims, name: Option<&str>) -> Result<Overrides, Refusal> {
    let Some((name, value)) = name.and_then(|name| Some((name, claims.get(name)?))) else {
        return Ok(Overrides::default());
    };
    let members = value.as_object().ok_or_else(|| {
        let rule = "an object with \"connections_per_subject\", \"subscribes_per_subject\" or \"publishes_per_subject\"";
        wrong(name, value, rule)
    })?;
    let mut overrides = Overrides::default();
    for (member, value) in members {
        let place = format!("{name}.{member}");
        match member.as_str() {
            "connections_per_subject" => overrides.connections_per_subject = Some(count(&place, value)?),
            "subscribes_per_subject" => overrides.subscribes_per_subject = Some(pace(&place, value)?),
            "publishes_per_subject" => overrides.publishes_per_subject = Some(pace(&place, value)?),
            _ => {
                return Err(malformed(format!(
                    "{name:?} has the unknown member {}: there are \"connections_per_subject\", \
                     \"subscribes_per_subject\" and \"publishes_per_subject\"",
                    quoted(member)
                )));
            }
        }
    }
    Ok(overrides)
}

fn count(place: &str, value: &Value) -> Result<u32, Refusal> {
    let count = value.as_u64().and_then(|count| u32::try_from(count).ok());
    count
        .filter(|count| (1..=PACE_COUNT_MAX).contains(count))
        .ok_or_else(|| wrong(place, value, &format!("a whole number from 1 to {PACE_COUNT_MAX}")))
}

fn pace(place: &str, value: &Value) -> Result<Pace, Refusal> {
    match value {
        Value::String(text) => text.parse().map_err(|rule| of_text(place, text, rule)),
        Value::Object(members) => pace_of(place, members),
        _ => Err(wrong(place, value, "a text like \"100/s\", or an object with \"count\" and \"period\"")),
    }
}

fn pace_of(place: &str, members: &Map<String, Value>) -> Result<Pace, Refusal> {
    let known = ["count", "period", "burst"];
    if let Some(unknown) = members.keys().find(|member| !known.contains(&member.as_str())) {
        let detail = format!(
            "{place:?} has the unknown member {}: there are \"count\", \"period\" and \"burst\"",
            quoted(unknown)
        );
        return Err(malformed(detail));
    }
    let needed = |member| {
        let missing =
            || malformed(format!("{place:?} lacks \"{member}\": it needs \"count\" and \"period\""));
        members.get(member).ok_or_else(missing)
    };
    let pace = count(&format!("{place}.count"), needed("count")?)?;
    let period = period(&format!("{place}.period"), needed("period")?)?;
    let burst = members.get("burst").map(|burst| count(&format!("{place}.burst"), burst)).transpose()?;
    Pace::new(pace, period, burst).map_err(|rule| malformed(format!("{place:?}: {rule}")))
}

fn period(place: &str, value: &Value) -> Result<Duration, Refusal> {
    match value {
        Value::String(text) => Pace::parse_period(text).map_err(|rule| of_text(place, text, rule)),
        _ => value
            .as_u64()
            .map(Duration::from_secs)
            .ok_or_else(|| wrong(place, value, "a whole number of seconds, or a text like \"1m30s\"")),
    }
}

fn of_text(place: &str, text: &str, rule: PaceError) -> Refusal {
    malformed(format!("{place:?} is {}: {rule}", quoted(text)))
}

/// Values are told by their kind, except numbers: those are what a typing mistake is easily made in.
fn wrong(place: &str, value: &Value, right: &str) -> Refusal {
    let found = match value {
        Value::Null => "null".to_owned(),
        Value::Bool(_) => "a boolean".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::String(_) => "a text".to_owned(),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    };
    malformed(format!("{place:?} is {found}, it must be {right}"))
}
