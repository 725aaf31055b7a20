//! What is recorded of a subscriber whose request was: its replays, and its end.

use std::time::{Instant, SystemTime};

use opentelemetry::{
    Context, KeyValue,
    trace::{Link, SpanBuilder, SpanContext, SpanKind, TraceContextExt as _},
};
use opentelemetry_semantic_conventions::attribute::{MESSAGING_BATCH_MESSAGE_COUNT, MESSAGING_SYSTEM};

use crate::{
    CloseReason,
    message_span::{SYSTEM, number},
    trace::{self, Span},
};

/// Kept by the seats of recorded requests only.
#[derive(Debug)]
pub(crate) struct SeatTrace {
    /// The span of the request, which has ended when the stream begins.
    request: SpanContext,
    opened: Instant,
    updates: u64,
    bytes: u64,
    replay: Option<ReplayTrace>,
}

/// A replay. Its span ends with it.
#[derive(Debug, Default)]
struct ReplayTrace {
    span: Span,
    pages: u64,
    updates: u64,
    gaps: u64,
}

impl SeatTrace {
    /// For a seat of the request that is current, if that is recorded.
    pub(crate) fn of_request() -> Option<Box<Self>> {
        let request = trace::current()?;
        Some(Box::new(Self { request, opened: Instant::now(), updates: 0, bytes: 0, replay: None }))
    }

    /// The stream begins. What it replays is recorded from here on: before, it is a part of the request.
    pub(crate) fn opens(&mut self) {
        self.opened = Instant::now();
        self.begin_replay();
    }

    /// A replay is prepared for a stream that has not begun.
    pub(crate) fn prepares_replay(&mut self) {
        self.replay = Some(ReplayTrace::default());
    }

    /// The stream fell off its rings: it reads the log from here on.
    pub(crate) fn falls_behind(&mut self) {
        self.prepares_replay();
        self.begin_replay();
    }

    pub(crate) fn takes_page(&mut self) {
        if let Some(replay) = &mut self.replay {
            replay.pages += 1;
        }
    }

    pub(crate) fn is_told_of_gap(&mut self) {
        if let Some(replay) = &mut self.replay {
            replay.gaps += 1;
        }
    }

    /// The log has given everything: the rings go on.
    pub(crate) fn goes_live(&mut self) {
        self.replay = None;
    }

    pub(crate) fn wrote(&mut self, updates: u64, bytes: u64) {
        self.updates += updates;
        self.bytes += bytes;
        if let Some(replay) = &mut self.replay {
            replay.updates += updates;
        }
    }

    /// Where the reads of a replay belong to.
    pub(crate) fn replay(&self) -> Option<Context> {
        self.replay.as_ref().map(|replay| replay.span.context())
    }

    /// The end of the stream: a moment, in whose context it is logged.
    pub(crate) fn close(mut self, reason: CloseReason) -> Closing {
        self.replay = None;
        let at = SystemTime::now();
        let builder = || {
            SpanBuilder::from_name("close")
                .with_kind(SpanKind::Internal)
                .with_start_time(at)
                .with_links(vec![Link::with_context(self.request.clone())])
                .with_attributes([
                    KeyValue::new("close.reason", reason.as_str()),
                    KeyValue::new("rivulet.duration", self.opened.elapsed().as_secs_f64()),
                    KeyValue::new("rivulet.updates", number(self.updates)),
                    KeyValue::new("rivulet.bytes", number(self.bytes)),
                ])
        };
        Closing { span: Some(Span::begin(&self.parent(), builder)), at }
    }

    fn begin_replay(&mut self) {
        let parent = self.parent();
        if let Some(replay) = &mut self.replay {
            replay.span = Span::begin(&parent, || {
                SpanBuilder::from_name("replay")
                    .with_kind(SpanKind::Internal)
                    .with_attributes([KeyValue::new(MESSAGING_SYSTEM, SYSTEM)])
            });
        }
    }

    fn parent(&self) -> Context {
        Context::new().with_remote_span_context(self.request.clone())
    }
}

impl Drop for ReplayTrace {
    fn drop(&mut self) {
        self.span.set(|| {
            [
                KeyValue::new(MESSAGING_BATCH_MESSAGE_COUNT, number(self.updates)),
                KeyValue::new("rivulet.pages", number(self.pages)),
                KeyValue::new("rivulet.gap", self.gaps > 0),
            ]
        });
        // A read that is under way for others may hold its context.
        self.span.end();
    }
}

/// The end of a recorded stream, while it is logged.
#[derive(Debug)]
pub(crate) struct Closing {
    span: Option<Span>,
    at: SystemTime,
}

impl Closing {
    pub(crate) fn context(&self) -> Context {
        self.span.as_ref().map_or_else(Context::new, Span::context)
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        if let Some(span) = self.span.take() {
            span.end_at(self.at);
        }
    }
}
