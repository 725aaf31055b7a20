//! What the user of the URL has to be allowed, and whether it is. Without this the first update, or the first subscriber
//! who leaves, would find out, while `/ready` says that all is well.
//!
//! Each command is tried in a way that changes nothing. Redis looks at permissions before anything else, so another error
//! (out of memory, a replica) says that this much is allowed; what it means is told elsewhere.

use futures_util::future::join_all;
use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, aio::MultiplexedConnection, cmd};

use crate::keys::{Keys, Names};

/// Beside these, `INFO` and `CONFIG GET` are for checks that are left out without them, and `SELECT` is for databases
/// other than 0.
const COMMANDS: &str = "+ping +time +unwatch +eval +evalsha +get +set +del +pexpire +pexpireat \
     +hsetnx +hmget +hget +hset +hdel +hincrby +hgetall +zadd +zrem +zscore +zrangebyscore +xadd +xtrim +xrange";
const OF_CHANNELS: &str = "+publish +subscribe +unsubscribe";
const OF_CLUSTERS: &str =
    "+spublish +ssubscribe +sunsubscribe +cluster|info +cluster|nodes +cluster|slots +asking";

/// What a deployment asks of its user.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs {
    pub(crate) is_cluster: bool,
    /// Whether replicas are waited for.
    pub(crate) waits: bool,
}

impl Needs {
    /// The rules of an ACL user that has what is needed and nothing else.
    pub(crate) fn rules(self, keys: &Keys) -> String {
        let (prefix, commands) = (keys.prefix(), if self.is_cluster { OF_CLUSTERS } else { OF_CHANNELS });
        let wait = if self.waits { " +wait" } else { "" };
        format!("~{{{prefix}}}* ~{{{prefix}:* &{{{prefix}:* {COMMANDS} {commands}{wait}")
    }

    /// Tries everything on a server, with the names of a partition that stands there; answers what is missing.
    pub(crate) async fn missing(self, connection: &MultiplexedConnection, names: &Names) -> Option<String> {
        let tried =
            self.trials(names).into_iter().map(|trial| {
                let mut connection = connection.clone();
                async move {
                    trial.query_async::<redis::Value>(&mut connection).await.err().as_ref().and_then(denied)
                }
            });
        let mut missing: Vec<String> = join_all(tried).await.into_iter().flatten().collect();
        missing.sort();
        missing.dedup();
        (!missing.is_empty()).then(|| missing.join(", "))
    }

    /// On keys that are never there, with conditions that never hold, and on a channel that nobody listens to.
    fn trials(self, names: &Names) -> Vec<Cmd> {
        let [stream, last, id, key] = ["t:", "l:", "i:", "k:"].map(|kind| names.nothing(kind));
        let [hash, set] = ["q:n:", "q:"].map(|kind| names.nothing(kind));
        let channel = names.nothing("n:");
        let sharded = if self.is_cluster { "S" } else { "" };
        let on_channel = |name: &str| cmd(&format!("{sharded}{name}")).arg(&channel).take();
        let mut trials = vec![
            cmd("PING"),
            cmd("TIME"),
            cmd("UNWATCH"),
            command("EVAL", &["return 0", "0"]),
            command("EVALSHA", &["0000000000000000000000000000000000000000", "0"]),
            command("GET", &[&names.clock]),
            command("SET", &[&last, "", "XX", "GET", "PX", "1"]),
            command("SET", &[&id, "", "XX", "PX", "1"]),
            command("PEXPIRE", &[&key, "1"]),
            command("DEL", &[&key]),
            command("PEXPIREAT", &[&key, "1"]),
            command("HMGET", &[&key, "format"]),
            command("HGET", &[&hash, "v"]),
            // Refused for the arguments, after the permissions were looked at.
            command("HSET", &[&hash, "v", "0", "v"]),
            command("HINCRBY", &[&hash, "v", "none"]),
            command("HDEL", &[&hash, "v"]),
            command("HGETALL", &[&hash]),
            command("ZADD", &[&set, "XX", "0", "v"]),
            command("ZREM", &[&set, "v"]),
            command("ZSCORE", &[&set, "v"]),
            command("ZRANGEBYSCORE", &[&set, "0", "0"]),
            command("XADD", &[&stream, "NOMKSTREAM", "*", "p", "0"]),
            command("XTRIM", &[&stream, "MAXLEN", "1"]),
            command("XRANGE", &[&names.index, "1-0", "1-0"]),
            on_channel("PUBLISH").arg("").take(),
            on_channel("SUBSCRIBE"),
            on_channel("UNSUBSCRIBE"),
        ];
        trials.extend(self.is_cluster.then(|| cmd("ASKING")));
        trials.extend(self.waits.then(|| command("WAIT", &["0", "1"])));
        trials
    }
}

fn command(name: &str, arguments: &[&str]) -> Cmd {
    cmd(name).arg(arguments).take()
}

/// What was not allowed, if that is what is wrong: "run the 'xadd' command", "access a key".
fn denied(error: &RedisError) -> Option<String> {
    if error.kind() != ErrorKind::Server(ServerErrorKind::NoPerm) {
        return None;
    }
    let detail = error.detail().unwrap_or("do this").to_owned();
    Some(detail.split_once("o permissions to ").map_or(detail.clone(), |(_, what)| what.to_owned()))
}
