//! Which web pages may publish with their visitors' cookies.

use url::Url;

use super::{AuthError, Check, CredentialSource, Dialect, error::Refusal};

/// The origins that may publish with a cookie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedOrigins {
    any: bool,
    origins: Vec<String>,
}

/// Why a string is not an origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an origin: write scheme://host or scheme://host:port, without a path, or *")]
pub struct OriginError(pub String);

impl AllowedOrigins {
    /// Parses a list of origins; `*` allows every origin.
    ///
    /// # Errors
    ///
    /// The first entry that is not an origin.
    pub fn parse<S: AsRef<str>>(list: &[S]) -> Result<Self, OriginError> {
        let mut allowed = Self::default();
        for text in list.iter().map(AsRef::as_ref) {
            if text == "*" {
                allowed.any = true;
                continue;
            }
            allowed.origins.push(origin_of(text, Form::Origin).ok_or_else(|| OriginError(text.to_owned()))?);
        }
        Ok(allowed)
    }

    fn allows(&self, origin: &str) -> bool {
        self.any || self.origins.iter().any(|allowed| allowed == origin)
    }
}

/// How much of a URL a text may hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// No path, query or fragment, as in `Origin`.
    Origin,
    /// Anything, as in `Referer`.
    Url,
}

/// The origin of a URL, serialized; `None` if it has no origin that can be compared (`null`, `data:` …).
fn origin_of(text: &str, form: Form) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let bare = matches!(url.path(), "" | "/")
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && !text.ends_with('/');
    let origin = url.origin();
    (origin.is_tuple() && (form == Form::Url || bare)).then(|| origin.ascii_serialization())
}

/// Refuses a publication that a cookie authorizes unless an allowed page sent it: a browser attaches cookies to
/// requests of any page, so without this check every site could publish in its visitors' names. `Origin` decides if it
/// is there, else `Referer`; without either the request is refused.
///
/// # Errors
///
/// [`Check::Origin`].
pub fn check_origin(
    dialect: Dialect,
    source: CredentialSource,
    origin: Option<&[u8]>,
    referer: Option<&[u8]>,
    allowed: &AllowedOrigins,
) -> Result<(), AuthError> {
    if source != CredentialSource::Cookie {
        return Ok(());
    }
    let (name, text, form) = match (origin, referer) {
        (Some(text), _) => ("Origin", text, Form::Origin),
        (None, Some(text)) => ("Referer", text, Form::Url),
        (None, None) => {
            let detail = "a publication that a cookie authorizes needs the header \"Origin\" or \"Referer\"";
            return Err(Refusal::new(Check::Origin, detail).by(dialect));
        }
    };
    let found = std::str::from_utf8(text).ok().and_then(|text| origin_of(text, form));
    if found.is_some_and(|found| allowed.allows(&found)) {
        return Ok(());
    }
    let detail = format!(
        "a publication that a cookie authorizes must come from an allowed origin, and \"{name}\" does not name one"
    );
    Err(Refusal::new(Check::Origin, detail).by(dialect))
}
