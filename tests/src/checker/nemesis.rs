//! The nemesis: breaks one thing after another as the schedule says, and mends it.

use std::{sync::Arc, time::Duration};

use rand::{SeedableRng as _, rngs::StdRng};

use super::{
    fleet::Fleet,
    history::{Breakage, Name},
    publisher::{Letter, Press},
    schedule::{Nemesis, Step},
    stage::{Stage, Topology},
    world::World,
};
use crate::chaos_proxy::Network;

/// The output buffers of pub/sub connections, as a burst trips them and as Redis has them.
const TIGHT_LIMIT: &str = "pubsub 256kb 64kb 1";
const USUAL_LIMIT: &str = "pubsub 32mb 8mb 60";

/// The burst that trips them: so many updates of so many bytes.
const BURST_COUNT: u32 = 40;
const BURST_LEN: usize = 100 * 1024;

/// Publishers from here on are bursts.
pub const BURST_PUBLISHER: u32 = 1_000;

/// Everything that can be broken.
#[derive(Debug)]
pub struct Arena {
    /// The records.
    pub world: Arc<World>,
    /// Its shape.
    pub topology: Topology,
    /// Redis.
    pub stage: Stage,
    /// The nodes.
    pub fleet: Fleet,
    /// For bursts.
    pub press: Press,
    /// Where bursts go.
    pub topics: Arc<[String]>,
    /// For how many replicas the hub waits.
    pub replicas: usize,
}

impl Arena {
    /// Breaks one thing, waits, and mends it. A thing that could not be broken is an accident.
    pub async fn perform(&mut self, number: usize, step: &Step) {
        tokio::time::sleep(step.rest).await;
        let from = self.world.now();
        let ends = matches!(step.nemesis, Nemesis::KillNode | Nemesis::TermNode);
        let node = ends.then(|| self.fleet.address(pick(step, self.fleet.places())));
        let done = self.break_and_mend(number, step).await;
        let what = done.unwrap_or_else(|error| {
            self.world.accident(format!("step {number}, {step}: {error}"));
            error
        });
        self.world.broke(Breakage {
            from,
            to: self.world.now(),
            text: format!("{}: {what}", step.nemesis.name()),
            node,
            effect: step.nemesis.effect(self.topology, self.replicas),
        });
    }

    /// Mends everything and waits until Redis and all nodes are well.
    pub async fn heal(&mut self) {
        if let Err(error) = self.stage.heal().await {
            self.world.accident(format!("Redis does not get well: {error}"));
        }
        self.fleet.wait_until_all_ready().await;
    }

    async fn break_and_mend(&mut self, number: usize, step: &Step) -> Result<String, String> {
        match step.nemesis {
            Nemesis::KillNode | Nemesis::TermNode => self.replace_node(step).await,
            Nemesis::RestartRedis | Nemesis::WipeRedis => self.restart(step).await,
            Nemesis::KillMaster | Nemesis::KillPrimary => self.fail_over(step, false).await,
            Nemesis::LagReplica => self.fail_over(step, true).await,
            Nemesis::MigrateSlots => self.migrate(step).await,
            Nemesis::Cut => self.disturb(step, Network::Cut).await,
            Nemesis::HalfOpen => self.disturb(step, Network::HalfOpen).await,
            Nemesis::Delay => {
                let delay = Duration::from_millis(20 + step.target % 180);
                self.disturb(step, Network::Slow(delay)).await
            }
            Nemesis::KillPubsub => self.kill_pubsub(step).await,
            Nemesis::StallSubscriber => Ok(self.stall(step).await),
            Nemesis::OutputLimit => self.burst(number, step).await,
        }
    }

    async fn replace_node(&mut self, step: &Step) -> Result<String, String> {
        let place = pick(step, self.fleet.places());
        let old = self.fleet.address(place);
        match step.nemesis {
            Nemesis::KillNode => self.fleet.kill(place).await,
            _ => self.fleet.terminate(place).await,
        }
        tokio::time::sleep(step.lasting).await;
        self.fleet.replace(place).await;
        Ok(format!("node {old}, replaced by {}", self.fleet.address(place)))
    }

    async fn restart(&mut self, step: &Step) -> Result<String, String> {
        let server = &mut self.stage.servers()[0];
        server.crash();
        tokio::time::sleep(step.lasting).await;
        match step.nemesis {
            Nemesis::WipeRedis => server.restart_empty().await,
            _ => server.restart().await,
        }
        Ok(format!("away for {:?}", step.lasting))
    }

    async fn fail_over(&mut self, step: &Step, lags: bool) -> Result<String, String> {
        let leaders = self.stage.leaders()?;
        let leader = leaders[pick(step, leaders.len())];
        let replica = self.stage.replica_of(leader)?;
        if lags {
            self.stage.servers()[replica].freeze();
            tokio::time::sleep(step.lasting).await;
        }
        self.stage.servers()[leader].crash();
        self.stage.servers()[replica].thaw();
        let died = self.world.now();
        let next = self.stage.failed_over(leader, replica).await?;
        let took = self.world.now() - died;
        tokio::time::sleep(step.lasting).await;
        self.stage.servers()[leader].restart().await;
        self.stage.heal().await?;
        Ok(format!(
            "server {leader} died, server {next} took over after {took:.1?}, replica {replica} lagged: {lags}"
        ))
    }

