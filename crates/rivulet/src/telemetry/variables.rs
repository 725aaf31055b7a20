//! Reads the standard variables, and collects what is wrong with them.

use std::{borrow::Cow, ops::RangeInclusive, time::Duration};

use percent_encoding::percent_decode_str;

use crate::layers::Environment;

/// Reads variables; each mistake is written down, and reading goes on. An empty variable is as good as none, as the
/// standard has it.
pub(super) struct Variables<'a> {
    environment: &'a Environment,
    pub(super) mistakes: Vec<String>,
}

impl<'a> Variables<'a> {
    pub(super) fn new(environment: &'a Environment) -> Self {
        Self { environment, mistakes: Vec::new() }
    }

    /// The text of a variable.
    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.environment.get(name).map(|text| text.trim()).filter(|text| !text.is_empty())
    }

    /// The first of these variables that says something, with its name.
    pub(super) fn first<'n>(&self, names: [&'n str; 2]) -> Option<(&'n str, &'a str)> {
        names.into_iter().find_map(|name| Some((name, self.text(name)?)))
    }

    /// What the first of two variables says, if it is right: that for traces stands above that for everything.
    pub(super) fn value<T, E: ToString>(
        &mut self,
        names: [&str; 2],
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let (name, text) = self.first(names)?;
        parse(text).map_err(|rule| self.wrong(name, text, &rule.to_string())).ok()
    }

    /// A whole number within these bounds.
    pub(super) fn count(&mut self, name: &str, bounds: &RangeInclusive<usize>) -> Option<usize> {
        self.value([name, name], |text| {
            let count = text.parse().ok().filter(|count| bounds.contains(count));
            count.ok_or_else(|| format!("must be a whole number, {} to {}", bounds.start(), bounds.end()))
        })
    }

    /// A number of milliseconds, at most ten minutes.
    pub(super) fn millis(&mut self, names: [&str; 2]) -> Option<Duration> {
        self.value(names, |text| {
            let millis = text.parse().ok().filter(|millis| (1..=600_000).contains(millis));
            millis.map(Duration::from_millis).ok_or("must be a whole number of milliseconds, 1 to 600000")
        })
    }

    /// Writes down that a variable's value breaks a rule.
    pub(super) fn wrong(&mut self, name: &str, text: &str, rule: &str) {
        self.mistakes.push(format!("{name} {text:?} {rule}"));
    }

    /// The same of a value that may hold a secret.
    pub(super) fn wrong_secret(&mut self, name: &str, rule: &str) {
        self.mistakes.push(format!("{name} {rule}"));
    }
}

/// The pairs of `a=1,b=2`, percent-decoded. `None`: it is something else.
pub(super) fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let (name, value) = (decoded(name.trim())?, decoded(value.trim())?);
        (!name.is_empty()).then_some((name, value))
    });
    pairs.collect()
}

/// Undoes percent-encoding. A plus sign is one: this is no form.
fn decoded(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_separated_by_commas_and_percent_encoded() {
        let check = |text: &str, expected: Option<&[(&str, &str)]>| {
            let expected = expected.map(|pairs| {
                pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
            });
            assert_eq!(pairs(text), expected, "{text}");
        };
        check("a=1", Some(&[("a", "1")]));
        check(" a = 1 , b=x%2Cy=z+w, ", Some(&[("a", "1"), ("b", "x,y=z+w")]));
        check("a=", Some(&[("a", "")]));
        check("a=%C3%A9", Some(&[("a", "é")]));
        for wrong in ["a", "=1", "a=%ff", "b=2,a"] {
            check(wrong, None);
        }
    }
}
