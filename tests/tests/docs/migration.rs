//! The scenarios of `docs/migration.md`.

use rivulet_tests::{Backend, PATIENCE, eventually, metrics, redis::RedisServer};

use crate::world::World;

pub(crate) async fn environment(mut world: World) {
    let redis = RedisServer::start().await;
    world.redis(redis.address());
    world.free(":3000");
    let admin = world.free(":9180");
    let mut hub = world.start("start");
    eventually("the hub is ready", PATIENCE, || async {
        match metrics::get(admin, "/ready") {
            Ok((200, _)) => Ok(()),
            answer => Err(format!("{answer:?}")),
        }
    })
    .await;
    world.run("check").await;
    hub.kill().await.expect("it can be killed");
}

pub(crate) async fn mistakes(mut world: World) {
    world.run("start").await;
    world.run("key").await;
}

pub(crate) async fn side_by_side(mut world: World) {
    let old = Backend::Memory.hub().await;
    let hub = Backend::Redis.hub().await;
    world.node(&hub);
    world.second(&old);
    for step in ["publish", "compare", "known", "unknown", "look", "subscriptions"] {
        world.run(step).await;
        hub.expect_connections(0).await;
    }
}
