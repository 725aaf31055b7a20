//! What to do about too many connections: a node that was not counted for a while may find that others have taken its
//! places. It ends so many of its own, the youngest first.

use std::time::{Duration, Instant};

use rivulet_node::{FeedEvent, FeedSender, Held, Kick, KickTarget, Limit, TransportError};
use tokio::sync::oneshot;

use super::{
    Limits,
    counter::{Leased, SCOPES_LEN},
};
use crate::connector::Backoff;

/// How long others may take to tell Redis what they gave back just now: without a pause, connections would be ended for
/// places that are free already. It is done within milliseconds as a rule.
const SETTLE: Duration = Duration::from_millis(500);
/// How often it is looked whether there are too many still, before somebody is told.
const ROUNDS: usize = 20;
/// How long a node may take to end some connections.
const KICK_MAX: Duration = Duration::from_secs(2);
/// How often it is looked whether connections that were ended have given their places back.
const LOOK: Duration = Duration::from_millis(10);

/// A scope in which there are too many.
struct Excess {
    held: Held,
    count: u32,
}

/// Ends connections until no quota is exceeded by what this node holds.
pub(super) async fn end(limits: &Limits, feed: &FeedSender) {
    tokio::time::sleep(SETTLE).await;
    let mut backoff = Backoff::new();
    for round in 0..ROUNDS {
        match find(limits).await {
            Ok(found) if found.is_empty() => return,
            Ok(found) => {
                for excess in &found {
                    end_one(limits, feed, excess).await;
                }
                if round + 1 == ROUNDS {
                    let limits: Vec<Limit> = found.iter().map(|excess| excess.held.limit).collect();
                    tracing::warn!(?limits, "more connections than allowed could not be ended");
                }
            }
            Err(error) => tracing::debug!(%error, "whether there are too many connections is not known yet"),
        }
        backoff.wait().await;
    }
}

/// Where this node, the last who came, makes it too many. That of the hub comes last: what is ended before counts there
/// too.
async fn find(limits: &Limits) -> Result<Vec<Excess>, TransportError> {
    let incarnation = limits.state.lock().incarnation.clone();
    let held = limits.ledger.held();
    let mut found = Vec::new();
    for part in held.chunks(SCOPES_LEN) {
        let Leased::Alive(before) = limits.counter.before(&incarnation, part).await? else {
            // Another incarnation looks again.
            return Ok(Vec::new());
        };
        for (held, before) in part.iter().zip(before) {
            let over = (before + u64::from(held.count)).saturating_sub(u64::from(held.max));
            let count = u32::try_from(over).unwrap_or(u32::MAX).min(held.count);
            if count > 0 {
                found.push(Excess { held: held.clone(), count });
            }
        }
    }
    found.sort_by_key(|excess| excess.held.limit == Limit::ConnectionsTotal);
    Ok(found)
}

async fn end_one(limits: &Limits, feed: &FeedSender, excess: &Excess) {
    let Held { limit, scope, count, .. } = &excess.held;
    let held = || limits.ledger.count(*limit, scope);
    // What has gone since, by itself or because it was too many elsewhere.
    let gone = count.saturating_sub(held());
    let count = excess.count.saturating_sub(gone);
    if count == 0 {
        return;
    }
    let (ended, answer) = oneshot::channel();
    let target = KickTarget { scope: Some((*limit, scope.clone())), ..KickTarget::default() };
    let count_max = usize::try_from(count).ok();
    let before = held();
    let kick = async {
        feed.send(FeedEvent::Kick(Box::new(Kick { target, count_max, before: None, ended }))).await.ok()?;
        answer.await.ok()
    };
    let ended = tokio::time::timeout(KICK_MAX, kick).await.ok().flatten().unwrap_or(0);
    tracing::warn!(%limit, excess = count, ended, "others took places of this node while it was not counted: its youngest connections end");
    let until = Instant::now() + KICK_MAX;
    let rest = before.saturating_sub(u32::try_from(ended).unwrap_or(u32::MAX));
    while held() > rest && Instant::now() < until {
        tokio::time::sleep(LOOK).await;
    }
}
