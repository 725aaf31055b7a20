//! `/debug/pprof`: what is on the heap, and where the CPU's time goes, in the format that `go tool pprof` reads. Names of
//! functions are looked up here, so that a profile opens without the program that it is of.
//!
//! Of each kind one profile is made at a time; both kinds may be made at once.

use std::{
    env,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use actix_web::{HttpRequest, HttpResponse, web};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::warn;

use super::{
    State, answer,
    answer::{Problem, ProblemKind},
    cpu,
    endpoint::{Endpoint, parameters},
    heap,
};
use crate::memory::MemoryState;

/// How long the CPU is watched unless the request says it.
const SECONDS_DEFAULT: u64 = 10;
/// The longest that it may say.
const SECONDS_MAX: u64 = 60;
/// Bytes that a profile of the heap takes for a moment: what is read of the program to find names (75 MB, measured).
const HEAP_ROOM: u64 = 96 << 20;
/// The same for the CPU, with the profiler's table of what was seen, of which one stays for the next time (85 MB) and a
/// second is there for a moment at the end (240 MB in all, measured).
const CPU_ROOM: u64 = 256 << 20;
/// When to ask again while a heap profile is made: it takes a second or so.
const RETRY_HEAP: Duration = Duration::from_secs(2);
/// Where profiles go on their way if there is nothing to write to in the usual place, as in containers whose file system
/// is read-only: memory, which containers have too.
const MEMORY_DIRECTORY: &str = "/dev/shm";

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The paths of this file.
pub(super) fn endpoints() -> Vec<Endpoint> {
    vec![
        Endpoint::read(
            "/debug/pprof/heap",
            "what is on the heap, sampled since the start, for pprof",
            heap_profile,
        ),
        Endpoint::read(
            "/debug/pprof/profile",
            "where CPU time goes in the next ?seconds=10, for pprof",
            cpu_profile,
        ),
    ]
}

/// What is being made, of each kind one at most.
pub(super) struct Profiles {
    heap: Arc<Semaphore>,
    cpu: Arc<Semaphore>,
}

impl Profiles {
    /// Nothing is being made.
    pub(super) fn new() -> Self {
        Self { heap: Arc::new(Semaphore::new(1)), cpu: Arc::new(Semaphore::new(1)) }
    }
}

/// Takes the place of the one who makes a profile of a kind.
fn begin(kind: &Arc<Semaphore>, wait: Duration) -> Result<OwnedSemaphorePermit, Problem> {
    Arc::clone(kind).try_acquire_owned().map_err(|_| {
        let detail = "one profile of a kind is made at a time; try again when it is done";
        Problem::new(ProblemKind::ProfileRunning, detail).retry_after(wait)
    })
}

/// A profile must not be what brings the node to its limit.
fn room_for(bytes: u64, memory: MemoryState) -> Result<(), Problem> {
    if memory.max == 0 || memory.max.saturating_sub(memory.used) >= bytes {
        return Ok(());
    }
    let detail = format!(
        "a profile takes up to {} MiB for a moment, and of the {} bytes that --memory-max allows {} are used",
        bytes >> 20,
        memory.max,
        memory.used
    );
    Err(Problem::new(ProblemKind::ProfileNoRoom, detail))
}

async fn heap_profile(request: HttpRequest, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    let [] = parameters(&request, [])?;
    room_for(HEAP_ROOM, *state.memory.borrow())?;
    let permit = begin(&state.profiles.heap, RETRY_HEAP)?;
    let profile = blocking("heap", permit, |_permit| {
        choose_directory();
        with_symbols(heap::profile)
    });
    match profile.await? {
        Some(profile) => Ok(answer::file("heap.pb.gz", profile)),
        None => {
            let detail = "it was built or started without prof:true,prof_active:true (see _RJEM_MALLOC_CONF)";
            Err(Problem::new(ProblemKind::ProfileOff, detail))
        }
    }
}

/// The CPU is being watched, in the place of the one who may. A client that goes away takes both along.
struct Watching {
    watch: cpu::Watch,
    _permit: OwnedSemaphorePermit,
}

async fn cpu_profile(request: HttpRequest, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    let [seconds] = parameters(&request, ["seconds"])?;
    let seconds = seconds_of(seconds.as_deref())?;
    room_for(CPU_ROOM, *state.memory.borrow())?;
    let permit = begin(&state.profiles.cpu, seconds)?;
    let watching = blocking("cpu", permit, |permit| {
        choose_directory();
        with_symbols(|| Ok(Watching { watch: cpu::Watch::start()?, _permit: permit }))
    });
    let watching = watching.await?;
    tokio::time::sleep(seconds).await;
    let profile = blocking("cpu", watching, |watching| with_symbols(|| watching.watch.profile()));
    Ok(answer::file("cpu.pb.gz", profile.await?))
}

/// Does a part of a profile on a thread for such work: it takes long, and the listener's own has probes to answer.
async fn blocking<I, O>(
    kind: &'static str,
    input: I,
    work: impl FnOnce(I) -> Result<O, BoxError> + Send + 'static,
) -> Result<O, Problem>
where
    I: Send + 'static,
    O: Send + 'static,
{
    let result =
        tokio::task::spawn_blocking(move || work(input)).await.unwrap_or_else(|error| Err(error.into()));
    result.map_err(|error| {
        warn!(profile = kind, error, "A profile cannot be made");
        Problem::new(ProblemKind::ProfileFailed, "the log says why")
    })
}

/// Does something that looks up names of functions, and gives back what was read of the program for it: tens of
/// megabytes, which would be the largest entry of the next profile of the heap.
fn with_symbols<O>(work: impl FnOnce() -> Result<O, BoxError>) -> Result<O, BoxError> {
    // One at a time: otherwise the other kind would have to read again what was given back under its hands.
    static SYMBOLS: Mutex<()> = Mutex::new(());
    let _alone = SYMBOLS.lock().unwrap_or_else(PoisonError::into_inner);
    let result = work();
    backtrace::clear_symbol_cache();
    result
}

fn seconds_of(text: Option<&str>) -> Result<Duration, Problem> {
    let Some(text) = text else { return Ok(Duration::from_secs(SECONDS_DEFAULT)) };
    let seconds = text.parse().ok().filter(|seconds| (1..=SECONDS_MAX).contains(seconds));
    seconds.map(Duration::from_secs).ok_or_else(|| {
        let detail = format!("seconds is {text:?}, and must be a whole number from 1 to {SECONDS_MAX}");
        Problem::new(ProblemKind::ParameterInvalid, detail).at("seconds")
    })
}

/// Both profilers write temporary files.
fn choose_directory() {
    if tempfile::tempfile_in(env::temp_dir()).is_err() {
        // An error says that it was chosen before.
        let _ = tempfile::env::override_temp_dir(Path::new(MEMORY_DIRECTORY));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_without_room_for_a_profile_makes_none() {
        let check = |max: u64, used: u64, fits: bool| {
            let memory = MemoryState { max, used, tight: false };
            assert_eq!(room_for(100, memory).is_ok(), fits, "{used} of {max}");
        };
        check(0, 0, true);
        check(1_000, 900, true);
        check(1_000, 901, false);
        check(1_000, 2_000, false);
    }
}
