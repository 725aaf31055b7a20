//! OTLP over gRPC.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use tokio::task::JoinHandle;
use tonic::{
    Request, Response, Status,
    codec::CompressionEncoding,
    transport::{Server, server::TcpIncoming},
};

use super::{Refused, Shared};

struct Service(Arc<Shared>);

/// Serves on a free port.
pub(super) fn serve(shared: Arc<Shared>) -> (SocketAddr, JoinHandle<()>) {
    let incoming = TcpIncoming::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    let address = incoming.local_addr().expect("a bound port");
    let service = TraceServiceServer::new(Service(shared)).accept_compressed(CompressionEncoding::Gzip);
    let serving = Server::builder().serve_with_incoming(service, incoming);
    let serving = tokio::spawn(async move { serving.await.expect("a server that only a test ends") });
    (address, serving)
}

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let headers = request.metadata().clone().into_headers();
        let texts = headers
            .iter()
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())));
        let headers: BTreeMap<String, String> = texts.collect();
        match self.0.take(request.into_inner(), headers).await {
            Ok(()) => Ok(Response::new(ExportTraceServiceResponse::default())),
            Err(Refused) => Err(Status::unavailable("not now")),
        }
    }
}
