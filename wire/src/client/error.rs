//! What can go wrong for a client, and whether a task may have run all the same.

use crate::close::Closed;
use crate::framing::FrameError;
use crate::node::DialError;
use crate::pushed::NoAnswer;
use crate::task::PayloadError;

/// Why a client cannot connect.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The coordinator cannot be reached, or is another one.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// It is a server that takes no tasks.
    #[error(
        "{server} takes no tasks from clients (it speaks {theirs}): is this the address of a coordinator?"
    )]
    NoClients {
        /// As given.
        server: String,
        /// What the server speaks.
        theirs: String,
    },
    /// The client's certificate has expired.
    #[error("this client's certificate has expired: enrol again with a new token")]
    Expired,
    /// The coordinator does not take the certificate: another role's, for instance.
    #[error("the coordinator refuses this certificate ({0}): enrol with a token of role `client`")]
    Refused(String),
    /// The coordinator does not admit this client any more, or never did.
    #[error("the coordinator does not admit this client ({0}): enrol again with a new token")]
    Revoked(String),
    /// The coordinator has no room now.
    #[error("the coordinator has no room for this client now ({0}): try again later, or raise its limits")]
    Busy(String),
    /// The greeting of this end is not one.
    #[error("the greeting cannot be sent: {0}")]
    Hello(String),
    /// The coordinator did not keep to the protocol, or went away.
    #[error("the greeting with {server} broke off: {why}")]
    Greeting {
        /// As given.
        server: String,
        /// What happened.
        why: String,
    },
}

impl ConnectError {
    /// Whether trying again may help, without a person.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Dial(dial) => !matches!(
                dial,
                DialError::Protocol { .. } | DialError::Version { .. } | DialError::WrongAuthority { .. }
            ),
            Self::Busy(_) | Self::Greeting { .. } => true,
            _ => false,
        }
    }

    /// Whether a new enrolment could help: the coordinator does not take this identity, or is another one.
    pub fn needs_enrolment(&self) -> bool {
        matches!(
            self,
            Self::Expired
                | Self::Refused(_)
                | Self::Revoked(_)
                | Self::Dial(DialError::WrongAuthority { .. })
        )
    }
}

/// Why a task was not taken. It was not sent, and will not run.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// Its job cannot be written, or is longer than the coordinator takes.
    #[error("the job cannot be sent: {0}")]
    TooLong(#[from] FrameError),
    /// The name of the task cannot be one.
    #[error("no name for a task: {0}")]
    Name(String),
    /// The coordinator stops and takes nothing more, and this client is not to wait for the next one.
    #[error("the coordinator stops and takes no more tasks")]
    Stopping,
    /// The connection has ended, and this client does not connect again.
    #[error("the connection to the coordinator has ended: {0}")]
    Closed(Closed),
}

/// Why a task that was taken has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unanswered {
    /// It failed as often as it may, or is bad in itself. The text is the last worker's, and may be empty.
    #[error("it failed: {0}")]
    Failed(String),
    /// No answer came within its budget.
    #[error("it was late")]
    Late,
    /// No worker serves it.
    #[error("no worker serves this task")]
    NoLane,
    /// It gave way to others.
    #[error("it gave way to other tasks")]
    Evicted,
    /// It was cancelled.
    #[error("it was cancelled")]
    Cancelled,
    /// The connection ended first.
    #[error("the connection to the coordinator ended first ({why}); the task {}", if *.sent { "may have run" } else { "was not sent" })]
    Lost {
        /// Whether any of it was sent. What was not has not run.
        sent: bool,
        /// How it ended.
        why: Closed,
    },
    /// There is an answer, and it is not what was expected.
    #[error("the answer cannot be read: {0}")]
    Unreadable(String),
}

impl Unanswered {
    /// Whether a worker may have done the task, or part of it. If not, submitting it again does it once.
    pub fn may_have_run(&self) -> bool {
        match self {
            Self::NoLane | Self::Evicted => false,
            Self::Lost { sent, .. } => *sent,
            Self::Failed(_) | Self::Late | Self::Cancelled | Self::Unreadable(_) => true,
        }
    }

    pub(super) fn new(why: NoAnswer, text: &[u8]) -> Self {
        match why {
            NoAnswer::Failed => Self::Failed(String::from_utf8_lossy(text).into_owned()),
            NoAnswer::Late => Self::Late,
            NoAnswer::NoLane => Self::NoLane,
            NoAnswer::Evicted => Self::Evicted,
            NoAnswer::Cancelled => Self::Cancelled,
        }
    }
}

impl From<PayloadError> for Unanswered {
    fn from(error: PayloadError) -> Self {
        Self::Unreadable(error.to_string())
    }
}
