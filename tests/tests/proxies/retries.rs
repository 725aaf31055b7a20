//! Whether a proxy sends again what it has sent.

use rivulet_tests::proxy::{Proxy, Software};

use super::{
    check::Check,
    fake::{Fakes, Manner},
    streams::publication,
};

/// Those that pass over a node because of its answer; the others ask nodes whether they are ready, and only that.
const READ_ANSWERS: [Software; 3] = [Software::Nginx, Software::Haproxy, Software::Envoy];

pub(crate) async fn once(software: Software) {
    let outcome = Check::PublishedOnce.run(software, &[]).await;
    assert_eq!(outcome, Ok(()), "{software}");
    let outcome = Check::PassedOver.run(software, &[]).await;
    assert_eq!(outcome.is_ok(), READ_ANSWERS.contains(&software), "{software}: {outcome:?}");

    // A node that takes it and dies may have published it. Its key would make a repetition safe, but no proxy need know.
    let fakes = Fakes::start(Manner::HangUp).await;
    let proxy = Proxy::start(software, &fakes.upstreams, &[]).await;
    for request in [publication("a", "1"), publication("a", "2").header("Idempotency-Key", "b")] {
        let before = fakes.arrivals("POST").len();
        let answer = proxy.send(&request).await;
        assert!((500..600).contains(&answer.status), "{software}: {answer:?}");
        assert_eq!(fakes.arrivals("POST").len(), before + 1, "{software}: {request:?}");
    }
}
