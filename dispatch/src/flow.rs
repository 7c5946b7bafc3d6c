//! Both ends of a flow: the [`Inlet`] offers, the [`Outlet`] takes in order.

use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use queue::{Books, FlowId, Seq, SourceCounts, Taken, Verdict};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};
use wire::Timings;

use crate::Stopped;
use crate::command::{Command, Item, Offer, Payload, Reply, Takings};
use crate::finish::{Done, Finish, Held};
use crate::inbox::{Entry, Inbox};
use crate::prepare::{AnswerOf, Asked, Kind, Prepare};
use crate::room::{NoRoom, Room};

/// An item at the door of the queue.
pub struct Admission<I> {
    /// What is held until its place is taken.
    pub item: I,
    /// False for an item that passes without being worked on: it leaves in order as *not asked*.
    pub ask: bool,
    /// When it came into being; the flow's budget counts from here.
    pub captured_at: std::time::Instant,
    /// What the source had counted when it made this item.
    pub source: SourceCounts,
}

impl<I> Admission<I> {
    /// An item to be worked on that came into being now, from a source that counts nothing.
    pub fn now(item: I) -> Self {
        let captured_at = Instant::now().into_std();
        Admission { item, ask: true, captured_at, source: SourceCounts::default() }
    }
}

/// An item that was not admitted. It is handed back and not counted: its source counts it if it
/// gives up.
#[derive(Debug)]
pub struct Refused<I> {
    /// The item.
    pub item: I,
    /// Why.
    pub why: Refusal,
}

/// Why an item was not admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The flow holds as much as its policy allows.
    #[error("the flow is full")]
    Full,
    /// The flow was closed or aborted.
    #[error("the flow is closed")]
    Closed,
    /// The queue stopped.
    #[error("the queue has stopped")]
    Stopped,
}

/// Where items enter a flow. One producer, so that numbers follow the order of its calls.
pub struct Inlet<P: Prepare> {
    flow: FlowId,
    kind: Arc<Kind<P>>,
    /// The number of the next item: every offer that is sent is admitted, in this order.
    next: Seq,
    room: Arc<Room>,
    inbox: Arc<Inbox>,
    commands: mpsc::Sender<Command>,
    close: Option<mpsc::OwnedPermit<Command>>,
    pace: Option<Pace>,
}

/// A rate at which items are sent.
struct Pace {
    every: Duration,
    /// When the next may go.
    next: Instant,
}

/// How much of its rate a sender that was held up may catch up at once: about what a timer is late.
const CATCH_UP: Duration = Duration::from_millis(5);

impl<P: Prepare> Inlet<P> {
    pub(crate) fn new(
        flow: FlowId,
        kind: Kind<P>,
        room: Arc<Room>,
        inbox: Arc<Inbox>,
        commands: mpsc::Sender<Command>,
        close: mpsc::OwnedPermit<Command>,
    ) -> Self {
        Inlet {
            flow,
            kind: Arc::new(kind),
            next: Seq(0),
            room,
            inbox,
            commands,
            close: Some(close),
            pace: None,
        }
    }

    /// Offers an item; a full flow hands it back.
    pub async fn offer(&mut self, admission: Admission<P::Item>) -> Result<Seq, Refused<P::Item>> {
        match self.room.one_now() {
            Ok(place) => place.forget(),
            Err(why) => return Err(self.refused(admission, why)),
        }
        self.admit(admission).await
    }

    /// Sends at most one item in this time, on average: [`send`](Self::send) waits for the moment of each, so a
    /// burst of items reaches the workers as an even stream. [`offer`](Self::offer) is not held up.
    #[must_use]
    pub fn paced(mut self, every: Duration) -> Self {
        self.pace = Some(Pace { every, next: Instant::now() });
        self
    }

    /// Offers an item and waits while the flow is full. Dropping the future drops the item.
    pub async fn send(&mut self, admission: Admission<P::Item>) -> Result<Seq, Refused<P::Item>> {
        if let Some(pace) = &mut self.pace {
            sleep_until(pace.next).await;
            let earliest = Instant::now().checked_sub(CATCH_UP).unwrap_or(pace.next);
            pace.next = pace.next.max(earliest) + pace.every;
        }
        match self.room.one().await {
            Ok(place) => place.forget(),
            Err(why) => return Err(self.refused(admission, why)),
        }
        self.admit(admission).await
    }

