//! Protocol 1: the messages, as they are on the wire.
//!
//! A worker dials in with [`ALPN_LANE`], shows its certificate, and opens the **control stream**, the
//! first bidirectional stream, which both ends send at the highest priority: [`Hello`] from the worker,
//! [`Welcome`] from the server, then [`Control`] messages both ways. Silence there for longer than
//! [`Welcome::dead_after_ms`] ends the connection. A [`Control::Beat`] may also come out of turn: it wants
//! nothing but QUIC's acknowledgement.
//!
//! The server opens **one bidirectional stream for each hand-out**. It carries messages with a
//! [`JobHead`] until FIN; a worker accepts several on one stream. The answers come back on the same
//! stream with an [`AnswerHead`], in any order; a stream that ends without the answer to a ticket lets
//! go of it.
//!
//! **Cancel.** The server sends [`Control::Cancel`] and resets and stops the stream, so that no more
//! of it is sent. To each `Cancel` the worker answers exactly one [`Control::Released`], when it no
//! longer works on that ticket: at once if it does not know it or has answered it. The control message
//! is needed because a stream cannot tell: a reset before the head arrived names no ticket, and a stop
//! after the answer was acknowledged is never seen (`tests/quinn_rules.rs` shows both).
//!
//! **Credit** is the absolute number of hand-outs that may be outstanding; the server caps it and
//! counts. A ticket is outstanding from the hand-out until its answer, its release, or the end of the
//! connection. QUIC's own limit of streams is only a guard, see [`stream_limit`].
//!
//! **Long bodies.** An end has at most 128 MiB of bodies of more than 16 KiB begun, and not written or laid, on a
//! connection, or one that is longer; it waits before the first byte of the next. An end that finds more than
//! twice that and two of the longest bodies announced and not ended ends the connection, so that what is begun
//! and never ended takes bounded memory.
//!
//! **Shared memory.** Both ends on one host can spare the bodies of jobs the way through QUIC. A worker
//! names [`SHARED_MEMORY`] in its [`Hello`]; a server that sees it come from its own host answers with a
//! [`MemoryOffer`] in the [`Welcome`]: an abstract Unix socket, a secret for this connection alone, and a
//! size. The worker connects there, writes the secret, and reads one byte that brings the descriptor of a
//! file in memory; each end checks that the other runs as its own user or as root. The file has exactly
//! the announced size and is sealed against shrinking, growing, and other seals; a worker that gets
//! anything else ends the connection. Then, as its first message after the greeting and whatever came of
//! it, the worker says [`Taken`] on the control stream. If it has the memory, a [`JobHead`] may name a
//! [`Place`] there; the body of its message is empty, and the job is alone on its stream. The worker copies such a
//! body before it looks at it, and never writes to the file; the server reuses the place when the ticket is over. A
//! place may be named while its body, of more than 16 KiB, is still being laid: then it says where the file has the
//! number of bytes that are, which only grows, and all of them are when the stream ends. Until then it counts as
//! a body that is begun. What does not fit is sent on the stream as ever, and so are all answers. `memory/mod.rs` says
//! why it is so.
//!
//! **Practice.** To a worker that named [`practice::ABILITY`] a server may send jobs that do nothing, one at a time: a
//! stream as for a hand-out, with the key and the ticket of [`practice`], an empty job and no body. The worker
//! answers with an empty answer. They take no credit and are never cancelled.
//!
//! Heads are CBOR maps with text keys. A reader ignores keys that it does not know and refuses bytes
//! after the value. A new kind of control message needs a capability that both ends named.

use std::time::Duration;

use bytes::Bytes;
use queue::{Key, Ticket};
use serde::{Deserialize, Deserializer, Serialize};

#[cfg(doc)]
use crate::practice;
use crate::process::{Timings, Unprocessed};
use crate::repr;

/// The protocol between server and worker. The number is the version: another one is another name,
/// so two ends that do not understand each other never get past TLS.
pub const ALPN_LANE: &[u8] = b"framelane-lane/1";
/// The exchange of a token for a certificate.
pub const ALPN_ENROL: &[u8] = b"framelane-enrol/1";
/// The exchange of a certificate that will expire for a new one.
pub const ALPN_RENEW: &[u8] = b"framelane-renew/1";
/// Where two ends meet that have no other protocol in common, only to say what they speak. Both offer
/// it last. It never changes, so it has no version.
pub const ALPN_VERSIONS: &[u8] = b"framelane-versions";

/// The longest text that explains a failure, in bytes; what is longer is cut.
pub const MAX_TEXT: usize = 1024;
/// The longest name of a worker, in bytes.
pub const MAX_NAME: usize = 64;
/// The most keys that a worker can name. It also follows from the limit of heads.
pub const MAX_KEYS: usize = 1024;

/// The ability to take bodies out of shared memory. Another meaning of [`Place`] is another name: an end that knows
/// the old one must not take what is not there.
pub const SHARED_MEMORY: &str = "shared-memory-2";

