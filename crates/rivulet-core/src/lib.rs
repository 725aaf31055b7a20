//! The words and rules of Rivulet: topics, matchers, updates, frames, cursors, grants.
//!
//! It owns what is true whatever the transport and the protocol face are. It knows no I/O, no clock, no runtime,
//! no serialization framework; every value that a client may send has one `parse` here, and nothing unparsed passes it.

pub mod cursor;
mod dialect;
pub mod envelope;
pub mod fault;
pub mod frame;
pub mod grants;
pub mod idempotency_key;
pub mod matcher;
pub mod partition;
pub mod position;
mod reach;
pub mod reserved;
pub mod text;
pub mod topic;
mod topic_url;
mod trace_context;
pub mod update;
mod uri_expression;
pub mod uri_template;
pub mod url_pattern;
mod url_pattern_brackets;

pub use cursor::{Cursor, LastEventId};
pub use dialect::Dialect;
pub use frame::Frame;
pub use grants::Grants;
pub use idempotency_key::{IdempotencyKey, IdempotencyKeyError};
pub use matcher::{Matcher, MatcherError};
pub use partition::{Partition, Partitions};
pub use position::Position;
pub use reserved::ReservedNamespace;
pub use topic::{Topic, TopicError};
pub use trace_context::{TRACE_STATE_LEN_MAX, TraceContext};
pub use update::{EventId, EventIdError, EventType, EventTypeError, Update};
