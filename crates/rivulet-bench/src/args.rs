//! The command line: what is measured, how much of it, and against which servers.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Parser, Subcommand, ValueEnum, value_parser};
use serde::Serialize;

use crate::topics::Topics;

/// Measures Rivulet against a bare epoll loop that writes the same bytes once to every socket.
#[derive(Debug, Parser)]
#[command(name = "rivulet-bench", version)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Memory per idle connection and connects per second, with a topic per connection and with one topic for all
    Idle(IdleArgs),
    /// One topic with many subscribers: one update after another, then a burst from many publishers
    OneTopic(OneTopicArgs),
    /// Redis restarts, or the network to it breaks: how soon every topic's subscriber has what was published meanwhile
    Backfill(BackfillArgs),
    /// The master that Sentinels watch over dies: how long until updates flow again, beside Sentinel's own share
    Failover(FailoverArgs),
    /// Many clients come back at once and resume: what is read from Redis, the memory and the time that it takes
    Resume(ResumeArgs),
    /// Many topics on one node: how soon they are subscribed, and what Redis has to do for them while nothing happens
    Subscribe(SubscribeArgs),
    /// Connections end in every manner while updates flow: is everything that they held given back?
    Churn(ChurnArgs),
    /// Readers stop on the topic of healthy ones: do those notice, what do they cost, and are they ended in time?
    Stuck(StuckArgs),
    /// Hostile clients, one kind after the other: what does the hub spend on them, and do healthy ones notice?
    Hostile(HostileArgs),
    /// Many nodes, one subject with a limit: is it never exceeded, can it be reached, and do killed nodes give back?
    Quota(QuotaArgs),
    /// What tracing costs at full load: hubs without it, unsampled, sampled, and with a mute collector, in turn
    Traces(TracesArgs),
    /// The floor itself: a single-threaded loop with one write per update and socket (the scenarios start it)
    Floor(FloorArgs),
}

/// The program that is measured, and where the result goes.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ProgramArgs {
    /// The rivulet binary; by default the one next to this program, built first if its sources are at hand
    #[arg(long, value_name = "FILE")]
    pub(crate) rivulet: Option<PathBuf>,
    /// Writes settings, runs and summary to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Fails, with status 1, where a goal is missed, or its figure was not measured
    #[arg(long)]
    pub(crate) strict: bool,
}

/// What every scenario has that compares Rivulet with the floor.
#[derive(Clone, Debug, clap::Args, Serialize)]
pub(crate) struct CommonArgs {
    #[command(flatten)]
    #[serde(skip)]
    pub(crate) program: ProgramArgs,
    /// Servers to measure, in this order in every round
    #[arg(long, value_delimiter = ',', default_value = "rivulet,floor")]
    pub(crate) servers: Vec<ServerKind>,
    /// Rivulet's transport; by default redis if redis-server is on the PATH, else memory
    #[arg(long)]
    pub(crate) transport: Option<Transport>,
    /// Connections that publish
    #[arg(long, default_value_t = 16, value_parser = value_parser!(u32).range(1..=256))]
    pub(crate) publishers: u32,
    /// Updates that a publisher sends ahead of their answers in a burst (HTTP pipelining)
    #[arg(long, default_value_t = 16, value_parser = value_parser!(u32).range(1..=64))]
    pub(crate) pipeline: u32,
}

#[derive(Clone, Debug, clap::Args, Serialize)]
pub(crate) struct IdleArgs {
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) common: CommonArgs,
    /// Connections, all to one server
    #[arg(long, default_value_t = 10_000, value_parser = value_parser!(u32).range(1..=100_000))]
    pub(crate) connections: u32,
    /// Phases: a topic per connection, one topic for all
    #[arg(long, value_delimiter = ',', default_value = "own,shared")]
    pub(crate) topics: Vec<Topics>,
    /// Updates that every connection receives between "idle" and "after the burst"
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u32).range(1..=1_000))]
    pub(crate) burst_updates: u32,
    /// Longest wait for the server's memory to stop changing, in seconds
    #[arg(long, default_value_t = 6, value_parser = value_parser!(u32).range(1..=60))]
    pub(crate) settle_s_max: u32,
    /// Times each server is measured
    #[arg(long, default_value_t = 2, value_parser = value_parser!(u32).range(1..=20))]
    pub(crate) rounds: u32,
}

#[derive(Clone, Debug, clap::Args, Serialize)]
pub(crate) struct OneTopicArgs {
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) common: CommonArgs,
    /// Subscribers of the one topic
    #[arg(long, default_value_t = 5_000, value_parser = value_parser!(u32).range(1..=100_000))]
    pub(crate) subscribers: u32,
    /// Updates published one after another, each when all subscribers have the one before
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u32).range(1..=100_000))]
    pub(crate) updates: u32,
    /// Updates published by all publishers at once
    #[arg(long, default_value_t = 400, value_parser = value_parser!(u32).range(1..=100_000))]
    pub(crate) burst_updates: u32,
    /// Times each server is measured
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u32).range(1..=20))]
    pub(crate) rounds: u32,
}

