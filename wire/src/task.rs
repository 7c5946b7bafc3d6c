//! What a task is: a name, a job, an answer, and how a value becomes a message.
//!
//! A [`Payload`] splits into a small head (any serde type, CBOR on the wire) and a raw body
//! ([`Bytes`]). A picture inside CBOR would cost tens of milliseconds and a copy; beside it the body
//! costs nothing.

use bytes::Bytes;
use queue::{Key, TaskName, TaskNameError};
use serde::{Serialize, de::DeserializeOwned};

use crate::framing::{self, FrameError};

/// One kind of work, agreed upon by the side that asks and the side that answers.
pub trait Task: 'static {
    /// The name on the wire: 1 to 64 bytes of `[a-z0-9._-]`.
    const NAME: &'static str;
    /// What is asked.
    type Job: Payload;
    /// What is answered.
    type Answer: Payload;

    /// The key under which this task is handed out where it needs no model.
    ///
    /// # Errors
    /// [`NAME`](Self::NAME) is none that can travel.
    fn key() -> Result<Key, TaskNameError> {
        Ok(Key::task(TaskName::new(Self::NAME)?))
    }
}

/// A value that travels as a small head and a raw body.
pub trait Payload: Sized + Send + 'static {
    /// The small part, sent as CBOR. Keys that a reader does not know are ignored.
    type Head: Serialize + DeserializeOwned;

    /// Takes the value apart. The body is shared, not copied.
    fn split(self) -> (Self::Head, Bytes);

    /// Puts the value together again, checking that the body is what the head says.
    ///
    /// # Errors
    /// [`PayloadError::Body`] when head and body do not fit together, [`PayloadError::Checksum`] where one
    /// was sent and it is another.
    fn join(head: Self::Head, body: Bytes) -> Result<Self, PayloadError>;
}

/// Why a payload could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// The head is no CBOR of the expected shape, or is too long.
    #[error("the head of the payload is unusable: {0}")]
    Head(#[from] FrameError),
    /// The body does not fit the head.
    #[error("the body of the payload does not fit its head: {0}")]
    Body(String),
    /// The body is not the one that was sent.
    #[error(
        "the checksum of the body is wrong: {found:08x} over {bytes} bytes, {expected:08x} was sent; \
         they changed on their way"
    )]
    Checksum {
        /// What was sent.
        expected: u32,
        /// What the bytes that came give.
        found: u32,
        /// How many bytes came.
        bytes: usize,
    },
}

impl PayloadError {
    /// A body that does not fit its head; `why` says what was expected and what came.
    pub fn body(why: impl Into<String>) -> Self {
        Self::Body(why.into())
    }
}

/// A payload in its encoded form: what lanes carry without knowing the task.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// The CBOR of [`Payload::Head`].
    pub head: Bytes,
    /// The raw body.
    pub body: Bytes,
}

/// Encodes a payload.
///
/// # Errors
/// [`PayloadError::Head`] when the head's serialisation fails or is longer than
/// [`framing::Limits::HEAD`].
pub fn encode<P: Payload>(payload: P) -> Result<Message, PayloadError> {
    let (head, body) = payload.split();
    let head = framing::encode_cbor(&head, framing::Limits::HEAD)?;
    Ok(Message { head, body })
}

/// Decodes a payload.
///
/// # Errors
/// [`PayloadError::Head`] when the head is not what `P` expects, or bytes are left over after it;
/// [`PayloadError::Body`] when the body does not fit it.
pub fn decode<P: Payload>(message: Message) -> Result<P, PayloadError> {
    let head = framing::decode_cbor(&message.head)?;
    P::join(head, message.body)
}

/// Any serde value as a payload without a body: for small tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cbor<T>(pub T);

impl<T: Serialize + DeserializeOwned + Send + 'static> Payload for Cbor<T> {
    type Head = T;

    fn split(self) -> (T, Bytes) {
        (self.0, Bytes::new())
    }

    fn join(head: T, body: Bytes) -> Result<Self, PayloadError> {
        if body.is_empty() {
            Ok(Self(head))
        } else {
            let n = body.len();
            Err(PayloadError::body(format!("no body expected, {n} bytes came")))
        }
    }
}

/// Raw bytes as a payload without a head.
impl Payload for Bytes {
    type Head = ();

    fn split(self) -> ((), Bytes) {
        ((), self)
    }

    fn join((): (), body: Bytes) -> Result<Self, PayloadError> {
        Ok(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_survives_the_trip() {
        let message = encode(Cbor(vec!["a".to_owned(), "b".to_owned()])).unwrap();
        assert_eq!(decode::<Cbor<Vec<String>>>(message).unwrap().0, ["a", "b"]);
        let message = encode(Bytes::from_static(b"raw")).unwrap();
        assert_eq!(&message.head[..], [0xf6], "no head is CBOR null");
        assert_eq!(decode::<Bytes>(message).unwrap(), "raw");
    }

    #[test]
    fn the_body_is_shared_not_copied() {
        let body = Bytes::from(vec![7; 1000]);
        let message = encode(body.clone()).unwrap();
        assert_eq!(message.body.as_ptr(), body.as_ptr());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let message = Message { head: encode(Cbor(1u8)).unwrap().head, body: Bytes::from_static(b"x") };
        assert!(matches!(decode::<Cbor<u8>>(message), Err(PayloadError::Body(_))));
        let message = Message { head: Bytes::from_static(&[0x01, 0x02]), body: Bytes::new() };
        assert!(matches!(
            decode::<Cbor<u8>>(message),
            Err(PayloadError::Head(FrameError::Trailing { bytes: 1 }))
        ));
        assert!(decode::<Cbor<u8>>(Message::default()).is_err());
    }
}
