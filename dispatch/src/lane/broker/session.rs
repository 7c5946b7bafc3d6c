//! One connection to a broker, from joining the queue to its end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use queue::{Failure, FlowId, Key, LaneKey, Seq, Ticket};
use rustc_hash::FxHashMap;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wire::Unprocessed;
use wire::broker::Error;
use wire::broker::server::{Answer, Event, Events, Job, Missing, NotPlaced, Place, Placed, Sender};

use super::Config;
use crate::command::Report;
use crate::lane::habits::{Habits, Seen};
use crate::lane::trouble::{Trouble, Troubles};
use crate::lane::{HandOut, Join, Label, Order, Orders, Reporter, answered};
use crate::{Coordinator, Link, Stopped};

/// Orders that are looked at in one turn, and so the most jobs that are sent together.
const ORDERS: usize = 256;

/// How long a hand-out rests that a full broker did not take.
const FULL: Duration = Duration::from_millis(100);

/// No lane ever holds it, so a lane that leaves with it charges nobody an attempt: a broker's end is no
/// job's fault.
const NOBODY: Ticket = Ticket { flow: FlowId(u64::MAX), seq: Seq(u64::MAX), part: 0, attempt: 0 };

/// How a session ended.
pub(super) enum Over {
    /// After the stop, with nothing left.
    Drained,
    /// The broker is gone.
    Lost(Error),
    /// By the queue.
    GivenUp,
}

/// A hand-out that the broker has, or will have in a moment.
struct Held {
    hand_out: Arc<HandOut>,
    place: Option<Place>,
}

type Tickets = FxHashMap<Ticket, Held>;
type Table = Arc<Mutex<Tickets>>;

pub(super) struct Session {
    sender: Sender,
    orders: Orders,
    sending: Sending,
    habits: Habits,
}

/// What is shared with the tasks that send.
#[derive(Clone)]
struct Sending {
    sender: Sender,
    reporter: Reporter,
    table: Table,
    link: Link,
    troubles: Arc<Troubles>,
}

/// What became of jobs that were sent.
type Sent = Result<Vec<(Key, Seen)>, Failed>;

enum Failed {
    Broker(Error),
    Stopped(Stopped),
}

impl From<Stopped> for Failed {
    fn from(stopped: Stopped) -> Self {
        Failed::Stopped(stopped)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Failed::Broker(error)
    }
}

impl Session {
    /// Joins the queue, with no keys yet: the broker tells for which there are workers.
    pub(super) async fn join(
        coordinator: &Coordinator,
        config: &Config,
        sender: Sender,
    ) -> Result<Session, Stopped> {
        let label = Label {
            name: config.url.to_string(),
            kind: config.url.kind().name(),
            remote: None,
            shared_memory: false,
        };
        let credit = config.credit.get();
        let join = Join {
            worker: config.worker,
            label,
            keys: Vec::new(),
            credit,
            max_credit: credit,
            practice: None,
        };
        let (orders, reporter) = coordinator.join(join).await?;
        let link = Link::Remote {
            worker: config.worker,
            lane: reporter.lane(),
            abilities: config.abilities.clone().into(),
            bytes_per_s: None,
            rtt: Duration::ZERO,
        };
        let troubles = Arc::new(Troubles::new(config.worker, reporter.lane()));
        let sending = Sending { sender: sender.clone(), reporter, table: Table::default(), link, troubles };
        Ok(Session { sender, orders, sending, habits: Habits::default() })
    }

    /// Serves until the stop, and then until nothing is left; or until the broker is gone.
    pub(super) async fn serve(mut self, events: Events, stop: &CancellationToken) -> Result<Over, Stopped> {
        let listening = self.sending.clone();
        let troubles = Arc::clone(&self.sending.troubles);
        let ended = tokio::select! {
            biased;
            failed = listening.listen(events) => Err(failed),
            never = troubles.tell() => match never {},
            ended = self.obey(stop) => ended,
        };
        let over = match ended {
            Ok(over) => over,
            Err(Failed::Broker(error)) => Over::Lost(error),
            Err(Failed::Stopped(stopped)) => return Err(stopped),
        };
        self.sending.reporter.leave(Some(NOBODY));
        if !matches!(over, Over::Lost(_)) {
            self.sender.leave().await;
        }
        Ok(over)
    }

