//! How a message lies in a stream: `u32be head length | u32be body length | CBOR head | raw body`.
//!
//! Everything here is pure and total: any bytes give a value or an error, and no length is trusted
//! before it was compared with its [`Limits`].

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Serialize, de::DeserializeOwned};

/// Bytes of the two lengths in front of each message.
pub const PREFIX: usize = 8;

/// How long a message may be, in bytes. What is longer is refused before memory is set aside for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest head.
    pub head: usize,
    /// The longest body.
    pub body: usize,
}

impl Limits {
    /// The longest head that protocol 1 allows.
    pub const HEAD: usize = 64 * 1024;
    /// The longest body by default: an 8K picture as I420 is 50 MB.
    pub const BODY: usize = 64 * 1024 * 1024;
    /// For messages that have no body.
    pub const NO_BODY: Self = Self { head: Self::HEAD, body: 0 };
}

impl Default for Limits {
    fn default() -> Self {
        Self { head: Self::HEAD, body: Self::BODY }
    }
}

/// Why bytes are not a message, or a value cannot become one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The head is longer than allowed.
    #[error("a head of {len} bytes is longer than the limit of {limit}")]
    HeadTooLong {
        /// Bytes announced.
        len: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The body is longer than allowed.
    #[error("a body of {len} bytes is longer than the limit of {limit}")]
    BodyTooLong {
        /// Bytes announced.
        len: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The head is not CBOR of the expected shape.
    #[error("the head is not what was expected: {0}")]
    Head(String),
    /// There are bytes after the head's CBOR value.
    #[error("{bytes} bytes follow the value in the head")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// The value cannot be written as CBOR.
    #[error("the head cannot be written: {0}")]
    Encode(String),
}

/// The two lengths in front of a message, checked against the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lengths {
    /// Bytes of the head.
    pub head: usize,
    /// Bytes of the body.
    pub body: usize,
}

impl Lengths {
    /// Checks lengths against the limits.
    ///
    /// # Errors
    /// [`FrameError::HeadTooLong`], [`FrameError::BodyTooLong`].
    pub fn check(self, limits: Limits) -> Result<Self, FrameError> {
        // Above u32 nothing can be written, whatever the limits say.
        let (head, body) = (limits.head.min(u32::MAX as usize), limits.body.min(u32::MAX as usize));
        if self.head > head {
            Err(FrameError::HeadTooLong { len: self.head, limit: head })
        } else if self.body > body {
            Err(FrameError::BodyTooLong { len: self.body, limit: body })
        } else {
            Ok(self)
        }
    }

    /// Reads lengths, unchecked.
    pub fn read(prefix: [u8; PREFIX]) -> Self {
        let [a, b, c, d, e, f, g, h] = prefix;
        Self {
            head: u32::from_be_bytes([a, b, c, d]) as usize,
            body: u32::from_be_bytes([e, f, g, h]) as usize,
        }
    }
}

/// Appends a whole message, its body too: for small ones, which share a write. On an error `out` is as
/// it was.
///
/// # Errors
/// As [`encode_head`].
pub fn append<T: Serialize>(
    out: &mut BytesMut,
    head: &T,
    body: &[u8],
    limits: Limits,
) -> Result<(), FrameError> {
    append_as(out, |out| ciborium::into_writer(head, out.writer()).map_err(unwritten), body, limits)
}

/// As [`append`], with a head that is written by other means.
pub(crate) fn append_as(
    out: &mut BytesMut,
    write: impl FnOnce(&mut BytesMut) -> Result<(), FrameError>,
    body: &[u8],
    limits: Limits,
) -> Result<(), FrameError> {
    let start = out.len();
    let written = append_head(out, write, body.len(), limits);
    match written {
        Ok(()) => out.extend_from_slice(body),
        Err(_) => out.truncate(start),
    }
    written
}

