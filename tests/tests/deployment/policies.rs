//! What every combination of the manifests must keep to, beyond what schemas can say: a policy is a function from what was
//! rendered to what is wrong with it. `broken` shows each of them finding something.

mod broken;
mod network;
mod pods;
mod reach;
mod routes;
mod scaling;
mod selectors;

use super::manifests::{matrix::all, rendered::Rendered, schemas::mistakes};

/// What is wrong with a combination, one sentence each.
type Policy = fn(&Rendered) -> Vec<String>;

/// All of them.
const POLICIES: [Policy; 16] = [
    selectors::names_are_unique,
    selectors::selectors_match_pods,
    selectors::service_ports_have_targets,
    selectors::what_is_mounted_is_there,
    pods::images_are_pinned,
    pods::pods_are_restricted,
    pods::containers_are_bounded,
    pods::long_runners_are_probed,
    pods::the_hub_is_probed_by_what_it_says,
    pods::a_drain_has_its_time,
    pods::a_rollout_is_gentle,
    network::every_port_has_its_policy,
    network::the_admin_port_is_private,
    reach::who_needs_somebody_reaches_them,
    scaling::one_scales_by_a_metric_that_there_is,
    routes::streams_live_and_publishes_are_not_repeated,
];

/// What all policies find.
fn violations(rendered: &Rendered) -> Vec<String> {
    POLICIES.iter().flat_map(|policy| policy(rendered)).collect()
}

/// One test, since to render everything is what takes the time.
#[test]
fn every_combination_is_valid_for_all_that_reads_it_and_keeps_to_every_policy() {
    let all = all();
    assert!(all.len() > 40, "{}", all.len());
    let mut found = mistakes(&all);
    for rendered in &all {
        found.extend(
            violations(rendered).into_iter().map(|violation| format!("{}: {violation}", rendered.name)),
        );
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
