//! `rivulet serve`: puts the parts together, in the order transport, node, HTTP, admin, and takes them apart again.

use std::{net::TcpListener, process::ExitCode, sync::Arc, time::Duration};

use clap::ArgMatches;
use rivulet_http::{Certificates, HttpConfig, HttpServerHandle};
use rivulet_node::{Node, NodeConfig, StreamTimes};
use tokio::runtime::{Builder, Runtime};
use tracing::{info, warn};

use crate::{
    admin,
    admin::Admin,
    config::{Config, Mode},
    connect::connect,
    drain::Running,
    exit::{Code, Failure},
    layers::Environment,
    logs::Logs,
    memory::{MemoryLimit, MemorySampler},
    observed::Observed,
    process::{self, Room},
    reload::{Given, LOOK_INTERVAL, ReloadStats, Reloader, Seen, Told},
    signals::{self, Signals},
    telemetry::Telemetry,
};

/// Threads for Redis, the pump and the admin listener; connections are served by the workers' own threads.
const RUNTIME_THREADS_MAX: usize = 4;
/// How long tasks that were left over may take to notice that the runtime ends.
const RUNTIME_STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs the hub until a signal stops it.
pub(crate) fn run(matches: &ArgMatches, environment: &Environment) -> Result<ExitCode, Failure> {
    let given = Given { matches: matches.clone(), environment: environment.clone() };
    let seen = given.look();
    let config = Arc::new(Config::read(matches, environment).map_err(Failure::mistakes)?);
    let logs = Logs::start(&config.log);
    announce(&config);
    let runtime = runtime(config.workers.get())?;
    runtime.spawn(Arc::clone(&logs).tend());
    let result = runtime.block_on(serve(config, (given, seen), &logs));
    logs.finish();
    runtime.shutdown_timeout(RUNTIME_STOP_TIMEOUT);
    result
}

fn announce(config: &Config) {
    info!(version = env!("CARGO_PKG_VERSION"), settings = config.layers.describe(), "Rivulet starts");
    for warning in &config.warnings {
        warn!("{warning}");
    }
    if config.mode == Mode::Development {
        warn!(
            "DEVELOPMENT MODE, NOT FOR PRODUCTION: everybody may subscribe, pages of every origin may read, and \
             whoever knows the well-known development key may publish"
        );
    }
}

fn runtime(workers: usize) -> Result<Runtime, Failure> {
    // One thread stays for the looks at the files. Two that take turns, as after two looks at once, wait longer, and one goes.
    let blocking_idle_max = LOOK_INTERVAL * 3 / 2;
    Builder::new_multi_thread()
        .worker_threads(workers.min(RUNTIME_THREADS_MAX))
        .thread_name("rivulet-runtime")
        .thread_keep_alive(blocking_idle_max)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Code::Software, format!("the runtime does not start: {error}")))
}

#[expect(clippy::needless_pass_by_value, reason = "what `map_err` calls takes the error")]
fn signals_deaf(error: std::io::Error) -> Failure {
    Failure::new(Code::Software, format!("signals cannot be received: {error}"))
}

async fn serve(started: Arc<Config>, given: (Given, Seen), logs: &Arc<Logs>) -> Result<ExitCode, Failure> {
    let config = &*started;
    let mut signals = Signals::listen().map_err(signals_deaf)?;
    let hangups = signals::hangups().map_err(signals_deaf)?;
    let cannot_listen = |flag: &str, address, error| {
        Failure::unavailable(format!("cannot listen on {address} ({flag}): {error}"))
    };
    let admin_listener = TcpListener::bind(config.admin_listen)
        .map_err(|error| cannot_listen("--admin-listen", config.admin_listen, error))?;
    let room = room(config);
    let memory = MemorySampler::start(MemoryLimit::resolve(config.memory_max));
    let memory_max = Some(memory.state().borrow().max).filter(|max| *max > 0);
    let (transport, feed) = tokio::select! {
        connected = connect(config, &admin_listener) => connected?,
        signal = signals.next() => return Ok(ExitCode::from(signal.exit_code())),
    };
    let node_config = NodeConfig { memory_max, ..node_config(config, room.streams) };
    let node = Node::start(Arc::clone(&transport), feed, node_config);
    let telemetry = Telemetry::start(config.telemetry.as_ref(), node.id().to_string())?;
    memory.tell(Arc::clone(&node));
    config.authorizer.start(&tokio::runtime::Handle::current());
    let http_config = http_config(config, room);
    let stats = Arc::clone(&http_config.stats);
    let mut http = rivulet_http::serve(Arc::clone(&node), http_config)
        .map_err(|error| cannot_listen("--listen", config.listen, error))?;
    let reloads = Arc::<ReloadStats>::default();
    let told = Told {
        live: Arc::clone(http.live()),
        node: Arc::clone(&node),
        logs: Arc::clone(logs),
        certificates: certificates(config),
        stats: Arc::clone(&reloads),
        room,
        runtime: tokio::runtime::Handle::current(),
    };
    let reloader = Reloader::start(given.0, Arc::clone(&started), given.1, told, hangups);
    let observed = Observed {
        node: Arc::clone(&node),
        memory: memory.state(),
        http: stats,
        listener: Arc::clone(http.listener_stats()),
        spans: Arc::clone(telemetry.stats()),
        logs: Arc::clone(logs),
        live: Arc::clone(http.live()),
        reloads,
        runtime: tokio::runtime::Handle::current(),
    };
    let admin = admin::serve(observed, admin_listener, config.admin_tls.clone())
        .map_err(|error| cannot_listen("--admin-listen", config.admin_listen, error))?;
    announce_addresses(config, &node, &http, &admin);

    let signal = tokio::select! {
        signal = signals.next() => signal,
        ended = http.ended() => {
            let reason = ended.err().map_or_else(|| "nobody knows why".to_owned(), |error| error.to_string());
            return Err(Failure::new(Code::Software, format!("the server has ended by itself: {reason}")));
        }
    };
    let stopping = reloader.in_force().stopping;
    let time_max = stopping.time_max();
    info!(signal = signal.name(), ?time_max, "Rivulet stops: it is not ready any more");
    let stopped = Running { transport, node, http, telemetry, admin }.stop(stopping);
    Ok(end(stopped, time_max, &mut signals).await)
}

