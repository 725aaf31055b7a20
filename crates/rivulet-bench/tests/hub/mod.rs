//! The hub that the bench measures in its tests.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// The hub of this build: built once if need be, as the bench itself would only build a release.
pub(crate) fn rivulet() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let profile = Path::new(env!("CARGO_BIN_EXE_rivulet-bench")).parent().expect("a directory");
        let path = profile.join("rivulet");
        if !path.is_file() {
            let mut build = Command::new(env!("CARGO"));
            build
                .args(["build", "-p", "rivulet", "--target-dir"])
                .arg(profile.parent().expect("a directory"));
            if profile.ends_with("release") {
                build.arg("--release");
            }
            assert!(build.status().expect("cargo starts").success(), "rivulet cannot be built");
        }
        path
    })
}
