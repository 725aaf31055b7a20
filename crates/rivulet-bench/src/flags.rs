//! Which flags a rivulet binary has: the bench asks its `--help`, and says what it leaves out where one is missing.

use std::{collections::BTreeSet, path::Path, process::Command};

use anyhow::{Context, bail};

/// The flags, with their dashes.
pub(crate) struct Flags(BTreeSet<String>);

impl Flags {
    /// Asks the binary.
    pub(crate) fn of(rivulet: &Path) -> anyhow::Result<Self> {
        let output = Command::new(rivulet)
            .arg("--help")
            .output()
            .with_context(|| format!("starting {} --help", rivulet.display()))?;
        if !output.status.success() {
            bail!("{} --help: {}", rivulet.display(), output.status);
        }
        Ok(Self::parse(&String::from_utf8_lossy(&output.stdout)))
    }

    fn parse(help: &str) -> Self {
        let words = help.lines().filter_map(|line| {
            let line = line.trim_start();
            let long =
                if line.starts_with("--") { line } else { line.strip_prefix('-')?.split_once(", ")?.1 };
            Some(long.split([' ', '[', '=']).next().unwrap_or(long).to_owned())
        });
        Self(words.filter(|word| word.len() > 2 && word.starts_with("--")).collect())
    }

    /// Whether there is this one.
    pub(crate) fn has(&self, flag: &str) -> bool {
        self.0.contains(flag)
    }

    /// All that begin so, in order.
    pub(crate) fn beginning_with<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().map(String::as_str).filter(move |flag| flag.starts_with(prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_found_in_the_help() {
        let help = "Usage: rivulet [OPTIONS]\n      --dev[=<BOOL>]\n          Text with --other in it\n  -h, --help\n\
                    \x20     --tls-cert-file <FILE>\n          [default: -]\n";
        let flags = Flags::parse(help);
        assert_eq!(flags.0.iter().collect::<Vec<_>>(), ["--dev", "--help", "--tls-cert-file"]);
        assert!(flags.has("--dev") && !flags.has("--other"));
        assert_eq!(flags.beginning_with("--tls").count(), 1);
    }
}
