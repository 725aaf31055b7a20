//! Redis is away: nobody waits long, nothing piles up, and streams go on.

use std::time::{Duration, Instant};

use rivulet_tests::{Backend, Request, Subscriber, eventually, tokens::publisher};

use crate::readiness::{expect_unavailable, not_ready, ready};

const PUBLISHERS: usize = 200;
/// How long a publisher may wait until it knows that Redis does not answer.
const ANSWERED: Duration = Duration::from_secs(5);
/// How long anybody may wait while the node knows it.
const AT_ONCE: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishers_do_not_wait_for_a_redis_that_hangs() {
    let hub = Backend::Redis.hub_with(&["--heartbeat", "2s"]).await;
    let mut stream = hub.subscribe("topic=a").await;
    hub.publish(&[("topic", "a"), ("data", "before")]).await;
    assert_eq!(stream.data(1).await, ["before"]);
    hub.redis().freeze();
    let started = Instant::now();
    let address = hub.address();
    let publishing = (0..PUBLISHERS).map(|number| {
        let data = number.to_string();
        let request = Request::publish(&[("topic", "a"), ("data", &data)]).bearer(&publisher(&["*"]));
        tokio::spawn(async move { request.send(address).await })
    });
    for answer in publishing.collect::<Vec<_>>() {
        expect_unavailable(&answer.await.expect("an answer"));
    }
    assert!(started.elapsed() < ANSWERED, "{:?}", started.elapsed());

    let started = Instant::now();
    for _ in 0..20 {
        expect_unavailable(&crate::readiness::try_publish(&hub, &[("topic", "a")]).await);
    }
    assert!(started.elapsed() < AT_ONCE, "known to be away: {:?}", started.elapsed());
    let refusals = crate::readiness::lines_with(&hub, "the transport is unavailable");
    assert!((1..=3).contains(&refusals), "{refusals} lines for {PUBLISHERS} refusals:\n{}", hub.log());

    not_ready(&hub).await;
    eventually("new subscribers are refused at once", Duration::from_secs(10), || async {
        let started = Instant::now();
        let refusal = Subscriber::try_open(address, &Request::subscribe("topic=new")).await;
        expect_unavailable(&refusal.err().ok_or("a stream nobody can feed")?);
        let took = started.elapsed();
        if took < AT_ONCE { Ok(()) } else { Err(format!("{took:?}")) }
    })
    .await;

    hub.redis().thaw();
    ready(&hub).await;
    hub.publish(&[("topic", "a"), ("data", "after")]).await;
    // What was sent to a frozen Redis may have been appended: it comes before.
    while stream.event().await.data() != "after" {}
}
