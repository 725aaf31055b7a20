//! The page at `/`: says what this is. It loads nothing and runs nothing.

use actix_web::HttpResponse;

use crate::{
    auth::Dialect,
    hub::{CurrentHub, Hub},
    metadata::METADATA_PATH,
};

const SPECIFICATION: &str = "https://mercure.rocks/spec";

/// Answers with the page.
pub(crate) async fn landing(hub: CurrentHub) -> HttpResponse {
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(page(&hub))
}

fn page(hub: &Hub) -> String {
    let state = |on: bool| if on { "on" } else { "off" };
    let v1 = hub.speaks(Dialect::V1);
    let metadata = match v1 {
        true => format!("<li><a href=\"{METADATA_PATH}\">How to get tokens (RFC 9728)</a></li>\n"),
        false => String::new(),
    };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>Rivulet</title>\n\
         <h1>Rivulet</h1>\n\
         <p>This is a <a href=\"{SPECIFICATION}\">Mercure</a> hub: it sends what publishers post to all who subscribed, \
         as server-sent events. It is at <code>/.well-known/mercure</code>.</p>\n\
         <ul>\n<li>Dialect 1.0 (<code>match=</code>): {}</li>\n<li>Dialect 0.x (<code>topic=</code>): {}</li>\n\
         <li>Subscribers without a token: {}</li>\n<li>Publishing: {}</li>\n</ul>\n\
         <ul>\n<li><a href=\"{}\">Documentation</a></li>\n{metadata}</ul>\n</html>\n",
        state(v1),
        state(hub.speaks(Dialect::V0)),
        state(hub.config.anonymous),
        state(hub.takes_publishers()),
        env!("CARGO_PKG_REPOSITORY"),
    )
}
