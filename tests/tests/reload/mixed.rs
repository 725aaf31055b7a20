//! Two configurations that take turns under load: each request sees one of them, and nothing is lost.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use rivulet_tests::{Request, tokens};

use crate::configured::Configured;

/// How often they take turns.
const TURNS: usize = 20;

/// What the page says of the dialects and of strangers, in one answer.
fn states(page: &str) -> Vec<bool> {
    let lines = page.lines().filter(|line| line.contains("Dialect 1.0") || line.contains("without a token"));
    lines.map(|line| line.contains(": on")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_sees_a_mix_and_nothing_is_lost() {
    let issuer = format!("'{}=HS256:{}'", tokens::ISSUER, tokens::ISSUER_KEY);
    let resource = format!("'{}'", tokens::RESOURCE);
    let closed = [("anonymous", "false"), ("trusted-issuer", &*issuer), ("resource", &*resource)];
    let hub = Configured::start(&[]).await;
    let mut live = hub.hub.subscribe("topic=a").await;
    let over = AtomicBool::new(false);
    let look = || async {
        let mut seen = BTreeSet::new();
        while !over.load(Relaxed) {
            seen.insert(states(hub.hub.send(&Request::new("GET", "/")).await.text()));
        }
        seen
    };
    let publish = async {
        let mut count = 0;
        while !over.load(Relaxed) {
            assert_eq!(hub.publish(&count.to_string(), tokens::PUBLISHER_KEY).await, 200);
            count += 1;
        }
        count
    };
    let turns = async {
        for turn in 0..TURNS {
            hub.reload(if turn % 2 == 0 { &closed } else { &[] }).await;
        }
        over.store(true, Relaxed);
    };
    let (one, other, count, ()) = tokio::join!(look(), look(), publish, turns);
    let both = BTreeSet::from([vec![false, true], vec![true, false]]);
    assert_eq!((&one, &other), (&both, &both));
    let expected: Vec<String> = (0..count).map(|number| number.to_string()).collect();
    assert_eq!(live.data(count).await, expected);
}
