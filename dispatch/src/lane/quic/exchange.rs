//! Hand-outs from their preparation to their report.

use std::sync::Arc;
use std::time::Instant;

use queue::{Failure, Key, Ticket};
use rustc_hash::FxHashMap;
use tokio_util::sync::CancellationToken;
use wire::server::{Answer, HandOut as Sent, HandOutError, Peer};
use wire::{Message, Unprocessed};

use crate::command::Report;
use crate::lane::habits::Seen;
use crate::lane::trouble::{Trouble, Troubles};
use crate::lane::{HandOut, Reporter, answered};
use crate::{Link, Stopped};

/// What a hand-out needs of its lane.
pub(super) struct Exchange {
    pub(super) peer: Arc<Peer>,
    /// What the worker named in its greeting.
    pub(super) abilities: Arc<[String]>,
    pub(super) reporter: Reporter,
    pub(super) troubles: Arc<Troubles>,
}

/// What a lane learns from hand-outs that ended.
pub(super) struct Ended {
    /// The one that had a stream of its own.
    pub(super) alone: Option<Ticket>,
    /// The jobs that were prepared.
    pub(super) seen: Vec<(Key, Seen)>,
}

impl Exchange {
    /// One hand-out on a stream of its own.
    pub(super) async fn one(self, hand_out: HandOut, cancel: CancellationToken) -> Result<Ended, Stopped> {
        let ticket = hand_out.ticket;
        let mut ended = Ended { alone: Some(ticket), seen: Vec::with_capacity(1) };
        let begun = Instant::now();
        let encoded = self.encoded(&hand_out, &self.link());
        if let Ok(job) = &encoded {
            let seen = Seen { bytes: job.head.len() + job.body.len(), prepare: begun.elapsed() };
            ended.seen.push((hand_out.key().clone(), seen));
        }
        let report = match encoded {
            Err(report) => Some(report),
            Ok(_) if cancel.is_cancelled() => Some(Report::Released(ticket)),
            Ok(job) => {
                let sent = self.peer.hand_out(sent(&hand_out), job);
                // A cancel before this line found no hand-out at the peer.
                if cancel.is_cancelled() {
                    self.peer.cancel(ticket);
                }
                self.judge(&hand_out, sent.await)
            }
        };
        if let Some(report) = report {
            self.reporter.report(vec![report]).await?;
        }
        Ok(ended)
    }

    /// Several small hand-outs on one stream.
    pub(super) async fn batch(self, hand_outs: Vec<HandOut>) -> Result<Ended, Stopped> {
        let mut ended = Ended { alone: None, seen: Vec::new() };
        let mut reports = Vec::new();
        let mut jobs = Vec::with_capacity(hand_outs.len());
        let mut under_way = FxHashMap::with_capacity_and_hasher(hand_outs.len(), Default::default());
        let link = self.link();
        let mut hand_outs = hand_outs.into_iter().peekable();
        while let Some(first) = hand_outs.peek() {
            // Those of one key are timed together: a clock for each would cost as much as many a preparation.
            let (key, begun) = (first.key().clone(), Instant::now());
            let (mut bytes, mut count) = (0, 0);
            while let Some(hand_out) = hand_outs.next_if(|next| *next.key() == key) {
                count += 1;
                match self.encoded(&hand_out, &link) {
                    Ok(job) => {
                        bytes = bytes.max(job.head.len() + job.body.len());
                        jobs.push((sent(&hand_out), job));
                        under_way.insert(hand_out.ticket, hand_out);
                    }
                    Err(report) => reports.push(report),
                }
            }
            ended.seen.push((key, Seen { bytes, prepare: begun.elapsed() / count }));
        }
        let mut batch = self.peer.hand_out_batch(jobs);
        loop {
            if !reports.is_empty() {
                self.reporter.report(std::mem::take(&mut reports)).await?;
            }
            let Some(outcomes) = batch.next().await else { return Ok(ended) };
            for (ticket, outcome) in outcomes {
                if let Some(hand_out) = under_way.remove(&ticket) {
                    reports.extend(self.judge(&hand_out, outcome));
                }
            }
        }
    }

    /// The way to the worker as it is now.
    fn link(&self) -> Link {
        Link::Remote {
            worker: self.peer.worker(),
            lane: self.reporter.lane(),
            abilities: Arc::clone(&self.abilities),
            bytes_per_s: self.peer.bytes_per_s(),
            rtt: self.peer.rtt(),
        }
    }

    /// What the queue is to be told. Nothing where it will be told otherwise.
    fn judge(&self, hand_out: &HandOut, outcome: Result<Answer, HandOutError>) -> Option<Report> {
        let ticket = hand_out.ticket;
        let answer = match outcome {
            Ok(answer) => answer,
            // The release comes as an event; the end of the connection too.
            Err(HandOutError::Cancelled | HandOutError::LaneClosed) => return None,
            Err(error) => {
                self.troubles.count(Trouble::NotSent, ticket, &error);
                let failure = match error {
                    HandOutError::Message(_) => Failure::Bad,
                    _ => Failure::Failed,
                };
                return Some(answered(ticket, Err(failure)));
            }
        };
        let result = match answer.result {
            Ok(message) => match hand_out.decode(message) {
                Ok(value) => Ok((value, answer.timings)),
                Err(error) => {
                    self.troubles.count(Trouble::Unread, ticket, &error);
                    Err(Failure::Failed)
                }
            },
            Err(unprocessed) => {
                tracing::debug!(?ticket, %unprocessed, "no answer");
                hand_out.failed(&unprocessed);
                Err(match unprocessed {
                    Unprocessed::Bad(_) => Failure::Bad,
                    Unprocessed::Failed(_) => Failure::Failed,
                })
            }
        };
        Some(answered(ticket, result))
    }

    /// The job as it crosses the wire, or what the queue is to be told instead.
    fn encoded(&self, hand_out: &HandOut, link: &Link) -> Result<Message, Report> {
        hand_out.encoded(link).map_err(|unprepared| {
            self.troubles.count(Trouble::NoJob, hand_out.ticket, &unprepared);
            answered(hand_out.ticket, Err(Failure::Bad))
        })
    }
}

/// The hand-out as the peer knows it.
fn sent(hand_out: &HandOut) -> Sent {
    let budget_left = hand_out.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    Sent { ticket: hand_out.ticket, key: hand_out.key().clone(), budget_left }
}
