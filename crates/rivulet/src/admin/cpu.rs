//! A profile of the CPU: in which functions the threads were while its time went by.
//!
//! A timer interrupts a thread that runs, about a hundred times a second of CPU time, and what it does then is written
//! down. No thread is looked at within the unwinder itself, which the allocator also calls for its samples.

use std::{collections::HashMap, error::Error, ffi::c_void, fs};

use backtrace::Frame;
use jemalloc_pprof::{StackProfile, WeightedStack};
use pprof::{ProfilerGuard, ProfilerGuardBuilder};

/// How often the CPU is looked at, per second of its time. Not a round number, so that it does not beat with timers.
const FREQUENCY: i32 = 99;
const NANOS_PER_SECOND: f64 = 1e9;
/// Code in which no thread is looked at: the unwinder, and what it cannot unwind everywhere.
const BLOCKLIST: [&str; 3] = ["libgcc", "pthread", "vdso"];
/// The C library too, where unwinding takes a lock that a thread may hold there. That hides what system calls cost.
const BLOCKLIST_LOCKING: [&str; 5] = ["libgcc", "pthread", "vdso", "libc.so", "libc-"];
/// What an unwinder (GCC 12 and newer) calls that takes no lock (glibc 2.35 and newer).
const LOCK_FREE: &[u8] = b"_dl_find_object";
/// So many frames at the end of a stack may be those of the interruption.
const INTERRUPTION_FRAMES_MAX: usize = 10;
/// The function that writes samples down. What called it is the system, and then what was interrupted.
const INTERRUPTION: &str = "perf_signal_handler";

/// The CPU is being looked at. There is one in a process at a time.
pub(super) struct Watch(ProfilerGuard<'static>);

impl Watch {
    /// Begins to look.
    pub(super) fn start() -> Result<Self, pprof::Error> {
        let blocklist = if unwinder_is_lock_free() { &BLOCKLIST[..] } else { &BLOCKLIST_LOCKING[..] };
        ProfilerGuardBuilder::default().frequency(FREQUENCY).blocklist(blocklist).build().map(Self)
    }

    /// Makes a profile, gzipped, for pprof, of what was seen. Blocks, for a second or so.
    pub(super) fn profile(&self) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        // Few addresses are left of what was seen, which has a fixed size of 4 KB a sample, before anything is looked up.
        let samples = self.samples()?;
        let mut profile = StackProfile::default();
        let mut known = HashMap::new();
        for (addresses, count) in samples {
            let addrs = stack(addresses, |address| {
                *known.entry(address).or_insert_with(|| name(address).contains(INTERRUPTION))
            });
            #[expect(clippy::cast_precision_loss, reason = "there are few samples")]
            let weight = count as f64 * NANOS_PER_SECOND / f64::from(FREQUENCY);
            profile.push_stack(WeightedStack { addrs, weight }, None);
        }
        for mapping in mappings::MAPPINGS.as_deref().unwrap_or_default() {
            profile.push_mapping(mapping.clone());
        }
        Ok(profile.to_pprof(("cpu", "nanoseconds"), ("cpu", "nanoseconds"), None))
    }

    /// The addresses of each stack that was seen, the innermost first, and how often it was.
    fn samples(&self) -> Result<Vec<(Vec<usize>, isize)>, pprof::Error> {
        let samples = self.0.report().build_unresolved()?.data.into_iter();
        let addresses = |frames: &[Frame]| frames.iter().map(|frame| frame.ip() as usize).collect();
        Ok(samples.map(|(sample, count)| (addresses(&sample.frames), count)).collect())
    }
}

/// The addresses of a sample, the root first, without the interruption.
fn stack(mut addresses: Vec<usize>, mut is_interruption: impl FnMut(usize) -> bool) -> Vec<usize> {
    let end = &addresses[..addresses.len().min(INTERRUPTION_FRAMES_MAX)];
    let last = end.iter().rposition(|address| is_interruption(*address));
    if let Some(last) = last {
        // With it goes the frame by which the system called it.
        addresses.drain(..(last + 2).min(addresses.len()));
        // All others are where a call returns to, one behind it, and taken for that; here the instruction itself runs.
        if let Some(interrupted) = addresses.first_mut() {
            *interrupted = interrupted.saturating_add(1);
        }
    }
    addresses.retain(|address| *address != 0);
    addresses.reverse();
    addresses
}

/// The name of the function that will be returned to at an address.
fn name(address: usize) -> String {
    let mut name = String::new();
    backtrace::resolve(address.saturating_sub(1) as *mut c_void, |symbol| {
        name = symbol.name().map(|name| format!("{name:#}")).unwrap_or_default();
    });
    name
}

/// Whether the unwinder that this process has loaded takes no locks.
fn unwinder_is_lock_free() -> bool {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let paths = maps.lines().filter_map(|line| line.find('/').map(|start| &line[start..]));
    let unwinder = paths.into_iter().find(|path| path.contains("/libgcc_s"));
    let code = unwinder.and_then(|path| fs::read(path).ok()).unwrap_or_default();
    memchr::memmem::find(&code, LOCK_FREE).is_some()
}

#[cfg(test)]
mod tests {
    use std::{
        hint::black_box,
        time::{Duration, Instant},
    };

    use super::*;

    #[inline(never)]
    fn spin_for_the_profiler(until: Instant) -> u64 {
        let mut sum = 0_u64;
        while Instant::now() < until {
            for number in 0..100_000_u64 {
                sum = black_box(sum.wrapping_mul(31).wrapping_add(number));
            }
        }
        sum
    }

    #[test]
    fn samples_end_in_what_was_interrupted() {
        let watch = Watch::start().unwrap();
        let mut samples = watch.samples().unwrap();
        // A busy machine may give this thread little time.
        let deadline = Instant::now() + Duration::from_secs(30);
        while samples.is_empty() && Instant::now() < deadline {
            black_box(spin_for_the_profiler(Instant::now() + Duration::from_millis(200)));
            samples = watch.samples().unwrap();
        }
        let stacks = samples.into_iter().map(|(addresses, _)| {
            let addresses = stack(addresses, |address| name(address).contains(INTERRUPTION));
            addresses.iter().rev().map(|address| name(*address)).collect::<Vec<_>>()
        });
        let stacks: Vec<Vec<String>> = stacks.collect();
        // What it calls itself stands behind it.
        let is_near_the_end =
            |stack: &Vec<String>| stack.iter().take(6).any(|name| name.contains("spin_for_the_profiler"));
        assert!(stacks.iter().any(is_near_the_end), "{stacks:?}");
        let own = |name: &String| name.contains(INTERRUPTION) || name.contains("backtrace::backtrace::");
        assert!(!stacks.iter().flatten().any(own), "{stacks:?}");
        assert!(watch.profile().unwrap().starts_with(&[0x1f, 0x8b]), "it is gzip");
        assert!(Watch::start().is_err(), "there is one at a time");
    }
}
