//! A checksum beside a body.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

#[cfg(any(test, feature = "fuzz"))]
use crate::task::Message;
use crate::task::{Payload, PayloadError};

/// A payload whose body travels with its CRC-32, so that bytes which changed on the way are an error and not
/// a wrong answer: of a job a `Failed`, which another attempt may cure, of an answer the same on the side that
/// asked.
///
/// QUIC protects what is on the network already. What this finds is what happens beside it: in shared memory,
/// in a broker, in a buffer that was used again too early. It costs each side one pass over the body, which is
/// little beside a copy. The head is not covered, so `Checked<Cbor<T>>` is of no use. Within one process
/// nothing is encoded and nothing checked.
///
/// Both sides of a task say `Checked<…>`, or neither does: it changes what is on the wire. The head is the map
/// `{"crc32": …, "head": …}`, with the same CRC-32 as zlib's.
///
/// ```
/// use bytes::Bytes;
/// use framelane_wire::{Checked, Task};
///
/// struct Archive;
/// impl Task for Archive {
///     const NAME: &'static str = "archive";
///     type Job = Checked<Bytes>;
///     type Answer = Checked<Bytes>;
/// }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Checked<P>(pub P);

/// What [`Checked`] sends in front of the body.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CheckedHead<H> {
    crc32: u32,
    head: H,
}

impl<P: Payload> Payload for Checked<P> {
    type Head = CheckedHead<P::Head>;

    fn split(self) -> (Self::Head, Bytes) {
        let (head, body) = self.0.split();
        (CheckedHead { crc32: crc32fast::hash(&body), head }, body)
    }

    fn join(CheckedHead { crc32, head }: Self::Head, body: Bytes) -> Result<Self, PayloadError> {
        let found = crc32fast::hash(&body);
        if found != crc32 {
            return Err(PayloadError::Checksum { expected: crc32, found, bytes: body.len() });
        }
        P::join(head, body).map(Checked)
    }
}

/// For [`crate::fuzz`]: a head with the checksum that its body has, which no fuzzer finds by itself.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn fuzz(Message { head, body }: Message) {
    if let Ok(head) = crate::framing::decode_cbor::<CheckedHead<crate::array::ArrayHead>>(&head) {
        let _ = Checked::<crate::Array>::join(CheckedHead { crc32: crc32fast::hash(&body), ..head }, body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{Processor, Unprocessed, erase};
    use crate::task::{Cbor, Task, decode, encode};

    #[test]
    fn what_did_not_change_arrives() {
        let body = Bytes::from(vec![7; 100_000]);
        let message = encode(Checked(body.clone())).unwrap();
        assert_eq!(message.body.as_ptr(), body.as_ptr(), "the body is shared, not copied");
        assert_eq!(decode::<Checked<Bytes>>(message).unwrap(), Checked(body));
        let empty = encode(Checked(Bytes::new())).unwrap();
        assert_eq!(decode::<Checked<Bytes>>(empty).unwrap(), Checked(Bytes::new()));
    }

    #[test]
    fn the_bytes_on_the_wire_stay_as_they_are() {
        let message = encode(Checked(Bytes::from_static(b"123456789"))).unwrap();
        // {"crc32": 0xcbf43926, "head": null}, with the CRC-32 that every table of checksums gives.
        let expected = b"\xa2\x65crc32\x1a\xcb\xf4\x39\x26\x64head\xf6";
        assert_eq!(&message.head[..], expected);
    }

    #[test]
    fn one_bit_that_changed_is_found_wherever_it_is() {
        let body: Vec<u8> = (0..=255).collect();
        let message = encode(Checked(Bytes::from(body.clone()))).unwrap();
        for bit in 0..8 * body.len() {
            let mut changed = body.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let changed = Message { head: message.head.clone(), body: changed.into() };
            assert!(matches!(
                decode::<Checked<Bytes>>(changed),
                Err(PayloadError::Checksum { bytes: 256, .. })
            ));
        }
        let shorter = Message { head: message.head, body: Bytes::from(body).slice(..255) };
        assert!(matches!(decode::<Checked<Bytes>>(shorter), Err(PayloadError::Checksum { bytes: 255, .. })));
    }

    #[test]
    fn a_head_without_a_checksum_is_refused() {
        let message = encode(Bytes::from_static(b"plain")).unwrap();
        assert!(matches!(decode::<Checked<Bytes>>(message), Err(PayloadError::Head(_))));
    }

    struct Length;
    impl Task for Length {
        const NAME: &'static str = "length";
        type Job = Checked<Bytes>;
        type Answer = Cbor<usize>;
    }
    impl Processor for Length {
        type Task = Self;
        fn process(&mut self, Checked(job): Checked<Bytes>) -> Result<Cbor<usize>, Unprocessed> {
            Ok(Cbor(job.len()))
        }
    }

    #[test]
    fn a_worker_fails_a_job_that_changed_and_says_why() {
        let mut length = erase(Length);
        let job = encode(Checked(Bytes::from_static(b"12345"))).unwrap();
        let changed = Message { head: job.head.clone(), body: Bytes::from_static(b"12346") };
        let Err(Unprocessed::Failed(why)) = length.process(changed) else {
            panic!("another attempt may succeed")
        };
        assert!(why.contains("checksum"), "{why}");
        assert_eq!(decode::<Cbor<usize>>(length.process(job).unwrap()).unwrap(), Cbor(5));
    }
}
