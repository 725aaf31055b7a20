//! Where the updates that publishers named stand, asked of the log once for all who come back with the same id.
//!
//! As with pages ([`crate::pages`]): one search per id at a time, whose answer serves for a moment who comes later, and
//! all wait for the same turns as the reads of pages.
//!
//! An answer that is a moment old loses nothing. What has been discarded since is a gap of the page that is read from
//! there; and an id that was not known means that everything is read, after a gap.

use std::{collections::VecDeque, sync::Arc};

use hashbrown::HashMap;
use parking_lot::Mutex;
use rivulet_core::{EventId, Partition, Position};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, watch},
    time::Instant,
};

use crate::{
    Transport, TransportError,
    config::{LOCATIONS_LEN_MAX, PAGES_AGE_MAX, READ_WAIT_MAX},
    trace,
};

/// Where an update stands, if any is kept that has the id.
type Location = Option<(Partition, Position)>;
type Outcome = Result<Location, TransportError>;
type Search = Arc<watch::Sender<Option<Outcome>>>;

#[derive(Default)]
struct Table {
    known: HashMap<EventId, Location>,
    /// The ids in `known`, oldest answer first.
    by_age: VecDeque<(Instant, EventId)>,
    searches: HashMap<EventId, Search>,
}

/// See the module.
pub(crate) struct Locations {
    transport: Arc<dyn Transport>,
    runtime: Handle,
    reads: Arc<Semaphore>,
    table: Mutex<Table>,
}

/// Takes a search off the table however it ends: who comes later must not wait for it.
struct Ending {
    locations: Arc<Locations>,
    id: EventId,
    search: Search,
}

impl Locations {
    /// `reads`: the turns, shared with the reads of pages.
    pub(crate) fn new(transport: Arc<dyn Transport>, runtime: Handle, reads: Arc<Semaphore>) -> Arc<Self> {
        Arc::new(Self { transport, runtime, reads, table: Mutex::default() })
    }

    /// Where the earliest kept update with this id stands, or stood a moment ago.
    pub(crate) async fn find(self: &Arc<Self>, id: EventId) -> Outcome {
        let mut search = {
            let mut table = self.table.lock();
            table.expire(Instant::now());
            if let Some(location) = table.known.get(&id) {
                return Ok(*location);
            }
            match table.searches.get(&id) {
                Some(search) => search.subscribe(),
                None => self.start(&mut table, id),
            }
        };
        let ended = search.wait_for(Option::is_some).await;
        let outcome = ended.map_err(|_| TransportError::new("the search for an id was interrupted"))?.clone();
        outcome.expect("it was waited for")
    }

    /// Forgets what is too old.
    pub(crate) fn expire(&self) {
        self.table.lock().expire(Instant::now());
    }

    fn start(self: &Arc<Self>, table: &mut Table, id: EventId) -> watch::Receiver<Option<Outcome>> {
        let (search, receiver) = watch::channel(None);
        let search = Arc::new(search);
        table.searches.insert(id.clone(), search.clone());
        // On the node's runtime, and on its own: others may wait for it when the first who asked has gone.
        self.runtime.spawn(trace::carried(Ending { locations: self.clone(), id, search }.run()));
        receiver
    }
}

impl Ending {
    async fn run(self) {
        let permit = tokio::time::timeout(READ_WAIT_MAX, self.locations.reads.acquire()).await;
        let outcome = match permit {
            Ok(Ok(_)) if !self.is_wanted() => return,
            Ok(Ok(_permit)) => self.locations.transport.locate(&self.id).await,
            _ => Err(TransportError::new(format!("no read of the log came free within {READ_WAIT_MAX:?}"))),
        };
        {
            let mut table = self.locations.table.lock();
            table.searches.remove(&self.id);
            if let Ok(location) = outcome {
                table.keep(&self.id, location);
            }
        }
        self.search.send_replace(Some(outcome));
    }

    /// Whether anybody still waits. If not, nobody can join any more either.
    fn is_wanted(&self) -> bool {
        let mut table = self.locations.table.lock();
        let wanted = self.search.receiver_count() > 0;
        if !wanted {
            table.searches.remove(&self.id);
        }
        wanted
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let mut table = self.locations.table.lock();
        if table.searches.get(&self.id).is_some_and(|search| Arc::ptr_eq(search, &self.search)) {
            table.searches.remove(&self.id);
        }
    }
}

impl Table {
    /// An id is searched for only while it is not known, so it stands here once.
    fn keep(&mut self, id: &EventId, location: Location) {
        self.known.insert(id.clone(), location);
        self.by_age.push_back((Instant::now(), id.clone()));
        while self.by_age.len() > LOCATIONS_LEN_MAX {
            self.drop_oldest();
        }
    }

    fn expire(&mut self, now: Instant) {
        while self.by_age.front().is_some_and(|(found_at, _)| now.duration_since(*found_at) > PAGES_AGE_MAX) {
            self.drop_oldest();
        }
        if self.by_age.is_empty() {
            // A wave has passed: its memory goes back.
            self.by_age.shrink_to_fit();
            self.known.shrink_to_fit();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, id)) = self.by_age.pop_front() {
            self.known.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{MemoryTransport, Retention};

    #[tokio::test(start_paused = true)]
    async fn what_is_known_is_bounded_and_goes_soon_and_nobody_is_searched_for_without_need() {
        let (transport, _feed) = MemoryTransport::start(Retention::default());
        let reads = Arc::new(Semaphore::new(1));
        let locations = Locations::new(transport, Handle::current(), reads.clone());
        let held = || {
            let table = locations.table.lock();
            (table.known.len(), table.by_age.len(), table.searches.len())
        };
        let id = |n: usize| EventId::parse(&format!("id-{n}")).unwrap();
        for n in 0..LOCATIONS_LEN_MAX + 10 {
            assert_eq!(locations.find(id(n)).await.unwrap(), None);
        }
        assert_eq!(held(), (LOCATIONS_LEN_MAX, LOCATIONS_LEN_MAX, 0));
        tokio::time::advance(PAGES_AGE_MAX + Duration::from_millis(1)).await;
        locations.expire();
        assert_eq!(held(), (0, 0, 0));

        let turn = reads.acquire().await.unwrap();
        let only = tokio::spawn({
            let locations = locations.clone();
            async move { locations.find(id(1)).await }
        });
        tokio::task::yield_now().await;
        assert_eq!(held(), (0, 0, 1));
        only.abort();
        assert!(only.await.unwrap_err().is_cancelled());
        drop(turn);
        while held().2 > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(held(), (0, 0, 0), "nothing was searched for");
    }
}
