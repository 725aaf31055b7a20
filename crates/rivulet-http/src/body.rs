//! Reading a request's body within bounds of size, memory and time.

use std::sync::Arc;

use actix_web::{http::header, web};
use futures_util::StreamExt;
use rivulet_node::Node;

use crate::{
    bodies::BodyMemory, hub::Hub, limit_problem, problem::Problem, problem_kind::ProblemKind,
    request::Request,
};

/// Bodies beyond this are refused while the node is short of memory. Most updates are shorter.
const LARGE_LEN: usize = 64 * 1024;

/// A body, and the memory that is counted for it.
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    /// To be kept until what the body brings has been handed over: it is in memory as well, in another form.
    pub(crate) memory: BodyMemory,
}

/// The media types of bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MediaType {
    /// `application/x-www-form-urlencoded`.
    Form,
    /// `application/x-ndjson`.
    Ndjson,
    /// There is no `Content-Type`.
    Missing,
    /// Any other.
    Other,
}

/// The media type that the request's `Content-Type` names; its parameters (`charset`) change nothing: it is UTF-8.
pub(crate) fn media_type(request: &Request) -> MediaType {
    let Some(value) = request.headers().get(header::CONTENT_TYPE) else {
        return MediaType::Missing;
    };
    let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        MediaType::Form
    } else if essence.eq_ignore_ascii_case("application/x-ndjson") {
        MediaType::Ndjson
    } else {
        MediaType::Other
    }
}

/// Reads the whole body: at most `len_max` bytes within the configured time. A client that sends half of one and falls
/// silent must not hold its memory for ever, and actix has no clock for bodies. `subject` is whose body it is.
pub(crate) async fn read(
    hub: &Hub,
    request: &Request,
    payload: web::Payload,
    (len_max, subject): (usize, &Arc<str>),
) -> Result<Body, Problem> {
    let announced =
        request.headers().get(header::CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse().ok());
    if announced.is_some_and(|len: u64| len > len_max as u64) {
        return Err(too_long(len_max));
    }
    let memory = hub.bodies.begin(subject);
    let collected = Collected { hub, len_max, body: Body { bytes: Vec::new(), memory } };
    if let Some(len) = announced {
        collected.check_room(len)?;
    }
    let timeout = hub.config.body_timeout;
    match tokio::time::timeout(timeout, collected.collect(payload)).await {
        Ok(read) => read,
        Err(_) => {
            let detail = format!("the body must arrive within {} s", timeout.as_secs_f32());
            Err(Problem::new(ProblemKind::BodyTimeout, detail))
        }
    }
}

/// What has been read so far.
struct Collected<'a> {
    hub: &'a Hub,
    len_max: usize,
    body: Body,
}

impl Collected<'_> {
    /// Refuses a body that says beforehand that it is too much now: then none of it has to be read.
    fn check_room(&self, announced: u64) -> Result<(), Problem> {
        let memory = &self.body.memory;
        let room = memory.check_room(announced);
        room.map_err(|busy| limit_problem::bodies_busy(busy, memory.subject()))?;
        if announced > LARGE_LEN as u64 { check_memory(&self.hub.node) } else { Ok(()) }
    }

    async fn collect(mut self, mut payload: web::Payload) -> Result<Body, Problem> {
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|error| Problem::new(ProblemKind::BodyBroken, error.to_string()))?;
            self.make_room(chunk.len())?;
            self.body.bytes.extend_from_slice(&chunk);
        }
        Ok(self.body)
    }

    /// Takes memory for a chunk: twice what there was, so that a body is not copied with each of its chunks.
    fn make_room(&mut self, chunk: usize) -> Result<(), Problem> {
        let Body { bytes, memory } = &mut self.body;
        let len = bytes.len() + chunk;
        if len > self.len_max {
            return Err(too_long(self.len_max));
        }
        if len <= bytes.capacity() {
            return Ok(());
        }
        if len > LARGE_LEN && bytes.len() <= LARGE_LEN {
            check_memory(&self.hub.node)?;
        }
        let had = bytes.capacity();
        let doubled = len.max(2 * had).min(self.len_max);
        // Near the bound only what is needed.
        let capacity = match memory.take(doubled - had) {
            Ok(()) => doubled,
            Err(_) => {
                let taken = memory.take(len - had);
                taken.map_err(|busy| limit_problem::bodies_busy(busy, memory.subject()))?;
                len
            }
        };
        bytes.reserve_exact(capacity - bytes.len());
        Ok(())
    }
}

/// A node that is full, or leaves, still publishes; one that is short of memory takes small bodies only.
fn check_memory(node: &Node) -> Result<(), Problem> {
    if node.is_memory_tight() { Err(limit_problem::memory_tight(node)) } else { Ok(()) }
}

fn too_long(len_max: usize) -> Problem {
    Problem::new(ProblemKind::BodyTooLong, format!("a body has at most {len_max} bytes"))
}

#[cfg(test)]
mod tests {
    use rivulet_node::{MemoryTransport, NodeConfig, Retention};

    use super::*;

    #[tokio::test]
    async fn only_a_shortage_of_memory_keeps_large_bodies_out() {
        let (transport, feed) = MemoryTransport::start(Retention::default());
        let node = Node::start(transport, feed, NodeConfig { connections_max: 0, ..NodeConfig::default() });
        assert!(check_memory(&node).is_ok(), "a full node publishes");
        node.leave();
        assert!(check_memory(&node).is_ok(), "so does one that leaves");
        node.set_memory_tight(true);
        let problem = check_memory(&node).unwrap_err();
        assert_eq!(serde_json::to_value(problem.document()).unwrap()["limit"], "node_memory_bytes");
        node.shutdown().await;
    }
}
