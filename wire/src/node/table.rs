//! The tickets that this worker holds, and when it owes the server a `Released`.

use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

use queue::Ticket;
use rustc_hash::FxHashMap;

use crate::practice;

/// Never locked over an await; each method is one step.
#[derive(Debug)]
pub(super) struct Table {
    /// A server that chose its tickets so that a quick hash is slow would harm itself alone.
    held: Mutex<FxHashMap<Ticket, Held>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    /// The head is here, the body is on its way: nobody works on it.
    Arriving,
    /// There is a reply for it.
    Working,
    /// Nobody wants the answer, but it is still worked on.
    Cancelled,
    /// Cancelled and released; the reply still exists.
    Released,
}

/// What follows from a cancel.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cancel {
    /// Nobody works on it: the server can be told at once.
    Release,
    /// Somebody does, and is to be told.
    Tell,
    /// It is known already.
    Nothing,
}

impl Table {
    pub(super) fn new() -> Self {
        Self { held: Mutex::default() }
    }

    fn held(&self) -> MutexGuard<'_, FxHashMap<Ticket, Held>> {
        // No step panics in the middle of a change, so a poisoned table is a whole one.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A head has come. False if the ticket is held already.
    pub(super) fn arrive(&self, ticket: Ticket) -> bool {
        match self.held().entry(ticket) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(Held::Arriving);
                true
            }
        }
    }

    /// These jobs are whole: `give` hands them to the worker in the same step, but for those that were
    /// cancelled on their way. So a cancel is told after its job, or instead of it, never before.
    pub(super) fn begin(&self, mut tickets: Vec<Ticket>, give: impl FnOnce(&[Ticket])) {
        let mut held = self.held();
        tickets.retain(|ticket| match held.get_mut(ticket) {
            Some(state @ Held::Arriving) => {
                *state = Held::Working;
                true
            }
            _ => false,
        });
        give(&tickets);
    }

    /// The ticket is no longer wanted: the server said so, or its stream was stopped.
    pub(super) fn cancel(&self, ticket: &Ticket) -> Cancel {
        let mut held = self.held();
        match held.get_mut(ticket) {
            None => Cancel::Release,
            Some(Held::Arriving) => {
                held.remove(ticket);
                Cancel::Release
            }
            Some(state @ Held::Working) => {
                *state = Held::Cancelled;
                Cancel::Tell
            }
            Some(Held::Cancelled | Held::Released) => Cancel::Nothing,
        }
    }

    /// The worker says that it let go. True if the server waits for that.
    pub(super) fn release(&self, ticket: &Ticket) -> bool {
        match self.held().get_mut(ticket) {
            Some(state @ Held::Cancelled) => {
                *state = Held::Released;
                true
            }
            _ => false,
        }
    }

    /// The reply is gone, answered or not, or the job never became whole. True if the server waits for
    /// a release.
    pub(super) fn let_go(&self, ticket: &Ticket) -> bool {
        self.held().remove(ticket) == Some(Held::Cancelled)
    }

    /// How many are held, but for what is practice.
    pub(super) fn len(&self) -> usize {
        let held = self.held();
        held.len() - usize::from(held.contains_key(&practice::TICKET))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Ticket = Ticket { flow: queue::FlowId(1), seq: queue::Seq(2), part: 0, attempt: 1 };

    #[test]
    fn each_cancel_is_released_once() {
        let table = Table::new();
        assert_eq!(table.cancel(&T), Cancel::Release, "unknown");
        assert!(table.arrive(T));
        assert!(!table.arrive(T), "twice");
        assert_eq!(table.cancel(&T), Cancel::Release, "on its way");
        table.begin(vec![T], |begun| assert!(begun.is_empty(), "cancelled before it was whole"));
        assert!(!table.let_go(&T));

        assert!(table.arrive(T));
        let mut given: Vec<Ticket> = Vec::new();
        table.begin(vec![T], |begun| given.extend(begun));
        assert_eq!(given, [T]);
        assert!(!table.release(&T), "nobody asked");
        assert_eq!(table.cancel(&T), Cancel::Tell);
        assert_eq!(table.cancel(&T), Cancel::Nothing);
        assert!(table.let_go(&T));
        assert!(!table.let_go(&T));
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn practice_is_nothing_that_is_held() {
        let table = Table::new();
        assert!(table.arrive(practice::TICKET));
        assert_eq!(table.len(), 0);
        assert!(table.arrive(T));
        assert_eq!(table.len(), 1);
        assert!(!table.arrive(practice::TICKET), "one at a time");
    }

    #[test]
    fn a_release_before_the_reply_is_gone_counts_once() {
        let table = Table::new();
        table.arrive(T);
        table.begin(vec![T], |_| ());
        table.cancel(&T);
        assert!(table.release(&T));
        assert!(!table.release(&T));
        assert!(!table.let_go(&T));
        assert_eq!(table.len(), 0);
    }
}
