//! Holds the answers of one read to one primary: those of two, before and after a failover, tell of two histories.

use rivulet_node::TransportError;

use crate::deployment::Server;

/// The primary that a read began with.
#[derive(Default)]
pub(crate) struct History(Option<Server>);

impl History {
    /// Notes who answered; an error if it is another one than before.
    pub(crate) fn continues_at(&mut self, primary: &Server) -> Result<(), TransportError> {
        let begun = self.0.get_or_insert_with(|| primary.clone());
        if begun == primary {
            return Ok(());
        }
        Err(TransportError::new(format!("{primary} has taken the place of {begun} during a read")))
    }
}
