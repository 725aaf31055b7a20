//! Deliberate defects, by which the cluster checker and the alerts are checked, and a next release, by which it is checked
//! that nodes of two releases work side by side. Nothing of them is in a normal build: only the feature `faults` compiles
//! them in, and then the variable `RIVULET_FAULT` chooses one.

/// A defect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Of 1,000 announced updates one does not get into the feed, and nobody notices.
    DropAnnouncement,
    /// After a break, nothing is read that was missed.
    SkipBackfill,
    /// A replay that goes live skips the position that follows.
    SeamOffByOne,
    /// The memory of a seat is kept when its stream ends. Its place is given back, so that nothing but memory shows it.
    ForgetSeat,
    /// No defect: it writes what a next release might add, and announces its format.
    NextVersion,
    /// The same with an addition that this release must not pass over. Whoever has this has the one above too.
    NextFormat,
}

/// Whether the process has this defect.
#[cfg(feature = "faults")]
pub fn is(fault: Fault) -> bool {
    static CHOSEN: std::sync::OnceLock<Option<Fault>> = std::sync::OnceLock::new();
    let chosen = CHOSEN.get_or_init(|| match std::env::var("RIVULET_FAULT").as_deref() {
        Ok("drop-announcement") => Some(Fault::DropAnnouncement),
        Ok("skip-backfill") => Some(Fault::SkipBackfill),
        Ok("seam-off-by-one") => Some(Fault::SeamOffByOne),
        Ok("forget-seat") => Some(Fault::ForgetSeat),
        Ok("next-version") => Some(Fault::NextVersion),
        Ok("next-format") => Some(Fault::NextFormat),
        _ => None,
    });
    *chosen == Some(fault) || (fault == Fault::NextVersion && *chosen == Some(Fault::NextFormat))
}

/// No process has.
#[cfg(not(feature = "faults"))]
pub const fn is(_: Fault) -> bool {
    false
}
