//! Payloads whose type is known only when they are there: what a program in another language, or one that
//! passes on what others ask, sends and gets.
//!
//! | on the wire | in Rust | here |
//! | --- | --- | --- |
//! | any CBOR, no body | [`Cbor<T>`](crate::Cbor) | [`Object::Plain`] |
//! | `{"dtype", "shape"}`, and the body that these say | [`Array`] | [`Object::Array`] |
//! | null, and a body | [`Bytes`] | [`Object::Raw`] |
//! | any other CBOR, and a body | a [`Payload`](crate::Payload) of its own | [`Object::Beside`] |
//!
//! So each side may know more than the other: a typed task in Rust is served by an untyped function elsewhere.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::array::{Array, ArrayHead};
use crate::framing::{self, Limits};
use crate::task::{Message, Payload, PayloadError, encode};

/// The head of what has none.
const NULL: &[u8] = &[0xf6];
/// How a head begins that is a map of two entries.
const MAP_OF_TWO: u8 = 0xa2;

/// A payload of whatever kind came. `T` is what plain values become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Object<T> {
    /// A value without a body. Nothing at all is CBOR's null, and so are raw bytes of length zero.
    Plain(T),
    /// Numbers.
    Array(Array),
    /// Bytes.
    Raw(Bytes),
    /// A value with bytes beside it.
    Beside(T, Bytes),
}

impl<T: DeserializeOwned> Object<T> {
    /// Tells what a message is, and reads it. The body is shared, not copied.
    ///
    /// # Errors
    /// [`PayloadError::Head`] when the head is no CBOR or nothing that `T` can be, [`PayloadError::Body`]
    /// when it is an array's and the body does not fit.
    pub fn read(Message { head, body }: Message) -> Result<Self, PayloadError> {
        if !body.is_empty() && head == NULL {
            return Ok(Object::Raw(body));
        }
        if head.first() == Some(&MAP_OF_TWO)
            && let Ok(array) = framing::decode_cbor::<ArrayHead>(&head)
            // Without a body only an empty array is one; anything else is a value that looks like it.
            && (!body.is_empty() || array.bytes() == Some(0))
        {
            return Array::join(array, body).map(Object::Array);
        }
        let value = framing::decode_cbor(&head)?;
        Ok(if body.is_empty() { Object::Plain(value) } else { Object::Beside(value, body) })
    }
}

impl<T: Serialize> Object<T> {
    /// Writes it, as [`encode`] would write its typed twin.
    ///
    /// # Errors
    /// [`PayloadError::Head`] when the value cannot be written, or its CBOR is longer than [`Limits::HEAD`].
    pub fn write(self) -> Result<Message, PayloadError> {
        let (value, body) = match self {
            Object::Plain(value) => (value, Bytes::new()),
            Object::Beside(value, body) => (value, body),
            Object::Array(array) => return encode(array),
            Object::Raw(body) => return encode(body),
        };
        Ok(Message { head: framing::encode_cbor(&value, Limits::HEAD)?, body })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::task::{Cbor, decode};

    type Any = Object<ciborium::Value>;

    #[test]
    fn each_kind_is_told_from_the_others_and_comes_back() {
        let array = Array::of(&[2, 1], &[1.5f64, -0.5]).unwrap();
        let empty = Array::of::<u8>(&[3, 0], &[]).unwrap();
        let map = BTreeMap::from([("dtype", "uint8"), ("shape", "round")]);
        for (message, kind) in [
            (encode(Cbor("word".to_owned())).unwrap(), "plain"),
            (encode(Cbor(())).unwrap(), "plain"),
            (Object::Plain(map).write().unwrap(), "plain"),
            (encode(array).unwrap(), "array"),
            (encode(empty).unwrap(), "array"),
            (encode(Bytes::from_static(b"raw")).unwrap(), "raw"),
            (Object::Beside(7u8, Bytes::from_static(b"raw")).write().unwrap(), "beside"),
        ] {
            let object = Any::read(message.clone()).unwrap();
            let told = match object {
                Object::Plain(_) => "plain",
                Object::Array(_) => "array",
                Object::Raw(_) => "raw",
                Object::Beside(..) => "beside",
            };
            assert_eq!(told, kind, "{object:?}");
            assert_eq!(object.write().unwrap(), message);
        }
    }

    #[test]
    fn what_a_typed_task_sends_is_what_an_untyped_one_gets() {
        let message = encode(Cbor(vec![1u8, 2])).unwrap();
        let Object::Plain(value) = Object::<Vec<u8>>::read(message).unwrap() else { panic!() };
        let back = Object::Plain(value).write().unwrap();
        assert_eq!(decode::<Cbor<Vec<u8>>>(back).unwrap().0, [1, 2]);
    }

    #[test]
    fn an_array_that_does_not_fit_is_refused_and_not_taken_for_something_else() {
        let head = encode(Array::of(&[2], &[1u8, 2]).unwrap()).unwrap().head;
        let wrong = Any::read(Message { head: head.clone(), body: Bytes::from_static(b"three") });
        assert!(matches!(wrong, Err(PayloadError::Body(_))), "{wrong:?}");
        let plain = Any::read(Message { head, body: Bytes::new() });
        assert!(matches!(plain, Ok(Object::Plain(_))), "a value that looks like an array's head: {plain:?}");
        assert!(Any::read(Message::default()).is_err());
    }
}
