//! What is said at all. The filter can be changed while the hub runs, for ever or for a while.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// The filter in force.
#[derive(Debug)]
pub(crate) struct Filter {
    handle: reload::Handle<EnvFilter, Registry>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    configured: String,
    current: String,
    falls_back: Option<Instant>,
}

/// A filter as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// The filter in force.
    pub(crate) current: String,
    /// The one that the configuration says.
    pub(crate) configured: String,
    /// When the one in force gives way to that.
    pub(crate) falls_back_in: Option<Duration>,
}

/// A text that is a filter.
#[derive(Debug)]
pub(crate) struct CheckedFilter {
    text: String,
    filter: EnvFilter,
}

/// Longer than any filter that a person writes.
const FILTER_LEN_MAX: usize = 4096;

impl CheckedFilter {
    /// Reads a filter.
    ///
    /// # Errors
    ///
    /// What it must be.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        const RULE: &str = "must be error, warn, info, debug, trace or off, or filters per module like \
                            info,rivulet_redis=debug";
        if text.len() > FILTER_LEN_MAX {
            return Err("must have at most 4096 bytes");
        }
        let filter = EnvFilter::try_new(text).map_err(|_| RULE)?;
        Ok(Self { text: text.to_owned(), filter })
    }

    /// As it was written.
    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

impl Filter {
    /// A filter, and the layer that obeys it.
    pub(super) fn new(configured: &str) -> (reload::Layer<EnvFilter, Registry>, Self) {
        let filter = EnvFilter::try_new(configured).expect("the filter has been checked");
        let (layer, handle) = reload::Layer::new(filter);
        let state =
            State { configured: configured.to_owned(), current: configured.to_owned(), falls_back: None };
        (layer, Self { handle, state: Mutex::new(state) })
    }

    /// How it stands.
    pub(crate) fn show(&self, now: Instant) -> Shown {
        let state = self.state.lock();
        Shown {
            current: state.current.clone(),
            configured: state.configured.clone(),
            falls_back_in: state.falls_back.map(|at| at.saturating_duration_since(now)),
        }
    }

    /// Puts another filter in force, for ever or until a moment.
    pub(crate) fn set(&self, filter: CheckedFilter, falls_back: Option<Instant>) {
        self.put(&mut self.state.lock(), filter, falls_back);
    }

    /// Another one is configured now. It is in force at once, also instead of one that was set for ever; one that was set
    /// for a while gives way to it when its time is over, since somebody is looking for something.
    pub(crate) fn configure(&self, text: &str) {
        let mut state = self.state.lock();
        if state.configured == text {
            return;
        }
        text.clone_into(&mut state.configured);
        if state.falls_back.is_none() {
            let filter = CheckedFilter::parse(text).expect("the filter has been checked");
            self.put(&mut state, filter, None);
        }
    }

    /// Goes back to the configured filter if it is time. Answers that.
    pub(super) fn fall_back(&self, now: Instant) -> Option<String> {
        let mut state = self.state.lock();
        if state.falls_back.is_none_or(|at| at > now) {
            return None;
        }
        let configured = CheckedFilter::parse(&state.configured).expect("the filter has been checked");
        self.put(&mut state, configured, None);
        Some(state.configured.clone())
    }

    fn put(&self, state: &mut State, filter: CheckedFilter, falls_back: Option<Instant>) {
        // Fails only after the log has ended, with the process.
        let _ = self.handle.reload(filter.filter);
        (state.current, state.falls_back) = (filter.text, falls_back);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_in_force_until_another_is_or_its_time_is_over() {
        let (layer, filter) = Filter::new("info");
        let now = Instant::now();
        let shown = |current: &str, falls_back_in| Shown {
            current: current.to_owned(),
            configured: "info".to_owned(),
            falls_back_in,
        };
        assert_eq!(filter.show(now), shown("info", None));
        let set = |text: &str, falls_back| filter.set(CheckedFilter::parse(text).unwrap(), falls_back);
        set("debug", None);
        assert_eq!(filter.show(now), shown("debug", None));
        assert_eq!(filter.fall_back(now + Duration::from_secs(1)), None);
        let minute = Duration::from_secs(60);
        set("trace", Some(now + minute));
        assert_eq!(filter.show(now), shown("trace", Some(minute)));
        assert_eq!(filter.fall_back(now), None);
        assert_eq!(filter.fall_back(now + minute).as_deref(), Some("info"));
        assert_eq!(filter.show(now), shown("info", None));
        let in_force = filter.handle.with_current(ToString::to_string);
        assert_eq!(in_force.ok().as_deref(), Some("info"));
        drop(layer);
    }

    #[test]
    fn a_filter_that_is_configured_anew_waits_for_one_that_was_set_for_a_while() {
        let (layer, filter) = Filter::new("info");
        let (now, minute) = (Instant::now(), Duration::from_secs(60));
        let set = |text: &str, falls_back| filter.set(CheckedFilter::parse(text).unwrap(), falls_back);
        let check = |current: &str, configured: &str| {
            let shown = filter.show(now);
            assert_eq!((shown.current.as_str(), shown.configured.as_str()), (current, configured));
        };
        set("trace", Some(now + minute));
        filter.configure("warn");
        check("trace", "warn");
        assert_eq!(filter.fall_back(now + minute).as_deref(), Some("warn"));
        set("debug", None);
        filter.configure("warn");
        check("debug", "warn");
        filter.configure("error");
        check("error", "error");
        drop(layer);
    }

    #[test]
    fn what_is_no_filter_is_refused_with_a_rule() {
        assert!(CheckedFilter::parse("info,rivulet_redis=loud").unwrap_err().contains("rivulet_redis=debug"));
        let long = "info,".repeat(FILTER_LEN_MAX);
        assert!(CheckedFilter::parse(&long).unwrap_err().contains("4096"));
    }
}