/// Waits until everything has stopped, but neither for longer than it may take nor after a second signal.
async fn end(stopped: impl Future<Output = ()>, time_max: Duration, signals: &mut Signals) -> ExitCode {
    tokio::select! {
        result = tokio::time::timeout(time_max, stopped) => {
            match result {
                Ok(()) => info!("Rivulet has stopped"),
                Err(_) => warn!("Rivulet stops with something still under way after {time_max:?}"),
            }
            ExitCode::SUCCESS
        }
        second = signals.next() => {
            warn!(signal = second.name(), "Rivulet stops at once: a second signal came");
            ExitCode::from(second.exit_code())
        }
    }
}

fn announce_addresses(config: &Config, node: &Node, http: &HttpServerHandle, admin: &Admin) {
    info!(
        address = %http.address(),
        tls = config.listener.tls.is_some(),
        admin.address = %admin.address,
        admin.tls = config.admin_tls.is_some(),
        transport = node.transport_name(),
        node.id = %node.id(),
        workers = config.workers,
        connections_max = node.connections_max(),
        "Rivulet listens"
    );
}

/// How many connections this node holds, after the limit of open files has been raised as far as it goes.
fn room(config: &Config) -> Room {
    let file_limit = match process::raise_file_limit() {
        Ok(file_limit) => file_limit,
        Err(error) => {
            warn!(%error, "The limit of open files cannot be raised");
            process::file_limit().unwrap_or(1024)
        }
    };
    let fits = process::room_under(file_limit);
    let room = Room { streams: config.connections_max.unwrap_or(fits.streams), ..fits };
    let (connections_max, requests_max) = (room.streams, requests_max(config, room));
    info!(file_limit, connections_max, requests_max, "The limit of open files is raised");
    if connections_max > fits.streams {
        warn!(
            file_limit,
            connections_max, "--connections-max is more than three quarters of the limit of open files"
        );
    }
    room
}

/// How many connections of each worker may be in a request or between two, as far as files go.
fn requests_max(config: &Config, room: Room) -> usize {
    rivulet_http::requests_within(room.requests / config.workers)
}

/// All certificates that are shown to anybody.
fn certificates(config: &Config) -> Vec<Arc<Certificates>> {
    let admin = config.admin_tls.as_ref().map(|tls| &tls.certificates);
    config.listener.tls.iter().chain(admin).cloned().collect()
}

fn node_config(config: &Config, connections_max: usize) -> NodeConfig {
    NodeConfig {
        heartbeat: config.heartbeat,
        lifetime: config.lifetime,
        write_deadline: config.write_deadline,
        connections_max,
        replays_max: config.limits.replays_max,
        shed: config.stopping.shed,
        trace_updates: config.tracing.updates,
        expose_trace: config.tracing.expose,
        ..NodeConfig::default()
    }
}

/// What of a node's configuration may change.
pub(crate) fn stream_times(config: &Config) -> StreamTimes {
    StreamTimes {
        heartbeat: config.heartbeat,
        lifetime: config.lifetime,
        write_deadline: config.write_deadline,
        shed: config.stopping.shed,
    }
}

/// What the HTTP face is told, at the start and when the configuration is read again.
pub(crate) fn http_config(config: &Config, room: Room) -> HttpConfig {
    let http = HttpConfig::new(Arc::clone(&config.authorizer));
    HttpConfig {
        requests_max: requests_max(config, room).min(http.requests_max),
        listen: config.listen,
        workers: config.workers,
        anonymous: config.anonymous,
        cors: config.cors.clone(),
        publish_origins: config.publish_origins.clone(),
        hub_url: config.hub_url.clone(),
        body_len_max: config.body_limit,
        batch_len_max: config.batch_limit,
        bodies_in_flight_max: config.limits.bodies_in_flight,
        limits: Arc::new(config.limits.hub.clone()),
        tls: config.listener.tls.clone(),
        proxy_protocol: config.listener.proxy_protocol,
        trusted_proxies: config.listener.trusted_proxies.clone(),
        forwarding_header: config.listener.forwarding_header,
        send_buffer_len: config.send_buffer,
        trace_headers: config.telemetry.as_ref().map_or(http.trace_headers, |to| to.trace_headers),
        ..http
    }
}
