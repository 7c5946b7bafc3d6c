//! The one task that owns the dispatcher. It waits for requests and for the moment that the
//! dispatcher names, carries both in, and carries the steps out. It never waits for a lane or a
//! flow, so neither can hold the others up.

use std::collections::HashMap;
use std::time::Instant;

use queue::{Answered, Books, FlowId, LaneId, Seq, Step};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep_until;

use crate::command::{Command, Core, Offer, Refused, Takings};
use crate::coordinator::Snapshot;
use crate::lane::{HandOut, Label, Order, View};

/// How many requests are carried in between two polls: enough to share the cost of waking up,
/// few enough that a burst of offers does not delay the answers behind it.
const REQUESTS_A_TURN: usize = 128;

/// The owner's side of a flow.
#[derive(Default)]
struct Flow {
    /// An offer that waits for room, and who waits for its number.
    parked_offer: Option<(Offer, oneshot::Sender<Result<Seq, Refused>>)>,
    /// An outlet that waits for a settled place.
    parked_take: Option<(usize, oneshot::Sender<Takings>)>,
    /// The flow's last books, once it is over.
    closed: Option<Box<Books>>,
    /// Nobody will take from it any more.
    forgotten: bool,
}

/// The owner's side of a lane.
struct Lane {
    label: Label,
    orders: mpsc::Sender<Order>,
}

pub(crate) struct Owner {
    core: Core,
    flows: HashMap<FlowId, Flow>,
    lanes: HashMap<LaneId, Lane>,
}

impl Owner {
    pub(crate) fn new(config: queue::Config) -> Self {
        Owner { core: Core::new(config), flows: HashMap::new(), lanes: HashMap::new() }
    }

    pub(crate) async fn run(mut self, mut requests: mpsc::Receiver<Command>) {
        let mut turn = Vec::with_capacity(REQUESTS_A_TURN);
        loop {
            let due = self.settle(now());
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
                    for command in turn.drain(..) {
                        self.carry_in(command, now);
                    }
                }
                () = timer => {}
            }
        }
    }

    /// Carries steps out until there are none, and gives the moment at which the next is due.
    fn settle(&mut self, now: Instant) -> Option<Instant> {
        loop {
            match self.core.poll(now) {
                Step::Assign { lane, ticket } => self.assign(lane, ticket, now),
                Step::Cancel { lane, ticket } => self.order(lane, Order::Cancel(ticket), now),
                Step::Ready { flow } => self.serve_take(flow, now),
                Step::Room { flow } => self.serve_offer(flow, now),
                Step::Closed { flow } => self.closed(flow),
                Step::Drained { lane } => self.order(lane, Order::Drained, now),
                Step::Lost { lane } => {
                    if let Some(lost) = self.lanes.remove(&lane) {
                        tracing::warn!(%lane, worker = lost.label.name, "lane lost: it did not let go of cancelled work");
                        // A full channel means that the lane is stuck; dropping the sender tells it too.
                        let _ = lost.orders.try_send(Order::Lost);
                    }
                }
                Step::Wait(due) => return due,
            }
        }
    }

    fn assign(&mut self, lane: LaneId, ticket: queue::Ticket, now: Instant) {
        let hand_out =
            self.core.hand_out(ticket).expect("a ticket is live until something else is carried in");
        let order = HandOut {
            ticket,
            key: hand_out.key.clone(),
            deadline: hand_out.deadline,
            work: hand_out.payload.clone(),
        };
        self.order(lane, Order::HandOut(order), now);
    }

    /// The channel of a lane has room for all that its credit allows, so a lane that fills it, or
    /// that dropped it, does not work any more.
    fn order(&mut self, lane: LaneId, order: Order, now: Instant) {
        let failed = match self.lanes.get(&lane) {
            Some(known) => known.orders.try_send(order).is_err(),
            None => false,
        };
        if failed {
            self.lanes.remove(&lane);
            self.core.leave(lane, None, now);
        }
    }

    fn serve_take(&mut self, flow: FlowId, now: Instant) {
        let Some(state) = self.flows.get_mut(&flow) else { return };
        let Some((max, reply)) = state.parked_take.take() else { return };
        let mut places = Vec::with_capacity(max.min(64));
        self.core.take_batch(flow, max, &mut places, now);
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

    fn serve_offer(&mut self, flow: FlowId, now: Instant) {
        let Some(state) = self.flows.get_mut(&flow) else { return };
        let Some((offer, reply)) = state.parked_offer.take() else { return };
        if reply.is_closed() {
            return; // The inlet gave up waiting; the item was never admitted.
        }
        match self.core.offer(flow, offer, now) {
            Err(refused) if refused.why == queue::RefusedWhy::Full => {
                state.parked_offer = Some((refused.offer, reply));
            }
            result => drop(reply.send(result)),
        }
    }

    fn closed(&mut self, flow: FlowId) {
        let Some(state) = self.flows.get_mut(&flow) else { return };
        if let Some((offer, reply)) = state.parked_offer.take() {
            let _ = reply.send(Err(Refused { offer, why: queue::RefusedWhy::Closed }));
        }
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
            Command::Open { policy, reply } => {
                let flow = self.core.open(policy);
                self.flows.insert(flow, Flow::default());
                if reply.send(flow).is_err() {
                    self.forget(flow, now);
                }
            }
            Command::Offer { flow, offer, wait, reply } => self.offer(flow, offer, wait, reply, now),
            Command::Source { flow, counts } => self.core.source(flow, counts),
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
            Command::Join { worker, label, keys, credit, orders, reply } => {
                let lane = self.core.join(queue::Join { worker, keys, credit }, now);
                self.lanes.insert(lane, Lane { label, orders });
                if reply.send(lane).is_err() {
                    self.leave(lane, None, now);
                }
            }
            Command::Keys { lane, keys } => self.core.keys(lane, keys, now),
            Command::Credit { lane, credit } => self.core.credit(lane, credit, now),
            Command::Answer { lane, ticket, result } => {
                self.core.answer(lane, ticket, Answered::new(result), now);
            }
            Command::Released { lane, ticket } => self.core.released(lane, ticket, now),
            Command::Drain { lane } => self.core.drain(lane, now),
            Command::DrainWorker { worker, reply } => {
                let lanes: Vec<_> =
                    self.core.lanes().filter(|lane| lane.worker == worker).map(|lane| lane.lane).collect();
                for lane in &lanes {
                    self.core.drain(*lane, now);
                }
                let _ = reply.send(!lanes.is_empty());
            }
            Command::Leave { lane, blame } => self.leave(lane, blame, now),
            Command::Serves { key, reply } => drop(reply.send(self.core.serves(&key))),
        }
    }

    fn offer(
        &mut self,
        flow: FlowId,
        offer: Offer,
        wait: bool,
        reply: oneshot::Sender<Result<Seq, Refused>>,
        now: Instant,
    ) {
        match self.core.offer(flow, offer, now) {
            Err(refused) if wait && refused.why == queue::RefusedWhy::Full => {
                if let Some(state) = self.flows.get_mut(&flow) {
                    state.parked_offer = Some((refused.offer, reply));
                }
            }
            result => drop(reply.send(result)),
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
                answered: lane.answered,
                failed: lane.failed,
                stale: lane.stale,
            })
        };
        self.core.lanes().filter_map(view).collect()
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
