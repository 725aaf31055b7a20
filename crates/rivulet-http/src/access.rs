//! From a request to what its token allows.

use std::time::{Instant, SystemTime};

use actix_web::http::header;
use rivulet_node::Client;

use crate::{
    auth::{AuthError, Check, CredentialParts, CredentialSource, Dialect, Purpose, Verified, check_origin},
    client_address::client_address,
    form::Form,
    hub::Hub,
    problem::Problem,
    rarely::Rarely,
    request::Request,
};

static KEYS_UNAVAILABLE: Rarely = Rarely::new();

/// What a verified token says, where it stood, and whose limits count.
pub(crate) struct Access {
    pub(crate) verified: Verified,
    pub(crate) source: CredentialSource,
    pub(crate) client: Client,
}

/// Finds and verifies the request's token; `None` if it has none. `query` is the parsed query string of the URL, and
/// `dialect` the one that its parameters speak, if they tell.
pub(crate) async fn find(
    hub: &Hub,
    request: &Request,
    query: &Form,
    purpose: Purpose,
    dialect: Option<Dialect>,
) -> Result<Option<Access>, Problem> {
    let headers = request.headers();
    let authorization: Vec<&[u8]> =
        headers.get_all(header::AUTHORIZATION).map(|value| value.as_bytes()).collect();
    let cookies: Vec<&[u8]> = headers.get_all(header::COOKIE).map(|value| value.as_bytes()).collect();
    let in_query: Vec<&str> = query.all("authorization").collect();
    let parts =
        CredentialParts { authorization: &authorization, query: &in_query, cookies: &cookies, dialect };
    let authorizer = &hub.config.authorizer;
    let refused = |error| refuse(hub, &error);
    let Some(credential) = authorizer.credential(&parts).map_err(refused)? else {
        return Ok(None);
    };
    let verified = authorizer.verify(&credential, purpose, SystemTime::now()).await.map_err(refused)?;
    let client = Client { subject: verified.bearer.clone(), ip: client_address(hub, request) };
    Ok(Some(Access { verified, source: credential.source(), client }))
}

/// Who asks without a token.
pub(crate) fn anonymous(hub: &Hub, request: &Request) -> Client {
    Client::anonymous(client_address(hub, request))
}

/// Refuses a publication that a cookie authorizes and that no allowed page sent.
pub(crate) fn check_page(hub: &Hub, request: &Request, access: &Access) -> Result<(), Problem> {
    let value = |name| request.headers().get(name).map(|value| value.as_bytes());
    let allowed = &hub.config.publish_origins;
    let (origin, referer) = (value(header::ORIGIN), value(header::REFERER));
    check_origin(access.verified.dialect, access.source, origin, referer, allowed)
        .map_err(|error| refuse(hub, &error))
}

/// The answer to a request that needs a token and has none.
pub(crate) fn token_missing(hub: &Hub, dialect: Dialect) -> Problem {
    refuse(hub, &AuthError::token_missing(dialect))
}

/// The answer to a token that expired while its request was under way.
pub(crate) fn token_expired(hub: &Hub, dialect: Dialect) -> Problem {
    refuse(hub, &AuthError::token_expired(dialect))
}

/// The answer to a token that does not grant what was asked.
pub(crate) fn insufficient(hub: &Hub, dialect: Dialect, detail: String) -> Problem {
    refuse(hub, &AuthError::insufficient_scope(dialect, detail))
}

fn refuse(hub: &Hub, error: &AuthError) -> Problem {
    if error.check() == Check::KeysUnavailable
        && let Some(unsaid) = KEYS_UNAVAILABLE.say(Instant::now())
    {
        tracing::warn!(error = %error, unsaid, "a token cannot be verified because its keys could not be read");
    }
    Problem::unauthorized(error, hub.metadata_url.as_deref())
}
