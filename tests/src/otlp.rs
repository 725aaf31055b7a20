//! A real receiver of OTLP: HTTP/protobuf and gRPC on ports of their own, gzip on both. It can refuse, be slow, or take
//! everything and never answer, and it answers the query of Jaeger's API by which a trace is fetched.

mod grpc;
mod http;
pub mod span;
mod tls_front;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use opentelemetry_proto::tonic::{collector::trace::v1::ExportTraceServiceRequest, trace::v1::ResourceSpans};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

pub use self::{span::Span, tls_front::TlsFront};
use crate::{PATIENCE, eventually};

/// What the receiver does with spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Takes them.
    Take,
    /// Answers 503, or `UNAVAILABLE`.
    Refuse,
    /// Reads everything and answers nothing, until the mode changes.
    Mute,
    /// Takes them, but only after this time.
    Slow(Duration),
}

/// A running receiver; it hangs up when dropped.
#[derive(Debug)]
pub struct Collector {
    shared: Arc<Shared>,
    http: SocketAddr,
    grpc: SocketAddr,
    tasks: Vec<JoinHandle<()>>,
}

/// What both protocols share.
#[derive(Debug)]
struct Shared {
    mode: watch::Sender<Mode>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    spans: Vec<ResourceSpans>,
    connections: usize,
    requests: usize,
    headers: Vec<BTreeMap<String, String>>,
}

/// Why spans were not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refused;

impl Collector {
    /// Starts one on free ports.
    pub async fn start() -> Self {
        let (mode, _) = watch::channel(Mode::Take);
        let shared = Arc::new(Shared { mode, state: Mutex::default() });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let http = listener.local_addr().expect("a bound port");
        let (grpc, serving) = grpc::serve(Arc::clone(&shared));
        let tasks = vec![tokio::spawn(http::serve(listener, Arc::clone(&shared))), serving];
        Self { shared, http, grpc, tasks }
    }

    /// Where OTLP over HTTP is spoken, and Jaeger's queries are answered.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where OTLP over gRPC is spoken.
    pub fn grpc(&self) -> SocketAddr {
        self.grpc
    }

    /// What a node needs to send its spans here over HTTP, at once.
    pub fn variables(&self) -> Vec<(String, String)> {
        variables(&format!("http://{}", self.http), "http/protobuf")
    }

    /// The same over gRPC.
    pub fn grpc_variables(&self) -> Vec<(String, String)> {
        variables(&format!("http://{}", self.grpc), "grpc")
    }

    /// Changes what becomes of spans from now on.
    pub fn set(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
    }

    /// Everything that was taken so far.
    pub fn spans(&self) -> Vec<Span> {
        span::flatten(&self.shared.state().spans)
    }

    /// How many connections were made to the HTTP port.
    pub fn connections(&self) -> usize {
        self.shared.state().connections
    }

    /// How many batches came, whatever became of them.
    pub fn requests(&self) -> usize {
        self.shared.state().requests
    }

    /// The headers of each batch, with lower-case names.
    pub fn headers(&self) -> Vec<BTreeMap<String, String>> {
        self.shared.state().headers.clone()
    }

    /// A trace as OTLP JSON, or nothing.
    pub fn json(&self, trace_id: &str) -> Option<Value> {
        self.shared.json(trace_id)
    }

    /// Waits until all these spans of a trace have come, by their names, and answers the whole trace.
    ///
    /// # Panics
    /// When they do not come.
    pub async fn trace(&self, trace_id: &str, names: &[&str]) -> Vec<Span> {
        let what = format!("{names:?} of trace {trace_id}");
        eventually(what, PATIENCE, || async {
            let spans: Vec<Span> =
                self.spans().into_iter().filter(|span| span.trace_id() == trace_id).collect();
            let mut found: Vec<&str> = spans.iter().map(|span| span.name()).collect();
            let all = names.iter().all(|name| {
                let place = found.iter().position(|known| known == name);
                place.map(|place| found.swap_remove(place)).is_some()
            });
            if all { Ok(spans) } else { Err(format!("there are {:#?}", span::lines(&spans))) }
        })
        .await
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn variables(endpoint: &str, protocol: &str) -> Vec<(String, String)> {
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ];
    variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does with a batch what the mode says.
    async fn take(
        &self,
        batch: ExportTraceServiceRequest,
        headers: BTreeMap<String, String>,
    ) -> Result<(), Refused> {
        {
            let mut state = self.state();
            state.requests += 1;
            state.headers.push(headers);
        }
        let mut modes = self.mode.subscribe();
        let mode = *modes.borrow_and_update();
        match mode {
            Mode::Refuse => return Err(Refused),
            Mode::Mute => {
                // The sender lives as long as the receiver.
                let _ = modes.wait_for(|mode| *mode != Mode::Mute).await;
            }
            Mode::Slow(delay) => tokio::time::sleep(delay).await,
            Mode::Take => {}
        }
        self.state().spans.extend(batch.resource_spans);
        Ok(())
    }

    fn json(&self, trace_id: &str) -> Option<Value> {
        let state = self.state();
        let mut found = Vec::new();
        for resource in &state.spans {
            let mut resource = resource.clone();
            for scope in &mut resource.scope_spans {
                scope.spans.retain(|span| span::hex(&span.trace_id) == trace_id);
            }
            resource.scope_spans.retain(|scope| !scope.spans.is_empty());
            if !resource.scope_spans.is_empty() {
                found.push(resource);
            }
        }
        let spans = serde_json::to_value(&found).expect("spans can be written as JSON");
        (!found.is_empty()).then(|| json!({"result": {"resourceSpans": spans}}))
    }
}
