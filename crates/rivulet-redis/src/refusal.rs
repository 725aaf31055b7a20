//! Why Redis did not do what it was asked, as far as it matters for what to do next.

use redis::{ErrorKind, RedisError, ServerErrorKind};
use rivulet_node::TransportError;

use crate::{deployment::Server, error_type::ErrorType, reason::reason};

/// What a server of a cluster says of a script that reads a key which has been moved away.
const NOT_LOCAL: &str = "attempted to access a non local key";

/// What becomes of a call that was refused.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The slot has moved: the map has to be learned again.
    Moved(TransportError),
    /// The slot is being moved: ask this server, this once.
    Ask(Server),
    /// Not now: the slot's keys are in two places, or the cluster is electing. The server did nothing.
    Later(TransportError),
    /// The call failed, or nobody knows what became of it.
    Failed(ErrorType, TransportError),
}

impl From<RedisError> for Refusal {
    fn from(error: RedisError) -> Self {
        let transport = TransportError::new(reason(&error));
        let to = error.redirect_node().and_then(|(address, _)| Server::parse(address));
        match (error.kind(), to) {
            (ErrorKind::Server(ServerErrorKind::Moved), _) => Self::Moved(transport),
            (ErrorKind::Server(ServerErrorKind::Ask), Some(to)) => Self::Ask(to),
            (ErrorKind::Server(ServerErrorKind::TryAgain | ServerErrorKind::ClusterDown), _) => {
                Self::Later(transport)
            }
            // A script met a hash that has gone to the slot's new server already. Scripts read before they write.
            (ErrorKind::Server(ServerErrorKind::ResponseError), _)
                if error.detail().is_some_and(|detail| detail.contains(NOT_LOCAL)) =>
            {
                Self::Later(transport)
            }
            _ => Self::Failed(ErrorType::of(&error), transport),
        }
    }
}

impl Refusal {
    /// What was wrong, for metrics.
    pub(crate) fn error_type(&self) -> ErrorType {
        match self {
            Self::Moved(_) | Self::Ask(_) => ErrorType::Moved,
            Self::Later(_) => ErrorType::ClusterDown,
            Self::Failed(error, _) => *error,
        }
    }
}

impl From<Refusal> for TransportError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Moved(error) | Refusal::Later(error) | Refusal::Failed(_, error) => error,
            Refusal::Ask(to) => TransportError::new(format!("the slot is being moved to {to}")),
        }
    }
}

/// Whether no further command can succeed on the connection. A server that became a read-only replica, or one whose
/// master is gone, answers well but never takes a write again; its address may lead to its successor by now.
pub(crate) fn ends_connection(error: &RedisError) -> bool {
    let refuses_writes =
        matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown));
    refuses_writes || error.is_unrecoverable_error() || error.is_timeout()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_takes_no_writes_ends_the_connection() {
        let check = |kind: ServerErrorKind, expected: bool| {
            let error = RedisError::from((ErrorKind::Server(kind), "refused"));
            assert_eq!(ends_connection(&error), expected, "{kind:?}");
        };
        check(ServerErrorKind::ReadOnly, true);
        check(ServerErrorKind::MasterDown, true);
        check(ServerErrorKind::ResponseError, false);
        check(ServerErrorKind::BusyLoading, false);
        check(ServerErrorKind::Moved, false);
    }

    #[test]
    fn redirections_lead_to_their_servers() {
        let refuse = |kind: ServerErrorKind, detail: &str| {
            let error = RedisError::from((ErrorKind::Server(kind), "refused", detail.to_owned()));
            format!("{:?}", Refusal::from(error))
        };
        assert!(refuse(ServerErrorKind::Moved, "3999 127.0.0.1:6381").starts_with("Moved"));
        assert!(refuse(ServerErrorKind::Ask, "3999 ::1:6381").starts_with("Ask(Tcp(\"::1\", 6381"));
        assert!(refuse(ServerErrorKind::Ask, "3999 garbage").starts_with("Failed"));
        assert!(refuse(ServerErrorKind::TryAgain, "").starts_with("Later"));
        let not_local =
            "Script attempted to access a non local key in a cluster node script: f, on @user_script:9.";
        assert!(refuse(ServerErrorKind::ResponseError, not_local).starts_with("Later"));
        assert!(refuse(ServerErrorKind::ResponseError, "wrong number").starts_with("Failed"));
    }
}
