//! What lies in a broker: jobs and answers, in the framing of protocol 1.
//!
//! Everything here is pure and total. A message that cannot be read names nobody to answer to, so a reader
//! acknowledges and drops it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use queue::{Key, Ticket};
use serde::{Deserialize, Serialize};

use super::heads;
use crate::framing::{self, FrameError, Limits};
use crate::process::{Timings, Unprocessed};
use crate::protocol::{MAX_TEXT, cut, micros};
use crate::repr;
use crate::task::Message;

/// The longest address for answers, in bytes.
pub const MAX_ADDRESS: usize = 256;

/// The beginning of every address for answers: a job cannot make a worker write elsewhere.
pub(crate) const REPLY: &str = "framelane";

/// In front of a job's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobHead {
    /// Where the answer goes: the name of a stream or queue, made for one session of one server.
    pub reply: String,
    /// Which hand-out of that session this is.
    #[serde(with = "repr::ticket")]
    pub ticket: Ticket,
    /// What to do.
    #[serde(with = "repr::key")]
    pub key: Key,
    /// Microseconds that were left of the job's budget when it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_left_us: Option<u64>,
    /// The CBOR of the payload's own head, as a byte string.
    pub job: Bytes,
}

/// In front of an answer's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerHead {
    /// Which hand-out it answers.
    #[serde(with = "repr::ticket")]
    pub ticket: Ticket,
    /// How it went.
    pub result: AnswerResult,
    /// Where the time went. Absent: not known.
    #[serde(default, skip_serializing_if = "Timings::is_empty")]
    pub timings: Timings,
}

/// How a job went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerResult {
    /// Done: the CBOR of the answer's own head. Its body is the body of the message.
    Ok(Bytes),
    /// [`Unprocessed::Bad`], with at most [`MAX_TEXT`] bytes of text.
    Bad(String),
    /// [`Unprocessed::Failed`], with at most [`MAX_TEXT`] bytes of text.
    Failed(String),
    /// The worker that had it is gone, and this one has not touched it.
    Gone,
}

/// A job as a worker finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// Where the answer goes.
    pub reply: String,
    /// Which hand-out.
    pub ticket: Ticket,
    /// What to do.
    pub key: Key,
    /// What was left of its budget when it was sent.
    pub budget_left: Option<Duration>,
    /// The encoded job.
    pub message: Message,
}

/// Writes one job.
///
/// # Errors
/// [`FrameError`] when it is longer than the limits allow.
pub fn write_job(posted: Posted, limits: Limits) -> Result<Bytes, FrameError> {
    let mut out = BytesMut::with_capacity(posted.message.head.len() + posted.message.body.len() + 160);
    append_job(&mut out, posted, limits)?;
    Ok(out.freeze())
}

/// Appends one job. On an error `out` is as it was.
pub(crate) fn append_job(out: &mut BytesMut, posted: Posted, limits: Limits) -> Result<(), FrameError> {
    let Posted { reply, ticket, key, budget_left, message } = posted;
    let head = JobHead { reply, ticket, key, budget_left_us: budget_left.map(micros), job: message.head };
    append_head(out, |out| heads::write_job(out, &head), &message.body, limits)
}

fn append_head(
    out: &mut BytesMut,
    write: impl FnOnce(&mut BytesMut),
    body: &[u8],
    limits: Limits,
) -> Result<(), FrameError> {
    let write = |out: &mut BytesMut| {
        write(out);
        Ok(())
    };
    framing::append_as(out, write, body, limits)
}

/// Why a message is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// It is none, or one that is longer than the limits allow.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// It ends before its end, or goes on after it.
    #[error("{0} bytes are not one whole message")]
    Size(usize),
    /// It wants its answer where no answer belongs.
    #[error("its address for the answer is none")]
    Address,
}

/// Reads one job.
///
/// # Errors
/// [`ReadError`].
pub fn read_job(mut bytes: Bytes, limits: Limits) -> Result<Posted, ReadError> {
    let len = bytes.len();
    let read = framing::decode_as(&mut bytes, read_job_head, limits)?;
    let Some((head, body)) = read.filter(|_| bytes.is_empty()) else { return Err(ReadError::Size(len)) };
    let JobHead { reply, ticket, key, budget_left_us, job } = head;
    if reply.len() > MAX_ADDRESS || !is_reply(&reply) {
        return Err(ReadError::Address);
    }
    let message = Message { head: job, body };
    Ok(Posted { reply, ticket, key, budget_left: budget_left_us.map(Duration::from_micros), message })
}

fn read_job_head(head: &Bytes) -> Result<JobHead, FrameError> {
    heads::read_job(head).map_or_else(|| framing::decode_cbor(head), Ok)
}

fn read_answer_head(head: &Bytes) -> Result<AnswerHead, FrameError> {
    heads::read_answer(head).map_or_else(|| framing::decode_cbor(head), Ok)
}

/// Whether a worker may write there: a job that is not ours must not fill other people's keys.
fn is_reply(address: &str) -> bool {
    let rest = address.strip_prefix(REPLY).unwrap_or_default();
    rest.starts_with(":reply:") || rest.starts_with(".reply.")
}

