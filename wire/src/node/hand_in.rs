//! One stream of hand-outs: jobs in, answers out.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::OptionFuture;
use futures_util::stream::FuturesUnordered;
use queue::Ticket;
use quinn::{RecvStream, SendStream};
use tokio::sync::{mpsc, oneshot};

use super::link::{Event, Shared, cancel};
use crate::close::{CANCELLED, Closed};
use crate::control::broken;
use crate::process::{Timings, Unprocessed};
use crate::protocol::{AnswerHead, AnswerResult, JobHead};
use crate::stream::{FrameReader, ReadFailed, WriteFailed, write};
use crate::task::Message;

/// Takes the answer to one job. Dropped without an answer it says that the job failed, so that a panic
/// on the way loses no time.
#[derive(Debug)]
pub struct Reply {
    shared: Arc<Shared>,
    ticket: Ticket,
    answer: Option<oneshot::Sender<Given>>,
}

/// The answer did not go out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// The job was cancelled, or the connection ended: nobody wants the answer.
    #[error("nobody waits for this answer any more")]
    Unwanted,
}

#[derive(Debug)]
struct Given {
    result: Result<Message, Unprocessed>,
    timings: Timings,
    written: Option<oneshot::Sender<()>>,
}

impl Reply {
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
        if let Some(answer) = self.answer.take() {
            // The stream is gone after a cancel; dropping self lets go.
            let _ = answer.send(given);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(answer) = self.answer.take() {
            let result = Err(Unprocessed::Failed("the worker gave the job up".into()));
            let _ = answer.send(Given { result, timings: Timings::default(), written: None });
        }
        self.shared.let_go(self.ticket);
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

enum End {
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
    let mut answers = FuturesUnordered::new();
    // Kept over the turns of the loop: a message that is half read must not be lost to an answer.
    let mut incoming = pin!(OptionFuture::from(Some(receive(shared, events, FrameReader::new(recv)))));
    let mut reading = true;
    loop {
        tokio::select! {
            biased;
            Some((ticket, answer)) = answers.next(), if !answers.is_empty() => {
                if let Err(end) = write_answer(shared, send, ticket, answer).await {
                    return end;
                }
            }
            Some((reader, received)) = &mut incoming, if reading => match received {
                Received::Given(ticket, answer) => {
                    given.push(ticket);
                    answers.push(async move { (ticket, answer.await.ok()) });
                    incoming.set(Some(receive(shared, events, reader)).into());
                }
                Received::Dropped => incoming.set(Some(receive(shared, events, reader)).into()),
                Received::End => reading = false,
                Received::TooLong(ticket, why) => {
                    // What follows on the stream is not worth reading; its sender is told by the end.
                    reading = false;
                    let answer = Given { result: Err(why), timings: Timings::default(), written: None };
                    if let Err(end) = write_answer(shared, send, ticket, Some(answer)).await {
                        return end;
                    }
                }
                Received::Failed(end) => return end,
            },
            else => return End::Done,
        }
    }
}

enum Received {
    /// The worker has the job, and the answer will come here.
    Given(Ticket, oneshot::Receiver<Given>),
    /// Cancelled on its way, or there is no worker any more.
    Dropped,
    /// There are no more jobs on this stream.
    End,
    TooLong(Ticket, Unprocessed),
    Failed(End),
}

/// Receives one job and gives it to the worker.
async fn receive(
    shared: &Arc<Shared>,
    events: &mpsc::Sender<Event>,
    mut reader: FrameReader,
) -> (FrameReader, Received) {
    let received = receive_with(shared, events, &mut reader).await.unwrap_or_else(Received::Failed);
    (reader, received)
}

async fn receive_with(
    shared: &Arc<Shared>,
    events: &mpsc::Sender<Event>,
    reader: &mut FrameReader,
) -> Result<Received, End> {
    let Some(incoming) = reader.head::<JobHead>(shared.limits.head).await.map_err(unread)? else {
        return Ok(Received::End);
    };
    let JobHead { ticket, key, budget_left_us, job } = incoming.head;
    if incoming.body > shared.limits.body {
        let why = format!(
            "a body of {} bytes is longer than this worker's limit of {}",
            incoming.body, shared.limits.body
        );
        reader.stop(CANCELLED);
        return Ok(Received::TooLong(ticket, Unprocessed::Bad(why)));
    }
    if shared.table.len() >= shared.most_held() {
        return Err(End::Broken(Closed::Violation("it hands out far more than the credit".into())));
    }
    if !shared.table.arrive(ticket) {
        return Err(End::Broken(Closed::Violation(format!("it handed out {ticket} twice"))));
    }
    let mut arriving = Arriving { shared, ticket, given: false };
    let body = reader.body(incoming.body).await.map_err(unread)?;
    let Ok(place) = events.reserve().await else { return Ok(Received::Dropped) };
    let mut receiver = None;
    shared.table.begin(&ticket, || {
        let (answer, given) = oneshot::channel();
        receiver = Some(given);
        arriving.given = true;
        place.send(Event::Job {
            ticket,
            key,
            budget_left: budget_left_us.map(Duration::from_micros),
            message: Message { head: job, body },
            reply: Reply { shared: shared.clone(), ticket, answer: Some(answer) },
        });
    });
    Ok(receiver.map_or(Received::Dropped, |given| Received::Given(ticket, given)))
}

/// A ticket whose body is on its way: forgotten if the stream is given up before the worker has it.
struct Arriving<'a> {
    shared: &'a Shared,
    ticket: Ticket,
    given: bool,
}

impl Drop for Arriving<'_> {
    fn drop(&mut self) {
        if !self.given {
            self.shared.let_go(self.ticket);
        }
    }
}

fn unread(e: ReadFailed) -> End {
    match e {
        ReadFailed::Stream(quinn::ReadError::Reset(_)) => End::Stopped,
        other => End::Broken(broken(other)),
    }
}

async fn write_answer(
    shared: &Shared,
    send: &mut SendStream,
    ticket: Ticket,
    answer: Option<Given>,
) -> Result<(), End> {
    let lost = || Given {
        result: Err(Unprocessed::Failed("the job was lost".into())),
        timings: Timings::default(),
        written: None,
    };
    let Given { result, timings, written } = answer.unwrap_or_else(lost);
    let (result, body) = match result {
        Ok(message) => (AnswerResult::Ok(message.head), message.body),
        Err(why) => (why.into(), Bytes::new()),
    };
    let mut outcome = write(send, &AnswerHead { ticket, result, timings }, body, shared.limits).await;
    if let Err(WriteFailed::Frame(e)) = outcome {
        let result = Unprocessed::Bad(format!("the answer cannot be sent: {e}")).into();
        outcome = write(send, &AnswerHead { ticket, result, timings }, Bytes::new(), shared.limits).await;
    }
    match outcome {
        Ok(()) => {
            if let Some(written) = written {
                // Nobody may be waiting for it.
                let _ = written.send(());
            }
            Ok(())
        }
        Err(WriteFailed::Stream(quinn::WriteError::ConnectionLost(e))) => {
            Err(End::Broken(Closed::from_quic(e)))
        }
        Err(WriteFailed::Stream(_)) => Err(End::Stopped),
        Err(WriteFailed::Frame(e)) => Err(End::Broken(Closed::Here(e.to_string()))),
    }
}
