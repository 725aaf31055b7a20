//! What the transport tells about itself, gathered from its parts.

use rivulet_node::{Transport as _, TransportStats};

use crate::RedisTransport;

impl RedisTransport {
    /// See [`rivulet_node::Transport::stats`].
    pub(crate) fn told(&self) -> TransportStats {
        let mut stats = TransportStats {
            clock_offset_micros: self.clock_offset_micros(),
            commands: self.primaries.stats().snapshot(),
            servers_away: self.primaries.away_len(),
            in_flight_bytes: self.primaries.in_flight_bytes(),
            ..TransportStats::default()
        };
        self.states.iter().for_each(|state| state.stats.add_to(&mut stats));
        self.primaries.unreadable.add_to(&mut stats);
        self.limits.add_to(&mut stats);
        self.publish_rates.verdicts.add_to(&mut stats.verdicts);
        stats
    }
}
