//! The two protocols to a collector: protobuf over HTTP, and gRPC; each with TLS, headers and gzip.

use std::{collections::HashMap, thread};

use opentelemetry_otlp::{
    Compression as OtlpCompression, Protocol as OtlpProtocol, SpanExporter, WithExportConfig as _,
    WithHttpConfig as _, WithTonicConfig as _,
    tonic_types::{
        metadata::MetadataMap,
        transport::{Certificate, ClientTlsConfig, Identity},
    },
};
use reqwest::{blocking::Client, redirect::Policy};

use super::config::{CollectorConfig, Compression, Protocol};

/// What cannot be built, for a person.
type Error = Box<dyn std::error::Error + Send + Sync>;

/// Makes an exporter. For gRPC this must be called within a tokio runtime that outlives it.
pub(super) fn exporter(config: &CollectorConfig) -> Result<SpanExporter, Error> {
    match config.protocol {
        Protocol::HttpProtobuf => over_http(config),
        Protocol::Grpc => over_grpc(config),
    }
}

fn over_http(config: &CollectorConfig) -> Result<SpanExporter, Error> {
    let headers = config.headers.iter().map(|(name, value)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), value)
    });
    let builder = SpanExporter::builder()
        .with_http()
        .with_http_client(client(config)?)
        .with_protocol(OtlpProtocol::HttpBinary)
        .with_endpoint(config.endpoint.as_str())
        .with_timeout(config.timeout)
        .with_headers(headers.collect::<HashMap<_, _>>());
    let builder = match config.compression {
        Compression::Gzip => builder.with_compression(OtlpCompression::Gzip),
        Compression::None => builder,
    };
    Ok(builder.build()?)
}

/// A client that blocks: the queue's own thread is there to wait.
fn client(config: &CollectorConfig) -> Result<Client, Error> {
    let mut builder = Client::builder().timeout(config.timeout).connect_timeout(config.timeout);
    // Headers may hold secrets, which another address must not get.
    builder = builder.redirect(Policy::none());
    if let Some(authorities) = &config.authorities {
        builder = builder.tls_certs_only(reqwest::Certificate::from_pem_bundle(authorities)?);
    }
    if let Some((certificate, key)) = &config.identity {
        builder = builder.identity(reqwest::Identity::from_pem(&[&key[..], &certificate[..]].concat())?);
    }
    // It may not be made where other things run asynchronously.
    let made = thread::scope(|scope| scope.spawn(|| builder.build()).join());
    Ok(made.map_err(|_| "the HTTP client cannot be made")??)
}

fn over_grpc(config: &CollectorConfig) -> Result<SpanExporter, Error> {
    let mut builder = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(config.endpoint.as_str())
        .with_timeout(config.timeout)
        .with_metadata(MetadataMap::from_headers(config.headers.clone()));
    if config.endpoint.scheme() == "https" {
        builder = builder.with_tls_config(tls(config));
    }
    if config.compression == Compression::Gzip {
        builder = builder.with_compression(OtlpCompression::Gzip);
    }
    Ok(builder.build()?)
}

fn tls(config: &CollectorConfig) -> ClientTlsConfig {
    let tls = match &config.authorities {
        Some(authorities) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authorities)),
        None => ClientTlsConfig::new().with_enabled_roots(),
    };
    match &config.identity {
        Some((certificate, key)) => tls.identity(Identity::from_pem(certificate, key)),
        None => tls,
    }
}
