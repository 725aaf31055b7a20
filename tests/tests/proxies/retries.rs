//! Whether a proxy sends again what it has sent.

use rivulet_tests::proxy::Software;

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
    let proxy = fakes.behind(software, &[]).await;
    for request in [publication("a", "1"), publication("a", "2").header("Idempotency-Key", "b")] {
        let before = fakes.arrivals("POST").len();
        let answer = proxy.http2().await.try_send(&request).await;
        match answer.map(|answer| answer.status) {
            Ok(500..600) => {}
            // HAProxy has its clients believe that nothing was processed, whatever the method: see the page.
            Err(reset) if software == Software::Haproxy && reset.contains("refused") => {}
            other => panic!("{software}: {other:?}"),
        }
        assert_eq!(fakes.arrivals("POST").len(), before + 1, "{software}: {request:?}");
    }
    let answer = publication("a", "3").send_over(proxy.http1().await).await;
    assert_eq!(answer.status / 100, 5, "{software} over HTTP/1.1: {answer:?}");
    assert_eq!(fakes.arrivals("POST").len(), 3);
}
