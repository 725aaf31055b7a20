//! The span of a request to publish or to subscribe, by the semantic conventions of HTTP servers.
//!
//! That of a publication lives until the answer, that of a subscription until its stream begins, or is refused. Query
//! strings, tokens and bodies are in none.

use actix_web::{
    HttpResponse, ResponseError as _,
    http::{
        Version,
        header::{self, HeaderName, HeaderValue},
    },
};
use opentelemetry::{
    KeyValue,
    trace::{SpanBuilder, SpanKind, Status},
};
use opentelemetry_semantic_conventions::attribute::{
    CLIENT_ADDRESS, ERROR_TYPE, HTTP_REQUEST_METHOD, HTTP_RESPONSE_STATUS_CODE, HTTP_ROUTE,
    NETWORK_PEER_ADDRESS, NETWORK_PEER_PORT, NETWORK_PROTOCOL_VERSION, SERVER_ADDRESS, SERVER_PORT, URL_PATH,
    URL_SCHEME, USER_AGENT_ORIGINAL,
};
use rivulet_node::trace::{self, Span};

use crate::{
    client_address::client_address,
    hub::{HUB_PATH, Hub},
    problem::Problem,
    request::Request,
    trace_headers,
};

/// In which answers to publications say which span was theirs (W3C Trace Context, level 2, draft).
const TRACERESPONSE: HeaderName = HeaderName::from_static("traceresponse");
/// The most characters of a `User-Agent` in a span.
const USER_AGENT_LEN_MAX: usize = 256;

/// Begins the span of a request: below the one that the request comes from, else as chance will have it.
pub(crate) fn begin(hub: &Hub, request: &Request) -> Span {
    if !trace::is_on() {
        return Span::NONE;
    }
    let (name, method) = match request.method().as_str() {
        "POST" => ("POST /.well-known/mercure", "POST"),
        "HEAD" => ("HEAD /.well-known/mercure", "HEAD"),
        "QUERY" => ("QUERY /.well-known/mercure", "QUERY"),
        _ => ("GET /.well-known/mercure", "GET"),
    };
    let parent = trace_headers::parent(request.headers(), hub.config.trace_headers);
    Span::begin(&parent, || {
        SpanBuilder::from_name(name)
            .with_kind(SpanKind::Server)
            .with_attributes(attributes(hub, request, method))
    })
}

fn attributes(hub: &Hub, request: &Request, method: &'static str) -> Vec<KeyValue> {
    let config = &hub.config;
    let version = if request.version() < Version::HTTP_11 { "1.0" } else { "1.1" };
    let mut attributes = vec![
        KeyValue::new(HTTP_REQUEST_METHOD, method),
        KeyValue::new(HTTP_ROUTE, HUB_PATH),
        KeyValue::new(URL_PATH, HUB_PATH),
        KeyValue::new(URL_SCHEME, if config.tls.is_some() { "https" } else { "http" }),
        KeyValue::new(NETWORK_PROTOCOL_VERSION, version),
        KeyValue::new(CLIENT_ADDRESS, client_address(hub, request).to_string()),
    ];
    // A proxy, or the client itself.
    if let Some(peer) = request.peer() {
        attributes.push(KeyValue::new(NETWORK_PEER_ADDRESS, peer.ip().to_canonical().to_string()));
        attributes.push(KeyValue::new(NETWORK_PEER_PORT, i64::from(peer.port())));
    }
    // What the operator calls this hub, not what the client says in `Host`.
    if let Some(host) = config.hub_url.host_str() {
        attributes.push(KeyValue::new(SERVER_ADDRESS, host.to_owned()));
    }
    if let Some(port) = config.hub_url.port_or_known_default() {
        attributes.push(KeyValue::new(SERVER_PORT, i64::from(port)));
    }
    if let Some(agent) = request.headers().get(header::USER_AGENT) {
        let agent = String::from_utf8_lossy(agent.as_bytes());
        let agent: String = agent.chars().take(USER_AGENT_LEN_MAX).collect();
        attributes.push(KeyValue::new(USER_AGENT_ORIGINAL, agent));
    }
    attributes
}

/// Ends the span with the answer to its request.
pub(crate) fn answered(span: &Span, answer: Result<HttpResponse, Problem>) -> Result<HttpResponse, Problem> {
    match &answer {
        Ok(response) => status(span, response.status().as_u16()),
        Err(problem) => {
            status(span, problem.status_code().as_u16());
            note(span, problem);
        }
    }
    span.end();
    answer
}

/// Ends the span: the stream begins now.
pub(crate) fn begins_stream(span: &Span) {
    status(span, 200);
    span.end();
}

fn status(span: &Span, status: u16) {
    span.set(|| [KeyValue::new(HTTP_RESPONSE_STATUS_CODE, i64::from(status))]);
}

/// Says in a span why a request was refused. Only what this hub could not do is a failure of it.
fn note(span: &Span, problem: &Problem) {
    if problem.status_code().is_server_error() {
        span.fail(problem.cause().slug(), problem.to_string());
    } else {
        span.set(|| [KeyValue::new("rivulet.problem", problem.cause().slug())]);
    }
}

/// Says in the current span that a batch broke off: its answer is a 200 all the same.
pub(crate) fn breaks_off(problem: &Problem) {
    trace::tell_current(|span| {
        span.set_attribute(KeyValue::new(ERROR_TYPE, problem.cause().slug()));
        span.set_status(Status::error(problem.to_string()));
    });
}

/// Tells the publisher which span was its request's, if that is recorded and the hub tells such things.
pub(crate) fn tell(
    hub: &Hub,
    span: &Span,
    answer: Result<HttpResponse, Problem>,
) -> Result<HttpResponse, Problem> {
    let Some(trace) = span.trace_context().filter(|_| hub.node.exposes_trace()) else { return answer };
    let value = trace.to_string();
    match answer {
        Ok(mut response) => {
            let value = HeaderValue::from_str(&value).expect("digits and dashes");
            response.headers_mut().insert(TRACERESPONSE, value);
            Ok(response)
        }
        Err(problem) => Err(problem.with(TRACERESPONSE, &value)),
    }
}

/// Runs a part of a request within a span of its own.
pub(crate) async fn part<T>(
    name: &'static str,
    work: impl Future<Output = Result<T, Problem>>,
) -> Result<T, Problem> {
    let span = Span::child(name, SpanKind::Internal, || []);
    let done = span.within(work).await;
    if let Err(problem) = &done {
        note(&span, problem);
    }
    span.end();
    done
}
