//! What a guide's commands run in: a directory, and the addresses of this test's processes in place of those printed.
//!
//! Replaced are, wherever they stand: `:3000` and `:9180` (a node), `:3001` and `:9181` (a second one), `:6379` (Redis),
//! `:6390` (another Redis), `4711` (the node's process), `/etc/rivulet` and `/var/lib/redis` (directories). `rivulet` is the
//! program under test. Each command begins with the page's `variables`.

use std::{collections::BTreeSet, net::SocketAddr, path::Path, process::Stdio};

use rivulet_tests::{
    Hub,
    guide::{self, Block, Kind},
    hub, port, tokens,
};
use tempfile::TempDir;

/// The name of the block that each command begins with.
pub(crate) const VARIABLES: &str = "variables";

/// One scenario of a page, which runs all of its blocks: those whose names begin with its own.
pub(crate) struct World {
    blocks: Vec<Block>,
    scenario: &'static str,
    dir: TempDir,
    replaced: Vec<(&'static str, String)>,
    environment: Vec<(&'static str, String)>,
    waiting: BTreeSet<String>,
}

impl World {
    pub(crate) fn of(page: &str, scenario: &'static str) -> Self {
        let blocks = guide::page(page);
        let own = |block: &&Block| block.kind == Kind::Test && block.name.split('/').next() == Some(scenario);
        let waiting: BTreeSet<String> = blocks.iter().filter(own).map(|block| block.name.clone()).collect();
        assert!(!waiting.is_empty(), "{page} has no blocks of {scenario:?}");
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| dir.path().join(name);
        for (name, key) in
            [("publisher.key", tokens::PUBLISHER_KEY), ("subscriber.key", tokens::SUBSCRIBER_KEY)]
        {
            std::fs::write(path(name), key).expect("a temporary directory");
        }
        let replaced = vec![("/etc/rivulet", dir.path().display().to_string())];
        Self { blocks, scenario, dir, replaced, environment: Vec::new(), waiting }
    }

    /// Where the commands run.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Takes this node for the one that is printed.
    pub(crate) fn node(&mut self, hub: &Hub) {
        self.replace(":3000", format!(":{}", hub.address().port()));
        self.replace(":9180", format!(":{}", hub.admin().port()));
        self.replace("4711", hub.pid().to_string());
    }

    /// Takes this node for the second one.
    pub(crate) fn second(&mut self, hub: &Hub) {
        self.replace(":3001", format!(":{}", hub.address().port()));
        self.replace(":9181", format!(":{}", hub.admin().port()));
    }

    /// Takes this Redis for the one that is printed.
    pub(crate) fn redis(&mut self, address: SocketAddr) {
        self.replace(":6379", format!(":{}", address.port()));
    }

    /// Takes a port that nobody uses for the one that is printed.
    pub(crate) fn free(&mut self, printed: &'static str) -> SocketAddr {
        let address = port::free();
        self.replace(printed, format!(":{}", address.port()));
        address
    }

    pub(crate) fn replace(&mut self, printed: &'static str, real: impl Into<String>) {
        self.replaced.push((printed, real.into()));
    }

    pub(crate) fn set(&mut self, variable: &'static str, value: impl Into<String>) {
        self.environment.push((variable, value.into()));
    }

    /// A file of the page, written into the directory; answers its path.
    pub(crate) fn file(&self, name: &str) -> String {
        let path = self.dir().join(name);
        std::fs::write(&path, self.text(Kind::File, name)).expect("a temporary directory");
        path.display().to_string()
    }

    /// A block with this world's addresses.
    pub(crate) fn text(&self, kind: Kind, name: &str) -> String {
        self.rewritten(&self.block(kind, name).unwrap_or_else(|| panic!("no {kind:?} {name:?}")).text)
    }

    /// Runs a command to its end; answers both of its outputs, which hold what the page says.
    pub(crate) async fn run(&mut self, step: &str) -> String {
        let name = format!("{}/{step}", self.scenario);
        let script = self.script(&name);
        let output = self
            .shell("timeout")
            .args(["30", "bash", "-c", &script])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .expect("bash runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let block = self.block(Kind::Test, &name).expect("it was found before");
        assert_eq!(output.status.code(), Some(block.exit), "{name}\n{script}\n{said}");
        if let Some(expected) = self.block(Kind::Prints, &name) {
            let printed = guide::prints(&self.rewritten(&expected.text), &said);
            printed.unwrap_or_else(|error| panic!("{name}: {error}\n{script}\n{said}"));
        }
        said
    }

    /// Starts a command that goes on: its last line is the program.
    pub(crate) fn start(&mut self, step: &str) -> tokio::process::Child {
        let name = format!("{}/{step}", self.scenario);
        let script = self.script(&name).replace("\nrivulet", "\nexec rivulet");
        self.shell("bash").args(["-c", &script]).kill_on_drop(true).spawn().expect("bash runs")
    }

    fn script(&mut self, name: &str) -> String {
        assert!(self.waiting.remove(name), "{name} is not on the page, or runs twice");
        let variables = self.text(Kind::Test, VARIABLES);
        format!("set -eu\nexec 2>&1\n{variables}\n{}", self.text(Kind::Test, name))
    }

    fn shell(&self, program: &str) -> tokio::process::Command {
        let mut command = tokio::process::Command::from(hub::command_of(Path::new(program)));
        let own = hub::binary().parent().expect("a file lies in a directory").display().to_string();
        let path = format!("{own}:{}", std::env::var("PATH").unwrap_or_default());
        command.env("PATH", path).current_dir(self.dir());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn block(&self, kind: Kind, name: &str) -> Option<&Block> {
        self.blocks.iter().find(|block| block.kind == kind && block.name == name)
    }

    fn rewritten(&self, text: &str) -> String {
        let rewrite = |text: String, (printed, real): &(&'static str, String)| text.replace(printed, real);
        self.replaced.iter().fold(text.to_owned(), rewrite)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.waiting.is_empty(), "{} did not run {:?}", self.scenario, self.waiting);
        }
    }
}
