//! The admin listener: `/live`, `/ready` and `/metrics`, for orchestrators and Prometheus, on an address that clients
//! do not reach. It shares nothing with the hub's workers, so it answers also while they are busy.

use std::{
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::{Duration, SystemTime},
};

use actix_web::{
    App, HttpResponse, HttpServer,
    dev::ServerHandle,
    guard,
    http::header::{CACHE_CONTROL, CONTENT_TYPE},
    web,
};
use rivulet_node::{FeedStatus, Node, StalePartition};
use serde_json::json;

use crate::metrics::{self, Metrics};

/// Beside probes and one or two scrapers nobody connects.
const CONNECTIONS_MAX: usize = 256;
/// How long a client may take for its request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// A running admin listener.
pub(crate) struct Admin {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    server: ServerHandle,
}

struct State {
    node: Arc<Node>,
    metrics: Metrics,
}

/// Serves on a listener that is bound already, in a tokio runtime.
pub(crate) fn serve(node: Arc<Node>, listener: TcpListener) -> std::io::Result<Admin> {
    let address = listener.local_addr()?;
    let state = web::Data::new(State { metrics: Metrics::new(Arc::clone(&node)), node });
    let read = || guard::Any(guard::Get()).or(guard::Head());
    let app = move || {
        App::new()
            .app_data(state.clone())
            .route("/live", web::route().guard(read()).to(live))
            .route("/ready", web::route().guard(read()).to(ready))
            .route("/metrics", web::route().guard(read()).to(metrics))
    };
    let server = HttpServer::new(app)
        .workers(1)
        .worker_max_blocking_threads(1)
        .max_connections(CONNECTIONS_MAX)
        .client_request_timeout(REQUEST_TIMEOUT)
        .shutdown_timeout(1)
        .disable_signals()
        .listen(listener)?
        .run();
    let handle = server.handle();
    tokio::spawn(server);
    Ok(Admin { address, server: handle })
}

impl Admin {
    /// Ends it; a request that is being answered may finish.
    pub(crate) async fn stop(self) {
        self.server.stop(true).await;
    }
}

/// The process runs. Whether Redis does is none of its business: a restart would not help, and cut all streams.
async fn live() -> HttpResponse {
    answer(200, &json!({ "status": "live" }))
}

/// New clients may be sent here.
async fn ready(state: web::Data<State>) -> HttpResponse {
    match not_ready(state.node.is_open(), &state.node.feed_status(), SystemTime::now()) {
        None => answer(200, &json!({ "status": "ready" })),
        Some(reasons) => answer(503, &reasons),
    }
}

/// Why no clients should be sent here, if so: which partitions are stale, since when, and what was seen last.
fn not_ready(is_open: bool, feed: &FeedStatus, now: SystemTime) -> Option<serde_json::Value> {
    if !is_open {
        return Some(json!({ "status": "not ready", "reason": "the node is stopping" }));
    }
    let FeedStatus::Stale(partitions) = feed else { return None };
    let stale = |stale: &StalePartition| {
        json!({
            "partition": stale.partition.number(),
            "since": httpdate::fmt_http_date(now.checked_sub(stale.since).unwrap_or(now)),
            "seconds": stale.since.as_secs(),
            "reason": stale.reason,
        })
    };
    let reason = "no update could arrive from these partitions of the transport";
    let stale: Vec<_> = partitions.iter().map(stale).collect();
    Some(json!({ "status": "not ready", "reason": reason, "stale_partitions": stale }))
}

async fn metrics(state: web::Data<State>) -> HttpResponse {
    match state.metrics.render() {
        Ok(text) => HttpResponse::Ok().insert_header((CONTENT_TYPE, metrics::CONTENT_TYPE)).body(text),
        Err(_) => HttpResponse::InternalServerError().finish(),
    }
}

fn answer(status: u16, body: &serde_json::Value) -> HttpResponse {
    let status = actix_web::http::StatusCode::from_u16(status).expect("the statuses above are statuses");
    HttpResponse::build(status).insert_header((CACHE_CONTROL, "no-store")).json(body)
}

#[cfg(test)]
mod tests {
    use rivulet_node::{MemoryTransport, NodeConfig, Retention};

    use super::*;

    async fn get(admin: &Admin, path: &str) -> (u16, String, String) {
        let response = reqwest::get(format!("http://{}{path}", admin.address)).await.unwrap();
        let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
        (response.status().as_u16(), content_type, response.text().await.unwrap())
    }

    #[tokio::test]
    async fn probes_and_metrics_tell_the_nodes_state() {
        let (transport, feed) = MemoryTransport::start(Retention::default());
        let node = Node::start(transport, feed, NodeConfig::default());
        let admin = serve(Arc::clone(&node), TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
        assert_eq!(get(&admin, "/live").await.0, 200);
        assert_eq!(
            get(&admin, "/ready").await,
            (200, "application/json".into(), r#"{"status":"ready"}"#.into())
        );

        let (status, content_type, text) = get(&admin, "/metrics").await;
        assert_eq!((status, content_type.as_str()), (200, metrics::CONTENT_TYPE));
        for line in [
            "mercure_subscribers_connected 0",
            "mercure_subscribers_total 0",
            "mercure_updates_total 0",
            "# TYPE mercure_subscribers_connected gauge",
            "# TYPE mercure_updates counter",
            "rivulet_streams_closed_total{reason=\"client_gone\"} 0",
            "rivulet_streams_closed_total{reason=\"stalled\"} 0",
            "rivulet_feed_live 1",
            "rivulet_delivered_bytes_total 0",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line:?} is not in\n{text}");
        }
        assert!(text.contains("rivulet_build_info{version=\""), "{text}");
        assert!(text.contains("transport=\"memory\""), "{text}");
        assert!(text.contains("\nprocess_resident_memory_bytes "), "{text}");

        node.shutdown().await;
        assert_eq!(get(&admin, "/live").await.0, 200);
        let (status, _, text) = get(&admin, "/ready").await;
        assert_eq!(status, 503);
        assert!(text.contains("stopping"), "{text}");
        admin.stop().await;
    }

    #[test]
    fn a_stale_feed_is_not_ready_and_says_where_since_when_and_why() {
        let (since, reason) = (Duration::from_secs(7), "connection refused".to_owned());
        let partition = rivulet_core::Partition::new(3);
        let stale = FeedStatus::Stale(vec![StalePartition { partition, since, reason }]);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(67);
        assert_eq!(not_ready(true, &FeedStatus::Live, now), None);
        let answer = not_ready(true, &stale, now).unwrap();
        let expected = json!([{
            "partition": 3,
            "since": "Thu, 01 Jan 1970 00:01:00 GMT",
            "seconds": 7,
            "reason": "connection refused",
        }]);
        assert_eq!(answer["stale_partitions"], expected);
        assert_eq!(not_ready(false, &FeedStatus::Live, now).unwrap()["reason"], "the node is stopping");
    }
}
