//! Makes lines of a trace: a tree on the left, a bar per span on one axis of time, and what is worth knowing of it.

use std::{
    collections::{BTreeSet, HashMap},
    fmt::Write as _,
    time::Duration,
};

use super::{
    document::{Kind, Span},
    tree::Placed,
};

const BAR_WIDTH: u64 = 24;
/// Longer names and values are cut: a topic may have thousands of characters.
const NAME_LEN_MAX: usize = 40;
const VALUE_LEN_MAX: usize = 64;
/// As much of a node's id as tells it from others, in most hubs.
const NODE_LEN_MAX: usize = 8;

/// What is shown of a span, under a shorter name. Times are in seconds.
pub(super) const SHOWN: [(&str, &str); 28] = [
    ("http.response.status_code", "status"),
    ("rivulet.problem", "problem"),
    ("messaging.destination.name", "topic"),
    ("messaging.destination.partition.id", "partition"),
    ("messaging.message.id", "id"),
    ("messaging.message.body.size", "bytes"),
    ("messaging.batch.message_count", "updates"),
    ("db.stored_procedure.name", "script"),
    ("db.response.status_code", "redis"),
    ("rivulet.subscribers.reached", "reached"),
    ("rivulet.subscribers.lagging", "lagging"),
    ("rivulet.subscribers.skipped", "skipped"),
    ("rivulet.workers", "workers"),
    ("rivulet.queue_time", "queue_time"),
    ("rivulet.dispatch_time", "dispatch_time"),
    ("rivulet.age_at_dispatch", "age"),
    ("rivulet.pages", "pages"),
    ("rivulet.gap", "gap"),
    ("rivulet.limit", "limit"),
    ("rivulet.refusal", "refusal"),
    ("rivulet.streams", "streams"),
    ("rivulet.updates", "updates"),
    ("rivulet.lost", "lost"),
    ("rivulet.attempts_failed", "attempts_failed"),
    ("rivulet.ended", "ended"),
    ("rivulet.nodes_unanswered", "unanswered"),
    ("rivulet.duration", "duration"),
    ("close.reason", "reason"),
];
/// Those that are seconds.
const SECONDS: [&str; 4] = ["queue_time", "dispatch_time", "age", "duration"];

/// Whether lines have colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Colours {
    Ansi,
    None,
}

impl Colours {
    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::Ansi => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::None => text.to_owned(),
        }
    }
}

const RED: &str = "31";
const CYAN: &str = "36";
const DIM: &str = "2";

/// Draws the spans of one trace, a line for each.
pub(super) fn draw(placed: &[Placed], colours: Colours) -> String {
    let spans = || placed.iter().map(|placed| &placed.span);
    let start = spans().map(|span| span.start).min().unwrap_or_default();
    let end = spans().map(|span| span.end).max().unwrap_or_default();
    let axis = Axis { start, length: (end - start).max(1) };
    let nodes: BTreeSet<&str> = spans().map(|span| span.node.as_str()).collect();
    let trace_id = spans().next().map(|span| span.trace_id.as_str()).unwrap_or_default();
    let (count, nodes, took) = (placed.len(), nodes.len(), time(end - start));
    let s = |count: usize| if count == 1 { "" } else { "s" };
    let mut text =
        format!("trace {trace_id}: {count} span{} on {nodes} node{}, {took}\n\n", s(count), s(nodes));
    let labels: Vec<String> = placed.iter().map(label).collect();
    let width = labels.iter().map(|label| label.chars().count()).max().unwrap_or_default();
    let known: HashMap<&str, &Span> = spans().map(|span| (span.span_id.as_str(), span)).collect();
    for (placed, label) in placed.iter().zip(&labels) {
        let parent = placed.span.parent_id.as_deref().and_then(|id| known.get(id).copied());
        line(&mut text, placed, (label, width), axis, colours, &notes(&placed.span, parent));
    }
    text
}

/// The time that the bars stand for, in nanoseconds.
#[derive(Clone, Copy)]
struct Axis {
    start: u64,
    length: u64,
}

impl Axis {
    fn bar(self, span: &Span) -> String {
        let cell = |at: u64| {
            let cells = u128::from(at - self.start) * u128::from(BAR_WIDTH) / u128::from(self.length);
            usize::try_from(cells).unwrap_or_default()
        };
        let width = usize::try_from(BAR_WIDTH).unwrap_or_default();
        let from = cell(span.start).min(width - 1);
        let to = cell(span.end).clamp(from + 1, width);
        format!("{}{}{}", " ".repeat(from), "━".repeat(to - from), " ".repeat(width - to))
    }
}

