//! The spans of calls of Redis, as parts of what is recorded: what was run, where, and what came of it.

use opentelemetry::{
    KeyValue,
    trace::{SpanKind, Status},
};
use opentelemetry_semantic_conventions::attribute::{
    DB_NAMESPACE, DB_OPERATION_BATCH_SIZE, DB_OPERATION_NAME, DB_RESPONSE_STATUS_CODE,
    DB_STORED_PROCEDURE_NAME, DB_SYSTEM_NAME, ERROR_TYPE, NETWORK_PEER_ADDRESS, NETWORK_PEER_PORT,
    SERVER_ADDRESS, SERVER_PORT,
};
use redis::RedisError;
use rivulet_node::{
    TransportError,
    trace::{self, Span},
};

use crate::{deployment::Server, error_type::ErrorType, primaries::Job, refusal::Refusal};

/// The span of a job, if what it is for is recorded.
pub(crate) fn begin(job: Job<'_>, server: &Server, database: i64) -> Span {
    if trace::current().is_none() {
        return Span::NONE;
    }
    let (name, of_job) = match job {
        Job::Append(script, _) | Job::Tick(script, _) | Job::Count(script, _) | Job::Read(_, script, _) => {
            let named = KeyValue::new(DB_STORED_PROCEDURE_NAME, script.name);
            (format!("EVALSHA {}", script.name), [KeyValue::new(DB_OPERATION_NAME, "EVALSHA"), named])
        }
        Job::Pipeline(_, pipeline) => {
            let commands = i64::try_from(pipeline.cmd_iter().count()).unwrap_or(i64::MAX);
            let size = KeyValue::new(DB_OPERATION_BATCH_SIZE, commands);
            ("PIPELINE".to_owned(), [KeyValue::new(DB_OPERATION_NAME, "PIPELINE"), size])
        }
    };
    Span::child(name, SpanKind::Client, || {
        let common =
            [KeyValue::new(DB_SYSTEM_NAME, "redis"), KeyValue::new(DB_NAMESPACE, database.to_string())];
        common.into_iter().chain(of_job).chain(place(server))
    })
}

/// Where a server is, as attributes. The peer is known where it is not found by a name, as clusters and Sentinels tell it:
/// the client library does not say to which of a name's addresses it is connected.
fn place(server: &Server) -> impl Iterator<Item = KeyValue> {
    let (address, port, is_peer) = match server {
        Server::Tcp(host, port) => (host.clone(), Some(*port), host.parse::<std::net::IpAddr>().is_ok()),
        Server::Unix(path) => (path.display().to_string(), None, true),
    };
    let at = move |name: &'static str| port.map(|port| KeyValue::new(name, i64::from(port)));
    let peer = is_peer.then(|| KeyValue::new(NETWORK_PEER_ADDRESS, address.clone()));
    let peer = peer.into_iter().chain(at(NETWORK_PEER_PORT).filter(|_| is_peer));
    [KeyValue::new(SERVER_ADDRESS, address)].into_iter().chain(at(SERVER_PORT)).chain(peer)
}

/// What becomes of a call that a server refused, or that did not get through to it. The current span, that of the call,
/// is told.
pub(crate) fn refused(error: RedisError) -> Refusal {
    let code = error.code().map(str::to_owned);
    let refusal = Refusal::from(error);
    let kind = code.clone().unwrap_or_else(|| refusal.error_type().as_str().to_owned());
    trace::tell_current(|span| {
        let code = code.map(|code| KeyValue::new(DB_RESPONSE_STATUS_CODE, code));
        match &refusal {
            Refusal::Failed(_, error) => {
                span.set_attributes(code.into_iter().chain([KeyValue::new(ERROR_TYPE, kind)]));
                span.set_status(Status::error(error.reason.clone()));
            }
            Refusal::Moved(_) | Refusal::Later(_) => span.add_event("redirected", code.into_iter().collect()),
            Refusal::Ask(to) => {
                span.add_event("redirected", code.into_iter().chain(place(to)).collect());
            }
        }
    });
    refusal
}

/// What becomes of a call without an answer.
pub(crate) fn failed(kind: ErrorType, reason: impl Into<String>) -> Refusal {
    let error = TransportError::new(reason);
    fail_current(kind, &error);
    Refusal::Failed(kind, error)
}

/// Says that the current span has failed.
pub(crate) fn fail_current(kind: ErrorType, error: &TransportError) {
    trace::tell_current(|span| {
        span.set_attribute(KeyValue::new(ERROR_TYPE, kind.as_str()));
        span.set_status(Status::error(error.reason.clone()));
    });
}
