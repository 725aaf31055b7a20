//! When refused clients may come back.

use std::time::Duration;

/// To a node that is full or stops: another one may take them at once, so soon.
const RETRY_ELSEWHERE: Duration = Duration::from_secs(2);
/// While the transport is away: a failover takes some seconds.
pub(crate) const RETRY_TRANSPORT: Duration = Duration::from_secs(4);

/// A wait of at least `shortest` and up to `more` longer, at random: clients that were refused together would
/// otherwise come back together, again and again.
pub(crate) fn spread(shortest: Duration, more: Duration) -> Duration {
    shortest + more.mul_f64(rand::random_range(0.0..=1.0))
}

/// When to try another node: in 2 to 5 seconds.
pub(crate) fn elsewhere() -> Duration {
    spread(RETRY_ELSEWHERE, RETRY_ELSEWHERE * 3 / 2)
}

/// A wait as headers tell it: rounded up, since who comes too early has come in vain; at least one.
pub(crate) fn secs(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_rounded_up_and_spread() {
        for (millis, expected) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (14_999, 15), (15_000, 15)] {
            assert_eq!(secs(Duration::from_millis(millis)), expected, "{millis}");
        }
        let waits: Vec<u64> = (0..200).map(|_| secs(elsewhere())).collect();
        assert!(waits.iter().all(|wait| (2..=5).contains(wait)), "{waits:?}");
        assert!((3..=5).all(|wait| waits.contains(&wait)), "{waits:?}");
    }
}
