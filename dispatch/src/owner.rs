//! The one task that owns the dispatcher. It waits for requests and for the moment that the
//! dispatcher names, carries both in, and carries the steps out. It never waits for a lane or a
//! flow, so neither can hold the others up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use queue::{Answered, Books, FlowId, Key, LaneId, Step};
use rustc_hash::FxHashMap;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::sleep_until;

use crate::command::{Command, Core, Offer, Report, Takings};
use crate::coordinator::{Config, Snapshot};
use crate::dump::Dump;
use crate::inbox::{Entry, Inbox};
use crate::lane::{HandOut, Label, LastWord, Order, View};
use crate::practice::Practice;
use crate::room::Room;
use crate::watch::{self, Watch};

/// How many requests are carried in between two polls: enough to share the cost of waking up,
/// few enough that a burst of offers does not delay the answers behind it.
const REQUESTS_A_TURN: usize = 128;

/// The owner's side of a flow.
struct Flow {
    /// For people.
    key: Key,
    inbox: Arc<Inbox>,
    /// Places that the inlet may fill. Those it was given and has not filled are counted in `given`, so
    /// that no more is ever given than [`queue::Dispatcher::room`] says.
    room: Arc<Room>,
    given: usize,
    /// Whether its room may have changed since the inlet was last told.
    stirred: bool,
    /// An outlet that waits for a settled place.
    parked_take: Option<(usize, oneshot::Sender<Takings>)>,
    /// The flow's last books, once it is over.
    closed: Option<Box<Books>>,
    /// Nobody will take from it any more.
    forgotten: bool,
}

impl Flow {
    fn new(key: Key, inbox: Arc<Inbox>, room: Arc<Room>) -> Self {
        Flow { key, inbox, room, given: 0, stirred: false, parked_take: None, closed: None, forgotten: false }
    }

    /// Tells the inlet of the room that it does not know of yet.
    fn give_room(&mut self, room: usize) {
        let more = room.saturating_sub(self.given);
        if more > 0 {
            self.given += more;
            self.room.add(more);
        }
    }
}

/// The owner's side of a lane.
struct Lane {
    label: Label,
    orders: mpsc::Sender<Vec<Order>>,
    /// What it is to be told at the end of this turn.
    untold: Vec<Order>,
    last_word: Arc<LastWord>,
    /// To be rung where it is time to practise.
    practice: Option<Arc<Notify>>,
}

pub(crate) struct Owner {
    core: Core,
    flows: FxHashMap<FlowId, Flow>,
    /// The flows that are stirred.
    stirred: Vec<FlowId>,
    lanes: FxHashMap<LaneId, Lane>,
    /// The lanes that are to be told something.
    untold: Vec<LaneId>,
    busy_poll: Duration,
    /// Kept for its memory, and empty.
    entries: Vec<Entry>,
    watch: Watch,
}

impl Drop for Owner {
    /// Inlets that wait for room must not wait for one who is gone.
    fn drop(&mut self) {
        self.flows.values().for_each(|flow| flow.room.close());
    }
}

impl Owner {
    pub(crate) fn new(config: Config) -> Self {
        Owner {
            core: Core::new(config.queue),
            flows: FxHashMap::default(),
            stirred: Vec::new(),
            lanes: FxHashMap::default(),
            untold: Vec::new(),
            busy_poll: config.busy_poll,
            entries: Vec::new(),
            watch: Watch::default(),
        }
    }

