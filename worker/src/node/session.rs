//! One connection, from greeting to end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use queue::Ticket;
use tokio::sync::{Notify, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use wire::node::{self, Event, HelloKey, Jobs, Node};
use wire::{Closed, Timings, Unprocessed, practice};

use super::credit::Credit;
use crate::host::{Host, Job, JobId, Refused};

/// How long a server may take to say goodbye to a worker that drained and holds nothing. A hand-out may
/// have crossed the drain on its way, so the worker does not leave at once by itself.
const GOODBYE: Duration = Duration::from_secs(2);

/// How often the credit is looked at.
const CREDIT_EVERY: Duration = Duration::from_millis(50);

/// How a connection ended.
pub(super) enum Ended {
    /// As this worker wanted.
    Drained,
    /// As the server wanted, with nothing left in hand.
    Dismissed(Closed),
    /// Otherwise.
    Lost(Closed),
    /// There is nothing left to serve.
    Empty,
}

pub(super) struct Session<'a> {
    node: Node,
    host: &'a Host,
    number: u64,
    drain_within: Duration,
    credit: Credit,
    /// Told after each job.
    done: Arc<Notify>,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        node: Node,
        host: &'a Host,
        number: u64,
        drain_within: Duration,
        credit: Credit,
    ) -> Self {
        Session { node, host, number, drain_within, credit, done: Arc::new(Notify::new()) }
    }

    /// Serves the connection; after `stop`, or when the server says so, finishes what is in hand and leaves.
    pub(super) async fn serve(
        mut self,
        mut jobs: Jobs,
        keys: &mut watch::Receiver<Vec<HelloKey>>,
        stop: &CancellationToken,
    ) -> Ended {
        let mut tick = tokio::time::interval(CREDIT_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let closed = loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    tracing::info!(held = self.node.held(), "draining");
                    self.node.drain();
                    return match self.drain(jobs).await {
                        // It asked for that.
                        Ended::Dismissed(_) => Ended::Drained,
                        other => other,
                    };
                }
                event = jobs.next() => match event {
                    Event::Drain => {
                        tracing::info!(held = self.node.held(), "the server sends this worker away");
                        // So that it knows when nothing can cross its own word any more.
                        self.node.drain();
                        return self.drain(jobs).await;
                    }
                    Event::Closed(closed) => break closed,
                    event => self.take(event),
                },
                _ = tick.tick(), if self.credit.is_due() => {
                    if self.node.held() == 0 {
                        self.credit.rests();
                    }
                    let most = self.node.max_credit();
                    if let Some(n) = self.credit.change(self.host.service(), self.node.rtt(), most) {
                        tracing::debug!(credit = n, "credit follows the jobs");
                        self.node.credit(n);
                    }
                }
                Ok(()) = keys.changed() => {
                    let keys = keys.borrow_and_update().clone();
                    if keys.is_empty() {
                        self.node.close("it has nothing left to serve").await;
                        self.host.abandon(self.number);
                        return Ended::Empty;
                    }
                    self.node.keys(keys);
                }
            }
        };
        self.host.abandon(self.number);
        Ended::Lost(closed)
    }

    /// Goes on until nothing is held and the server has closed the connection, or neither comes in time.
    async fn drain(mut self, mut jobs: Jobs) -> Ended {
        let give_up = tokio::time::sleep(self.drain_within);
        tokio::pin!(give_up);
        let mut goodbye = None;
        loop {
            let idle = self.node.held() == 0;
            // From the moment at which nothing is held; another job starts it again.
            let until = match (idle, goodbye) {
                (true, None) => tokio::time::Instant::now() + GOODBYE,
                (_, until) => until.unwrap_or_else(tokio::time::Instant::now),
            };
            goodbye = idle.then_some(until);
            tokio::select! {
                biased;
                event = jobs.next() => match event {
                    Event::Closed(closed) => {
                        self.host.abandon(self.number);
                        return match closed {
                            closed @ (Closed::SentAway(_) | Closed::Revoked(_)) => Ended::Lost(closed),
                            closed if self.node.held() == 0 => Ended::Dismissed(closed),
                            closed => Ended::Lost(closed),
                        };
                    }
                    Event::Drain => {}
                    event => self.take(event),
                },
                () = self.done.notified() => {}
                () = tokio::time::sleep_until(until), if idle => break,
                () = &mut give_up => {
                    tracing::warn!(held = self.node.held(), "the drain takes too long, what is held is given up");
                    break;
                }
            }
        }
        self.host.abandon(self.number);
        self.node.close("drained").await;
        Ended::Dismissed(Closed::Here("drained".into()))
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Jobs(jobs) => self.begin(jobs),
            // Dropping a job that waits drops its reply, which tells the server. One that runs is let go
            // when it is done.
            Event::Cancel(ticket) => {
                self.host.cancel(self.id(ticket));
                self.done.notify_one();
            }
            event => tracing::debug!(?event, "an event of a later protocol is ignored"),
        }
    }

    fn begin(&mut self, jobs: Vec<node::Job>) {
        for job in jobs.iter().filter(|job| job.key != *practice::key()) {
            self.credit.came(job.message.body.len());
        }
        let now = Instant::now();
        let job = |node::Job { ticket, key, budget_left, message, reply }| {
            let done = Arc::clone(&self.done);
            Job {
                id: self.id(ticket),
                key,
                message,
                deadline: budget_left.and_then(|left| now.checked_add(left)),
                done: Box::new(move |result, timings| {
                    reply.send(result, timings);
                    done.notify_one();
                }),
            }
        };
        for Refused { job, why } in self.host.submit_all(jobs.into_iter().map(job).collect()) {
            tracing::debug!(job = %job.id, key = %job.key, %why, "a job was refused");
            let why = format!("{}: {why}", job.key);
            (job.done)(Err(Unprocessed::Failed(why)), Timings::default());
        }
    }

    fn id(&self, ticket: Ticket) -> JobId {
        JobId { session: self.number, ticket }
    }
}
