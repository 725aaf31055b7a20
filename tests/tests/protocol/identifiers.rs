//! What ids promise: one order on the wire for everybody, and a space that belongs to the hub.

use rivulet_tests::Backend;

async fn ids_of_the_hub_increase(backend: Backend) {
    let hub = backend.hub().await;
    let mut stream = hub.subscribe("topic=*").await;
    let mut last = 0;
    for number in 0..50 {
        let topic = format!("t{}", number % 7);
        let id = hub.publish(&[("topic", &topic), ("data", "x")]).await;
        let event = stream.event().await;
        assert_eq!(event.id(), id);
        let position: u64 = id.strip_prefix('#').and_then(|id| id.parse().ok()).expect("#<position>");
        assert!(position > last, "{position} after {last}");
        last = position;
    }
}

async fn the_same_id_may_be_used_for_two_updates(backend: Backend) {
    let hub = backend.hub().await;
    let mut stream = hub.subscribe("topic=a").await;
    for data in ["one", "two"] {
        assert_eq!(hub.publish(&[("topic", "a"), ("id", "urn:x:same"), ("data", data)]).await, "urn:x:same");
        let event = stream.event().await;
        assert_eq!((event.id(), event.data()), ("urn:x:same", data));
    }
}

async fn all_subscribers_see_one_order(backend: Backend) {
    let hub = backend.hub().await;
    let mut streams = Vec::new();
    for query in ["topic=a", "match=a", "topic=*", "topic=%7Bx%7D", "match_urlpattern=*"] {
        streams.push(hub.subscribe(query).await);
    }
    let publishers: Vec<_> = (0..8)
        .map(|publisher| {
            let address = hub.address();
            tokio::spawn(async move {
                let token = rivulet_tests::tokens::publisher(&["*"]);
                for number in 0..25 {
                    let data = format!("{publisher}-{number}");
                    let request =
                        rivulet_tests::Request::publish(&[("topic", "a"), ("data", &data)]).bearer(&token);
                    assert_eq!(request.send(address).await.status, 200);
                }
            })
        })
        .collect();
    for publisher in publishers {
        publisher.await.expect("a publisher ends well");
    }
    let first = streams[0].data(200).await;
    for publisher in 0..8 {
        let own: Vec<_> = first.iter().filter(|data| data.starts_with(&format!("{publisher}-"))).collect();
        let expected: Vec<_> = (0..25).map(|number| format!("{publisher}-{number}")).collect();
        assert!(own.into_iter().eq(&expected), "what one publisher sent in turn stays in turn");
    }
    for stream in &mut streams[1..] {
        assert_eq!(stream.data(200).await, first);
    }
}

on_both_transports!(
    ids_of_the_hub_increase,
    the_same_id_may_be_used_for_two_updates,
    all_subscribers_see_one_order,
);
