//! One Rivulet node.
//!
//! ```text
//!  Transport ── feed ──▶ pump ── batches ──▶ worker (one per thread): sources with rings ──▶ seats ──▶ sockets
//! ```
//!
//! The pump takes the feed, encodes each update once and hands the frame to the workers that have subscribers for it.
//! A worker writes it straight to the sockets of its seats. There is no queue per connection: a seat that cannot take
//! more keeps its cursor into the ring, and reads the log once it fell off, in pages that all who read the same share.
//!
//! A source holds one partition. A seat whose topics stand in one is served with the shared bytes; one that reads several
//! has a position in each, and an id of its own in every frame.
//!
//! It does not know HTTP or Redis.

mod batch;
mod census;
mod config;
pub mod contract;
mod delivery;
mod dispatch;
mod drain;
mod ending;
mod feed;
mod floods;
mod followed;
mod frame_memory;
mod gap;
mod gather;
pub mod histogram;
pub mod inspect;
mod kick;
mod kicker;
mod limits;
mod locations;
pub mod memory;
mod message_span;
mod node;
mod node_phase;
mod pages;
mod pins;
mod places;
mod pump;
mod question;
mod readiness;
mod ready;
mod registry;
mod replay;
mod reservation;
mod resume;
mod ring;
mod ring_totals;
mod seat;
mod seat_trace;
mod seats;
mod shed;
mod socket;
mod source;
mod stats;
mod subscribe;
mod timers;
mod timing;
pub mod trace;
pub mod transport;
mod transport_stats;
mod wheel;
mod work_clock;
mod worker;
mod workers;

pub use census::{StreamCounts, StreamState};
pub use config::{NodeConfig, StreamTimes, TraceUpdates, WORKERS_MAX};
pub use ending::CloseReason;
pub use feed::{FEED_BYTES_MAX, FEED_LEN_MAX, Feed, FeedSender, feed};
pub use histogram::{Exemplar, Histogram, HistogramSnapshot};
pub use kick::{Kick, KickReport, KickTarget, Peers};
pub use limits::{
    AdmitError, Client, Held, Holding, Keeper, Limit, LimitsConfig, LocalLimits, Overrides, PACE_COUNT_MAX,
    PACE_PERIOD_MAX, PACE_PERIOD_MIN, Pace, PaceError, Permit, Quota, Rate, Refused, Scope, Share, Verdict,
    VerdictCounts, Verdicts, Wanted, WhenAway,
};
pub use memory::{MemoryTransport, Retention};
pub use node::Node;
pub use node_phase::NodePhase;
pub use readiness::Unready;
pub use reservation::Reservation;
pub use socket::{Socket, Unsent};
pub use stats::{NodeSnapshot, WorkerSnapshot};
pub use subscribe::{Refusal, Resumed, SubscribeError, SubscribeRequest};
pub use transport::{
    AppendError, Appended, FeedEvent, FeedStatus, Gap, Interest, Outdated, Page, PageLimits, Selection,
    StalePartition, Transport, TransportError, Void,
};
pub use transport_stats::{CommandSnapshot, TransportStats};
pub use worker::Worker;
