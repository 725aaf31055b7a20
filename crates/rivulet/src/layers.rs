//! Where the value of a setting comes from: flag, `RIVULET_*`, `MERCURE_*`, file, development mode, default, in this
//! order.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
};

use clap::{ArgMatches, parser::ValueSource};

use crate::{
    mercure::{self, Deployment},
    settings::{Effect, Exposure, Kind, Setting, is_on, setting, settings},
};

/// The environment, as far as it is readable.
pub(crate) type Environment = BTreeMap<String, String>;

/// Where a value was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Flag,
    Variable(String),
    File,
    Development,
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Variable(name) => f.write_str(name),
            Self::File => f.write_str("configuration file"),
            Self::Development => f.write_str("--dev"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// The value of a setting and where it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) values: Vec<String>,
    pub(crate) origin: Origin,
}

/// All settings that have a value, with what was found wrong or remarkable on the way.
#[derive(Clone, Default)]
pub(crate) struct Layers {
    found: BTreeMap<&'static str, Found>,
    /// 1.0 issuers of `MERCURE_TRUSTED_ISSUERS`, unless a layer above names issuers.
    pub(crate) mercure_issuers: Option<mercure::Issuers>,
    /// Every mistake so far.
    pub(crate) mistakes: Vec<String>,
    /// What is to be said at start.
    pub(crate) warnings: Vec<String>,
    /// What the file says in vain, since a layer above it says something.
    hidden: BTreeMap<&'static str, Found>,
}

/// Values may be secrets.
impl fmt::Debug for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

impl Layers {
    /// Puts the layers on each other. `file` is the text of the configuration file, if there is one.
    pub(crate) fn resolve(matches: &ArgMatches, environment: &Environment, file: Option<&str>) -> Self {
        Self::stack(matches, environment, file, None)
    }

    /// The same in a process that runs already with `before`: what counts at a start only stays as it was.
    pub(crate) fn resolve_under(
        before: &Self,
        matches: &ArgMatches,
        environment: &Environment,
        file: Option<&str>,
    ) -> Self {
        Self::stack(matches, environment, file, Some(before))
    }

    fn stack(
        matches: &ArgMatches,
        environment: &Environment,
        file: Option<&str>,
        before: Option<&Self>,
    ) -> Self {
        let mut layers = Self::default();
        layers.add_flags(matches);
        layers.add_variables(environment);
        layers.add_deployment(mercure::read(environment));
        if let Some(text) = file {
            layers.add_file(text);
        }
        if let Some(before) = before {
            // Before it is asked whether this is development, whose keys everybody knows.
            layers.keep(before);
        }
        if layers.one("dev").is_some_and(|dev| is_on(dev) == Ok(true)) {
            layers.add_development();
        }
        for setting in settings() {
            if let Some(default) = setting.default {
                layers.add(setting, vec![default.to_owned()], Origin::Default);
            }
        }
        layers
    }

    /// What was found for a setting.
    pub(crate) fn get(&self, name: &str) -> Option<&Found> {
        debug_assert!(setting(name).is_some(), "{name} is not in the table");
        self.found.get(name)
    }

