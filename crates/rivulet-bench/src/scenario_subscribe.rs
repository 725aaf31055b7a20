//! Scenario `subscribe`: many topics on one node. How soon are they subscribed, and what has Redis to do for them while
//! nothing happens?

use std::time::{Duration, Instant};

use crate::{
    args::SubscribeArgs,
    client::Client,
    goal::Goal,
    metric::{Metric, Phase, count, metric, ratio},
    progress,
    redis_client::RedisClient,
    rounds::Plan,
    scenario_one_topic::source_of,
    servers::Launcher,
    subscriber,
    token::bench_token,
    topics::Topics,
};

const PHASE: &str = "subscribe";
/// What is asked for: all streams are open so soon.
const GOAL_S: f64 = 3.0;
/// After the start, and after the streams are open, until nothing but the steady state is left.
const SETTLE: Duration = Duration::from_secs(2);

/// Measures and reports.
pub(crate) fn run(args: &SubscribeArgs) -> anyhow::Result<()> {
    let settings = serde_json::to_value(args)?;
    let goals = vec![Goal::new(PHASE, "all_open_s", GOAL_S)];
    let size = (args.connections, args.rounds);
    Plan::of_rivulet("subscribe", &args.program, settings, size, goals).run(&|launcher, kind, round| {
        let metrics = measure(args, launcher, source_of(kind, round), round)?;
        Ok(vec![Phase::new(PHASE, metrics)])
    })
}

fn measure(args: &SubscribeArgs, launcher: &Launcher, source: u8, round: u32) -> anyhow::Result<Vec<Metric>> {
    let mut server = launcher.launch_hub_with_redis(&[])?;
    let mut client = Client::new(server.hub, source)?;
    let mut redis = server.redis_client()?;
    client.idle_for(SETTLE)?;
    let empty = Watched::watch(args, &mut client, &mut redis, round)?;

    let (hub, token, each) = (server.hub, bench_token()?, args.topics_per_connection as usize);
    let request = |index: usize| {
        let topics = (index * each..(index + 1) * each).map(|topic| Topics::Own.of_subscriber(topic));
        let query: Vec<String> = topics.map(|topic| format!("topic={topic}")).collect();
        subscriber::request_with(hub, &query.join("&"), &token, "")
    };
    let (cpu, resident) = (server.cpu()?, server.resident()?);
    let bar = progress::bar("rivulet", round, "streams open", args.connections.into());
    let opened_in = client.open_streams(args.connections, &request, &bar)?;
    bar.finish_and_clear();
    let cpu = server.cpu()?.saturating_sub(cpu);
    let channels = redis.info("stats")?.number("pubsub_channels");
    client.idle_for(SETTLE)?;
    let resident = count(server.resident()?) - count(resident);
    let full = Watched::watch(args, &mut client, &mut redis, round)?;
    server.check_alive()?;

    let topics = f64::from(args.connections) * f64::from(args.topics_per_connection);
    Ok(vec![
        metric("topics", topics),
        metric("all_open_s", opened_in.as_secs_f64()),
        metric("topics_per_s", ratio(topics, opened_in.as_secs_f64())),
        metric("redis_channels", count(channels)),
        metric("server_cpu_us_per_topic", ratio(cpu.as_secs_f64() * 1e6, topics)),
        metric("resident_bytes_per_topic", ratio(resident, topics)),
        metric("redis_commands_per_s_empty", empty.commands_per_s),
        metric("redis_commands_per_s_full", full.commands_per_s),
        metric("redis_commands_per_s_more", full.commands_per_s - empty.commands_per_s),
        metric("redis_input_bytes_per_s_empty", empty.input_bytes_per_s),
        metric("redis_input_bytes_per_s_full", full.input_bytes_per_s),
        metric("closed_streams", count(client.tally().closed)),
    ])
}

/// What Redis did while nothing happened.
struct Watched {
    commands_per_s: f64,
    input_bytes_per_s: f64,
}

impl Watched {
    fn watch(
        args: &SubscribeArgs,
        client: &mut Client,
        redis: &mut RedisClient,
        round: u32,
    ) -> anyhow::Result<Self> {
        let spinner = progress::wait("rivulet", round, "Redis is watched");
        let (before, began) = (redis.info("stats")?, Instant::now());
        while began.elapsed() < Duration::from_secs(args.watch_s.into()) {
            client.idle_for(progress::WAIT_TICK)?;
            spinner.tick();
        }
        let (after, elapsed_s) = (redis.info("stats")?, began.elapsed().as_secs_f64());
        spinner.finish_and_clear();
        // The first question counts itself among what came after it.
        let commands = |name: &str| count(after.number(name).saturating_sub(before.number(name)));
        Ok(Self {
            commands_per_s: (commands("total_commands_processed") - 1.0).max(0.0) / elapsed_s,
            input_bytes_per_s: commands("total_net_input_bytes") / elapsed_s,
        })
    }
}
