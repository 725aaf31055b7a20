//! Limits that cannot be meant stop the start, with every mistake listed.

use rivulet_tests::refusal::Refusal;

/// Nobody listens there: what is refused is refused before anybody is asked.
const REDIS: &str = "redis://127.0.0.1:1";

/// Each mistake, and a part of what is said about it.
const MISTAKES: &[(&[&str], &str)] = &[
    (
        &["--limit-connections-total", "0"],
        "--limit-connections-total \"0\" must be a whole number, at least 1",
    ),
    (&["--limit-connections-per-ip", "many"], "--limit-connections-per-ip \"many\" must be a whole number"),
    (&["--limit-subscribes-per-ip", "10"], "--limit-subscribes-per-ip \"10\" must be COUNT/PERIOD"),
    (&["--limit-subscribes-per-subject", "0/s"], "--limit-subscribes-per-subject \"0/s\" the count must"),
    (&["--limit-publishes-per-subject", "5/2d"], "--limit-publishes-per-subject \"5/2d\" the period must"),
    (
        &["--limit-publishes-per-topic", "5/s,burst=0"],
        "--limit-publishes-per-topic \"5/s,burst=0\" the burst",
    ),
    (&["--limit-closed", "connections-per-topic"], "--limit-connections-per-topic is missing"),
    (&["--limit-closed", "connections"], "\"connections\" is no limit: must be one of connections-total"),
    (&["--limits-claim", "sub"], "--limits-claim \"sub\" \"sub\" is a registered claim"),
    (&["--limits-lease", "1s"], "--limits-lease \"1s\" must be 5s to 5m"),
    (&["--trusted-proxy", "10.0.0.0/8"], ""),
    (&["--trusted-proxy", "10.1.0.0/16"], "--trusted-proxy \"10.1.0.0/16\" overlaps with 10.0.0.0/8"),
    (&["--trusted-proxy", "10.0.0.0/8"], "--trusted-proxy \"10.0.0.0/8\" stands there twice"),
    (&["--trusted-proxy", "192.0.2.1/24"], "has bits behind its prefix: write 192.0.2.0/24"),
    (&["--trusted-proxy", "0.0.0.0/0"], "trusts everybody"),
    (&["--trusted-proxy", "proxy.example"], "must be an IP address or a network"),
    (&["--drain-delay", "11m"], "--drain-delay \"11m\" must be at most 600 s"),
    (&["--drain-period", "soon"], "--drain-period \"soon\" must be numbers with units"),
    (&["--shed", "101"], "--shed \"101\" must be a number of per cent"),
    (&["--replays-max", "0"], "--replays-max \"0\" must be a whole number, at least 1"),
    (
        &["--bodies-in-flight", "1MiB"],
        "--bodies-in-flight \"1MiB\" must be at least --body-limit and --batch-limit",
    ),
];

#[test]
fn every_mistake_about_limits_is_listed_at_once() {
    let flags: Vec<&str> = MISTAKES.iter().flat_map(|(flags, _)| flags.iter().copied()).collect();
    let refusal = Refusal::of(REDIS, &flags);
    assert_eq!(refusal.code, Some(64), "{}", refusal.said);
    for (flags, words) in MISTAKES {
        assert!(refusal.said.contains(words), "{words:?}, about {flags:?}, is not in\n{}", refusal.said);
    }
    let lines = refusal.said.lines().count();
    assert_eq!(lines, MISTAKES.iter().filter(|(_, words)| !words.is_empty()).count(), "{}", refusal.said);
}

#[test]
fn limits_that_others_never_let_anybody_reach_are_mistakes() {
    let quotas = ["--limit-connections-total", "10", "--limit-connections-per-subject", "11"];
    let refusal = Refusal::of(REDIS, &[&quotas[..], &["--limit-connections-per-topic", "10"]].concat());
    let words = ["--limit-connections-per-subject \"11\"", "would never be reached", "total is 10"];
    refusal.expect(64, &words);
    assert_eq!(refusal.said.lines().count(), 1, "{}", refusal.said);
    let refusal = Refusal::of(REDIS, &["--proxy-protocol"]);
    refusal.expect(64, &["--proxy-protocol needs --trusted-proxy"]);
}