/// Writes the lengths and the head of a message; the body follows on the stream as it is.
///
/// # Errors
/// [`FrameError::Encode`] when the value has no CBOR form, else as [`Lengths::check`].
pub fn encode_head<T: Serialize>(head: &T, body: usize, limits: Limits) -> Result<Bytes, FrameError> {
    let mut out = BytesMut::with_capacity(128);
    let write = |out: &mut BytesMut| ciborium::into_writer(head, out.writer()).map_err(unwritten);
    append_head(&mut out, write, body, limits)?;
    Ok(out.freeze())
}

fn append_head(
    out: &mut BytesMut,
    write: impl FnOnce(&mut BytesMut) -> Result<(), FrameError>,
    body: usize,
    limits: Limits,
) -> Result<(), FrameError> {
    let start = out.len();
    out.put_bytes(0, PREFIX);
    write(out)?;
    let lengths = Lengths { head: out.len() - start - PREFIX, body }.check(limits)?;
    // The check above keeps both within u32.
    out[start..start + 4].copy_from_slice(&(lengths.head as u32).to_be_bytes());
    out[start + 4..start + PREFIX].copy_from_slice(&(lengths.body as u32).to_be_bytes());
    Ok(())
}

/// Takes one whole message off the front of `bytes`; `None` while it is not all there, and then
/// `bytes` is untouched.
///
/// # Errors
/// As [`Lengths::check`] and [`decode_cbor`].
pub fn decode<T: DeserializeOwned>(
    bytes: &mut Bytes,
    limits: Limits,
) -> Result<Option<(T, Bytes)>, FrameError> {
    decode_as(bytes, |head| decode_cbor(head), limits)
}

/// As [`decode`], with a head that is read by other means.
pub(crate) fn decode_as<T>(
    bytes: &mut Bytes,
    read: impl FnOnce(&Bytes) -> Result<T, FrameError>,
    limits: Limits,
) -> Result<Option<(T, Bytes)>, FrameError> {
    let Some(prefix) = bytes.first_chunk::<PREFIX>() else { return Ok(None) };
    let lengths = Lengths::read(*prefix).check(limits)?;
    if bytes.len() - PREFIX < lengths.head || bytes.len() - PREFIX - lengths.head < lengths.body {
        return Ok(None);
    }
    let head = read(&bytes.slice(PREFIX..PREFIX + lengths.head))?;
    let mut message = bytes.split_to(PREFIX + lengths.head + lengths.body);
    Ok(Some((head, message.split_off(PREFIX + lengths.head))))
}

/// Writes a value as CBOR of at most `limit` bytes.
///
/// # Errors
/// [`FrameError::Encode`] and [`FrameError::HeadTooLong`].
pub fn encode_cbor<T: Serialize>(value: &T, limit: usize) -> Result<Bytes, FrameError> {
    let mut out = BytesMut::with_capacity(64).writer();
    ciborium::into_writer(value, &mut out).map_err(unwritten)?;
    let out = out.into_inner().freeze();
    if out.len() > limit {
        return Err(FrameError::HeadTooLong { len: out.len(), limit });
    }
    Ok(out)
}

/// What a value says of itself that cannot be written is the whole reason.
fn unwritten(error: ciborium::ser::Error<std::io::Error>) -> FrameError {
    FrameError::Encode(match error {
        ciborium::ser::Error::Value(why) => why,
        ciborium::ser::Error::Io(error) => error.to_string(),
    })
}

/// Reads one CBOR value that fills `bytes`.
///
/// # Errors
/// [`FrameError::Head`] when it is not a `T`, [`FrameError::Trailing`] when bytes are left over.
pub fn decode_cbor<T: DeserializeOwned>(mut bytes: &[u8]) -> Result<T, FrameError> {
    let value = ciborium::from_reader(&mut bytes).map_err(|e| FrameError::Head(e.to_string()))?;
    if bytes.is_empty() { Ok(value) } else { Err(FrameError::Trailing { bytes: bytes.len() }) }
}