    /// Brings the source's counters up to date without an item.
    pub async fn source(&mut self, counts: SourceCounts) -> Result<(), Stopped> {
        // What lies in the inbox of a queue that has stopped would be joined for ever.
        if self.commands.is_closed() {
            return Err(Stopped);
        }
        if let Err(counts) = self.inbox.join(counts, Entry::Source) {
            let slot = self.commands.reserve().await.map_err(|_| Stopped)?;
            self.inbox.begin(Entry::Source(counts));
            slot.send(Command::Inbox { flow: self.flow });
        }
        Ok(())
    }

    /// Ends the flow; what was admitted still leaves. Dropping the inlet does the same.
    pub fn close(self) {}

    fn refused(&self, admission: Admission<P::Item>, why: NoRoom) -> Refused<P::Item> {
        let why = match why {
            NoRoom::Full => Refusal::Full,
            NoRoom::Closed if self.commands.is_closed() => Refusal::Stopped,
            NoRoom::Closed => Refusal::Closed,
        };
        Refused { item: admission.item, why }
    }

    /// Sends an item for which there is room.
    async fn admit(&mut self, admission: Admission<P::Item>) -> Result<Seq, Refused<P::Item>> {
        let entry = |admission| Entry::Offer(offer(&self.kind, admission));
        if let Err(admission) = self.inbox.join(admission, entry) {
            // A future dropped here leaves its place unused.
            let unused = Unused(&self.room);
            let Ok(slot) = self.commands.reserve().await else {
                return Err(Refused { item: admission.item, why: Refusal::Stopped });
            };
            std::mem::forget(unused);
            self.inbox.begin(entry(admission));
            slot.send(Command::Inbox { flow: self.flow });
        }
        let seq = self.next;
        self.next = Seq(seq.0 + 1);
        Ok(seq)
    }
}

fn offer<P: Prepare>(kind: &Arc<Kind<P>>, admission: Admission<P::Item>) -> Offer {
    let item = Arc::new(Asked { kind: Arc::clone(kind), item: admission.item });
    let parts = if admission.ask {
        let payload = Arc::clone(&item) as Payload;
        queue::Parts::one(queue::Part { key: kind.key.clone(), payload })
    } else {
        queue::Parts::none()
    };
    Offer {
        item: item as Item,
        parts,
        sealed: true,
        captured_at: admission.captured_at,
        source: admission.source,
    }
}

/// A place that was taken and is not filled.
struct Unused<'a>(&'a Room);

impl Drop for Unused<'_> {
    fn drop(&mut self) {
        self.0.add(1);
    }
}

impl<P: Prepare> Drop for Inlet<P> {
    fn drop(&mut self) {
        if let Some(permit) = self.close.take() {
            permit.send(Command::Close { flow: self.flow });
        }
    }
}

/// Where places leave a flow, in order, once each.
pub struct Outlet<P: Prepare> {
    flow: FlowId,
    batch: usize,
    waiting: std::vec::IntoIter<Taken<Item, Reply>>,
    /// What was asked for and has not come yet. It is kept here, since the owner counts what it sends as taken,
    /// also where the future that waited for it was dropped.
    asked: Option<oneshot::Receiver<Takings>>,
    closed: Option<Box<Books>>,
    commands: mpsc::Sender<Command>,
    forget: Option<mpsc::OwnedPermit<Command>>,
    kind: PhantomData<fn() -> P>,
}

impl<P: Prepare> Outlet<P> {
    pub(crate) fn new(
        flow: FlowId,
        commands: mpsc::Sender<Command>,
        forget: mpsc::OwnedPermit<Command>,
        batch: usize,
    ) -> Self {
        Outlet {
            flow,
            batch,
            waiting: Vec::new().into_iter(),
            asked: None,
            closed: None,
            commands,
            forget: Some(forget),
            kind: PhantomData,
        }
    }

    /// Takes up to `batch` places a request. A place counts as taken when it is fetched, so a
    /// larger batch costs that many places of back-pressure and saves round trips to the owner. Default 1 for a
    /// flow with a budget, such as video, and 256 for one without.
    pub fn batched(mut self, batch: NonZeroUsize) -> Self {
        self.batch = batch.get();
        self
    }

