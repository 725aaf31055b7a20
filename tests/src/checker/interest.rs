//! What a subscriber asks for and what it may see, decided a second time here.

use crate::{
    tokens,
    wire::{Request, percent},
};

/// A selector of topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matcher {
    /// This topic.
    Exact(String),
    /// Every topic of one more segment below this prefix: the template `prefix/{id}`.
    Below(String),
    /// `*`.
    All,
}

impl Matcher {
    /// Whether it selects a topic.
    pub fn selects(&self, topic: &str) -> bool {
        match self {
            Self::Exact(own) => own == topic,
            Self::Below(prefix) => {
                let rest = topic.strip_prefix(prefix.as_str()).and_then(|rest| rest.strip_prefix('/'));
                rest.is_some_and(|rest| !rest.is_empty() && !rest.contains('/'))
            }
            Self::All => true,
        }
    }

    /// As it stands in a request.
    pub fn text(&self) -> String {
        match self {
            Self::Exact(topic) => topic.clone(),
            Self::Below(prefix) => format!("{prefix}/{{id}}"),
            Self::All => "*".to_owned(),
        }
    }
}

/// The matchers and grants of one subscriber.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interest {
    /// What it asks for.
    pub matchers: Vec<Matcher>,
    /// Of which topics it may see private updates.
    pub grants: Vec<Matcher>,
}

impl Interest {
    /// Whether the subscriber is to see an update.
    pub fn entitles(&self, topics: &[String], private: bool) -> bool {
        let any = |matchers: &[Matcher]| {
            topics.iter().any(|topic| matchers.iter().any(|matcher| matcher.selects(topic)))
        };
        any(&self.matchers) && (!private || any(&self.grants))
    }

    /// The topic through which a stream receives an update: the first that it asks for.
    pub fn route<'a>(&self, topics: &'a [String]) -> Option<&'a str> {
        let asked = |topic: &&String| self.matchers.iter().any(|matcher| matcher.selects(topic));
        topics.iter().find(asked).map(String::as_str)
    }

    /// Whether a list of lost topics, as a gap names them, speaks of any topic of this update.
    pub fn is_named(&self, lost: &[String], topics: &[String]) -> bool {
        let asked = self.matchers.iter().filter(|matcher| topics.iter().any(|topic| matcher.selects(topic)));
        lost.iter().any(|name| topics.contains(name))
            || asked.into_iter().any(|own| lost.contains(&own.text()))
    }

    /// Whether all these are topics or matchers of the subscriber, as a gap names them.
    pub fn asks_for(&self, names: &[String]) -> bool {
        let is_asked = |name: &String| {
            self.matchers.iter().any(|matcher| matcher.text() == *name || matcher.selects(name))
        };
        !names.is_empty() && names.iter().all(is_asked)
    }

    /// The request that opens the stream after an id.
    pub fn request(&self, after: Option<&str>) -> Request {
        let query: Vec<String> =
            self.matchers.iter().map(|matcher| format!("topic={}", percent(&matcher.text()))).collect();
        let mut request = Request::subscribe(&query.join("&"));
        if let Some(id) = after {
            request = request.header("Last-Event-ID", id);
        }
        if self.grants.is_empty() {
            return request;
        }
        let grants: Vec<String> = self.grants.iter().map(Matcher::text).collect();
        let grants: Vec<&str> = grants.iter().map(String::as_str).collect();
        request.bearer(&tokens::subscriber(&grants))
    }

    /// The matchers and grants in a few words.
    pub fn describe(&self) -> String {
        let list = |matchers: &[Matcher]| matchers.iter().map(Matcher::text).collect::<Vec<_>>().join(" ");
        if self.grants.is_empty() {
            return list(&self.matchers);
        }
        format!("{} (granted: {})", list(&self.matchers), list(&self.grants))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_entitled_to_what() {
        let below = Interest {
            matchers: vec![Matcher::Below("rooms".into())],
            grants: vec![Matcher::Exact("users/1".into())],
        };
        let topics = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert!(below.entitles(&topics(&["rooms/1"]), false));
        assert!(!below.entitles(&topics(&["rooms/1/2"]), false));
        assert!(!below.entitles(&topics(&["rooms/1"]), true), "not granted");
        assert!(below.entitles(&topics(&["rooms/1", "users/1"]), true), "granted by the other topic");
        assert!(!below.entitles(&topics(&["users/1"]), true), "not asked for");
        assert_eq!(below.route(&topics(&["users/1", "rooms/1"])), Some("rooms/1"));
        assert!(below.is_named(&topics(&["rooms/{id}"]), &topics(&["rooms/1"])));
        assert!(below.is_named(&topics(&["rooms/1"]), &topics(&["rooms/1"])));
        assert!(!below.is_named(&topics(&["rooms/2"]), &topics(&["rooms/1"])));
    }
}
