//! The README's first updates: its `curl` commands are run as they are printed, against a hub in development mode.

use std::process::Stdio;

use rivulet_tests::{Backend, Hub, guide, hub};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};

/// The shell command that stands behind `<!-- test: NAME -->`, with the addresses of this test's hub.
fn command(name: &str, hub: &Hub) -> String {
    let command = guide::readme_command(name);
    assert!(command.contains("127.0.0.1:3000"), "{command}");
    command
        .replace("127.0.0.1:3000", &hub.address().to_string())
        .replace("target/release/rivulet", &hub::binary().display().to_string())
}

fn shell(command: &str) -> Command {
    let mut shell = Command::new("sh");
    // The shell of a killed command must not leave its curl behind.
    shell
        .args(["-c", &format!("exec {command}")])
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true);
    shell
}

async fn a_first_update(dialect: &str) {
    let hub = Backend::Memory.hub_without_defaults(&["--dev"]).await;
    let mut subscriber = shell(&command(&format!("subscribe {dialect}"), &hub)).spawn().expect("curl runs");
    let mut lines = BufReader::new(subscriber.stdout.take().expect("it is piped")).lines();
    let first = lines.next_line().await.expect("the stream opens");
    assert_eq!(first.as_deref(), Some(":"), "the comment that opens the stream");

    let published = shell(&command(&format!("publish {dialect}"), &hub)).output().await.expect("curl runs");
    let id = String::from_utf8(published.stdout).expect("an id is text");
    assert!(id.starts_with('#'), "{id:?}");
    let mut event = Vec::new();
    while event.last().is_none_or(|line: &String| !line.is_empty()) {
        event.push(lines.next_line().await.expect("the event arrives").expect("the stream goes on"));
    }
    assert_eq!(event, [format!("id: {id}"), format!("data: hello, {dialect}"), String::new()]);
    subscriber.kill().await.expect("curl ends");
}

#[tokio::test]
async fn the_first_update_in_dialect_0_x_works_as_printed() {
    a_first_update("0.x").await;
}

#[tokio::test]
async fn the_first_update_in_dialect_1_0_works_as_printed() {
    a_first_update("1.0").await;
}
