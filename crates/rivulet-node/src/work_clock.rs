//! The time as dispatch needs it: looked at now and then, since a look at the clock for every write would cost as much as
//! all other counting.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rivulet_core::Position;

/// After so many subscribers the clock is looked at again: some 100 µs, which is less than what is measured varies by.
const LOOK_EVERY: u32 = 16;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct WorkClock {
    /// Where nanoseconds count from: when the node started.
    epoch: Instant,
    /// The last look.
    now: u64,
    /// What the log's clock said at `set_at`, in microseconds.
    log_then: u64,
    set_at: u64,
    served: u32,
}

impl WorkClock {
    pub(crate) fn new(epoch: Instant) -> Self {
        Self { epoch, now: 0, log_then: 0, set_at: 0, served: 0 }
    }

    /// Looks at this machine's time as well, which is so much before the log's.
    pub(crate) fn set(&mut self, offset_micros: i64) {
        self.look();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = u64::try_from(wall.as_micros()).unwrap_or(u64::MAX);
        self.log_then = wall.saturating_add_signed(offset_micros.saturating_neg());
        self.set_at = self.now;
    }

    /// Looks at the clock.
    pub(crate) fn look(&mut self) {
        self.now = nanos_since(self.epoch);
        self.served = 0;
    }

    /// One more subscriber is served.
    pub(crate) fn serves(&mut self) {
        self.served += 1;
        if self.served >= LOOK_EVERY {
            self.look();
        }
    }

    /// The last look, in nanoseconds.
    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    /// How long before the last look [`WorkClock::set`] was called, in nanoseconds.
    pub(crate) fn since_set(&self) -> u64 {
        self.now - self.set_at
    }

    /// The time of the log at the last look. What was appended after it is of the same moment.
    pub(crate) fn log_now(&self) -> Position {
        Position::from_micros(self.log_then.saturating_add(self.since_set() / 1_000))
    }
}

/// Nanoseconds since a moment: five hundred years of them fit.
pub(crate) fn nanos_since(epoch: Instant) -> u64 {
    u64::try_from(epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// How old an update is, in nanoseconds. One from the future, because clocks differ, is new.
pub(crate) fn age(log_now: Position, position: Position) -> u64 {
    log_now.as_micros().saturating_sub(position.as_micros()).saturating_mul(1_000)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_logs_time_is_ours_without_the_offset() {
        let mut clock = WorkClock::new(Instant::now());
        let log_now = |clock: &mut WorkClock, offset| {
            clock.set(offset);
            Duration::from_micros(clock.log_now().as_micros())
        };
        let ours = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let near = |found: Duration, expected: Duration| found.abs_diff(expected) < Duration::from_secs(1);
        assert!(near(log_now(&mut clock, 0), ours));
        // Our clock is five seconds ahead of the log's.
        assert!(near(log_now(&mut clock, 5_000_000), ours - Duration::from_secs(5)));
        assert!(near(log_now(&mut clock, -5_000_000), ours + Duration::from_secs(5)));
        assert_eq!(log_now(&mut clock, i64::MAX), Duration::ZERO);
    }

    #[test]
    fn time_goes_on_between_two_settings() {
        let mut clock = WorkClock::new(Instant::now());
        clock.set(0);
        let before = clock.log_now();
        for _ in 0..LOOK_EVERY - 1 {
            clock.serves();
        }
        assert_eq!(clock.log_now(), before, "it has not been looked at");
        while clock.log_now() == before {
            clock.serves();
        }
        assert_eq!(age(before, clock.log_now()), 0);
        assert!(age(clock.log_now(), before) >= 1_000);
    }
}
