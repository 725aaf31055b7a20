//! The image's root file system, and a process in it as a container engine would start it: read-only, under the user of the
//! image, without capabilities, the first of its process namespace. No container engine is needed; root is.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output},
};

use rivulet_tests::{PATIENCE, deadline::eventually_blocking, hub, metrics, process::Process, repository};
use tempfile::TempDir;

/// What the Dockerfile says.
pub(crate) fn dockerfile() -> String {
    repository::text("crates/rivulet/Dockerfile")
}

/// What its last stage says after an instruction: each line that begins with it.
pub(crate) fn instructions(name: &str) -> Vec<String> {
    let text = dockerfile().replace("\\\n", " ");
    let (_, last) = text.rsplit_once("\nFROM ").expect("there are stages");
    let start = format!("{name} ");
    last.lines().filter_map(|line| line.strip_prefix(&start)).map(str::to_owned).collect()
}

/// A root file system that the image's script has made.
pub(crate) struct Root {
    dir: TempDir,
}

impl Root {
    /// Of the hub under test.
    pub(crate) fn new() -> Self {
        Self::of(&hub::binary())
    }

    /// Of any program.
    pub(crate) fn of(binary: &Path) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        // The user of the image has to be able to go in.
        let modes = Command::new("chmod").arg("755").arg(dir.path()).status().expect("chmod can be started");
        assert!(modes.success());
        let root = Self { dir };
        let script = repository::root().join("crates/rivulet/image/rootfs.sh");
        let made = Command::new("sh").arg(script).arg(binary).arg(root.path()).output().expect("a shell");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        root
    }

    /// Its directory.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("rootfs")
    }

    /// What the engine puts into every container.
    pub(crate) fn names(&self, hosts: &str, resolv_conf: &str) {
        for (name, text) in [("hosts", hosts), ("resolv.conf", resolv_conf)] {
            std::fs::write(self.path().join("etc").join(name), text).expect("a root of our own");
        }
    }
}

/// Whose network the container has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// This machine's.
    Host,
    /// One of its own, with loopback only.
    Own,
}

/// In the namespaces: mounts what the runtime specification has mounted (/dev/shm is where heap profiles are made if nothing
/// else can be written to), makes the root read-only, and the process the image's. It may go into the root and become
/// somebody else; when it has, nothing is left.
pub(crate) const ENTER: &str = r#"set -eu
root=$1
network=$2
shift 2
if [ "$network" = Own ]; then ip link set lo up; fi
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 dev "$root/dev"
mkdir "$root/dev/shm"
mount -t tmpfs -o mode=1777,nosuid,nodev,noexec,size=64m shm "$root/dev/shm"
mount -o remount,bind,ro "$root"
exec setpriv --no-new-privs --inh-caps=-all --bounding-set=-all,+sys_chroot,+setuid,+setgid \
    chroot --userspec=65532:65532 --groups= "$root" "$@"
"#;

/// A container that runs the image's entry point.
pub(crate) struct Container {
    process: Process,
    pid: u32,
    log: PathBuf,
}

impl Container {
    /// Starts it with the image's environment and this one above it.
    pub(crate) fn start(
        root: &Root,
        network: Network,
        environment: &[(&str, &str)],
        arguments: &[&str],
    ) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child"]);
        if network == Network::Own {
            command.arg("--net");
        }
        let entry = entry_point();
        command.args(["sh", "-c", ENTER, "enter"]).arg(root.path()).arg(format!("{network:?}"));
        command.args(&entry).args(arguments);
        command.env_clear().env("PATH", std::env::var_os("PATH").expect("a path"));
        command.envs(image_environment()).envs(environment.iter().copied());
        let log = root.dir.path().join("log");
        let mut process = Process::start(&mut command, &log);
        let parent = process.id();
        let pid = eventually_blocking(PATIENCE, || {
            if let Some(status) = process.status() {
                return Err(format!("it ended: {status}"));
            }
            entered(parent)
        });
        let pid = pid.unwrap_or_else(|error| {
            panic!("the hub in the container: {error}\n{}", std::fs::read_to_string(&log).unwrap_or_default())
        });
        Self { process, pid, log }
    }

    /// What it has said so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Runs a command in it, as `docker exec` does.
    pub(crate) fn exec(&self, arguments: &[&str]) -> Output {
        let pid = self.pid.to_string();
        let mut command = Command::new("timeout");
        command.args(["20", "nsenter", "--target", &pid, "--mount", "--pid", "--net", "--root", "--wd"]);
        command.args(["--setuid", "65532", "--setgid", "65532", "--"]).args(arguments);
        command.env_clear().env("PATH", std::env::var_os("PATH").expect("a path")).envs(image_environment());
        command.output().expect("nsenter can be started")
    }

    /// Waits until the hub says that it is ready.
    pub(crate) fn ready(&self, admin: SocketAddr) {
        let ready = eventually_blocking(PATIENCE, || match metrics::get(admin, "/ready") {
            Ok((200, _)) => Ok(()),
            other => Err(format!("{other:?}")),
        });
        ready.unwrap_or_else(|error| panic!("{error}\n{}", self.log()));
    }

    /// What the kernel says about the process: a file below `/proc/<pid>`.
    pub(crate) fn kernel(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.pid)).expect("the hub runs")
    }

    /// Sends SIGTERM to the hub and waits for its end.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        let sent = Command::new("kill").args(["-TERM", &self.pid.to_string()]).status().expect("kill");
        assert!(sent.success());
        let ended = self.process.wait(PATIENCE);
        ended.unwrap_or_else(|error| panic!("after SIGTERM: {error}\n{}", self.log()))
    }
}

/// The hub's process, when it has become the image's: until then it is the shell that makes it so.
fn entered(parent: u32) -> Result<u32, String> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
    let children = children.map_err(|error| error.to_string())?;
    let pid: u32 = children.trim().parse().map_err(|_| format!("its children are {children:?}"))?;
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).map_err(|error| error.to_string())?;
    if name.trim() == "rivulet" { Ok(pid) } else { Err(format!("it is still {name:?}")) }
}

/// The program and its arguments.
fn entry_point() -> Vec<String> {
    let entry = instructions("ENTRYPOINT").pop().expect("the image has an entry point");
    serde_json::from_str(&entry).expect("in the exec form")
}

/// The variables of the image.
pub(crate) fn image_environment() -> Vec<(String, String)> {
    let pairs = instructions("ENV").into_iter().flat_map(|line| {
        let pairs: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        pairs
    });
    pairs
        .map(|pair| {
            pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())).expect("NAME=VALUE")
        })
        .collect()
}
