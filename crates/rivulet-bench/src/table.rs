//! The table that people read: a line per figure, a column per server, the ratio last.

use std::fmt::Write;

use crate::{
    args::ServerKind,
    goal::{Bound, Verdict},
    report::Comparison,
};

/// Lays out a summary, phase by phase. Each cell is "median (least–most)".
pub(crate) fn render(summary: &[Comparison]) -> String {
    let servers: Vec<ServerKind> = [ServerKind::Rivulet, ServerKind::Floor]
        .into_iter()
        .filter(|server| summary.iter().any(|comparison| comparison.servers.contains_key(server)))
        .collect();
    let with_ratio = servers.len() > 1;
    let (mut out, mut phase) = (String::new(), "");
    for comparison in summary {
        if comparison.phase != phase {
            phase = comparison.phase;
            let _ = write!(out, "\n{phase:<34}");
            for server in &servers {
                let _ = write!(out, "{:>30}", server.name());
            }
            out.push_str(if with_ratio { "   rivulet ÷ floor\n" } else { "\n" });
        }
        let _ = write!(out, "  {:<32}", comparison.metric);
        for server in &servers {
            let _ = write!(out, "{:>30}", cell(comparison, *server));
        }
        if let (true, Some(ratio)) = (with_ratio, comparison.rivulet_by_floor) {
            let _ = write!(out, "{ratio:>18.3}");
        }
        out.push('\n');
    }
    out
}

/// A line per goal; nothing where there are none.
pub(crate) fn render_goals(goals: &[Verdict]) -> String {
    let mut out = String::new();
    for Verdict { phase, metric, bound, median, is_met } in goals {
        let verdict = if *is_met { "met" } else { "MISSED" };
        let heading = if out.is_empty() { "\ngoals\n" } else { "" };
        let figure = format!("{phase}: {metric}");
        let (side, bound) = match bound {
            Bound::AtMost(most) => ("at most", most),
            Bound::AtLeast(least) => ("at least", least),
        };
        let (bound, median) = (number(*bound), number(*median));
        let _ = writeln!(out, "{heading}  {figure:<50} {side:>8} {bound:>8}: {median:>8}, {verdict}");
    }
    out
}

fn cell(comparison: &Comparison, server: ServerKind) -> String {
    let Some(spread) = comparison.servers.get(&server) else { return "–".to_owned() };
    if spread.min.total_cmp(&spread.max).is_eq() {
        return number(spread.median);
    }
    format!("{} ({}–{})", number(spread.median), number(spread.min), number(spread.max))
}

/// A number with three or four digits that matter, thousands apart.
fn number(value: f64) -> String {
    let size = value.abs();
    if value.fract() == 0.0 || size >= 1_000.0 {
        return thousands(&format!("{value:.0}"));
    }
    match size {
        100.0.. => format!("{value:.1}"),
        10.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn thousands(digits: &str) -> String {
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    let mut out = String::from(sign);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::spread::Spread;

    #[test]
    fn numbers_are_short() {
        for (value, expected) in [
            (0.0, "0"),
            (5_000.0, "5,000"),
            (1_234_567.8, "1,234,568"),
            (-1_234.5, "-1,234"),
            (123.456, "123.5"),
            (12.345_6, "12.35"),
            (0.123_45, "0.123"),
            (999.0, "999"),
        ] {
            assert_eq!(number(value), expected, "{value}");
        }
    }

    #[test]
    fn a_figure_that_one_server_lacks_leaves_a_dash() {
        let spread = Spread { median: 2.5, min: 2.0, max: 3.0 };
        let comparison =
            |metric, servers| Comparison { phase: "burst", metric, servers, rivulet_by_floor: None };
        let both = BTreeMap::from([(ServerKind::Rivulet, spread), (ServerKind::Floor, spread)]);
        let one = BTreeMap::from([(ServerKind::Rivulet, spread)]);
        let text = render(&[comparison("a", both), comparison("b", one)]);
        assert_eq!(text.matches("burst").count(), 1, "{text}");
        assert_eq!(text.matches("2.500 (2–3)").count(), 3, "{text}");
        assert!(text.trim_end().ends_with('–'), "{text}");
    }
}
