//! What Sentinels say: which server is the master.

use std::{collections::HashMap, time::Duration};

use futures_util::future::join_all;
use redis::RedisResult;

use crate::{connector::Connector, deployment::Server, reason::reason, topology::Agreed};

/// How long one Sentinel may take: the others answer for one that is gone.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// The master that the Sentinel with the latest configuration knows, with its epoch, and whether most Sentinels say the
/// same. The one that led a failover is the first to know its end, so neither a vote nor whoever answers first will do.
pub(crate) async fn ask(
    connector: &Connector,
    sentinels: &[Server],
    master: &str,
) -> Result<(u64, Server, Agreed), String> {
    let answers = join_all(sentinels.iter().map(|sentinel| ask_one(connector, sentinel, master))).await;
    let mut reasons = Vec::new();
    let mut said: Vec<(u64, Server)> = Vec::new();
    for (sentinel, answer) in sentinels.iter().zip(answers) {
        match answer {
            Ok(answer) => said.push(answer),
            Err(reason) => reasons.push(format!("{sentinel}: {reason}")),
        }
    }
    let (epoch, server) = said.iter().max_by_key(|(epoch, _)| *epoch).ok_or_else(|| reasons.join("; "))?;
    let same = said.iter().filter(|(_, other)| other == server).count();
    let agreed = if same * 2 > sentinels.len() { Agreed::Yes } else { Agreed::No };
    Ok((*epoch, server.clone(), agreed))
}

/// The epoch is a field of the master; the address is asked for by itself, since it is that of the new master as soon as
/// there is one, while the field goes on naming the old one until all replicas follow.
async fn ask_one(connector: &Connector, sentinel: &Server, master: &str) -> Result<(u64, Server), String> {
    let asked = async {
        let mut connection = connector.sentinel(sentinel).await?;
        let mut pipeline = redis::pipe();
        pipeline.cmd("SENTINEL").arg("MASTER").arg(master);
        pipeline.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master);
        let answer: RedisResult<(HashMap<String, String>, (String, u16))> =
            pipeline.query_async(&mut connection).await;
        answer
    };
    let answer = tokio::time::timeout(ANSWER_MAX, asked).await;
    let answer = answer.map_err(|_| format!("no answer within {ANSWER_MAX:?}"))?;
    let (fields, (host, port)) = answer.map_err(|error| reason(&error))?;
    let epoch = fields.get("config-epoch").and_then(|epoch| epoch.parse().ok());
    Ok((epoch.ok_or("its answer has no config-epoch")?, Server::Tcp(host, port)))
}
