//! The hubs of the profiles `sentinel` and `cluster`: their servers, by their own commands, and their nodes.

use rivulet_tests::{PATIENCE, Request, Subscriber, process::Process};

use super::{
    shipped::{nodes, services},
    world::World,
};

/// Starts the services whose names begin like this.
fn start(world: &World, beginning: &str) -> Vec<Process> {
    let names = services().into_iter().map(|(name, _)| name).filter(|name| name.starts_with(beginning));
    names.map(|name| world.redis(&name)).collect()
}

/// Starts the nodes of a profile; what is published on one arrives at the other.
async fn nodes_are_one_hub(world: &World, profile: &str) {
    let mut running = Vec::new();
    for (name, _) in nodes(Some(profile)) {
        running.push(world.ready(&name, &[]).await);
    }
    let mut streams = Vec::new();
    for node in &running {
        streams.push(Subscriber::open(node.address, &Request::subscribe("topic=a")).await);
    }
    for (number, node) in running.iter().enumerate() {
        let data = number.to_string();
        node.publish("a", &data).await;
        for stream in &mut streams {
            assert_eq!(stream.event().await.data(), data);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_are_one_hub_on_the_sentinels_of_the_profile() {
    let world = World::new();
    let _servers = start(&world, "sentinel-redis-");
    let _sentinels = [1, 2, 3].map(|number| world.redis(&format!("sentinel-{number}")));
    nodes_are_one_hub(&world, "sentinel").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_are_one_hub_on_the_cluster_of_the_profile() {
    let world = World::new();
    let _servers = start(&world, "cluster-redis-");
    // As a restart on failure would.
    let start = std::time::Instant::now();
    loop {
        let mut create = world.redis("cluster-create");
        let ended = create
            .wait(2 * PATIENCE)
            .unwrap_or_else(|error| panic!("{error}\n{}", world.said_by("cluster-create")));
        if ended.success() {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "{}", world.said_by("cluster-create"));
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    nodes_are_one_hub(&world, "cluster").await;
}
