//! Spans on their way out of this process, to a collector, as the standard `OTEL_*` variables say.

mod stats;

pub(crate) use self::stats::SpanStats;
