//! Scenario `failover`: the master that Sentinels watch over is killed while updates are published. How long until one
//! is acknowledged again and until one arrives, and how much of that is Sentinel's own?
//!
//! Sentinel's share ends when the first of the Sentinels, asked every few milliseconds, names another master; before
//! that nobody can know. It is at least the time for which the master has to be silent. `+switch-master` comes later:
//! when the other replicas have been told.

use std::time::{Duration, Instant};

use anyhow::bail;

use crate::{
    args::FailoverArgs,
    client::{Client, Receipt},
    metric::{Metric, Phase, count, metric},
    progress,
    retrying_publisher::{Acknowledged, RetryingPublisher},
    rounds::Plan,
    scenario_one_topic::source_of,
    sentinel::{Progress, SentinelGroup},
    servers::Launcher,
    token::bench_token,
    topics::Topics,
};

/// Updates that arrive before the master dies.
const BEFORE: usize = 20;
/// Longest wait for those, and for what is on its way at the end.
const ARRIVAL_MAX: Duration = Duration::from_secs(10);
/// Longest wait until updates flow again.
const FAILOVER_MAX: Duration = Duration::from_secs(60);
/// For how long updates flow after that.
const AFTER: Duration = Duration::from_secs(1);
/// How often the Sentinels are asked, and the longest turn of the client meanwhile.
const LOOK: Duration = Duration::from_millis(5);

/// Measures and reports.
pub(crate) fn run(args: &FailoverArgs) -> anyhow::Result<()> {
    let settings = serde_json::to_value(args)?;
    Plan::of_rivulet("failover", &args.program, settings, (1, args.rounds), Vec::new()).run(
        &|launcher, kind, round| {
            let metrics = measure(args, launcher, source_of(kind, round), round)?;
            Ok(vec![Phase::new("the master is killed", metrics)])
        },
    )
}

/// What happened after the master's death; times in nanoseconds since the client began.
#[derive(Default)]
struct Course {
    died_ns: u64,
    promoted_ns: Option<u64>,
    switched_ns: Option<u64>,
    /// Of all updates, from the first on.
    acknowledged: Vec<Acknowledged>,
}

fn measure(args: &FailoverArgs, launcher: &Launcher, source: u8, round: u32) -> anyhow::Result<Vec<Metric>> {
    let spinner = progress::wait("rivulet", round, "Sentinels settle");
    let mut group = SentinelGroup::start(launcher, args.replicas)?;
    let mut server = launcher.launch_hub(Some(&group.url()), &[], |cores| cores.server)?;
    let mut client = Client::new(server.hub, source)?;
    client.open_subscribers(1, Topics::Shared, &indicatif::ProgressBar::hidden())?;
    client.start_journal();
    let topic = Topics::Shared.of_subscriber(0);
    let mut publisher = RetryingPublisher::start(server.hub, bench_token()?, topic, client.began());
    arrive(&mut client, ARRIVAL_MAX, |client| client.journal().len() >= BEFORE)?;
    spinner.finish_and_clear();

    let spinner = progress::wait("rivulet", round, "failover");
    let mut course = Course { died_ns: client.now_ns(), ..Course::default() };
    group.kill_master()?;
    let deadline = Instant::now() + FAILOVER_MAX;
    while course.switched_ns.is_none()
        || course.first_acknowledged().is_none()
        || course.first_delivered(client.journal()).is_none()
    {
        if Instant::now() > deadline {
            server.check_alive()?;
            bail!("no update is through {FAILOVER_MAX:?} after the master's death");
        }
        client.turn(LOOK)?;
        if course.switched_ns.is_none() {
            course.note(group.progress()?, client.now_ns());
        }
        course.acknowledged.extend(publisher.acknowledged());
    }
    client.idle_for(AFTER)?;
    publisher.stop();
    course.acknowledged.extend(publisher.acknowledged());
    let last = course.acknowledged.last().map_or(0, |acknowledged| acknowledged.number);
    let arrived = |client: &Client| client.journal().iter().any(|receipt| receipt.number >= last);
    arrive(&mut client, ARRIVAL_MAX, arrived)?;
    spinner.finish_and_clear();
    server.check_alive()?;
    Ok(course.metrics(&client, publisher.refused()))
}

