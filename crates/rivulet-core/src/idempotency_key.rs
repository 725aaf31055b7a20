//! What makes a publish safe to repeat.

/// The longest key, in bytes: each is a key in Redis for a while.
pub const IDEMPOTENCY_KEY_LEN_MAX: usize = 255;

/// A publisher's name for one publish (draft-ietf-httpapi-idempotency-key-header, §2.2): 1 to
/// [`IDEMPOTENCY_KEY_LEN_MAX`] visible ASCII characters. A repeat with the same key and content is not appended again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(Box<str>);

/// Why a string cannot be an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdempotencyKeyError {
    /// It is empty or longer than [`IDEMPOTENCY_KEY_LEN_MAX`].
    #[error("an idempotency key has 1 to {IDEMPOTENCY_KEY_LEN_MAX} bytes, this one has {0}")]
    Length(usize),
    /// It contains something else than visible ASCII.
    #[error("an idempotency key has visible ASCII characters only, this one contains {0:?}")]
    Forbidden(char),
}

impl IdempotencyKey {
    /// Parses a key. The draft writes it as a string of RFC 9651, in double quotes; most clients send it bare. Both are
    /// the same key.
    ///
    /// # Errors
    ///
    /// See [`IdempotencyKeyError`].
    pub fn parse(text: &str) -> Result<Self, IdempotencyKeyError> {
        let text = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
        if text.is_empty() || text.len() > IDEMPOTENCY_KEY_LEN_MAX {
            return Err(IdempotencyKeyError::Length(text.len()));
        }
        match text.chars().find(|c| !c.is_ascii_graphic()) {
            Some(c) => Err(IdempotencyKeyError::Forbidden(c)),
            None => Ok(Self(text.into())),
        }
    }

    /// The same key as that of one publisher, by a name that publishers cannot choose: keys of others do not meet it.
    #[must_use]
    pub fn of(&self, publisher: &str) -> Self {
        Self(format!("{publisher}:{}", self.0).into())
    }

    /// The key's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_checked() {
        let check = |text: &str, expected: Result<&str, IdempotencyKeyError>| {
            let parsed = IdempotencyKey::parse(text);
            assert_eq!(
                parsed.as_ref().map(IdempotencyKey::as_str),
                expected.as_ref().map(|text| *text),
                "{text:?}"
            );
        };
        check("8e03978e-40d5-43e8-bc93-6894a57f9324", Ok("8e03978e-40d5-43e8-bc93-6894a57f9324"));
        check("\"quoted\"", Ok("quoted"));
        check("\"", Ok("\""));
        check("", Err(IdempotencyKeyError::Length(0)));
        check("\"\"", Err(IdempotencyKeyError::Length(0)));
        check("a b", Err(IdempotencyKeyError::Forbidden(' ')));
        check("é", Err(IdempotencyKeyError::Forbidden('é')));
        let of = |publisher: &str| IdempotencyKey::parse("k").unwrap().of(publisher);
        assert_eq!(of("p").as_str(), "p:k");
        assert_ne!(of("p"), of("q"));
        let long = "k".repeat(IDEMPOTENCY_KEY_LEN_MAX + 1);
        check(&long, Err(IdempotencyKeyError::Length(IDEMPOTENCY_KEY_LEN_MAX + 1)));
    }
}
