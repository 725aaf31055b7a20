//! The spans of an update: `send` on the node that takes it from its publisher, and one `process` on every node that
//! has subscribers for it, however many these are.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use opentelemetry::{
    Context, KeyValue,
    trace::{SpanBuilder, SpanKind, TraceContextExt as _},
};
use opentelemetry_semantic_conventions::attribute::{
    MESSAGING_CLIENT_ID, MESSAGING_DESTINATION_NAME, MESSAGING_DESTINATION_PARTITION_ID,
    MESSAGING_MESSAGE_BODY_SIZE, MESSAGING_MESSAGE_ID, MESSAGING_OPERATION_NAME, MESSAGING_OPERATION_TYPE,
    MESSAGING_SYSTEM,
};
use rivulet_core::{Partition, Position, Update, cursor::position_id};

use crate::{
    AppendError, Appended, TraceUpdates,
    node::NodeShared,
    trace::{self, Span},
};

/// The value of `messaging.system`.
pub(crate) const SYSTEM: &str = "rivulet";
/// The most characters of a topic or id in a span: both may have a kilobyte.
const TEXT_LEN_MAX: usize = 256;

/// The span of a publication, if its request is recorded. The update carries it from then on.
pub(crate) fn send(node: &NodeShared, update: &mut Update) -> Span {
    let partition = node.partitions.of(update.canonical_topic());
    let span = Span::child("send", SpanKind::Producer, || attributes(node, "send", partition, update));
    if let Some(context) = span.trace_context() {
        update.trace = Some(context);
    }
    span
}

/// Notes what became of a publication, and ends its span.
///
/// `own_id`: the id that the publisher chose, if it did.
pub(crate) fn sent(
    node: &NodeShared,
    span: &Span,
    own_id: Option<&str>,
    appended: &Result<Position, AppendError>,
) {
    match appended {
        Ok(position) => span.set(|| {
            let id = own_id.is_none().then(|| id_of(node, *position));
            [Some(position_of(*position)), id].into_iter().flatten()
        }),
        // The publisher's mistake, or its limit: nothing has failed here.
        Err(AppendError::KeyReused) => {
            span.set(|| [KeyValue::new("rivulet.problem", "idempotency-key-reused")])
        }
        Err(AppendError::Refused(refused)) => {
            span.set(|| [KeyValue::new("rivulet.limit", refused.limit.as_str())]);
        }
        Err(AppendError::Transport(error)) => span.fail("transport-unavailable", error.reason.clone()),
    }
    span.end();
}

/// What the spans of an update say of it.
fn attributes(
    node: &NodeShared,
    operation: &'static str,
    partition: Partition,
    update: &Update,
) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new(MESSAGING_SYSTEM, SYSTEM),
        KeyValue::new(MESSAGING_OPERATION_TYPE, operation),
        KeyValue::new(MESSAGING_OPERATION_NAME, operation),
        KeyValue::new(MESSAGING_DESTINATION_NAME, cut(update.canonical_topic().as_str())),
        KeyValue::new(MESSAGING_DESTINATION_PARTITION_ID, partition.to_string()),
        KeyValue::new(MESSAGING_MESSAGE_BODY_SIZE, number(update.data.len() as u64)),
        KeyValue::new(MESSAGING_CLIENT_ID, node.id.to_string()),
        KeyValue::new("rivulet.topics", number(update.topics.len() as u64)),
    ];
    if let Some(id) = &update.id {
        attributes.push(KeyValue::new(MESSAGING_MESSAGE_ID, cut(id.as_str())));
    }
    attributes
}

/// The id of an update that its publisher gave none.
fn id_of(node: &NodeShared, position: Position) -> KeyValue {
    KeyValue::new(MESSAGING_MESSAGE_ID, position_id(node.partitions, position))
}

fn position_of(position: Position) -> KeyValue {
    KeyValue::new("rivulet.position", number(position.as_micros()))
}

fn cut(text: &str) -> String {
    text.chars().take(TEXT_LEN_MAX).collect()
}

