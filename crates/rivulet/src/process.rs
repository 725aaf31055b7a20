//! What the operating system says about this process: memory, open files, and their limit.

use std::fs;

use tikv_jemalloc_ctl::{Access, AsName};

/// Open files that are neither of streams nor of requests: Redis, listeners, files that are read.
const FILES_RESERVED: usize = 256;

/// Bytes in the caches of all threads; 4096 is `MALLCTL_ARENAS_ALL`, all arenas together (jemalloc(3)).
const CACHED_BY_THREADS: &str = "stats.arenas.4096.tcache_bytes\0";

/// How many connections fit under a limit of open files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// Streams.
    pub(crate) streams: usize,
    /// Connections in a request or between two, and those that are told that they are too many, on all workers: without
    /// room of their own, clients that send half a request and wait would take every file, also those that Redis and probes
    /// need.
    pub(crate) requests: usize,
}

/// Raises the soft limit of open files to the hard one: each stream is an open file, and shells give 1,024. Answers
/// the limit that is now in force.
pub(crate) fn raise_file_limit() -> std::io::Result<u64> {
    rlimit::increase_nofile_limit(rlimit::INFINITY)
}

/// Three quarters of the files are for streams, the rest for requests, those refused included, and everything else.
pub(crate) fn room_under(file_limit: u64) -> Room {
    let limit = usize::try_from(file_limit).unwrap_or(usize::MAX);
    let rest = limit / 4;
    Room {
        streams: (limit - rest).max(1),
        requests: rest.saturating_sub(FILES_RESERVED.min(rest / 2)).max(1),
    }
}

/// Bytes of memory that are resident, if the system tells.
pub(crate) fn resident_bytes() -> Option<u64> {
    status_bytes("VmRSS:")
}

/// Bytes that the system could not take back without swapping: resident memory without the pages of files, such as the
/// program's own. Where the system does not tell, what the allocator holds.
pub(crate) fn unreclaimable_bytes() -> Option<u64> {
    status_bytes("RssAnon:").or_else(|| {
        tikv_jemalloc_ctl::epoch::advance().ok()?;
        tikv_jemalloc_ctl::stats::resident::read().ok().map(|bytes| bytes as u64)
    })
}

/// A row of Linux' `/proc/self/status`.
fn status_bytes(row: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(row))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Bytes that the program has allocated and not freed.
///
/// The allocator counts as allocated also what was freed and lies in the caches of threads, a megabyte or two that comes
/// and goes with what they did last: that is taken off.
pub(crate) fn heap_bytes() -> Option<u64> {
    // The allocator's statistics are a snapshot, taken when the epoch moves.
    tikv_jemalloc_ctl::epoch::advance().ok()?;
    let allocated = tikv_jemalloc_ctl::stats::allocated::read().ok()?;
    let cached: usize = CACHED_BY_THREADS.name().read().ok()?;
    Some(allocated.saturating_sub(cached) as u64)
}

/// How many files are open, if the system tells.
pub(crate) fn open_files() -> Option<u64> {
    // One of them is the directory that is being read.
    fs::read_dir("/proc/self/fd").ok().map(|files| (files.count() as u64).saturating_sub(1))
}

/// What this machine, or this container, is called, if the system tells.
pub(crate) fn host_name() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// How many files may be open.
pub(crate) fn file_limit() -> Option<u64> {
    rlimit::Resource::NOFILE.get_soft().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_answers() {
        assert!(raise_file_limit().unwrap() >= 256);
        assert!(resident_bytes().unwrap() > 1 << 20);
        assert!((1 << 20..resident_bytes().unwrap()).contains(&unreclaimable_bytes().unwrap()));
        assert!(heap_bytes().unwrap() > 1 << 10);
        assert!(open_files().unwrap() >= 3);
        assert!(file_limit().unwrap() >= 256);
    }

    #[test]
    fn streams_leave_room_for_other_files() {
        for (limit, streams, requests) in
            [(0, 1, 1), (1, 1, 1), (100, 75, 13), (1024, 768, 128), (20_000, 15_000, 4_744)]
        {
            assert_eq!(room_under(limit), Room { streams, requests }, "{limit}");
        }
        assert!(room_under(u64::MAX).streams > 1 << 40);
    }
}