/// Appends one answer. One that is longer than the limits allow becomes a failure that says so.
pub fn append_answer(
    out: &mut BytesMut,
    ticket: Ticket,
    result: Result<Message, Unprocessed>,
    timings: Timings,
    limits: Limits,
) {
    let (result, body) = match result {
        Ok(message) => (AnswerResult::Ok(message.head), message.body),
        Err(Unprocessed::Bad(text)) => (AnswerResult::Bad(cut(text, MAX_TEXT)), Bytes::new()),
        Err(Unprocessed::Failed(text)) => (AnswerResult::Failed(cut(text, MAX_TEXT)), Bytes::new()),
    };
    let head = AnswerHead { ticket, result, timings };
    if let Err(error) = append_head(out, |out| heads::write_answer(out, &head), &body, limits) {
        // It would be as long next time.
        let head = AnswerHead { ticket, result: AnswerResult::Bad(error.to_string()), timings };
        append_head(out, |out| heads::write_answer(out, &head), &[], limits)
            .expect("a ticket and a short text are a short head");
    }
}

/// Appends the word that the worker is gone which had this job.
pub fn append_gone(out: &mut BytesMut, ticket: Ticket, limits: Limits) {
    let head = AnswerHead { ticket, result: AnswerResult::Gone, timings: Timings::default() };
    append_head(out, |out| heads::write_answer(out, &head), &[], limits).expect("a ticket is a short head");
}

/// Reads the answers of one message. What follows one that cannot be read is lost with it.
///
/// # Errors
/// [`ReadError`], beside those before it.
pub fn read_answers(mut bytes: Bytes, limits: Limits) -> (Vec<(AnswerHead, Bytes)>, Result<(), ReadError>) {
    let mut answers = Vec::new();
    while !bytes.is_empty() {
        match framing::decode_as(&mut bytes, read_answer_head, limits) {
            Ok(Some(answer)) => answers.push(answer),
            Ok(None) => return (answers, Err(ReadError::Size(bytes.len()))),
            Err(error) => return (answers, Err(error.into())),
        }
    }
    (answers, Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use queue::{FlowId, ModelHash, Seq, TaskName};

    fn posted(reply: &str) -> Posted {
        Posted {
            reply: reply.into(),
            ticket: Ticket { flow: FlowId(3), seq: Seq(7), part: 0, attempt: 2 },
            key: Key::model(TaskName::new("detect").unwrap(), ModelHash([9; 32])),
            budget_left: Some(Duration::from_millis(250)),
            message: Message { head: Bytes::from_static(&[1]), body: Bytes::from_static(b"pixels") },
        }
    }

    #[test]
    fn a_job_survives_the_trip() {
        let job = posted("framelane:reply:gate:1");
        let bytes = write_job(job.clone(), Limits::default()).unwrap();
        assert_eq!(read_job(bytes.clone(), Limits::default()), Ok(job));
        for cut in [0, 1, 8, bytes.len() - 1] {
            assert!(read_job(bytes.slice(..cut), Limits::default()).is_err(), "{cut} bytes");
        }
        let mut longer = BytesMut::from(&bytes[..]);
        longer.extend_from_slice(b"x");
        assert!(matches!(read_job(longer.freeze(), Limits::default()), Err(ReadError::Size(_))));
    }

    #[test]
    fn a_job_cannot_send_its_answer_anywhere() {
        for wrong in ["", "users", "framelane:jobs:detect", &format!("framelane:reply:{}", "x".repeat(300))] {
            let bytes = write_job(posted(wrong), Limits::default()).unwrap();
            assert_eq!(read_job(bytes, Limits::default()), Err(ReadError::Address), "{wrong}");
        }
    }

    #[test]
    fn several_answers_share_a_message() {
        let ticket = |seq| Ticket { flow: FlowId(1), seq: Seq(seq), part: 0, attempt: 1 };
        let mut out = BytesMut::new();
        let limits = Limits { head: 4096, body: 16 };
        let message = Message { head: Bytes::from_static(&[2]), body: Bytes::from_static(b"short") };
        append_answer(&mut out, ticket(0), Ok(message), Timings::default(), limits);
        let long = Message { head: Bytes::from_static(&[2]), body: Bytes::from(vec![0; 17]) };
        append_answer(&mut out, ticket(1), Ok(long), Timings::default(), limits);
        append_gone(&mut out, ticket(2), limits);
        let (answers, end) = read_answers(out.clone().freeze(), limits);
        assert_eq!(end, Ok(()));
        assert_eq!(answers.len(), 3);
        assert_eq!(answers[0].1, "short");
        assert!(matches!(answers[1].0.result, AnswerResult::Bad(_)), "too long: it would be so again");
        assert_eq!(answers[2].0.result, AnswerResult::Gone);
        let (answers, end) = read_answers(out.freeze().slice(..30), limits);
        assert!(answers.len() < 3 && end.is_err());
    }
}
