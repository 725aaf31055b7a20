//! A line for machines: one JSON object with the time, the level, the event's fields, where it was said, and its span.

use std::fmt;

use serde::ser::{SerializeMap as _, Serializer as _};
use serde_json::Value;
use tracing::{
    Event,
    field::{Field, Visit},
};
use tracing_subscriber::fmt::{
    format::Writer,
    time::{FormatTime as _, SystemTime},
};

use super::line::Extra;

/// What a line has of its own: an event's field of the same name is written as `fields.…`.
const OWN: [&str; 5] = ["timestamp", "level", "target", "trace_id", "span_id"];
/// The same of some lines only: how many like it were not said.
const UNSAID: &str = "unsaid";
/// What the `log` crate's events carry beside their message.
const OF_LOG: &str = "log.";

/// Writes an event with the end of its line.
pub(super) fn write(writer: &mut Writer<'_>, event: &Event<'_>, extra: Extra) -> fmt::Result {
    let mut fields = Fields::default();
    event.record(&mut fields);
    let line = line(event, &fields, extra).map_err(|_| fmt::Error)?;
    writeln!(writer, "{line}")
}

fn line(event: &Event<'_>, fields: &Fields, extra: Extra) -> Result<String, serde_json::Error> {
    let mut timestamp = String::new();
    // Writing into a text does not fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
    let metadata = event.metadata();
    let mut bytes = Vec::with_capacity(256);
    let mut serializer = serde_json::Serializer::new(&mut bytes);
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("timestamp", &timestamp)?;
    map.serialize_entry("level", metadata.level().as_str())?;
    for (name, value) in &fields.values {
        if OWN.contains(name) || (*name == UNSAID && extra.unsaid > 0) {
            map.serialize_entry(&format!("fields.{name}"), value)?;
        } else {
            map.serialize_entry(name, value)?;
        }
    }
    map.serialize_entry("target", fields.log_target.as_deref().unwrap_or(metadata.target()))?;
    if extra.unsaid > 0 {
        map.serialize_entry(UNSAID, &extra.unsaid)?;
    }
    if let Some((trace_id, span_id)) = extra.span {
        map.serialize_entry("trace_id", &format_args!("{trace_id}"))?;
        map.serialize_entry("span_id", &format_args!("{span_id}"))?;
    }
    map.end()?;
    String::from_utf8(bytes).map_err(serde::ser::Error::custom)
}

/// The fields of an event, in their order.
#[derive(Default)]
struct Fields {
    values: Vec<(&'static str, Value)>,
    /// Where an event of the `log` crate was said.
    log_target: Option<String>,
}

impl Fields {
    fn push(&mut self, field: &Field, value: impl Into<Value>) {
        let name = field.name();
        let value = value.into();
        if !name.starts_with(OF_LOG) {
            self.values.push((name.strip_prefix("r#").unwrap_or(name), value));
        } else if name == "log.target" {
            self.log_target = value.as_str().map(str::to_owned);
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push(field, format!("{value:?}"));
    }
}