    /// The flow's id, for its books.
    pub fn flow(&self) -> FlowId {
        self.flow
    }

    /// Waits for the next place. None after the last one, or once the queue has stopped. A future that is
    /// dropped loses nothing.
    pub async fn next(&mut self) -> Option<Done<P>> {
        loop {
            if let Some(taken) = self.waiting.next() {
                return Some(done(taken));
            }
            if self.closed.is_some() {
                return None;
            }
            if self.asked.is_none() {
                let slot = self.commands.reserve().await.ok()?;
                let (reply, takings) = oneshot::channel();
                slot.send(Command::Take { flow: self.flow, max: self.batch, reply });
                self.asked = Some(takings);
            }
            let takings = self.asked.as_mut()?.await;
            self.asked = None;
            match takings.ok()? {
                Takings::Places(places) => self.waiting = places.into_iter(),
                Takings::Closed(books) => self.closed = Some(books),
            }
        }
    }

    /// Takes places in groups, for what is done for many at a time, such as a write to a database: see
    /// [`Batches`]. A group of more than one place wants [`batched`](Self::batched) as well.
    pub fn in_batches(self, most: NonZeroUsize, within: Duration) -> Batches<P> {
        Batches { outlet: self, most: most.get(), within, group: Vec::new(), until: None }
    }

    /// The books at the end of the flow; there once [`next`](Self::next) gave none for its end.
    pub fn closing_books(&self) -> Option<&Books> {
        self.closed.as_deref()
    }

    /// Hands every place to `finish` until the flow is over, and gives `finish` back with the
    /// flow's last books (none if the queue stopped before).
    pub async fn run<F: Finish<Prepare = P>>(mut self, mut finish: F) -> (F, Option<Books>) {
        while let Some(done) = self.next().await {
            finish.finish(done).await;
        }
        let books = self.closed.take().map(|books| *books);
        (finish, books)
    }
}

/// An outlet whose places come in groups, in order: as many as were asked for, or those that came within some
/// time of the group's first, whichever is sooner.
pub struct Batches<P: Prepare> {
    outlet: Outlet<P>,
    most: usize,
    within: Duration,
    group: Vec<Done<P>>,
    /// When the group is given, full or not.
    until: Option<Instant>,
}

impl<P: Prepare> Batches<P> {
    /// Waits for the next group, of at least one place. None after the last one, or once the queue has stopped.
    /// A future that is dropped loses nothing.
    pub async fn next(&mut self) -> Option<Vec<Done<P>>> {
        while self.group.len() < self.most {
            let next = match self.until {
                None => self.outlet.next().await,
                Some(until) => match timeout_at(until, self.outlet.next()).await {
                    Ok(next) => next,
                    Err(_) => break,
                },
            };
            let Some(done) = next else { break };
            self.until.get_or_insert_with(|| Instant::now() + self.within);
            self.group.push(done);
        }
        self.until = None;
        let group = std::mem::take(&mut self.group);
        (!group.is_empty()).then_some(group)
    }

    /// The outlet, for its id and its last books.
    pub fn outlet(&self) -> &Outlet<P> {
        &self.outlet
    }
}

impl<P: Prepare> Drop for Outlet<P> {
    fn drop(&mut self) {
        if let Some(permit) = self.forget.take() {
            permit.send(Command::Forget { flow: self.flow });
        }
    }
}

fn done<P: Prepare>(taken: Taken<Item, Reply>) -> Done<P> {
    let mut answer = None;
    let mut timings = Timings::default();
    for (_, outcome) in taken.parts {
        if let queue::Outcome::Answer(reply) = outcome {
            timings = reply.timings;
            answer = reply.value.downcast::<AnswerOf<P>>().ok().map(|value| *value);
        }
    }
    debug_assert_eq!(answer.is_some(), taken.verdict == Verdict::Answered);
    let item = taken
        .item
        .downcast::<Asked<P>>()
        .expect("only this flow's inlet offers items to it, all of its own kind");
    Done {
        seq: taken.seq,
        item: Held(item),
        captured_at: taken.captured_at,
        verdict: taken.verdict,
        answer,
        timings,
    }
}