fn arrive(client: &mut Client, wait_max: Duration, done: impl Fn(&Client) -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + wait_max;
    while !done(client) {
        if Instant::now() > deadline {
            bail!("waited {wait_max:?} in vain for updates");
        }
        client.turn(LOOK)?;
    }
    Ok(())
}

impl Course {
    fn note(&mut self, progress: Progress, now_ns: u64) {
        if progress >= Progress::Promoted {
            self.promoted_ns.get_or_insert(now_ns);
        }
        if progress >= Progress::Switched {
            self.switched_ns.get_or_insert(now_ns);
        }
    }

    /// The first update that was asked for after the death, and acknowledged. An answer to an earlier request may have
    /// been on its way when the master died.
    fn first_acknowledged(&self) -> Option<Acknowledged> {
        self.acknowledged.iter().copied().find(|acknowledged| acknowledged.asked_ns > self.died_ns)
    }

    /// The delivery of that update or a later one: nothing else shows that updates flow again.
    fn first_delivered(&self, journal: &[Receipt]) -> Option<Receipt> {
        let first = self.first_acknowledged()?.number;
        let is_it = |receipt: &&Receipt| receipt.number >= first && receipt.received_ns > self.died_ns;
        journal.iter().find(is_it).copied()
    }

    fn metrics(&self, client: &Client, refused: u32) -> Vec<Metric> {
        let since_death = |ns: u64| count(ns.saturating_sub(self.died_ns)) / 1e6;
        let promoted = self.promoted_ns.map_or(f64::NAN, since_death);
        let switched = self.switched_ns.map_or(f64::NAN, since_death);
        let acknowledged = self.first_acknowledged().map_or(f64::NAN, |first| since_death(first.answered_ns));
        let delivered =
            self.first_delivered(client.journal()).map_or(f64::NAN, |first| since_death(first.received_ns));
        let numbers: Vec<u32> = client.journal().iter().map(|receipt| receipt.number).collect();
        let lost = self.acknowledged.iter().filter(|one| !numbers.contains(&one.number)).count();
        let distinct: std::collections::BTreeSet<u32> = numbers.iter().copied().collect();
        vec![
            metric("sentinel_names_another_ms", promoted),
            metric("sentinel_switch_master_ms", switched),
            metric("first_acknowledged_ms", acknowledged),
            metric("first_delivery_ms", delivered),
            metric("delivery_after_named_ms", delivered - promoted),
            metric("delivery_after_switch_ms", delivered - switched),
            metric("acknowledged_updates", count(self.acknowledged.len() as u64)),
            metric("acknowledged_and_lost", count(lost as u64)),
            metric("duplicates", count((numbers.len() - distinct.len()) as u64)),
            metric("refused_requests", f64::from(refused)),
            metric("closed_streams", count(client.tally().closed)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_before_the_death_proves_nothing() {
        let acknowledged = |number, asked_ns, answered_ns| Acknowledged { number, asked_ns, answered_ns };
        let course = Course {
            died_ns: 100,
            promoted_ns: None,
            switched_ns: None,
            acknowledged: vec![acknowledged(1, 10, 20), acknowledged(2, 99, 105), acknowledged(3, 150, 170)],
        };
        assert_eq!(course.first_acknowledged().map(|first| first.number), Some(3));
        let receipt = |number, received_ns| Receipt { number, received_ns };
        let journal = [receipt(1, 15), receipt(2, 103), receipt(3, 99), receipt(4, 190)];
        assert_eq!(course.first_delivered(&journal), Some(receipt(4, 190)));
        assert_eq!(course.first_delivered(&journal[..3]), None);
    }
}
