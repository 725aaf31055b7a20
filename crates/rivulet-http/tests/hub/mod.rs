//! A real server on a free port over the memory transport, and clients for it.
#![allow(dead_code, reason = "every test file is a crate of its own and uses its part of this")]

pub(crate) mod client;
pub(crate) mod tls;
pub(crate) mod token;
pub(crate) mod transport;

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use rivulet_http::{
    HttpConfig, HttpServerHandle, HttpStats, ListenerStats,
    auth::{
        Algorithm, AuthConfig, Authorizer, COOKIE_NAME_V0, COOKIE_NAME_V1, KeySource, TrustedIssuer,
        V0Config, V1Config,
    },
    serve,
};
use rivulet_node::{Feed, MemoryTransport, Node, NodeConfig, Retention, Transport};
use serde_json::Value;

use self::client::Stream;

pub(crate) const HUB: &str = "/.well-known/mercure";
/// How long anything may take before a test gives up.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) struct Hub {
    pub(crate) node: Arc<Node>,
    pub(crate) server: HttpServerHandle,
    pub(crate) stats: Arc<HttpStats>,
    pub(crate) client: Client,
}

/// Both dialects, anonymous subscribers.
pub(crate) fn both() -> AuthConfig {
    AuthConfig { v0: Some(v0()), v1: Some(v1()), ..AuthConfig::default() }
}

pub(crate) fn only_v0() -> AuthConfig {
    AuthConfig { v1: None, ..both() }
}

pub(crate) fn only_v1() -> AuthConfig {
    AuthConfig { v0: None, ..both() }
}

fn secret() -> KeySource {
    KeySource::Secret { algorithm: Algorithm::HS256, secret: token::SECRET.to_vec() }
}

pub(crate) fn v0() -> V0Config {
    V0Config { publisher: Some(secret()), subscriber: Some(secret()), cookie_name: COOKIE_NAME_V0.into() }
}

pub(crate) fn v1() -> V1Config {
    V1Config {
        resource: token::RESOURCE.parse().unwrap(),
        issuers: vec![TrustedIssuer::new(token::ISSUER, secret())],
        cookie_name: COOKIE_NAME_V1.into(),
    }
}

impl Hub {
    /// Both dialects, anonymous subscribers allowed.
    pub(crate) async fn start() -> Self {
        Self::start_with(both(), |config| config.anonymous = true).await
    }

    pub(crate) async fn start_with(auth: AuthConfig, change: impl FnOnce(&mut HttpConfig)) -> Self {
        let (transport, feed) = MemoryTransport::start(Retention::default());
        Self::start_on(transport, feed, NodeConfig::default(), auth, change).await
    }

    pub(crate) async fn start_on(
        transport: Arc<dyn Transport>,
        feed: Feed,
        node_config: NodeConfig,
        auth: AuthConfig,
        change: impl FnOnce(&mut HttpConfig),
    ) -> Self {
        let node = Node::start(transport, feed, node_config);
        let mut config = HttpConfig::new(Arc::new(Authorizer::new(auth).unwrap()));
        config.workers = NonZeroUsize::new(2).unwrap();
        change(&mut config);
        let stats = config.stats.clone();
        let server = serve(node.clone(), config).unwrap();
        let client = Client::builder().no_proxy().timeout(DEADLINE).build().unwrap();
        Self { node, server, stats, client }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address())
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.client.request(Method::from_bytes(method.as_bytes()).unwrap(), self.url(path))
    }

    pub(crate) fn stats(&self) -> &ListenerStats {
        self.server.listener_stats()
    }

    /// `GET` on the hub with this query string.
    pub(crate) async fn get(&self, query: &str) -> Response {
        self.request("GET", &format!("{HUB}?{query}")).send().await.unwrap()
    }

    /// An open stream.
    pub(crate) async fn stream(&self, query: &str) -> Stream {
        Stream::of(self.get(query).await)
    }

    /// Publishes a form with a token.
    pub(crate) async fn post(&self, token: &str, form: &str) -> Response {
        self.publication(token).body(form.to_owned()).send().await.unwrap()
    }

    pub(crate) fn publication(&self, token: &str) -> RequestBuilder {
        self.request("POST", HUB)
            .bearer_auth(token)
            .header("Content-Type", "application/x-www-form-urlencoded")
    }

    /// Publishes what must succeed; answers the id.
    pub(crate) async fn published(&self, form: &str) -> String {
        let response = self.post(&token::v0(&["*"], &["*"]), form).await;
        assert_eq!(response.status(), StatusCode::OK);
        response.text().await.unwrap()
    }

    /// Every place is given back.
    pub(crate) async fn left_nothing(&self) {
        eventually("no connection is left", || {
            let stats = self.node.stats();
            stats.connections == 0 && stats.seats == 0 && stats.sources == 0
        })
        .await;
    }
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(DEADLINE, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "not in time: {what}");
}

pub(crate) fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

/// Checks that an answer is this problem; answers its document.
pub(crate) async fn problem(response: Response, status: u16, slug: &str) -> Value {
    let found = response.status().as_u16();
    let media_type = header(&response, "content-type").unwrap_or("none").to_owned();
    let text = response.text().await.unwrap();
    assert_eq!(found, status, "{slug}: {text}");
    assert_eq!(media_type, "application/problem+json", "{slug}");
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["type"], format!("urn:rivulet:problem:{slug}"), "{text}");
    assert_eq!(document["status"], status);
    assert!(document["title"].is_string() && document["detail"].is_string(), "{text}");
    document
}
