//! A hub in the image's root file system does what it does outside.

use std::{io::Read as _, net::SocketAddr};

use flate2::read::GzDecoder;
use rivulet_tests::{
    Hub, PATIENCE, Request, Subscriber, deadline::eventually_blocking, port, redis::RedisServer, tokens,
};

use super::{
    image_container::{Container, Network, Root},
    image_names::NameServer,
};

/// A hub in a container with the network of this machine, on a Redis that has only a name there.
async fn serves_on_a_redis_with_a_name(root: &Root, redis_host: &str, redis: &RedisServer) {
    let (address, admin) = (port::free(), port::free());
    let redis_url = format!("redis://{redis_host}:{}", redis.address().port());
    let arguments =
        ["--listen", &address.to_string(), "--admin-listen", &admin.to_string(), "--redis-url", &redis_url];
    let mut container = Container::start(root, Network::Host, &Hub::DEFAULTS, &arguments);
    container.ready(admin);
    is_confined(&container);

    let admin_listen = admin.to_string();
    let checked = container.exec(&["/rivulet", "healthcheck", "--admin-listen", &admin_listen]);
    assert!(checked.status.success(), "{checked:?}");

    let mut subscriber = Subscriber::open(address, &Request::subscribe("topic=a")).await;
    for number in 0..5 {
        publish(address, &number.to_string()).await;
        assert_eq!(subscriber.event().await.data(), number.to_string());
    }
    drop(subscriber);
    let names = names_under_load(address, admin).await;
    assert!(names.contains("rivulet_"), "the stripped program has no names of functions: {names}");

    // A profile of the heap is a file on its way.
    assert_eq!(Request::new("GET", "/debug/pprof/heap").send(admin).await.status, 200);

    let status = container.stop();
    assert_eq!(status.code(), Some(0), "{}", container.log());
    assert!(container.log().contains("Rivulet has stopped"), "{}", container.log());
}

async fn publish(address: SocketAddr, data: &str) {
    let publish = Request::publish(&[("topic", "a"), ("data", data)]);
    assert_eq!(publish.bearer(&tokens::publisher(&["*"])).send(address).await.status, 200);
}

/// What a profile of the processor's time says, among it the names of functions that were seen.
async fn names_under_load(address: SocketAddr, admin: SocketAddr) -> String {
    let load = async {
        loop {
            publish(address, "0123456789").await;
        }
    };
    let request = Request::new("GET", "/debug/pprof/profile?seconds=1");
    let profile = tokio::select! {
        profile = request.send(admin) => profile,
        () = load => unreachable!("the load never ends"),
    };
    assert_eq!(profile.status, 200, "{}", String::from_utf8_lossy(&profile.body));
    let mut text = Vec::new();
    GzDecoder::new(&profile.body[..]).read_to_end(&mut text).expect("a profile is compressed");
    String::from_utf8_lossy(&text).into_owned()
}

/// The kernel agrees that it may do nothing.
fn is_confined(container: &Container) {
    let status = container.kernel("status");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a field of the status");
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    for name in ["Uid:", "Gid:"] {
        assert_eq!(field(name), "65532 65532 65532 65532");
    }
    assert_eq!(field("Groups:"), "");
    for name in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(field(name), "0000000000000000", "{name}");
    }
    assert_eq!(field("NoNewPrivs:"), "1");
    assert!(field("NSpid:").ends_with(" 1"), "it is the first process: {}", field("NSpid:"));
    let mounts = container.kernel("mountinfo");
    let is_root = |line: &&str| line.split(' ').nth(4) == Some("/");
    let root = mounts.lines().rfind(is_root).expect("there is a root");
    let options = root.split(' ').nth(5).expect("options of a mount");
    assert!(options.split(',').any(|option| option == "ro"), "{root}");
}

#[tokio::test]
async fn a_hub_in_it_serves_on_a_redis_that_the_hosts_file_names_and_ends_with_0() {
    let (root, redis) = (Root::new(), RedisServer::start().await);
    root.names("127.0.0.1 localhost redis.internal\n", "");
    serves_on_a_redis_with_a_name(&root, "redis.internal", &redis).await;
}

#[tokio::test]
async fn a_hub_in_it_serves_on_a_redis_that_only_dns_knows() {
    let (root, redis) = (Root::new(), RedisServer::start().await);
    let server = NameServer::of("redis.rivulet.test");
    root.names("127.0.0.1 localhost\n", &server.resolv_conf());
    serves_on_a_redis_with_a_name(&root, "redis.rivulet.test", &redis).await;
}

/// What the commands print in the container; they must succeed.
fn said(container: &Container, arguments: &[&str]) -> String {
    let output = container.exec(&[&["/rivulet"], arguments].concat());
    assert!(output.status.success(), "{arguments:?}: {output:?}\n{}", container.log());
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[test]
fn with_its_own_configuration_it_listens_where_others_reach_it_and_its_commands_find_it() {
    let root = Root::new();
    root.names("127.0.0.1 localhost\n", "");
    let environment = [("RIVULET_DEV", "true"), ("RIVULET_LOG_FORMAT", "json")];
    let mut container = Container::start(&root, Network::Own, &environment, &[]);
    let healthy = eventually_blocking(PATIENCE, || {
        let output = container.exec(&["/rivulet", "healthcheck"]);
        if output.status.success() { Ok(()) } else { Err(format!("{output:?}")) }
    });
    healthy.unwrap_or_else(|error| panic!("{error}\n{}", container.log()));
    for address in ["\"address\":\"0.0.0.0:3000\"", "\"admin.address\":\"0.0.0.0:9180\""] {
        assert!(container.log().contains(address), "{}", container.log());
    }
    let token = said(&container, &["token", "--dialect", "0.x", "--publish", "*"]);
    let topic = "https://example.com/check";
    said(&container, &["publish", "--token", &token, "--topic", topic, "--data", "checked"]);
    let events =
        said(&container, &["subscribe", "--topic", topic, "--last-event-id", "earliest", "--count", "1"]);
    assert!(events.lines().any(|line| line == "data: checked"), "{events}");
    assert_eq!(container.stop().code(), Some(0), "{}", container.log());
}
