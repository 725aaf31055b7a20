//! What a live seat has still to take from its rings, in position order, each update once although several of its
//! sources may hold it.

use rivulet_core::{Matcher, Partitions, Position};
use slab::Slab;
use smallvec::SmallVec;

use crate::{
    batch::{Batch, Reach},
    delivery::Delivery,
    seat::Seat,
    source::Source,
};

/// The batch of a live seat; `None` if it fell off a ring. In every partition, what stands up to `verified` has been
/// pushed.
pub(crate) fn gather<'a>(
    seat: &mut Seat,
    sources: &'a Slab<Source>,
    partitions: Partitions,
    verified: Position,
) -> Option<Batch<'a>> {
    if let [only] = seat.memberships.as_slice() {
        let ring = &sources[only.source as usize].ring;
        if seat.cursor.base() < ring.floor() {
            return None;
        }
        let mut batch = Batch::starting_after(&seat.cursor, seat.reach, partitions);
        for delivery in ring.after(seat.cursor.base()) {
            take(seat, sources, &mut batch, delivery);
            if batch.is_full() {
                break;
            }
        }
        return Some(batch);
    }
    let mut heads: SmallVec<[_; 8]> = SmallVec::new();
    for membership in &seat.memberships {
        let source = &sources[membership.source as usize];
        let cursor = seat.cursor.position(source.partition);
        if cursor < source.ring.floor() {
            return None;
        }
        let mut rest = source.ring.after(cursor);
        if let Some(head) = rest.next() {
            heads.push((head, rest));
        }
    }
    if seat.reach == Reach::Several && heads.iter().all(|(head, _)| head.position() > verified) {
        // Its rings have nothing more up to there: the cursor forgets what it knew of single partitions, and its ids
        // stay short.
        seat.cursor.raise(verified);
    }
    let mut batch = Batch::starting_after(&seat.cursor, seat.reach, partitions);
    while !batch.is_full()
        && let Some(first) =
            heads.iter().enumerate().min_by_key(|(_, (head, _))| head.position()).map(|(i, _)| i)
    {
        let delivery = heads[first].0;
        if delivery.position() > batch.through.position(delivery.partition) {
            take(seat, sources, &mut batch, delivery);
        }
        match heads[first].1.next() {
            Some(head) => heads[first].0 = head,
            None => _ = heads.swap_remove(first),
        }
    }
    Some(batch)
}

/// Puts a delivery into a batch if this subscriber may have it, and passes it by if not.
pub(crate) fn take<'a>(seat: &Seat, sources: &Slab<Source>, batch: &mut Batch<'a>, delivery: &'a Delivery) {
    if seat.may_receive(delivery) && is_its_copy(seat, sources, delivery) {
        batch.push(delivery);
    } else {
        batch.pass(delivery.partition, delivery.position());
    }
}

/// Of an update that stands in several partitions a seat takes one copy.
pub(crate) fn is_its_copy(seat: &Seat, sources: &Slab<Source>, delivery: &Delivery) -> bool {
    delivery.is_for(|topic| {
        let mut sources = seat.memberships.iter().map(|membership| &sources[membership.source as usize]);
        sources.any(|source| match &source.matcher {
            Matcher::Exact(exact) => exact == topic,
            // It has a source in each partition: one is enough to look at.
            matcher => source.partition == delivery.partition && matcher.matches(topic),
        })
    })
}
