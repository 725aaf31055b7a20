//! What is done on a server that became the primary of partitions, before anybody appends there or reads from it.
//!
//! For some seconds after a failover the old master may live on, cut off from who elected the new one, and nodes that
//! have not heard of it go on reading and ticking there. Their subscribers' cursors follow its clock. So the new one's
//! clock jumps ahead, further than the old one can get in that time: what is appended there stands after all that
//! was seen of the old one, and no cursor steps over it. (Positions then run ahead of the time for as long, one by one.)

use std::time::Duration;

use rivulet_core::Partition;

use crate::{
    connector::Connector,
    deployment::Server,
    keys::Keys,
    reason::reason,
    script::{Asking, Call, Script},
    topology::Map,
};

/// How far the clock jumps: longer than nodes take to hear of a failover (they ask every 5 s), and Sentinels and clusters
/// to make an old master stop.
pub(crate) const JUMP: Duration = Duration::from_secs(30);

/// Takes over the partitions whose primary, or its epoch, was another one in `before`.
pub(crate) async fn take_over(
    connector: &Connector,
    keys: &Keys,
    before: Option<&Map>,
    map: &Map,
) -> Result<(), String> {
    let is_new = |partition: &Partition| {
        let index = partition.index();
        before.is_none_or(|before| before.primaries[index] != map.primaries[index])
    };
    let changed: Vec<Partition> = keys.partitions().iter().filter(is_new).collect();
    for server in map.servers() {
        let here = |partition: &&Partition| map.primaries[partition.index()].server == server;
        let partitions: Vec<Partition> = changed.iter().filter(here).copied().collect();
        take_over_on(connector, keys, &server, &partitions, map)
            .await
            .map_err(|error| format!("{server}: {}", reason(&error)))?;
    }
    Ok(())
}

async fn take_over_on(
    connector: &Connector,
    keys: &Keys,
    server: &Server,
    partitions: &[Partition],
    map: &Map,
) -> redis::RedisResult<()> {
    if partitions.is_empty() {
        return Ok(());
    }
    let script = Script::takeover();
    let mut connection = connector.question(server).await?;
    let jump = JUMP.as_micros().to_string();
    for partition in partitions {
        let names = keys.of(*partition);
        let epoch = map.primaries[partition.index()].epoch.to_string();
        let call = Call {
            keys: [&names.clock, &names.epoch].map(String::as_bytes).to_vec(),
            args: [&epoch, &jump].map(String::as_bytes).to_vec(),
        };
        script.run(&mut connection, &call, Asking::No).await?;
    }
    Ok(())
}
