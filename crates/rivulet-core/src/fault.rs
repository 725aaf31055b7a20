//! Deliberate defects, by which the cluster checker and the alerts are checked. Nothing of them is in a normal build: only
//! the feature `faults` compiles them in, and then the variable `RIVULET_FAULT` chooses one.

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
        _ => None,
    });
    *chosen == Some(fault)
}

/// No process has.
#[cfg(not(feature = "faults"))]
pub const fn is(_: Fault) -> bool {
    false
}
