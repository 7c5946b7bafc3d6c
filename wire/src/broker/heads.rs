//! The heads of jobs and answers as CBOR, byte by byte: what serde writes and reads, in a fraction of its time.
//!
//! The writers give exactly the bytes that serde gives. The readers know these alone, in this order and in the
//! shortest form, and give nothing for all else, which is then read by serde: a later protocol, or another's writer.

use bytes::{BufMut, Bytes, BytesMut};
use queue::{FlowId, Key, ModelHash, Seq, TaskName, Ticket};

use super::message::{AnswerHead, AnswerResult, JobHead};
use crate::process::Timings;

const UINT: u8 = 0 << 5;
const BYTES: u8 = 2 << 5;
const TEXT: u8 = 3 << 5;
const ARRAY: u8 = 4 << 5;
const MAP: u8 = 5 << 5;
const NULL: u8 = 0xf6;

pub(super) fn write_job(out: &mut BytesMut, head: &JobHead) {
    let JobHead { reply, ticket, key, budget_left_us, job } = head;
    number(out, MAP, 4 + u64::from(budget_left_us.is_some()));
    text(out, "reply");
    text(out, reply);
    text(out, "ticket");
    write_ticket(out, *ticket);
    text(out, "key");
    number(out, ARRAY, 2);
    text(out, key.task.as_str());
    match &key.model {
        Some(ModelHash(hash)) => string(out, BYTES, hash),
        None => out.put_u8(NULL),
    }
    if let Some(left) = budget_left_us {
        text(out, "budget_left_us");
        number(out, UINT, *left);
    }
    text(out, "job");
    string(out, BYTES, job);
}

pub(super) fn write_answer(out: &mut BytesMut, head: &AnswerHead) {
    let AnswerHead { ticket, result, timings } = head;
    number(out, MAP, 2 + u64::from(!timings.is_empty()));
    text(out, "ticket");
    write_ticket(out, *ticket);
    text(out, "result");
    match result {
        AnswerResult::Ok(answer) => {
            number(out, MAP, 1);
            text(out, "ok");
            string(out, BYTES, answer);
        }
        AnswerResult::Bad(why) | AnswerResult::Failed(why) => {
            number(out, MAP, 1);
            text(out, if matches!(result, AnswerResult::Bad(_)) { "bad" } else { "failed" });
            text(out, why);
        }
        AnswerResult::Gone => text(out, "gone"),
    }
    if !timings.is_empty() {
        let Timings { queue_us, prepare_us, infer_us, decode_us, batch } = *timings;
        let times = [
            ("queue_us", queue_us),
            ("prepare_us", prepare_us),
            ("infer_us", infer_us),
            ("decode_us", decode_us),
        ];
        let told = times.iter().filter(|(_, micros)| *micros > 0);
        text(out, "timings");
        number(out, MAP, 1 + told.clone().count() as u64);
        for (name, micros) in told {
            text(out, name);
            number(out, UINT, *micros);
        }
        text(out, "batch");
        number(out, UINT, batch.into());
    }
}

fn write_ticket(out: &mut BytesMut, ticket: Ticket) {
    number(out, ARRAY, 4);
    for part in [ticket.flow.get(), ticket.seq.get(), ticket.part.into(), ticket.attempt.into()] {
        number(out, UINT, part);
    }
}

fn text(out: &mut BytesMut, text: &str) {
    string(out, TEXT, text.as_bytes());
}

