//! Reads spans from OTLP JSON: one object, or one per line; as Jaeger wraps it, or as it is. Numbers may be texts, and enums
//! may be names, as protobuf's JSON has them.

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// A span, as far as it is drawn.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Span {
    /// 32 lower-case hexadecimal digits.
    pub(super) trace_id: String,
    /// 16 lower-case hexadecimal digits.
    pub(super) span_id: String,
    /// `None`: it is a root.
    pub(super) parent_id: Option<String>,
    /// `service.instance.id`, or else `service.name`, of the process that made it.
    pub(super) node: String,
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Nanoseconds since 1970.
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) attributes: Vec<(String, String)>,
    /// The spans that it is linked to.
    pub(super) links: Vec<Link>,
    /// What its status says if that is an error.
    pub(super) error: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    #[default]
    Internal,
    Server,
    Client,
    Producer,
    Consumer,
}

impl Span {
    /// An attribute.
    pub(super) fn attribute(&self, key: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }
}

/// Reads all spans.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<Span>, String> {
    let mut spans = Vec::new();
    let documents = serde_json::Deserializer::from_slice(bytes).into_iter::<Document>();
    for document in documents {
        let document = document.map_err(|error| error.to_string())?;
        let traces = [document.result, Some(document.traces)];
        for resource in traces.into_iter().flatten().flat_map(|traces| traces.resource_spans) {
            let node = resource.resource.node();
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                spans.push(span.checked(&node)?);
            }
        }
    }
    Ok(spans)
}

#[derive(Deserialize)]
struct Document {
    result: Option<Traces>,
    #[serde(flatten)]
    traces: Traces,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Traces {
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ResourceSpans {
    resource: Resource,
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Resource {
    attributes: Vec<Attribute>,
}

impl Resource {
    fn node(&self) -> String {
        let named = |key: &str| self.attributes.iter().find(|attribute| attribute.key == key);
        let node = named("service.instance.id").or_else(|| named("service.name"));
        node.map_or_else(|| "unknown".to_owned(), |attribute| text(&attribute.value))
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ScopeSpans {
    spans: Vec<RawSpan>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct RawSpan {
    trace_id: String,
    span_id: String,
    parent_span_id: String,
    name: String,
    #[serde(deserialize_with = "kind")]
    kind: Kind,
    #[serde(deserialize_with = "number")]
    start_time_unix_nano: u64,
    #[serde(deserialize_with = "number")]
    end_time_unix_nano: u64,
    attributes: Vec<Attribute>,
    links: Vec<Link>,
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Attribute {
    key: String,
    value: Map<String, Value>,
}

/// Another span.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Link {
    pub(super) trace_id: String,
    pub(super) span_id: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    message: String,
    #[serde(deserialize_with = "is_error", rename = "code")]
    is_error: bool,
}

impl RawSpan {
    fn checked(self, node: &str) -> Result<Span, String> {
        // Some write a root's parent as zeros.
        let has_parent = self.parent_span_id.bytes().any(|byte| byte != b'0');
        let parent_id = has_parent.then(|| id(&self.parent_span_id, 16)).transpose()?;
        let attributes = self.attributes.into_iter();
        let attributes = attributes.map(|Attribute { key, value }| (key, text(&value)));
        let links = self
            .links
            .into_iter()
            .map(|link| Ok(Link { trace_id: id(&link.trace_id, 32)?, span_id: id(&link.span_id, 16)? }));
        Ok(Span {
            trace_id: id(&self.trace_id, 32)?,
            span_id: id(&self.span_id, 16)?,
            parent_id,
            node: node.to_owned(),
            name: self.name,
            kind: self.kind,
            start: self.start_time_unix_nano,
            // Clocks may have been set back while it ran.
            end: self.end_time_unix_nano.max(self.start_time_unix_nano),
            attributes: attributes.collect(),
            links: links.collect::<Result<_, String>>()?,
            error: self.status.is_error.then_some(self.status.message),
        })
    }
}

fn id(text: &str, len: usize) -> Result<String, String> {
    if text.len() == len && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    let shown: String = text.chars().take(40).collect();
    Err(format!("{shown:?} is no id of {len} hexadecimal digits"))
}

/// A value of OTLP (`AnyValue`) as text.
fn text(value: &Map<String, Value>) -> String {
    let known = ["stringValue", "intValue", "doubleValue", "boolValue"];
    match known.into_iter().find_map(|name| value.get(name)) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => Value::Object(value.clone()).to_string(),
    }
}

/// 64-bit numbers are texts in protobuf's JSON; not everybody writes them so.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let number = value.as_u64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
    number.ok_or_else(|| serde::de::Error::custom("a time must be a whole number of nanoseconds"))
}

fn kind<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(match (value.as_u64(), value.as_str()) {
        (Some(2), _) | (_, Some("SPAN_KIND_SERVER")) => Kind::Server,
        (Some(3), _) | (_, Some("SPAN_KIND_CLIENT")) => Kind::Client,
        (Some(4), _) | (_, Some("SPAN_KIND_PRODUCER")) => Kind::Producer,
        (Some(5), _) | (_, Some("SPAN_KIND_CONSUMER")) => Kind::Consumer,
        _ => Kind::Internal,
    })
}

fn is_error<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(value.as_u64() == Some(2) || value.as_str() == Some("STATUS_CODE_ERROR"))
}
