//! Topics, ids and types from publishers: what is accepted keeps the rules, and comes back as it was sent.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rivulet_core::{
    EventId, EventType, LastEventId, Matcher, Partitions, ReservedNamespace, Topic, text::forbidden_char,
};
use url::Url;

fuzz_target!(|text: &str| {
    if let Ok(topic) = Topic::parse(text) {
        assert_eq!(topic.as_str(), text);
        assert_eq!(forbidden_char(text), None);
        assert!(Matcher::exact(text).is_ok_and(|matcher| matcher.matches(&topic)));
        let hub_url = Url::parse("https://hub.example/.well-known/mercure").expect("is a URL");
        let reserved = ReservedNamespace::new(&hub_url);
        let resolved = hub_url.join(text).is_ok_and(|url| url.path().starts_with("/.well-known/mercure/"));
        assert!(reserved.contains(&topic) || !resolved);
    }
    if let Ok(id) = EventId::parse(text) {
        assert_eq!(LastEventId::parse(text, Partitions::ONE), LastEventId::Publisher(id));
    }
    if EventType::parse(text).is_ok() {
        assert!(!text.contains(['\r', '\n', '\0']));
    }
});
