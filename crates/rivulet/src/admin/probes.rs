//! `/live` and `/ready`, for orchestrators.

use std::time::SystemTime;

use actix_web::{HttpResponse, http::StatusCode, web};
use rivulet_node::{FeedStatus, StalePartition};
use serde_json::json;

use super::{State, answer, endpoint::Endpoint};
use crate::memory::MemoryState;

/// The paths of this file.
pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::read("/live", "200 while the process runs", live),
        Endpoint::read("/ready", "200 when clients may be sent here; else 503 and why not", ready),
    ]
}

/// The process runs. Whether Redis does is none of its business: a restart would not help, and cut all streams.
async fn live() -> HttpResponse {
    answer::json(StatusCode::OK, &json!({ "status": "live" }))
}

/// New clients may be sent here.
async fn ready(state: web::Data<State>) -> HttpResponse {
    let memory = *state.memory.borrow();
    match not_ready(state.node.is_open(), memory, &state.node.feed_status(), SystemTime::now()) {
        None => answer::json(StatusCode::OK, &json!({ "status": "ready" })),
        Some(reasons) => answer::json(StatusCode::SERVICE_UNAVAILABLE, &reasons),
    }
}

/// Why no clients should be sent here, if so: it stops, it has no room, or partitions are stale, and which, since when,
/// and what was seen last.
fn not_ready(
    is_open: bool,
    memory: MemoryState,
    feed: &FeedStatus,
    now: SystemTime,
) -> Option<serde_json::Value> {
    if !is_open {
        return Some(json!({ "status": "not ready", "reason": "the node is stopping" }));
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
    let MemoryState { max, used, tight } = memory;
    let reason = "memory is tight";
    tight.then(|| {
        json!({ "status": "not ready", "reason": reason, "memory_used_bytes": used, "memory_max_bytes": max })
    })
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
        assert_eq!(not_ready(true, AMPLE, &FeedStatus::Live, now), None);
        let answer = not_ready(true, AMPLE, &stale, now).unwrap();
        let expected = json!([{
            "partition": 3,
            "since": "Thu, 01 Jan 1970 00:01:00 GMT",
            "seconds": 7,
            "reason": "connection refused",
        }]);
        assert_eq!(answer["stale_partitions"], expected);
        let stopping = not_ready(false, AMPLE, &FeedStatus::Live, now).unwrap();
        assert_eq!(stopping["reason"], "the node is stopping");
    }

    #[test]
    fn a_node_whose_memory_is_tight_is_not_ready_and_says_how_much_it_has() {
        let tight = MemoryState { tight: true, ..AMPLE };
        let answer = not_ready(true, tight, &FeedStatus::Live, SystemTime::now()).unwrap();
        assert_eq!((&answer["memory_used_bytes"], &answer["memory_max_bytes"]), (&json!(850), &json!(1_000)));
    }
}
