//! Scenario `backfill`: a node loses Redis, every topic gets an update meanwhile, and Redis comes back. How soon does
//! every subscriber have what it missed, and what is the time spent on?
//!
//! The node reaches Redis through a proxy that is cut while another node, which is not, publishes. In the first phase
//! Redis itself is killed and restarted after that; the network comes back when it answers. In the second only the
//! network was away.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use indicatif::ProgressBar;

use crate::{
    args::BackfillArgs,
    client::Client,
    goal::Goal,
    metric::{Phase, count, metric},
    payload::Stamp,
    poster::Poster,
    progress,
    proxy::Proxy,
    redis_client::RedisClient,
    redis_server::{Keeping, RedisServer},
    rounds::Plan,
    scenario_one_topic::source_of,
    servers::{Launcher, Server},
    token::bench_token,
    topics::Topics,
};

const RESTART: &str = "redis restart";
const NETWORK: &str = "network back";
/// What is asked for: everything is delivered so soon after Redis is there again.
const GOAL_MS: f64 = 2_000.0;
/// Longest wait for the deliveries; what has not arrived by then counts as lost.
const DELIVERY_MAX: Duration = Duration::from_secs(60);
/// Longest wait until the node's feed is live again.
const LIVE_MAX: Duration = Duration::from_secs(30);
/// How often Redis is asked how far the subscriptions are, and the longest turn meanwhile.
const LOOK: Duration = Duration::from_millis(5);
/// How long is listened for copies after the last delivery.
const AFTERMATH: Duration = Duration::from_millis(500);

/// Measures and reports.
pub(crate) fn run(args: &BackfillArgs) -> anyhow::Result<()> {
    let settings = serde_json::to_value(args)?;
    let goals = [RESTART, NETWORK].map(|phase| Goal::new(phase, "last_delivery_ms", GOAL_MS)).to_vec();
    let size = (args.topics, args.rounds);
    Plan::of_rivulet("backfill", &args.program, settings, size, goals).run(&|launcher, kind, round| {
        let redis = launcher.launch_redis(Keeping::OnDisk, &[])?;
        let proxy = Proxy::start(redis.address)?;
        let url = format!("redis://{}", proxy.address);
        let server = launcher.launch_hub(Some(&url), &[], |cores| cores.server)?;
        let mut client = Client::new(server.hub, source_of(kind, round))?;
        let bar = progress::bar("rivulet", round, "subscribers connect", args.topics.into());
        client.open_subscribers(args.topics, Topics::Own, &bar)?;
        bar.finish_and_clear();
        let mut backfill = Backfill { args, launcher, round, redis, proxy, server, client };
        [RESTART, NETWORK].into_iter().map(|phase| backfill.measure(phase)).collect()
    })
}

/// One round.
struct Backfill<'a> {
    args: &'a BackfillArgs,
    launcher: &'a Launcher,
    round: u32,
    redis: RedisServer,
    proxy: Proxy,
    server: Server,
    client: Client,
}

/// When things happened, since Redis was there again.
struct Course {
    reconnected: Option<Duration>,
    subscribed: Option<Duration>,
    first_delivery: Option<Duration>,
    last_delivery: Duration,
}

