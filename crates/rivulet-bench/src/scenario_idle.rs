//! Scenario `idle`: what a connection costs while nothing happens, and whether a burst makes it cost more.

use std::time::{Duration, Instant};

use indicatif::ProgressBar;

use crate::{
    args::{IdleArgs, ServerKind},
    client::Client,
    load::{self, Load},
    metric::{self, Metric, Phase, count, metric, ratio},
    progress,
    rounds::Plan,
    scenario_one_topic::source_of,
    servers::{Launcher, Server},
    topics::Topics,
    usage::Usage,
};

/// Connections and updates that come and go before the first look at memory: what is allocated once, and the pages of
/// code that serving touches, belong to the server and not to its connections. Few, because an allocator keeps what they
/// gave back and would serve the first measured connections from it.
const WARM_UP_CONNECTIONS: u32 = 10;
/// For how long memory must not have changed to count as settled.
const SETTLED_FOR: Duration = Duration::from_secs(2);
/// What counts as no change, as a share.
const SETTLED_WITHIN: f64 = 0.002;

/// Memory of a server process, in bytes.
#[derive(Clone, Copy)]
struct Memory {
    resident: f64,
    heap: Option<f64>,
}

/// Measures all servers in all rounds and reports.
pub(crate) fn run(args: &IdleArgs) -> anyhow::Result<()> {
    let settings = serde_json::to_value(args)?;
    let measure = |launcher: &Launcher, server, round| -> anyhow::Result<Vec<Phase>> {
        args.topics
            .iter()
            .map(|topics| Idle { args, kind: server, round, topics: *topics }.measure(launcher))
            .collect()
    };
    Plan::comparing("idle", &args.common, settings, (args.connections, args.rounds)).run(&measure)
}

/// One phase of one run.
struct Idle<'a> {
    args: &'a IdleArgs,
    kind: ServerKind,
    round: u32,
    topics: Topics,
}

impl Idle<'_> {
    fn measure(&self, launcher: &Launcher) -> anyhow::Result<Phase> {
        // A fresh server for each phase: the memory that another phase left behind would hide what this one takes.
        let mut server = launcher.launch(self.kind)?;
        let metrics = self.measure_server(&server);
        server.check_alive()?;
        Ok(Phase::new(self.topics.phase(), metrics?))
    }

    fn measure_server(&self, server: &Server) -> anyhow::Result<Vec<Metric>> {
        let mut client = Client::new(server.hub, source_of(self.kind, self.round))?;
        self.warm_up(&mut client)?;
        let before = self.settle(&mut client, server, "memory before")?;

        let clocks = Usage::now(server)?;
        let bar = self.bar("connect", self.args.connections);
        let opened_in = client.open_subscribers(self.args.connections, self.topics, &bar)?;
        bar.finish_and_clear();
        let connecting = clocks.until(&Usage::now(server)?);
        let idle = self.settle(&mut client, server, "memory idle")?;

        let clocks = Usage::now(server)?;
        let bar = self.bar("burst", self.deliveries());
        let outcome = load::burst(&mut client, self.burst(), &bar)?;
        bar.finish_and_clear();
        let bursting = clocks.until(&Usage::now(server)?);
        let loaded = self.settle(&mut client, server, "memory after the burst")?;

        client.close_subscribers();
        let after = self.settle(&mut client, server, "memory after disconnect")?;

        let connections = f64::from(self.args.connections);
        let mut metrics = vec![
            metric("connections", connections),
            metric("connects_per_s", ratio(connections, opened_in.as_secs_f64())),
            metric("server_cpu_us_per_connect", ratio(connecting.server.as_secs_f64() * 1e6, connections)),
        ];
        metrics.extend(memory_metrics(connections, before, [idle, loaded, after]));
        metrics.extend(metric::of_load(&outcome, &bursting));
        Ok(metrics)
    }

    fn warm_up(&self, client: &mut Client) -> anyhow::Result<()> {
        let hidden = ProgressBar::hidden();
        let connections = WARM_UP_CONNECTIONS.min(self.args.connections);
        client.open_subscribers(connections, self.topics, &hidden)?;
        let burst = self.burst();
        load::burst(client, Load { updates: burst.updates.min(connections * 10), ..burst }, &hidden)?;
        client.close_subscribers();
        Ok(())
    }

    /// The load in which every connection receives the same number of updates.
    fn burst(&self) -> Load {
        let updates = match self.topics {
            Topics::Own => self.deliveries(),
            Topics::Shared => self.args.burst_updates,
        };
        let common = &self.args.common;
        Load { topics: self.topics, updates, publishers: common.publishers, pipeline: common.pipeline }
    }

    fn deliveries(&self) -> u32 {
        self.args.connections.saturating_mul(self.args.burst_updates)
    }

    /// Waits until memory has stopped changing, at most as long as the arguments say, and reads it.
    fn settle(&self, client: &mut Client, server: &Server, step: &str) -> anyhow::Result<Memory> {
        let spinner = progress::wait(self.kind.name(), self.round, step);
        let deadline = Instant::now() + self.args.settle_max();
        let (mut settled_at, mut unchanged_since) = (count(server.resident()?), Instant::now());
        while unchanged_since.elapsed() < SETTLED_FOR && Instant::now() < deadline {
            client.idle_for(progress::WAIT_TICK)?;
            spinner.tick();
            let resident = count(server.resident()?);
            if (resident - settled_at).abs() > settled_at * SETTLED_WITHIN {
                (settled_at, unchanged_since) = (resident, Instant::now());
            }
        }
        spinner.finish_and_clear();
        // Resident memory first: answering a request for metrics takes some.
        Ok(Memory { resident: count(server.resident()?), heap: server.heap() })
    }

    fn bar(&self, step: &str, len: u32) -> ProgressBar {
        progress::bar(self.kind.name(), self.round, &format!("{}: {step}", self.topics.phase()), len.into())
    }
}

/// Memory in total before, then per connection above that: idle, after the burst, and what is kept after disconnect.
fn memory_metrics(connections: f64, before: Memory, later: [Memory; 3]) -> Vec<Metric> {
    let resident = ["idle_resident_bytes", "after_burst_resident_bytes", "after_disconnect_resident_bytes"];
    let heap = ["idle_heap_bytes", "after_burst_heap_bytes", "after_disconnect_heap_bytes"];
    let mut metrics = vec![metric("before_resident_mib", before.resident / (1024.0 * 1024.0))];
    for (name, memory) in resident.into_iter().zip(later) {
        metrics.push(metric(name, ratio(memory.resident - before.resident, connections)));
    }
    for (name, memory) in heap.into_iter().zip(later) {
        if let (Some(now), Some(before)) = (memory.heap, before.heap) {
            metrics.push(metric(name, ratio(now - before, connections)));
        }
    }
    metrics
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_counted_per_connection_above_what_was_there_before() {
        let memory = |resident: f64| Memory { resident, heap: None };
        let metrics =
            memory_metrics(10.0, memory(1_048_576.0), [1_058_576.0, 1_068_576.0, 1_048_576.0].map(memory));
        let values: Vec<f64> = metrics.iter().map(|metric| metric.value).collect();
        assert_eq!(values, [1.0, 1_000.0, 2_000.0, 0.0]);
    }
}
