//! What is shared, what is kept, and that nothing of a flight stays behind.

use std::time::Duration;

use bytes::Bytes;
use rivulet_core::{Partitions, Topic, Update};

use super::*;
use crate::{MemoryTransport, Retention};

fn topic() -> Topic {
    Topic::parse("a").unwrap()
}

async fn pages(reads_max: usize, updates: usize, data: &'static [u8]) -> (Arc<Pages>, Vec<Position>) {
    let (transport, feed) = MemoryTransport::start(Retention::default());
    // Nobody retains an interest, so nothing is fed; the channel must only stay open.
    std::mem::forget(feed);
    let mut positions = Vec::new();
    for _ in 0..updates {
        let update = Update {
            topics: [topic()].into_iter().collect(),
            data: Bytes::from_static(data),
            private: false,
            id: None,
            event_type: None,
            retry_ms: None,
            trace: None,
        };
        positions.push(transport.append(update, None, &[]).await.unwrap());
    }
    let encoding = Encoding::plain(transport.partitions());
    (Pages::new(transport, encoding, Handle::current(), Arc::new(Semaphore::new(reads_max))), positions)
}

fn ask(after: Position, floor: Position) -> Ask {
    Ask { partition: Partition::default(), selection: Selection::Topics([topic()].into()), after, floor }
}

impl Pages {
    fn held(&self) -> (usize, usize, usize, usize) {
        let table = self.table.lock();
        (table.shelves.len(), table.by_age.len(), table.flights.len(), table.bytes)
    }
}

#[tokio::test]
async fn who_asks_for_the_same_gets_the_same_and_later_ones_its_tail() {
    let (pages, positions) = pages(4, 100, b"data").await;
    let asks = (0..50).map(|_| pages.read(ask(positions[9], Position::ZERO)));
    let mut read = Vec::new();
    for ask in asks {
        read.push(ask.await.unwrap());
    }
    assert!(read.iter().all(|page| Arc::ptr_eq(page, &read[0])));
    let tail = pages.read(ask(positions[40], Position::ZERO)).await.unwrap();
    assert!(Arc::ptr_eq(&tail, &read[0]));
    assert_eq!(tail.after(positions[40])[0].position(), positions[41]);
    let next = pages.read(ask(read[0].through, Position::ZERO)).await.unwrap();
    assert!(!Arc::ptr_eq(&next, &read[0]) && !next.more);
    // The end of the log is read again for who has seen more than it.
    let again = pages.read(ask(read[0].through, next.through)).await.unwrap();
    assert!(Arc::ptr_eq(&again, &next));
    let fresh = pages.read(ask(read[0].through, next.through.next())).await.unwrap();
    assert!(!Arc::ptr_eq(&fresh, &next));
}

#[test]
fn who_stands_in_a_void_takes_no_page_that_was_read_for_another_place() {
    let position = Position::from_micros;
    let void = Void { after: position(20), before: position(30) };
    let page = Page { voids: vec![void], ..Page::at(position(40)) };
    let page = SharedPage::new(&Encoding::plain(Partitions::ONE), position(10), page);
    let served: Vec<u64> =
        (10..40).filter(|after| page.serves(&ask(position(*after), Position::ZERO))).collect();
    assert_eq!(served, (10..=20).chain(30..40).collect::<Vec<_>>());
    // Its own reader stands there.
    let page = Page { voids: vec![void], ..Page::at(position(40)) };
    let page = SharedPage::new(&Encoding::plain(Partitions::ONE), position(25), page);
    assert!(page.serves(&ask(position(25), Position::ZERO)));
    assert!(!page.serves(&ask(position(26), Position::ZERO)));
}

#[tokio::test]
async fn who_waits_for_a_turn_takes_what_was_read_meanwhile() {
    let (pages, positions) = pages(1, 100, b"data").await;
    let turn = pages.reads.acquire().await.unwrap();
    let read = |position: Position| {
        let (pages, ask) = (pages.clone(), ask(position, Position::ZERO));
        tokio::spawn(async move { (position, pages.read(ask).await.unwrap()) })
    };
    let readers: Vec<_> = positions[..40].iter().copied().map(read).collect();
    while pages.held().2 < readers.len() {
        tokio::task::yield_now().await;
    }
    drop(turn);
    for (nth, reader) in readers.into_iter().enumerate() {
        let (position, page) = reader.await.unwrap();
        assert_eq!(page.after(position)[0].position(), positions[nth + 1]);
    }
    assert_eq!(pages.held().1, 1, "one page was read for all");
}

#[tokio::test]
async fn a_read_goes_on_while_anybody_waits_for_it_and_not_longer() {
    let (pages, positions) = pages(1, 10, b"data").await;
    let turn = pages.reads.acquire().await.unwrap();
    let read = || {
        let (pages, ask) = (pages.clone(), ask(positions[0], Position::ZERO));
        tokio::spawn(async move { pages.read(ask).await })
    };
    let (first, second) = (read(), read());
    tokio::task::yield_now().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    drop(turn);
    assert_eq!(second.await.unwrap().unwrap().deliveries.len(), 9);

    pages.table.lock().by_age.clear();
    pages.table.lock().shelves.clear();
    let turn = pages.reads.acquire().await.unwrap();
    let only = read();
    tokio::task::yield_now().await;
    assert_eq!(pages.held().2, 1);
    only.abort();
    assert!(only.await.unwrap_err().is_cancelled());
    drop(turn);
    while pages.held().2 > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(pages.held().1, 0, "nothing was read");
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_is_bounded_and_goes_soon() {
    static LARGE: &[u8] = &[b'x'; 1 << 20];
    let (pages, positions) = pages(4, 60, LARGE).await;
    for position in &positions {
        pages.read(ask(*position, Position::ZERO)).await.unwrap();
        assert!(pages.held().3 <= PAGES_BYTES_MAX);
    }
    let (shelves, len, flights, _) = pages.held();
    assert!(shelves == 1 && flights == 0 && (25..=32).contains(&len), "{len}");
    tokio::time::advance(PAGES_AGE_MAX + Duration::from_millis(1)).await;
    pages.expire();
    assert_eq!(pages.held(), (0, 0, 0, 0));
}