/// The most credit that a worker makes room for, whatever it asks for: QUIC sets each allowed stream up
/// beforehand, so a huge number would take this end's own memory.
pub(crate) const MAX_CREDIT: u32 = 4096;

/// What a worker says first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// For people: 1 to 64 bytes without control characters.
    pub name: String,
    /// What it can do.
    pub keys: Vec<HelloKey>,
    /// How many hand-outs it takes at once.
    pub credit: u32,
    /// Optional abilities; those that both ends name are in force.
    #[serde(default)]
    pub capabilities: Vec<String>,
}

/// A key that a worker serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HelloKey {
    /// Task and model.
    #[serde(with = "repr::key")]
    pub key: Key,
    /// Whether it is loaded and has run once, so that the first job is no slower than the next.
    pub warm: bool,
}

/// What the server answers to [`Hello`]. A refusal is the end of the connection with a code instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The id in the worker's certificate, as the server read it.
    pub worker: u64,
    /// The most credit that the server will count.
    pub max_credit: u32,
    /// How often each end says [`Control::Beat`].
    pub heartbeat_ms: u32,
    /// After how much silence an end gives the other up.
    pub dead_after_ms: u32,
    /// Abilities that both ends named.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Memory to share, if both ends named [`SHARED_MEMORY`] and it can be had. Then [`Taken`] follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryOffer>,
}

/// Where a worker can fetch the file that job bodies are laid into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryOffer {
    /// The name of an abstract Unix socket.
    pub socket: String,
    /// To be shown there, once.
    pub secret: Bytes,
    /// Bytes of the file, whole pages of 4096.
    pub size: u64,
}

/// From the worker, after a [`Welcome`] with a [`MemoryOffer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// Whether it has the file. If not, bodies travel on the streams.
    pub memory: bool,
}

/// Where a body lies in shared memory, or is being laid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Bytes from the beginning of the file.
    pub at: u64,
    /// Bytes of the body.
    pub len: u32,
    /// Where the file says how many bytes of the body are laid: a `u32` of the host, at a multiple of four. Absent:
    /// all of them are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub laid: Option<u64>,
}

/// A message on the control stream, after the greeting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// Both ways: I am here.
    Beat,
    /// From the worker: from now on so many hand-outs may be outstanding.
    Credit {
        /// The absolute number.
        n: u32,
    },
    /// From the worker: it no longer works on this cancelled ticket.
    Released {
        /// The ticket of the `Cancel`.
        #[serde(with = "repr::ticket")]
        ticket: Ticket,
    },
    /// From the worker: what it serves now, all of it.
    Keys {
        /// Replaces the keys of [`Hello`].
        keys: Vec<HelloKey>,
    },
    /// From the server: no answer to this ticket is wanted any more.
    Cancel {
        /// The ticket of the hand-out.
        #[serde(with = "repr::ticket")]
        ticket: Ticket,
    },
    /// From the worker: hand me nothing more. From the server: finish what you have, then leave; the
    /// worker answers with its own, so that the server knows when nothing can cross it any more. The
    /// code with which the server then closes says whether the worker may come back by itself.
    Drain,
}

/// In front of each job's body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobHead {
    /// Which hand-out this is.
    #[serde(with = "repr::ticket")]
    pub ticket: Ticket,
    /// What to do. Absent: the same as in the message before on this stream.
    #[serde(with = "repr::maybe_key", default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// Microseconds that were left of the job's budget when it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_left_us: Option<u64>,
    /// The CBOR of the payload's own head, as a byte string.
    pub job: Bytes,
    /// Where the body is, if it is not on the stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

/// In front of each answer's body.
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
    Bad(#[serde(deserialize_with = "short_text")] String),
    /// [`Unprocessed::Failed`], with at most [`MAX_TEXT`] bytes of text.
    Failed(#[serde(deserialize_with = "short_text")] String),
}

impl From<Unprocessed> for AnswerResult {
    fn from(why: Unprocessed) -> Self {
        match why {
            Unprocessed::Bad(text) => Self::Bad(cut(text, MAX_TEXT)),
            Unprocessed::Failed(text) => Self::Failed(cut(text, MAX_TEXT)),
        }
    }
}

/// Shortens a text at a character's edge.
pub(crate) fn cut(mut text: String, max: usize) -> String {
    text.truncate(text.floor_char_boundary(max));
    text
}

fn short_text<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    String::deserialize(d).map(|text| cut(text, MAX_TEXT))
}

/// Whether a text can be a worker's name: 1 to [`MAX_NAME`] bytes without control characters.
pub fn name_is_good(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && !name.chars().any(char::is_control)
}

/// How many streams the server may have open for this credit. More than the credit itself, since QUIC
/// gives a stream back late: only after its FIN was read and both halves were acknowledged.
pub fn stream_limit(credit: u32) -> u32 {
    credit.saturating_mul(2).saturating_add(8)
}

/// A budget on the wire. What does not fit is as good as no limit.
pub(crate) fn micros(d: Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}