impl Backfill<'_> {
    fn measure(&mut self, phase: &'static str) -> anyhow::Result<Phase> {
        self.await_live()?;
        self.client.reset();
        self.proxy.cut();
        let publishing = Instant::now();
        self.publish_elsewhere()?;
        let away = publishing.elapsed();
        let restart = if phase == RESTART { Some(self.restart_redis()?) } else { None };
        let cpu = self.server.cpu()?;
        let ready = Instant::now();
        self.proxy.restore()?;
        let course = self.follow(ready)?;
        self.server.check_alive()?;
        let cpu = self.server.cpu()?.saturating_sub(cpu);
        self.client.idle_for(AFTERMATH)?;
        let (lost, copies) = self.client.received().fold((0, 0), |(lost, copies), received| {
            (lost + u64::from(received == 0), copies + received.saturating_sub(1))
        });
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        let mut metrics = vec![
            metric("missed_updates", f64::from(self.args.topics)),
            metric("published_meanwhile_ms", ms(away)),
        ];
        for (name, at) in [
            ("redis_restart_ms", restart),
            ("reconnect_ms", course.reconnected),
            ("subscribed_ms", course.subscribed),
            ("first_delivery_ms", course.first_delivery),
            ("last_delivery_ms", Some(course.last_delivery)),
            ("last_after_reconnect_ms", course.reconnected.map(|at| course.last_delivery.saturating_sub(at))),
        ] {
            metrics.extend(at.map(|at| metric(name, ms(at))));
        }
        metrics.extend([
            metric("server_cpu_ms", ms(cpu)),
            metric("lost", count(lost)),
            metric("duplicates", count(copies)),
            metric("closed_streams", count(self.client.tally().closed)),
        ]);
        Ok(Phase::new(phase, metrics))
    }

    /// The feed has to be live before it is broken.
    fn await_live(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + LIVE_MAX;
        while !self.server.is_ready() {
            if Instant::now() > deadline {
                bail!("the node is not ready {LIVE_MAX:?} after Redis was there again");
            }
            self.client.idle_for(progress::WAIT_TICK)?;
        }
        Ok(())
    }

    /// Kills and restarts Redis with all its data; answers how long it took until it answered again.
    fn restart_redis(&mut self) -> anyhow::Result<Duration> {
        self.redis.flush()?;
        let keys = self.redis.client()?.command(&["DBSIZE"])?;
        self.redis.kill()?;
        let restarting = Instant::now();
        self.redis.restart()?;
        let restart = restarting.elapsed();
        let found = self.redis.client()?.command(&["DBSIZE"])?;
        if found != keys {
            bail!("Redis has lost data in its restart: it had {keys:?} keys and has {found:?}");
        }
        Ok(restart)
    }

    /// An update to each topic, through a node that reaches Redis and then goes.
    fn publish_elsewhere(&mut self) -> anyhow::Result<()> {
        let url = format!("redis://{}", self.redis.address);
        let other = self.launcher.launch_hub(Some(&url), &[], |cores| cores.redis)?;
        let sent_ns = self.client.now_ns();
        let updates = (0..self.args.topics)
            .map(|number| (Topics::Own.of_subscriber(number as usize), Stamp { number, sent_ns }));
        Poster::connect(other.hub, &bench_token()?)?.publish_all(updates)?;
        if self.client.tally().deliveries > 0 {
            bail!("the network was cut, and updates were delivered all the same");
        }
        Ok(())
    }

    /// Takes events until everything is delivered, and asks Redis meanwhile how far the subscriptions are.
    fn follow(&mut self, ready: Instant) -> anyhow::Result<Course> {
        let (due, mut redis) = (u64::from(self.args.topics), self.redis.client()?);
        let bar = progress::bar("rivulet", self.round, "missed updates", due);
        let (mut subscribed, mut first_delivery, mut looked) = (None, None, ready);
        while self.client.tally().deliveries < due && ready.elapsed() < DELIVERY_MAX {
            self.client.turn(LOOK)?;
            if self.client.tally().deliveries > 0 {
                first_delivery.get_or_insert_with(|| ready.elapsed());
            }
            if subscribed.is_none() && looked.elapsed() >= LOOK {
                looked = Instant::now();
                subscribed = (channels(&mut redis)? >= due).then(|| ready.elapsed());
            }
            show(&bar, self.client.tally().deliveries);
        }
        bar.finish_and_clear();
        let began = self.client.began();
        let last = began + Duration::from_nanos(self.client.last_delivery_ns());
        let reconnected = self.proxy.first_connection().map(|at| at.duration_since(ready));
        Ok(Course { reconnected, subscribed, first_delivery, last_delivery: last.duration_since(ready) })
    }
}

/// A bar costs more than a turn: it is drawn seldom.
fn show(bar: &ProgressBar, deliveries: u64) {
    if deliveries > bar.position() {
        bar.set_position(deliveries);
    }
}

fn channels(redis: &mut RedisClient) -> anyhow::Result<u64> {
    let info = redis.info("stats")?;
    info.text("pubsub_channels").context("INFO stats has no pubsub_channels")?;
    Ok(info.number("pubsub_channels"))
}
