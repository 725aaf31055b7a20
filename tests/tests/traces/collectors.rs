//! A receiver that is away, refuses, is slow or mute: publishers do not notice, nothing piles up, and the hub ends in time.

use std::time::{Duration, Instant};

use rivulet_tests::{
    Hub, PATIENCE, eventually,
    metrics::Metrics,
    otlp::{Collector, Mode},
    port,
};

use crate::stage::{node, publish, publish_traced, published, sampled, trace_id, with};

const PUBLISHES: usize = 200;
/// Two spans of each publish wait at most: most of them find no room.
const QUEUE: (&str, &str) = ("OTEL_BSP_MAX_QUEUE_SIZE", "64");
const QUEUE_LEN_MAX: f64 = 64.0;
/// How long an export may take: longer than all publishes of a test.
const TIMEOUT: (&str, &str) = ("OTEL_EXPORTER_OTLP_TIMEOUT", "60000");
/// The hub waits two seconds for the receiver, and takes some itself.
const STOPPED: Duration = Duration::from_secs(6);

/// How long a publish takes, in the middle of many.
async fn median(hub: &Hub) -> Duration {
    let mut took = Vec::with_capacity(PUBLISHES);
    for _ in 0..PUBLISHES {
        let started = Instant::now();
        let answer = publish(hub, "a", ("traceparent", &sampled(&trace_id()))).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        took.push(started.elapsed());
    }
    took.sort();
    took[PUBLISHES / 2]
}

/// Generous, for machines that do other things: a publish that waited for a receiver would take seconds.
fn expect_no_slower(name: &str, median: Duration, without: Duration) {
    assert!(median <= 4 * without + Duration::from_millis(20), "{name}: {median:?}, without {without:?}");
}

/// Waits until the metrics know of every span, and of some that were lost in this way; `None`: they need not be.
async fn expect_counted(hub: &Hub, name: &str, lost: Option<&str>) {
    eventually(format!("{name}: every span is counted"), PATIENCE, || async {
        let metrics = Metrics::scrape(hub.admin())?;
        let read = |name: &str, labels: &str| metrics.sum(name, labels).ok_or(format!("no {name}"));
        let dropped = |reason: &str| read("rivulet_spans_dropped_total", &format!("reason=\"{reason}\""));
        let (full, failed) = (dropped("queue_full")?, dropped("export_failed")?);
        let (ended, exported) =
            (read("rivulet_spans_ended_total", "")?, read("rivulet_spans_exported_total", "")?);
        let waiting = read("rivulet_span_queue_length", "")?;
        let counts = format!("{ended} = {exported} + {full} + {failed} + {waiting}");
        let is_right = ended == exported + full + failed + waiting && waiting <= QUEUE_LEN_MAX;
        #[expect(clippy::cast_precision_loss, reason = "there are few")]
        let is_whole = ended >= 2.0 * PUBLISHES as f64;
        let is_said =
            lost.is_none_or(|reason| if reason == "queue_full" { full > 0.0 } else { failed > 0.0 });
        if is_right && is_whole && is_said { Ok(()) } else { Err(counts) }
    })
    .await;
}

/// Stops it, and answers how long that took.
fn stop(hub: &mut Hub) -> Duration {
    let started = Instant::now();
    assert!(hub.stop().success(), "{}", hub.log());
    started.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_is_away_slow_or_mute_slows_nobody() {
    let without = median(&node(&[]).await).await;
    let collector = Collector::start().await;
    let away = format!("http://{}", port::free());
    let small = [QUEUE, TIMEOUT];
    let here = with(&collector.variables(), &small);
    let here_by_grpc = with(&collector.grpc_variables(), &small);
    let nowhere = with(&here, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &away)]);
    for (name, mode, variables) in [
        ("takes", Mode::Take, &here),
        ("refuses", Mode::Refuse, &here),
        ("slow", Mode::Slow(Duration::from_secs(1)), &here),
        ("mute", Mode::Mute, &here),
        ("mute, by gRPC", Mode::Mute, &here_by_grpc),
        ("away", Mode::Take, &nowhere),
    ] {
        collector.set(mode);
        let mut hub = node(variables).await;
        expect_no_slower(name, median(&hub).await, without);
        let lost = if name == "takes" { None } else { Some("queue_full") };
        expect_counted(&hub, name, if name == "away" { Some("export_failed") } else { lost }).await;
        let took = stop(&mut hub);
        assert!(took < STOPPED, "{name}: {took:?}\n{}", hub.log());
    }
}

#[tokio::test]
async fn a_receiver_that_comes_back_gets_spans_again_and_the_log_tells_both() {
    let collector = Collector::start().await;
    collector.set(Mode::Refuse);
    let variables = with(&collector.variables(), &[("OTEL_EXPORTER_OTLP_TIMEOUT", "300")]);
    let hub = node(&variables).await;
    let lost = publish_traced(&hub, "a").await;
    let told = async |text: &str| {
        eventually(text, PATIENCE, || async {
            if hub.log().contains(text) { Ok(()) } else { Err(hub.log()) }
        })
        .await;
    };
    told("Spans cannot be exported").await;
    for _ in 0..20 {
        publish_traced(&hub, "a").await;
    }
    collector.set(Mode::Take);
    let found = publish_traced(&hub, "a").await;
    published(&collector, &found).await;
    told("Spans are exported again").await;
    assert_eq!(collector.json(&lost), None);
    let failures = hub.log().matches("Spans cannot be exported").count();
    assert_eq!(failures, 1, "{}", hub.log());
}
