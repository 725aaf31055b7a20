//! The pages of the log that this node reads for replays, shared by all who want the same.
//!
//! After a break thousands of clients come back at once and read the same. A page is read once for all who ask for it
//! at the same time (a *flight*), and serves for a moment who comes later: also a reader whose cursor lies within it,
//! who takes its tail. How many reads run at once, and what is kept, is bounded; who waits costs its seat only.

use std::{collections::VecDeque, sync::Arc};

use hashbrown::HashMap;
use parking_lot::Mutex;
use rivulet_core::{Partition, Position};
use smallvec::SmallVec;
use tokio::{
    runtime::Handle,
    sync::{Semaphore, watch},
    time::Instant,
};

use crate::{
    Gap, Page, Selection, Transport, TransportError, Void,
    config::{PAGE_LIMITS, PAGES_AGE_MAX, PAGES_BYTES_MAX, PAGES_LEN_MAX, READ_WAIT_MAX},
    delivery::{Delivery, Encoding},
    trace,
};

/// What a page costs beside its frames: the page, its places here, and a share per delivery.
const PAGE_LEN_BYTES: usize = 512;
const DELIVERY_LEN_BYTES: usize = 192;

/// What a reader wants.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) partition: Partition,
    pub(crate) selection: Selection,
    /// The reader's cursor.
    pub(crate) after: Position,
    /// Up to here the log has to be read before the reader can go on from its rings.
    pub(crate) floor: Position,
}

/// A page with its frames encoded. See [`Page`].
#[derive(Debug)]
pub(crate) struct SharedPage {
    after: Position,
    pub(crate) deliveries: Box<[Arc<Delivery>]>,
    pub(crate) through: Position,
    pub(crate) more: bool,
    pub(crate) clock: Position,
    gap: Option<Gap>,
    voids: Vec<Void>,
    bytes: usize,
}

impl SharedPage {
    fn new(encoding: &Encoding, after: Position, page: Page) -> Self {
        let encode = |appended| Delivery::new(encoding, appended, SmallVec::new());
        let deliveries: Box<[_]> = page.entries.iter().map(|entry| encode(entry)).collect();
        let bytes = deliveries.iter().map(|delivery| delivery.frame.bytes.len() + DELIVERY_LEN_BYTES);
        let bytes = bytes.sum::<usize>() + PAGE_LEN_BYTES;
        let Page { through, more, clock, gap, voids, .. } = page;
        Self { after, deliveries, through, more, clock, gap, voids, bytes }
    }

    /// The deliveries after a position.
    pub(crate) fn after(&self, position: Position) -> &[Arc<Delivery>] {
        &self.deliveries[self.deliveries.partition_point(|delivery| delivery.position() <= position)..]
    }

    /// What a reader after a position lacks. The page may have been read for someone who stood before its gap.
    pub(crate) fn gap_after(&self, position: Position) -> Option<&Gap> {
        self.gap.as_ref().filter(|gap| gap.oldest > position.next() || position == self.after)
    }

    /// Whether a reader gets on with this page as well as with one that is read for it. The page at the log's end must
    /// reach up to the reader's rings: it would be asked for again and again otherwise.
    fn serves(&self, ask: &Ask) -> bool {
        let within = self.after <= ask.after && (ask.after < self.through || ask.after == self.after);
        // Of what a gap took, this reader may lack less than the one that the page was read for; and more, if it is not
        // of this log.
        let in_void = || self.voids.iter().any(|void| void.holds(ask.after));
        let same_gap = ask.after == self.after || (self.gap_after(ask.after).is_none() && !in_void());
        within && same_gap && (self.more || self.through >= ask.floor)
    }
}

/// What is read: a page belongs to one of these.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Shelf {
    partition: Partition,
    selection: Selection,
}

type Outcome = Result<Arc<SharedPage>, TransportError>;
type Flight = Arc<watch::Sender<Option<Outcome>>>;

#[derive(Default)]
struct Table {
    shelves: HashMap<Shelf, Vec<Arc<SharedPage>>>,
    /// The pages of all shelves, oldest first.
    by_age: VecDeque<(Instant, Shelf, Arc<SharedPage>)>,
    bytes: usize,
    flights: HashMap<(Shelf, Position), Flight>,
}

/// See the module.
pub(crate) struct Pages {
    transport: Arc<dyn Transport>,
    encoding: Encoding,
    runtime: Handle,
    reads: Arc<Semaphore>,
    table: Mutex<Table>,
}

/// Takes a flight off the table however it ends: who comes later must not wait for it.
struct Landing {
    pages: Arc<Pages>,
    key: (Shelf, Position),
    flight: Flight,
}

enum Found {
    Page(Arc<SharedPage>),
    /// The read was started by this reader, or before it came.
    Flight(watch::Receiver<Option<Outcome>>, Started),
}

#[derive(PartialEq, Eq)]
enum Started {
    Now,
    Before,
}

impl Pages {
    /// `reads`: the turns, shared with whatever else reads the log for replays.
    pub(crate) fn new(
        transport: Arc<dyn Transport>,
        encoding: Encoding,
        runtime: Handle,
        reads: Arc<Semaphore>,
    ) -> Arc<Self> {
        Arc::new(Self { transport, encoding, runtime, reads, table: Mutex::default() })
    }

