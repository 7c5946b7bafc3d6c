//! A queue without a model beside it, for worlds that have one question each.

use std::time::Instant;

use framelane_queue::{Dispatcher, Join, LaneId, LaneKey, Offer, Part, Parts, SourceCounts, WorkerId};

use crate::model::world::key;

pub(crate) type Queue = Dispatcher<u64, (), u64>;

pub(crate) fn offer(key_number: u8, item: u64, now: Instant) -> Offer<u64, ()> {
    Offer {
        item,
        parts: Parts::one(Part { key: key(key_number), payload: () }),
        sealed: true,
        captured_at: now,
        source: SourceCounts::default(),
    }
}

pub(crate) fn join(queue: &mut Queue, keys: u8, credit: u32, now: Instant) -> LaneId {
    join_as(queue, 0, keys, credit, now)
}

pub(crate) fn join_as(queue: &mut Queue, worker: u64, keys: u8, credit: u32, now: Instant) -> LaneId {
    let keys = (0..keys).map(|number| LaneKey { key: key(number), warm: true });
    let join = Join { worker: WorkerId(worker), keys: keys.collect(), credit };
    queue.join(join, now)
}
