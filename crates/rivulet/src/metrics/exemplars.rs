//! Exemplars: behind the buckets of a histogram, the trace of an update that fell into it.
//!
//! The encoder writes those of its own histograms only, which no two threads can count in without a lock; so they are put
//! behind the lines that it has written.

use std::fmt::{self, Write as _};

use rivulet_node::Exemplar;

use super::{families::Family, page::seconds};

/// Puts the exemplars of these families, which have no labels, behind their buckets.
pub(super) fn put(text: &str, families: &[(&Family, &[Option<Exemplar>])]) -> Result<String, fmt::Error> {
    let mut shown = String::with_capacity(text.len() + 4096);
    let mut left: Vec<_> = families
        .iter()
        .map(|(family, exemplars)| (format!("{}_bucket{{", family.name), exemplars.iter()))
        .collect();
    for line in text.lines() {
        shown.push_str(line);
        let of_bucket = left.iter_mut().find(|(start, _)| line.starts_with(start.as_str()));
        if let Some(Some(exemplar)) = of_bucket.and_then(|(_, exemplars)| exemplars.next()) {
            let (value, at) = (seconds(exemplar.nanos), exemplar.at.duration_since(std::time::UNIX_EPOCH));
            let at = at.unwrap_or_default().as_secs_f64();
            let trace = u128::from_be_bytes(exemplar.trace_id);
            write!(shown, " # {{trace_id=\"{trace:032x}\"}} {value} {at:.3}")?;
        }
        shown.push('\n');
    }
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::{super::families::WRITE_LATENCY, *};

    #[test]
    fn exemplars_stand_behind_their_buckets() {
        let name = WRITE_LATENCY.name;
        let text = format!(
            "# TYPE {name} histogram\n{name}_sum 1.5\n{name}_count 2\n{name}_bucket{{le=\"0.5\"}} 1\n\
             {name}_bucket{{le=\"+Inf\"}} 2\nother_bucket{{le=\"+Inf\"}} 2\n# EOF\n"
        );
        let at = UNIX_EPOCH + Duration::from_millis(1_500);
        let exemplar = Exemplar { trace_id: [0x0a; 16], nanos: 1_250_000_000, at };
        let found = put(&text, &[(&WRITE_LATENCY, &[None, Some(exemplar)])]).unwrap();
        let lines: Vec<_> = found.lines().zip(text.lines()).filter(|(found, line)| found != line).collect();
        let expected =
            format!("{name}_bucket{{le=\"+Inf\"}} 2 # {{trace_id=\"{}\"}} 1.25 1.500", "0a".repeat(16));
        assert_eq!(lines, [(expected.as_str(), format!("{name}_bucket{{le=\"+Inf\"}} 2").as_str())]);
        assert_eq!(put(&text, &[(&WRITE_LATENCY, &[None, None])]).unwrap(), text);
    }
}
