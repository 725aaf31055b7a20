//! The standard variables (OpenTelemetry's specification, "Environment Variable Specification" and "OTLP Exporter
//! Configuration"), checked as the hub's own settings are: whatever is wrong stops the start.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use rivulet_http::TraceHeaders;
use rivulet_node::trace::{Ratio, Sampling};
use url::Url;

use super::{
    resource,
    variables::{Variables, pairs},
};
use crate::layers::Environment;

const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);
const QUEUE_LEN_MAX: usize = 2_048;
const BATCH_LEN_MAX: usize = 512;
const DELAY: Duration = Duration::from_secs(5);
/// A span is some kilobytes at most: what more than so many take is more than a hub should lend to its telemetry.
const QUEUE_LEN_CEILING: usize = 262_144;

/// Where spans go, and which.
#[derive(Clone, Debug)]
pub(crate) struct TelemetryConfig {
    pub(super) collector: CollectorConfig,
    pub(super) queue: QueueConfig,
    pub(super) sampling: Sampling,
    /// By which headers requests say where they come from.
    pub(crate) trace_headers: TraceHeaders,
    /// Attributes of the resource, ours and the operator's, without what only a running node knows.
    pub(super) resource: Vec<(String, String)>,
}

/// How a collector is reached.
#[derive(Clone, Debug)]
pub(super) struct CollectorConfig {
    pub(super) protocol: Protocol,
    /// For HTTP, with the path of traces.
    pub(super) endpoint: Url,
    /// May hold secrets.
    pub(super) headers: HeaderMap,
    /// For a batch, with all that is tried again.
    pub(super) timeout: Duration,
    pub(super) compression: Compression,
    /// PEM text of the authorities to trust instead of the system's.
    pub(super) authorities: Option<Vec<u8>>,
    /// PEM texts of our certificate and its key.
    pub(super) identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// How spans wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueConfig {
    pub(super) queue_len_max: usize,
    pub(super) batch_len_max: usize,
    pub(super) delay: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Grpc,
    HttpProtobuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    Gzip,
    None,
}

impl TelemetryConfig {
    /// Reads the variables. `None`: there is no endpoint, or somebody has switched traces off. What is wrong then is only
    /// to be said: platforms give these variables to all their programs, also for SDKs that know more than ours.
    ///
    /// # Errors
    ///
    /// Every mistake, a line each.
    pub(crate) fn read(environment: &Environment) -> Result<(Option<Self>, Vec<String>), Vec<String>> {
        let has_endpoint = Variables::new(environment).first(ENDPOINT).is_some();
        match Self::check(environment) {
            Err(mistakes) if !has_endpoint => {
                let said =
                    mistakes.iter().map(|mistake| format!("without an endpoint it does nothing: {mistake}"));
                Ok((None, said.collect()))
            }
            config => config.map(|config| (config, Vec::new())),
        }
    }

    fn check(environment: &Environment) -> Result<Option<Self>, Vec<String>> {
        let mut variables = Variables::new(environment);
        if variables.is_off() {
            return if variables.mistakes.is_empty() { Ok(None) } else { Err(variables.mistakes) };
        }
        let collector = variables.collector();
        let queue = variables.queue();
        let sampling = variables.sampling();
        let trace_headers = variables.propagators();
        let resource = resource::read(&mut variables);
        if !variables.mistakes.is_empty() {
            return Err(variables.mistakes);
        }
        Ok(collector.map(|collector| Self { collector, queue, sampling, trace_headers, resource }))
    }
}

const fn of_traces(traces: &'static str, all: &'static str) -> [&'static str; 2] {
    [traces, all]
}

const ENDPOINT: [&str; 2] = of_traces("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT");
const PROTOCOL: [&str; 2] = of_traces("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL");
const HEADERS: [&str; 2] = of_traces("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS");
const TIMEOUT: [&str; 2] = of_traces("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT");
const COMPRESSION: [&str; 2] =
    of_traces("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION");
const CERTIFICATE: [&str; 2] =
    of_traces("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_CERTIFICATE");
const CLIENT_CERTIFICATE: [&str; 2] =
    of_traces("OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE");
const CLIENT_KEY: [&str; 2] =
    of_traces("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", "OTEL_EXPORTER_OTLP_CLIENT_KEY");

