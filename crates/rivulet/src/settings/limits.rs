//! The settings of limits: those of the hub, which all nodes share, and those of one node beside `--connections-max`.

use super::{Setting, many, one};

pub(super) const HUB: &[Setting] = &[
    one("limit-connections-total", "COUNT", "Most connections of the hub, on all nodes together").reloaded(),
    one(
        "limit-connections-per-subject",
        "COUNT",
        "Most connections of a subject: a token's sub, else the name of its key; who has no token counts by address",
    ).reloaded(),
    one("limit-connections-per-ip", "COUNT", "Most connections from an address (IPv6: from a /64)").reloaded(),
    one(
        "limit-connections-per-topic",
        "COUNT",
        "Most connections that subscribe to a topic; a pattern is a topic of its own",
    ).reloaded(),
    one("limit-subscribes-per-ip", "RATE", "How often an address may subscribe").reloaded(),
    one("limit-subscribes-per-subject", "RATE", "How often a subject may subscribe").reloaded(),
    one(
        "limit-publishes-per-subject",
        "RATE",
        "How often a subject may publish; each line of a batch counts",
    ).reloaded(),
    one("limit-publishes-per-topic", "RATE", "How often a topic may be published to").reloaded(),
    many(
        "limit-closed",
        "LIMIT",
        "Limit that lets nobody through while Redis cannot count, by its flag's name without --limit-; else this \
         node's share of it holds meanwhile. Publishing is refused then by either, as Redis cannot be written to",
    ).reloaded(),
    one(
        "limits-claim",
        "NAME",
        "Claim in which a token may bring limits of its own, as an object: connections_per_subject, \
         subscribes_per_subject, publishes_per_subject",
    ).reloaded()
    .default("rivulet_limits"),
    one(
        "limits-lease",
        "DURATION",
        "After this time the places of a node that died are free again (5s to 5m); the same on all nodes",
    )
    .default("15s"),
];

pub(super) const NODE: &[Setting] = &[
    one("replays-max", "COUNT", "Most streams that may catch up with the log at the same time")
        .default("10000"),
    one(
        "bodies-in-flight",
        "SIZE",
        "Most bytes of updates that publishers may be sending at the same time; a subject may have half of what \
         others leave, or one body",
    ).reloaded()
    .default("64MiB"),
];
