//! `rivulet trace`: draws a trace, from Jaeger or from a file, as a tree of spans with bars.
//!
//! `jaeger` fetches it, `document` reads it, `tree` puts its spans in order, `drawing` makes lines of them. Whatever is read
//! comes from somewhere else: its size is bounded, and nothing in it reaches a terminal unescaped.

mod document;
mod drawing;
mod jaeger;
mod tree;

use std::{
    io::{IsTerminal as _, Read as _, Write as _},
    path::{Path, PathBuf},
};

use clap::Args;

use self::{document::Span, drawing::Colours};
use crate::exit::{Code, Failure};

/// More is no trace that anybody looks at.
const DOCUMENT_LEN_MAX: usize = 16 << 20;

/// Draws a trace.
#[derive(Args, Debug)]
#[command(about = "Draws a trace, from Jaeger or from a file of OTLP JSON, as a tree of spans")]
pub(crate) struct TraceArgs {
    /// The trace's id, 32 hexadecimal digits, or a whole traceparent; with a file that holds one trace it may be left out
    #[arg(value_name = "TRACE_ID", required_unless_present = "file")]
    trace_id: Option<String>,
    /// URL of Jaeger (2.x), whose query API is asked
    #[arg(long, value_name = "URL", default_value = "http://localhost:16686", conflicts_with = "file")]
    jaeger: String,
    /// File of OTLP JSON instead: what Jaeger's /api/v3/traces answers, or what a collector's file exporter writes
    #[arg(long)]
    file: Option<PathBuf>,
    /// Print the JSON as it came
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn run(args: TraceArgs) -> Result<(), Failure> {
    let trace_id = args.trace_id.as_deref().map(trace_id).transpose()?;
    let bytes = match (&args.file, &trace_id) {
        (Some(path), _) => read(path)?,
        (None, Some(trace_id)) => jaeger::fetch(&args.jaeger, trace_id).await?,
        (None, None) => {
            return Err(Failure::usage("a trace id or --file is needed; see rivulet trace --help"));
        }
    };
    let spans = spans(&bytes, trace_id.as_deref())?;
    if args.json {
        return print(&bytes);
    }
    let colours = if std::io::stdout().is_terminal() { Colours::Ansi } else { Colours::None };
    print(drawing::draw(&tree::order(spans), colours).as_bytes())
}

/// The spans of the trace that is asked for, or of the only one.
fn spans(bytes: &[u8], trace_id: Option<&str>) -> Result<Vec<Span>, Failure> {
    let wrong = |text: String| Failure::new(Code::Data, text);
    let mut spans =
        document::read(bytes).map_err(|error| wrong(format!("this is no trace in OTLP JSON: {error}")))?;
    match trace_id {
        Some(trace_id) => {
            spans.retain(|span| span.trace_id == trace_id);
            if spans.is_empty() {
                return Err(wrong(format!("there are no spans of trace {trace_id} in it")));
            }
        }
        None => {
            let Some(first) = spans.first() else { return Err(wrong("there are no spans in it".into())) };
            if let Some(other) = spans.iter().find(|span| span.trace_id != first.trace_id) {
                let ids = format!("{} and {}", first.trace_id, other.trace_id);
                return Err(Failure::usage(format!(
                    "there are several traces in it, such as {ids}: say which"
                )));
            }
        }
    }
    Ok(spans)
}

fn print(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| if bytes.ends_with(b"\n") { Ok(()) } else { out.write_all(b"\n") })
        .and_then(|()| out.flush())
        .map_err(|error| Failure::new(Code::Io, format!("standard output: {error}")))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let cannot = |error| Failure::new(Code::Io, format!("{}: {error}", path.display()));
    let file = std::fs::File::open(path).map_err(cannot)?;
    let mut bytes = Vec::new();
    file.take(DOCUMENT_LEN_MAX as u64 + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() > DOCUMENT_LEN_MAX {
        return Err(too_long(&path.display().to_string()));
    }
    Ok(bytes)
}

fn too_long(origin: &str) -> Failure {
    Failure::new(Code::Data, format!("{origin} has more than {} MiB", DOCUMENT_LEN_MAX >> 20))
}

/// Reads a trace id as people paste it.
fn trace_id(text: &str) -> Result<String, Failure> {
    let id = match text.split('-').collect::<Vec<_>>()[..] {
        [_, id, _, _] => id,
        _ => text,
    };
    let is_id = (1..=32).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_id || id.bytes().all(|byte| byte == b'0') {
        return Err(Failure::usage(format!("{text:?} is no trace id: it has 32 hexadecimal digits")));
    }
    // Older ones have 16.
    Ok(format!("{:0>32}", id.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests;
