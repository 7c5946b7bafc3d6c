//! The client's protocol: the messages, as they are on the wire.
//!
//! A client dials in with [`ALPN_CLIENT`], shows its certificate, and opens the **control stream**:
//! [`ClientHello`], [`ClientWelcome`], then heartbeats both ways as a worker's are, and a `Drain` from a
//! server that stops. Then it opens the **task stream**, which lives as long as the connection, with an empty
//! [`Pushed::Submit`], since nobody sees a stream on which nothing was sent. A connection is one flow.
//!
//! A [`Pushed::Submit`] carries any number of tasks of one key: their heads and bodies follow each other in
//! the body of the message, so that a small task costs a few bytes and no CBOR. Tasks are numbered by their
//! order on the stream, from 0. The answers come back on the same stream, **in that order**, each task once,
//! in [`Answered`] messages that are laid out alike. The client ends its half when it wants nothing more;
//! the server then ends its own after the last answer.
//!
//! **Window.** At most [`ClientWelcome::tasks`] tasks may be unanswered, and of their bytes beyond
//! [`FREE`] each at most [`ClientWelcome::bytes`]. Who sends more breaks the protocol. So the server reads
//! whatever comes, a cancel is never stuck behind what is not read, and both ends know what they may have to
//! hold. That an answer comes is what gives the room back.
//!
//! **Cancel.** [`Pushed::Cancel`] names tasks that nobody wants any more. Their answers come all the same, in
//! their turn, most of them as [`NoAnswer::Cancelled`].

use bytes::Bytes;
use queue::{Key, Reason};
use serde::{Deserialize, Serialize};

use crate::framing::{FrameError, Lengths, Limits};
use crate::repr;
use crate::task::Message;

/// The protocol between coordinator and client.
pub const ALPN_CLIENT: &[u8] = b"framelane-client/1";

/// Bytes of each task that its window does not count: small tasks are bounded by their number.
pub const FREE: usize = 1024;

/// The most bytes of a message that carries several tasks. Each of them keeps the memory of all, so this
/// bounds what a small task can hold.
pub const TOGETHER: usize = 16 * 1024;

/// What a client says first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientHello {
    /// For people: 1 to 64 bytes without control characters.
    pub name: String,
    /// How its tasks are to be treated.
    #[serde(default)]
    pub wishes: Wishes,
    /// Optional abilities; those that both ends name are in force.
    #[serde(default)]
    pub capabilities: Vec<String>,
}

/// How a client wants its tasks treated. The server decides what it leaves open.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Wishes {
    /// Milliseconds after its arrival at which a task without an answer is given up as late.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_ms: Option<u64>,
    /// How many failures end a task; 0: none does, it is tried for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// Milliseconds that a task rests after a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Milliseconds that a worker may take over a task. Then another one gets it, and a late answer is
    /// dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_within_ms: Option<u64>,
    /// A task whose worker takes longer than all but the slowest so many percent do is given to a second
    /// one too that has nothing else to do: the first answer counts. 0: none is; more than 100 counts as that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hedge_percent: Option<u16>,
    /// The only worker that may get the tasks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<u64>,
}

/// What the server answers to [`ClientHello`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientWelcome {
    /// The id in the client's certificate.
    pub client: u64,
    /// The most tasks that may be unanswered.
    pub tasks: u32,
    /// The most of their bytes, not counting [`FREE`] of each.
    pub bytes: u64,
    /// The longest head of a task.
    pub head: u32,
    /// The longest body of a task.
    pub body: u32,
    /// How often each end says that it is here.
    pub heartbeat_ms: u32,
    /// After how much silence an end gives the other up.
    pub dead_after_ms: u32,
    /// Abilities that both ends named.
    #[serde(default)]
    pub capabilities: Vec<String>,
}

/// From the client, on the task stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pushed {
    /// Tasks.
    Submit {
        /// What is to be done. Absent: the same as in the submit before.
        #[serde(with = "repr::maybe_key", default, skip_serializing_if = "Option::is_none")]
        key: Option<Key>,
        /// For each task the bytes of its head and of its body, one after the other.
        lengths: Vec<u32>,
    },
    /// Nobody wants these tasks any more. Those that were answered or never sent are ignored.
    Cancel {
        /// Their numbers.
        tasks: Vec<u64>,
    },
}

