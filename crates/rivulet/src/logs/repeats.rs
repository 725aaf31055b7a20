//! Says the same thing a few times, and then how often it was not said: a network that flaps or a client that storms must
//! not fill a disk with one sentence.
//!
//! "The same" is one place in the program. Only warnings and errors are limited; who turns on more wants all of it.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tracing::{Level, Metadata, callsite::Identifier};

/// Lines of one kind that are said in a window.
const SAID_MAX: u32 = 10;
const WINDOW: Duration = Duration::from_secs(10);
/// Kinds that are watched at once. A program has some hundred places that warn; whatever does not fit is said.
const KINDS_MAX: usize = 1024;
/// What is said here is said once, at the start or at the end, with a line for each of several things.
const NEVER_LIMITED: [&str; 2] = ["rivulet::serve", "rivulet::drain"];

/// What was said lately.
#[derive(Debug, Default)]
pub(super) struct Repeats(Mutex<HashMap<Identifier, Kind>>);

#[derive(Debug)]
struct Kind {
    since: Instant,
    said: u32,
    unsaid: u64,
    metadata: &'static Metadata<'static>,
}

/// Whether to say a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Say it, and how many like it were not said before.
    Say { unsaid: u64 },
    /// It was said often enough.
    Leave,
}

/// Lines that were left out, and that no later line of their kind told of.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unsaid {
    pub(super) level: Level,
    pub(super) target: &'static str,
    pub(super) line: Option<u32>,
    pub(super) unsaid: u64,
}

impl Repeats {
    /// Looks at a line that is to be written.
    pub(super) fn admit(&self, metadata: &'static Metadata<'static>, now: Instant) -> Verdict {
        let is_limited = *metadata.level() <= Level::WARN && !NEVER_LIMITED.contains(&metadata.target());
        if !is_limited {
            return Verdict::Say { unsaid: 0 };
        }
        let mut kinds = self.0.lock();
        if kinds.len() >= KINDS_MAX && !kinds.contains_key(&metadata.callsite()) {
            return Verdict::Say { unsaid: 0 };
        }
        let fresh = || Kind { since: now, said: 0, unsaid: 0, metadata };
        let kind = kinds.entry(metadata.callsite()).or_insert_with(fresh);
        let mut before = 0;
        if kind.is_over(now) {
            before = kind.unsaid;
            *kind = fresh();
        }
        if kind.said >= SAID_MAX {
            kind.unsaid += 1;
            return Verdict::Leave;
        }
        kind.said += 1;
        Verdict::Say { unsaid: before }
    }

    /// Forgets the windows that are over, and answers what was left out in them.
    pub(super) fn ended(&self, now: Instant) -> Vec<Unsaid> {
        self.take(|kind| kind.is_over(now))
    }

    /// The same of all windows.
    pub(super) fn all(&self) -> Vec<Unsaid> {
        self.take(|_| true)
    }

    fn take(&self, is_meant: impl Fn(&Kind) -> bool) -> Vec<Unsaid> {
        let mut kinds = self.0.lock();
        let taken = kinds.extract_if(|_, kind| is_meant(kind)).filter(|(_, kind)| kind.unsaid > 0);
        let unsaid = taken.map(|(_, Kind { unsaid, metadata, .. })| Unsaid {
            level: *metadata.level(),
            target: metadata.target(),
            line: metadata.line(),
            unsaid,
        });
        unsaid.collect()
    }
}

impl Kind {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= WINDOW
    }
}

#[cfg(test)]
mod tests {
    use tracing::{metadata, metadata::Kind as What};

    use super::*;

    macro_rules! kind {
        ($target:literal, $level:expr) => {{
            static CALLSITE: Place = Place;
            static METADATA: Metadata<'static> = metadata! {
                name: "test", target: $target, level: $level, fields: &[], callsite: &CALLSITE, kind: What::EVENT
            };
            struct Place;
            impl tracing::Callsite for Place {
                fn set_interest(&self, _: tracing::subscriber::Interest) {}
                fn metadata(&self) -> &Metadata<'_> {
                    &METADATA
                }
            }
            &METADATA
        }};
    }

    const SAY: Verdict = Verdict::Say { unsaid: 0 };

    #[test]
    fn what_is_said_too_often_is_left_out_and_counted() {
        let (repeats, now) = (Repeats::default(), Instant::now());
        let (one, other) = (kind!("rivulet_redis::link", Level::WARN), kind!("rivulet_http", Level::ERROR));
        for _ in 0..SAID_MAX {
            assert_eq!(repeats.admit(one, now), SAY);
        }
        assert_eq!(repeats.admit(one, now), Verdict::Leave);
        assert_eq!(repeats.admit(one, now + WINDOW / 2), Verdict::Leave);
        assert_eq!(repeats.admit(other, now), SAY, "each kind counts for itself");
        assert_eq!(repeats.ended(now + WINDOW / 2), []);
        assert_eq!(repeats.admit(one, now + WINDOW), Verdict::Say { unsaid: 2 });
        assert_eq!(repeats.admit(one, now + WINDOW), SAY, "it is told once");
    }

    #[test]
    fn what_was_left_out_is_told_when_nothing_more_is_said() {
        let (repeats, now) = (Repeats::default(), Instant::now());
        let one = kind!("rivulet_redis::link", Level::WARN);
        for _ in 0..SAID_MAX + 5 {
            repeats.admit(one, now);
        }
        let told = repeats.ended(now + WINDOW);
        assert_eq!((told.len(), told[0].unsaid, told[0].target), (1, 5, "rivulet_redis::link"));
        assert_eq!(repeats.all(), []);
        assert_eq!(repeats.admit(one, now + WINDOW), SAY);
    }

    #[test]
    fn information_and_the_start_are_never_limited() {
        let (repeats, now) = (Repeats::default(), Instant::now());
        for never in [kind!("rivulet_node", Level::INFO), kind!("rivulet::serve", Level::WARN)] {
            for _ in 0..3 * SAID_MAX {
                assert_eq!(repeats.admit(never, now), SAY);
            }
        }
        assert_eq!(repeats.all(), []);
    }
}
