//! Puts spans in the order in which they are drawn: each below its parent, siblings by their start.

use std::collections::{HashMap, HashSet};

use super::document::Span;

/// Deeper trees are drawn no deeper.
const DEPTH_MAX: usize = 32;

/// A span in its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Placed {
    pub(super) span: Span,
    /// For each level above it: whether more comes there below it. Empty: it is a root.
    pub(super) branches: Vec<bool>,
    /// Its parent is not there: it was lost, or is still under way.
    pub(super) is_orphan: bool,
}

/// Orders the spans. Of two with one id, as an exporter that tries again sends them, the first is taken.
pub(super) fn order(mut spans: Vec<Span>) -> Vec<Placed> {
    let mut known = HashSet::new();
    spans.retain(|span| known.insert(span.span_id.clone()));
    spans.sort_by(|a, b| (a.start, &a.span_id).cmp(&(b.start, &b.span_id)));
    let mut children: HashMap<&str, Vec<usize>> = HashMap::new();
    let mut roots = Vec::new();
    for (index, span) in spans.iter().enumerate() {
        match &span.parent_id {
            Some(parent) if known.contains(parent) => children.entry(parent).or_default().push(index),
            _ => roots.push(index),
        }
    }
    let mut placed = Vec::with_capacity(spans.len());
    let mut seen = vec![false; spans.len()];
    for root in roots {
        place(root, &spans, &children, &mut seen, &mut placed);
    }
    // What is its own ancestor hangs on no root.
    for index in 0..spans.len() {
        place(index, &spans, &children, &mut seen, &mut placed);
    }
    placed
}

/// Places a span and all below it that have no place yet.
fn place(
    root: usize,
    spans: &[Span],
    children: &HashMap<&str, Vec<usize>>,
    seen: &mut [bool],
    placed: &mut Vec<Placed>,
) {
    let mut stack = vec![(root, Vec::new())];
    while let Some((index, branches)) = stack.pop() {
        if std::mem::replace(&mut seen[index], true) {
            continue;
        }
        let span = &spans[index];
        let below = children.get(span.span_id.as_str()).map_or(&[][..], Vec::as_slice);
        // The last is put down first, and taken up last.
        for (place, child) in below.iter().enumerate().rev() {
            let mut deeper = branches.clone();
            if deeper.len() < DEPTH_MAX {
                deeper.push(place + 1 < below.len());
            }
            stack.push((*child, deeper));
        }
        let is_orphan = branches.is_empty() && span.parent_id.is_some();
        placed.push(Placed { span: span.clone(), branches, is_orphan });
    }
}