    /// Carries out the queue's orders.
    async fn obey(&mut self, stop: &CancellationToken) -> Result<Over, Failed> {
        let mut turn = Vec::with_capacity(ORDERS);
        let mut tasks: JoinSet<Sent> = JoinSet::new();
        let mut draining = false;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled(), if !draining => {
                    draining = true;
                    self.sending.reporter.drain().await?;
                }
                Some(sent) = tasks.join_next() => match sent {
                    Ok(sent) => sent?.iter().for_each(|(key, seen)| self.habits.learn(key, *seen)),
                    Err(panic) => {
                        // A user's Prepare panicked, and nobody knows at which item: all are charged, or it
                        // would go on for ever.
                        tracing::error!(%panic, "preparing a job panicked");
                        self.sending.reporter.leave(None);
                        return Ok(Over::GivenUp);
                    }
                },
                received = self.orders.recv_many(&mut turn, ORDERS) => {
                    if received == 0 {
                        return Ok(Over::GivenUp);
                    }
                    let mut small = Vec::new();
                    let mut cancelled = Vec::new();
                    for order in turn.drain(..) {
                        match order {
                            Order::HandOut(hand_out) => {
                                let hand_out = self.sending.hold(hand_out);
                                if self.habits.is_small(hand_out.key()) {
                                    small.push(hand_out);
                                } else {
                                    // Each for itself: they are prepared beside each other.
                                    tasks.spawn(self.sending.clone().send(vec![hand_out]));
                                }
                            }
                            Order::Cancel(ticket) => cancelled.push(ticket),
                            Order::Drained => return Ok(Over::Drained),
                            Order::Lost => return Ok(Over::GivenUp),
                        }
                    }
                    if !small.is_empty() {
                        tasks.spawn(self.sending.clone().send(small));
                    }
                    if !cancelled.is_empty() {
                        tasks.spawn(self.sending.clone().cancel(cancelled));
                    }
                }
            }
        }
    }
}

impl Sending {
    fn table(&self) -> MutexGuard<'_, Tickets> {
        // No step panics half-way.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on a cancel finds it.
    fn hold(&self, hand_out: HandOut) -> Arc<HandOut> {
        let hand_out = Arc::new(hand_out);
        let held = Held { hand_out: Arc::clone(&hand_out), place: None };
        self.table().insert(hand_out.ticket, held);
        hand_out
    }

    /// Prepares and sends hand-outs.
    async fn send(self, hand_outs: Vec<Arc<HandOut>>) -> Sent {
        let mut seen = Vec::new();
        let mut jobs = Vec::with_capacity(hand_outs.len());
        let mut reports = Vec::new();
        let live: Vec<Arc<HandOut>> = {
            let table = self.table();
            hand_outs.into_iter().filter(|hand_out| table.contains_key(&hand_out.ticket)).collect()
        };
        let mut begun = Instant::now();
        for hand_out in live {
            let ticket = hand_out.ticket;
            match hand_out.encoded(&self.link) {
                Ok(message) => {
                    let ended = Instant::now();
                    let bytes = message.head.len() + message.body.len();
                    let one = Seen { bytes, prepare: ended.saturating_duration_since(begun) };
                    // One of a batch stands for all that are like it.
                    if seen.is_empty() || !one.is_small() {
                        seen.push((hand_out.key().clone(), one));
                    }
                    let budget_left = hand_out.budget_left(ended);
                    begun = ended;
                    jobs.push(Job { ticket, key: hand_out.key().clone(), budget_left, message });
                }
                Err(unprepared) => {
                    self.troubles.count(Trouble::NoJob, ticket, &unprepared);
                    self.table().remove(&ticket);
                    reports.push(answered(ticket, Err(Failure::Bad)));
                }
            }
        }
        if !reports.is_empty() {
            self.reporter.report(reports).await?;
        }
        if !jobs.is_empty() {
            let placed = self.sender.send(jobs).await?;
            self.place(placed).await?;
        }
        Ok(seen)
    }