/// A number as attributes hold it.
pub(crate) fn number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// What became of an update at one of its subscribers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is written, or as much of it as the socket took.
    Reached,
    /// The subscriber has no grant for it.
    Skipped,
    /// It waits in a ring, or will be read from the log.
    Lagging,
}

/// The `process` span of a recorded update on this node. It is shared by the workers that have subscribers for it, and
/// ends when the last of them has offered it to all.
#[derive(Debug)]
pub(crate) struct MessageTrace {
    span: Span,
    taken: Instant,
    reached: AtomicU64,
    skipped: AtomicU64,
    lagging: AtomicU64,
    /// Whether some subscribers are in none of these.
    uncounted: AtomicBool,
}

impl MessageTrace {
    /// Begins it, if the update is recorded. `received`: when the transport had it for this node.
    pub(crate) fn begin(
        node: &NodeShared,
        appended: &Appended,
        workers: usize,
        received: Option<Instant>,
    ) -> Option<Arc<Self>> {
        let creation = appended.update.trace.as_deref()?;
        if !creation.is_sampled() || !trace::is_on() {
            return None;
        }
        let (taken, position) = (Instant::now(), appended.position);
        let mut attributes = attributes(node, "process", appended.partition, &appended.update);
        if appended.update.id.is_none() {
            attributes.push(id_of(node, position));
        }
        attributes.push(position_of(position));
        attributes.push(KeyValue::new("rivulet.workers", number(workers as u64)));
        attributes.push(KeyValue::new("rivulet.age_at_dispatch", age(node, position).as_secs_f64()));
        if let Some(received) = received {
            let waited = taken.saturating_duration_since(received);
            attributes.push(KeyValue::new("rivulet.queue_time", waited.as_secs_f64()));
        }
        let builder = || {
            SpanBuilder::from_name("process")
                .with_kind(SpanKind::Consumer)
                .with_links(vec![trace::link(creation)])
                .with_attributes(attributes)
        };
        let span = match node.config.trace_updates {
            TraceUpdates::Child => {
                let parent = Context::new().with_remote_span_context(trace::span_context(creation));
                Span::begin(&parent, builder)
            }
            TraceUpdates::Link => Span::linked(builder),
        };
        let none = || AtomicU64::new(0);
        span.is_recorded().then(|| {
            let (reached, skipped, lagging) = (none(), none(), none());
            Arc::new(Self { span, taken, reached, skipped, lagging, uncounted: AtomicBool::new(false) })
        })
    }

    pub(crate) fn count(&self, fate: Fate) {
        let counter = match fate {
            Fate::Reached => &self.reached,
            Fate::Skipped => &self.skipped,
            Fate::Lagging => &self.lagging,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// Some of those whom it is for are not counted: too much is counted already.
    pub(crate) fn leaves_uncounted(&self) {
        self.uncounted.store(true, Relaxed);
    }
}

impl Drop for MessageTrace {
    fn drop(&mut self) {
        let count = |name, counter: &AtomicU64| KeyValue::new(name, number(counter.load(Relaxed)));
        if self.uncounted.load(Relaxed) {
            self.span.set(|| [KeyValue::new("rivulet.subscribers.uncounted", true)]);
        }
        self.span.set(|| {
            [
                count("rivulet.subscribers.reached", &self.reached),
                count("rivulet.subscribers.skipped", &self.skipped),
                count("rivulet.subscribers.lagging", &self.lagging),
                KeyValue::new("rivulet.dispatch_time", self.taken.elapsed().as_secs_f64()),
            ]
        });
        self.span.end();
    }
}

/// How long ago an update got its position, which is a time of the transport's.
fn age(node: &NodeShared, position: Position) -> Duration {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let wall = u64::try_from(wall.as_micros()).unwrap_or(u64::MAX);
    let now = wall.saturating_add_signed(node.transport.clock_offset_micros().saturating_neg());
    Duration::from_micros(now.saturating_sub(position.as_micros()))
}
