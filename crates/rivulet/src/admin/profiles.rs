//! `/debug/pprof`: what is on the heap, and where the CPU's time goes, in the format that `go tool pprof` reads. Names of
//! functions are looked up here, so that a profile opens without the program that it is of.
//!
//! Of each kind one profile is made at a time. Both may be made at once: the CPU's profiler stops no thread within the
//! unwinder or the C library, where the allocator may stand.

use std::{env, path::Path, sync::Arc, time::Duration};

use actix_web::{HttpRequest, HttpResponse, web};
use pprof::{ProfilerGuard, ProfilerGuardBuilder, protos::Message as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::warn;

use super::{
    State, answer,
    answer::{Problem, ProblemKind},
    endpoint::{Endpoint, parameters},
    heap,
};

/// How often the CPU's profiler looks, per second of CPU time. Not a round number, so that it does not beat with timers.
const FREQUENCY: i32 = 99;
/// Code in which no thread is looked at: it may hold locks that unwinding needs.
const BLOCKLIST: [&str; 4] = ["libc.so", "libgcc", "pthread", "vdso"];
/// How long the CPU is watched unless the request says it.
const SECONDS_DEFAULT: u64 = 10;
/// The longest that it may say.
const SECONDS_MAX: u64 = 60;
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

async fn heap_profile(request: HttpRequest, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    let [] = parameters(&request, [])?;
    let permit = begin(&state.profiles.heap, RETRY_HEAP)?;
    let profile = blocking("heap", permit, |_permit| {
        choose_directory();
        with_symbols(heap::profile)
    });
    match profile.await? {
        Some(profile) => Ok(answer::file("heap.pb.gz", profile)),
        None => {
            let detail = "the allocator was built or started without prof:true (see _RJEM_MALLOC_CONF)";
            Err(Problem::new(ProblemKind::ProfileOff, detail))
        }
    }
}

/// The guard of a running profiler, with the place of the one who runs it. Dropping it ends the profile: so does a client
/// that goes away.
struct Running {
    guard: ProfilerGuard<'static>,
    _permit: OwnedSemaphorePermit,
}

async fn cpu_profile(request: HttpRequest, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    let [seconds] = parameters(&request, ["seconds"])?;
    let seconds = seconds_of(seconds.as_deref())?;
    let permit = begin(&state.profiles.cpu, seconds)?;
    let running = blocking("cpu", permit, |permit| {
        choose_directory();
        let profiler = ProfilerGuardBuilder::default().frequency(FREQUENCY).blocklist(&BLOCKLIST);
        with_symbols(|| Ok(Running { guard: profiler.build()?, _permit: permit }))
    });
    let running = running.await?;
    tokio::time::sleep(seconds).await;
    let profile =
        blocking("cpu", running, |running| Ok(running.guard.report().build()?.pprof()?.encode_to_vec()));
    Ok(answer::file("profile.pb", profile.await?))
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
