//! A topic as a URL, for URL Patterns: parsed once for all the patterns that an update is held against.

use std::{cell::RefCell, sync::Arc};

use url::Url;

use crate::Topic;

/// A topic that was resolved against a hub's URL. `None` if it is no URL.
struct Resolved {
    topic: Topic,
    hub_url: Arc<Url>,
    url: Option<Url>,
}

thread_local! {
    /// The last one: an update is held against one pattern after the other, and parsing costs more than matching.
    static LAST: RefCell<Option<Resolved>> = const { RefCell::new(None) };
}

/// Answers what `check` says about the topic, resolved against the hub's URL; `false` if it is no URL. The last topic of
/// each thread is kept parsed.
pub(crate) fn check_resolved(topic: &Topic, hub_url: &Arc<Url>, check: impl FnOnce(&Url) -> bool) -> bool {
    LAST.with_borrow_mut(|last| {
        let known = last.take().filter(|known| {
            known.topic == *topic && (Arc::ptr_eq(&known.hub_url, hub_url) || known.hub_url == *hub_url)
        });
        let resolved = known.unwrap_or_else(|| Resolved {
            topic: topic.clone(),
            hub_url: Arc::clone(hub_url),
            url: hub_url.join(topic.as_str()).ok(),
        });
        let answer = resolved.url.as_ref().is_some_and(check);
        *last = Some(resolved);
        answer
    })
}
