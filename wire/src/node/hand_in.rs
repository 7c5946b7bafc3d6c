//! One stream of hand-outs: jobs in, answers out.

use std::pin::pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::future::OptionFuture;
use queue::Ticket;
use quinn::{RecvStream, SendStream};
use tokio::sync::{mpsc, oneshot};

use super::intake::{Intake, Received};
use super::link::{Event, Shared, cancel};
use super::outbox::{Given, Outbox};
use crate::close::{CANCELLED, Closed};
use crate::framing;
use crate::process::{Timings, Unprocessed};
use crate::protocol::{AnswerHead, AnswerResult};
use crate::stream::{FrameReader, WriteFailed, write};
use crate::task::Message;

/// Bodies up to this many bytes are copied beside others; a longer one goes to QUIC as it is.
const SMALL: usize = 4096;

/// Takes the answer to one job. Dropped without an answer it says that the job failed, so that a panic
/// on the way loses no time.
#[derive(Debug)]
pub struct Reply {
    shared: Arc<Shared>,
    ticket: Ticket,
    /// None once the answer is given.
    outbox: Option<Arc<Outbox>>,
}

/// The answer did not go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// The job was cancelled, or the connection ended: nobody wants the answer.
    #[error("nobody waits for this answer any more")]
    Unwanted,
}

impl Reply {
    pub(super) fn new(shared: &Arc<Shared>, ticket: Ticket, outbox: &Arc<Outbox>) -> Self {
        Self { shared: Arc::clone(shared), ticket, outbox: Some(Arc::clone(outbox)) }
    }

    /// Gives the answer and waits until it is on its way: this is what slows a worker down whose
    /// answers are larger than the link.
    ///
    /// # Errors
    /// [`ReplyError::Unwanted`] after a cancel or the end of the connection. The job is let go all the
    /// same.
    pub async fn answer(
        self,
        result: Result<Message, Unprocessed>,
        timings: Timings,
    ) -> Result<(), ReplyError> {
        let (written, done) = oneshot::channel();
        self.give(Given { result, timings, written: Some(written) });
        done.await.map_err(|_| ReplyError::Unwanted)
    }

    /// Gives the answer without waiting, from any thread. At most as many answers wait as jobs are held.
    pub fn send(self, result: Result<Message, Unprocessed>, timings: Timings) {
        self.give(Given { result, timings, written: None });
    }

    /// The ticket that is answered.
    pub fn ticket(&self) -> Ticket {
        self.ticket
    }

    fn give(mut self, given: Given) {
        self.put(given);
    }

    fn put(&mut self, given: Given) {
        let Some(outbox) = self.outbox.take() else { return };
        // First: once the answer is on its way the server may end the connection, and then nothing may look as
        // if it were held still. After a cancel nobody reads the answer.
        self.shared.let_go(self.ticket);
        outbox.put(self.ticket, given);
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if self.outbox.is_some() {
            let result = Err(Unprocessed::Failed("the worker gave the job up".into()));
            self.put(Given { result, timings: Timings::default(), written: None });
        }
    }
}

/// Serves one stream until its last answer is acknowledged, or it is cancelled.
pub(super) async fn serve(
    shared: Arc<Shared>,
    events: mpsc::Sender<Event>,
    mut send: SendStream,
    recv: RecvStream,
) {
    // What was given to the worker, to be cancelled if the stream is.
    let mut given = Vec::new();
    let stopped = send.stopped();
    let end = tokio::select! {
        biased;
        stopped = stopped => match stopped {
            Err(quinn::StoppedError::ConnectionLost(e)) => End::Broken(Closed::from_quic(e)),
            _ => End::Stopped,
        },
        end = work(&shared, &events, &mut send, recv, &mut given) => end,
    };
    match end {
        End::Done => {
            let _ = send.finish();
            // Acknowledged: until then a closing connection would lose it.
            let _ = send.stopped().await;
        }
        End::Stopped => {
            let _ = send.reset(CANCELLED);
            for ticket in given {
                cancel(&shared, &events, ticket, false).await;
            }
        }
        End::Broken(why) => shared.close(why),
    }
}

