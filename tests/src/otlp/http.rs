//! OTLP over HTTP with protobuf, and the one query of Jaeger's API.

use std::{collections::BTreeMap, io::Read as _, sync::Arc};

use flate2::read::GzDecoder;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{Refused, Shared};

/// A request, read to its end.
struct Request {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with this task, and with them all connections.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((socket, _)) = accepted else { continue };
                shared.state().connections += 1;
                connections.spawn(talk(socket, Arc::clone(&shared)));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn talk(mut socket: TcpStream, shared: Arc<Shared>) {
    let mut pending = Vec::new();
    while let Some(request) = read(&mut socket, &mut pending).await {
        let answer = answer(request, &shared).await;
        if socket.write_all(&answer).await.is_err() {
            return;
        }
    }
}

async fn read(socket: &mut TcpStream, pending: &mut Vec<u8>) -> Option<Request> {
    let head_len = loop {
        let end = pending.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            break end + 4;
        }
        read_more(socket, pending).await?;
    };
    let head = String::from_utf8_lossy(&pending[..head_len]).into_owned();
    let mut lines = head.trim_end().split("\r\n");
    let mut words = lines.next()?.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let body_len: usize = headers.get("content-length").map_or(Some(0), |length| length.parse().ok())?;
    while pending.len() < head_len + body_len {
        read_more(socket, pending).await?;
    }
    let body = pending[head_len..head_len + body_len].to_vec();
    pending.drain(..head_len + body_len);
    Some(Request { method, path, headers, body })
}

async fn read_more(socket: &mut TcpStream, pending: &mut Vec<u8>) -> Option<()> {
    pending.reserve(16 << 10);
    let read = socket.read_buf(pending).await.ok()?;
    (read > 0).then_some(())
}

async fn answer(request: Request, shared: &Shared) -> Vec<u8> {
    let trace_id = request.path.strip_prefix("/api/v3/traces/");
    match (request.method.as_str(), request.path.as_str(), trace_id) {
        ("POST", "/v1/traces", _) => match decode(&request) {
            Some(batch) => match shared.take(batch, request.headers).await {
                Ok(()) => {
                    let body = ExportTraceServiceResponse::default().encode_to_vec();
                    response("200 OK", "application/x-protobuf", &body)
                }
                Err(Refused) => response("503 Service Unavailable", "text/plain", b"not now"),
            },
            None => response("400 Bad Request", "text/plain", b"this is no batch of spans"),
        },
        ("GET", _, Some(trace_id)) => match shared.json(trace_id) {
            Some(trace) => response("200 OK", "application/json", trace.to_string().as_bytes()),
            None => response("404 Not Found", "application/json", br#"{"error":{"httpCode":404}}"#),
        },
        _ => response("404 Not Found", "text/plain", b"nothing is here"),
    }
}

fn decode(request: &Request) -> Option<ExportTraceServiceRequest> {
    if request.headers.get("content-type").map(String::as_str) != Some("application/x-protobuf") {
        return None;
    }
    let body = match request.headers.get("content-encoding").map(String::as_str) {
        None => request.body.clone(),
        Some("gzip") => {
            let mut plain = Vec::new();
            GzDecoder::new(&request.body[..]).read_to_end(&mut plain).ok()?;
            plain
        }
        Some(_) => return None,
    };
    ExportTraceServiceRequest::decode(&body[..]).ok()
}

fn response(status: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}
