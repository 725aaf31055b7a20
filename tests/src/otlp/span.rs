//! A span that was received, with the process that made it.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{ResourceSpans, Span as Raw, span::SpanKind, status::StatusCode},
};

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Span {
    /// Attributes of its process.
    pub resource: BTreeMap<String, String>,
    /// Its own attributes, as text.
    pub attributes: BTreeMap<String, String>,
    raw: Raw,
}

impl Span {
    /// 32 hexadecimal digits.
    pub fn trace_id(&self) -> String {
        hex(&self.raw.trace_id)
    }

    /// 16 hexadecimal digits.
    pub fn id(&self) -> String {
        hex(&self.raw.span_id)
    }

    /// The parent's id; empty if it is a root.
    pub fn parent(&self) -> String {
        hex(&self.raw.parent_span_id)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.raw.name
    }

    /// Its kind.
    pub fn kind(&self) -> SpanKind {
        self.raw.kind()
    }

    /// When it began, in nanoseconds since 1970.
    pub fn start(&self) -> u64 {
        self.raw.start_time_unix_nano
    }

    /// When it ended.
    pub fn end(&self) -> u64 {
        self.raw.end_time_unix_nano
    }

    /// The node that made it: `service.instance.id`.
    pub fn node(&self) -> &str {
        self.resource.get("service.instance.id").map_or("", String::as_str)
    }

    /// An attribute as text.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }

    /// The spans that it is linked to: trace and span id.
    pub fn links(&self) -> Vec<(String, String)> {
        self.raw.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect()
    }

    /// What happened within it: name and attributes.
    pub fn events(&self) -> Vec<(String, BTreeMap<String, String>)> {
        self.raw.events.iter().map(|event| (event.name.clone(), texts(&event.attributes))).collect()
    }

    /// Whether its status is an error.
    pub fn is_error(&self) -> bool {
        self.raw.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error)
    }

    /// Everything that stands in it.
    pub fn text(&self) -> String {
        format!("{:?} {:?}", self.resource, self.raw)
    }
}

/// A line for each span, for messages of failed tests.
pub fn lines(spans: &[Span]) -> Vec<String> {
    let line = |span: &Span| {
        let (name, kind, id, parent) = (span.name(), span.kind(), span.id(), span.parent());
        format!("{name} {kind:?} {id} below {parent:?} on {}: {:?}", span.node(), span.attributes)
    };
    spans.iter().map(line).collect()
}

pub(super) fn flatten(received: &[ResourceSpans]) -> Vec<Span> {
    let mut spans = Vec::new();
    for received in received {
        let resource = received.resource.as_ref().map(|resource| texts(&resource.attributes));
        let resource = resource.unwrap_or_default();
        for raw in received.scope_spans.iter().flat_map(|scope| &scope.spans) {
            let attributes = texts(&raw.attributes);
            spans.push(Span { resource: resource.clone(), attributes, raw: raw.clone() });
        }
    }
    spans
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: Option<&AnyValue>| match value.and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(Value::BoolValue(is_true)) => is_true.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), text(attribute.value.as_ref()))).collect()
}