    /// The one value of a setting.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|found| found.values.last()).map(String::as_str)
    }

    /// The settings whose values differ, in the order of their names.
    pub(crate) fn differing(&self, other: &Self, effect: Effect) -> Vec<&'static str> {
        let names: BTreeSet<_> = self.found.keys().chain(other.found.keys()).copied().collect();
        let values = |layers: &Self, name: &str| layers.found.get(name).map(|found| found.values.clone());
        let differs = |name: &&str| values(self, name) != values(other, name);
        let counts = |name: &&str| setting(name).is_some_and(|setting| setting.effect == effect);
        names.into_iter().filter(counts).filter(differs).collect()
    }

    /// What the file says otherwise than that of `before` said, and in vain; and what hides it.
    pub(crate) fn newly_hidden(&self, before: &Self) -> impl Iterator<Item = (&'static str, &Origin)> {
        let is_new = |name: &str, found: &Found| {
            before.hidden.get(name).is_none_or(|hidden| hidden.values != found.values)
                && self.found.get(name).is_some_and(|above| above.values != found.values)
        };
        let new = self.hidden.iter().filter(move |(name, found)| is_new(name, found));
        new.filter_map(|(name, _)| Some((*name, &self.found.get(name)?.origin)))
    }

    /// All settings in the words of the file, as they may be shown, with where they come from.
    pub(crate) fn document(&self) -> String {
        let line = |(name, found): (&&'static str, &Found)| {
            let setting = setting(name).expect("only settings of the table are added");
            let mut values = found.values.iter().map(|value| toml::Value::String(redacted(setting, value)));
            let value = match setting.kind {
                Kind::Many => toml::Value::Array(values.collect()),
                Kind::One | Kind::Switch => values.next_back().unwrap_or_else(|| toml::Value::from("")),
            };
            format!("{name} = {value} # {}\n", found.origin)
        };
        let issuers = self.mercure_issuers.iter().map(|issuers| {
            format!("# issuers of 1.0 tokens, from MERCURE_TRUSTED_ISSUERS: {}\n", issuers.names.join(" "))
        });
        self.found.iter().map(line).chain(issuers).collect()
    }

    /// The files that settings name, each with the name of its setting.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&'static str, PathBuf)> {
        self.found.iter().flat_map(|(name, found)| {
            let setting = setting(name).expect("only settings of the table are added");
            found.values.iter().filter_map(move |value| Some((*name, named_file(setting, value)?)))
        })
    }

    /// What counts at a start only is what it was.
    fn keep(&mut self, before: &Self) {
        for setting in settings().filter(|setting| setting.effect == Effect::Restart) {
            match before.found.get(setting.name) {
                Some(found) => self.found.insert(setting.name, found.clone()),
                None => self.found.remove(setting.name),
            };
        }
    }

    /// All settings with their values as they may be logged.
    pub(crate) fn describe(&self) -> String {
        let shown = self.found.iter().map(|(name, found)| {
            let setting = setting(name).expect("only settings of the table are added");
            let values: Vec<_> = found.values.iter().map(|value| redacted(setting, value)).collect();
            format!("{name}={}", values.join(","))
        });
        shown.collect::<Vec<_>>().join(" ")
    }

    fn add(&mut self, setting: &'static Setting, values: Vec<String>, origin: Origin) {
        self.found.entry(setting.name).or_insert(Found { values, origin });
    }

    fn add_flags(&mut self, matches: &ArgMatches) {
        // A command that knows only some of the settings has only their flags; clap must not be asked for the others.
        let has_flag = |setting: &&Setting| matches.try_contains_id(setting.name).is_ok();
        for setting in settings().filter(has_flag) {
            if matches.value_source(setting.name) == Some(ValueSource::CommandLine)
                && let Some(values) = matches.get_many::<String>(setting.name)
            {
                self.add(setting, values.cloned().collect(), Origin::Flag);
            }
        }
    }

    fn add_variables(&mut self, environment: &Environment) {
        for setting in settings() {
            let variable = setting.variable();
            let Some(text) = environment.get(&variable).filter(|text| !text.trim().is_empty()) else {
                continue;
            };
            let values = match setting.kind {
                Kind::Many => text.split_whitespace().map(str::to_owned).collect(),
                Kind::One | Kind::Switch => vec![text.clone()],
            };
            self.add(setting, values, Origin::Variable(variable));
        }
    }

    fn add_deployment(&mut self, deployment: Deployment) {
        let Deployment { values, issuers, mistakes, warnings } = deployment;
        if !self.found.contains_key("trusted-issuer") {
            self.mercure_issuers = issuers;
        }
        for (name, found) in values {
            // An address that nobody uses, since a layer above names another, is no mistake.
            self.found.entry(name).or_insert(found);
        }
        let listen_is_given = self.found.contains_key("listen");
        self.mistakes.extend(
            mistakes.into_iter().filter(|mistake| !(listen_is_given && mistake.about_listen)).map(|m| m.text),
        );
        self.warnings.extend(warnings);
    }

    fn add_file(&mut self, text: &str) {
        let table = match text.parse::<toml::Table>() {
            Ok(table) => table,
            Err(error) => {
                let place = error.span().map_or(1, |span| text[..span.start].lines().count().max(1));
                self.mistakes.push(format!("--config: line {place}: {}", error.message()));
                return;
            }
        };
        for (name, value) in table {
            match setting(&name).filter(|setting| setting.name != "config") {
                None => self.mistakes.push(format!("--config: there is no setting named {name:?}")),
                Some(setting) => match file_values(setting, &value) {
                    Ok(values) if self.found.contains_key(setting.name) => {
                        self.hidden.insert(setting.name, Found { values, origin: Origin::File });
                    }
                    Ok(values) => self.add(setting, values, Origin::File),
                    Err(rule) => self.mistakes.push(format!("--config: {name} {rule}")),
                },
            }
        }
    }

    /// What `--dev` stands for. It fills in only what no layer above says.
    fn add_development(&mut self) {
        let key = rivulet_http::auth::DEVELOPMENT_KEY;
        for role in ["publisher", "subscriber"] {
            let given = ["jwks-url", "jwks-file"]
                .iter()
                .any(|end| self.found.contains_key(format!("{role}-{end}").as_str()));
            if !given {
                self.develop(&format!("{role}-jwt-key"), key.to_owned());
            }
        }
        if self.mercure_issuers.is_none() {
            self.develop("trusted-issuer", format!("https://localhost=HS256:{key}"));
        }
        let base = "https://localhost/.well-known/mercure";
        self.develop("hub-url", base.to_owned());
        self.develop("resource", base.to_owned());
        self.develop("anonymous", "true".to_owned());
        self.develop("cors-origin", "*".to_owned());
        // Whoever develops restarts often, and nobody balances the load.
        self.develop("drain-delay", "0s".to_owned());
        self.develop("drain-period", "0s".to_owned());
    }

    fn develop(&mut self, name: &str, value: String) {
        let setting = setting(name).expect("a setting of the table");
        self.add(setting, vec![value], Origin::Development);
    }
}

