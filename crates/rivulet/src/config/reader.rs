//! Reads settings and collects what is wrong with them.

use rivulet_http::auth::Authorizer;

use crate::layers::{self, Layers, Origin};

/// Reads settings; each mistake is written down, and reading goes on.
pub(super) struct Reader<'a> {
    pub(super) layers: &'a Layers,
    /// What verifies tokens until now, in a process that runs.
    pub(super) before: Option<&'a Authorizer>,
    pub(super) mistakes: Vec<String>,
}

impl Reader<'_> {
    /// The value of a setting, if it is given and right.
    pub(super) fn value<T, E: ToString>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.layers.one(name)?;
        parse(text).map_err(|error| self.wrong(name, text, &error.to_string())).ok()
    }

    /// The values of a setting that may be repeated, checked together.
    pub(super) fn list<T, E: ToString>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&[String]) -> Result<T, E>,
    ) -> Option<T> {
        let layers = self.layers;
        let values = layers.get(name).map_or(&[][..], |found| &found.values);
        parse(values).map_err(|error| self.wrong(name, &values.join(" "), &error.to_string())).ok()
    }

    /// Writes down that a setting's value breaks a rule. A value that may hold a secret is not shown.
    pub(super) fn wrong(&mut self, name: &str, text: &str, rule: &str) {
        let origin = match self.layers.get(name).map(|found| &found.origin) {
            None | Some(Origin::Flag) => String::new(),
            Some(other) => format!(" (from {other})"),
        };
        let shown = layers::shown(name, text);
        self.mistakes.push(format!("--{name} {shown:?}{origin} {rule}"));
    }

    /// Whether somebody said something about a setting: its value is not just the default.
    pub(super) fn is_given(&self, name: &str) -> bool {
        self.layers.get(name).is_some_and(|found| found.origin != Origin::Default)
    }
}
