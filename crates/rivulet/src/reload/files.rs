//! What the configuration file and the files that settings name hold at a moment, as far as it must be known again.
//!
//! Contents are compared, no times: what is mounted into containers changes by a symbolic link above the file, which no
//! file's own time tells, nor a watch on it.

use std::{
    collections::BTreeMap,
    fs::File,
    hash::{BuildHasher as _, RandomState},
    io::Read as _,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use clap::ArgMatches;

use crate::{
    config,
    layers::{Environment, Layers},
    settings::{Effect, setting},
};

/// More of a file is not looked at: no key, certificate or key set that can be used is longer.
const READ_LEN_MAX: u64 = 4 << 20;
/// Drawn anew in each process, so that what is kept of secrets says nothing about them.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);
/// Certificates that are looked at for themselves, and shown at once.
const SHOWN: [&str; 4] = ["tls-cert-file", "tls-key-file", "admin-tls-cert-file", "admin-tls-key-file"];

/// See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Files(BTreeMap<(&'static str, PathBuf), Option<u64>>);

impl Files {
    /// Looks at all of them; blocks while it reads.
    pub(super) fn look(matches: &ArgMatches, environment: &Environment) -> Self {
        let file = config::file_path(matches, environment).map(PathBuf::from);
        let bytes = file.as_deref().and_then(read);
        let text = bytes.as_deref().and_then(|bytes| std::str::from_utf8(bytes).ok());
        let named: Vec<_> = Layers::resolve(matches, environment, text).files().collect();
        let of_file = file.map(|path| (("config", path), bytes.as_deref().map(hash)));
        let of_named = named.into_iter().map(|(name, path)| {
            let seen = read(&path).as_deref().map(hash);
            ((name, path), seen)
        });
        Self(of_file.into_iter().chain(of_named).collect())
    }

    /// The settings whose files hold something else than before, and when that counts.
    pub(super) fn changed(&self, before: &Self, effect: Effect) -> impl Iterator<Item = &'static str> {
        let differs = |key, seen| before.0.get(key).is_some_and(|before| before != seen);
        let changed =
            self.0.iter().filter(move |(key, seen)| differs(*key, *seen)).map(|((name, _), _)| *name);
        changed.filter(move |name| {
            let own =
                if SHOWN.contains(name) { Some(Effect::Reload) } else { setting(name).map(|row| row.effect) };
            *name != "config" && own == Some(effect)
        })
    }
}

/// `None`: it cannot be read.
fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(READ_LEN_MAX).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn hash(bytes: &[u8]) -> u64 {
    HASHER.hash_one(bytes)
}
