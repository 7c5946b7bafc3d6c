//! The hand-outs of one connection that are not over: what bounds them, and who tells them of a cancel.

use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use queue::Ticket;
use rustc_hash::FxHashMap;
use tokio::sync::{Notify, oneshot};

use crate::memory::Lease;

/// Never locked over an await; each method is one step.
#[derive(Debug)]
pub(super) struct Table {
    /// Tickets are this server's own numbers, so a quick hash is safe.
    live: Mutex<FxHashMap<Ticket, Live>>,
    /// Told of each that begins.
    begun: Notify,
    /// More than credit allows, since lowered credit bites late; a guard against a caller that never
    /// looks at credit.
    limit: usize,
}

#[derive(Debug)]
struct Live {
    state: State,
    /// The shared memory that its body is in: the worker may look there until the ticket is over.
    body: Option<Arc<Lease>>,
}

#[derive(Debug)]
enum State {
    /// The future runs; dropping the sender cancels it. None for one of a batch, which is sent anyway.
    Running(#[allow(dead_code, reason = "held for its drop")] Option<oneshot::Sender<()>>),
    /// Cancelled, and the worker has not said that it let go.
    Cancelled,
}

/// What to do for a cancel.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cancel {
    /// Tell the worker.
    Tell,
    /// The ticket is over or cancelled already.
    Nothing,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Full {
    Duplicate,
    Limit,
}

impl Table {
    pub(super) fn new(limit: usize) -> Self {
        Self { live: Mutex::default(), begun: Notify::new(), limit }
    }

    fn live(&self) -> MutexGuard<'_, FxHashMap<Ticket, Live>> {
        // No step panics in the middle of a change, so a poisoned table is a whole one.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a hand-out. The receiver ends when it is cancelled.
    pub(super) fn begin(&self, ticket: Ticket) -> Result<oneshot::Receiver<()>, Full> {
        let (cancel, cancelled) = oneshot::channel();
        self.insert(&mut self.live(), ticket, State::Running(Some(cancel)))?;
        self.begun.notify_one();
        Ok(cancelled)
    }

    /// Begins the hand-outs of a batch, and tells `each` of them whether it did.
    pub(super) fn begin_batch<T>(
        &self,
        jobs: Vec<T>,
        ticket: impl Fn(&T) -> Ticket,
        mut each: impl FnMut(T, Result<(), Full>),
    ) {
        let mut live = self.live();
        for job in jobs {
            let begun = self.insert(&mut live, ticket(&job), State::Running(None));
            each(job, begun);
        }
        drop(live);
        self.begun.notify_one();
    }

    fn insert(&self, live: &mut FxHashMap<Ticket, Live>, ticket: Ticket, state: State) -> Result<(), Full> {
        if live.len() >= self.limit {
            return Err(Full::Limit);
        }
        match live.entry(ticket) {
            Entry::Occupied(_) => Err(Full::Duplicate),
            Entry::Vacant(place) => {
                place.insert(Live { state, body: None });
                Ok(())
            }
        }
    }

    /// Waits until a hand-out begins, or has begun since this was last asked. For one caller.
    pub(super) async fn begun(&self) {
        self.begun.notified().await;
    }

    /// Keeps the memory of the hand-out's body until the hand-out is over. False if it is.
    pub(super) fn keep(&self, ticket: &Ticket, body: Arc<Lease>) -> bool {
        self.live().get_mut(ticket).map(|live| live.body = Some(body)).is_some()
    }

    /// The hand-out has its answer. False if a cancel came first.
    pub(super) fn answered(&self, ticket: &Ticket) -> bool {
        let mut live = self.live();
        match live.get(ticket) {
            Some(Live { state: State::Running(_), .. }) => live.remove(ticket).is_some(),
            _ => false,
        }
    }

    pub(super) fn cancel(&self, ticket: &Ticket) -> Cancel {
        match self.live().get_mut(ticket) {
            Some(Live { state: state @ State::Running(_), .. }) => {
                *state = State::Cancelled;
                Cancel::Tell
            }
            _ => Cancel::Nothing,
        }
    }

    /// The worker let go. True the first time.
    pub(super) fn released(&self, ticket: &Ticket) -> bool {
        let mut live = self.live();
        match live.get(ticket) {
            Some(Live { state: State::Cancelled, .. }) => live.remove(ticket).is_some(),
            _ => false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.live().len()
    }
}
