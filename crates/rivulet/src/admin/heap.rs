//! A profile of the heap: who has allocated what is in use.

use std::{collections::HashMap, error::Error, ffi::c_void};

use jemalloc_pprof::StackProfile;

/// So many frames at the end of a stack may be the allocator's own; it has fewer than ten.
const ALLOCATOR_FRAMES_MAX: usize = 16;

/// Makes a profile, gzipped, for pprof; `None` if the allocator takes no samples. Blocks, for a second or so.
pub(super) fn profile() -> Result<Option<Vec<u8>>, Box<dyn Error + Send + Sync>> {
    let Some(allocator) = jemalloc_pprof::PROF_CTL.as_ref() else { return Ok(None) };
    let mut allocator = allocator.blocking_lock();
    if !allocator.activated() {
        return Ok(None);
    }
    let mut profile = allocator.dump_profile()?;
    drop_allocator(&mut profile);
    Ok(Some(profile.to_pprof(("inuse_space", "bytes"), ("space", "bytes"), None)))
}

/// Takes the allocator's own functions off the stacks: everything would be attributed to the one that takes the samples.
///
/// What the program calls have well-known names, and what they call in turn is the allocator's too, whatever its name.
fn drop_allocator(profile: &mut StackProfile) {
    let mut known = HashMap::new();
    for (stack, _) in &mut profile.stacks {
        // The root stands first.
        let mut entered =
            |address: &usize| *known.entry(*address).or_insert_with(|| is_allocator_entry(*address));
        let first = stack.addrs.len().saturating_sub(ALLOCATOR_FRAMES_MAX);
        if let Some(outermost) = stack.addrs[first..].iter().position(&mut entered) {
            stack.addrs.truncate(first + outermost);
        }
    }
}

/// Whether the function that will be returned to at an address is one that enters the allocator.
fn is_allocator_entry(address: usize) -> bool {
    let mut name = String::new();
    // The address behind a call may be that of another function. Of functions that were inlined the last is the one into
    // which they were: it counts, as the program may have inlined an entry.
    backtrace::resolve(address.saturating_sub(1) as *mut c_void, |symbol| {
        name = symbol.name().map(|name| format!("{name:#}")).unwrap_or_default();
    });
    is_entry(&name)
}

/// Whether a function of this name enters the allocator: one of jemalloc's interface, or what Rust calls it by. How a name
/// is written depends on what is known of the function: debug information may have its last part only.
fn is_entry(name: &str) -> bool {
    let prefixes = ["_rjem_", "__rustc::__rust_", "__rust_", "<tikv_jemallocator::"];
    prefixes.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use jemalloc_pprof::WeightedStack;

    use super::*;

    fn names(address: usize) -> Vec<String> {
        let mut names = Vec::new();
        backtrace::resolve(address.saturating_sub(1) as *mut c_void, |symbol| {
            names.extend(symbol.name().map(|name| format!("{name:#}")));
        });
        names
    }

    #[test]
    fn what_the_allocator_does_itself_is_not_in_the_profile() {
        // Enough for a hundred samples.
        let held: Vec<Vec<u8>> = (0..1_600).map(|_| vec![1; 64 << 10]).collect();
        let mut profile = jemalloc_pprof::PROF_CTL.as_ref().unwrap().blocking_lock().dump_profile().unwrap();
        let ends = |profile: &StackProfile| -> HashSet<String> {
            let last = profile.stacks.iter().filter_map(|(stack, _)| stack.addrs.last());
            last.flat_map(|address| names(*address).pop()).collect()
        };
        assert!(ends(&profile).iter().any(|name| name.starts_with("prof_") || name.starts_with("_rjem_")));
        drop_allocator(&mut profile);
        let left = ends(&profile);
        assert!(!left.is_empty());
        let allocator =
            |name: &String| ["prof_", "rjem", "do_", "__rust_"].iter().any(|part| name.contains(part));
        assert!(!left.iter().any(allocator), "{left:?}");
        drop(held);
    }

    #[test]
    fn what_the_program_does_stays_in_the_profile_also_where_names_are_short() {
        // As a release build has them, whose debug information is line tables only.
        for name in ["_rjem_malloc", "_rjem_rallocx", "__rust_alloc", "__rustc::__rust_realloc"] {
            assert!(is_entry(name), "{name}");
        }
        for name in ["", "alloc", "main", "block_on<()>", "{closure#0}", "prof_backtrace_impl", "rust_alloc"]
        {
            assert!(!is_entry(name), "{name}");
        }
        let held: Vec<Vec<u8>> = (0..1_600).map(|_| vec![1; 64 << 10]).collect();
        let mut profile = jemalloc_pprof::PROF_CTL.as_ref().unwrap().blocking_lock().dump_profile().unwrap();
        let whole: Vec<Vec<usize>> = profile.stacks.iter().map(|(stack, _)| stack.addrs.clone()).collect();
        drop_allocator(&mut profile);
        let mut cut = 0;
        for ((stack, _), whole) in profile.stacks.iter().zip(&whole) {
            assert!(whole.starts_with(&stack.addrs));
            if let Some(outermost) = whole.get(stack.addrs.len()) {
                assert!(is_allocator_entry(*outermost), "{:?}", names(*outermost));
                cut += 1;
            }
        }
        assert!(cut > 0);
        drop(held);
    }

    #[test]
    fn stacks_without_the_allocator_stay_as_they_are() {
        let mut profile = StackProfile::default();
        for addrs in [vec![], vec![1], vec![usize::MAX; 40]] {
            profile.push_stack(WeightedStack { addrs, weight: 1.0 }, None);
        }
        drop_allocator(&mut profile);
        let lengths: Vec<usize> = profile.stacks.iter().map(|(stack, _)| stack.addrs.len()).collect();
        assert_eq!(lengths, [0, 1, 40]);
    }
}
