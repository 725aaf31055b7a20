//! URL Patterns: what the standard says they match, what is refused, and that parsing and matching end.

use proptest::prelude::*;
use rivulet_core::{
    Matcher, MatcherError, Topic,
    url_pattern::{GROUPS_MAX, PatternError, UrlPattern},
};
use url::Url;

fn hub_url() -> Url {
    Url::parse("https://hub.example/.well-known/mercure").expect("is a URL")
}

fn check(pattern: &str, topics: &[&str], others: &[&str]) {
    let compiled = UrlPattern::parse(pattern, &hub_url()).expect("is a pattern");
    let matches = |topic: &&str| compiled.matches(&Topic::parse(topic).expect("is a topic"));
    for topic in topics {
        assert!(matches(topic), "{pattern} {topic}");
    }
    for topic in others {
        assert!(!matches(topic), "{pattern} {topic}");
    }
}

#[test]
fn a_name_is_a_segment_and_an_asterisk_is_everything() {
    check(
        "https://example.com/books/:id",
        &[
            "https://example.com/books/1",
            "https://EXAMPLE.com:443/books/a.b",
            "https://example.com/books/1?q#f",
        ],
        &[
            "https://example.com/books/",
            "https://example.com/books/1/2",
            "http://example.com/books/1",
            "https://example.com:8443/books/1",
            "https://example.org/books/1",
            "/books/1",
        ],
    );
    check(
        "https://example.com/books/:id/reviews/:review",
        &["https://example.com/books/1/reviews/2"],
        &["https://example.com/books/1/reviews/", "https://example.com/books/1/x/reviews/2"],
    );
    check(
        "https://example.com/*",
        &["https://example.com/", "https://example.com/a/b"],
        &["https://example.org/a"],
    );
    check(
        "https://*.example.com/",
        &["https://a.example.com/", "https://a.b.example.com"],
        &["https://example.com/"],
    );
    check("*://example.com/a", &["https://example.com/a", "ftp://example.com/a"], &["https://example.com/b"]);
}

#[test]
fn relative_patterns_and_topics_are_resolved_against_the_hub() {
    check(
        "/books/:id",
        &[
            "/books/1",
            "https://hub.example/books/1",
            "//hub.example/books/1",
            "../books/1",
            "/x/%2e%2E/books/1",
        ],
        &["books/1", "https://example.com/books/1", "http://hub.example/books/1"],
    );
    check("subscriptions/*", &["subscriptions/1", "/.well-known/subscriptions/1"], &["/subscriptions/1"]);
    check("?page=:n", &["/.well-known/mercure?page=2", "?page=2"], &["/?page=2", "?size=2"]);
    check("https://example.com/books/*", &["https:\\\\example.com\\books\\1"], &["books/1"]);
}

#[test]
fn groups_expressions_and_modifiers_are_understood() {
    check("/books{/:id}?", &["/books", "/books/1"], &["/books/", "/books/1/2"]);
    check("/books/:id+", &["/books/1", "/books/1/2"], &["/books/"]);
    check("/books/:id*", &["/books", "/books/1/2"], &["/book"]);
    check("/books/(\\d+)", &["/books/12"], &["/books/1a", "/books/"]);
    check("/books/:id(\\p{L}+)", &["/books/abc"], &["/books/12"]);
    check("/(a|b)", &["/a", "/b"], &["/c", "/ab"]);
    check("/caf\u{e9}/*", &["/caf\u{e9}/1", "/caf%C3%A9/1"], &["/cafe/1"]);
    check("https://[\\:\\:1]/*", &["https://[::1]/a"], &["https://[::2]/a"]);
    check("https://(.*).example.(com|org)/a", &["https://x.example.org/a"], &["https://x.example.net/a"]);
}

#[test]
fn a_topic_that_is_no_url_does_not_match() {
    check("https://*", &[], &["https://[", "https://a b/", "http://:80"]);
}

