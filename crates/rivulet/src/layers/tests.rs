//! What hides what.

use super::*;
use crate::cli;

#[test]
fn urls_of_several_hosts_are_shown_without_their_password() {
    let check = |text: &str, expected: &str| assert_eq!(url_without_secrets(text), expected);
    check("redis+sentinel://u:secret@a:1,b:2/m", "redis+sentinel://u:***@a:1,b:2/m");
    check("rediss+cluster://:secret@a:1,b:2", "rediss+cluster://:***@a:1,b:2");
    check("redis+cluster://a:1,b:2", "redis+cluster://a:1,b:2");
    check("secret,b:2", "***");
}
fn resolve(arguments: &[&str], environment: &[(&str, &str)], file: Option<&str>) -> Layers {
    let matches = cli::command().try_get_matches_from([&["rivulet"], arguments].concat()).unwrap();
    let environment = environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    Layers::resolve(&matches, &environment, file)
}

#[test]
fn each_layer_hides_those_below_it() {
    let file = Some("heartbeat = \"4s\"\nlifetime = \"4m\"\nbody-limit = 4096\nanonymous = true\n");
    let extra = ("MERCURE_EXTRA_DIRECTIVES", "heartbeat 3s\nwrite_timeout 3m");
    let layers = resolve(&["--heartbeat", "1s"], &[("RIVULET_HEARTBEAT", "2s"), extra], file);
    assert_eq!(layers.mistakes, Vec::<String>::new());
    assert_eq!(layers.one("heartbeat"), Some("1s"));
    assert_eq!(layers.one("lifetime"), Some("3m"));
    assert_eq!(layers.one("body-limit"), Some("4096"));
    assert_eq!(layers.one("anonymous"), Some("true"));
    assert_eq!(layers.one("listen"), Some("127.0.0.1:3000"));
    let layers = resolve(&[], &[("RIVULET_HEARTBEAT", "2s"), extra], file);
    assert_eq!(layers.one("heartbeat"), Some("2s"));
}

#[test]
fn lists_are_repeated_flags_or_words_or_arrays() {
    let two = ["https://a.example".to_owned(), "https://b.example".to_owned()];
    let check = |layers: Layers| assert_eq!(layers.get("cors-origin").unwrap().values, two);
    check(resolve(&["--cors-origin", &two[0], "--cors-origin", &two[1]], &[], None));
    check(resolve(&[], &[("RIVULET_CORS_ORIGIN", "https://a.example\n https://b.example")], None));
    check(resolve(
        &[],
        &[("MERCURE_EXTRA_DIRECTIVES", "cors_origins https://a.example https://b.example")],
        None,
    ));
    check(resolve(&[], &[], Some("cors-origin = ['https://a.example', 'https://b.example']")));
}

#[test]
fn a_file_with_unknown_keys_or_wrong_shapes_names_them() {
    let layers = resolve(&[], &[], Some("hearbeat = '1s'\nlisten = [1]\nconfig = 'x'"));
    assert_eq!(layers.mistakes.len(), 3, "{:?}", layers.mistakes);
    assert!(layers.mistakes.iter().any(|mistake| mistake.contains("hearbeat")));
    let layers = resolve(&[], &[], Some("a = 1\nb = = 2"));
    assert!(layers.mistakes[0].contains("line 2"), "{:?}", layers.mistakes);
}

#[test]
fn development_mode_fills_in_only_what_nobody_says() {
    let layers = resolve(&["--dev", "--anonymous=false", "--publisher-jwks-file", "a"], &[], None);
    assert_eq!(layers.one("anonymous"), Some("false"));
    assert_eq!(layers.one("publisher-jwt-key"), None);
    assert_eq!(layers.one("subscriber-jwt-key"), Some("!ChangeThisMercureHubJWTSecretKey!"));
    assert_eq!(layers.get("cors-origin").unwrap().origin, Origin::Development);
}

#[test]
fn the_description_shows_everything_but_secrets() {
    let arguments = [
        "--publisher-jwt-key=aVerySecretKey",
        "--subscriber-jwt-key=@/keys/public.pem",
        "--redis-url=redis://user:aVerySecretKey@redis:6379/1",
        "--subscriber-jwks-url=https://idp.example/jwks?key=aVerySecretKey",
        "--trusted-issuer=https://a.example=HS256:aVerySecretKey",
        "--trusted-issuer=https://b.example=jwks:https://b.example/jwks",
        "--trusted-issuer=aVerySecretKey",
    ];
    let shown = resolve(&arguments, &[], None).describe();
    assert!(!shown.contains("aVerySecretKey"), "{shown}");
    for part in [
        "publisher-jwt-key=***",
        "subscriber-jwt-key=@/keys/public.pem",
        "redis-url=redis://user:***@redis:6379/1",
        "https://a.example=HS256:***,https://b.example=jwks:https://b.example/jwks,***",
        "heartbeat=15s",
    ] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
}

#[test]
fn what_counts_at_a_start_only_stays_as_it_was() {
    let before = resolve(&["--log-level=warn"], &[], Some("workers = 1\nheartbeat = '1s'"));
    let matches = cli::command().try_get_matches_from(["rivulet", "--log-level=warn"]).unwrap();
    let file = Some("workers = 2\nheartbeat = '2s'\ndev = true\nlisten = '127.0.0.1:1'\nlog-level = 'debug'");
    let as_is = Layers::resolve(&matches, &Environment::new(), file);
    assert_eq!(as_is.differing(&before, Effect::Restart), ["dev", "listen", "workers"]);
    let hidden: Vec<_> = as_is.newly_hidden(&before).collect();
    assert_eq!(hidden, [("log-level", &Origin::Flag)]);
    let under = Layers::resolve_under(&before, &matches, &Environment::new(), file);
    assert_eq!(under.differing(&before, Effect::Restart), Vec::<&str>::new());
    assert_eq!(under.differing(&before, Effect::Reload), ["heartbeat"], "no key that everybody knows");
    assert_eq!((under.one("heartbeat"), under.one("workers")), (Some("2s"), Some("1")));
    assert_eq!(under.newly_hidden(&under).count(), 0, "told once");
}

#[test]
fn the_document_is_a_file_of_settings_without_secrets() {
    let key = "--publisher-jwt-key=aVerySecretKey";
    let layers = resolve(&[key, "--cors-origin=https://a.example"], &[("RIVULET_HEARTBEAT", "2s")], None);
    let text = layers.document();
    for line in [
        "heartbeat = \"2s\" # RIVULET_HEARTBEAT",
        "publisher-jwt-key = \"***\" # flag",
        "cors-origin = [\"https://a.example\"] # flag",
        "lifetime = \"600s\" # default",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
    }
    let again = resolve(&[], &[], Some(&text));
    assert_eq!(again.mistakes, Vec::<String>::new());
}
