//! The security checklist of `docs/operations.md`, on a hub with the configuration and a Redis with the ACL that are printed.

use std::os::unix::fs::PermissionsExt as _;

use rivulet_tests::{Backend, certificates::Authority, redis::RedisServer, repository};

use crate::world::World;

/// The rules of the hub's user, as the README prints them.
fn rules() -> Vec<String> {
    let readme = repository::text("README.md");
    let (_, rest) = readme.split_once("user rivulet on ").expect("the README has an ACL");
    let (rules, _) = rest.split_once("```").expect("the block ends");
    ["on"].into_iter().chain(rules.split_whitespace()).map(str::to_owned).collect()
}

fn command(redis: &RedisServer, arguments: &[&str]) {
    assert_eq!(redis.command(arguments).as_deref(), Ok("OK"), "{arguments:?}");
}

pub(crate) async fn checklist(mut world: World) {
    let redis = RedisServer::start().await;
    let rules = rules();
    let words: Vec<&str> = rules.iter().map(String::as_str).collect();
    command(&redis, &[&["ACL", "SETUSER", "rivulet"], &words[..]].concat());
    command(&redis, &["ACL", "SETUSER", "default", "off"]);
    let authority = Authority::of(&["hub"]);
    for name in ["hub.crt", "hub.key"] {
        std::fs::copy(authority.file(name), world.dir().join(name)).expect("a temporary directory");
    }
    let log = world.dir().join("access.log");
    std::fs::write(&log, "GET /.well-known/mercure?topic=check HTTP/1.1\n").expect("a temporary directory");
    world.replace("/var/log/nginx/access.log", log.display().to_string());
    world.replace("HUB=http://", "HUB=https://");
    world.replace("REDIS=redis://", "REDIS=redis://rivulet:PASSWORD@");
    world.redis(redis.address());
    world.set("CURL_CA_BUNDLE", authority.file("ca.crt"));

    let configuration = world.file("hub.toml");
    for entry in std::fs::read_dir(world.dir()).expect("a temporary directory") {
        let path = entry.expect("an entry").path();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("a file of ours");
    }
    let flags = ["--config", &configuration, "--drain-delay", "0s", "--drain-period", "0s"];
    let hub = Backend::Memory.hub_without_defaults(&flags).await;
    world.node(&hub);
    for step in ["keys", "anonymous", "origins", "tls", "admin", "secrets", "redis", "limits"] {
        world.run(step).await;
    }
    let said = world.run("private").await;
    assert!(!said.contains("for-one"), "{said}");
    world.run("urls").await;
    assert!(!hub.log().contains("eyJ"), "no token in the log: {}", hub.log());
}
