//! The task that the measurements hand out: a number and a body go, the number and a short reply come.

use std::sync::Arc;

use bytes::Bytes;
use dispatch::{Link, Prepare, Unprepared};
use queue::{Key, LaneId, TaskName};
use serde::{Deserialize, Serialize};
use wire::{Payload, PayloadError, Task};

use crate::clock;

/// A body that is longer is sampled, so that the way back costs next to nothing.
pub const REPLY: usize = 1024;

/// A number and a body.
pub struct Work;

impl Task for Work {
    const NAME: &'static str = "bench-work";
    type Job = Job;
    type Answer = Answer;
}

impl Work {
    /// The key under which it is handed out.
    pub fn key() -> Key {
        Key::task(TaskName::new(Self::NAME).expect("the name is well formed"))
    }
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The item's number in its flow.
    pub number: u64,
    /// Any bytes.
    pub body: Bytes,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The number of the job.
    pub number: u64,
    /// Microseconds that the worker measured for the job itself.
    pub service_us: u64,
    /// [`reply`] of the job's body.
    pub body: Bytes,
}

#[doc(hidden)]
#[derive(Debug, Serialize, Deserialize)]
pub struct JobHead {
    number: u64,
}

#[doc(hidden)]
#[derive(Debug, Serialize, Deserialize)]
pub struct AnswerHead {
    number: u64,
    service_us: u64,
}

impl Payload for Job {
    type Head = JobHead;

    fn split(self) -> (JobHead, Bytes) {
        (JobHead { number: self.number }, self.body)
    }

    fn join(head: JobHead, body: Bytes) -> Result<Self, PayloadError> {
        Ok(Job { number: head.number, body })
    }
}

impl Payload for Answer {
    type Head = AnswerHead;

    fn split(self) -> (AnswerHead, Bytes) {
        (AnswerHead { number: self.number, service_us: self.service_us }, self.body)
    }

    fn join(head: AnswerHead, body: Bytes) -> Result<Self, PayloadError> {
        if body.len() > REPLY {
            return Err(PayloadError::body(format!("a reply has at most {REPLY} bytes, not {}", body.len())));
        }
        Ok(Answer { number: head.number, service_us: head.service_us, body })
    }
}

/// What comes back for a body: itself if it is short, else a sample of it from end to end.
pub fn reply(body: &Bytes) -> Bytes {
    match body.len() / REPLY {
        0 => body.clone(),
        step => body.iter().step_by(step).take(REPLY).copied().collect(),
    }
}

/// A body of `len` bytes that no compression and no page sharing helps with, the same for the same seed.
pub fn body(len: usize, seed: u64) -> Bytes {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut body = vec![0; len];
    random.fill(&mut body);
    body.into()
}

/// What a flow holds for a job.
#[derive(Debug, Clone)]
pub struct Item {
    /// Counted from 0 in its flow.
    pub number: u64,
    /// The job's body.
    pub body: Bytes,
}

/// Told of every hand-out over a connection: the item's number, the connection and the moment
/// ([`clock::micros`]).
pub type HandedOut = Arc<dyn Fn(u64, LaneId, u64) + Send + Sync>;

/// Makes jobs of items; a hand-out is seen from here, since each begins with it.
#[derive(Clone, Default)]
pub struct Ask {
    /// Who is told.
    pub handed_out: Option<HandedOut>,
}

impl Prepare for Ask {
    type Task = Work;
    type Item = Item;

    fn prepare(&self, item: &Item, link: &Link) -> Result<Job, Unprepared> {
        if let (Some(told), Link::Remote { lane, .. }) = (&self.handed_out, link) {
            told(item.number, *lane, clock::micros());
        }
        Ok(Job { number: item.number, body: item.body.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_the_body_or_a_sample_of_it() {
        let short = body(100, 1);
        assert_eq!(reply(&short), short);
        let long = body(1_200_000, 1);
        let sample = reply(&long);
        assert_eq!((sample.len(), sample[1]), (REPLY, long[1_200_000 / REPLY]));
    }

    #[test]
    fn a_job_and_its_answer_survive_the_trip() {
        let job = Job { number: 7, body: body(100, 2) };
        assert_eq!(wire::decode::<Job>(wire::encode(job.clone()).unwrap()).unwrap(), job);
        let answer = Answer { number: 7, service_us: 9, body: body(REPLY, 3) };
        assert_eq!(wire::decode::<Answer>(wire::encode(answer.clone()).unwrap()).unwrap(), answer);
        let long = Answer { body: body(REPLY + 1, 3), ..answer };
        assert!(wire::decode::<Answer>(wire::encode(long).unwrap()).is_err());
    }
}
