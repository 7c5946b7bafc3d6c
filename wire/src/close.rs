//! Why a connection ends: the codes on the wire, and what callers are told.

use quinn::{ApplicationClose, ConnectionError, VarInt};

use crate::protocol::cut;

/// Codes of a connection's end that protocol 1 uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Code {
    /// Done; the reason is for people.
    Done = 0,
    /// The other end broke a rule of the protocol.
    Violation = 1,
    /// The other end was silent for too long.
    Silent = 2,
    /// A worker without a certificate.
    NoCertificate = 3,
    /// No `Hello` in time.
    NoHello = 4,
    /// As many workers as the server takes are connected, or too many are at its door.
    Busy = 5,
    /// Drained by an operator: not to come back by itself.
    Away = 6,
    /// The server knows this worker and no longer takes it, or does not know it.
    Revoked = 7,
    /// The certificate has expired while the connection lived.
    Expired = 8,
}

impl Code {
    pub(crate) const fn varint(self) -> VarInt {
        VarInt::from_u32(self as u32)
    }
}

/// The code with which a stream is reset or stopped when its hand-out is cancelled. Both ends only
/// look at whether a stream ended, not at its code.
pub(crate) const CANCELLED: VarInt = VarInt::from_u32(1);

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Closed {
    /// This end closed it.
    #[error("closed by this end: {0}")]
    Here(String),
    /// The other end closed it, with this reason.
    #[error("closed by the other end: {0}")]
    There(String),
    /// Nothing was heard for longer than the heartbeats allow: the other end hangs, or the network
    /// between is gone.
    #[error("the other end is silent")]
    Silent,
    /// The other end broke a rule of the protocol.
    #[error("the other end broke the protocol: {0}")]
    Violation(String),
    /// An operator drained the worker, and the server let it go: it is not to come back by itself.
    #[error("drained by an operator: {0}")]
    SentAway(String),
    /// The worker is not admitted any more.
    #[error("not admitted any more: {0}")]
    Revoked(String),
    /// The worker's certificate has expired.
    #[error("the worker's certificate has expired")]
    Expired,
    /// The transport failed.
    #[error("the connection was lost: {0}")]
    Lost(String),
}

impl Closed {
    /// How the end looks from here, as QUIC tells it.
    pub(crate) fn from_quic(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(frame) => {
                let text = reason(&frame);
                match frame.error_code {
                    code if code == Code::Away.varint() => Self::SentAway(text),
                    code if code == Code::Revoked.varint() => Self::Revoked(text),
                    code if code == Code::Expired.varint() => Self::Expired,
                    _ => Self::There(text),
                }
            }
            ConnectionError::LocallyClosed => Self::Here("closed".into()),
            ConnectionError::TimedOut => Self::Silent,
            other => Self::Lost(other.to_string()),
        }
    }

    /// The code that tells the other end.
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Violation(_) => Code::Violation,
            Self::Silent => Code::Silent,
            Self::SentAway(_) => Code::Away,
            Self::Revoked(_) => Code::Revoked,
            Self::Expired => Code::Expired,
            _ => Code::Done,
        }
    }

    /// What is told to the other end, beside the code.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Here(text) | Self::SentAway(text) | Self::Revoked(text) => text.clone(),
            other => cut(other.to_string(), 200),
        }
    }
}

/// The text with which the other end closed.
pub(crate) fn reason(frame: &ApplicationClose) -> String {
    let text = String::from_utf8_lossy(&frame.reason).into_owned();
    if text.is_empty() { format!("code {}", frame.error_code) } else { text }
}
