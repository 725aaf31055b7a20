//! The claims of a token (RFC 7519 §4) and the checks that both dialects share.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use super::{Check, error::Refusal};

/// A token's claims.
pub(super) struct Claims(Map<String, Value>);

impl Claims {
    /// Parses a JSON object.
    pub(super) fn parse(json: &[u8]) -> Result<Self, Refusal> {
        serde_json::from_slice(json)
            .map(Self)
            .map_err(|_| Refusal::new(Check::Malformed, "the token's claims are not a JSON object"))
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// A claim that must be a string if it is there.
    pub(super) fn string(&self, name: &str) -> Result<Option<&str>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(malformed(format!("\"{name}\" must be a string"))),
        }
    }

    /// A claim that must be a point in time if it is there: seconds since 1970, maybe with a fraction, as lcobucci/jwt
    /// writes them.
    pub(super) fn date(&self, name: &str) -> Result<Option<SystemTime>, Refusal> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let since_epoch = match value {
            Value::Number(number) => number
                .as_u64()
                .map(Duration::from_secs)
                .or_else(|| number.as_f64().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())),
            _ => None,
        };
        since_epoch.and_then(|duration| UNIX_EPOCH.checked_add(duration)).map(Some).ok_or_else(|| {
            malformed(format!("\"{name}\" must be a number: seconds since 1970-01-01T00:00:00Z"))
        })
    }

    /// Checks `exp` and `nbf` as far as they are there; answers `exp`.
    pub(super) fn check_dates(
        &self,
        now: SystemTime,
        leeway: Duration,
    ) -> Result<Option<SystemTime>, Refusal> {
        let expires_at = self.date("exp")?;
        if let Some(expires_at) = expires_at
            && now >= expires_at
        {
            let ago = now.duration_since(expires_at).unwrap_or_default().as_secs();
            return Err(Refusal::new(Check::Expired, format!("the token expired {ago} s ago (\"exp\")")));
        }
        if let Some(not_before) = self.date("nbf")?
            && now + leeway < not_before
        {
            let left = not_before.duration_since(now).unwrap_or_default().as_secs();
            let detail = format!("the token becomes valid in {left} s (\"nbf\"); compare the clocks");
            return Err(Refusal::new(Check::NotYetValid, detail));
        }
        self.date("iat")?;
        Ok(expires_at)
    }
}

/// A refusal of a claim's shape.
pub(super) fn malformed(detail: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(Check::ClaimMalformed, detail)
}
