//! Progress bars, on standard error and only if that is a terminal. Results go to standard output.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar for one step of a run; its user clears it when the step is done.
pub(crate) fn bar(server: &str, round: u32, step: &str, len: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:>18} {msg:<28} {wide_bar} {human_pos}/{human_len}")
        .expect("the template names only keys that exist");
    ProgressBar::new(len)
        .with_style(style)
        .with_prefix(format!("{server}, round {round}"))
        .with_message(step.to_owned())
}

/// A spinner for a wait whose end is not known.
pub(crate) fn wait(server: &str, round: u32, step: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:>18} {msg:<28} {spinner} {elapsed}")
        .expect("the template names only keys that exist");
    let bar = ProgressBar::new_spinner().with_style(style);
    bar.set_prefix(format!("{server}, round {round}"));
    bar.set_message(step.to_owned());
    bar
}

/// How often a wait shows that it goes on. The client does that itself: a thread of indicatif would disturb its core.
pub(crate) const WAIT_TICK: Duration = Duration::from_millis(250);
