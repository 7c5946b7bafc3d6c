//! One message each way, on the one stream of a connection made for it: how strangers ask for what is not a
//! lane.

use bytes::Bytes;
use quinn::{Connection, ConnectionError, ReadError, WriteError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::close::reason;
use crate::framing::Limits;
use crate::stream::{FrameReader, ReadFailed, WriteFailed, write};

/// Names, a certificate request, a certificate: a few hundred bytes each.
const LIMITS: Limits = Limits { head: 8 * 1024, body: 0 };

/// Why an exchange has no reply.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("{}", match .0 { ConnectionError::ApplicationClosed(frame) => reason(frame), other => other.to_string() })]
    Lost(ConnectionError),
    #[error("{0}")]
    Other(String),
}

impl From<WriteFailed> for Broken {
    fn from(e: WriteFailed) -> Self {
        match e {
            WriteFailed::Stream(WriteError::ConnectionLost(e)) => Self::Lost(e),
            other => Self::Other(other.to_string()),
        }
    }
}

impl From<ReadFailed> for Broken {
    fn from(e: ReadFailed) -> Self {
        match e {
            ReadFailed::Stream(ReadError::ConnectionLost(e)) => Self::Lost(e),
            other => Self::Other(other.to_string()),
        }
    }
}

/// One message each way, on a stream of the client's.
pub(crate) async fn ask<Q: Serialize, R: DeserializeOwned>(
    connection: &Connection,
    request: &Q,
) -> Result<R, Broken> {
    let (mut send, recv) = connection.open_bi().await.map_err(Broken::Lost)?;
    write(&mut send, request, Bytes::new(), LIMITS).await?;
    // A finished stream cannot fail to be finished: nobody else holds it.
    let _ = send.finish();
    let reply = FrameReader::new(recv).read(LIMITS).await?;
    reply.map(|(reply, _)| reply).ok_or_else(|| Broken::Other("no reply".into()))
}

/// The server's side of [`ask`], on a fresh connection. Gives what `answer` made of the request, once
/// the client has the reply or is gone; the caller bounds the time.
pub(crate) async fn serve<Q: DeserializeOwned, R: Serialize, T>(
    connection: &Connection,
    answer: impl AsyncFnOnce(Q) -> (R, T),
) -> Result<T, Broken> {
    let (mut send, recv) = connection.accept_bi().await.map_err(Broken::Lost)?;
    let request = FrameReader::new(recv).read(LIMITS).await?;
    let (request, _) = request.ok_or_else(|| Broken::Other("an empty request".into()))?;
    let (reply, told) = answer(request).await;
    write(&mut send, &reply, Bytes::new(), LIMITS).await?;
    let _ = send.finish();
    // Until it is acknowledged; closing the connection sooner would throw it away.
    let _ = send.stopped().await;
    Ok(told)
}
