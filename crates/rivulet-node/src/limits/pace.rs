//! Paces as people write them: `100/s`, `6000/m`, `10/1m30s`, `100/s,burst=200`.

use std::{fmt, str::FromStr, time::Duration};

use super::Pace;

/// More per period, or at once, than any client can mean: with the shortest period it is one per microsecond, the
/// resolution of the clock that limits are counted by.
pub const PACE_COUNT_MAX: u32 = 1_000_000;

/// A shorter period says nothing that a smaller count would not.
pub const PACE_PERIOD_MIN: Duration = Duration::from_secs(1);

/// What is used up stays counted for so long at the most.
pub const PACE_PERIOD_MAX: Duration = Duration::from_secs(24 * 3600);

/// The units of periods, the longest first, in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// What is wrong with a pace. Displays as the rule that it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PaceError {
    /// It is not of this form at all.
    #[error("must be COUNT/PERIOD, like 100/s, 6000/m or 10/1m30s, or COUNT/PERIOD,burst=COUNT")]
    Form,
    /// The count is not a number, or not within its bounds.
    #[error("the count must be a whole number from 1 to 1000000")]
    Count,
    /// The period is not a duration, or not within its bounds.
    #[error("the period must be s, m, h, d or whole numbers with these units, like 1m30s, from 1s to 1d")]
    Period,
    /// The burst is not a number, or not within its bounds.
    #[error("the burst must be a whole number from 1 to 1000000, and at most what the pace allows within 1d")]
    Burst,
}

impl Pace {
    /// So many per period. Without a burst as many as the period allows may come at once.
    ///
    /// # Errors
    ///
    /// Which of them is out of bounds.
    pub fn new(count: u32, period: Duration, burst: Option<u32>) -> Result<Self, PaceError> {
        let burst = burst.unwrap_or(count);
        if !(1..=PACE_COUNT_MAX).contains(&count) {
            return Err(PaceError::Count);
        }
        if !(PACE_PERIOD_MIN..=PACE_PERIOD_MAX).contains(&period) {
            return Err(PaceError::Period);
        }
        // What is used up is a time in Redis, a double: within a day all its microseconds are exact, and its key ends.
        let full_after = u128::from(burst) * period.as_micros();
        if !(1..=PACE_COUNT_MAX).contains(&burst)
            || full_after > u128::from(count) * PACE_PERIOD_MAX.as_micros()
        {
            return Err(PaceError::Burst);
        }
        Ok(Self { count, period, burst })
    }

    /// Reads a period: a unit, or whole numbers with units.
    ///
    /// # Errors
    ///
    /// [`PaceError::Period`]; its length is for [`Pace::new`] to judge.
    pub fn parse_period(text: &str) -> Result<Duration, PaceError> {
        let unit = |name: &str| UNITS.iter().find(|(known, _)| *known == name).map(|(_, millis)| *millis);
        if let Some(millis) = unit(text) {
            return Ok(Duration::from_millis(millis));
        }
        if text.is_empty() {
            return Err(PaceError::Period);
        }
        let (mut rest, mut total) = (text, 0_u64);
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or(PaceError::Period)?;
            let (number, after) = rest.split_at(digits);
            let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
            let number: u64 = number.parse().map_err(|_| PaceError::Period)?;
            let millis = unit(&after[..end]).and_then(|millis| millis.checked_mul(number));
            total = millis.and_then(|millis| millis.checked_add(total)).ok_or(PaceError::Period)?;
            rest = &after[end..];
        }
        Ok(Duration::from_millis(total))
    }
}

impl FromStr for Pace {
    type Err = PaceError;

    fn from_str(text: &str) -> Result<Self, PaceError> {
        let (pace, burst) = match text.trim().split_once(',') {
            Some((pace, burst)) => (pace, Some(burst.strip_prefix("burst=").ok_or(PaceError::Form)?)),
            None => (text.trim(), None),
        };
        let (count, period) = pace.split_once('/').ok_or(PaceError::Form)?;
        let count = number(count).ok_or(PaceError::Count)?;
        let burst = burst.map(|burst| number(burst).ok_or(PaceError::Burst)).transpose()?;
        Self::new(count, Self::parse_period(period)?, burst)
    }
}

/// Digits only: `parse` alone would take a sign.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

