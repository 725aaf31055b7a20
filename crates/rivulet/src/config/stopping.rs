//! How streams leave this node: when it stops, and when it holds more than others.

use std::time::Duration;

use super::{reader::Reader, values};

/// Longer than any load balancer takes to notice.
const DELAY_MAX: Duration = Duration::from_secs(600);
/// Whoever drains for longer waits for the streams' own ends.
const PERIOD_MAX: Duration = Duration::from_secs(3600);
/// How long everything after the drain may take: streams that do not end, requests that are being answered, what is to
/// be given back to Redis.
const REST_MAX: Duration = Duration::from_secs(30);

/// See the module's documentation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stopping {
    /// How long the node serves although it says that it is not ready.
    pub(crate) delay: Duration,
    /// Over which time its streams are ended then.
    pub(crate) period: Duration,
    /// The share of its streams that a node above the mean ends per minute; `None`: it does not.
    pub(crate) shed: Option<f64>,
}

impl Stopping {
    /// How long a stop may take in all, before the process exits regardless.
    pub(crate) fn time_max(&self) -> Duration {
        self.delay + self.period + REST_MAX
    }
}

impl Reader<'_> {
    pub(super) fn stopping(&mut self) -> Option<Stopping> {
        let delay = self.value("drain-delay", |text| values::duration_up_to(text, DELAY_MAX));
        let period = self.value("drain-period", |text| values::duration_up_to(text, PERIOD_MAX));
        let shed = self.value("shed", percent);
        Some(Stopping { delay: delay?, period: period?, shed: shed?.map(|percent| percent / 100.0) })
    }
}

/// `0` is off.
fn percent(text: &str) -> Result<Option<f64>, &'static str> {
    let text = text.strip_suffix('%').unwrap_or(text).trim_end();
    let percent: Option<f64> = text.parse().ok().filter(|percent| (0.0..=100.0).contains(percent));
    let percent = percent.ok_or("must be a number of per cent, 0 (off) to 100")?;
    Ok((percent > 0.0).then_some(percent))
}