#[test]
fn a_topic_is_resolved_for_each_hub() {
    let pattern = |hub: &str| UrlPattern::parse("/books/*", &Url::parse(hub).unwrap()).unwrap();
    let (one, other) = (pattern("https://one.example/hub"), pattern("https://other.example/hub"));
    let topic = Topic::parse("https://one.example/books/1").unwrap();
    let relative = Topic::parse("/books/1").unwrap();
    for _ in 0..2 {
        assert!(one.matches(&topic) && !other.matches(&topic));
        assert!(one.matches(&relative) && other.matches(&relative));
    }
}

#[test]
fn what_cannot_be_matched_in_linear_time_or_little_memory_is_refused() {
    let check = |pattern: &str, expected: PatternError| {
        assert_eq!(UrlPattern::parse(pattern, &hub_url()).unwrap_err(), expected, "{pattern}");
    };
    check("/a/(b{2}\\1)", PatternError::Regex { component: "pathname" });
    check("/a/([)/b", PatternError::Regex { component: "pathname" });
    check("https://(\\w{99}\\pL{99}\\pL{999}).x/a", PatternError::TooComplex { component: "hostname" });
    check("/?(.{99999})", PatternError::TooComplex { component: "search" });
    check(&"/*".repeat(GROUPS_MAX + 1), PatternError::TooManyGroups(GROUPS_MAX + 1));
    check("https://a]b/", PatternError::Bracket);
    for pattern in
        ["/a/(b", "/a/{b", "/a/:b/:b", "/a/((b))", "https://exa mple/a", "https://example.com:99999/"]
    {
        let refused = Matcher::url_pattern(pattern, &hub_url());
        assert!(
            matches!(refused, Err(MatcherError::Pattern(PatternError::Syntax(_)))),
            "{pattern} {refused:?}"
        );
    }
}

#[test]
fn nested_repetition_takes_linear_time() {
    let pattern = UrlPattern::parse("/((?:(?:a*)*)*)b", &hub_url()).unwrap();
    // An engine that backtracks would not come back.
    assert!(!pattern.matches(&Topic::parse(&format!("/{}c", "a".repeat(4000))).unwrap()));
}

proptest! {
    #[test]
    fn a_pattern_without_special_characters_matches_the_same_url(path in "(/[a-z0-9._~!$&',;=@-]{1,8}){1,4}") {
        let pattern = UrlPattern::parse(&format!("https://example.com{path}"), &hub_url()).unwrap();
        let [same, below] = ["", "/x"].map(|end| Topic::parse(&format!("https://example.com{path}{end}")).unwrap());
        prop_assert!(pattern.matches(&same));
        prop_assert!(!pattern.matches(&below));
    }

    #[test]
    fn each_part_matches_as_the_parsers_own_matching_says(
        pattern in "(https://[a-z:*.]{1,6})?(/[a-z0-9:*{}?+()|\\[\\]]{0,6}){1,3}(\\?[a-z:*=]{0,5})?",
        topic in "(https://[a-z.]{1,6})?(/[a-z0-9]{0,4}){1,3}(\\?[a-z=]{0,4})?",
    ) {
        let Ok(ours) = UrlPattern::parse(&pattern, &hub_url()) else { return Ok(()) };
        let init = urlpattern::UrlPatternInit::parse_constructor_string::<regex::Regex>(&pattern, Some(hub_url()));
        let theirs = <urlpattern::UrlPattern>::parse(init.unwrap(), Default::default()).unwrap();
        let url = hub_url().join(&topic);
        let expected = url.is_ok_and(|url| theirs.test(urlpattern::UrlPatternMatchInput::Url(url)).unwrap());
        prop_assert_eq!(ours.matches(&Topic::parse(&topic).unwrap()), expected);
    }

    #[test]
    fn any_text_is_judged_without_panic(
        pattern in "(https?:|data:|\\*:)?(//)?[a-b/:*{}()?+\\\\\\[\\]@#.%é|0-9 -]{0,40}",
        topic in "(https://)?[ab/:?#%.\\[\\]@é]{1,20}",
    ) {
        if let Ok(pattern) = UrlPattern::parse(&pattern, &hub_url()) {
            pattern.matches(&Topic::parse(&topic).unwrap());
        }
    }
}
