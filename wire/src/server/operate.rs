//! What an operator asks of a coordinator: one question and its answer, on a connection of its own.

use std::time::Duration;

use bytes::Bytes;
use quinn::Connection;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::door::Turned;
use super::tally::Refusal;
use crate::close::Code;
use crate::framing::Limits;
use crate::identity::Identity;
use crate::node::DialError;
use crate::node::dial::{Dial, Verdict};
use crate::stream::{FrameReader, ReadFailed, write};
use crate::transport;

/// The exchange of an operator's question for its answer.
pub(crate) const ALPN_OPERATE: &[u8] = b"framelane-operate/1";

/// Questions have no body; what is told of thousands of flows and workers fits into this.
const LIMITS: Limits = Limits { head: 1024, body: 16 << 20 };

/// What an operator asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ask {
    /// What there is and how it stands.
    Status,
    /// To stop: take nothing more, finish what there is, leave.
    Stop,
}

/// A question that waits for its answer.
#[derive(Debug)]
pub struct Operation {
    /// The question.
    pub ask: Ask,
    /// Takes the answer, a text. Dropped, the operator is told that there is none.
    pub reply: oneshot::Sender<String>,
    /// Ends once the operator has the answer, or is gone: who stops waits for that.
    pub told: oneshot::Receiver<()>,
}

/// Why an operator has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperateError {
    /// The coordinator cannot be reached, is another one, or takes no orders.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The coordinator does not take the certificate.
    #[error(
        "the coordinator refuses this certificate ({0}): it takes orders with a token of role `operator`"
    )]
    Refused(String),
    /// The exchange broke off.
    #[error("the coordinator gave no answer: {0}")]
    Broken(String),
}

impl OperateError {
    /// Whether a new enrolment could help: the coordinator does not take this identity, or is another one.
    pub fn needs_enrolment(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Dial(DialError::WrongAuthority { .. }))
    }
}

/// Asks the coordinator at `server` (`HOST:PORT`), with an identity of the role
/// [`Operator`](crate::identity::Role::Operator).
///
/// # Errors
/// [`OperateError`].
pub async fn operate(
    server: &str,
    identity: &Identity,
    ask: Ask,
    within: Duration,
) -> Result<String, OperateError> {
    let broken = |why: &dyn std::fmt::Display| OperateError::Broken(why.to_string());
    let tls = identity.tls(ALPN_OPERATE).map_err(|e| broken(&e))?;
    let transport = transport::config(Default::default(), 0, 4, within);
    let (endpoint, connection) =
        Dial { tls, alpn: ALPN_OPERATE, timeout: within, transport }.to(server).await?;
    let answered = tokio::time::timeout(within, question(&connection, ask)).await;
    connection.close(Code::Done.varint(), b"asked");
    let _ = tokio::time::timeout(Duration::from_secs(1), endpoint.wait_idle()).await;
    match answered {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(ReadFailed::Stream(quinn::ReadError::ConnectionLost(e)))) => Err(match Verdict::of(&e) {
            Verdict::Expired => OperateError::Refused("it has expired".into()),
            Verdict::Refused(why) | Verdict::Revoked(why) => OperateError::Refused(why),
            Verdict::Busy(why) | Verdict::Other(why) => OperateError::Broken(why),
        }),
        Ok(Err(error)) => Err(broken(&error)),
        Err(_) => Err(broken(&"it takes too long")),
    }
}

async fn question(connection: &Connection, ask: Ask) -> Result<String, ReadFailed> {
    let lost = |e| ReadFailed::Stream(quinn::ReadError::ConnectionLost(e));
    let (mut send, recv) = connection.open_bi().await.map_err(lost)?;
    // Why it could not be written is what reading says too.
    let _ = write(&mut send, &ask, Bytes::new(), LIMITS).await;
    let _ = send.finish();
    let answer = FrameReader::new(recv).read::<bool>(LIMITS).await?.ok_or(ReadFailed::Truncated)?;
    Ok(String::from_utf8_lossy(&answer.1).into_owned())
}

/// The coordinator's side, on the connection of an operator that was found to be admitted; the caller bounds
/// the time.
pub(super) async fn serve(
    connection: &Connection,
    operations: &mpsc::Sender<Operation>,
) -> Result<(), Turned> {
    let violation = |e: String| Turned::new(Refusal::Violation, Code::Violation, e);
    let (mut send, recv) = connection.accept_bi().await.map_err(|e| violation(e.to_string()))?;
    let ask = FrameReader::new(recv).read::<Ask>(LIMITS).await.map_err(|e| violation(e.to_string()))?;
    let (ask, _) = ask.ok_or_else(|| violation("no question".into()))?;
    let (reply, answer) = oneshot::channel();
    let trouble = |why: &str| Turned::new(Refusal::Trouble, Code::Done, why);
    let (_telling, told) = oneshot::channel();
    operations
        .send(Operation { ask, reply, told })
        .await
        .map_err(|_| trouble("nobody listens to operators"))?;
    let text = answer.await.map_err(|_| trouble("there is no answer"))?;
    write(&mut send, &true, Bytes::from(text), LIMITS).await.map_err(|e| violation(e.to_string()))?;
    let _ = send.finish();
    // Until it is acknowledged; closing the connection sooner would throw it away.
    let _ = send.stopped().await;
    Ok(())
}
