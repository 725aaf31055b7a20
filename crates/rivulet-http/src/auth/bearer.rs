//! Whose limits a token counts for: its subject, or where it has none, the key that signed it.

use std::sync::Arc;

use rivulet_core::text::is_control_or_format;

/// The longest text, in bytes: it is a key of every limit that its bearer touches, on every node.
const TEXT_LEN_MAX: usize = 256;

/// Who has signed a token that lacks a subject.
pub(super) type KeyName = String;

/// The text for a token's claims and its key. `issuer` is there in dialect 1.0 only: two issuers may have the same
/// subject, while in 0.x all keys are the hub's own.
pub(super) fn text(issuer: Option<&str>, subject: Option<&str>, key: &str) -> Arc<str> {
    match subject.filter(|subject| !subject.is_empty()) {
        Some(subject) => named("sub", issuer, subject),
        None => named("key", issuer, key),
    }
}

/// What would be too long, could not be shown, or could be read in two ways, is told by its digest.
fn named(kind: &str, issuer: Option<&str>, name: &str) -> Arc<str> {
    let plain = match issuer {
        Some(issuer) => format!("{kind}:{issuer} {name}"),
        None => format!("{kind}:{name}"),
    };
    let is_clear = issuer.is_none_or(|issuer| !issuer.contains(' '));
    if is_clear && plain.len() <= TEXT_LEN_MAX && !plain.chars().any(is_control_or_format) {
        return plain.into();
    }
    let issuer = issuer.unwrap_or_default();
    let digest = sha1_smol::Sha1::from(format!("{}\n{issuer}\n{name}", issuer.len())).digest();
    format!("{kind}-sha1:{digest}").into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_subject_names_its_bearer_and_a_key_where_there_is_none() {
        let check = |issuer, subject, expected: &str| assert_eq!(&*text(issuer, subject, "k"), expected);
        check(None, Some("alice"), "sub:alice");
        check(None, Some("été 1"), "sub:été 1");
        check(None, None, "key:k");
        check(None, Some(""), "key:k");
        check(Some("https://a.example"), Some("alice"), "sub:https://a.example alice");
        check(Some("https://a.example"), None, "key:https://a.example k");
    }

    #[test]
    fn what_cannot_stand_as_it_is_is_told_by_its_digest() {
        let digest = |issuer, subject: &str| text(issuer, Some(subject), "k");
        for subject in ["a\nb", "a\u{202E}b", "\0", &"x".repeat(253)] {
            assert!(digest(None, subject).starts_with("sub-sha1:"), "{subject:?}");
        }
        assert!(digest(None, &"x".repeat(252)).starts_with("sub:x"));
        assert_ne!(digest(None, "a\nb"), digest(None, "a\nc"));
        assert_ne!(digest(Some("a b"), "c"), digest(Some("a"), "b c"));
    }

    proptest! {
        #[test]
        fn every_text_is_short_and_shows(issuer in prop::option::of("\\PC{0,40}"), subject in any::<String>()) {
            let text = text(issuer.as_deref(), Some(&subject), "k");
            prop_assert!(text.len() <= TEXT_LEN_MAX && !text.chars().any(is_control_or_format));
        }
    }
}