    /// Notes where jobs lie. What was cancelled meanwhile is taken back; what was answered is gone anyway.
    async fn place(&self, placed: Vec<Placed>) -> Result<(), Failed> {
        let mut over = Vec::new();
        let mut reports = Vec::new();
        let mut full = false;
        {
            let mut table = self.table();
            for Placed { ticket, place } in placed {
                match place {
                    Ok(place) => match table.get_mut(&ticket) {
                        Some(held) => held.place = Some(place),
                        None => over.push(place),
                    },
                    Err(why) if table.remove(&ticket).is_some() => match why {
                        NotPlaced::Full => {
                            full = true;
                            reports.push(Report::Released(ticket));
                        }
                        why => {
                            self.troubles.count(Trouble::NotSent, ticket, &why);
                            reports.push(answered(ticket, Err(Failure::Bad)));
                        }
                    },
                    Err(_) => {}
                }
            }
        }
        if !over.is_empty() {
            self.sender.withdraw(over).await?;
        }
        if full {
            tracing::debug!("the broker is full");
            tokio::time::sleep(FULL).await;
        }
        if !reports.is_empty() {
            self.reporter.report(reports).await?;
        }
        Ok(())
    }

    /// Lets go of cancelled tickets: whatever their worker still says is stale.
    async fn cancel(self, tickets: Vec<Ticket>) -> Sent {
        self.let_go(tickets).await?;
        Ok(Vec::new())
    }

    /// Gives tickets back, and takes their jobs from the broker where that can be done.
    async fn let_go(&self, tickets: Vec<Ticket>) -> Result<(), Failed> {
        let mut places = Vec::new();
        let mut reports = Vec::new();
        {
            let mut table = self.table();
            for ticket in tickets {
                if let Some(held) = table.remove(&ticket) {
                    places.extend(held.place);
                    reports.push(Report::Released(ticket));
                }
            }
        }
        if !reports.is_empty() {
            self.reporter.report(reports).await?;
        }
        if !places.is_empty() {
            self.sender.withdraw(places).await?;
        }
        Ok(())
    }

    /// Takes in what the broker says, until it is gone.
    async fn listen(self, mut events: Events) -> Failed {
        loop {
            let heard = match events.next().await {
                Ok(Event::Answers(answers)) => self.answers(answers).await,
                Ok(Event::Served(keys)) => self.served(keys).await,
                Ok(event) => {
                    tracing::debug!(?event, "an event of a later protocol is ignored");
                    Ok(())
                }
                Err(error) => Err(error.into()),
            };
            if let Err(failed) = heard {
                return failed;
            }
        }
    }

    async fn answers(&self, answers: Vec<Answer>) -> Result<(), Failed> {
        let known: Vec<(Arc<HandOut>, Answer)> = {
            let mut table = self.table();
            let known = answers.into_iter();
            known.filter_map(|answer| Some((table.remove(&answer.ticket)?.hand_out, answer))).collect()
        };
        if known.is_empty() {
            return Ok(());
        }
        let reports = known.into_iter().map(|(hand_out, answer)| self.judge(&hand_out, answer)).collect();
        Ok(self.reporter.report(reports).await?)
    }

    /// Serves these keys from now on, and does not wait for workers that have gone.
    async fn served(&self, keys: Vec<Key>) -> Result<(), Failed> {
        match keys.is_empty() {
            true => tracing::info!("nobody works behind a broker for now"),
            false => {
                let keys: Vec<String> = keys.iter().map(Key::to_string).collect();
                tracing::info!(?keys, "a broker's workers serve");
            }
        }
        let warm = |key: &Key| LaneKey { key: key.clone(), warm: true };
        self.reporter.keys(keys.iter().map(warm).collect()).await?;
        let forsaken: Vec<Ticket> = {
            let table = self.table();
            let forsaken = table.iter().filter(|(_, held)| !keys.contains(held.hand_out.key()));
            forsaken.map(|(ticket, _)| *ticket).collect()
        };
        self.let_go(forsaken).await
    }

    /// What the queue is to be told of an answer.
    fn judge(&self, hand_out: &HandOut, answer: Answer) -> Report {
        let ticket = hand_out.ticket;
        let result = match answer.result {
            Ok(message) => match hand_out.decode(message) {
                Ok(value) => Ok((value, answer.timings)),
                Err(error) => {
                    self.troubles.count(Trouble::Unread, ticket, &error);
                    Err(Failure::Failed)
                }
            },
            Err(Missing::Unprocessed(unprocessed)) => {
                tracing::debug!(?ticket, %unprocessed, "no answer");
                hand_out.failed(&unprocessed);
                Err(match unprocessed {
                    Unprocessed::Bad(_) => Failure::Bad,
                    Unprocessed::Failed(_) => Failure::Failed,
                })
            }
            // It may be what ended its worker, so it is charged, as with every other lane.
            Err(_) => {
                tracing::debug!(?ticket, "its worker is gone");
                Err(Failure::Failed)
            }
        };
        answered(ticket, result)
    }
}
