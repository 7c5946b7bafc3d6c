//! Offers on their way from an inlet to the owner.
//!
//! A request for each offer would cost more than the offer does: so those that come while the owner is busy
//! lie together, and one request says that there are some. What an inlet says of its source lies among them,
//! since it is true at that place only.

use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use queue::SourceCounts;

use crate::command::Offer;

/// What an inlet has put in and the owner has not taken out. The flow's room bounds it.
#[derive(Default)]
pub(crate) struct Inbox(Mutex<Vec<Entry>>);

/// One thing that the owner is told.
pub(crate) enum Entry {
    /// An item, which has its room.
    Offer(Offer),
    /// The source's counters without an item.
    Source(SourceCounts),
}

impl Inbox {
    /// Makes an entry of something and puts it beside others that wait. Where none does the owner must be told
    /// first, so the thing comes back.
    pub(crate) fn join<T>(&self, thing: T, make: impl FnOnce(T) -> Entry) -> Result<(), T> {
        let mut entries = self.lock();
        if entries.is_empty() {
            return Err(thing);
        }
        match (entries.last_mut(), make(thing)) {
            // Only the latest counters count, and nothing else bounds them.
            (Some(Entry::Source(last)), Entry::Source(counts)) => *last = counts,
            (_, entry) => entries.push(entry),
        }
        Ok(())
    }

    /// Puts an entry in; the caller tells the owner.
    pub(crate) fn begin(&self, entry: Entry) {
        self.lock().push(entry);
    }

    /// Takes out what is there, in order, into `entries`, which is empty.
    pub(crate) fn take(&self, entries: &mut Vec<Entry>) {
        mem::swap(&mut *self.lock(), entries);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        // No step panics half-way, so a poisoned one is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use queue::Parts;

    use super::*;

    fn entry(number: u64) -> Entry {
        Entry::Offer(Offer {
            item: std::sync::Arc::new(number),
            parts: Parts::none(),
            sealed: true,
            captured_at: Instant::now(),
            source: SourceCounts::default(),
        })
    }

    fn source(waiting: u64) -> SourceCounts {
        SourceCounts { waiting, ..SourceCounts::default() }
    }

    /// The numbers of the offers, and what the source had waiting.
    fn told(inbox: &Inbox) -> Vec<(char, u64)> {
        let mut entries = Vec::new();
        inbox.take(&mut entries);
        let told = |entry: Entry| match entry {
            Entry::Offer(offer) => ('o', *offer.item.downcast_ref::<u64>().unwrap()),
            Entry::Source(counts) => ('s', counts.waiting),
        };
        entries.into_iter().map(told).collect()
    }

    #[test]
    fn the_first_wants_a_word_to_the_owner_and_the_others_join_it() {
        let inbox = Inbox::default();
        assert_eq!(inbox.join(1, entry), Err(1), "nobody looks for it");
        inbox.begin(entry(1));
        assert_eq!(inbox.join(2, entry), Ok(()));
        assert_eq!(told(&inbox), [('o', 1), ('o', 2)]);
        assert_eq!(inbox.join(3, entry), Err(3), "the owner has been here");
    }

    #[test]
    fn counters_keep_their_place_among_offers_and_take_no_room_but_one() {
        let inbox = Inbox::default();
        inbox.begin(entry(1));
        for waiting in 1..=100 {
            inbox.join(source(waiting), Entry::Source).unwrap();
        }
        inbox.join(2, entry).unwrap();
        inbox.join(source(7), Entry::Source).unwrap();
        assert_eq!(told(&inbox), [('o', 1), ('s', 100), ('o', 2), ('s', 7)]);
    }
}
