//! A lane to a worker that dialled in over QUIC.
//!
//! Each hand-out is a task of its own: it prepares and encodes the job, sends it on a stream, and
//! reports the answer. So one job is prepared while another is under way, and a long body holds up
//! nothing but itself.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use queue::{Failure, LaneKey, Ticket};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use wire::protocol::HelloKey;
use wire::server::{Event, Events, HandOutError, Peer};
use wire::{Closed, Unprocessed};

use super::{HandOut, Join, Label, Order, Reporter};
use crate::{Coordinator, Link, Stopped};

/// Lets the worker join, and serves its connection until it ends; gives the reason for the end.
///
/// `max_credit` is the listener's own cap. Dropping the future closes nothing: close the peer.
pub async fn run(
    coordinator: Coordinator,
    peer: Peer,
    events: Events,
    max_credit: u32,
) -> Result<Closed, Stopped> {
    let hello = peer.hello();
    let (orders, reporter) = coordinator
        .join(Join {
            worker: peer.worker(),
            label: Label { name: hello.name.clone(), kind: "quic", remote: Some(peer.remote()) },
            keys: lane_keys(hello.keys.clone()),
            credit: hello.credit,
            max_credit,
        })
        .await?;
    Lane { peer: Arc::new(peer), reporter, cancels: HashMap::new(), tasks: JoinSet::new() }
        .serve(orders, events)
        .await
}

fn lane_keys(keys: Vec<HelloKey>) -> Vec<LaneKey> {
    keys.into_iter().map(|HelloKey { key, warm }| LaneKey { key, warm }).collect()
}

struct Lane {
    peer: Arc<Peer>,
    reporter: Reporter,
    /// One for each task, so that a cancel reaches a job that is still being prepared.
    cancels: HashMap<Ticket, CancellationToken>,
    /// As many as the queue hands out, which the credit bounds.
    tasks: JoinSet<Result<Ticket, Stopped>>,
}

impl Lane {
    async fn serve(
        mut self,
        mut orders: mpsc::Receiver<Order>,
        mut events: Events,
    ) -> Result<Closed, Stopped> {
        loop {
            tokio::select! {
                biased;
                event = events.next() => match event {
                    Event::Credit(credit) => self.reporter.credit(credit).await?,
                    Event::Released(ticket) => self.reporter.released(ticket).await?,
                    Event::Keys(keys) => self.reporter.keys(lane_keys(keys)).await?,
                    Event::Drain => self.reporter.drain().await?,
                    // Dropping the reporter and the tasks gives what the worker held to others.
                    Event::Closed(reason) => return Ok(reason),
                    event => tracing::debug!(?event, "an event of a later protocol is ignored"),
                },
                Some(done) = self.tasks.join_next() => match done {
                    Ok(ticket) => drop(self.cancels.remove(&ticket?)),
                    Err(panic) => {
                        // A user's Prepare panicked. Its ticket is unknown here, so the lane is
                        // given up as a whole and the worker dials in again.
                        tracing::error!(%panic, "preparing a job panicked");
                        self.peer.close("a job could not be prepared");
                    }
                },
                order = orders.recv() => match order {
                    Some(Order::HandOut(hand_out)) => self.start(hand_out),
                    Some(Order::Cancel(ticket)) => {
                        if let Some(cancel) = self.cancels.get(&ticket) {
                            cancel.cancel();
                        }
                        self.peer.cancel(ticket);
                    }
                    Some(Order::Drained) => self.peer.close("drained"),
                    Some(Order::Lost) => self.peer.close("it did not let go of cancelled work in time"),
                    None => self.peer.close("the queue gave this lane up"),
                },
            }
        }
    }

    fn start(&mut self, hand_out: HandOut) {
        let cancel = CancellationToken::new();
        self.cancels.insert(hand_out.ticket, cancel.clone());
        self.tasks.spawn(exchange(Arc::clone(&self.peer), self.reporter.clone(), hand_out, cancel));
    }
}

/// One hand-out from its preparation to its report.
async fn exchange(
    peer: Arc<Peer>,
    reporter: Reporter,
    hand_out: HandOut,
    cancel: CancellationToken,
) -> Result<Ticket, Stopped> {
    let ticket = hand_out.ticket;
    let job = match hand_out.encoded(&Link::Remote { rtt: peer.rtt() }) {
        Ok(job) => job,
        Err(unprepared) => {
            tracing::debug!(?ticket, %unprepared, "no job");
            reporter.answered(ticket, Err(Failure::Bad)).await?;
            return Ok(ticket);
        }
    };
    if cancel.is_cancelled() {
        reporter.released(ticket).await?;
        return Ok(ticket);
    }
    let budget_left = hand_out.budget_left(Instant::now());
    let sent = peer.hand_out(wire::server::HandOut { ticket, key: hand_out.key.clone(), budget_left }, job);
    // A cancel before this line found no hand-out at the peer.
    if cancel.is_cancelled() {
        peer.cancel(ticket);
    }
    let answer = match sent.await {
        Ok(answer) => answer,
        // The release comes as an event; the end of the connection too.
        Err(HandOutError::Cancelled | HandOutError::LaneClosed) => return Ok(ticket),
        Err(error) => {
            tracing::warn!(?ticket, %error, "a job could not be handed out");
            let failure = match error {
                HandOutError::Message(_) => Failure::Bad,
                _ => Failure::Failed,
            };
            reporter.answered(ticket, Err(failure)).await?;
            return Ok(ticket);
        }
    };
    let result = match answer.result {
        Ok(message) => match hand_out.decode(message) {
            Ok(value) => Ok((value, answer.timings)),
            Err(error) => {
                tracing::warn!(?ticket, %error, worker = %peer.worker(), "an answer cannot be read");
                Err(Failure::Failed)
            }
        },
        Err(unprocessed) => {
            tracing::debug!(?ticket, %unprocessed, "no answer");
            Err(match unprocessed {
                Unprocessed::Bad(_) => Failure::Bad,
                Unprocessed::Failed(_) => Failure::Failed,
            })
        }
    };
    reporter.answered(ticket, result).await?;
    Ok(ticket)
}
