//! What Sentinels say: which server is the master.

use std::{collections::HashMap, time::Duration};

use futures_util::future::join_all;
use redis::RedisResult;

use crate::{connector::Connector, deployment::Server, reason::reason};

/// How long one Sentinel may take: the others answer for one that is gone.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// The master that the Sentinel with the latest configuration knows, with its epoch. The one that led a failover is the
/// first to know its end, so neither a vote nor whoever answers first will do.
pub(crate) async fn ask(
    connector: &Connector,
    sentinels: &[Server],
    master: &str,
) -> Result<(u64, Server), String> {
    let answers = join_all(sentinels.iter().map(|sentinel| ask_one(connector, sentinel, master))).await;
    let mut reasons = Vec::new();
    let mut best: Option<(u64, Server)> = None;
    for (sentinel, answer) in sentinels.iter().zip(answers) {
        match answer {
            Ok((epoch, server)) if best.as_ref().is_none_or(|(latest, _)| epoch > *latest) => {
                best = Some((epoch, server));
            }
            Ok(_) => {}
            Err(reason) => reasons.push(format!("{sentinel}: {reason}")),
        }
    }
    best.ok_or_else(|| reasons.join("; "))
}

async fn ask_one(connector: &Connector, sentinel: &Server, master: &str) -> Result<(u64, Server), String> {
    let asked = async {
        let mut connection = connector.sentinel(sentinel).await?;
        let answer: RedisResult<HashMap<String, String>> =
            redis::cmd("SENTINEL").arg("MASTER").arg(master).query_async(&mut connection).await;
        answer
    };
    let answer = tokio::time::timeout(ANSWER_MAX, asked).await;
    let fields = answer.map_err(|_| format!("no answer within {ANSWER_MAX:?}"))?;
    let fields = fields.map_err(|error| reason(&error))?;
    let field = |name: &str| fields.get(name).ok_or_else(|| format!("its answer has no {name}"));
    let port = field("port")?.parse().map_err(|_| "its answer has no port".to_owned())?;
    let epoch = field("config-epoch")?.parse().unwrap_or(0);
    Ok((epoch, Server::Tcp(field("ip")?.clone(), port)))
}
