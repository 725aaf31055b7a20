//! `/live` and `/ready`, for orchestrators.

use std::time::SystemTime;

use actix_web::{HttpResponse, http::StatusCode, web};
use rivulet_node::{FeedStatus, StalePartition, Unready};
use serde_json::json;
use tokio::sync::watch;

use super::{State, answer, endpoint::Endpoint};
use crate::memory::MemoryState;

/// The paths of this file.
pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::read("/live", "200 while the process runs", live),
        Endpoint::read("/ready", "200 when clients may be sent here; else 503 and why not", ready),
    ]
}

/// The same while a node that starts waits for its transport.
pub(super) fn endpoints_before_node() -> Vec<Endpoint> {
    let waiting = async |why: web::Data<watch::Receiver<String>>| {
        let reason = why.borrow().clone();
        answer::json(StatusCode::SERVICE_UNAVAILABLE, &json!({ "status": "not ready", "reason": reason }))
    };
    vec![
        Endpoint::read("/live", "200 while the process runs", live),
        Endpoint::read("/ready", "503, and what this node waits for before it starts", waiting),
    ]
}

/// The process runs. Whether Redis does is none of its business: a restart would not help, and cut all streams.
async fn live() -> HttpResponse {
    answer::json(StatusCode::OK, &json!({ "status": "live" }))
}

/// New clients may be sent here.
async fn ready(state: web::Data<State>) -> HttpResponse {
    let memory = *state.memory.borrow();
    match not_ready(&state.node.readiness(), memory, &state.node.feed_status(), SystemTime::now()) {
        None => answer::json(StatusCode::OK, &json!({ "status": "ready" })),
        Some(reasons) => answer::json(StatusCode::SERVICE_UNAVAILABLE, &reasons),
    }
}

/// Why no clients should be sent here, if so: it stops, it has no room, or partitions are stale, and which, since when,
/// and what was seen last.
fn not_ready(
    unready: &[Unready],
    memory: MemoryState,
    feed: &FeedStatus,
    now: SystemTime,
) -> Option<serde_json::Value> {
    if let Some(leaving) = unready.iter().find(|reason| **reason == Unready::Leaving) {
        return Some(json!({ "status": "not ready", "reason": leaving.to_string() }));
    }
    if let FeedStatus::Stale(partitions) = feed {
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
        return Some(json!({ "status": "not ready", "reason": reason, "stale_partitions": stale }));
    }
    let reason = unready.first()?;
    let mut answer = json!({ "status": "not ready", "reason": reason.to_string() });
    if *reason == Unready::MemoryTight {
        answer["memory_used_bytes"] = memory.used.into();
        answer["memory_max_bytes"] = memory.max.into();
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const AMPLE: MemoryState = MemoryState { max: 1_000, used: 850, tight: false };

    #[test]
    fn a_stale_feed_is_not_ready_and_says_where_since_when_and_why() {
        let (since, reason) = (Duration::from_secs(7), "connection refused".to_owned());
        let partition = rivulet_core::Partition::new(3);
        let stale = FeedStatus::Stale(vec![StalePartition { partition, since, reason }]);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(67);
        assert_eq!(not_ready(&[], AMPLE, &FeedStatus::Live, now), None);
        let answer = not_ready(&[], AMPLE, &stale, now).unwrap();
        let expected = json!([{
            "partition": 3,
            "since": "Thu, 01 Jan 1970 00:01:00 GMT",
            "seconds": 7,
            "reason": "connection refused",
        }]);
        assert_eq!(answer["stale_partitions"], expected);
        let stopping =
            not_ready(&[Unready::MemoryTight, Unready::Leaving], AMPLE, &FeedStatus::Live, now).unwrap();
        assert_eq!(stopping["reason"], "the node is stopping");
    }

    #[test]
    fn a_node_whose_memory_is_tight_is_not_ready_and_says_how_much_it_has() {
        let tight = MemoryState { tight: true, ..AMPLE };
        let unready = [Unready::MemoryTight];
        let answer = not_ready(&unready, tight, &FeedStatus::Live, SystemTime::now()).unwrap();
        assert_eq!((&answer["memory_used_bytes"], &answer["memory_max_bytes"]), (&json!(850), &json!(1_000)));
    }
}