fn line(
    text: &mut String,
    placed: &Placed,
    (label, width): (&str, usize),
    axis: Axis,
    colours: Colours,
    notes: &str,
) {
    let span = &placed.span;
    let label = format!("{label:width$}");
    let node: String = escaped(&span.node, NODE_LEN_MAX).chars().filter(|c| *c != '…').collect();
    let node = colours.paint(DIM, &format!("{node:NODE_LEN_MAX$}"));
    let (label, bar) = match &span.error {
        Some(_) => (colours.paint(RED, &label), colours.paint(RED, &axis.bar(span))),
        None => (label, colours.paint(CYAN, &axis.bar(span))),
    };
    let kind = kind(span.kind);
    let (start, took) = (time(span.start - axis.start), time(span.end - span.start));
    // Writing into a text does not fail.
    let _ = write!(text, "{label}  {kind:8}  {node}  {start:>9}  {took:>9}  {bar}");
    if let Some(message) = &span.error {
        let _ = write!(text, "  {}", colours.paint(RED, &error(span, message)));
    }
    if !notes.is_empty() {
        let _ = write!(text, "  {}", colours.paint(DIM, notes));
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
}

fn label(placed: &Placed) -> String {
    let Some((last, above)) = placed.branches.split_last() else { return name(placed) };
    let mut label: String = above.iter().map(|more| if *more { "│  " } else { "   " }).collect();
    label.push_str(if *last { "├─ " } else { "└─ " });
    label + &name(placed)
}

fn name(placed: &Placed) -> String {
    let name = escaped(&placed.span.name, NAME_LEN_MAX);
    // Where the line to its parent would be.
    if placed.is_orphan { format!("… {name}") } else { name }
}

const fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Internal => "internal",
        Kind::Server => "server",
        Kind::Client => "client",
        Kind::Producer => "producer",
        Kind::Consumer => "consumer",
    }
}

fn error(span: &Span, message: &str) -> String {
    let kind = span.attribute("error.type").unwrap_or_default();
    let parts = ["ERROR", kind, message].into_iter().filter(|part| !part.is_empty());
    parts.map(|part| escaped(part, VALUE_LEN_MAX)).collect::<Vec<_>>().join(" ")
}

/// What is worth knowing of a span, without what its parent above it says already.
fn notes(span: &Span, parent: Option<&Span>) -> String {
    let shown = SHOWN.iter().filter_map(|(key, name)| {
        let value = span.attribute(key)?;
        if parent.is_some_and(|parent| parent.attribute(key) == Some(value)) {
            return None;
        }
        let seconds = value.parse().ok().filter(|_| SECONDS.contains(name));
        let seconds = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let value = match seconds {
            Some(seconds) => time(u64::try_from(seconds.as_nanos()).unwrap_or(u64::MAX)).replace(' ', ""),
            None if value.contains(' ') => format!("\"{}\"", escaped(value, VALUE_LEN_MAX)),
            None => escaped(value, VALUE_LEN_MAX),
        };
        Some(format!("{name}={value}"))
    });
    let others = |id: &str| parent.is_none_or(|parent| parent.span_id != id);
    let links = span.links.iter().filter(|link| others(&link.span_id)).map(|link| {
        let is_here = link.trace_id == span.trace_id;
        if is_here {
            format!("link={}", link.span_id)
        } else {
            format!("link={}/{}", link.trace_id, link.span_id)
        }
    });
    shown.chain(links).collect::<Vec<_>>().join(" ")
}

/// A time as people read it.
fn time(nanos: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let (nanos, micro) = (nanos as f64, 1e3);
    match nanos {
        _ if nanos < 1e6 => format!("{:.0} µs", nanos / micro),
        _ if nanos < 1e9 => format!("{:.2} ms", nanos / 1e6),
        _ => format!("{:.2} s", nanos / 1e9),
    }
}

/// Text from somewhere else: without control characters, nor those that turn the direction of writing, and cut.
fn escaped(text: &str, len_max: usize) -> String {
    let mut shown = String::new();
    for (index, char) in text.chars().enumerate() {
        if index == len_max {
            shown.push('…');
            break;
        }
        let is_treacherous = matches!(char,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        if char.is_control() || is_treacherous {
            shown.extend(char.escape_default());
        } else {
            shown.push(char);
        }
    }
    shown
}
