//! A line of the log: whether it is written, what stands at its end, and in which format.

use std::{fmt, sync::Arc, time::Instant};

use opentelemetry::{Context, SpanId, TraceId, trace::TraceContextExt as _};
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Full, Writer},
    },
    registry::LookupSpan,
};

use super::{
    json,
    repeats::{Repeats, Verdict},
};
use crate::config::LogFormat;

/// Writes lines.
pub(super) struct Line {
    format: LogFormat,
    pretty: Format<Full>,
    repeats: Arc<Repeats>,
}

/// What a line says beside its event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extra {
    /// The recorded span in which it is said.
    pub(super) span: Option<(TraceId, SpanId)>,
    /// How many like it were left out before.
    pub(super) unsaid: u64,
}

impl Line {
    pub(super) fn new(format: LogFormat, is_terminal: bool, repeats: Arc<Repeats>) -> Self {
        Self { format, pretty: Format::default().with_ansi(is_terminal), repeats }
    }
}

impl Extra {
    fn new(unsaid: u64) -> Self {
        let span = Context::map_current(|current| {
            let span = current.span();
            let context = span.span_context();
            context.is_sampled().then(|| (context.trace_id(), context.span_id()))
        });
        Self { span, unsaid }
    }
}

impl fmt::Display for Extra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.unsaid > 0 {
            write!(f, " unsaid={}", self.unsaid)?;
        }
        match self.span {
            Some((trace_id, span_id)) => write!(f, " trace_id={trace_id} span_id={span_id}"),
            None => Ok(()),
        }
    }
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let extra = match self.repeats.admit(event.metadata(), Instant::now()) {
            // An empty line is not written at all.
            Verdict::Leave => return Ok(()),
            Verdict::Say { unsaid } => Extra::new(unsaid),
        };
        match self.format {
            LogFormat::Json => json::write(&mut writer, event, extra),
            LogFormat::Pretty if extra == Extra::default() => {
                self.pretty.format_event(context, writer, event)
            }
            LogFormat::Pretty => {
                let mut line = String::new();
                self.pretty.format_event(context, Writer::new(&mut line), event)?;
                writeln!(writer, "{}{extra}", line.trim_end_matches('\n'))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use opentelemetry::trace::{SpanContext, TraceFlags, TraceState};
    use parking_lot::Mutex;
    use serde_json::Value;
    use tracing::{Level, debug, error, info, warn};
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(format: LogFormat, say: impl FnOnce()) -> Vec<String> {
        let written = Written::default();
        let sink = written.clone();
        let layer = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .with_writer(move || sink.clone())
            .event_format(Line::new(format, false, Arc::default()));
        let filter = tracing_subscriber::filter::LevelFilter::from_level(Level::DEBUG);
        let subscriber = tracing_subscriber::registry().with(filter).with(layer);
        tracing::subscriber::with_default(subscriber, say);
        let bytes = std::mem::take(&mut *written.0.lock());
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn within(flags: TraceFlags, say: impl FnOnce()) {
        let (trace_id, span_id) = (TraceId::from_hex(TRACE).unwrap(), SpanId::from_hex(SPAN).unwrap());
        let span = SpanContext::new(trace_id, span_id, flags, false, TraceState::NONE);
        let _guard = Context::new().with_remote_span_context(span).attach();
        say();
    }

    #[test]
    fn a_line_of_json_has_the_events_fields_and_its_span() {
        let lines = written(LogFormat::Json, || {
            within(TraceFlags::SAMPLED, || {
                warn!(node.id = %"n", partition = 3, ratio = 0.5, is_live = true, r#type = "t", "It is \"so\"");
            });
            info!(target: "elsewhere", target = "a field", "Plain");
        });
        let first: Value = serde_json::from_str(&lines[0]).unwrap();
        for (name, expected) in [
            ("level", Value::from("WARN")),
            ("message", "It is \"so\"".into()),
            ("node.id", "n".into()),
            ("partition", 3.into()),
            ("ratio", 0.5.into()),
            ("is_live", true.into()),
            ("type", "t".into()),
            ("target", module_path!().into()),
            ("trace_id", TRACE.into()),
            ("span_id", SPAN.into()),
        ] {
            assert_eq!(first[name], expected, "{name} in {first}");
        }
        let timestamp = first["timestamp"].as_str().unwrap();
        assert_eq!((timestamp.len(), &timestamp[10..11], &timestamp[26..]), (27, "T", "Z"), "{timestamp}");
        let second: Value = serde_json::from_str(&lines[1]).unwrap();
        assert_eq!(second.get("trace_id"), None);
        // A field that is called like one of the line's own does not hide it.
        assert_eq!((&second["target"], &second["fields.target"]), (&"elsewhere".into(), &"a field".into()));
    }

    #[test]
    fn a_line_for_people_names_its_span_at_the_end() {
        let lines = written(LogFormat::Pretty, || {
            within(TraceFlags::SAMPLED, || info!(count = 1, "Within"));
            within(TraceFlags::default(), || info!("Not recorded"));
        });
        assert!(lines[0].ends_with(&format!("Within count=1 trace_id={TRACE} span_id={SPAN}")), "{lines:?}");
        assert!(lines[0].contains(" INFO "), "{lines:?}");
        assert!(lines[1].ends_with("Not recorded"), "{lines:?}");
    }

    #[test]
    fn a_storm_of_one_warning_is_a_few_lines_and_everything_else_is_said() {
        let lines = written(LogFormat::Json, || {
            for number in 0..1_000 {
                warn!(number, "Storm");
                debug!("All of it");
            }
            error!("Something else");
        });
        let count = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
        assert_eq!((count("Storm"), count("All of it"), count("Something else")), (10, 1_000, 1));
        assert_eq!(lines.len(), 1_011, "nothing empty is written");
    }
}
