//! A page of `/metrics` while it is written.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder, NoLabelSet},
    metrics::MetricType,
};
use rivulet_node::HistogramSnapshot;

use super::families::Family;

/// See the module.
pub(super) struct Page<'a>(DescriptorEncoder<'a>);

impl<'a> Page<'a> {
    pub(super) fn new(encoder: DescriptorEncoder<'a>) -> Self {
        Self(encoder)
    }

    fn begin(&mut self, family: &Family) -> Result<MetricEncoder<'_>, fmt::Error> {
        self.0.encode_descriptor(family.name, family.help, None, family.kind)
    }

    /// A counter without labels.
    pub(super) fn counter(&mut self, family: &Family, value: u64) -> fmt::Result {
        self.counters(family, [([], value)])
    }

    /// A counter for each of these values of its labels.
    pub(super) fn counters<'v, const N: usize, V: EncodeCounterValue>(
        &mut self,
        family: &Family,
        samples: impl IntoIterator<Item = ([&'v str; N], V)>,
    ) -> fmt::Result {
        debug_assert!(matches!(family.kind, MetricType::Counter), "{family:?}");
        each(self.begin(family)?, family, samples, |sample, value| {
            sample.encode_counter::<NoLabelSet, _, u64>(&value, None)
        })
    }

    /// A gauge without labels.
    pub(super) fn gauge(&mut self, family: &Family, value: impl EncodeGaugeValue) -> fmt::Result {
        self.gauges(family, [([], value)])
    }

    /// A gauge for each of these values of its labels.
    pub(super) fn gauges<'v, const N: usize, V: EncodeGaugeValue>(
        &mut self,
        family: &Family,
        samples: impl IntoIterator<Item = ([&'v str; N], V)>,
    ) -> fmt::Result {
        debug_assert!(matches!(family.kind, MetricType::Gauge), "{family:?}");
        each(self.begin(family)?, family, samples, |sample, value| sample.encode_gauge(&value))
    }

    /// A histogram without labels.
    pub(super) fn histogram(&mut self, family: &Family, value: &HistogramSnapshot) -> fmt::Result {
        self.histograms(family, [([], value)])
    }

    /// A histogram for each of these values of its labels.
    pub(super) fn histograms<'v, const N: usize>(
        &mut self,
        family: &Family,
        samples: impl IntoIterator<Item = ([&'v str; N], &'v HistogramSnapshot)>,
    ) -> fmt::Result {
        debug_assert!(matches!(family.kind, MetricType::Histogram), "{family:?}");
        each(self.begin(family)?, family, samples, |sample, value| {
            let bounds = value.bounds.iter().map(|bound| seconds(*bound)).chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(value.counts.iter().copied()).collect();
            sample.encode_histogram::<NoLabelSet>(seconds(value.sum_nanos), value.total(), &buckets, None)
        })
    }

    /// An information: what does not change.
    pub(super) fn info<const N: usize>(&mut self, family: &Family, values: [&str; N]) -> fmt::Result {
        self.begin(family)?.encode_info(&labels(family, values).as_slice())
    }
}

fn each<'v, const N: usize, V>(
    mut metric: MetricEncoder<'_>,
    family: &Family,
    samples: impl IntoIterator<Item = ([&'v str; N], V)>,
    encode: impl Fn(&mut MetricEncoder<'_>, V) -> fmt::Result,
) -> fmt::Result {
    for (values, value) in samples {
        if N == 0 {
            encode(&mut metric, value)?;
        } else {
            encode(&mut metric.encode_family(&labels(family, values).as_slice())?, value)?;
        }
    }
    Ok(())
}

fn labels<'v, const N: usize>(family: &Family, values: [&'v str; N]) -> Vec<(&'static str, &'v str)> {
    debug_assert_eq!(family.labels.len(), N, "{family:?} has a value for each label");
    family.labels.iter().copied().zip(values).collect()
}

/// Prometheus counts in seconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "a histogram's sum need not be exact beyond 2^53 ns, a hundred days"
)]
pub(super) fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
