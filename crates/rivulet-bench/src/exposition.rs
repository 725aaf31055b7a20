//! What `/metrics` shows: values by name, and which of them are gauges.

use std::collections::{BTreeMap, BTreeSet};

/// One scrape.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exposition {
    /// By name with labels, as the text has them.
    values: BTreeMap<String, f64>,
    /// Names without labels.
    gauges: BTreeSet<String>,
}

impl Exposition {
    /// Reads the text; what is no number is passed over.
    pub(crate) fn parse(text: &str) -> Self {
        let mut exposition = Self::default();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                if let Some((name, "gauge")) = rest.split_once(' ') {
                    exposition.gauges.insert(name.to_owned());
                }
            } else if !line.starts_with('#')
                // Behind the value of a bucket a trace may stand.
                && let Some((name, value)) = line.split(" # ").next().unwrap_or(line).rsplit_once(' ')
                && let Ok(value) = value.parse()
            {
                exposition.values.insert(name.to_owned(), value);
            }
        }
        exposition
    }

    /// The value of a series, which is named with its labels.
    pub(crate) fn value(&self, series: &str) -> Option<f64> {
        self.values.get(series).copied()
    }

    /// All gauges, by series.
    pub(crate) fn gauges(&self) -> impl Iterator<Item = (&str, f64)> {
        let is_gauge =
            |series: &str| self.gauges.contains(series.split_once('{').map_or(series, |(name, _)| name));
        self.values
            .iter()
            .map(|(series, value)| (series.as_str(), *value))
            .filter(move |(series, _)| is_gauge(series))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauges_are_told_from_counters() {
        let exposition = Exposition::parse(
            "# HELP a Of a.\n# TYPE a gauge\na 3\n# TYPE b counter\nb_total 4\n# TYPE c gauge\nc{x=\"y z\"} 1.5\n\
             d_bucket{le=\"1\"} 2 # {trace_id=\"0a\"} 0.5 7\n\
             # EOF\n",
        );
        assert_eq!(exposition.gauges().collect::<Vec<_>>(), [("a", 3.0), ("c{x=\"y z\"}", 1.5)]);
        assert_eq!(exposition.value("d_bucket{le=\"1\"}"), Some(2.0));
        assert_eq!((exposition.value("b_total"), exposition.value("b")), (Some(4.0), None));
    }
}
