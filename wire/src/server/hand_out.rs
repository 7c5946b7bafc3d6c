//! One hand-out on a stream of its own.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use queue::{Key, Ticket};
use quinn::SendStream;

use super::goodput::Trip;
use super::peer::{Peer, Shared};
use super::table::Full;
use crate::close::{CANCELLED, Closed};
use crate::framing::{FrameError, Limits};
use crate::memory::{self, Lease};
use crate::process::{Timings, Unprocessed};
use crate::protocol::{AnswerHead, AnswerResult, JobHead, micros};
use crate::stream::{FrameReader, ReadFailed, WriteFailed, write};
use crate::task::Message;
use crate::under_way::Reading;

/// One job to hand out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandOut {
    /// Which hand-out: never used twice.
    pub ticket: Ticket,
    /// What to do.
    pub key: Key,
    /// What is left of the job's budget now; the worker may skip a job that is late anyway.
    pub budget_left: Option<Duration>,
}

/// What a worker answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The encoded answer, or why there is none.
    pub result: Result<Message, Unprocessed>,
    /// Where the worker's time went.
    pub timings: Timings,
}

/// Why a hand-out has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandOutError {
    /// The connection ended; [`Event::Closed`] says how.
    #[error("the connection to the worker ended")]
    LaneClosed,
    /// [`Peer::cancel`] was called. [`Event::Released`] follows.
    #[error("the hand-out was cancelled")]
    Cancelled,
    /// The message is longer than the limits allow; nothing was sent.
    #[error("the job cannot be sent: {0}")]
    Message(#[from] FrameError),
    /// More hand-outs are outstanding than any credit allows; nothing was sent.
    #[error("too many hand-outs are outstanding on this connection")]
    OverCredit,
    /// The ticket is outstanding already; nothing was sent.
    #[error("the ticket was handed out before")]
    Duplicate,
}

impl From<Full> for HandOutError {
    fn from(full: Full) -> Self {
        match full {
            Full::Duplicate => Self::Duplicate,
            Full::Limit => Self::OverCredit,
        }
    }
}

impl HandOut {
    /// The head of this job. `key` is left out where the message before on the stream had the same.
    pub(super) fn head(&self, job: Bytes, waited: Duration, key: Option<Key>) -> JobHead {
        let budget_left_us = self.budget_left.map(|left| micros(left.saturating_sub(waited)));
        JobHead { ticket: self.ticket, key, budget_left_us, job, place: None }
    }
}

impl Answer {
    pub(super) fn new(head: AnswerHead, body: Bytes) -> Self {
        let result = match head.result {
            AnswerResult::Ok(head) => Ok(Message { head, body }),
            AnswerResult::Bad(text) => Err(Unprocessed::Bad(text)),
            AnswerResult::Failed(text) => Err(Unprocessed::Failed(text)),
        };
        Self { result, timings: head.timings }
    }

    /// The end of the stream lets go of a ticket that it did not answer.
    pub(super) fn none() -> Self {
        let result = Err(Unprocessed::Failed("the worker gave no answer".into()));
        Self { result, timings: Timings::default() }
    }
}

impl Peer {
    /// Sends a job and waits for its answer, see the [module](super).
    ///
    /// The hand-out is outstanding from this call on, even before the future is polled. Dropping the
    /// future cancels it.
    ///
    /// # Errors
    /// [`HandOutError`].
    pub fn hand_out(
        &self,
        job: HandOut,
        message: Message,
    ) -> impl Future<Output = Result<Answer, HandOutError>> + Send + use<> {
        let begun = Instant::now();
        let guard =
            self.0.table.begin(job.ticket).map(|cancelled| {
                (Guard { shared: self.0.clone(), ticket: job.ticket, over: false }, cancelled)
            });
        async move {
            let (mut guard, cancelled) = guard?;
            let shared = guard.shared.clone();
            let result = tokio::select! {
                biased;
                _ = cancelled => Err(HandOutError::Cancelled),
                result = shared.exchange(job, message, begun) => result,
            };
            match result {
                Err(HandOutError::Cancelled) => {}
                // A cancel that came while the answer did: it was sent, so its release will follow.
                _ if !shared.table.answered(&guard.ticket) => {
                    guard.over = true;
                    return Err(HandOutError::Cancelled);
                }
                _ => {}
            }
            guard.over = true;
            result
        }
    }
}

/// Cancels a hand-out whose future is dropped.
struct Guard {
    shared: Arc<Shared>,
    ticket: Ticket,
    over: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.over {
            self.shared.cancel(&self.ticket);
        }
    }
}

/// Both halves of a hand-out's stream, ended for the worker too if they are given up.
struct Stream {
    send: SendStream,
    reader: FrameReader,
    answered: bool,
    /// The memory that the body is in. Whatever becomes of the ticket, nobody else's body may come there before
    /// this one is laid, nor before the stream is given up: its worker might take that for the rest of this one.
    lease: Option<Arc<Lease>>,
}

