//! The schedule of a run: everything that will be broken, drawn from the seed before anything starts.

use std::{fmt, time::Duration};

use clap::ValueEnum;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

use super::{history::Effect, stage::Topology};

/// What can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, ValueEnum)]
pub enum Nemesis {
    /// kill -9 of a node; another one takes its place.
    KillNode,
    /// SIGTERM to a node; another one takes its place.
    TermNode,
    /// redis-server dies and comes back with its data.
    RestartRedis,
    /// redis-server dies and comes back without its data.
    WipeRedis,
    /// The Sentinel master dies and another server takes over.
    KillMaster,
    /// A Cluster primary dies and its replica takes over.
    KillPrimary,
    /// Slots with keys move from one primary to another.
    MigrateSlots,
    /// Connections to Redis are reset, and new ones too.
    Cut,
    /// Everything between nodes and Redis arrives late.
    Delay,
    /// Connections to Redis are up and nothing passes.
    HalfOpen,
    /// CLIENT KILL TYPE pubsub, several times.
    KillPubsub,
    /// A replica stands still for a while, then the leader dies.
    LagReplica,
    /// Subscribers stop reading.
    StallSubscriber,
    /// A burst that trips the limit of Redis' output buffers.
    OutputLimit,
}

impl Nemesis {
    /// Its name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Whether there is something to break in this shape of Redis.
    pub fn fits(self, topology: Topology) -> bool {
        match self {
            Self::RestartRedis | Self::WipeRedis => topology == Topology::Standalone,
            Self::KillMaster => topology == Topology::Sentinel,
            Self::KillPrimary | Self::MigrateSlots => topology == Topology::Cluster,
            Self::LagReplica => topology != Topology::Standalone,
            _ => true,
        }
    }

    /// What it may do to updates, where the hub waits for this many replicas before it acknowledges.
    pub fn effect(self, topology: Topology, replicas: usize) -> Effect {
        let fails_over = match self {
            Self::WipeRedis => return Effect::Loses,
            Self::KillMaster | Self::KillPrimary | Self::LagReplica => true,
            // Long enough, they end in a failover too.
            Self::Cut | Self::HalfOpen | Self::Delay | Self::OutputLimit => topology != Topology::Standalone,
            _ => false,
        };
        match fails_over {
            false => Effect::Nothing,
            true if replicas < topology.replicas() => Effect::Loses,
            true => Effect::Forgets,
        }
    }

    /// How long it lasts, in milliseconds.
    fn lasting(self) -> std::ops::Range<u64> {
        match self {
            Self::KillNode | Self::TermNode => 50..1_500,
            Self::RestartRedis | Self::WipeRedis => 50..3_000,
            Self::KillMaster | Self::KillPrimary => 100..1_500,
            Self::MigrateSlots => 100..500,
            Self::Cut => 200..4_000,
            Self::Delay => 1_000..4_000,
            Self::HalfOpen => 500..9_000,
            Self::KillPubsub => 100..1_000,
            Self::LagReplica => 1_000..3_000,
            Self::StallSubscriber => 2_000..9_000,
            Self::OutputLimit => 1_500..3_000,
        }
    }
}

/// One thing that is broken, and mended.
#[derive(Clone, Debug)]
pub struct Step {
    /// How long nothing is broken before it.
    pub rest: Duration,
    /// What.
    pub nemesis: Nemesis,
    /// How long.
    pub lasting: Duration,
    /// Which of those that can be broken: any number, taken modulo their count.
    pub target: u64,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rest, lasting) = (self.rest.as_millis(), self.lasting.as_millis());
        write!(f, "after {rest} ms {} for {lasting} ms (target {})", self.nemesis.name(), self.target)
    }
}

/// Draws steps until they fill the time. Each nemesis comes once before any comes twice.
pub fn draw(seed: u64, nemeses: &[Nemesis], time: Duration) -> Vec<Step> {
    let mut rng = StdRng::seed_from_u64(seed ^ 0x6E65_6D65_7369_7321);
    let (mut steps, mut filled) = (Vec::new(), Duration::ZERO);
    while !nemeses.is_empty() && filled < time {
        let mut deck = nemeses.to_vec();
        deck.shuffle(&mut rng);
        for nemesis in deck {
            let rest = Duration::from_millis(rng.random_range(300..2_000));
            let lasting = Duration::from_millis(rng.random_range(nemesis.lasting()));
            steps.push(Step { rest, nemesis, lasting, target: rng.random_range(0..1_000) });
            filled += rest + lasting;
            if filled >= time {
                break;
            }
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_schedule() {
        let draw = |seed| {
            let steps = draw(seed, Nemesis::value_variants(), Duration::from_secs(60));
            steps.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
