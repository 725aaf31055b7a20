//! The image, as far as it can be judged without an engine that builds it: its root file system, its Dockerfile, and what the
//! build is given.

use std::{
    collections::BTreeSet,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use rivulet_tests::{repository, tools::tool};

use super::image_container::{Root, dockerfile, instructions};

/// All that is there. What begins with `lib` and the loader are compared by their names: where they stand is the
/// architecture's.
const FILES: [&str; 20] = [
    "dev",
    "etc/group",
    "etc/nsswitch.conf",
    "etc/os-release",
    "etc/passwd",
    "etc/rivulet/rivulet.toml",
    "etc/ssl/certs/ca-certificates.crt",
    "proc",
    "rivulet",
    "sys",
    "usr/share/doc/ca-certificates/copyright",
    "usr/share/doc/libc6/copyright",
    "usr/share/doc/libgcc-s1/copyright",
    "usr/share/doc/rivulet/LICENSE-APACHE",
    "usr/share/doc/rivulet/LICENSE-MIT",
    "var/lib/dpkg/status.d/ca-certificates",
    "var/lib/dpkg/status.d/libc6",
    "var/lib/dpkg/status.d/libgcc-s1",
    "{lib}/ld-linux",
    "{lib}/lib{c,gcc_s,m}.so",
];

/// The shared objects, without their loader.
const OBJECTS: [&str; 3] = ["libc.so.6", "libgcc_s.so.1", "libm.so.6"];

/// The files and empty directories below a directory.
fn leaves(root: &Path) -> Vec<PathBuf> {
    let (mut found, mut directories) = (Vec::new(), vec![root.to_owned()]);
    while let Some(directory) = directories.pop() {
        let entries = std::fs::read_dir(&directory).expect("a directory can be listed");
        let paths: Vec<_> = entries.map(|entry| entry.expect("an entry can be read").path()).collect();
        if paths.is_empty() {
            found.push(directory);
        }
        for path in paths {
            let kind = path.symlink_metadata().expect("metadata").file_type();
            assert!(kind.is_dir() || kind.is_file(), "{} is neither file nor directory", path.display());
            if kind.is_dir() { directories.push(path) } else { found.push(path) }
        }
    }
    found
}

#[test]
fn its_root_holds_the_hub_and_what_it_needs_and_nothing_else() {
    let root = Root::new();
    let (mut found, mut objects) = (BTreeSet::new(), BTreeSet::new());
    for path in leaves(&root.path()) {
        let inside = path.strip_prefix(root.path()).expect("below the root").to_string_lossy().into_owned();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if !inside.starts_with("lib") {
            found.insert(inside);
        } else if name.starts_with("ld-linux") {
            found.insert("{lib}/ld-linux".to_owned());
        } else {
            objects.insert(name);
        }
    }
    assert_eq!(objects, OBJECTS.map(str::to_owned).into(), "the hub is linked with something new");
    found.insert("{lib}/lib{c,gcc_s,m}.so".to_owned());
    assert_eq!(found, FILES.map(str::to_owned).into());

    let authorities = root.path().join("etc/ssl/certs/ca-certificates.crt");
    let authorities = std::fs::read_to_string(authorities).expect("certificates in PEM");
    assert!(authorities.matches("BEGIN CERTIFICATE").count() > 100, "the authorities of the web");
}

#[test]
fn nobody_but_root_can_write_there_and_times_are_those_that_were_asked_for() {
    let root = Root::new();
    let mut directories = BTreeSet::new();
    for path in leaves(&root.path()) {
        directories
            .extend(path.ancestors().take_while(|path| path.starts_with(root.path())).map(Path::to_owned));
    }
    for path in directories {
        let metadata = path.metadata().expect("metadata");
        let (mode, is_dir) = (metadata.permissions().mode() & 0o7777, metadata.is_dir());
        let allowed = if is_dir { &[0o755][..] } else { &[0o644, 0o755] };
        assert!(allowed.contains(&mode), "{} has the mode {mode:o}", path.display());
        assert_eq!((metadata.uid(), metadata.gid()), (0, 0), "{}", path.display());
        assert_eq!(metadata.mtime(), 0, "{}: without SOURCE_DATE_EPOCH it is 1970", path.display());
    }
}

#[test]
fn the_same_program_makes_the_same_root() {
    // Any program will do, and a small one is quick.
    let sum = || {
        let root = Root::of(Path::new("/bin/true"));
        let tar = "set -o pipefail; tar --sort=name --format=posix \
                   --pax-option=delete=atime,delete=ctime,exthdr.name=%d/%f -C \"$0\" -cf - . | sha256sum";
        let output = Command::new("bash").args(["-c", tar]).arg(root.path()).output().expect("bash and tar");
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    assert_eq!(sum(), sum());
}

#[test]
fn what_is_there_already_is_not_mixed_with_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let script = repository::root().join("crates/rivulet/image/rootfs.sh");
    let output = Command::new("sh").arg(script).arg("/bin/true").arg(dir.path()).output().expect("a shell");
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("is there already"), "{output:?}");
}

