//! The OAuth 2.0 protected resource metadata of RFC 9728: where clients of dialect 1.0 get tokens, and for what.

use actix_web::HttpResponse;
use serde::Serialize;
use url::Url;

use crate::{hub::CurrentHub, problem::Problem};

/// The document's path: the well-known name goes between the host and the path of the resource.
pub(crate) const METADATA_PATH: &str = "/.well-known/oauth-protected-resource/.well-known/mercure";

/// RFC 9396 details that the hub understands.
const DETAILS_TYPE: &str = "https://mercure.rocks/authorization-detail";

#[derive(Serialize)]
struct Metadata<'a> {
    resource: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    authorization_servers: Vec<&'a str>,
    bearer_methods_supported: [&'static str; 1],
    authorization_details_types_supported: [&'static str; 1],
    resource_name: &'static str,
    resource_documentation: &'static str,
}

/// The address of the document of a hub with this resource identifier.
pub(crate) fn address(resource: &Url) -> String {
    format!("{}{METADATA_PATH}", resource.origin().ascii_serialization())
}

/// Answers with the document, if dialect 1.0 is on.
pub(crate) async fn metadata(hub: CurrentHub) -> Result<HttpResponse, Problem> {
    let v1 = hub.config.authorizer.v1().ok_or_else(Problem::not_found)?;
    // An issuer's name must be an https URL (RFC 8414 §2); others cannot be looked up and are not listed.
    let issuers = v1.issuers.iter().map(|issuer| issuer.issuer.as_str());
    Ok(HttpResponse::Ok().json(Metadata {
        resource: v1.resource.as_str(),
        authorization_servers: issuers.filter(|issuer| issuer.starts_with("https://")).collect(),
        bearer_methods_supported: ["header"],
        authorization_details_types_supported: [DETAILS_TYPE],
        resource_name: "Rivulet",
        resource_documentation: env!("CARGO_PKG_REPOSITORY"),
    }))
}