impl fmt::Display for Pace {
    /// As it is read, to the millisecond.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.count)?;
        let mut left = self.period.as_millis();
        match UNITS.iter().find(|(_, millis)| u128::from(*millis) == left) {
            Some((unit, _)) => f.write_str(unit)?,
            None => {
                for (unit, millis) in UNITS {
                    let count = left / u128::from(millis);
                    left %= u128::from(millis);
                    if count > 0 {
                        write!(f, "{count}{unit}")?;
                    }
                }
            }
        }
        if self.burst == self.count { Ok(()) } else { write!(f, ",burst={}", self.burst) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paces_are_read_as_people_write_them() {
        let check = |text: &str, expected: Result<(u32, u64, u32), PaceError>| {
            let read: Result<Pace, PaceError> = text.parse();
            let read = read.map(|pace| (pace.count, pace.period.as_millis(), pace.burst));
            assert_eq!(read, expected.map(|(c, millis, b)| (c, u128::from(millis), b)), "{text:?}");
        };
        check("100/s", Ok((100, 1_000, 100)));
        check(" 6000/m ", Ok((6000, 60_000, 6000)));
        check("10/1m30s", Ok((10, 90_000, 10)));
        check("1/h,burst=5", Ok((1, 3_600_000, 5)));
        check("100/s,burst=1", Ok((100, 1_000, 1)));
        check("1000000/1d,burst=1000000", Ok((1_000_000, 86_400_000, 1_000_000)));
        check("7/1500ms", Ok((7, 1_500, 7)));
        check("1/h,burst=24", Ok((1, 3_600_000, 24)));
        check("1/d", Ok((1, 86_400_000, 1)));
        for form in ["", "100", "s", "100/s,200", "100/s, burst=2", "100/s,burst 2"] {
            check(form, Err(PaceError::Form));
        }
        for count in ["/s", "0/s", "1000001/s", "-1/s", "+1/s", "1.5/s", "٣/s", "a/s", "99999999999/s"] {
            check(count, Err(PaceError::Count));
        }
        for period in [
            "1/",
            "1/0s",
            "1/999ms",
            "1/ms",
            "1/2d",
            "1/1d1s",
            "1/60",
            "1/x",
            "1/1x",
            "1/s1",
            "1/1s2",
            "1/ s",
            "1/-1s",
            "1/1.5s",
            "1/99999999999999999999s",
            "1/18446744073709551615d",
            "1/s/s",
            "1/s;burst=2",
        ] {
            check(period, Err(PaceError::Period));
        }
        for burst in [
            "1/h,burst=25",
            "1/d,burst=2",
            "1/s,burst=86401",
            "1/s,burst=",
            "1/s,burst=0",
            "1/s,burst=1000001",
            "1/s,burst=-1",
            "1/s,burst=2,burst=3",
        ] {
            check(burst, Err(PaceError::Burst));
        }
    }

    #[test]
    fn rules_name_the_bounds_that_hold() {
        assert!(PaceError::Count.to_string().contains(&PACE_COUNT_MAX.to_string()));
        assert!(PaceError::Burst.to_string().contains(&PACE_COUNT_MAX.to_string()));
        assert_eq!((PACE_PERIOD_MIN.as_secs(), PACE_PERIOD_MAX.as_secs()), (1, 86_400));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(count in 1..=PACE_COUNT_MAX, millis in 1_000_u64..=86_400_000, permille in 0_u64..1000) {
            let burst_max = (u64::from(count) * 86_400_000 / millis).min(PACE_COUNT_MAX.into());
            let burst = u32::try_from(1 + burst_max * permille / 1000).unwrap().min(PACE_COUNT_MAX);
            let pace = Pace::new(count, Duration::from_millis(millis), Some(burst)).unwrap();
            prop_assert!(pace.burst_micros() <= 86_400_000_000);
            prop_assert_eq!(pace.to_string().parse::<Pace>(), Ok(pace));
        }

        #[test]
        fn any_text_is_read_without_panic_and_within_bounds(text in "[0-9smhd/,=burst ]{0,20}|.{0,20}") {
            if let Ok(pace) = text.parse::<Pace>() {
                prop_assert_eq!(Pace::new(pace.count, pace.period, Some(pace.burst)), Ok(pace));
            }
        }
    }
}
