//! The contract of a transport as a suite of tests: one function per rule of [`crate::transport`], to be run on every
//! implementation by [`contract_tests`](crate::contract_tests). A rule that is broken panics and says which.
//!
//! A rule asks for a new, empty hub and gets its nodes: one, or several that share a log. It uses the first and the
//! last, so that with several nodes it speaks of two. The hub may have any number of partitions: rules that compare the
//! positions of several topics take such as stand in one.

mod feed_rules;
mod key_rules;
mod limit_rules;
mod log_rules;
mod probe;
mod retention_rules;

use std::{sync::Arc, time::Duration};

pub use self::{feed_rules::*, key_rules::*, limit_rules::*, log_rules::*, retention_rules::*};
use crate::{Feed, Transport};

/// One node of a hub.
pub struct Member {
    /// What the node calls.
    pub transport: Arc<dyn Transport>,
    /// What arrives there.
    pub feed: Feed,
}

/// What a hub is asked to keep. An implementation may keep a little more.
#[derive(Clone, Copy, Debug)]
pub struct Kept {
    /// For how long an update is kept.
    pub age: Duration,
    /// How many updates of one topic are kept.
    pub count: usize,
}

impl Kept {
    /// More than any rule appends.
    pub const ALL: Kept = Kept { age: Duration::from_secs(3600), count: 100_000 };
}

/// Where the suite gets its hubs from.
#[async_trait::async_trait]
pub trait Hub: Send + Sync {
    /// A new, empty hub with at least one node.
    async fn start(&self, kept: Kept) -> Vec<Member>;

    /// Breaks the feeds of the hub's nodes, as a network does. Nothing is done where there is nothing to break.
    async fn break_feeds(&self);
}

/// Defines a test per rule of the contract, on the hub that the expression makes; with `together`, one test of all
/// rules, on one hub whose making may be awaited.
#[macro_export]
macro_rules! contract_tests {
    (together $hub:expr) => {
        $crate::contract_tests! { @rules together $hub }
    };
    ($hub:expr) => {
        $crate::contract_tests! { @rules each $hub }
    };
    (@rules $how:ident $hub:expr) => {
        $crate::contract_tests! { @$how $hub =>
            positions_increase_in_the_order_of_acknowledgement
            concurrent_appends_all_get_positions_of_their_own
            what_was_appended_is_read_back_on_every_node
            an_update_of_several_topics_is_read_once
            pages_end_where_they_say_and_lead_to_the_next
            pages_are_bounded_in_bytes
            matchers_read_what_they_select
            an_id_leads_to_its_earliest_update
            the_end_of_the_log_is_later_than_what_was_read
            the_feed_has_every_update_once_and_in_order
            what_follows_a_confirmation_arrives
            an_update_of_several_topics_arrives_once
            who_wants_all_gets_all
            who_wants_all_is_told_where_each_partition_begins
            an_update_of_two_partitions_stands_in_both
            an_interest_lasts_until_its_last_holder_releases_it
            verified_positions_never_overtake_updates
            a_feed_that_is_not_taken_loses_nothing
            a_feed_that_breaks_loses_nothing
            a_count_discards_the_oldest_and_pages_say_so
            an_age_discards_the_oldest_and_pages_say_so
            a_position_ahead_of_the_clock_is_not_of_the_log
            nothing_is_known_from_before_the_hub
            a_repeat_with_the_same_key_is_not_appended_again
            repeats_that_overlap_are_appended_once
            a_key_serves_one_update_only
            a_quota_is_reached_and_never_exceeded
            places_come_back_when_connections_end
            who_leaves_before_the_answer_holds_nothing
            a_refusal_takes_no_place
            scopes_may_be_any_text
            connections_without_limits_are_counted
            a_rate_lets_a_burst_through_and_then_paces
            a_subject_publishes_at_its_rate
            each_topic_of_an_update_has_its_rate
            a_repeat_is_not_charged
            a_kick_reaches_every_node
        }
    };
    (@each $hub:expr => $($rule:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $rule() {
                $crate::contract::$rule(&$hub).await;
            }
        )*
    };
    (@together $hub:expr => $($rule:ident)*) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn all_rules_hold() {
            let hub = $hub;
            $(
                println!("{}", stringify!($rule));
                $crate::contract::$rule(&hub).await;
            )*
        }
    };
}
