//! The ids of traces that begin here under a sampler that looks at ids and not at parents: all within the share that is
//! recorded.
//!
//! Which traces are recorded is decided before they are made. The SDK's sampler, here and on other nodes, then takes those
//! too.

use opentelemetry::{SpanId, TraceId};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use rivulet_node::trace::Ratio;

/// See the module.
#[derive(Debug)]
pub(super) struct Ids {
    ratio: Ratio,
    random: RandomIdGenerator,
}

impl Ids {
    pub(super) fn within(ratio: Ratio) -> Self {
        Self { ratio, random: RandomIdGenerator::default() }
    }
}

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        let random = u128::from_be_bytes(self.random.new_trace_id().to_bytes());
        TraceId::from(self.ratio.trace_id(random))
    }

    fn new_span_id(&self) -> SpanId {
        self.random.new_span_id()
    }
}
