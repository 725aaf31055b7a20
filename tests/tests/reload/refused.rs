//! A configuration with mistakes: refused at the start, by `check-config` and when it is read again, in the same words.

use rivulet_tests::{Request, tokens};

use crate::configured::{Configured, rivulet, text};

const SECRET: &str = "a-secret-that-nobody-may-read-0123456789";

#[tokio::test]
async fn all_mistakes_are_listed_everywhere_in_the_same_words() {
    let hub = Configured::start(&[]).await;
    let mut live = hub.hub.subscribe("topic=a").await;
    let secret = format!("'{SECRET}'");
    let bad = text(&[
        ("anonymous", "'perhaps'"),
        ("subscriber-jwt-key", &secret),
        ("subscriber-jwt-alg", "'RS256'"),
        ("heartbeat", "'5'"),
        ("limit-connections-total", "0"),
        ("limit-closed", "['publishes-per-topic']"),
        ("trusted-proxy", "'0.0.0.0/0'"),
        ("cors-origin", "['https://a.example/path']"),
        ("workers", "65"),
        ("hearbeat", "'5s'"),
        ("log-level", "'a=b=c'"),
        ("tls-cert-file", "'/nowhere'"),
        ("drain-period", "'2h'"),
    ]);
    hub.write(&bad);
    // By looking alone: it is found, and said once, however often it is looked at.
    hub.expect_reloads("refused", 1.0).await;
    assert_eq!(hub.gauge("rivulet_config_last_reload_successful"), 0.0);

    let path = hub.file().display().to_string();
    let started = rivulet(&["--config", &path]);
    let checked = rivulet(&["check-config", "--config", &path]);
    assert_eq!(
        (started.status.code(), checked.status.code()),
        (Some(64), Some(64)),
        "{started:?} {checked:?}"
    );
    assert_eq!(started.stderr, checked.stderr);
    assert!(checked.stdout.is_empty(), "{checked:?}");
    let said = String::from_utf8(checked.stderr).expect("text");
    let mistakes: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("rivulet: ")).collect();
    assert_eq!((mistakes.len(), said.lines().count()), (12, 12), "{said}");
    let log = hub.hub.log();
    let refusal = log.lines().find(|line| line.contains("configuration is refused")).expect("it is said");
    for mistake in mistakes {
        assert!(refusal.contains(mistake), "{mistake} is not in {refusal}");
    }
    assert!(!log.contains(SECRET) && !said.contains(SECRET));

    // The one before stays in force, all of it.
    drop(hub.hub.open(&Request::subscribe("topic=a").bearer(&tokens::subscriber(&["*"]))).await);
    assert_eq!(hub.publish("1", tokens::PUBLISHER_KEY).await, 200);
    assert_eq!(live.data(1).await, ["1"]);
    let lines = hub.hub.log().lines().filter(|line| line.contains("configuration is refused")).count();
    assert_eq!((lines, hub.reloads("refused"), hub.reloads("applied")), (1, 1.0, 0.0));

    hub.write(&text(&[("anonymous", "false")]));
    hub.expect_reloads("applied", 1.0).await;
    assert_eq!(hub.gauge("rivulet_config_last_reload_successful"), 1.0);
    assert_eq!(hub.status(&Request::subscribe("topic=a")).await, 401);
}

#[tokio::test]
async fn a_file_that_is_gone_or_no_toml_is_refused_and_the_old_one_again_is_nothing_new() {
    let hub = Configured::start(&[]).await;
    let old = std::fs::read_to_string(hub.file()).expect("the file is there");
    std::fs::remove_file(hub.file()).expect("the file is there");
    hub.hub.signal("HUP");
    hub.expect_reloads("refused", 1.0).await;
    hub.write("anonymous = tr");
    hub.hub.signal("HUP");
    hub.expect_reloads("refused", 2.0).await;
    hub.write(&old);
    hub.expect_reloads("unchanged", 1.0).await;
    assert_eq!(hub.gauge("rivulet_config_last_reload_successful"), 1.0);
    assert_eq!(hub.status(&Request::subscribe("topic=a")).await, 200);
}
