//! The bytes of protocol 1. If one of these tests fails, old workers and new servers no longer
//! understand each other: either the change is a mistake, or it is protocol 2 with another ALPN.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use bytes::Bytes;
use framelane_wire::framing::{self, Limits};
use framelane_wire::protocol::*;
use framelane_wire::{Timings, Unprocessed};
use queue::{FlowId, Key, ModelHash, Seq, TaskName, Ticket};
use serde::{Serialize, de::DeserializeOwned};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn golden<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T, expected: &str) {
    let bytes = framing::encode_cbor(value, Limits::HEAD).unwrap();
    assert_eq!(hex(&bytes), expected);
    assert_eq!(framing::decode_cbor::<T>(&bytes).unwrap(), *value);
}

fn ticket() -> Ticket {
    Ticket { flow: FlowId(1), seq: Seq(500), part: 2, attempt: 3 }
}

fn key(model: Option<ModelHash>) -> Key {
    Key::new(TaskName::new("detect").unwrap(), model)
}

#[test]
fn names_carry_the_version() {
    assert_eq!(ALPN_LANE, b"framelane-lane/1");
    assert_eq!(ALPN_ENROL, b"framelane-enrol/1");
}

#[test]
fn frame() {
    let head = framing::encode_head(&"hi", 3, Limits::default()).unwrap();
    assert_eq!(hex(&head), "0000000300000003626869");
    let mut bytes = Bytes::from([&head[..], b"abcX"].concat());
    let (text, body) = framing::decode::<String>(&mut bytes, Limits::default()).unwrap().unwrap();
    assert_eq!((text.as_str(), &body[..], &bytes[..]), ("hi", &b"abc"[..], &b"X"[..]));
}

#[test]
fn hello() {
    let hello = Hello {
        name: "gpu-1".into(),
        keys: vec![
            HelloKey { key: key(Some(ModelHash([0xab; 32]))), warm: true },
            HelloKey { key: key(None), warm: false },
        ],
        credit: 300,
        capabilities: vec!["shm".into()],
    };
    golden(&hello, GOLDEN_HELLO);
}

#[test]
fn welcome() {
    let mut welcome = Welcome {
        worker: u64::MAX,
        max_credit: 256,
        heartbeat_ms: 1000,
        dead_after_ms: 3000,
        capabilities: vec![],
        memory: None,
    };
    golden(&welcome, GOLDEN_WELCOME);
    welcome.capabilities.push(SHARED_MEMORY.into());
    welcome.memory =
        Some(MemoryOffer { socket: "s".into(), secret: Bytes::from_static(&[1, 2]), size: 1 << 28 });
    golden(&welcome, GOLDEN_WELCOME_MEMORY);
    golden(&Taken { memory: true }, "a1666d656d6f7279f5");
}

#[test]
fn control() {
    golden(&Control::Beat, "6462656174");
    golden(&Control::Credit { n: 4 }, "a166637265646974a1616e04");
    golden(&Control::Released { ticket: ticket() }, "a16872656c6561736564a1667469636b657484011901f40203");
    golden(&Control::Cancel { ticket: ticket() }, "a16663616e63656ca1667469636b657484011901f40203");
    golden(
        &Control::Keys { keys: vec![HelloKey { key: key(None), warm: true }] },
        "a1646b657973a1646b65797381a2636b65798266646574656374f6647761726df5",
    );
    golden(&Control::Drain, "65647261696e");
}

#[test]
fn job_head() {
    let mut job = JobHead {
        ticket: ticket(),
        key: Some(key(Some(ModelHash([0x11; 32])))),
        budget_left_us: Some(70_000),
        job: Bytes::from_static(&[0xf6]),
        place: None,
    };
    golden(&job, GOLDEN_JOB);
    job.budget_left_us = None;
    job.key = Some(key(None));
    golden(&job, GOLDEN_JOB_BARE);
    job.place = Some(Place { at: 4096, len: 1_200_000, laid: None });
    golden(&job, GOLDEN_JOB_PLACE);
    job.place = Some(Place { at: 4096, len: 1_200_000, laid: Some(1_204_096) });
    golden(&job, GOLDEN_JOB_EARLY_PLACE);
    job.place = None;
    job.key = None;
    golden(&job, GOLDEN_JOB_AS_BEFORE);
}

#[test]
fn answer_head() {
    let timings = Timings { queue_us: 1, prepare_us: 2, infer_us: 30_000, decode_us: 4, batch: 8 };
    let result = AnswerResult::Ok(Bytes::from_static(&[0x80]));
    golden(&AnswerHead { ticket: ticket(), result, timings }, GOLDEN_ANSWER);
    let result = AnswerResult::from(Unprocessed::Failed("no".into()));
    golden(&AnswerHead { ticket: ticket(), result, timings: Timings::default() }, GOLDEN_FAILED);
}

#[test]
fn unknown_keys_are_ignored_and_missing_timings_are_none() {
    #[derive(Serialize)]
    struct Later {
        ticket: (u64, u64, u16, u32),
        result: AnswerResult,
        mood: &'static str,
    }
    let later = Later { ticket: (1, 2, 3, 4), result: AnswerResult::Bad("x".into()), mood: "sunny" };
    let bytes = framing::encode_cbor(&later, Limits::HEAD).unwrap();
    let head = framing::decode_cbor::<AnswerHead>(&bytes).unwrap();
    assert_eq!(head.timings, Timings::default());
    assert_eq!(head.result, AnswerResult::Bad("x".into()));
}

const GOLDEN_HELLO: &str = "a4646e616d65656770752d31646b65797382a2636b657982666465746563745820abababababababababababababababababababababababababababababababab647761726df5a2636b65798266646574656374f6647761726df46663726564697419012c6c6361706162696c6974696573816373686d";
const GOLDEN_WELCOME: &str = "a566776f726b65721bffffffffffffffff6a6d61785f6372656469741901006c6865617274626561745f6d731903e86d646561645f61667465725f6d73190bb86c6361706162696c697469657380";
const GOLDEN_WELCOME_MEMORY: &str = "a666776f726b65721bffffffffffffffff6a6d61785f6372656469741901006c6865617274626561745f6d731903e86d646561645f61667465725f6d73190bb86c6361706162696c6974696573816f7368617265642d6d656d6f72792d32666d656d6f7279a366736f636b65746173667365637265744201026473697a651a10000000";
const GOLDEN_JOB: &str = "a4667469636b657484011901f40203636b65798266646574656374582011111111111111111111111111111111111111111111111111111111111111116e6275646765745f6c6566745f75731a00011170636a6f6241f6";
const GOLDEN_JOB_PLACE: &str = "a4667469636b657484011901f40203636b65798266646574656374f6636a6f6241f665706c616365a2626174191000636c656e1a00124f80";
const GOLDEN_JOB_EARLY_PLACE: &str = "a4667469636b657484011901f40203636b65798266646574656374f6636a6f6241f665706c616365a3626174191000636c656e1a00124f80646c6169641a00125f80";
const GOLDEN_JOB_BARE: &str = "a3667469636b657484011901f40203636b65798266646574656374f6636a6f6241f6";
const GOLDEN_JOB_AS_BEFORE: &str = "a2667469636b657484011901f40203636a6f6241f6";
const GOLDEN_ANSWER: &str = "a3667469636b657484011901f4020366726573756c74a1626f6b41806774696d696e6773a56871756575655f7573016a707265706172655f75730268696e6665725f7573197530696465636f64655f75730465626174636808";
const GOLDEN_FAILED: &str = "a2667469636b657484011901f4020366726573756c74a1666661696c6564626e6f";
