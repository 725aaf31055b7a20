//! Scenario `one-topic`: what one update to many costs, alone and in a burst.

use crate::{
    args::{OneTopicArgs, ServerKind},
    client::Client,
    load::{self, Load, Outcome},
    metric::{self, Phase},
    progress,
    rounds::Plan,
    servers::{Launcher, Server},
    topics::Topics,
    usage::Usage,
};

/// Updates before the first measured one, so that caches are warm and lazy parts are there.
const WARM_UP_UPDATES: u32 = 5;

/// Measures all servers in all rounds and reports.
pub(crate) fn run(args: &OneTopicArgs) -> anyhow::Result<()> {
    let settings = serde_json::to_value(args)?;
    let measure = |launcher: &Launcher, server, round| measure(args, launcher, server, round);
    Plan::comparing("one-topic", &args.common, settings, (args.subscribers, args.rounds)).run(&measure)
}

fn measure(
    args: &OneTopicArgs,
    launcher: &Launcher,
    kind: ServerKind,
    round: u32,
) -> anyhow::Result<Vec<Phase>> {
    let mut server = launcher.launch(kind)?;
    let mut client = Client::new(server.hub, source_of(kind, round))?;
    let bar = |step: &str, updates: u32| {
        progress::bar(kind.name(), round, step, u64::from(updates) * u64::from(args.subscribers))
    };

    let opening = progress::bar(kind.name(), round, "subscribers connect", args.subscribers.into());
    client.open_subscribers(args.subscribers, Topics::Shared, &opening)?;
    opening.finish_and_clear();

    let single = Load { topics: Topics::Shared, updates: WARM_UP_UPDATES, publishers: 1, pipeline: 1 };
    load::one_by_one(&mut client, single, &indicatif::ProgressBar::hidden())?;

    let step = bar("one after another", args.updates);
    let one_by_one = phase("one after another", &mut server, || {
        load::one_by_one(&mut client, Load { updates: args.updates, ..single }, &step)
    })?;
    step.finish_and_clear();

    let (publishers, pipeline) = (args.common.publishers, args.common.pipeline);
    let step = bar("burst", args.burst_updates);
    let burst = phase("burst", &mut server, || {
        load::burst(&mut client, Load { updates: args.burst_updates, publishers, pipeline, ..single }, &step)
    })?;
    step.finish_and_clear();
    Ok(vec![one_by_one, burst])
}

/// Runs a load between two looks at the clocks.
fn phase(
    name: &'static str,
    server: &mut Server,
    load: impl FnOnce() -> anyhow::Result<Outcome>,
) -> anyhow::Result<Phase> {
    let before = Usage::now(server)?;
    let outcome = load();
    // A server that died is the better explanation of a load that failed.
    server.check_alive()?;
    let (outcome, after) = (outcome?, Usage::now(server)?);
    Ok(Phase::new(name, metric::of_load(&outcome, &before.until(&after))))
}

/// A source address block of its own for each run.
pub(crate) fn source_of(kind: ServerKind, round: u32) -> u8 {
    let server = match kind {
        ServerKind::Rivulet => 0,
        ServerKind::Floor => 1,
    };
    u8::try_from((round * 2 + server) % 250).expect("a remainder of 250 is below 250")
}