pub(super) enum End {
    /// All answers are written.
    Done,
    /// The server gave the stream up.
    Stopped,
    /// The connection is lost, or not worth keeping.
    Broken(Closed),
}

async fn work(
    shared: &Arc<Shared>,
    events: &mpsc::Sender<Event>,
    send: &mut SendStream,
    recv: RecvStream,
    given: &mut Vec<Ticket>,
) -> End {
    let outbox = Arc::new(Outbox::default());
    let intake =
        Intake { shared, events, outbox: &outbox, reader: FrameReader::new(recv), key: None, alone: false };
    // Kept over the turns of the loop: a message that is half read must not be lost to an answer.
    let mut incoming = pin!(OptionFuture::from(Some(intake.receive())));
    let mut reading = true;
    let mut unanswered = 0;
    loop {
        tokio::select! {
            biased;
            answers = outbox.take(), if unanswered > 0 => {
                unanswered -= answers.len();
                if let Err(end) = write_answers(shared, send, answers).await {
                    return end;
                }
            }
            Some((intake, received)) = &mut incoming, if reading => match received {
                Received::Given(tickets) => {
                    unanswered += tickets.len();
                    given.extend(tickets);
                    incoming.set(Some(intake.receive()).into());
                }
                Received::End => reading = false,
                Received::TooLong(ticket, why) => {
                    // What follows on the stream is not worth reading; its sender is told by the end.
                    reading = false;
                    let answer = Given { result: Err(why), timings: Timings::default(), written: None };
                    if let Err(end) = write_answers(shared, send, vec![(ticket, answer)]).await {
                        return end;
                    }
                }
                Received::Failed(end) => return end,
            },
            else => return End::Done,
        }
    }
}

/// Writes what is ready, as one write where it is small.
async fn write_answers(
    shared: &Shared,
    send: &mut SendStream,
    answers: Vec<(Ticket, Given)>,
) -> Result<(), End> {
    let mut small = BytesMut::new();
    let mut told = Vec::new();
    for (ticket, Given { result, timings, written }) in answers {
        let (result, body) = match result {
            Ok(message) => (AnswerResult::Ok(message.head), message.body),
            Err(why) => (why.into(), Bytes::new()),
        };
        told.extend(written);
        let head = AnswerHead { ticket, result, timings };
        let unsent = if body.len() <= SMALL {
            framing::append(&mut small, &head, &body, shared.limits).err()
        } else {
            // In the order in which they were given.
            flush(send, &mut small).await?;
            let _room = shared.sending.begin(body.len()).await;
            match write(send, &head, body, shared.limits).await {
                Ok(()) => None,
                Err(WriteFailed::Frame(error)) => Some(error),
                Err(WriteFailed::Stream(error)) => return Err(unwritten(error)),
            }
        };
        if let Some(error) = unsent {
            let result = Unprocessed::Bad(format!("the answer cannot be sent: {error}")).into();
            let head = AnswerHead { ticket, result, timings };
            framing::append(&mut small, &head, &[], shared.limits)
                .map_err(|error| End::Broken(Closed::Here(error.to_string())))?;
        }
    }
    flush(send, &mut small).await?;
    for written in told {
        // Nobody may be waiting for it.
        let _ = written.send(());
    }
    Ok(())
}

async fn flush(send: &mut SendStream, small: &mut BytesMut) -> Result<(), End> {
    match small.is_empty() {
        true => Ok(()),
        false => send.write_chunk(small.split().freeze()).await.map_err(unwritten),
    }
}

fn unwritten(error: quinn::WriteError) -> End {
    match error {
        quinn::WriteError::ConnectionLost(error) => End::Broken(Closed::from_quic(error)),
        _ => End::Stopped,
    }
}