#[derive(Clone, Debug, clap::Args, Serialize)]
pub(crate) struct BackfillArgs {
    #[command(flatten)]
    #[serde(skip)]
    pub(crate) program: ProgramArgs,
    /// Topics, each with one subscriber and one update that it misses
    #[arg(long, default_value_t = 10_000, value_parser = value_parser!(u32).range(1..=100_000))]
    pub(crate) topics: u32,
    /// Times it is measured, each time with servers of its own
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u32).range(1..=20))]
    pub(crate) rounds: u32,
}

#[derive(Clone, Debug, clap::Args, Serialize)]
pub(crate) struct FailoverArgs {
    #[command(flatten)]
    #[serde(skip)]
    pub(crate) program: ProgramArgs,
    /// Replicas of the master
    #[arg(long, default_value_t = 2, value_parser = value_parser!(u32).range(1..=4))]
    pub(crate) replicas: u32,
    /// Times it is measured, each time with servers of its own
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u32).range(1..=20))]
    pub(crate) rounds: u32,
}

#[derive(Clone, Debug, clap::Args, Serialize)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    #[serde(skip)]
    pub(crate) program: ProgramArgs,
    /// Clients that come back at once
    #[arg(long, default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=10_000))]
    pub(crate) clients: u32,
    /// Updates that each of them has missed at least
    #[arg(long, default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=10_000))]
    pub(crate) updates: u32,
    /// Times it is measured, each time with servers of its own
    #[arg(long, default_value_t = 2, value_parser = value_parser!(u32).range(1..=20))]
    pub(crate) rounds: u32,
}

#[derive(Clone, Debug, clap::Args, Serialize)]
pub(crate) struct SubscribeArgs {
    #[command(flatten)]
    #[serde(skip)]
    pub(crate) program: ProgramArgs,
    /// Connections
    #[arg(long, default_value_t = 200, value_parser = value_parser!(u32).range(1..=10_000))]
    pub(crate) connections: u32,
    /// Topics of each connection, none of them another's; a hub takes 100 at most
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u32).range(1..=100))]
    pub(crate) topics_per_connection: u32,
    /// How long Redis is watched while nothing happens, in seconds
    #[arg(long, default_value_t = 6, value_parser = value_parser!(u32).range(1..=600))]
    pub(crate) watch_s: u32,
    /// Times it is measured, each time with servers of its own
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u32).range(1..=20))]
    pub(crate) rounds: u32,
}

#[derive(Clone, Debug, clap::Args, Serialize)]
pub(crate) struct ChurnArgs {
    #[command(flatten)]
    #[serde(skip)]
    pub(crate) program: ProgramArgs,
    /// Connections
    #[arg(long, default_value_t = 200_000, value_parser = value_parser!(u32).range(100..=10_000_000))]
    pub(crate) connections: u32,
    /// Waves in which they come; the heap is looked at after each
    #[arg(long, default_value_t = 10, value_parser = value_parser!(u32).range(2..=10))]
    pub(crate) waves: u32,
    /// Connections at a time
    #[arg(long, default_value_t = 2_000, value_parser = value_parser!(u32).range(1..=15_000))]
    pub(crate) at_once: u32,
    /// Clients beside them that vanish: in a network namespace whose link goes down, which needs root
    #[arg(long, default_value_t = 48, value_parser = value_parser!(u32).range(0..=500))]
    pub(crate) vanish: u32,
    /// The hub's heartbeat, in seconds: timers know of a stream that has ended until its next one would be due
    #[arg(long, default_value_t = 15, value_parser = value_parser!(u32).range(1..=600))]
    pub(crate) heartbeat_s: u32,
    /// How long timers may know of streams that have ended and readers of the log be idle, in seconds, before the heap is judged
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u32).range(0..=600))]
    pub(crate) timers_s: u32,
    /// Over TLS, if the hub can
    #[arg(long)]
    pub(crate) tls: bool,
    /// Writes a heap profile of the hub to this file in the middle of it
    #[arg(long, value_name = "FILE")]
    pub(crate) heap_profile: Option<PathBuf>,
    /// Longest time for all of it, in seconds
    #[arg(long, default_value_t = 1_200, value_parser = value_parser!(u32).range(10..=86_400))]
    pub(crate) time_s_max: u32,
    /// Times it is done, each time with servers of its own
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..=20))]
    pub(crate) rounds: u32,
}

#[derive(Clone, Debug, clap::Args, Serialize)]
pub(crate) struct StuckArgs {
    #[command(flatten)]
    #[serde(skip)]
    pub(crate) program: ProgramArgs,
    /// Subscribers that read
    #[arg(long, default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=8_000))]
    pub(crate) healthy: u32,
    /// Subscribers of the same topic that never do
    #[arg(long, default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=8_000))]
    pub(crate) stuck: u32,
    /// Updates of the topic per second
    #[arg(long, default_value_t = 1_000, value_parser = value_parser!(u32).range(1..=10_000))]
    pub(crate) updates_per_s: u32,
    /// How long each of the four parts is measured, in seconds
    #[arg(long, default_value_t = 8, value_parser = value_parser!(u32).range(1..=600))]
    pub(crate) seconds: u32,
    /// The hub's write deadline, in seconds
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u32).range(1..=600))]
    pub(crate) write_deadline_s: u32,
    /// Times it is measured, each time with servers of its own
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..=20))]
    pub(crate) rounds: u32,
}

