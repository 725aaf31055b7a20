//! What must be true of a run, and how a run is told.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::outcome::Outcome;
use crate::supervisor::diary::Happening;

/// How much steeper than even the return of clients may be at any time.
const RATIO_MAX: f64 = 2.0;

/// How much of the updates that were planned must have been published.
const LOAD_MIN: f64 = 0.9;

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Its name.
    pub rule: &'static str,
    /// Whether it was kept.
    pub holds: bool,
    /// What was found.
    pub found: String,
}

impl Outcome {
    /// All rules.
    pub fn verdicts(&self) -> Vec<Verdict> {
        let none = |rule, count: u64| Verdict { rule, holds: count == 0, found: count.to_string() };
        let killed = self.happened(|what| *what == Happening::Killed);
        let failed = self.happened(|what| match what {
            Happening::Ended(status) => !status.success(),
            Happening::Crashed(_) | Happening::Unready => true,
            _ => false,
        });
        let of = |count: usize| count as u64;
        vec![
            self.load(),
            none("no update was lost", self.lost),
            none("none came twice", self.twice),
            none("none came out of order", self.disordered),
            none("no gap was announced", self.gaps),
            none("nothing strange was sent", of(self.strange.len())),
            none("no client got an error status", of(self.statuses.values().sum())),
            none("no client found nobody", of(self.refused)),
            none("no connection of a client broke", of(self.broken.values().sum())),
            none("no stream ended without a word", of(self.cut)),
            none("all clients came back", of(self.absent)),
            self.slope(),
            self.reads(),
            none("every update was acknowledged in the end", self.given_up),
            none("no pod needed SIGKILL", of(killed)),
            none("pods were ready until they were deleted, and exited with 0", of(failed)),
        ]
    }

    /// A machine that is too busy for it proves less.
    fn load(&self) -> Verdict {
        let planned = self.plan.updates_per_second + self.plan.wide_updates_per_second;
        let rate = self.rate();
        let found = format!("{rate:.0} of {planned:.0} per second");
        Verdict {
            rule: "as many updates were published as planned",
            holds: rate >= LOAD_MIN * planned,
            found,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 updates")]
    fn rate(&self) -> f64 {
        self.published as f64 / self.published_for.as_secs_f64()
    }

    fn slope(&self) -> Verdict {
        let rule = "clients came back at most twice as steeply as evenly";
        let Some(steepest) = self.steepest else {
            return Verdict { rule, holds: false, found: "nobody came back".to_owned() };
        };
        let (window, even) = (self.plan.window.as_secs_f64(), steepest.even);
        let found = format!("{:.2} × ({} in {window} s, evenly {even:.1})", steepest.ratio, steepest.returns);
        Verdict { rule, holds: steepest.ratio <= RATIO_MAX, found }
    }

    fn reads(&self) -> Verdict {
        let (reads, max) = (self.reads, self.reads_max);
        let rule = "the log was read no more often than returns explain";
        Verdict { rule, holds: reads > 0 && reads <= max, found: format!("{reads} of at most {max}") }
    }

    /// Whether all rules were kept.
    pub fn is_clean(&self) -> bool {
        self.verdicts().iter().all(|verdict| verdict.holds)
    }

    /// The figures and the rules, for people.
    pub fn report(&self) -> String {
        let mut text = String::new();
        // Writing to a string never fails.
        for entry in &self.diary {
            let _ = writeln!(text, "{entry}");
        }
        let _ =
            writeln!(text, "\nclients that came back, by second:\n{}", histogram(&self.returns_by_second));
        for (name, figure) in self.figures() {
            let _ = writeln!(text, "{name:<58} {figure}");
        }
        text.push('\n');
        for Verdict { rule, holds, found } in self.verdicts() {
            let _ = writeln!(text, "{} {rule}: {found}", if holds { "kept  " } else { "BROKEN" });
        }
        text
    }

    fn figures(&self) -> Vec<(&'static str, String)> {
        let [p50, p99, max] = self.pauses.map(|pause| format!("{:.1} s", pause.as_secs_f64()));
        let seconds = self.took.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
        let (deliveries, reads, returns) =
            (self.deliveries as f64, self.reads as f64, self.returns().max(1) as f64);
        vec![
            ("from the first update until all were back", format!("{seconds:.0} s")),
            ("updates acknowledged", format!("{} ({:.0} per second)", self.published, self.rate())),
            (
                "deliveries",
                format!(
                    "{} ({:.0} per second)",
                    self.deliveries,
                    deliveries / self.published_for.as_secs_f64()
                ),
            ),
            ("streams of each pod when it was asked to stop", format!("{:?}", self.stopped_with)),
            ("returns", self.returns().to_string()),
            ("reads of the log per return", format!("{:.2}", reads / returns)),
            ("longest time of a client without an update: p50, p99, max", format!("{p50}, {p99}, {max}")),
            ("publications repeated, by reason", format!("{:?}", self.repeats)),
            ("longest time until an update was acknowledged", format!("{:.2?}", self.publish_wait_max)),
            (
                "answers other than 200, connections that broke",
                format!("{:?} {:?}", self.statuses, self.broken),
            ),
            ("streams by pod after the rolling update", format!("{:?}", self.spread[0])),
            ("… after lingering", format!("{:?}", self.spread[1])),
        ]
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        let verdicts = self.verdicts();
        let verdicts = verdicts
            .iter()
            .map(|verdict| json!({"rule": verdict.rule, "holds": verdict.holds, "found": verdict.found}));
        json!({
            "clients": self.plan.clients,
            "nodes": self.plan.nodes,
            "updates_per_second": self.plan.updates_per_second,
            "seconds": self.took.as_secs_f64(),
            "published": self.published,
            "published_per_second": self.rate(),
            "deliveries": self.deliveries,
            "lost": self.lost,
            "twice": self.twice,
            "disordered": self.disordered,
            "gaps": self.gaps,
            "strange": self.strange,
            "released": self.released,
            "cut": self.cut,
            "refused": self.refused,
            "statuses": self.statuses.iter().map(|(status, count)| (status.to_string(), json!(count))).collect::<serde_json::Map<_, _>>(),
            "broken": self.broken,
            "absent": self.absent,
            "returns_by_second": self.returns_by_second,
            "steepest": self.steepest.map(|found| json!({
                "at_seconds": found.at.as_secs_f64(), "returns": found.returns, "even": found.even, "ratio": found.ratio,
            })),
            "stopped_with": self.stopped_with,
            "reads": self.reads,
            "reads_max": self.reads_max,
            "pause_seconds": self.pauses.map(|pause| pause.as_secs_f64()),
            "repeats": self.repeats,
            "given_up": self.given_up,
            "publish_wait_max_seconds": self.publish_wait_max.as_secs_f64(),
            "spread": self.spread,
            "diary": self.diary.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "verdicts": verdicts.collect::<Vec<_>>(),
        })
    }
}

/// Ten seconds a line.
fn histogram(seconds: &[usize]) -> String {
    let lines = seconds.chunks(10).enumerate().map(|(nth, ten)| {
        let counts: Vec<String> = ten.iter().map(|count| format!("{count:>5}")).collect();
        format!("{:>5} s {}", nth * 10, counts.join(""))
    });
    lines.collect::<Vec<_>>().join("\n")
}
