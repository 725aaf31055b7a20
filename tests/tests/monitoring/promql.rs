//! The selectors of a PromQL expression: as much of the language as it takes to find them. Whether the rest is right, the
//! real Prometheus says.

/// What an expression asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selector {
    /// The metric.
    pub(crate) name: String,
    /// Its matchers: label, operator, value.
    pub(crate) matchers: Vec<(String, String, String)>,
}

/// Words that are followed by a list of labels.
const BEFORE_LABELS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];

/// Words that are no metrics, beside functions.
const WORDS: [&str; 9] = ["and", "or", "unless", "bool", "offset", "inf", "nan", "start", "end"];

/// All selectors of an expression, in order.
///
/// # Panics
/// Where the text ends too early.
pub(crate) fn selectors(expression: &str) -> Vec<Selector> {
    let mut rest = expression;
    let mut found = Vec::new();
    while let Some(first) = rest.chars().next() {
        if is_start(first) {
            let (word, after) = split(rest, |c| is_start(c) || c.is_ascii_digit());
            let next = after.trim_start();
            if BEFORE_LABELS.contains(&word) {
                rest = next.strip_prefix('(').map_or(next, |list| past(list, ')'));
            } else if WORDS.contains(&word.to_lowercase().as_str())
                || next.starts_with('(')
                || is_grouped(next)
            {
                rest = next;
            } else {
                let (matchers, after) = next.strip_prefix('{').map_or((Vec::new(), next), matchers);
                found.push(Selector { name: word.to_owned(), matchers });
                rest = after;
            }
        } else if first.is_ascii_digit() {
            // A number, or a duration.
            rest = split(rest, |c| c.is_ascii_alphanumeric() || c == '.').1;
        } else {
            rest = match first {
                '[' => past(rest, ']'),
                '"' => string(rest).1,
                '#' => rest.split_once('\n').map_or("", |(_, after)| after),
                '{' => panic!("a selector without a name: {rest}"),
                _ => &rest[first.len_utf8()..],
            };
        }
    }
    found
}

/// Whether an aggregation's labels come next: `sum by (…) (…)`.
fn is_grouped(next: &str) -> bool {
    let word = split(next, is_start).0;
    word == "by" || word == "without"
}

fn is_start(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || c == ':'
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

fn past(text: &str, end: char) -> &str {
    text.split_once(end).unwrap_or_else(|| panic!("no {end} in {text}")).1
}

/// A string in quotes, and what follows it.
fn string(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    panic!("no end of {text}")
}

/// The matchers after `{`, and what follows `}`.
fn matchers(mut rest: &str) -> (Vec<(String, String, String)>, &str) {
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ', '\n']);
        if let Some(after) = rest.strip_prefix('}') {
            return (found, after);
        }
        let (label, after) = split(rest, |c| is_start(c) || c.is_ascii_digit());
        let (operator, after) = split(after.trim_start(), |c| "=!~".contains(c));
        assert!(!label.is_empty() && !operator.is_empty(), "no matcher: {rest}");
        let (value, after) = string(after.trim_start());
        found.push((label.to_owned(), operator.to_owned(), value));
        rest = after;
    }
}

#[test]
fn selectors_are_found() {
    let check = |expression: &str, expected: &[(&str, &str)]| {
        let found = selectors(expression).into_iter().map(|selector| {
            let matchers = selector.matchers.iter().map(|(label, is, value)| format!("{label}{is}{value}"));
            (selector.name, matchers.collect::<Vec<_>>().join(","))
        });
        let found: Vec<_> = found.collect();
        let expected: Vec<_> =
            expected.iter().map(|(name, is)| ((*name).to_owned(), (*is).to_owned())).collect();
        assert_eq!(found, expected, "{expression}");
    };
    check("up", &[("up", "")]);
    check("up{job=\"a\"} == 0", &[("up", "job=a")]);
    check("sum by (le, a) (rate(x_bucket{a=~\"b|}\", c!=\"\"}[5m])) > 1.05e3", &[("x_bucket", "a=~b|},c!=")]);
    check("sum(a) by (b) / on (c) group_left () d:e:f offset 5m", &[("a", ""), ("d:e:f", "")]);
    check("count by (x) (a) unless on (job) b{c=\"d\\\"\"} or vector(0)", &[("a", ""), ("b", "c=d\"")]);
    check("min_over_time(a[1h] offset 2h) # b\n and topk(3, c)", &[("a", ""), ("c", "")]);
    check("histogram_quantile(0.99, x) > bool 3", &[("x", "")]);
}
