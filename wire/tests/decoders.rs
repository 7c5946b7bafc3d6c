//! Decoders are total: any bytes give a value or an error, and what was written is read.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use bytes::Bytes;
use framelane_wire::framing::{self, FrameError, Limits};
use framelane_wire::identity::Token;
use framelane_wire::protocol::*;
use framelane_wire::{Cbor, Message, Payload, decode, encode};
use proptest::prelude::*;
use queue::{FlowId, Key, ModelHash, Seq, TaskName, Ticket};

prop_compose! {
    fn ticket()(flow: u64, seq: u64, part: u16, attempt: u32) -> Ticket {
        Ticket { flow: FlowId(flow), seq: Seq(seq), part, attempt }
    }
}

prop_compose! {
    fn key()(task in "[a-z0-9._-]{1,64}", model in proptest::option::of(any::<[u8; 32]>())) -> Key {
        Key::new(TaskName::new(&task).unwrap(), model.map(ModelHash))
    }
}

fn bytes(max: usize) -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..max).prop_map(Bytes::from)
}

prop_compose! {
    fn job()(
        ticket in ticket(),
        key in key(),
        budget_left_us: Option<u64>,
        job in bytes(300),
        place: Option<(u64, u32, Option<u64>)>,
    ) -> JobHead {
        let place = place.map(|(at, len, laid)| Place { at, len, laid });
        JobHead { ticket, key: Some(key), budget_left_us, job, place }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in bytes(600)) {
        let _ = framing::decode_cbor::<Hello>(&bytes);
        let _ = framing::decode_cbor::<Welcome>(&bytes);
        let _ = framing::decode_cbor::<Taken>(&bytes);
        let _ = framing::decode_cbor::<Control>(&bytes);
        let _ = framing::decode_cbor::<JobHead>(&bytes);
        let _ = framing::decode_cbor::<AnswerHead>(&bytes);
        let _ = framing::decode::<JobHead>(&mut bytes.clone(), Limits::default());
        let _ = decode::<Cbor<Vec<String>>>(Message { head: bytes.clone(), body: bytes });
    }

    #[test]
    fn damaged_heads_are_survived(job in job(), at: prop::sample::Index, with: u8) {
        let mut bytes = framing::encode_cbor(&job, Limits::HEAD).unwrap().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = with;
        let _ = framing::decode_cbor::<JobHead>(&bytes);
        let _ = framing::decode_cbor::<JobHead>(&bytes[..at]);
    }

    #[test]
    fn a_job_survives_in_pieces(job in job(), body in bytes(2000), cut: prop::sample::Index) {
        let head = framing::encode_head(&job, body.len(), Limits::default()).unwrap();
        let whole = Bytes::from([&head[..], &body[..]].concat());
        let mut part = whole.slice(..cut.index(whole.len()));
        prop_assert_eq!(framing::decode::<JobHead>(&mut part, Limits::default()), Ok(None));
        let mut rest = whole;
        let read = framing::decode::<JobHead>(&mut rest, Limits::default());
        prop_assert_eq!(read, Ok(Some((job, body))));
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn trailing_bytes_are_refused(job in job(), more in 1usize..9) {
        let mut bytes = framing::encode_cbor(&job, Limits::HEAD).unwrap().to_vec();
        bytes.resize(bytes.len() + more, 0);
        prop_assert_eq!(
            framing::decode_cbor::<JobHead>(&bytes),
            Err(FrameError::Trailing { bytes: more })
        );
    }

    #[test]
    fn lengths_are_checked_before_anything_is_read(head: u32, body: u32) {
        let mut bytes = Bytes::from([head.to_be_bytes(), body.to_be_bytes()].concat());
        let limits = Limits { head: 1000, body: 5000 };
        let read = framing::decode::<JobHead>(&mut bytes, limits);
        match read {
            Err(FrameError::HeadTooLong { .. }) => prop_assert!(head > 1000),
            Err(FrameError::BodyTooLong { .. }) => prop_assert!(head <= 1000 && body > 5000),
            _ => prop_assert!(head <= 1000 && body <= 5000),
        }
    }

    #[test]
    fn failures_are_cut_at_a_character(text in "\\PC{0,600}") {
        let AnswerResult::Bad(cut) = framelane_wire::Unprocessed::Bad(text.clone()).into() else {
            panic!("another kind")
        };
        prop_assert!(cut.len() <= MAX_TEXT && text.starts_with(&cut));
        let long = AnswerHead {
            ticket: Ticket { flow: FlowId(0), seq: Seq(0), part: 0, attempt: 0 },
            result: AnswerResult::Failed(text.clone()),
            timings: Default::default(),
        };
        let bytes = framing::encode_cbor(&long, Limits::HEAD).unwrap();
        let read = framing::decode_cbor::<AnswerHead>(&bytes).unwrap();
        prop_assert_eq!(read.result, AnswerResult::Failed(cut));
    }

    #[test]
    fn any_text_as_a_token_is_survived(text in "(fl1_)?\\PC{0,120}") {
        let _ = text.parse::<Token>();
    }

    #[test]
    fn payloads_survive(values: Vec<(String, i64)>, body in bytes(500)) {
        prop_assert_eq!(decode::<Cbor<Vec<(String, i64)>>>(encode(Cbor(values.clone())).unwrap()).unwrap().0, values);
        prop_assert_eq!(decode::<Bytes>(encode(body.clone()).unwrap()).unwrap(), body.clone());
        let ((), split) = body.clone().split();
        prop_assert_eq!(split, body);
    }
}