#[test]
fn hadolint_finds_nothing_in_the_dockerfile() {
    let file = repository::root().join("crates/rivulet/Dockerfile");
    assert!(
        !dockerfile().contains("hadolint ignore"),
        "an exception needs a reason, and this test's consent"
    );
    let mut command = Command::new(tool("hadolint"));
    command.args(["--no-color", "--failure-threshold", "style"]).arg(file);
    let output = command.output().expect("hadolint can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_image_is_empty_but_for_the_root_and_says_how_it_is_run() {
    let text = dockerfile();
    let stages: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("FROM ")).collect();
    assert_eq!(stages, ["${RUST_IMAGE} AS build", "scratch"]);
    let base = text.lines().find_map(|line| line.strip_prefix("ARG RUST_IMAGE=")).expect("a base");
    let tag = base.rsplit_once(':').expect("a tag").1;
    assert!(tag.starts_with(|c: char| c.is_ascii_digit()) && tag.matches('.').count() == 2, "{base}");

    let expected = [
        ("COPY", "--from=build /rootfs/ /"),
        ("USER", "65532:65532"),
        ("EXPOSE", "3000 9180"),
        ("STOPSIGNAL", "SIGTERM"),
        ("ENTRYPOINT", r#"["/rivulet"]"#),
    ];
    for (instruction, value) in expected {
        assert_eq!(instructions(instruction), [value], "{instruction}");
    }
    assert_eq!(instructions("RUN"), [""; 0], "there is no shell that could run anything");
    let health = instructions("HEALTHCHECK").pop().expect("a health check");
    assert!(health.ends_with(r#"CMD ["/rivulet", "healthcheck"]"#), "{health}");
    let labels = instructions("LABEL").join(" ");
    for label in ["title", "description", "licenses", "source", "version", "revision", "created"] {
        assert!(labels.contains(&format!("org.opencontainers.image.{label}=\"")), "{label}: {labels}");
    }
    for part in [
        "cargo build --release --locked",
        "--remap-path-prefix=/src=",
        "image/rootfs.sh target/release/rivulet /rootfs",
    ] {
        assert!(text.contains(part), "{part}");
    }
    let mounts = text.matches("--mount=type=cache,").count();
    assert_eq!(mounts, 3, "the registry, git, and what was compiled are kept");
}

#[test]
fn its_own_configuration_listens_on_the_ports_that_it_exposes() {
    let path = repository::root().join("crates/rivulet/image/rivulet.toml");
    let settings: toml::Table = std::fs::read_to_string(path).expect("a file").parse().expect("TOML");
    let listened: BTreeSet<String> = settings
        .values()
        .map(|value| value.as_str().expect("an address").rsplit_once(':').expect("a port").1.to_owned())
        .collect();
    let exposed = instructions("EXPOSE").pop().expect("ports");
    assert_eq!(listened, exposed.split(' ').map(str::to_owned).collect());
}

/// What `.dockerignore` lets through, by its exceptions from everything.
fn let_through() -> Vec<String> {
    let text = repository::text(".dockerignore");
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(lines.next(), Some("*"), "first, everything is out");
    lines.filter_map(|line| line.strip_prefix('!')).map(str::to_owned).collect()
}

#[test]
fn what_the_build_is_given_is_enough_for_cargo_and_for_the_script() {
    let context = tempfile::tempdir().expect("a temporary directory");
    for path in let_through() {
        let (from, to) = (repository::root().join(&path), context.path().join(&path));
        assert!(from.exists(), "{path} is let through and is not there");
        std::fs::create_dir_all(to.parent().expect("below the context")).expect("a directory");
        let copied = Command::new("cp").arg("-R").args([&from, &to]).status().expect("cp can be started");
        assert!(copied.success());
    }
    for outside in [".git", "target", "tests/js", "tests/tests", "k8s"] {
        assert!(!context.path().join(outside).exists(), "{outside} is no business of the build");
    }
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    // A build for Linux has brought nothing that only other systems need.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(cargo)
        .args(["metadata", "--locked", "--offline", "--format-version", "1", "--filter-platform", &platform])
        .current_dir(context.path())
        .output()
        .expect("cargo can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let script = context.path().join("crates/rivulet/image/rootfs.sh");
    let (root, program) = (context.path().join("rootfs"), "/bin/true");
    let output = Command::new("sh").arg(script).arg(program).arg(root).output().expect("a shell");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_readme_builds_it_from_the_dockerfile_and_runs_it_as_confined_as_it_is_checked() {
    let readme = repository::text("README.md");
    let (_, rest) = readme.split_once("<!-- test: image -->\n```sh\n").expect("the README has commands");
    let (commands, _) = rest.split_once("```").expect("the block ends");
    let (build, run) = commands.split_once('\n').expect("two commands");
    assert!(build.contains(" -f crates/rivulet/Dockerfile ") && build.ends_with(" ."), "{build}");
    let check = repository::text("crates/rivulet/image/check.sh");
    for flags in ["--read-only", "--cap-drop ALL"] {
        assert!(run.contains(flags) && check.contains(flags), "{flags}");
    }
    let (port, _) = instructions("EXPOSE")
        .pop()
        .and_then(|ports| {
            let (hub, admin) = ports.split_once(' ')?;
            Some((hub.to_owned(), admin.to_owned()))
        })
        .expect("two ports");
    assert!(run.contains(&format!(":{port} ")) && run.contains("RIVULET_DEV=true"), "{run}");
}