impl Stream {
    /// Waits for the answer, and meanwhile for the job to have arrived.
    async fn answer(
        &mut self,
        trip: Option<Trip<'_>>,
        limits: Limits,
        others: &Reading,
    ) -> Result<Option<(AnswerHead, Bytes)>, ReadFailed> {
        let Some(trip) = trip else { return self.reader.read_beside(limits, others).await };
        let arrived = self.send.stopped();
        let read = self.reader.read_beside::<AnswerHead>(limits, others);
        tokio::pin!(arrived, read);
        tokio::select! {
            biased;
            arrived = &mut arrived => {
                if matches!(arrived, Ok(None)) {
                    trip.arrived();
                }
                read.await
            }
            // An answer acknowledges its job too, so the job came at most a moment before.
            answer = &mut read => {
                trip.arrived();
                answer
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !self.answered {
            // A dropped stream would be finished, as if the job were whole. One that has ended by
            // itself needs neither.
            let _ = self.send.reset(CANCELLED);
            self.reader.stop(CANCELLED);
        }
    }
}

/// What became of a body before its head is sent.
#[derive(Default)]
struct Laid {
    /// Where it is, or will be.
    lease: Option<Arc<Lease>>,
    /// What goes on the stream.
    rest: Bytes,
    /// What is to be laid after the head is sent.
    early: Option<Bytes>,
}

impl Shared {
    async fn exchange(&self, job: HandOut, message: Message, begun: Instant) -> Result<Answer, HandOutError> {
        let (send, recv) = self.connection.open_bi().await.map_err(|_| HandOutError::LaneClosed)?;
        let mut stream = Stream { send, reader: FrameReader::new(recv), answered: false, lease: None };
        let Laid { lease, rest: body, early } = self.lay(&job.ticket, message.body)?;
        let place = lease.as_ref().map(|lease| lease.place());
        stream.lease = lease;
        let under_way = early.as_ref().unwrap_or(&body).len();
        let room = self.sending.begin(under_way).await;
        let head = JobHead { place, ..job.head(message.head, begun.elapsed(), Some(job.key.clone())) };
        // What goes another way says nothing about the link.
        let trip = place.is_none().then(|| self.goodput.depart(body.len(), self.connection.rtt()));
        match write(&mut stream.send, &head, body, self.limits).await {
            Ok(()) => {}
            Err(WriteFailed::Frame(e)) => return Err(e.into()),
            Err(WriteFailed::Stream(quinn::WriteError::ConnectionLost(_))) => {
                return Err(HandOutError::LaneClosed);
            }
            // The worker stopped reading: it has an answer all the same, such as "too long".
            Err(WriteFailed::Stream(_)) => {}
        }
        if let Some((lease, body)) = stream.lease.as_ref().zip(early) {
            // The connection's task sends the head first.
            tokio::task::yield_now().await;
            lease.fill(&body);
        }
        drop(room);
        let _ = stream.send.finish();
        match stream.answer(trip, self.limits, &self.reading).await {
            Ok(Some((head, body))) if head.ticket == job.ticket => {
                stream.answered = true;
                stream.reader.end();
                Ok(Answer::new(head, body))
            }
            Ok(Some((head, _))) => {
                Err(self.violated(format!("it answered {} on the stream of {}", head.ticket, job.ticket)))
            }
            Err(ReadFailed::Stream(quinn::ReadError::ConnectionLost(_))) => Err(HandOutError::LaneClosed),
            Ok(None) | Err(ReadFailed::Stream(_)) => Ok(Answer::none()),
            Err(e) => Err(self.violated(format!("its answer to {}: {e}", job.ticket))),
        }
    }

    /// Lays a long body into shared memory if there is room. Fails if the ticket is over.
    fn lay(&self, ticket: &Ticket, body: Bytes) -> Result<Laid, HandOutError> {
        let fits = memory::FROM <= body.len() && body.len() <= self.limits.body;
        let arena = if fits { self.memory.upgrade() } else { None };
        // A worker that is busy gains nothing by hearing of it early.
        let early = memory::EARLY <= body.len() && self.table.len() == 1;
        let lease = arena.and_then(|arena| {
            let begun = if early { arena.begin(body.len()) } else { None };
            begun.or_else(|| arena.lay(&body))
        });
        let Some(lease) = lease.map(Arc::new) else { return Ok(Laid { rest: body, ..Laid::default() }) };
        if !self.table.keep(ticket, Arc::clone(&lease)) {
            return Err(HandOutError::Cancelled);
        }
        let early = lease.place().laid.map(|_| body);
        Ok(Laid { lease: Some(lease), rest: Bytes::new(), early })
    }

    pub(super) fn violated(&self, what: String) -> HandOutError {
        self.close(Closed::Violation(what));
        HandOutError::LaneClosed
    }
}