impl Variables<'_> {
    fn is_off(&mut self) -> bool {
        let disabled =
            self.value(["OTEL_SDK_DISABLED"; 2], |text| match text.to_ascii_lowercase().as_str() {
                "true" => Ok(true),
                "false" => Ok(false),
                _ => Err("must be true or false"),
            });
        let exporter = self.value(["OTEL_TRACES_EXPORTER"; 2], |text| match text {
            "otlp" => Ok(false),
            "none" => Ok(true),
            _ => Err("must be otlp or none"),
        });
        disabled == Some(true) || exporter == Some(true)
    }

    fn collector(&mut self) -> Option<CollectorConfig> {
        let protocol = self.value(PROTOCOL, |text| match text {
            "grpc" => Ok(Protocol::Grpc),
            "http/protobuf" => Ok(Protocol::HttpProtobuf),
            _ => Err("must be grpc or http/protobuf"),
        });
        let protocol = protocol.unwrap_or(Protocol::HttpProtobuf);
        let endpoint = self.endpoint(protocol);
        let headers = self.headers();
        let timeout = self.millis(TIMEOUT).unwrap_or(EXPORT_TIMEOUT);
        // The SDK's own thread does not look at it.
        let limit = self.millis(["OTEL_BSP_EXPORT_TIMEOUT"; 2]).unwrap_or(timeout);
        let compression = self.value(COMPRESSION, |text| match text {
            "gzip" => Ok(Compression::Gzip),
            "none" => Ok(Compression::None),
            _ => Err("must be gzip or none"),
        });
        let authorities = self.file(CERTIFICATE, &["CERTIFICATE"]);
        let certificate = self.file(CLIENT_CERTIFICATE, &["CERTIFICATE"]);
        let key = self.file(CLIENT_KEY, &["PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"]);
        if self.first(CLIENT_CERTIFICATE).is_some() != self.first(CLIENT_KEY).is_some() {
            self.mistakes.push(format!("{} and {} need each other", CLIENT_CERTIFICATE[1], CLIENT_KEY[1]));
        }
        Some(CollectorConfig {
            protocol,
            endpoint: endpoint?,
            headers,
            timeout: timeout.min(limit),
            compression: compression.unwrap_or(Compression::None),
            authorities,
            identity: certificate.zip(key),
        })
    }

    fn endpoint(&mut self, protocol: Protocol) -> Option<Url> {
        let (name, text) = self.first(ENDPOINT)?;
        let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let url = url.filter(|url| url.has_host() && url.username().is_empty() && url.password().is_none());
        let Some(mut url) = url.filter(|url| url.query().is_none() && url.fragment().is_none()) else {
            // It may hold a password.
            let rule = "must be an http or https URL, like http://collector:4318, without user name, query and fragment";
            self.wrong_secret(name, rule);
            return None;
        };
        if protocol == Protocol::HttpProtobuf && name == ENDPOINT[1] {
            let path = format!("{}/v1/traces", url.path().trim_end_matches('/'));
            url.set_path(&path);
        }
        Some(url)
    }

    fn headers(&mut self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let Some((name, text)) = self.first(HEADERS) else { return headers };
        let rule = "must be pairs like authorization=Basic%20YTpi,x-tenant=a, percent-encoded";
        let Some(pairs) = pairs(text) else {
            self.wrong_secret(name, rule);
            return headers;
        };
        for (header, value) in pairs {
            match (HeaderName::try_from(header), HeaderValue::try_from(value)) {
                (Ok(header), Ok(mut value)) => {
                    value.set_sensitive(true);
                    headers.append(header, value);
                }
                _ => self.wrong_secret(name, rule),
            }
        }
        headers
    }

    /// A PEM file that holds at least one of these.
    fn file(&mut self, names: [&str; 2], labels: &[&str]) -> Option<Vec<u8>> {
        self.value(names, |path| {
            let bytes = std::fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
            let text = String::from_utf8_lossy(&bytes);
            let holds = |label: &&str| text.contains(&format!("-----BEGIN {label}-----"));
            if labels.iter().any(holds) {
                return Ok(bytes);
            }
            Err(format!("must be a PEM file with -----BEGIN {}-----", labels[0]))
        })
    }

    fn queue(&mut self) -> QueueConfig {
        let queue = self.count("OTEL_BSP_MAX_QUEUE_SIZE", &(1..=QUEUE_LEN_CEILING)).unwrap_or(QUEUE_LEN_MAX);
        let batch = self.count("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", &(1..=queue));
        let delay = self.millis(["OTEL_BSP_SCHEDULE_DELAY"; 2]).unwrap_or(DELAY);
        let batch_len_max = batch.unwrap_or(BATCH_LEN_MAX).min(queue);
        QueueConfig { queue_len_max: queue, batch_len_max, delay }
    }

    /// Without the variable all that there are; baggage is nothing that a hub reads.
    fn propagators(&mut self) -> TraceHeaders {
        let read = self.value(["OTEL_PROPAGATORS"; 2], |text| {
            let mut read = TraceHeaders { w3c: false, jaeger: false };
            if text == "none" {
                return Ok(read);
            }
            for name in text.split(',').map(str::trim) {
                match name {
                    "tracecontext" => read.w3c = true,
                    "jaeger" => read.jaeger = true,
                    "baggage" => {}
                    _ => return Err("must be a list of tracecontext, jaeger and baggage, or none alone"),
                }
            }
            Ok(read)
        });
        read.unwrap_or_default()
    }

    fn sampling(&mut self) -> Sampling {
        let ratio = self.value(["OTEL_TRACES_SAMPLER_ARG"; 2], |text| {
            let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
            ratio.ok_or("must be a number from 0 to 1")
        });
        let ratio = ratio.map_or(Ratio::ALL, Ratio::new);
        let sampling = |roots, follows| Sampling { roots, follows };
        let read = self.value(["OTEL_TRACES_SAMPLER"; 2], |text| {
            Ok(match text {
                "always_on" => sampling(Ratio::ALL, false),
                "always_off" => sampling(Ratio::NONE, false),
                "traceidratio" => sampling(ratio, false),
                "parentbased_always_on" => sampling(Ratio::ALL, true),
                "parentbased_always_off" => sampling(Ratio::NONE, true),
                "parentbased_traceidratio" => sampling(ratio, true),
                _ => {
                    return Err("must be always_on, always_off, traceidratio, parentbased_always_on, \
                                parentbased_always_off or parentbased_traceidratio");
                }
            })
        });
        read.unwrap_or(sampling(Ratio::ALL, true))
    }
}

#[cfg(test)]
mod tests;
