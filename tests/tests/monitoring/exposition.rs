//! The samples of a scrape, with their labels.

/// One sample.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sample {
    /// Its name, with `_total`, `_bucket` and the like.
    pub(crate) name: String,
    /// Its labels.
    pub(crate) labels: Vec<(String, String)>,
    /// Its value.
    pub(crate) value: f64,
}

impl Sample {
    /// The value of a label.
    pub(crate) fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| label == name).map(|(_, value)| value.as_str())
    }
}

/// The samples of a text in the OpenMetrics format; exemplars are left out.
///
/// # Panics
/// If it is none.
pub(crate) fn samples(text: &str) -> Vec<Sample> {
    text.lines().filter(|line| !line.starts_with('#')).map(sample).collect()
}

fn sample(line: &str) -> Sample {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("no sample: {line}"));
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(mut list) = rest.strip_prefix('{') {
        while !list.starts_with('}') {
            let (label, after) = list.split_once("=\"").unwrap_or_else(|| panic!("no label: {line}"));
            let end = closing_quote(after).unwrap_or_else(|| panic!("no end of a label: {line}"));
            labels.push((label.to_owned(), after[..end].to_owned()));
            list = after[end + 1..].trim_start_matches(',');
        }
        rest = &list[1..];
    }
    let value = rest.split_whitespace().next().and_then(|value| value.parse().ok());
    Sample { name: name.to_owned(), labels, value: value.unwrap_or_else(|| panic!("no value: {line}")) }
}

/// Where a label's value ends.
fn closing_quote(text: &str) -> Option<usize> {
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some(at),
            '\\' => {
                characters.next();
            }
            _ => {}
        }
    }
    None
}

#[test]
fn samples_are_read() {
    let text = "# TYPE a gauge\na 1\nb_total{x=\"1,}\",y=\"\\\"\"} 2.5\nc_bucket{le=\"0.5\"} 3 # {trace_id=\"f\"} 0.4 1.0\n# EOF\n";
    let found = samples(text);
    assert_eq!(found.len(), 3);
    assert_eq!((found[0].name.as_str(), found[0].value), ("a", 1.0));
    assert_eq!((found[1].label("x"), found[1].label("y"), found[1].value), (Some("1,}"), Some("\\\""), 2.5));
    assert_eq!((found[2].label("le"), found[2].value), (Some("0.5"), 3.0));
}
