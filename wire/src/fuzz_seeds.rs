//! What the fuzz corpus begins with: good values of each kind, from the code that writes them.
#![allow(clippy::unwrap_used, reason = "it is run by tests and by a developer's command")]

use std::path::Path;

use bytes::Bytes;
use queue::{FlowId, Key, ModelHash, Seq, TaskName, Ticket};

use crate::framing::{Limits, encode_cbor, encode_head};
use crate::fuzz::Seed;
use crate::identity::seeds_for_fuzz;
use crate::protocol::*;
use crate::pushed::{Answered, ClientHello, ClientWelcome, NoAnswer, Pushed, Wishes};
use crate::server::Ask;
use crate::version::Speaks;
use crate::{Array, Cbor, Checked, Message, Object, encode};

pub(crate) fn seeds(scratch: &Path) -> Vec<Seed> {
    let key = Key::model(TaskName::new("detect").unwrap(), ModelHash([7; 32]));
    let ticket = Ticket { flow: FlowId(1), seq: Seq(70_000), part: 0, attempt: 2 };
    let keys = vec![HelloKey { key: key.clone(), warm: true }];
    let hello = Hello { name: "w".into(), keys: keys.clone(), credit: 3, capabilities: vec!["a".into()] };
    let welcome = Welcome {
        worker: u64::MAX,
        max_credit: 256,
        heartbeat_ms: 1000,
        dead_after_ms: 3000,
        capabilities: vec![],
        memory: None,
    };
    let memory =
        MemoryOffer { socket: "framelane/0a".into(), secret: Bytes::from_static(&[5; 32]), size: 8192 };
    let offering = Welcome { memory: Some(memory), ..welcome.clone() };
    let job = JobHead {
        ticket,
        key: Some(key),
        budget_left_us: Some(90_000),
        job: Bytes::from_static(b"\xf6"),
        place: None,
    };
    let next = JobHead { key: None, place: Some(Place { at: 4096, len: 20_000, laid: None }), ..job.clone() };
    let early = JobHead { place: Some(Place { at: 0, len: 300_000, laid: Some(300_000) }), ..job.clone() };
    let ok = AnswerResult::Ok(Bytes::from_static(b"\x80"));
    let answer = AnswerHead { ticket, result: ok, timings: Default::default() };
    let bad = AnswerHead { result: AnswerResult::Bad("é".into()), ..answer.clone() };
    let wishes = Wishes { budget_ms: Some(500), attempts: Some(3), worker: Some(7), ..Wishes::default() };
    let client = ClientHello { name: "c".into(), wishes, capabilities: vec!["a".into()] };
    let let_in = ClientWelcome {
        client: 9,
        tasks: 4096,
        bytes: 1 << 25,
        head: 65_536,
        body: 1 << 24,
        heartbeat_ms: 1000,
        dead_after_ms: 3000,
        capabilities: vec![],
    };
    let about = Some(Key::task(TaskName::new("count").unwrap()));
    let submit = Pushed::Submit { key: about, lengths: vec![1, 2, 0, 3] };
    let answered =
        Answered { first: 70_000, lengths: vec![1, 2, 3, 0], missing: vec![(1, NoAnswer::Failed)] };
    let with_body = |head: Vec<u8>| [&head[..4], &[0, 0, 0, 6], &head[8..], b"abcdef"].concat();
    let mut seeds = vec![
        ("hello", "whole", cbor(&hello)),
        ("hello", "framed", framed(&hello)),
        ("welcome", "whole", cbor(&welcome)),
        ("welcome", "offering", cbor(&offering)),
        ("taken", "yes", cbor(&Taken { memory: true })),
        ("taken", "framed", framed(&Taken { memory: false })),
        ("control", "beat", cbor(&Control::Beat)),
        ("control", "credit", cbor(&Control::Credit { n: 9 })),
        ("control", "released", cbor(&Control::Released { ticket })),
        ("control", "cancel", cbor(&Control::Cancel { ticket })),
        ("control", "keys", cbor(&Control::Keys { keys })),
        ("control", "drain", framed(&Control::Drain)),
        ("job", "whole", cbor(&job)),
        ("job", "framed", framed(&job)),
        ("job", "early", framed(&early)),
        ("job", "several", [framed(&job), framed(&next)].concat()),
        ("answer", "ok", cbor(&answer)),
        ("answer", "bad", cbor(&bad)),
        ("answer", "framed", framed(&answer)),
        ("client_hello", "whole", cbor(&client)),
        ("client_welcome", "whole", cbor(&let_in)),
        ("ask", "status", cbor(&Ask::Status)),
        ("ask", "stop", framed(&Ask::Stop)),
        ("pushed", "submit", cbor(&submit)),
        ("pushed", "cancel", cbor(&Pushed::Cancel { tasks: vec![0, 70_000] })),
        ("pushed", "framed", with_body(framed(&submit))),
        ("answered", "whole", cbor(&answered)),
        ("answered", "framed", with_body(framed(&answered))),
        ("speaks", "whole", cbor(&Speaks::these(&[ALPN_LANE, ALPN_ENROL, ALPN_RENEW]))),
        ("payload", "list", cbor(&vec![("a".to_owned(), -1i64)])),
        ("hello", "long_list", b"\xa3\x64name\x61w\x64keys\x9b\xff\xff\xff\xff\xff\xff\xff\xff".to_vec()),
        ("payload", "deep", vec![0x81; 4000]),
    ];
    let numbers = Array::of(&[2, 1], &[7u16, 9]).unwrap();
    let stream = [framed(&answer), with_body(framed(&answer)), framed(&bad)].concat();
    seeds.extend([
        ("object", "plain", split(encode(Cbor("word".to_owned())).unwrap())),
        ("object", "array", split(encode(numbers.clone()).unwrap())),
        ("object", "raw", split(encode(Bytes::from_static(b"raw")).unwrap())),
        ("object", "beside", split(Object::Beside(7u8, Bytes::from_static(b"raw")).write().unwrap())),
        ("array", "whole", split(encode(numbers.clone()).unwrap())),
        ("array", "empty", split(encode(Array::of::<u8>(&[3, 0], &[]).unwrap()).unwrap())),
        ("checked", "bytes", split(encode(Checked(Bytes::from_static(b"123456789"))).unwrap())),
        ("checked", "array", split(encode(Checked(numbers)).unwrap())),
        ("frames", "one_piece", [&[0][..], &stream].concat()),
        ("frames", "pieces", [&[3, 1, 9, 40][..], &stream].concat()),
    ]);
    seeds.extend(seeds_for_fuzz(scratch));
    #[cfg(any(feature = "redis", feature = "amqp"))]
    seeds.extend(crate::broker::fuzz::seeds());
    seeds
}

pub(crate) fn cbor<T: serde::Serialize>(value: &T) -> Vec<u8> {
    encode_cbor(value, Limits::HEAD).unwrap().to_vec()
}

/// A message as the targets of payloads take it apart.
fn split(Message { head, body }: Message) -> Vec<u8> {
    [&u16::try_from(head.len()).unwrap().to_be_bytes(), &head[..], &body[..]].concat()
}

fn framed<T: serde::Serialize>(value: &T) -> Vec<u8> {
    encode_head(value, 0, Limits::NO_BODY).unwrap().to_vec()
}
