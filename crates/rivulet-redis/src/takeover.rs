//! What is done on a server that became the primary of partitions, before anybody appends there or reads from it.
//!
//! For some seconds after a failover the old master may live on, cut off from who elected the new one, and nodes that
//! have not heard of it go on reading and ticking there. Their subscribers' cursors follow its clock. So the new one's
//! clock jumps ahead, further than the old one can get in that time: what is appended there stands after all that
//! was seen of the old one, and no cursor steps over it. (Positions then run ahead of the time for as long, one by one.) A
//! node that has kept to the old one for longer says so, and subscribers are told of a gap: also when it comes so late that
//! yet another server has taken over meanwhile.

use std::time::{Duration, Instant};

use rivulet_core::{Partition, Position};

use crate::{
    connector::Connector,
    deployment::Server,
    error_type::ErrorType,
    keys::Keys,
    partition_state::PartitionState,
    script::{Asking, Call, Script},
    topology::Map,
};

/// How far the clock jumps: longer than nodes take to hear of a failover (they ask every 5 s), and Sentinels and clusters
/// to make an old master stop.
const JUMP: Duration = Duration::from_secs(30);
/// How far subscribers may have got beyond the last tick that was answered, by reading the log.
const SHOWN_BEYOND: Duration = Duration::from_secs(3);

/// A partition that a server takes over.
struct Takeover {
    partition: Partition,
    /// The server that this node has kept to until now, or nothing.
    left: String,
    /// The last tick that it was answered there.
    ticked: String,
}

/// Takes over the partitions whose primary, or its epoch, was another one in `before`; `states` are what the node has
/// seen of them, once it has seen anything.
pub(crate) async fn take_over(
    connector: &Connector,
    keys: &Keys,
    before: Option<&Map>,
    map: &Map,
    states: &[PartitionState],
) -> Result<(), String> {
    for server in map.servers() {
        let changed = |partition: &Partition| {
            let now = &map.primaries[partition.index()];
            now.server == server && before.is_none_or(|before| before.primaries[partition.index()] != *now)
        };
        let takeovers: Vec<Takeover> = keys
            .partitions()
            .iter()
            .filter(changed)
            .map(|partition| {
                let left = before.map(|before| &before.primaries[partition.index()].server);
                let left = left.filter(|left| **left != server);
                let state = states.get(partition.index()).filter(|_| left.is_some());
                Takeover {
                    partition,
                    left: left.map(Server::to_string).unwrap_or_default(),
                    ticked: state.map_or(Position::ZERO, PartitionState::ticked).to_string(),
                }
            })
            .collect();
        take_over_on(connector, keys, &server, &takeovers)
            .await
            .map_err(|error| format!("{server}: {error}"))?;
    }
    Ok(())
}

async fn take_over_on(
    connector: &Connector,
    keys: &Keys,
    server: &Server,
    takeovers: &[Takeover],
) -> redis::RedisResult<()> {
    if takeovers.is_empty() {
        return Ok(());
    }
    let script = Script::takeover();
    let mut connection = connector.question(server).await?;
    let [jump, beyond] = [JUMP, SHOWN_BEYOND].map(|duration| duration.as_micros().to_string());
    let (name, publish) = (server.to_string(), connector.deployment.publish());
    for Takeover { partition, left, ticked } in takeovers {
        let names = keys.of(*partition);
        let keys = [&names.clock, &names.primary, &names.primaries, &names.birth];
        let args = [&name, &jump, left, ticked, &beyond, &names.control, publish];
        let call = Call { keys: keys.map(String::as_bytes).to_vec(), args: args.map(str::as_bytes).to_vec() };
        let begun = Instant::now();
        let ran = script.run(&mut connection, &call, Asking::No).await;
        connector.stats.note(script.name, begun.elapsed(), ran.as_ref().err().map(ErrorType::of));
        ran?;
    }
    Ok(())
}
