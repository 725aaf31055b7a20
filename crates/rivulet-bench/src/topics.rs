//! Which topic each subscriber has.

use clap::ValueEnum;
use serde::Serialize;

/// How topics are spread over subscribers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Topics {
    /// A topic of its own for each subscriber: update `u` goes to subscriber `u mod n`.
    Own,
    /// One topic for all: each update goes to everyone.
    Shared,
}

impl Topics {
    /// The topic of a subscriber. The characters of these names need no encoding in a query or a form.
    pub(crate) fn of_subscriber(self, index: usize) -> String {
        match self {
            Topics::Own => format!("https://example.com/bench/{index}"),
            Topics::Shared => "https://example.com/bench/all".to_owned(),
        }
    }

    /// The topic that update number `update` is published to when there are `subscribers`.
    pub(crate) fn of_update(self, update: u32, subscribers: usize) -> String {
        self.of_subscriber(update as usize % subscribers.max(1))
    }

    /// How many of `updates` updates subscriber `index` of `subscribers` is to receive.
    pub(crate) fn expected(self, index: usize, updates: u32, subscribers: usize) -> u64 {
        match self {
            Topics::Own => {
                let (all, rest) =
                    (updates as usize / subscribers.max(1), updates as usize % subscribers.max(1));
                (all + usize::from(index < rest)) as u64
            }
            Topics::Shared => updates.into(),
        }
    }

    /// The phase that measures this.
    pub(crate) fn phase(self) -> &'static str {
        match self {
            Topics::Own => "own topic",
            Topics::Shared => "shared topic",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_update_is_expected_by_its_subscribers() {
        let check = |topics: Topics, updates: u32, subscribers: usize, deliveries: u64| {
            let sum: u64 = (0..subscribers).map(|i| topics.expected(i, updates, subscribers)).sum();
            assert_eq!(sum, deliveries, "{topics:?} {updates} {subscribers}");
        };
        check(Topics::Own, 7, 3, 7);
        check(Topics::Own, 2, 3, 2);
        check(Topics::Shared, 7, 3, 21);
    }

    #[test]
    fn an_update_goes_to_the_topic_of_its_subscriber() {
        assert_eq!(Topics::Own.of_update(7, 5), Topics::Own.of_subscriber(2));
        assert_eq!(Topics::Shared.of_update(7, 5), Topics::Shared.of_subscriber(0));
    }
}
