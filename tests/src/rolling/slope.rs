//! How evenly clients come back: the most that came within any window, against the even slope.

use std::time::Duration;

/// A node that was asked to stop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stop {
    pub(crate) at: Duration,
    /// The streams that it had.
    pub(crate) streams: usize,
}

/// The steepest window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Steepest {
    /// When it began.
    pub at: Duration,
    /// How many clients came back in it.
    pub returns: usize,
    /// How many would have, evenly.
    pub even: f64,
    /// The first, as a multiple of the second.
    pub ratio: f64,
}

/// Finds the steepest window. `returns` ascend.
///
/// The even slope is the streams of the node that stops, over the period of its drain. Who was let go waits for up to ten
/// seconds, so that the tail of one drain reaches into the next: then the larger of the two counts.
pub(crate) fn steepest(
    returns: &[Duration],
    stops: &[Stop],
    period: Duration,
    window: Duration,
) -> Option<Steepest> {
    let windows = returns.iter().enumerate().map(|(first, at)| {
        let end = returns.partition_point(|other| *other < *at + window);
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 clients")]
        let (even, count) = (streams_at(stops, *at) as f64, (end - first) as f64);
        let even = even * window.as_secs_f64() / period.as_secs_f64();
        Steepest { at: *at, returns: end - first, even, ratio: count / even }
    });
    windows.max_by(|one, other| one.ratio.total_cmp(&other.ratio))
}

/// The streams of the last two nodes that had been asked by then, whichever has more; before that, of the first.
fn streams_at(stops: &[Stop], at: Duration) -> usize {
    let asked = stops.iter().filter(|stop| stop.at <= at).count().max(1).min(stops.len());
    let last = &stops[asked.saturating_sub(2)..asked];
    last.iter().map(|stop| stop.streams).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(time: u64) -> Duration {
        Duration::from_millis(time)
    }

    #[test]
    fn the_steepest_window_is_found() {
        let stops = [Stop { at: ms(0), streams: 100 }, Stop { at: ms(60_000), streams: 300 }];
        let steepest = |returns: &[Duration]| {
            let found = steepest(returns, &stops, ms(10_000), ms(1_000)).expect("somebody came back");
            (found.at, found.returns, found.ratio)
        };
        let even: Vec<_> = (0..100).map(|nth| ms(nth * 100)).collect();
        assert_eq!(steepest(&even), (ms(9_000), 10, 1.0));
        let all_at_once: Vec<_> = (0..100).map(|nth| ms(3_000 + nth)).collect();
        assert_eq!(steepest(&all_at_once), (ms(3_000), 100, 10.0));
        // The same number of clients, when a node with more of them stops.
        let later: Vec<_> = all_at_once.iter().map(|time| *time + ms(60_000)).collect();
        assert_eq!(steepest(&later).1, 100);
        assert!((steepest(&later).2 - 10.0 / 3.0).abs() < 1e-9);
        // The edge of a window does not belong to it.
        assert_eq!(steepest(&[ms(0), ms(999), ms(1_000)]).1, 2);
    }

    #[test]
    fn who_comes_back_though_nobody_stops_is_too_steep() {
        assert_eq!(steepest(&[], &[], ms(1_000), ms(1_000)), None);
        let found = steepest(&[ms(1)], &[], ms(1_000), ms(1_000)).expect("somebody came back");
        assert!(found.ratio.is_infinite());
    }
}
