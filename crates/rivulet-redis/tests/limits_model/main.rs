//! The scripts that count, against a model of a few lines: whatever happens in whatever order, both answer the same, and
//! hold the same in the end. Time passes as the test says, in another century, where no key of Redis' own time expires.
//!
//! Some seconds by default; two million steps, in four minutes, with
//!
//! ```text
//! RIVULET_MODEL_STEPS=2000000 cargo test -p rivulet-redis --test limits_model
//! ```

// In a test a panic is the report.
#![allow(clippy::unwrap_used)]

#[path = "../harness/mod.rs"]
mod harness;
mod model;
mod publishing;
mod steps;

use std::collections::BTreeMap;

use harness::RedisServer;
use model::{Call, Model, RATES, SCRIPTS, Script};
use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError, TestError, TestRunner},
};
use redis::{Value, aio::MultiplexedConnection};
use steps::steps;

/// How many steps travel at once.
const BATCH_LEN: usize = 250;

/// Runs what the model has called for.
async fn run(
    connection: &mut MultiplexedConnection,
    digests: &[String],
    calls: Vec<Call>,
) -> Result<(), TestCaseError> {
    let mut pipeline = redis::pipe();
    for call in &calls {
        pipeline
            .cmd("EVALSHA")
            .arg(&digests[call.script as usize])
            .arg(call.keys.len())
            .arg(&call.keys)
            .arg(&call.args);
    }
    let answers: Vec<Value> = pipeline.query_async(connection).await.unwrap();
    for (answer, call) in answers.into_iter().zip(calls) {
        let mut answer = answer;
        if let (Value::Array(answer), Value::Array(expected)) = (&mut answer, &call.expected) {
            for (answer, expected) in answer.iter_mut().zip(expected) {
                if *expected == Value::Nil {
                    *answer = Value::Nil;
                }
            }
        }
        prop_assert_eq!(answer, call.expected, "{:?} {:?}", call.keys, call.args);
    }
    Ok(())
}

/// What Redis holds in the end.
async fn compare(connection: &mut MultiplexedConnection, model: &Model) -> Result<(), TestCaseError> {
    for (name, incarnation) in model.live() {
        let mut held: BTreeMap<String, String> =
            redis::cmd("HGETALL").arg(model.hash(name)).query_async(connection).await.unwrap();
        prop_assert_eq!(held.remove("v"), Some(incarnation.changes.to_string()));
        prop_assert_eq!(held.remove("s"), Some(incarnation.began.to_string()));
        prop_assert!(held.remove("c").is_some());
        let counts = incarnation.counts.iter().filter(|(_, count)| **count > 0);
        let expected: BTreeMap<String, String> =
            counts.map(|(scope, count)| ((*scope).to_owned(), count.to_string())).collect();
        prop_assert_eq!(held, expected, "{}", name);
    }
    for (rate, ..) in RATES {
        let arrival: Option<u64> =
            redis::cmd("GET").arg(model.key(&format!("r:{rate}"))).query_async(connection).await.unwrap();
        let expected = model.arrivals.get(rate).copied().unwrap_or(0);
        prop_assert_eq!(arrival.unwrap_or(0).max(model.now), expected.max(model.now), "{}", rate);
    }
    let keys: Vec<String> =
        redis::cmd("KEYS").arg(format!("{{{}}}*", model.prefix)).query_async(connection).await.unwrap();
    for key in keys {
        let expires: i64 = redis::cmd("PTTL").arg(&key).query_async(connection).await.unwrap();
        prop_assert!(expires > 0, "{} expires", key);
    }
    Ok(())
}

/// Whatever the formula: in any time no more has passed than the burst, and what the rate allows in that time.
fn never_too_fast(model: &Model) -> Result<(), TestCaseError> {
    for (rate, interval, burst) in RATES {
        let passed = model.passed.get(rate).map_or(&[][..], Vec::as_slice);
        for (first, begun) in passed.iter().enumerate() {
            for (last, ended) in passed.iter().enumerate().skip(first) {
                let count = (last - first + 1) as u64;
                prop_assert!(count * interval <= ended - begun + burst, "{} in {}", count, rate);
            }
        }
    }
    Ok(())
}

/// All scripts but one take the time from their caller, if it has one. An append has none but Redis': here its envelope says
/// what the time is.
fn in_the_time_of_the_test() -> [String; SCRIPTS.len()] {
    let mut scripts = SCRIPTS.map(str::to_owned);
    let append = &mut scripts[Script::Append as usize];
    let time = "local time = call('TIME')\n";
    assert_eq!(append.matches(time).count(), 1);
    *append = append.replace(time, "local time = { 0, ARGV[1] + 0 }\n");
    scripts
}

#[test]
fn the_scripts_that_count_are_what_the_model_is() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = runtime.block_on(RedisServer::start());
    let mut connection = runtime.block_on(server.connection());
    let mut digests = Vec::new();
    for script in in_the_time_of_the_test() {
        let load = async |connection: &mut MultiplexedConnection| {
            redis::cmd("SCRIPT").arg("LOAD").arg(&script).query_async::<String>(connection).await
        };
        digests.push(runtime.block_on(load(&mut connection)).unwrap());
    }
    let wanted: u32 = std::env::var("RIVULET_MODEL_STEPS").map_or(20_000, |steps| steps.parse().unwrap());
    let config = Config { cases: wanted.div_ceil(1000), failure_persistence: None, ..Config::default() };
    let (case, done) = (std::cell::Cell::new(0_u32), std::cell::Cell::new(0));
    let begun = std::time::Instant::now();
    let outcome = TestRunner::new(config).run(&steps(), |steps| {
        case.set(case.get() + 1);
        done.set(done.get() + steps.len());
        let mut connection = connection.clone();
        runtime.block_on(async {
            let mut model = Model::new(format!("model-{}", case.get()));
            for batch in steps.chunks(BATCH_LEN) {
                batch.iter().for_each(|step| model.step(step));
                run(&mut connection, &digests, std::mem::take(&mut model.calls)).await?;
            }
            compare(&mut connection, &model).await?;
            never_too_fast(&model)?;
            let _: () = redis::cmd("FLUSHALL").query_async(&mut connection).await.unwrap();
            Ok(())
        })
    });
    match outcome {
        Ok(()) => println!("{} steps in {:?}", done.get(), begun.elapsed()),
        Err(TestError::Fail(reason, steps)) => panic!("{reason}\n{steps:#?}"),
        Err(error) => panic!("{error}"),
    }
    assert!(done.get() >= 20_000, "{} steps", done.get());
}

#[tokio::test]
async fn time_that_has_passed_is_not_given_back() {
    let server = RedisServer::start().await;
    // Ten in a second, one at once.
    let rate = async |ms: u64, how: &str, more: &str| {
        let now = (4_000_000_000_000_000 + ms * 1000).to_string();
        let call = ["EVAL", SCRIPTS[6], "1", "{model}r:a", &now, how, "100000", more];
        server.command::<Vec<String>>(&call).await
    };
    let first = rate(0, "take", "100000").await;
    assert_eq!(first, ["ok", "4000000000100000"]);
    let second = rate(100, "take", "100000").await;
    assert_eq!(second[0], "ok");
    rate(101, "back", &first[1]).await;
    assert_eq!(rate(102, "take", "100000").await[0], "fast");
    rate(103, "back", &second[1]).await;
    assert_eq!(rate(104, "take", "100000").await[0], "ok");
}
