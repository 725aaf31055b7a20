//! What a token allows.

use crate::{Matcher, Topic};

/// What a verified token allows its bearer to publish to and to receive. Empty for anonymous subscribers.
#[derive(Clone, Debug, Default)]
pub struct Grants {
    /// Topics that the bearer may publish to.
    pub publish: Vec<Matcher>,
    /// Topics whose private updates the bearer may receive.
    pub subscribe: Vec<Matcher>,
}

impl Grants {
    /// Whether an update on these topics may be published: **every** topic must be granted. No topics, no right.
    pub fn may_publish(&self, topics: &[Topic]) -> bool {
        !topics.is_empty() && topics.iter().all(|topic| self.publish.iter().any(|grant| grant.matches(topic)))
    }

    /// Whether a private update on these topics may be delivered, see [`may_receive`].
    pub fn may_receive(&self, topics: &[Topic]) -> bool {
        may_receive(&self.subscribe, topics)
    }
}

/// Whether a private update on these topics may be delivered to who holds these grants: one for **any** topic is enough.
pub fn may_receive(grants: &[Matcher], topics: &[Topic]) -> bool {
    grants.iter().any(|grant| grant.matches_any(topics))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topics(texts: &[&str]) -> Vec<Topic> {
        texts.iter().map(|text| Topic::parse(text).unwrap()).collect()
    }

    fn grants(selectors: &[&str]) -> Grants {
        let matchers: Vec<_> = selectors.iter().map(|text| Matcher::selector(text).unwrap()).collect();
        Grants { publish: matchers.clone(), subscribe: matchers }
    }

    #[test]
    fn publishing_needs_a_grant_for_every_topic() {
        let check = |selectors: &[&str], texts: &[&str], expected| {
            assert_eq!(grants(selectors).may_publish(&topics(texts)), expected, "{selectors:?} {texts:?}");
        };
        check(&["*"], &["a", "b"], true);
        check(&["a", "b{x}"], &["a", "b1"], true);
        check(&["a"], &["a", "b"], false);
        check(&["a"], &["b", "a"], false);
        check(&[], &["a"], false);
        check(&["*"], &[], false);
    }

    #[test]
    fn receiving_needs_a_grant_for_one_topic() {
        let check = |selectors: &[&str], texts: &[&str], expected| {
            assert_eq!(grants(selectors).may_receive(&topics(texts)), expected, "{selectors:?} {texts:?}");
        };
        check(&["b"], &["a", "b"], true);
        check(&["c"], &["a", "b"], false);
        check(&[], &["a"], false);
        check(&["*"], &["a"], true);
    }

    #[test]
    fn nobody_may_do_anything_by_default() {
        assert!(!Grants::default().may_publish(&topics(&["a"])));
        assert!(!Grants::default().may_receive(&topics(&["a"])));
    }
}
