//! What an error of Redis says to people: one line, and where we know it what to do.

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// The error in one line: those of the parser have several.
pub(crate) fn reason(error: &RedisError) -> String {
    let text = error.to_string();
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    // The kind of a pipeline's error is not that of its parts.
    if line.contains("cluster support disabled") {
        return format!("{line} (it is no cluster: the URL has to begin with redis://)");
    }
    match hint(error) {
        Some(hint) => format!("{line} ({hint})"),
        None => line,
    }
}

fn hint(error: &RedisError) -> Option<&'static str> {
    match (error.kind(), error.code()) {
        (ErrorKind::Parse, _) => Some("what answers there does not speak the protocol of Redis"),
        (ErrorKind::Server(ServerErrorKind::ReadOnly), _) => {
            Some("a replica takes no updates: the URL has to lead to its master")
        }
        (_, Some("NOAUTH")) => Some("the URL has no password: redis://user:password@host"),
        (_, Some("WRONGPASS")) => Some("the user or the password in the URL is wrong"),
        _ => None,
    }
}

/// Whether a server without cluster rules would not have said this.
pub(crate) fn tells_of_a_cluster(error: &RedisError) -> bool {
    use ServerErrorKind::{Ask, ClusterDown, CrossSlot, Moved};
    matches!(error.kind(), ErrorKind::Server(Moved | Ask | ClusterDown | CrossSlot))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_stands_behind_what_happened() {
        let error = RedisError::from((ErrorKind::Client, "two", "lines\n\nof text".to_owned()));
        assert_eq!(reason(&error), "two - Client: lines of text");
        let error = RedisError::from((ErrorKind::Server(ServerErrorKind::ReadOnly), "refused"));
        assert!(reason(&error).ends_with("(a replica takes no updates: the URL has to lead to its master)"));
        assert!(tells_of_a_cluster(&(ErrorKind::Server(ServerErrorKind::Moved), "moved").into()));
        assert!(!tells_of_a_cluster(&error));
    }
}