    /// A page that begins at or before the reader's cursor and leads it on.
    pub(crate) async fn read(self: &Arc<Self>, ask: Ask) -> Outcome {
        let mut joined = false;
        loop {
            let (mut flight, started) = match self.find(&ask) {
                Found::Page(page) => return Ok(page),
                Found::Flight(flight, started) => (flight, started),
            };
            let landed = flight.wait_for(Option::is_some).await;
            let outcome = landed.map_err(|_| TransportError::new("the read was interrupted"))?.clone();
            let page = outcome.expect("it was waited for")?;
            // What began before this reader came may end too early for it; the next one did not.
            if started == Started::Now || joined || page.serves(&ask) {
                return Ok(page);
            }
            joined = true;
        }
    }

    /// Forgets what is too old.
    pub(crate) fn expire(&self) {
        self.table.lock().expire(Instant::now());
    }

    fn find(self: &Arc<Self>, ask: &Ask) -> Found {
        let shelf = Shelf { partition: ask.partition, selection: ask.selection.clone() };
        let mut table = self.table.lock();
        table.expire(Instant::now());
        if let Some(page) = table.serving(&shelf, ask) {
            return Found::Page(page);
        }
        let key = (shelf, ask.after);
        if let Some(flight) = table.flights.get(&key) {
            return Found::Flight(flight.subscribe(), Started::Before);
        }
        let (flight, receiver) = watch::channel(None);
        let flight = Arc::new(flight);
        table.flights.insert(key.clone(), flight.clone());
        // On the node's runtime, and on its own: others may wait for it when its first reader has gone. It is recorded as
        // a part of what that one does.
        self.runtime.spawn(trace::carried(Landing { pages: self.clone(), key, flight }.fly()));
        Found::Flight(receiver, Started::Now)
    }

    /// A page that was read while a flight waited for its turn, and serves it: a crowd whose cursors all differ asks for
    /// as many pages as it has members before the first is read. Only one with more behind it: where the log ends,
    /// those who joined the flight may want more than the page was read for.
    fn kept(&self, (shelf, after): &(Shelf, Position)) -> Option<Arc<SharedPage>> {
        let Shelf { partition, selection } = shelf.clone();
        let ask = Ask { partition, selection, after: *after, floor: Position::MAX };
        self.table.lock().serving(shelf, &ask)
    }

    async fn fetch(&self, (shelf, after): &(Shelf, Position)) -> Outcome {
        let read = self.transport.read(shelf.partition, &shelf.selection, *after, PAGE_LIMITS);
        Ok(Arc::new(SharedPage::new(&self.encoding, *after, read.await?)))
    }
}

impl Landing {
    async fn fly(self) {
        let permit = tokio::time::timeout(READ_WAIT_MAX, self.pages.reads.acquire()).await;
        let kept = self.pages.kept(&self.key);
        let is_new = kept.is_none();
        let outcome = match permit {
            Ok(Ok(_)) if !self.is_wanted() => return,
            Ok(Ok(_permit)) => match kept {
                Some(page) => Ok(page),
                None => self.pages.fetch(&self.key).await,
            },
            _ => Err(TransportError::new(format!("no read of the log came free within {READ_WAIT_MAX:?}"))),
        };
        {
            let mut table = self.pages.table.lock();
            table.flights.remove(&self.key);
            if let Ok(page) = &outcome
                && is_new
            {
                table.keep(&self.key.0, page);
            }
        }
        self.flight.send_replace(Some(outcome));
    }

    /// Whether anybody still waits. If not, nobody can join any more either.
    fn is_wanted(&self) -> bool {
        let mut table = self.pages.table.lock();
        let wanted = self.flight.receiver_count() > 0;
        if !wanted {
            table.flights.remove(&self.key);
        }
        wanted
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut table = self.pages.table.lock();
        if table.flights.get(&self.key).is_some_and(|flight| Arc::ptr_eq(flight, &self.flight)) {
            table.flights.remove(&self.key);
        }
    }
}

impl Table {
    fn serving(&self, shelf: &Shelf, ask: &Ask) -> Option<Arc<SharedPage>> {
        self.shelves.get(shelf)?.iter().rfind(|page| page.serves(ask)).cloned()
    }

    fn keep(&mut self, shelf: &Shelf, page: &Arc<SharedPage>) {
        self.bytes += page.bytes;
        self.shelves.entry(shelf.clone()).or_default().push(page.clone());
        self.by_age.push_back((Instant::now(), shelf.clone(), page.clone()));
        while self.bytes > PAGES_BYTES_MAX || self.by_age.len() > PAGES_LEN_MAX {
            self.drop_oldest();
        }
    }

    fn expire(&mut self, now: Instant) {
        while self.by_age.front().is_some_and(|(read_at, ..)| now.duration_since(*read_at) > PAGES_AGE_MAX) {
            self.drop_oldest();
        }
        if self.by_age.is_empty() {
            // A wave has passed: its memory goes back.
            self.by_age.shrink_to_fit();
            self.shelves.shrink_to_fit();
        }
    }

    fn drop_oldest(&mut self) {
        let Some((_, shelf, page)) = self.by_age.pop_front() else { return };
        self.bytes -= page.bytes;
        if let Some(pages) = self.shelves.get_mut(&shelf) {
            pages.retain(|kept| !Arc::ptr_eq(kept, &page));
            if pages.is_empty() {
                self.shelves.remove(&shelf);
            }
        }
    }
}

#[cfg(test)]
mod tests;
