//! Several small hand-outs on one stream: each costs a fraction of what a stream costs.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use queue::{Key, Ticket};
use rustc_hash::FxHashSet;

use super::hand_out::{Answer, HandOut, HandOutError};
use super::peer::{Peer, Shared};
use crate::framing;
use crate::protocol::AnswerHead;
use crate::stream::{FrameReader, ReadFailed};
use crate::task::Message;

/// What became of one hand-out of a batch.
pub type Outcome = (Ticket, Result<Answer, HandOutError>);

/// Hand-outs that share a stream. Each has its own ticket, answer and cancel, as if it were alone; a
/// cancelled one is sent all the same, since its stream carries others.
#[derive(Debug)]
pub struct Batch {
    shared: Arc<Shared>,
    /// Not told yet.
    open: FxHashSet<Ticket>,
    /// To be told next.
    told: Vec<Outcome>,
    phase: Phase,
}

enum Phase {
    Unsent { jobs: Vec<(HandOut, Message)>, begun: Instant },
    Sent(FrameReader),
    Over,
}

impl std::fmt::Debug for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Phase::Unsent { .. } => "Unsent",
            Phase::Sent(_) => "Sent",
            Phase::Over => "Over",
        })
    }
}

impl Peer {
    /// Hands out several jobs on one stream. For small ones: their bodies are copied together, and a
    /// cancel does not stop one from being sent.
    ///
    /// All are outstanding from this call on. Nothing is sent before the first
    /// [`next`](Batch::next); dropping the batch cancels what is left of it.
    #[must_use]
    pub fn hand_out_batch(&self, jobs: Vec<(HandOut, Message)>) -> Batch {
        let mut batch = Batch {
            shared: Arc::clone(&self.0),
            open: FxHashSet::with_capacity_and_hasher(jobs.len(), Default::default()),
            told: Vec::new(),
            phase: Phase::Over,
        };
        let mut begun = Vec::with_capacity(jobs.len());
        let ticket = |(job, _): &(HandOut, Message)| job.ticket;
        self.0.table.begin_batch(jobs, ticket, |(job, message), result| match result {
            Ok(()) => {
                batch.open.insert(job.ticket);
                begun.push((job, message));
            }
            Err(full) => batch.told.push((job.ticket, Err(full.into()))),
        });
        batch.phase = Phase::Unsent { jobs: begun, begun: Instant::now() };
        batch
    }
}

impl Batch {
    /// What became of some of the hand-outs: one entry each, in the order of the answers; several at
    /// once where they came together. None when all were told. Not to be dropped half-way: that loses
    /// what the stream carried.
    pub async fn next(&mut self) -> Option<Vec<Outcome>> {
        while self.told.is_empty() && !self.open.is_empty() {
            self.phase = match std::mem::replace(&mut self.phase, Phase::Over) {
                Phase::Unsent { jobs, begun } => self.send(jobs, begun).await,
                Phase::Sent(reader) => self.read(reader).await,
                Phase::Over => self.end(|| Err(HandOutError::LaneClosed)),
            };
        }
        if self.open.is_empty()
            && let Phase::Sent(reader) = &mut self.phase
        {
            reader.end();
        }
        (!self.told.is_empty()).then(|| std::mem::take(&mut self.told))
    }

    async fn send(&mut self, jobs: Vec<(HandOut, Message)>, begun: Instant) -> Phase {
        let mut out = BytesMut::with_capacity(jobs.len() * 128);
        let mut before: Option<Key> = None;
        let waited = begun.elapsed();
        for (job, message) in jobs {
            let key = (before.as_ref() != Some(&job.key)).then(|| job.key.clone());
            let head = job.head(message.head, waited, key);
            match framing::append(&mut out, &head, &message.body, self.shared.limits) {
                Ok(()) => before = Some(job.key),
                Err(error) => self.settle(job.ticket, Err(error.into())),
            }
        }
        if self.open.is_empty() {
            return Phase::Over;
        }
        let Ok((mut send, recv)) = self.shared.connection.open_bi().await else {
            return self.end(|| Err(HandOutError::LaneClosed));
        };
        let room = self.shared.sending.begin(out.len()).await;
        let written = send.write_chunk(out.freeze()).await;
        drop(room);
        match written {
            // The worker may stop reading and answer all the same.
            Ok(()) | Err(quinn::WriteError::Stopped(_)) => {}
            Err(_) => return self.end(|| Err(HandOutError::LaneClosed)),
        }
        let _ = send.finish();
        Phase::Sent(FrameReader::new(recv))
    }

    /// Waits for an answer and takes those that came with it.
    async fn read(&mut self, mut reader: FrameReader) -> Phase {
        let limits = self.shared.limits;
        let mut read = reader.read_beside::<AnswerHead>(limits, &self.shared.reading).await;
        loop {
            match read {
                Ok(Some((head, body))) if self.open.contains(&head.ticket) => {
                    self.settle(head.ticket, Ok(Answer::new(head, body)));
                }
                Ok(Some((head, _))) => {
                    let why = format!("it answered {} on a stream that does not wait for it", head.ticket);
                    return self.violated(why);
                }
                Ok(None) => return self.end(|| Ok(Answer::none())),
                Err(ReadFailed::Stream(quinn::ReadError::ConnectionLost(_))) => {
                    return self.end(|| Err(HandOutError::LaneClosed));
                }
                Err(ReadFailed::Stream(_)) => return self.end(|| Ok(Answer::none())),
                Err(error) => return self.violated(format!("its answers to a batch: {error}")),
            }
            read = match reader.here(limits) {
                Ok(None) => return Phase::Sent(reader),
                here => here.map_err(Into::into),
            };
        }
    }

    fn settle(&mut self, ticket: Ticket, result: Result<Answer, HandOutError>) {
        if self.open.remove(&ticket) {
            // A cancel that came first was sent, so its release will follow.
            let live = self.shared.table.answered(&ticket);
            self.told.push((ticket, if live { result } else { Err(HandOutError::Cancelled) }));
        }
    }

    /// Nothing more comes: the same for all that are open.
    fn end(&mut self, result: impl Fn() -> Result<Answer, HandOutError>) -> Phase {
        let mut open: Vec<_> = self.open.iter().copied().collect();
        // The set has no order, and the same events are to lead to the same reports.
        open.sort_unstable();
        for ticket in open {
            self.settle(ticket, result());
        }
        Phase::Over
    }

    fn violated(&mut self, why: String) -> Phase {
        let error = self.shared.violated(why);
        self.end(|| Err(error.clone()))
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        for ticket in &self.open {
            self.shared.cancel(ticket);
        }
    }
}