/// From the server, on the task stream: what became of the next tasks, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// The number of the first of them.
    pub first: u64,
    /// For each the bytes of its answer's head and body, one after the other. Without an answer the first
    /// is the length of a text that explains it, which may be 0.
    pub lengths: Vec<u32>,
    /// Those without an answer, by their place in this message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<(u32, NoAnswer)>,
}

/// Why a task has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoAnswer {
    /// [`Reason::Evicted`].
    Evicted,
    /// [`Reason::Late`].
    Late,
    /// [`Reason::Failed`].
    Failed,
    /// [`Reason::NoLane`].
    NoLane,
    /// [`Reason::Cancelled`].
    Cancelled,
}

impl From<Reason> for NoAnswer {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Evicted => Self::Evicted,
            Reason::Late => Self::Late,
            Reason::Failed => Self::Failed,
            Reason::NoLane => Self::NoLane,
            Reason::Cancelled => Self::Cancelled,
        }
    }
}

/// The bytes of a task that its window counts.
pub(crate) fn weight(message: &Message) -> u64 {
    (message.head.len() + message.body.len()).saturating_sub(FREE) as u64
}

/// Messages out of the body that carries them. The parts share its memory.
///
/// # Errors
/// When the lengths are not those of the body, or beyond the limits.
pub(crate) fn cut_up(lengths: &[u32], mut body: Bytes, limits: Limits) -> Result<Vec<Message>, FrameError> {
    let (pairs, odd) = lengths.as_chunks::<2>();
    if !odd.is_empty() {
        return Err(FrameError::Head("an odd number of lengths".into()));
    }
    if pairs.len() > 1 && body.len() > TOGETHER {
        return Err(FrameError::BodyTooLong { len: body.len(), limit: TOGETHER });
    }
    let mut messages = Vec::with_capacity(pairs.len());
    for &[head, part] in pairs {
        let lengths = Lengths { head: head as usize, body: part as usize }.check(limits)?;
        if body.len() < lengths.head || body.len() - lengths.head < lengths.body {
            return Err(FrameError::Head(format!("lengths of more than the {} bytes left", body.len())));
        }
        let head = body.split_to(lengths.head);
        messages.push(Message { head, body: body.split_to(lengths.body) });
    }
    if !body.is_empty() {
        return Err(FrameError::Trailing { bytes: body.len() });
    }
    Ok(messages)
}

/// Whether a message still fits beside others that have so many bytes.
pub(crate) fn fits(together: usize, message: &Message) -> bool {
    together + message.head.len() + message.body.len() <= TOGETHER
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { head: 100, body: 20_000 };

    fn cut(lengths: &[u32], body: &'static [u8]) -> Result<Vec<(Bytes, Bytes)>, FrameError> {
        let messages = cut_up(lengths, Bytes::from_static(body), LIMITS)?;
        Ok(messages.into_iter().map(|message| (message.head, message.body)).collect())
    }

    #[test]
    fn tasks_lie_one_after_the_other() {
        let two = cut(&[1, 2, 0, 3], b"abcdef").unwrap();
        assert_eq!(two, [("a".into(), "bc".into()), (Bytes::new(), "def".into())]);
        assert_eq!(cut(&[], b"").unwrap(), []);
    }

    #[test]
    fn lengths_that_are_not_those_of_the_body_are_refused() {
        for (lengths, body) in [
            (&[1, 2, 3][..], &b"abcdef"[..]),
            (&[1, 6], b"abcdef"),
            (&[u32::MAX, u32::MAX], b"abcdef"),
            (&[1, 2], b"abcdef"),
            (&[101, 0], &[0; 101]),
            (&[0, 20_001], &[0; 20_001]),
        ] {
            assert!(cut(lengths, body).is_err(), "{lengths:?}");
        }
    }

    #[test]
    fn a_long_task_travels_alone() {
        static LONG: [u8; 20_000] = [0; 20_000];
        assert!(cut(&[0, 20_000], &LONG).is_ok());
        let both = cut(&[0, 19_999, 0, 1], &LONG);
        assert_eq!(both, Err(FrameError::BodyTooLong { len: 20_000, limit: TOGETHER }));
    }
}
