//! Where the `rivulet` binary is: next to this program, built first if its sources are at hand.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

/// The path of the binary. With a path `given`, that one. Otherwise cargo is asked to build the release binary, which
/// takes a moment if it is up to date, provided the workspace is found above this program or the working directory.
pub(crate) fn find_rivulet(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(path) = given {
        return if path.is_file() {
            Ok(path.to_owned())
        } else {
            bail!("--rivulet {}: no such file", path.display())
        };
    }
    let this = std::env::current_exe().context("asking for the path of this program")?;
    let target = target_directory(&this)?;
    let path = target.join("release").join("rivulet");
    let here = std::env::current_dir().context("asking for the working directory")?;
    match workspace_above(&this).or_else(|| workspace_above(&here)) {
        Some(workspace) => build(workspace, target)?,
        None if path.is_file() => {}
        None => bail!(
            "{} is missing: cargo build --release -p rivulet, or name one with --rivulet",
            path.display()
        ),
    }
    Ok(path)
}

/// `target` of `target/release/rivulet-bench`; tests and debug builds stand in other directories of it.
fn target_directory(this: &Path) -> anyhow::Result<&Path> {
    this.parent()
        .and_then(Path::parent)
        .with_context(|| format!("{} is in no target directory", this.display()))
}

fn workspace_above(path: &Path) -> Option<&Path> {
    path.ancestors().find(|directory| directory.join("crates/rivulet/Cargo.toml").is_file())
}

fn build(workspace: &Path, target: &Path) -> anyhow::Result<()> {
    let status = Command::new("cargo")
        .args(["build", "--release", "-p", "rivulet", "--target-dir"])
        .arg(target)
        .current_dir(workspace)
        .status()
        .context("starting cargo to build rivulet; name a binary with --rivulet instead")?;
    if status.success() { Ok(()) } else { bail!("cargo build --release -p rivulet: {status}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binary_that_was_named_is_used_or_refused() {
        assert_eq!(find_rivulet(Some(Path::new("/bin/sh"))).unwrap(), Path::new("/bin/sh"));
        let error = find_rivulet(Some(Path::new("/no/such/file"))).expect_err("it is missing").to_string();
        assert_eq!(error, "--rivulet /no/such/file: no such file");
    }

    #[test]
    fn the_workspace_is_found_from_within() {
        let workspace = workspace_above(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        assert!(workspace.join("crates/rivulet-bench").is_dir());
        assert_eq!(workspace_above(Path::new("/")), None);
    }
}