    pub(crate) async fn run(mut self, mut requests: mpsc::Receiver<Command>) {
        let mut turn = Vec::with_capacity(REQUESTS_A_TURN);
        let (mut awake_until, mut practice) = (None, Practice::new(now()));
        loop {
            let at = now();
            let due = self.settle(at);
            self.look(at);
            self.give_room();
            let due = self.watch.earlier(due);
            let timer = async {
                match due {
                    Some(due) => sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                received = requests.recv_many(&mut turn, REQUESTS_A_TURN) => {
                    if received == 0 {
                        return;
                    }
                    let now = now();
                    if !self.busy_poll.is_zero() && turn.iter().any(Command::is_work) {
                        awake_until = now.checked_add(self.busy_poll);
                        practice.works(now);
                    }
                    for command in turn.drain(..) {
                        self.carry_in(command, now);
                    }
                }
                () = timer => {}
                () = busy_poll(awake_until) => {
                    let lanes = self.lanes.iter();
                    practice.ring(lanes.filter_map(|(lane, it)| Some((*lane, it.practice.as_ref()?))), now());
                }
            }
        }
    }

    /// Carries steps out until there are none, and gives the moment at which the next is due.
    fn settle(&mut self, now: Instant) -> Option<Instant> {
        loop {
            match self.core.poll(now) {
                Step::Assign { lane, ticket } => self.assign(lane, ticket, now),
                Step::Cancel { lane, ticket } => self.order(lane, Order::Cancel(ticket)),
                Step::Ready { flow } => self.serve_take(flow, now),
                // Inlets are told of room before they offer.
                Step::Room { .. } => {}
                Step::Closed { flow } => self.closed(flow),
                Step::Drained { lane } => self.order(lane, Order::Drained),
                Step::Lost { lane } => {
                    if let Some(mut lost) = self.lanes.remove(&lane) {
                        tracing::warn!(%lane, worker = lost.label.name, "lane lost: it did not let go of cancelled work");
                        // A full channel means that the lane is stuck; dropping the sender tells it too.
                        lost.untold.push(Order::Lost);
                        let _ = lost.orders.try_send(lost.untold);
                    }
                }
                Step::Wait(due) if self.untold.is_empty() => return due,
                Step::Wait(_) => self.tell(now),
            }
        }
    }

    fn assign(&mut self, lane: LaneId, ticket: queue::Ticket, now: Instant) {
        let hand_out =
            self.core.hand_out(ticket).expect("a ticket is live until something else is carried in");
        let order = HandOut { ticket, deadline: hand_out.deadline, work: hand_out.payload.clone() };
        self.watch.begin(now);
        self.order(lane, Order::HandOut(order));
    }

    /// Tells of hand-outs that may be out for ever, where it is time to look for such.
    fn look(&mut self, now: Instant) {
        if self.watch.is_due(now) {
            let (told, more) = self.core.overlong(watch::LEAST, watch::TIMES, now);
            self.watch.looked(more, now);
            watch::tell(&told, |lane| self.lanes.get(&lane).map_or("", |known| &known.label.name));
        }
    }

    /// Notes what a lane is to be told.
    fn order(&mut self, lane: LaneId, order: Order) {
        let Some(known) = self.lanes.get_mut(&lane) else { return };
        if known.untold.is_empty() {
            self.untold.push(lane);
        }
        known.untold.push(order);
    }

    /// Tells the lanes. The channel of a lane has room for all that its credit allows, so a lane that fills it, or
    /// that dropped it, does not work any more.
    fn tell(&mut self, now: Instant) {
        let mut untold = std::mem::take(&mut self.untold);
        for lane in untold.drain(..) {
            let Some(known) = self.lanes.get_mut(&lane) else { continue };
            let Err(failed) = known.orders.try_send(std::mem::take(&mut known.untold)) else { continue };
            // One that left a moment ago has said whom to blame, though that word may still wait here.
            let blame = known.last_word.get().copied().flatten();
            for order in failed.into_inner() {
                // It never had this one, whatever became of it.
                if let Order::HandOut(HandOut { ticket, .. }) = order {
                    self.core.released(lane, ticket, now);
                }
            }
            self.leave(lane, blame, now);
        }
        self.untold = untold;
    }

    fn serve_take(&mut self, flow: FlowId, now: Instant) {
        let Some(state) = self.flows.get_mut(&flow) else { return };
        let Some((max, reply)) = state.parked_take.take() else { return };
        let mut places = Vec::with_capacity(max.min(64));
        self.core.take_batch(flow, max, &mut places, now);
        // Before the places: who has one finds the room that it left.
        state.give_room(self.core.room(flow));
        if places.is_empty() {
            match state.closed.clone() {
                Some(books) => drop(reply.send(Takings::Closed(books))),
                None => state.parked_take = Some((max, reply)),
            }
            return;
        }
        // A receiver that is gone is an outlet dropped while it waited; its Forget follows.
        let _ = reply.send(Takings::Places(places));
    }

    /// Notes that a flow may have room.
    fn stir(&mut self, flow: FlowId) {
        if let Some(state) = self.flows.get_mut(&flow)
            && !state.stirred
        {
            state.stirred = true;
            self.stirred.push(flow);
        }
    }

    fn give_room(&mut self) {
        for flow in self.stirred.drain(..) {
            let Some(state) = self.flows.get_mut(&flow) else { continue };
            state.stirred = false;
            state.give_room(self.core.room(flow));
        }
    }

    fn closed(&mut self, flow: FlowId) {
        let Some(state) = self.flows.get_mut(&flow) else { return };
        state.room.close();
        if state.forgotten {
            self.core.forget(flow);
            self.flows.remove(&flow);
            return;
        }
        let books = Box::new(self.core.books(flow).expect("a flow has books until it is forgotten"));
        if let Some((_, reply)) = state.parked_take.take() {
            let _ = reply.send(Takings::Closed(books.clone()));
        }
        state.closed = Some(books);
    }

    fn carry_in(&mut self, command: Command, now: Instant) {
        match command {
            Command::Open { policy, key, inbox, reply } => {
                let flow = self.core.open(policy);
                let room = Arc::new(Room::new());
                let mut state = Flow::new(key, inbox, room.clone());
                state.give_room(self.core.room(flow));
                self.flows.insert(flow, state);
                if reply.send((flow, room)).is_err() {
                    self.forget(flow, now);
                }
            }
            Command::Inbox { flow } => self.empty(flow, now),
            Command::Offers { flow, offers } => self.offers(flow, offers, now),
            Command::Cancel { flow, seqs } => {
                for seq in seqs {
                    self.core.cancel(flow, seq, now);
                }
                self.stir(flow);
            }
            Command::Take { flow, max, reply } => {
                if let Some(state) = self.flows.get_mut(&flow) {
                    state.parked_take = Some((max, reply));
                    self.serve_take(flow, now);
                }
            }
            Command::Close { flow } => self.core.close(flow, now),
            Command::Abort { flow } => drop(self.core.abort(flow, now)),
            Command::Forget { flow } => self.forget(flow, now),
            Command::Snapshot { flows, reply } => {
                let books = flows.iter().map(|flow| self.core.books(*flow)).collect();
                let _ = reply.send(Snapshot { books, lanes: self.views() });
            }
            Command::Dump { reply } => {
                let flows = self.flows.iter().filter_map(|(flow, state)| {
                    let books = self.core.books(*flow)?;
                    Some((*flow, state.key.clone(), state.closed.is_some(), books))
                });
                let _ = reply.send(Dump::new(flows.collect(), self.views()));
            }
            Command::Join { worker, label, keys, credit, orders, last_word, practice, reply } => {
                let lane = self.core.join(queue::Join { worker, keys, credit }, now);
                self.lanes.insert(lane, Lane { label, orders, untold: Vec::new(), last_word, practice });
                if reply.send(lane).is_err() {
                    self.leave(lane, None, now);
                }
            }
            Command::Keys { lane, keys } => self.core.keys(lane, keys, now),
            Command::Credit { lane, credit } => self.core.credit(lane, credit, now),
            Command::Report { lane, reports } => {
                let mut stirred = None;
                for report in reports {
                    let flow = match report {
                        Report::Answered(ticket, result) => {
                            self.core.answer(lane, ticket, Answered::new(result), now);
                            ticket.flow
                        }
                        Report::Released(ticket) => {
                            self.core.released(lane, ticket, now);
                            ticket.flow
                        }
                    };
                    if stirred != Some(flow) {
                        self.stir(flow);
                        stirred = Some(flow);
                    }
                }
            }
            Command::Drain { lane } => self.drain(lane, now),
            Command::Silent { lane, silent: true } => self.core.suspect(lane, now),
            Command::Silent { lane, silent: false } => self.core.trust(lane, now),
            Command::DrainWorker { worker, reply } => {
                let lanes: Vec<_> =
                    self.core.lanes().filter(|lane| lane.worker == worker).map(|lane| lane.lane).collect();
                for lane in &lanes {
                    self.drain(*lane, now);
                }
                let _ = reply.send(!lanes.is_empty());
            }
            Command::Leave { lane, blame } => self.leave(lane, blame, now),
            Command::Serves { key, reply } => drop(reply.send(self.core.serves(&key))),
        }
    }

    /// Takes in what lies in a flow's inbox.
    fn empty(&mut self, flow: FlowId, now: Instant) {
        let Some(state) = self.flows.get(&flow) else { return };
        let mut entries = std::mem::take(&mut self.entries);
        state.inbox.take(&mut entries);
        for entry in entries.drain(..) {
            match entry {
                Entry::Source(counts) => self.core.source(flow, counts),
                Entry::Offer(offer) => self.offer(flow, offer, now),
            }
        }
        self.entries = entries;
    }

    /// An inlet offers only what there is room for; what comes for a flow that was aborted meanwhile is
    /// dropped with it.
    fn offer(&mut self, flow: FlowId, offer: Offer, now: Instant) {
        let Some(state) = self.flows.get_mut(&flow) else { return };
        state.given = state.given.saturating_sub(1);
        if let Err(refused) = self.core.offer(flow, offer, now) {
            debug_assert_eq!(refused.why, queue::RefusedWhy::Closed, "room was given for it");
            tracing::debug!(%flow, why = %refused.why, "an item came for a flow that is over");
        }
    }

    /// As [`offer`](Self::offer), several of them.
    fn offers(&mut self, flow: FlowId, offers: Vec<Offer>, now: Instant) {
        let Some(state) = self.flows.get_mut(&flow) else { return };
        state.given = state.given.saturating_sub(offers.len());
        let batch = self.core.offer_batch(flow, offers, now);
        if let Some(why) = batch.why {
            debug_assert_eq!(why, queue::RefusedWhy::Closed, "room was given for all of them");
            tracing::debug!(%flow, %why, items = batch.rest.len(), "items came for a flow that is over");
        }
    }

    fn forget(&mut self, flow: FlowId, now: Instant) {
        let Some(state) = self.flows.get_mut(&flow) else { return };
        if state.closed.is_some() {
            self.core.forget(flow);
            self.flows.remove(&flow);
        } else {
            state.forgotten = true;
            self.core.abort(flow, now);
        }
    }

    fn leave(&mut self, lane: LaneId, blame: Option<queue::Ticket>, now: Instant) {
        if self.lanes.remove(&lane).is_some() {
            self.core.leave(lane, blame, now);
        }
    }

    /// Nothing more for a lane, not even practice: it is to end when it holds nothing.
    fn drain(&mut self, lane: LaneId, now: Instant) {
        if let Some(state) = self.lanes.get_mut(&lane) {
            state.practice = None;
        }
        self.core.drain(lane, now);
    }

    fn views(&self) -> Vec<View> {
        let view = |lane: queue::LaneView<'_>| {
            let label = self.lanes.get(&lane.lane)?.label.clone();
            Some(View {
                label,
                lane: lane.lane,
                worker: lane.worker,
                keys: lane.keys.to_vec(),
                credit: lane.credit,
                outstanding: lane.outstanding,
                draining: lane.draining,
                suspected: lane.suspected,
                answered: lane.answered,
                failed: lane.failed,
                stale: lane.stale,
                overlong: lane.overlong,
            })
        };
        self.core.lanes().filter_map(view).collect()
    }
}

/// Returns soon, when whatever else there is had its turn and the network was looked at without a wait; after
/// this moment, never.
async fn busy_poll(until: Option<Instant>) {
    match until {
        Some(until) if now() < until => tokio::task::yield_now().await,
        _ => std::future::pending().await,
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