fn string(out: &mut BytesMut, kind: u8, bytes: &[u8]) {
    number(out, kind, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The beginning of an item of this kind: a number, or how long what follows is.
fn number(out: &mut BytesMut, kind: u8, number: u64) {
    match number {
        0..24 => out.put_u8(kind | number as u8),
        24..0x100 => out.extend_from_slice(&[kind | 24, number as u8]),
        0x100..0x1_0000 => {
            out.put_u8(kind | 25);
            out.put_u16(number as u16);
        }
        0x1_0000..0x1_0000_0000 => {
            out.put_u8(kind | 26);
            out.put_u32(number as u32);
        }
        _ => {
            out.put_u8(kind | 27);
            out.put_u64(number);
        }
    }
}

/// A job's head, if it is as [`write_job`] writes it.
pub(super) fn read_job(head: &Bytes) -> Option<JobHead> {
    let mut at = Reader { all: head, at: 0 };
    let fields = at.number(MAP)?;
    let reply = at.named("reply")?.text()?.to_owned();
    let ticket = at.named("ticket")?.ticket()?;
    at.named("key")?.exactly(ARRAY | 2)?;
    let task = TaskName::new(at.text()?).ok()?;
    let model = match at.exactly(NULL) {
        Some(()) => None,
        None => Some(ModelHash(at.string(BYTES)?.try_into().ok()?)),
    };
    let budget_left_us = match fields {
        4 => None,
        5 => Some(at.named("budget_left_us")?.number(UINT)?),
        _ => return None,
    };
    let job = at.named("job")?.string(BYTES)?;
    let job = head.slice_ref(job);
    at.end(JobHead { reply, ticket, key: Key::new(task, model), budget_left_us, job })
}

/// An answer's head, if it is as [`write_answer`] writes that of one that went well.
pub(super) fn read_answer(head: &Bytes) -> Option<AnswerHead> {
    let mut at = Reader { all: head, at: 0 };
    let fields = at.number(MAP)?;
    let ticket = at.named("ticket")?.ticket()?;
    at.named("result")?.exactly(MAP | 1)?;
    let answer = at.named("ok")?.string(BYTES)?;
    let result = AnswerResult::Ok(head.slice_ref(answer));
    let (mut timings, mut batch) = (Timings::default(), 0);
    match fields {
        2 => {}
        3 => {
            let told = at.named("timings")?.number(MAP)?;
            let mut last = 0;
            for _ in 0..told {
                let (name, number) = (at.text()?, at.number(UINT)?);
                let place = match name {
                    "queue_us" => (1, &mut timings.queue_us),
                    "prepare_us" => (2, &mut timings.prepare_us),
                    "infer_us" => (3, &mut timings.infer_us),
                    "decode_us" => (4, &mut timings.decode_us),
                    "batch" => (5, &mut batch),
                    _ => return None,
                };
                // Each once.
                if place.0 <= last {
                    return None;
                }
                (last, *place.1) = (place.0, number);
            }
            timings.batch = batch.try_into().ok()?;
        }
        _ => return None,
    }
    at.end(AnswerHead { ticket, result, timings })
}

struct Reader<'a> {
    all: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let taken = self.all.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }

    fn exactly(&mut self, byte: u8) -> Option<()> {
        (*self.all.get(self.at)? == byte).then(|| self.at += 1)
    }

    fn number(&mut self, kind: u8) -> Option<u64> {
        let first = *self.take(1)?.first()?;
        if first & 0xe0 != kind {
            return None;
        }
        let bytes = match first & 0x1f {
            short @ 0..24 => return Some(short.into()),
            24 => self.take(1)?,
            25 => self.take(2)?,
            26 => self.take(4)?,
            27 => self.take(8)?,
            _ => return None,
        };
        Some(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn string(&mut self, kind: u8) -> Option<&'a [u8]> {
        let len = self.number(kind)?;
        self.take(len.try_into().ok()?)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.string(TEXT)?).ok()
    }

    /// Goes by this name, if it is the next.
    fn named(&mut self, name: &str) -> Option<&mut Self> {
        (self.string(TEXT)? == name.as_bytes()).then_some(self)
    }

    fn ticket(&mut self) -> Option<Ticket> {
        self.exactly(ARRAY | 4)?;
        let (flow, seq) = (FlowId(self.number(UINT)?), Seq(self.number(UINT)?));
        let part = self.number(UINT)?.try_into().ok()?;
        Some(Ticket { flow, seq, part, attempt: self.number(UINT)?.try_into().ok()? })
    }

    /// The value, if nothing follows.
    fn end<T>(&self, value: T) -> Option<T> {
        (self.at == self.all.len()).then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::{decode_cbor, encode_cbor};
    use proptest::prelude::*;

    fn ticket() -> impl Strategy<Value = Ticket> {
        let (number, small) = (prop_oneof![0..30u64, any::<u64>()], prop_oneof![0..30u32, any::<u32>()]);
        (number.clone(), number, any::<u16>(), small).prop_map(|(flow, seq, part, attempt)| Ticket {
            flow: FlowId(flow),
            seq: Seq(seq),
            part,
            attempt,
        })
    }

    fn bytes() -> impl Strategy<Value = Bytes> {
        proptest::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from)
    }

    fn timings() -> impl Strategy<Value = Timings> {
        let time = || prop_oneof![Just(0), 0..300u64, any::<u64>()];
        (time(), time(), time(), time(), any::<u32>()).prop_map(
            |(queue_us, prepare_us, infer_us, decode_us, batch)| Timings {
                queue_us,
                prepare_us,
                infer_us,
                decode_us,
                batch,
            },
        )
    }

    fn result() -> impl Strategy<Value = AnswerResult> {
        prop_oneof![
            bytes().prop_map(AnswerResult::Ok),
            ".{0,40}".prop_map(AnswerResult::Bad),
            ".{0,40}".prop_map(AnswerResult::Failed),
            Just(AnswerResult::Gone),
        ]
    }

    proptest! {
        #[test]
        fn jobs_are_written_and_read_as_by_serde(
            reply in ".{0,60}",
            ticket in ticket(),
            task in "[a-z][a-z0-9-]{0,40}",
            model in proptest::option::of(any::<[u8; 32]>()),
            budget_left_us in proptest::option::of(any::<u64>()),
            job in bytes(),
        ) {
            let key = Key::new(TaskName::new(&task).unwrap(), model.map(ModelHash));
            let head = JobHead { reply, ticket, key, budget_left_us, job };
            let mut out = BytesMut::new();
            write_job(&mut out, &head);
            let out = out.freeze();
            prop_assert_eq!(&out, &encode_cbor(&head, usize::MAX).unwrap());
            prop_assert_eq!(read_job(&out), Some(head));
            prop_assert!(read_job(&out.slice(..out.len() - 1)).is_none());
        }

        #[test]
        fn answers_are_written_and_read_as_by_serde(ticket in ticket(), result in result(), timings in timings()) {
            let head = AnswerHead { ticket, result, timings };
            let mut out = BytesMut::new();
            write_answer(&mut out, &head);
            let out = out.freeze();
            prop_assert_eq!(&out, &encode_cbor(&head, usize::MAX).unwrap());
            if matches!(head.result, AnswerResult::Ok(_)) {
                prop_assert_eq!(read_answer(&out), Some(head));
            } else {
                prop_assert!(read_answer(&out).is_none());
            }
        }

        /// Whatever is read here, serde reads as the same.
        #[test]
        fn no_bytes_are_read_as_what_they_are_not(ticket in ticket(), answer in bytes(), at: usize, byte: u8) {
            let head = AnswerHead { ticket, result: AnswerResult::Ok(answer), timings: Timings::default() };
            let mut out = BytesMut::new();
            write_answer(&mut out, &head);
            let at = at % out.len();
            out[at] = byte;
            let out = out.freeze();
            if let Some(read) = read_answer(&out) {
                prop_assert_eq!(decode_cbor::<AnswerHead>(&out).unwrap(), read);
            }
        }
    }
}
