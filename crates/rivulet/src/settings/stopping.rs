//! The settings of how streams leave this node: when it stops, and when it holds more than others.

use super::{Setting, one};

pub(super) const SETTINGS: &[Setting] = &[
    one(
        "drain-delay",
        "DURATION",
        "After SIGTERM, how long the node says that it is not ready and still serves, until load balancers have \
         noticed (0 to 10m; 0s with --dev)",
    ).reloaded()
    .default("5s"),
    one(
        "drain-period",
        "DURATION",
        "Then, how long it takes to end its streams, evenly spread (0 = at once, to 1h; 0s with --dev). \
         terminationGracePeriodSeconds must be longer than both together, by 30s to be sure",
    ).reloaded()
    .default("20s"),
    one(
        "shed",
        "PERCENT",
        "While this node holds more streams than the nodes' mean, how many per cent of them it ends per minute (0 to \
         100; 0 = none), so that they find another node",
    ).reloaded()
    .default("0"),
];
