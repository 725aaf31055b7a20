//! URL Patterns of dialect 1.0, first line, against topics, the other lines. The parser is another crate's.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rivulet_core::{Matcher, Topic};
use url::Url;

fuzz_target!(|text: &str| {
    let hub_url = Url::parse("https://hub.example/.well-known/mercure").expect("is a URL");
    let mut lines = text.lines();
    let Some(Ok(matcher)) = lines.next().map(|line| Matcher::url_pattern(line, &hub_url)) else { return };
    for topic in lines.flat_map(Topic::parse) {
        let selected = matcher.matches(&topic);
        assert_eq!(selected, matcher.matches(&topic), "the parsed topic is kept");
        assert!(!selected || matcher == Matcher::All || hub_url.join(topic.as_str()).is_ok());
    }
});
