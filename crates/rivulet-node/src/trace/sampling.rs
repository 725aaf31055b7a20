//! Which spans are recorded: decided before anything of them is made.

use opentelemetry::TraceId;

/// What becomes of a span at the edge of the process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// How many of those that belong to nothing are recorded. With [`Ratio::NONE`] also no rare ones.
    pub roots: Ratio,
    /// Whether what comes from a span, or is linked to one, is recorded if that one is, and only then.
    pub follows: bool,
}

/// A share of all traces, as samplers measure it: by the lower 63 bits of their ids.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio(f64);

impl Ratio {
    /// No trace.
    pub const NONE: Self = Self(0.0);
    /// Every trace.
    pub const ALL: Self = Self(1.0);

    /// A share between none and all of them.
    pub fn new(share: f64) -> Self {
        Self(share.clamp(0.0, 1.0))
    }

    /// A number from 0 to 1.
    pub fn share(self) -> f64 {
        self.0
    }

    /// The first of the numbers of 63 bits that does not belong to it.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "0 to 2^63"
    )]
    fn bound(self) -> u64 {
        (self.0 * (1_u64 << 63) as f64) as u64
    }

    /// Whether a trace that begins is one of them, as this random number has it.
    pub fn takes(self, random: u64) -> bool {
        random >> 1 < self.bound()
    }

    /// Whether a trace is one of them, by its id.
    pub(crate) fn takes_trace(self, id: TraceId) -> bool {
        let [.., a, b, c, d, e, f, g, h] = id.to_bytes();
        self.takes(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }

    /// The id of a trace that is one of them: whoever asks it by the same share or a larger one, here or elsewhere, takes
    /// it too.
    pub fn trace_id(self, random: u128) -> u128 {
        let low = u64::try_from(random & u128::from(u64::MAX)).expect("64 bits");
        let scaled = (u128::from(low >> 1) * u128::from(self.bound())) >> 63;
        (random & !u128::from(u64::MAX)) | (scaled << 1) | u128::from(low & 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that are spread evenly.
    fn numbers() -> impl Iterator<Item = u64> {
        (0..100_000_u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    #[test]
    fn as_many_are_taken_as_the_share_says() {
        for (share, expected) in [(0.0, 0), (0.01, 1_000), (0.5, 50_000), (1.0, 100_000), (7.0, 100_000)] {
            let taken = numbers().filter(|number| Ratio::new(share).takes(*number)).count();
            assert!(taken.abs_diff(expected) <= 20, "{taken} of 100,000 at {share}");
        }
        assert!(Ratio::ALL.takes(u64::MAX) && !Ratio::NONE.takes(0));
    }

    #[test]
    fn the_ids_of_the_share_belong_to_it_and_are_spread_over_it() {
        let ratio = Ratio::new(0.01);
        let low = |id: u128| u64::try_from(id & u128::from(u64::MAX)).unwrap();
        let high = 0x0af7_6519_16cd_43dd_u128 << 64;
        let ids: Vec<u128> = numbers().map(|number| ratio.trace_id(high | u128::from(number))).collect();
        assert!(ids.iter().all(|id| ratio.takes_trace(TraceId::from(*id)) && id >> 64 == high >> 64));
        let lower_half = ids.iter().filter(|id| Ratio::new(0.005).takes(low(**id))).count();
        assert!(lower_half.abs_diff(50_000) < 100, "{lower_half}");
        let random = high | 0x43dd_8448_eb21_1c80;
        assert_eq!(Ratio::ALL.trace_id(random), random);
    }
}
