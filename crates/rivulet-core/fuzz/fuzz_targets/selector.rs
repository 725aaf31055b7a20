//! Selectors of dialect 0.x, first line, against topics, the other lines.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rivulet_core::{Matcher, Topic};

fuzz_target!(|text: &str| {
    let mut lines = text.lines();
    let Some(Ok(matcher)) = lines.next().map(Matcher::selector) else { return };
    if let Ok(topic) = Topic::parse(matcher.text()) {
        assert!(matcher.matches(&topic), "a selector matches the same text");
    }
    for topic in lines.flat_map(Topic::parse) {
        let selected = matcher.matches(&topic);
        if let Matcher::Exact(exact) = &matcher {
            assert_eq!(selected, exact.as_str() == topic.as_str());
        }
    }
});
