//! Every decoder of this crate that reads what came from outside or from a disk, as functions of bytes: what
//! `fuzz/` runs, and what the tests below replay. Another crate's decoders get a list like this one there.

use std::path::Path;

use bytes::Bytes;
use ciborium::Value;

use crate::client::outcomes;
use crate::framing::{self, Limits};
use crate::identity::{Identity, Record, Token, fuzz_certificates, fuzz_enrolment, fuzz_token_record};
use crate::protocol::{AnswerHead, Control, Hello, JobHead, Taken, Welcome};
use crate::pushed::{Answered, ClientHello, ClientWelcome, Pushed, cut_up};
use crate::server::Ask;
use crate::version::Speaks;
use crate::{Array, Cbor, Checked, DType, Message, Object};

/// A decoder under test; it must neither panic, nor hang, nor take memory without bounds.
pub type Target = fn(&[u8]);

/// Every target, by the name of its folder in `fuzz/corpus`.
pub const TARGETS: &[(&str, Target)] = &[
    ("hello", |bytes| head::<Hello>(bytes)),
    ("welcome", |bytes| head::<Welcome>(bytes)),
    ("taken", |bytes| head::<Taken>(bytes)),
    ("control", |bytes| head::<Control>(bytes)),
    ("job", |bytes| head::<JobHead>(bytes)),
    ("answer", |bytes| head::<AnswerHead>(bytes)),
    ("client_hello", |bytes| head::<ClientHello>(bytes)),
    ("client_welcome", |bytes| head::<ClientWelcome>(bytes)),
    ("ask", |bytes| head::<Ask>(bytes)),
    ("pushed", |bytes| {
        head::<Pushed>(bytes);
        let mut framed = Bytes::copy_from_slice(bytes);
        while let Ok(Some((pushed, body))) = framing::decode::<Pushed>(&mut framed, Limits::default()) {
            if let Pushed::Submit { lengths, .. } = pushed
                && let Ok(tasks) = cut_up(&lengths, body.clone(), Limits::default())
            {
                let sum: usize = tasks.iter().map(|task| task.head.len() + task.body.len()).sum();
                assert_eq!((tasks.len() * 2, sum), (lengths.len(), body.len()));
            }
        }
    }),
    ("answered", |bytes| {
        head::<Answered>(bytes);
        let mut framed = Bytes::copy_from_slice(bytes);
        while let Ok(Some((answered, body))) = framing::decode::<Answered>(&mut framed, Limits::default()) {
            let tasks = answered.lengths.len() / 2;
            if let Ok(outcomes) = outcomes(answered, body) {
                assert_eq!(outcomes.len(), tasks);
            }
        }
    }),
    #[cfg(any(feature = "redis", feature = "amqp"))]
    ("posted", crate::broker::fuzz::posted),
    #[cfg(any(feature = "redis", feature = "amqp"))]
    ("reported", crate::broker::fuzz::reported),
    ("speaks", |bytes| {
        if let Ok(speaks) = framing::decode_cbor::<Speaks>(bytes) {
            assert!(speaks.text().len() <= 200);
        }
    }),
    ("enrol", fuzz_enrolment),
    ("certificate", fuzz_certificates),
    ("token", |bytes| {
        if let Ok(token) = String::from_utf8_lossy(bytes).parse::<Token>() {
            assert_eq!(token.to_string().parse(), Ok(token));
        }
    }),
    ("record", |bytes| {
        let _ = Record::read(bytes);
        fuzz_token_record(bytes);
    }),
    ("identity", |bytes| drop(Identity::from_pem(bytes))),
    ("payload", |bytes| {
        let bytes = Bytes::copy_from_slice(bytes);
        let _ =
            crate::decode::<Cbor<Vec<(String, i64)>>>(Message { head: bytes.clone(), body: Bytes::new() });
        let _ = crate::decode::<Bytes>(Message { head: bytes.clone(), body: bytes });
    }),
    ("object", |bytes| {
        let Ok(object) = Object::<Value>::read(message(bytes)) else { return };
        let array = matches!(object, Object::Array(_)).then(|| object.clone());
        let again = object.write().expect("what was read can be written");
        // Plain values may come back as another kind: there are several ways to write null, and a map.
        let again = Object::<Value>::read(again);
        assert!(array.is_none_or(|array| again.is_ok_and(|again| again == array)));
    }),
    ("array", |bytes| {
        let Ok(array) = crate::decode::<Array>(message(bytes)) else { return };
        if let Some(elements) = array.to_vec::<u16>() {
            assert_eq!((elements.len() * 2, array.dtype()), (array.body().len(), DType::UInt16));
        }
        assert!(array.shape().len() <= 32 && array.body().len() <= bytes.len());
    }),
    ("checked", |bytes| {
        if let Ok(Checked(body)) = crate::decode::<Checked<Bytes>>(message(bytes)) {
            assert!(body.len() < bytes.len());
        }
        crate::checked::fuzz(message(bytes));
    }),
    ("frames", crate::fuzz_frames::frames),
];

/// Two bytes that say how long the head is, the head, and the body.
fn message(bytes: &[u8]) -> Message {
    let (len, rest) = bytes.split_first_chunk().unwrap_or((&[0; 2], bytes));
    let (head, body) = rest.split_at(usize::from(u16::from_be_bytes(*len)).min(rest.len()));
    Message { head: Bytes::copy_from_slice(head), body: Bytes::copy_from_slice(body) }
}

/// A head by itself, and in its frame; what was read is written and read again as the same.
fn head<T>(bytes: &[u8])
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    if let Ok(value) = framing::decode_cbor::<T>(bytes) {
        let again = framing::encode_cbor(&value, usize::MAX).expect("what was read can be written");
        assert_eq!(framing::decode_cbor::<T>(&again), Ok(value));
    }
    let mut framed = Bytes::copy_from_slice(bytes);
    while let Ok(Some(_)) = framing::decode::<T>(&mut framed, Limits::default()) {}
}

/// A value to begin with: the target, the name of its file, and its bytes.
pub type Seed = (&'static str, &'static str, Vec<u8>);

/// What the corpus begins with, written by the code of today. `scratch` is an empty folder for an authority.
pub fn seeds(scratch: &Path) -> Vec<Seed> {
    crate::fuzz_seeds::seeds(scratch)
}

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn the_corpus_is_survived() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
        for (name, target) in TARGETS {
            let folder = std::fs::read_dir(corpus.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
            let mut files = 0;
            for file in folder {
                target(&std::fs::read(file.unwrap().path()).unwrap());
                files += 1;
            }
            assert!(files > 0, "{name} has no corpus");
        }
    }

    /// Good values stay good: what the code writes today, not what the corpus has of it.
    #[test]
    fn what_is_written_is_survived() {
        let dir = tempfile::tempdir().unwrap();
        for (name, file, bytes) in seeds(dir.path()) {
            let (_, target) = TARGETS.iter().find(|(target, _)| *target == name).expect(file);
            target(&bytes);
        }
    }
}
