//! The guides, `docs/operations.md` and `docs/migration.md`: every command in them is run as it is printed, in the world of its
//! scenario (the first part of its name), and prints what the page says.

mod migration;
mod operations;
mod security;
mod world;

use std::collections::BTreeSet;

use rivulet_tests::{
    guide::{self, Kind},
    repository,
};
use world::VARIABLES;

/// Makes a test of each scenario, and the list of them that is compared with the page.
macro_rules! scenarios {
    ($list:ident, $page:literal: $($name:literal, $test:ident => $run:path;)*) => {
        const $list: (&str, &[&str]) = ($page, &[$($name),*]);
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                $run(world::World::of($page, $name)).await;
            }
        )*
    };
}

scenarios! { OPERATIONS, "docs/operations.md":
    "sizing", a_node_and_its_redis_are_measured_as_printed => operations::sizing;
    "redis", the_settings_of_redis_are_those_printed => operations::redis;
    "backup", a_restored_log_is_told_as_a_gap => operations::backup;
    "upgrade", a_node_drains_as_printed => operations::upgrade;
    "security", the_security_checklist_passes_on_the_printed_configuration => security::checklist;
    "trouble", each_symptom_is_looked_at_as_printed => operations::trouble;
}

scenarios! { MIGRATION, "docs/migration.md":
    "environment", the_environment_of_a_mercure_hub_starts_a_hub => migration::environment;
    "mistakes", what_is_not_understood_stops_the_start => migration::mistakes;
    "move", both_hubs_run_side_by_side_as_printed => migration::side_by_side;
}

#[test]
fn every_command_of_the_guides_belongs_to_a_scenario() {
    for (page, scenarios) in [OPERATIONS, MIGRATION] {
        let blocks = guide::page(page);
        for block in &blocks {
            let scenario = block.name.split('/').next().unwrap_or_default();
            let known = match block.kind {
                Kind::Test => block.name == VARIABLES || scenarios.contains(&scenario),
                Kind::Prints => {
                    blocks.iter().any(|other| other.kind == Kind::Test && other.name == block.name)
                }
                Kind::File => true,
            };
            assert!(known, "{page}: nothing runs {:?} {:?}", block.kind, block.name);
        }
    }
}

#[test]
fn links_between_the_pages_lead_somewhere() {
    for (page, _) in [OPERATIONS, MIGRATION] {
        let text = repository::text(page);
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let mut missing = BTreeSet::new();
        let here = |target: &&str| !target.contains("://");
        for target in targets.filter(here) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = match file.strip_prefix("../") {
                Some(above) => above.to_owned(),
                None if file.is_empty() => page.to_owned(),
                None => format!("docs/{file}"),
            };
            if !leads(&repository::text(&file), anchor) {
                missing.insert(target);
            }
        }
        assert!(missing.is_empty(), "{page}: {missing:?}");
    }
}

/// Whether a page has a heading, or a name, for an anchor.
fn leads(page: &str, anchor: &str) -> bool {
    let slug = |heading: &str| {
        let kept = heading.trim().to_lowercase();
        kept.replace(' ', "-").replace(|c: char| !c.is_alphanumeric() && c != '-' && c != '_', "")
    };
    anchor.is_empty()
        || page.contains(&format!("<a name=\"{anchor}\">"))
        || page.lines().any(|line| line.starts_with('#') && slug(line.trim_start_matches('#')) == anchor)
}