#[derive(Clone, Debug, clap::Args, Serialize)]
pub(crate) struct HostileArgs {
    #[command(flatten)]
    #[serde(skip)]
    pub(crate) program: ProgramArgs,
    /// Subscribers that do nothing wrong
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u32).range(1..=8_000))]
    pub(crate) healthy: u32,
    /// Updates per second that they get
    #[arg(long, default_value_t = 50, value_parser = value_parser!(u32).range(1..=10_000))]
    pub(crate) updates_per_s: u32,
    /// Connections of a hostile client that holds many
    #[arg(long, default_value_t = 50, value_parser = value_parser!(u32).range(1..=2_000))]
    pub(crate) connections: u32,
    /// How often it is measured without and with each kind, in turn; of the healthy ones' p99 the least counts
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u32).range(1..=20))]
    pub(crate) pairs: u32,
    /// How long each time, in seconds
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u32).range(1..=600))]
    pub(crate) seconds: u32,
    /// Times it is measured, each time with servers of its own
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..=20))]
    pub(crate) rounds: u32,
}

#[derive(Clone, Debug, clap::Args, Serialize)]
pub(crate) struct QuotaArgs {
    #[command(flatten)]
    #[serde(skip)]
    pub(crate) program: ProgramArgs,
    /// Nodes on one Redis
    #[arg(long, default_value_t = 8, value_parser = value_parser!(u32).range(2..=32))]
    pub(crate) nodes: u32,
    /// Clients of each node, all of one subject
    #[arg(long, default_value_t = 64, value_parser = value_parser!(u32).range(1..=512))]
    pub(crate) clients_per_node: u32,
    /// Streams that the subject may have
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u32).range(1..=2_000))]
    pub(crate) limit: u32,
    /// The lease time of nodes, in seconds; a hub takes 5 at least
    #[arg(long, default_value_t = 5, value_parser = value_parser!(u32).range(5..=60))]
    pub(crate) lease_s: u32,
    /// How long the clients hammer, in seconds
    #[arg(long, default_value_t = 15, value_parser = value_parser!(u32).range(1..=600))]
    pub(crate) seconds: u32,
    /// Times it is measured, each time with servers of its own
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u32).range(1..=20))]
    pub(crate) rounds: u32,
}

#[derive(Clone, Debug, clap::Args, Serialize)]
pub(crate) struct TracesArgs {
    #[command(flatten)]
    #[serde(skip)]
    pub(crate) program: ProgramArgs,
    /// Subscribers of the one topic of each hub: the fewer, the more of the hub's work is what is traced
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u32).range(1..=5_000))]
    pub(crate) subscribers: u32,
    /// Updates of a burst: short ones, so that what drifts is the same for all hubs of a turn
    #[arg(long, default_value_t = 600, value_parser = value_parser!(u32).range(1..=1_000_000))]
    pub(crate) updates: u32,
    /// Connections that publish
    #[arg(long, default_value_t = 16, value_parser = value_parser!(u32).range(1..=256))]
    pub(crate) publishers: u32,
    /// Updates that a publisher sends ahead of their answers (HTTP pipelining)
    #[arg(long, default_value_t = 16, value_parser = value_parser!(u32).range(1..=64))]
    pub(crate) pipeline: u32,
    /// Bursts of each hub, in turn
    #[arg(long, default_value_t = 40, value_parser = value_parser!(u32).range(1..=1_000))]
    pub(crate) turns: u32,
    /// Times all of it is measured, each time with servers of its own
    #[arg(long, default_value_t = 9, value_parser = value_parser!(u32).range(1..=20))]
    pub(crate) rounds: u32,
}

#[derive(Clone, Debug, clap::Args)]
pub(crate) struct FloorArgs {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:3001")]
    pub(crate) listen: SocketAddr,
}

/// A server that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ServerKind {
    /// The hub, with `--dev` and one worker.
    Rivulet,
    /// The bare loop.
    Floor,
}

impl ServerKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            ServerKind::Rivulet => "rivulet",
            ServerKind::Floor => "floor",
        }
    }
}

/// What Rivulet's updates travel through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Transport {
    /// Within the process.
    Memory,
    /// A redis-server that the bench starts.
    Redis,
}

impl IdleArgs {
    /// The longest wait for memory to stop changing.
    pub(crate) fn settle_max(&self) -> Duration {
        Duration::from_secs(self.settle_s_max.into())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_defaults_compare_rivulet_with_the_floor() {
        let Command::OneTopic(args) = Args::parse_from(["rivulet-bench", "one-topic"]).command else {
            panic!("one-topic is a scenario");
        };
        assert_eq!(args.common.servers, [ServerKind::Rivulet, ServerKind::Floor]);
        assert_eq!((args.subscribers, args.common.transport), (5_000, None));
        assert!(args.common.program.json.is_none());
    }
}
