//! A compact JWS (RFC 7515) taken apart. Nothing in it is verified here.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Deserializer, de::IgnoredAny};

use super::{
    Algorithm, Check, Dialect, TOKEN_LEN_MAX,
    error::{Refusal, quoted},
};

/// A token taken apart.
pub(super) struct Token<'a> {
    header: Header,
    /// The part that the signature covers.
    signed: &'a str,
    claims: Vec<u8>,
    signature: Vec<u8>,
}

/// The header parameters that matter. `jwk`, `jku`, `x5u`, `x5c` are not among them: keys come from the configuration
/// only, and whoever could name a key in the token could sign it too.
#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    #[serde(default, deserialize_with = "is_present")]
    crit: bool,
}

/// True whatever the value is, `null` included: serde calls it only if the member is there.
fn is_present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

impl<'a> Token<'a> {
    /// Takes a token apart and refuses what could never be verified.
    pub(super) fn parse(text: &'a str) -> Result<Self, Refusal> {
        if text.len() > TOKEN_LEN_MAX {
            let detail = format!("a token has at most {TOKEN_LEN_MAX} bytes, this one has {}", text.len());
            return Err(Refusal::new(Check::TooLong, detail));
        }
        let malformed = |detail| Refusal::new(Check::Malformed, detail);
        let parts: Vec<&str> = text.splitn(4, '.').collect();
        let [header, claims, signature] = parts[..] else {
            return Err(malformed(
                "the token is not a JWS in compact form: three parts with a dot between them",
            ));
        };
        let signed = &text[..header.len() + 1 + claims.len()];
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part);
        let header =
            decode(header).map_err(|_| malformed("the token's header is not base64url without padding"))?;
        let claims =
            decode(claims).map_err(|_| malformed("the token's claims are not base64url without padding"))?;
        let signature = decode(signature)
            .map_err(|_| malformed("the token's signature is not base64url without padding"))?;
        // A struct would also be read from an array.
        let header: Header = (header.first() == Some(&b'{'))
            .then(|| serde_json::from_slice(&header).ok())
            .flatten()
            .ok_or_else(|| {
                malformed("the token's header is not a JSON object with \"alg\", and strings for \"typ\" and \"kid\"")
            })?;
        if header.crit {
            return Err(Refusal::new(
                Check::Critical,
                "the token's header has \"crit\": no extension of JWS is understood here",
            ));
        }
        Ok(Self { header, signed, claims, signature })
    }

    /// The dialect that the token speaks: its `typ` tells (RFC 9068 §4).
    pub(super) fn dialect(&self) -> Dialect {
        const MEDIA_TYPE_PREFIX: &str = "application/";
        let typ = self.header.typ.as_deref().unwrap_or_default();
        let bare = match typ.get(..MEDIA_TYPE_PREFIX.len()) {
            Some(prefix) if prefix.eq_ignore_ascii_case(MEDIA_TYPE_PREFIX) => &typ[MEDIA_TYPE_PREFIX.len()..],
            _ => typ,
        };
        if bare.eq_ignore_ascii_case("at+jwt") { Dialect::V1 } else { Dialect::V0 }
    }

    /// The header's `typ`, as an answer may quote it.
    pub(super) fn typ_quoted(&self) -> String {
        self.header.typ.as_deref().map_or_else(|| "missing".to_owned(), quoted)
    }

    /// The header's `alg`, which is never `none`.
    pub(super) fn algorithm(&self) -> Result<Algorithm, Refusal> {
        self.header.alg.parse().map_err(|_| {
            let detail = format!("\"alg\" is {}, which is not accepted", quoted(&self.header.alg));
            Refusal::new(Check::Algorithm, detail)
        })
    }

    pub(super) fn key_id(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    pub(super) fn signed(&self) -> &str {
        self.signed
    }

    pub(super) fn signature(&self) -> &Vec<u8> {
        &self.signature
    }

    /// The claims' bytes, decoded: JSON if the token is well-formed.
    pub(super) fn claims(&self) -> &[u8] {
        &self.claims
    }
}