/// The values of a key of the file. Numbers and booleans may stand without quotes.
fn file_values(setting: &Setting, value: &toml::Value) -> Result<Vec<String>, &'static str> {
    match (setting.kind, value) {
        (Kind::Many, toml::Value::Array(array)) => array.iter().map(|value| file_scalar(value)).collect(),
        (_, value) => file_scalar(value).map(|text| vec![text]),
    }
}

fn file_scalar(value: &toml::Value) -> Result<String, &'static str> {
    match value {
        toml::Value::String(text) => Ok(text.clone()),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Boolean(flag) => Ok(flag.to_string()),
        _ => Err(
            "must be a string, a whole number or a boolean (or an array of strings, where a flag may be repeated)",
        ),
    }
}

/// The file that a value of a setting names.
fn named_file(setting: &Setting, value: &str) -> Option<PathBuf> {
    let of_url =
        |text: &str| url::Url::parse(text).ok().filter(|url| url.scheme() == "file")?.to_file_path().ok();
    match setting.exposure {
        Exposure::Open if setting.value == "FILE" && setting.name != "config" => Some(value.into()),
        Exposure::Open => None,
        Exposure::Secret => value.strip_prefix('@').map(PathBuf::from),
        Exposure::Url => of_url(value),
        Exposure::Issuer => {
            let (_, place) = value.split_once('=')?.1.split_once(':')?;
            place.strip_prefix('@').map(PathBuf::from).or_else(|| of_url(place))
        }
    }
}

/// A value of the setting with this name as it may be shown.
pub(crate) fn shown(name: &str, value: &str) -> String {
    setting(name).map_or_else(|| "***".to_owned(), |setting| redacted(setting, value))
}

/// A value as it may be logged.
fn redacted(setting: &Setting, value: &str) -> String {
    match setting.exposure {
        Exposure::Open => value.to_owned(),
        Exposure::Secret if value.starts_with('@') => value.to_owned(),
        Exposure::Secret => "***".to_owned(),
        Exposure::Url => url_without_secrets(value),
        Exposure::Issuer => match value.split_once('=') {
            Some((issuer, source)) => match source.split_once(':') {
                Some(("jwks", place)) if !place.starts_with('@') => {
                    format!("{issuer}=jwks:{}", url_without_secrets(place))
                }
                Some((_, place)) if place.starts_with('@') => value.to_owned(),
                Some((algorithm, _)) => format!("{issuer}={algorithm}:***"),
                None => format!("{issuer}=***"),
            },
            None => "***".to_owned(),
        },
    }
}

/// A URL without user name, password and query, which may hold keys.
fn url_without_secrets(text: &str) -> String {
    let Ok(mut url) = url::Url::parse(text) else { return hosts_without_secrets(text) };
    let has_password = url.password().is_some();
    if has_password && url.set_password(Some("***")).is_err() {
        return "***".to_owned();
    }
    if url.query().is_some() {
        url.set_query(Some("***"));
    }
    url.into()
}

/// The same for `redis+sentinel://` and `redis+cluster://` with several hosts, which are no URLs to the standard.
fn hosts_without_secrets(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, rest)) if scheme.starts_with("redis") => match rest.rsplit_once('@') {
            Some((user, hosts)) => {
                let name = user.split(':').next().unwrap_or_default();
                format!("{scheme}://{name}:***@{hosts}")
            }
            None => text.to_owned(),
        },
        _ => "***".to_owned(),
    }
}

#[cfg(test)]
mod tests;
