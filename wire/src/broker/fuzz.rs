//! What a broker brings, for [`crate::fuzz`]. What is read byte by byte must be what serde reads.
#![allow(clippy::unwrap_used, reason = "it is run by tests and by a developer's command")]

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use queue::{FlowId, Key, ModelHash, Seq, TaskName, Ticket};

use super::heads;
use super::message::{Posted, append_answer, append_gone, read_answers, read_job, write_job};
use crate::framing::{self, Limits};
use crate::fuzz::Seed;
use crate::process::{Timings, Unprocessed};
use crate::task::Message;

pub(crate) fn posted(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    as_by_serde(&bytes, heads::read_job);
    let _ = read_job(bytes, Limits::default());
}

pub(crate) fn reported(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    as_by_serde(&bytes, heads::read_answer);
    let _ = read_answers(bytes, Limits::default());
}

fn as_by_serde<T>(bytes: &Bytes, read: fn(&Bytes) -> Option<T>)
where
    T: serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    if let Some(value) = read(bytes) {
        assert_eq!(framing::decode_cbor::<T>(bytes), Ok(value));
    }
}

pub(crate) fn seeds() -> Vec<Seed> {
    let ticket = Ticket { flow: FlowId(1), seq: Seq(70_000), part: 0, attempt: 2 };
    let message = Message { head: Bytes::from_static(b"\x80"), body: Bytes::from_static(b"body") };
    let job = Posted {
        reply: "framelane:reply:a:1".to_owned(),
        ticket,
        key: Key::model(TaskName::new("detect").unwrap(), ModelHash([7; 32])),
        budget_left: Some(Duration::from_millis(90)),
        message: message.clone(),
    };
    let job = write_job(job, Limits::default()).unwrap();
    let mut answers = BytesMut::new();
    let timings = Timings { queue_us: 300, batch: 2, ..Timings::default() };
    let answer = Message { body: Bytes::new(), ..message };
    append_answer(&mut answers, ticket, Ok(answer), timings, Limits::default());
    let first = answers.len();
    let bad = Err(Unprocessed::Bad("é".into()));
    append_answer(&mut answers, ticket, bad, timings, Limits::default());
    append_gone(&mut answers, ticket, Limits::default());
    // In front of a head stand 8 bytes, behind this job's its body.
    vec![
        ("posted", "head", job[8..job.len() - 4].to_vec()),
        ("posted", "framed", job.to_vec()),
        ("reported", "head", answers[8..first].to_vec()),
        ("reported", "several", answers.to_vec()),
    ]
}
