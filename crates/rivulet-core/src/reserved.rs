//! The hub's own namespace, to which nobody may publish.

use std::borrow::Cow;

use url::Url;

use crate::Topic;

/// The topics under which the hub itself publishes (subscription events): the path of its URL and all paths below it,
/// whatever the scheme and the host, since a subscriber may have named the hub in any way.
#[derive(Clone, Debug)]
pub struct ReservedNamespace {
    hub_url: Url,
    /// The hub's path in the form that [`normalized`] gives it, without a slash at its end.
    path: String,
}

impl ReservedNamespace {
    /// The namespace of the hub at this URL.
    pub fn new(hub_url: &Url) -> Self {
        let path = normalized(hub_url.path());
        let path = if path.len() > 1 { path.trim_end_matches('/') } else { &*path };
        Self { path: path.to_owned(), hub_url: hub_url.clone() }
    }

    /// Whether a topic lies in it. The topic is resolved against the hub's URL as browsers do (so `mercure`,
    /// `..\.well-known/mercure` and `//other.example/.well-known/x/%2e%2E/mercure?q#f` lie in it), and then `%XX` that
    /// encodes an unreserved character is the same as that character. A topic that is no URL does not lie in it.
    pub fn contains(&self, topic: &Topic) -> bool {
        let Ok(url) = self.hub_url.join(topic.as_str()) else { return false };
        let path = normalized(url.path());
        path.strip_prefix(&*self.path).is_some_and(|below| below.is_empty() || below.starts_with('/'))
    }
}

/// The path with each `%XX` decoded that encodes an unreserved character (RFC 3986, 2.3 and 6.2.2.2). Once only: `%2577`
/// is not `w`, neither here nor to anyone who resolves the topic. Dot segments are gone by then, encoded ones too: the
/// WHATWG parser takes `%2e` for a dot.
fn normalized(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, behind)) = rest.split_once('%') {
        out.push_str(before);
        let byte = behind.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte.map(char::from) {
            Some(c) if c.is_ascii_alphanumeric() || "-._~".contains(c) => {
                out.push(c);
                rest = &behind[2..];
            }
            _ => {
                out.push('%');
                rest = behind;
            }
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn namespace() -> ReservedNamespace {
        ReservedNamespace::new(&Url::parse("https://hub.example/.well-known/mercure").unwrap())
    }

    fn check(topic: &str, expected: bool) {
        assert_eq!(namespace().contains(&Topic::parse(topic).unwrap()), expected, "{topic:?}");
    }

    #[test]
    fn the_hubs_path_and_everything_below_it_is_reserved_on_any_host() {
        for topic in [
            "/.well-known/mercure",
            "/.well-known/mercure/",
            "/.well-known/mercure/subscriptions/x/urn:uuid:1",
            "https://hub.example/.well-known/mercure",
            "https://hub.example:8443/.well-known/mercure/subscriptions",
            "http://other.example/.well-known/mercure/a",
            "HTTPS://user:password@hub.example/.well-known/mercure?q#f",
            "ftp://hub.example/.well-known/mercure",
            "foo://hub.example/.well-known/mercure",
            "foo:/.well-known/mercure",
            "//other.example/.well-known/mercure",
        ] {
            check(topic, true);
        }
    }

    #[test]
    fn relative_topics_are_resolved_against_the_hub() {
        for topic in
            ["mercure", "mercure/a", "./mercure", "../.well-known/mercure", "?q", "#f", "https:mercure"]
        {
            check(topic, true);
        }
    }

    #[test]
    fn disguises_of_the_path_are_seen_through() {
        for topic in [
            "/x/../.well-known/mercure",
            "/x/%2e%2e/.well-known/mercure",
            "/x/.%2E/.well-known/mercure/a",
            "/x/%2E./.well-known/mercure",
            "/./.well-known/%2e/mercure",
            "/.well-known/mercure/a/../../mercure",
            "/../../.well-known/mercure",
            "\\.well-known\\mercure",
            "https:\\\\other.example\\.well-known\\mercure",
            "https://other.example/x\\..\\.well-known/mercure",
            "/%2ewell-known/mercure",
            "/.%77ell%2Dknown/%6D%65%72%63%75%72%65/subscriptions",
            "foo://h/x/%2e%2e/.well-known/mercure",
            " /.well-known/mercure ",
        ] {
            check(topic, true);
        }
    }

    #[test]
    fn other_topics_are_free() {
        for topic in [
            "https://hub.example/",
            "https://hub.example/.well-known/mercury",
            "https://hub.example/.well-known/mercure2",
            "https://hub.example/.well-known/mercure-x/a",
            "https://hub.example/a/.well-known/mercure",
            "https://hub.example/.well-known",
            "https://hub.example/?x=/.well-known/mercure",
            "https://hub.example/#/.well-known/mercure",
            // Decoded once only, and a reserved character stays what it is.
            "/%252ewell-known/mercure",
            "/.well-known%2Fmercure",
            "/.well-known/mercure%2Fa",
            "/.WELL-KNOWN/MERCURE",
            "/.well-known//mercure",
            // Opaque paths and what is no URL.
            "urn:.well-known/mercure",
            "data:/../.well-known%2fmercure",
            "https://[/.well-known/mercure",
            "books",
            "%",
            "/%7",
            "/%é0",
        ] {
            check(topic, false);
        }
    }

    #[test]
    fn a_slash_at_the_end_of_the_hubs_own_path_does_not_count() {
        let namespace = ReservedNamespace::new(&Url::parse("https://hub.example/%68ub/").unwrap());
        for (topic, expected) in [("/hub", true), ("/hub/", true), ("/h%75b/a", true), ("/hubs", false)] {
            assert_eq!(namespace.contains(&Topic::parse(topic).unwrap()), expected, "{topic:?}");
        }
    }

    /// Ways to write one character of a path that every URL parser must take for that character.
    fn disguised(c: char) -> BoxedStrategy<String> {
        let lower = format!("%{:02x}", u32::from(c));
        match c {
            '/' => prop_oneof![
                Just("/".to_owned()),
                Just("/./".into()),
                Just("/x/%2E./".into()),
                Just("\\".into())
            ]
            .boxed(),
            _ => prop_oneof![Just(c.to_string()), Just(lower.to_uppercase()), Just(lower)].boxed(),
        }
    }

    proptest! {
        #[test]
        fn no_disguise_helps(
            path in "/.well-known/mercure/subscriptions/a".chars().map(disguised).collect::<Vec<_>>(),
            origin in "(https?://[a-z]{1,9}(:[1-9][0-9]{0,3})?)?",
        ) {
            let text = origin + &path.concat();
            prop_assert!(namespace().contains(&Topic::parse(&text).unwrap()), "{text:?}");
        }

        #[test]
        fn any_topic_is_judged_without_panic(text in "[/.%\\\\:?#a-f0-9é-]{1,60}") {
            namespace().contains(&Topic::parse(&text).unwrap());
        }
    }
}
