//! A collector that fails or does not answer, and how many spans that costs.

use std::sync::{
    Condvar, Mutex,
    mpsc::{Sender, channel},
};

use opentelemetry::trace::{Tracer as _, TracerProvider as _};
use opentelemetry_sdk::{
    error::OTelSdkError,
    trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider},
};

use super::*;

/// A collector that answers only when it is told how.
#[derive(Debug, Default)]
struct Collector {
    answers: Mutex<Vec<OTelSdkResult>>,
    told: Condvar,
}

impl Collector {
    fn answer(&self, result: OTelSdkResult) {
        self.answers.lock().unwrap().push(result);
        self.told.notify_all();
    }
}

#[derive(Debug)]
struct Exporter {
    collector: Arc<Collector>,
    /// Says how many spans were sent.
    sent: Mutex<Sender<usize>>,
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.sent.lock().unwrap().send(batch.len()).unwrap();
        let answers = self.collector.answers.lock().unwrap();
        self.collector.told.wait_while(answers, |answers| answers.is_empty()).unwrap().remove(0)
    }
}

fn read(count: &std::sync::atomic::AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

#[test]
fn a_collector_that_does_not_answer_costs_what_does_not_fit_and_nothing_else() {
    const QUEUE: usize = 8;
    let (collector, stats) = (Arc::<Collector>::default(), Arc::<SpanStats>::default());
    let (sent, sending) = channel();
    let exporter = Exporter { collector: Arc::clone(&collector), sent: Mutex::new(sent) };
    let batches =
        BatchConfigBuilder::default().with_max_queue_size(QUEUE).with_max_export_batch_size(2).build();
    let processor = BatchSpanProcessor::builder(Counted::new(exporter, Arc::clone(&stats)))
        .with_batch_config(batches)
        .build();
    let provider =
        SdkTracerProvider::builder().with_span_processor(Gate::new(processor, Arc::clone(&stats), QUEUE));
    let provider = provider.build();
    let tracer = provider.tracer("test");
    // The first two are sent, and not answered; six more fit.
    let span = || drop(tracer.start("span"));
    span();
    span();
    assert_eq!(sending.recv().unwrap(), 2);
    let started = Instant::now();
    for _ in 0..1_000 {
        span();
    }
    assert!(started.elapsed() < Duration::from_secs(5), "a span never waits for the collector");
    assert_eq!((read(&stats.ended), read(&stats.queue_length)), (1_002, QUEUE as u64));
    assert_eq!((read(&stats.dropped_queue_full), read(&stats.exported)), (994, 0));

    // It takes some, and fails with others: all are accounted for.
    let failure = || Err(OTelSdkError::InternalFailure("no".into()));
    for answer in [Ok(()), failure(), Ok(()), failure()] {
        collector.answer(answer);
    }
    provider.shutdown_with_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!((read(&stats.exported), read(&stats.dropped_export_failed)), (4, 4));
    assert_eq!(read(&stats.queue_length), 0);
    // What ends after the end is told too.
    span();
    let dropped = read(&stats.dropped_queue_full) + read(&stats.dropped_export_failed);
    assert_eq!(read(&stats.ended), read(&stats.exported) + dropped);
}
