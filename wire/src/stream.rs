//! Messages over QUIC streams.

use bytes::{Buf, Bytes, BytesMut};
use quinn::{ReadError, RecvStream, SendStream, WriteError};
use serde::{Serialize, de::DeserializeOwned};

use crate::framing::{self, FrameError, Lengths, Limits, PREFIX, decode_cbor, encode_head};
use crate::under_way::{LONG, Reading, TooMuch};

/// How much memory is set aside for a body on the strength of its announced length alone. A longer
/// body grows as its bytes arrive, so that an empty promise of 64 MiB costs the peer no more than
/// this; below it a body is received without moving once.
const TRUSTED: usize = 2 * 1024 * 1024;

/// Why no message could be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadFailed {
    #[error(transparent)]
    Stream(#[from] ReadError),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the stream ends in the middle of a message")]
    Truncated,
    #[error(transparent)]
    TooMuch(#[from] TooMuch),
}

/// A message whose head was read, and whose body is still on the stream.
pub(crate) struct Incoming<T> {
    pub(crate) head: T,
    pub(crate) body: usize,
}

/// Where a [`FrameReader`] has its bytes from.
pub(crate) trait Chunks {
    /// The next bytes, however many; none at the end.
    fn chunk(&mut self) -> impl Future<Output = Result<Option<Bytes>, ReadError>> + Send;
}

impl Chunks for RecvStream {
    async fn chunk(&mut self) -> Result<Option<Bytes>, ReadError> {
        Ok(self.read_chunk(usize::MAX, true).await?.map(|chunk| chunk.bytes))
    }
}

/// Reads messages off a stream.
///
/// Not to be used in `select!` unless the stream is given up with the other branch: bytes that were
/// taken for a message are lost with the future.
#[derive(Debug)]
pub(crate) struct FrameReader<R = RecvStream> {
    recv: R,
    /// Bytes that came with the last chunk and belong to what comes next.
    left: Bytes,
}

impl<R: Chunks> FrameReader<R> {
    pub(crate) fn new(recv: R) -> Self {
        Self { recv, left: Bytes::new() }
    }

    /// Reads a whole message of a connection that has but this one under way; `None` at a FIN between
    /// messages.
    pub(crate) async fn read<T: DeserializeOwned>(
        &mut self,
        limits: Limits,
    ) -> Result<Option<(T, Bytes)>, ReadFailed> {
        let Some(incoming) = self.checked_head(limits).await? else { return Ok(None) };
        let body = self.body(incoming.body).await?;
        Ok(Some((incoming.head, body)))
    }

    /// As [`read`](Self::read), beside the other streams of a connection.
    pub(crate) async fn read_beside<T: DeserializeOwned>(
        &mut self,
        limits: Limits,
        others: &Reading,
    ) -> Result<Option<(T, Bytes)>, ReadFailed> {
        let Some(incoming) = self.checked_head(limits).await? else { return Ok(None) };
        let body = self.body_beside(incoming.body, others).await?;
        Ok(Some((incoming.head, body)))
    }

    async fn checked_head<T: DeserializeOwned>(
        &mut self,
        limits: Limits,
    ) -> Result<Option<Incoming<T>>, ReadFailed> {
        match self.head(limits.head).await? {
            Some(Incoming { body: len, .. }) if len > limits.body => {
                Err(FrameError::BodyTooLong { len, limit: limits.body }.into())
            }
            incoming => Ok(incoming),
        }
    }

    /// Takes a message that is here already, whole, without waiting. One that is longer than the limits
    /// is left to [`head`](Self::head), which lets the caller say so.
    pub(crate) fn here<T: DeserializeOwned>(
        &mut self,
        limits: Limits,
    ) -> Result<Option<(T, Bytes)>, FrameError> {
        match framing::decode(&mut self.left, limits) {
            // Out of the packet that it came in, which it would keep in memory.
            Ok(Some((head, body))) => Ok(Some((head, Bytes::copy_from_slice(&body)))),
            Ok(None) | Err(FrameError::HeadTooLong { .. } | FrameError::BodyTooLong { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Reads lengths and head. The length of the body is the caller's to check.
    pub(crate) async fn head<T: DeserializeOwned>(
        &mut self,
        limit: usize,
    ) -> Result<Option<Incoming<T>>, ReadFailed> {
        if self.left.is_empty() && !self.more().await? {
            return Ok(None);
        }
        let prefix = self.exactly(PREFIX).await?;
        let prefix = *prefix.first_chunk().ok_or(ReadFailed::Truncated)?;
        let lengths = Lengths::read(prefix);
        Lengths { body: 0, ..lengths }.check(Limits { head: limit, body: 0 })?;
        let head = self.exactly(lengths.head).await?;
        Ok(Some(Incoming { head: decode_cbor(&head)?, body: lengths.body }))
    }

    /// Waits for what comes next; true if that is the end of the stream.
    pub(crate) async fn ends(&mut self) -> Result<bool, ReadError> {
        Ok(self.left.is_empty() && !self.more().await?)
    }

    /// As [`body`](Self::body), beside the other streams of a connection.
    pub(crate) async fn body_beside(&mut self, len: usize, others: &Reading) -> Result<Bytes, ReadFailed> {
        // What is here already takes no more memory than it has.
        let counts = len > LONG && len > self.left.len();
        let _begun = if counts { Some(others.begin(len)?) } else { None };
        self.body(len).await
    }

    /// Reads a body into memory of its own.
    pub(crate) async fn body(&mut self, len: usize) -> Result<Bytes, ReadFailed> {
        let mut body = BytesMut::with_capacity(len.min(TRUSTED));
        while body.len() < len {
            if self.left.is_empty() && !self.more().await? {
                return Err(ReadFailed::Truncated);
            }
            let n = self.left.len().min(len - body.len());
            body.extend_from_slice(&self.left[..n]);
            self.left.advance(n);
        }
        Ok(body.freeze())
    }

    async fn exactly(&mut self, len: usize) -> Result<Bytes, ReadFailed> {
        if self.left.len() >= len {
            return Ok(self.left.split_to(len));
        }
        self.body(len).await
    }

    /// Gets the next chunk; false at FIN.
    async fn more(&mut self) -> Result<bool, ReadError> {
        while self.left.is_empty() {
            match self.recv.chunk().await? {
                Some(bytes) => self.left = bytes,
                None => return Ok(false),
            }
        }
        Ok(true)
    }
}

impl FrameReader {
    /// Takes what is there of the end of the stream without waiting, so that dropping the reader need
    /// not tell the sender to stop what it has already ended.
    pub(crate) fn end(&mut self) {
        use futures_util::FutureExt;
        let _ = self.recv.read_chunk(1, true).now_or_never();
    }

    /// Stops the sender.
    pub(crate) fn stop(&mut self, code: quinn::VarInt) {
        // A stream that has ended by itself needs no stopping.
        let _ = self.recv.stop(code);
    }
}

/// Why a message could not be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteFailed {
    #[error(transparent)]
    Stream(#[from] WriteError),
    #[error(transparent)]
    Frame(#[from] FrameError),
}

/// Writes a message: the body goes to QUIC as it is, by reference.
pub(crate) async fn write<T: Serialize>(
    send: &mut SendStream,
    head: &T,
    body: Bytes,
    limits: Limits,
) -> Result<(), WriteFailed> {
    let head = encode_head(head, body.len(), limits)?;
    Ok(send.write_all_chunks(&mut [head, body]).await?)
}
