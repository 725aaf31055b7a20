//! What a token of dialect 1.0 must say (RFC 9068), and what it grants: `authorization_details` (RFC 9396).

use std::time::{Duration, SystemTime};

use rivulet_core::{Grants, Matcher};
use serde_json::{Map, Value};
use url::Url;

use super::{
    Check, Payload,
    claims::{Claims, malformed},
    error::Refusal,
};

/// The `type` of the details that are for Mercure hubs.
pub const DETAIL_TYPE: &str = "https://mercure.rocks/authorization-detail";

/// The most details of our type in a token.
pub const DETAILS_MAX: usize = 100;

/// The most topics in a token, in all its details together: each may be a pattern that has to be compiled.
pub const DETAIL_TOPICS_MAX: usize = 100;

/// `iss`, which selects the keys before anything is verified. It can only select among those that are configured.
pub(super) fn issuer(claims: &Claims) -> Result<&str, Refusal> {
    claims.string("iss")?.ok_or_else(|| missing("iss"))
}

/// Checks the claims of a token whose signature is verified; answers `exp`.
pub(super) fn check(
    claims: &Claims,
    resource: &Url,
    now: SystemTime,
    leeway: Duration,
) -> Result<SystemTime, Refusal> {
    check_audience(claims, resource)?;
    let expires_at = claims.check_dates(now, leeway)?.ok_or_else(|| missing("exp"))?;
    for name in ["sub", "client_id", "jti"] {
        claims.string(name)?;
    }
    Ok(expires_at)
}

/// `aud` is compared as text. Only the slash of an empty path may be missing, since a URL cannot be held without it.
fn check_audience(claims: &Claims, resource: &Url) -> Result<(), Refusal> {
    let is_ours = |audience: &str| {
        let resource = resource.as_str();
        audience == resource
            || resource.strip_suffix('/').is_some_and(|bare| bare == audience && is_origin(bare))
    };
    let wrong = || malformed("\"aud\" must be a string or an array of strings");
    let named = match claims.get("aud").ok_or_else(|| missing("aud"))? {
        Value::String(audience) => is_ours(audience),
        Value::Array(list) => {
            if !list.iter().all(Value::is_string) {
                return Err(wrong());
            }
            list.iter().filter_map(Value::as_str).any(is_ours)
        }
        _ => return Err(wrong()),
    };
    if named {
        return Ok(());
    }
    Err(Refusal::new(
        Check::Audience,
        format!("\"aud\" must hold this hub's resource identifier, \"{resource}\""),
    ))
}

/// Whether a URL without its last slash is a scheme and a host only.
fn is_origin(bare: &str) -> bool {
    bare.split_once("://").is_some_and(|(_, host)| !host.contains('/'))
}

/// Reads `authorization_details`. A token without it is valid and grants nothing; one malformed detail makes the
/// whole token invalid, since to leave it out would silently change what the issuer meant.
pub(super) fn grants(claims: &Claims, hub_url: &Url) -> Result<(Grants, Vec<Payload>), Refusal> {
    let mut grants = Grants::default();
    let mut payloads = Vec::new();
    let list = match claims.get("authorization_details") {
        None => return Ok((grants, payloads)),
        Some(Value::Array(list)) => list,
        Some(_) => return Err(malformed("\"authorization_details\" must be an array of objects")),
    };
    for detail in Detail::of_ours(list)? {
        let topics = detail.topics(hub_url)?;
        let actions = detail.actions()?;
        if actions.contains(&"publish") {
            grants.publish.extend_from_slice(&topics);
        }
        if actions.contains(&"subscribe") {
            grants.subscribe.extend_from_slice(&topics);
            let value = detail.members.get("payload").filter(|value| !value.is_null()).cloned();
            payloads.push(Payload { matchers: topics, value });
        }
    }
    Ok((grants, payloads))
}

/// A detail of our type, and its place in the list.
struct Detail<'a> {
    index: usize,
    members: &'a Map<String, Value>,
}

impl<'a> Detail<'a> {
    /// The details of our type, and not too many of them: counted before any pattern is compiled.
    fn of_ours(list: &'a [Value]) -> Result<Vec<Self>, Refusal> {
        let mut ours = Vec::new();
        let mut topics = 0;
        for (index, detail) in list.iter().enumerate() {
            let typ = detail.get("type").and_then(Value::as_str);
            let (Some(members), Some(typ)) = (detail.as_object(), typ) else {
                let rule =
                    format!("\"authorization_details[{index}]\" must be an object with a string \"type\"");
                return Err(malformed(rule));
            };
            if typ == DETAIL_TYPE {
                topics += members.get("topics").and_then(Value::as_array).map_or(0, Vec::len);
                ours.push(Self { index, members });
            }
        }
        if ours.len() > DETAILS_MAX || topics > DETAIL_TOPICS_MAX {
            let rule = format!(
                "\"authorization_details\" has at most {DETAILS_MAX} details for Mercure with {DETAIL_TOPICS_MAX} \
                 topics in all; this token has {} with {topics}",
                ours.len()
            );
            return Err(malformed(rule));
        }
        Ok(ours)
    }

    /// A member that must be an array that is not empty.
    fn array(&self, name: &str) -> Option<&'a Vec<Value>> {
        self.members.get(name).and_then(Value::as_array).filter(|list| !list.is_empty())
    }

    fn actions(&self) -> Result<Vec<&'a str>, Refusal> {
        let strings = self.array("actions").and_then(|list| list.iter().map(Value::as_str).collect());
        strings.ok_or_else(|| {
            let index = self.index;
            malformed(format!(
                "\"authorization_details[{index}].actions\" must be a non-empty array of strings"
            ))
        })
    }

    fn topics(&self, hub_url: &Url) -> Result<Vec<Matcher>, Refusal> {
        let index = self.index;
        let list = self.array("topics").ok_or_else(|| {
            malformed(format!(
                "\"authorization_details[{index}].topics\" must be a non-empty array of objects"
            ))
        })?;
        let matchers = list.iter().enumerate().map(|(place, topic)| {
            matcher(topic, hub_url).map_err(|rule| {
                malformed(format!("\"authorization_details[{index}].topics[{place}]\": {rule}"))
            })
        });
        matchers.collect()
    }
}

fn matcher(topic: &Value, hub_url: &Url) -> Result<Matcher, String> {
    let topic = topic.as_object().ok_or("must be an object with \"match\"")?;
    let text = topic.get("match").and_then(Value::as_str).ok_or("\"match\" must be a string")?;
    let matcher = match topic.get("match_type").map(Value::as_str) {
        None | Some(Some("exact")) => Matcher::exact(text),
        Some(Some("urlpattern")) => Matcher::url_pattern(text, hub_url),
        Some(_) => return Err("\"match_type\" must be \"exact\" or \"urlpattern\"".to_owned()),
    };
    matcher.map_err(|error| error.to_string())
}

fn missing(name: &str) -> Refusal {
    Refusal::new(Check::ClaimMissing, format!("the token lacks the required claim \"{name}\""))
}