    async fn migrate(&mut self, step: &Step) -> Result<String, String> {
        let Stage::Cluster(cluster) = &self.stage else { return Err("no slots here".to_owned()) };
        let primaries = cluster.primaries()?;
        let (from, to) = (pick(step, primaries.len()), pick(step, primaries.len()) + 1);
        let (from, to) = (primaries[from], primaries[to % primaries.len()]);
        let used = cluster.used_slots(from)?;
        let count = (used.len() / 3).clamp(1, 6);
        let moved: Vec<u16> =
            used.iter().copied().cycle().skip(pick(step, used.len().max(1))).take(count).collect();
        for slot in &moved {
            cluster.migrate(*slot, from, to)?;
            tokio::time::sleep(step.lasting / 5).await;
        }
        Ok(format!("slots {moved:?} from server {from} to {to}"))
    }

    async fn disturb(&mut self, step: &Step, network: Network) -> Result<String, String> {
        let breakable = self.stage.breakable()?;
        // Every third time for all: a network that is gone for everybody is what Redis' death looks like.
        let all = step.target.is_multiple_of(3) && self.topology == Topology::Standalone;
        let chosen = if all { breakable } else { vec![breakable[pick(step, breakable.len())]] };
        for number in &chosen {
            self.stage.proxies()[*number].set(network);
        }
        tokio::time::sleep(step.lasting).await;
        for number in &chosen {
            self.stage.proxies()[*number].set(Network::Whole);
        }
        if self.topology != Topology::Standalone {
            self.stage.heal().await?;
        }
        Ok(format!("{network:?} for {:?}, proxies {chosen:?}", step.lasting))
    }

    async fn kill_pubsub(&mut self, step: &Step) -> Result<String, String> {
        let leaders = self.stage.leaders()?;
        let mut killed = 0;
        for _ in 0..3 {
            for leader in &leaders {
                let answer = self.stage.servers()[*leader].command(&["CLIENT", "KILL", "TYPE", "pubsub"])?;
                killed += answer.parse::<u32>().unwrap_or(0);
            }
            tokio::time::sleep(step.lasting / 3).await;
        }
        Ok(format!("{killed} connections"))
    }

    async fn stall(&self, step: &Step) -> String {
        let books = self.world.books();
        let chosen: Vec<usize> =
            (0..5).map(|offset| (pick(step, books.len()) + 3 * offset) % books.len()).collect();
        for number in &chosen {
            books[*number].stall(self.world.now(), step.lasting);
        }
        tokio::time::sleep(step.lasting).await;
        format!("subscribers {chosen:?} for {:?}", step.lasting)
    }

    async fn burst(&mut self, number: usize, step: &Step) -> Result<String, String> {
        let trips = |stage: &mut Stage| -> usize {
            let logs = stage.servers().iter().map(|server| server.log());
            logs.map(|log| log.matches("output buffer limits").count()).sum()
        };
        let before = trips(&mut self.stage);
        let breakable = self.stage.breakable()?;
        let chosen = breakable[pick(step, breakable.len())];
        for leader in self.stage.leaders()? {
            set_limit(&mut self.stage, leader, TIGHT_LIMIT)?;
        }
        self.stage.proxies()[chosen].set(Network::Slow(Duration::from_millis(250)));
        let publisher = BURST_PUBLISHER + u32::try_from(number).expect("a few steps");
        let topic = self.topics[pick(step, self.topics.len())].clone();
        let letters = (0..BURST_COUNT).map(|number| Letter {
            name: Name { publisher, number },
            topics: vec![topic.clone()],
            private: false,
            padding: BURST_LEN,
        });
        let sending = letters.map(|letter| {
            let press = self.press.clone();
            tokio::spawn(async move {
                let mut rng = StdRng::seed_from_u64(u64::from(letter.name.number));
                press.publish(&letter, &mut rng).await
            })
        });
        let sending: Vec<_> = sending.collect();
        tokio::time::sleep(step.lasting).await;
        self.stage.proxies()[chosen].set(Network::Whole);
        for sent in sending {
            // Nobody ends them before they end.
            let _ = sent.await;
        }
        for leader in self.stage.leaders()? {
            set_limit(&mut self.stage, leader, USUAL_LIMIT)?;
        }
        let tripped = trips(&mut self.stage) - before;
        Ok(format!(
            "{BURST_COUNT} updates of {BURST_LEN} bytes on {topic}, the limit tripped {tripped} times"
        ))
    }
}

fn set_limit(stage: &mut Stage, server: usize, limit: &str) -> Result<(), String> {
    let arguments = ["CONFIG", "SET", "client-output-buffer-limit", limit];
    stage.servers()[server].command(&arguments).map(|_| ())
}

/// Which of `count` things a step means.
fn pick(step: &Step, count: usize) -> usize {
    usize::try_from(step.target).unwrap_or_default() % count
}
