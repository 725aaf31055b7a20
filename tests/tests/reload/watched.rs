//! Files that change, as Kubernetes and editors change them, and signals, however many.

use std::{os::unix::fs::symlink, path::Path};

use rivulet_tests::{Backend, Hub, PATIENCE, Request, Subscriber, eventually, tokens};

use crate::configured::{Configured, expect_reloads, reloads, text};

/// Mounts another version, as the kubelet does: `..data` points to another directory in one step.
fn mount(volume: &Path, version: &str, settings: &[(&str, &str)], key: &str) {
    let dir = volume.join(version);
    std::fs::create_dir(&dir).expect("files of ours");
    std::fs::write(dir.join("rivulet.toml"), text(settings)).expect("files of ours");
    std::fs::write(dir.join("key"), key).expect("files of ours");
    symlink(version, volume.join("..data_tmp")).expect("files of ours");
    std::fs::rename(volume.join("..data_tmp"), volume.join("..data")).expect("files of ours");
}

async fn publishes(hub: &Hub, key: &str) -> u16 {
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
    let token = tokens::sign(&header, &serde_json::json!({"mercure": {"publish": ["*"]}}), key);
    hub.send(&Request::publish(&[("topic", "a"), ("data", "x")]).bearer(&token)).await.status
}

#[tokio::test]
async fn a_mounted_volume_is_swapped_as_kubernetes_does_it() {
    let volume = tempfile::tempdir().expect("a temporary directory");
    let keys = ["the-first-key-of-the-tests-0123456789abcdef", "the-second-key-of-the-tests-0123456789abcde"];
    let key = format!("'@{}'", volume.path().join("key").display());
    let settings = [("publisher-jwt-key", key.as_str())];
    mount(volume.path(), "..first", &settings, keys[0]);
    for name in ["rivulet.toml", "key"] {
        symlink(Path::new("..data").join(name), volume.path().join(name)).expect("files of ours");
    }
    let path = volume.path().join("rivulet.toml").display().to_string();
    let hub = Backend::Memory.hub_without_defaults(&["--config", &path]).await;
    let mut live = hub.subscribe("topic=a").await;
    assert_eq!([publishes(&hub, keys[0]).await, publishes(&hub, keys[1]).await], [200, 401]);
    // The file of settings stays as it is, only the key is another one.
    mount(volume.path(), "..second", &settings, keys[1]);
    expect_reloads(&hub, "applied", 1.0).await;
    assert_eq!([publishes(&hub, keys[0]).await, publishes(&hub, keys[1]).await], [401, 200]);
    let log = hub.log();
    let line = log.lines().find(|line| line.contains("read again and is in force")).expect("it is said");
    assert!(line.contains("publisher-jwt-key"), "{line}");
    mount(volume.path(), "..third", &[settings[0], ("anonymous", "false")], keys[1]);
    expect_reloads(&hub, "applied", 2.0).await;
    let refused = Subscriber::try_open(hub.address(), &Request::subscribe("topic=a")).await;
    assert_eq!(refused.err().map(|answer| answer.status), Some(401));
    assert_eq!(live.data(2).await, ["x", "x"]);
    assert_eq!(reloads(&hub, "refused"), 0.0);
}

#[tokio::test]
async fn a_thousand_signals_leak_nothing() {
    let hub = Configured::start(&[]).await;
    let mut live = hub.hub.subscribe("topic=a").await;
    hub.hub.signal("HUP");
    hub.expect_reloads("unchanged", 1.0).await;
    let held = || ["rivulet_runtime_tasks", "process_open_fds"].map(|name| hub.gauge(name));
    let before = held();
    let pid = hub.hub.pid();
    for round in 0..10 {
        let storm = format!("i=0; while [ $i -lt 100 ]; do kill -HUP {pid}; i=$((i+1)); done");
        assert!(std::process::Command::new("sh").args(["-c", &storm]).status().expect("a shell").success());
        // Something else each time, so that all of it is read.
        let count = format!("{}", 1000 + round);
        hub.write(&text(&[("limit-connections-total", &count)]));
        hub.hub.signal("HUP");
        hub.expect_reloads("applied", f64::from(round + 1)).await;
    }
    eventually("everything is given back", PATIENCE, || async {
        let now = held();
        if now[0] <= before[0] && now[1] <= before[1] { Ok(()) } else { Err(format!("{before:?} {now:?}")) }
    })
    .await;
    assert_eq!(hub.publish("1", tokens::PUBLISHER_KEY).await, 200);
    assert_eq!(live.data(1).await, ["1"]);
}
