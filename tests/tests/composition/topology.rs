//! What `docker compose up` starts, as processes: three nodes, Redis, the proxies with the configuration that is mounted,
//! Prometheus with its own.

use rivulet_tests::{
    PATIENCE, Request,
    browser::Browser,
    eventually,
    page::Page,
    process::Process,
    prometheus::Prometheus,
    proxy::{Proxy, Software},
};
use serde_json::json;

use super::{
    shipped::{nodes, text},
    world::{Node, World, publication},
};

/// Redis and the nodes.
async fn hub(world: &World, instead: &[(&str, &str)]) -> (Process, Vec<Node>) {
    let redis = world.redis("redis");
    let mut running = Vec::new();
    for (name, _) in nodes(None) {
        running.push(world.ready(&name, instead).await);
    }
    (redis, running)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_are_one_hub_behind_both_proxies_and_prometheus_sees_them() {
    const STREAMS: usize = 6;
    let world = World::new();
    let (_redis, nodes) = hub(&world, &[]).await;
    let config = world.local(&text("k8s/monitoring/prometheus.yml"));
    let config = config.replace(": 15s", ": 1s");
    let prometheus = Prometheus::start_with(&config, &text("k8s/monitoring/rules.yaml")).await;
    let upstreams = world.upstreams();
    let proxies = [
        Proxy::start(Software::Nginx, &upstreams, &[]).await,
        Proxy::start(Software::Haproxy, &upstreams, &[]).await,
    ];
    let connections = [proxies[0].http2().await, proxies[1].http2().await];
    let mut streams = Vec::new();
    for connection in &connections {
        for _ in 0..STREAMS {
            streams.push(connection.subscribe(&Request::subscribe("topic=a")).await.expect("a stream"));
        }
    }
    let mut expected = Vec::new();
    for (number, node) in nodes.iter().enumerate() {
        expected.push((node.publish("a", &number.to_string()).await, number.to_string()));
    }
    for (number, connection) in connections.iter().enumerate() {
        let data = format!("through {number}");
        let answer = connection.send(&publication("a", &data)).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        expected.push((answer.text().to_owned(), data));
    }
    for stream in &mut streams {
        for (id, data) in &expected {
            let event = stream.event().await;
            assert_eq!((event.id(), event.data()), (&**id, &**data));
        }
    }
    expect(&prometheus, "count(up{job=\"rivulet\"} == 1)", 3.0).await;
    expect(&prometheus, "sum(mercure_subscribers_connected)", 12.0).await;
    // By the rules that are mounted.
    expect(&prometheus, "count(instance:rivulet_kept_bytes_per_connection:current > 0)", 3.0).await;
}

async fn expect(prometheus: &Prometheus, expression: &str, value: f64) {
    eventually(format!("{expression} is {value}"), 2 * PATIENCE, || async {
        let samples = prometheus.query(expression).await?;
        #[expect(clippy::float_cmp, reason = "counts")]
        let is_so = samples.first().is_some_and(|(_, found)| *found == value);
        if is_so { Ok(()) } else { Err(format!("{samples:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_has_twelve_streams_on_one_connection_and_keeps_them_when_a_node_goes() {
    // A browser opens six connections to a host: over HTTP/1.1 half of these streams would wait for ever.
    let world = World::new();
    let (_redis, mut nodes) =
        hub(&world, &[("RIVULET_DRAIN_DELAY", "1s"), ("RIVULET_DRAIN_PERIOD", "2s")]).await;
    let nginx = Proxy::start(Software::Nginx, &world.upstreams(), &[]).await;
    let url = format!("https://{}/.well-known/mercure?topic=a&topic=", nginx.address());
    let page = Page::serve(format!(
        "<!doctype html><title>rivulet</title><script>
         window.seen = {{open: 0, errors: 0, events: []}};
         const sources = [];
         for (let number = 0; number < 12; number++) {{
             const source = new EventSource({url:?} + number);
             seen.events[number] = [];
             source.onopen = () => seen.open++;
             source.onerror = () => seen.errors++;
             source.onmessage = (event) => seen.events[number].push(event.data);
             sources.push(source);
         }}
         </script>"
    ))
    .await;
    let browser = Browser::start().await;
    browser.visit(&page.url()).await;
    browser.wait_for("all streams are open at once", "seen.open === 12").await;
    nodes[1].publish("a", "before").await;
    browser.wait_for("an event each", "seen.events.every((events) => events.length === 1)").await;

    nodes[0].process.signal("TERM");
    nodes[2].publish("a", "while it drains").await;
    let ended = nodes[0].process.wait(PATIENCE).expect("it drains and ends");
    assert!(ended.success(), "{ended}");
    nodes[1].publish("a", "when it is gone").await;
    // Each was told a time of its own to come back, ten seconds at the most.
    browser
        .wait_for("all streams are there again", "seen.events.every((events) => events.length === 3)")
        .await;
    let events = browser.run("return seen.events").await;
    let each = json!(["before", "while it drains", "when it is gone"]);
    assert_eq!(events, json!(vec![each; 12]), "each event once and in order");
    // Not how many: a browser drops every connection when an interface of the machine comes or goes, as in other tests.
    let opened = browser.run("return seen.open").await;
    let said = || nodes.iter().map(Node::said).collect::<String>() + &nginx.log();
    assert!(
        opened.as_u64().is_some_and(|opened| opened > 12),
        "nobody had to come back: {opened}\n{}",
        said()
    );
    browser.close().await;
}
