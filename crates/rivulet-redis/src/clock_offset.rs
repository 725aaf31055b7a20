//! How far this node's clock is before that of a partition: what ticks tell, as NTP would reckon it.
//!
//! A tick says what the clock was at some moment between its sending and its answer. The middle of both is at most half of
//! the way there and back wrong, so that of the last few ticks the quickest is the one to believe.
//!
//! After a failover the log's clock stands still, ahead of the time, until that has caught up. What ticks say then tells
//! nothing about two clocks that go: only one that has gone on as ours did since the tick before counts.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicI64, Ordering::Relaxed},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use parking_lot::Mutex;
use rivulet_core::Position;

/// Among so many ticks the quickest is looked for: a quarter of a minute of them.
const TICKS: usize = 8;
/// Ticks that follow more closely say nothing about how the clock goes.
const PACE_MIN: Duration = Duration::from_millis(500);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct ClockOffset {
    micros: AtomicI64,
    heard: Mutex<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    /// When the last tick was, and what it said.
    last: Option<(Instant, Position)>,
    /// The time that a tick took, and the offset that it tells in microseconds.
    quick: VecDeque<(Duration, i64)>,
}

/// A tick that has been sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    at: Instant,
    wall: SystemTime,
}

impl Sent {
    pub(crate) fn now() -> Self {
        Self { at: Instant::now(), wall: SystemTime::now() }
    }
}

impl ClockOffset {
    /// In microseconds; 0 as long as nothing is known.
    pub(crate) fn micros(&self) -> i64 {
        self.micros.load(Relaxed)
    }

    /// A tick has been answered after `took`.
    pub(crate) fn note(&self, sent: Sent, took: Duration, position: Position) {
        let (at, wall) = (sent.at + took / 2, sent.wall + took / 2);
        let wall = wall.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let offset = micros(wall).saturating_sub(micros(position.as_micros().into()));
        let mut heard = self.heard.lock();
        let Some((last_at, last)) = heard.last else {
            heard.last = Some((at, position));
            return;
        };
        let ours = at.saturating_duration_since(last_at);
        if ours < PACE_MIN {
            return;
        }
        heard.last = Some((at, position));
        let theirs = Duration::from_micros(position.as_micros().saturating_sub(last.as_micros()));
        if !(ours / 2..=ours * 2).contains(&theirs) {
            return;
        }
        heard.quick.push_back((took, offset));
        if heard.quick.len() > TICKS {
            heard.quick.pop_front();
        }
        let quickest = heard.quick.iter().min_by_key(|(took, _)| *took);
        self.micros.store(quickest.map_or(offset, |(_, offset)| *offset), Relaxed);
    }
}

fn micros(micros: u128) -> i64 {
    i64::try_from(micros).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    /// Ticks that were sent at these times, took so long, and answered what the log's clock says; in microseconds.
    fn after(ticks: &[(u64, u64, u64)]) -> i64 {
        let (at, wall) = (Instant::now(), UNIX_EPOCH);
        let offset = ClockOffset::default();
        for (sent, took, position) in ticks {
            let after = Duration::from_micros(*sent);
            let sent = Sent { at: at + after, wall: wall + after };
            offset.note(sent, Duration::from_micros(*took), Position::from_micros(*position));
        }
        offset.micros()
    }

    #[test]
    fn two_ticks_tell_how_far_the_clocks_are_apart() {
        assert_eq!(after(&[]), 0);
        assert_eq!(after(&[(10 * SECOND, 0, 7 * SECOND)]), 0, "one tick does not show that the clock goes");
        let behind = [(10 * SECOND, 200, 7 * SECOND + 100), (12 * SECOND, 200, 9 * SECOND + 100)];
        assert_eq!(after(&behind), 3 * SECOND as i64);
        let ahead = [(10 * SECOND, 200, 15 * SECOND + 100), (12 * SECOND, 200, 17 * SECOND + 100)];
        assert_eq!(after(&ahead), -5 * SECOND as i64);
    }

    #[test]
    fn the_quickest_tick_is_believed_until_it_is_old() {
        let slow = |second: u64| (second * SECOND, SECOND, second * SECOND);
        let mut ticks = vec![(0, 0, 0), (2 * SECOND, 10, 2 * SECOND + 5)];
        ticks.extend([4, 6, 8].map(slow));
        assert_eq!(after(&ticks), 0);
        ticks.extend([10, 12, 14, 16, 18].map(slow));
        assert_eq!(
            after(&ticks),
            SECOND as i64 / 2,
            "all that are left had answered at once, and took long to come"
        );
    }

    #[test]
    fn a_clock_that_stands_still_ahead_of_the_time_tells_nothing() {
        let mut ticks = vec![(10 * SECOND, 0, 10 * SECOND), (12 * SECOND, 0, 12 * SECOND)];
        ticks.extend((14..44).step_by(2).map(|second| (second * SECOND, 0, 44 * SECOND + second)));
        assert_eq!(after(&ticks), 0);
        ticks.extend([(46 * SECOND, 0, 47 * SECOND), (48 * SECOND, 0, 49 * SECOND)]);
        ticks.extend((50..70).step_by(2).map(|second| (second * SECOND, 0, (second + 1) * SECOND)));
        assert_eq!(after(&ticks), -(SECOND as i64), "since it goes again");
    }

    #[test]
    fn ticks_that_follow_closely_are_no_new_word() {
        let mut ticks = vec![(10 * SECOND, 0, 10 * SECOND)];
        ticks.extend((1..400).map(|nth| (10 * SECOND + nth * 1_000, 0, 99 * SECOND)));
        ticks.push((12 * SECOND, 0, 12 * SECOND));
        assert_eq!(after(&ticks), 0);
    }
}
