//! The worker's side of a task: [`Processor`] as its author writes it, [`Process`] as a host runs it
//! without knowing the task.

use std::any::Any;
use std::error::Error;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::task::{Message, Payload, PayloadError, Task, decode, encode};

/// Does one kind of task, on one thread.
///
/// A processor is made by a [`Factory`] on the thread that uses it and is never shared, so `&mut self`
/// may hold a session, a buffer, a device. It keeps no state from one job to the next that answers
/// depend on: a job may be tried again on another worker.
pub trait Processor: Send {
    /// The task that this does.
    type Task: Task;

    /// Does one job.
    ///
    /// # Errors
    /// [`Unprocessed::Bad`] when the job itself is at fault and trying again is useless;
    /// [`Unprocessed::Failed`] when another attempt, perhaps elsewhere, may succeed.
    fn process(
        &mut self,
        job: <Self::Task as Task>::Job,
    ) -> Result<<Self::Task as Task>::Answer, Unprocessed>;

    /// Does several jobs at once; one result for each job, in the same order.
    #[allow(clippy::type_complexity, reason = "the alias would hide the associated types")]
    fn process_batch(
        &mut self,
        jobs: Vec<<Self::Task as Task>::Job>,
    ) -> Vec<Result<<Self::Task as Task>::Answer, Unprocessed>> {
        jobs.into_iter().map(|job| self.process(job)).collect()
    }

    /// Where the time of the last call went. The default knows nothing.
    fn timings(&mut self) -> Timings {
        Timings::default()
    }
}

/// Why a job has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unprocessed {
    /// The job is at fault: do not try again.
    #[error("bad job: {0}")]
    Bad(String),
    /// The worker is at fault: another may do it.
    #[error("failed: {0}")]
    Failed(String),
}

/// Where a worker's time went, for one job. Durations, never moments: no clock crosses the wire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timings {
    /// Microseconds between arrival and the start of work.
    #[serde(skip_serializing_if = "is_zero")]
    pub queue_us: u64,
    /// Microseconds spent on making the model's input.
    #[serde(skip_serializing_if = "is_zero")]
    pub prepare_us: u64,
    /// Microseconds spent in the engine.
    #[serde(skip_serializing_if = "is_zero")]
    pub infer_us: u64,
    /// Microseconds spent on reading the engine's output.
    #[serde(skip_serializing_if = "is_zero")]
    pub decode_us: u64,
    /// How many jobs were done together with this one, itself included. 0: unknown.
    pub batch: u32,
}

/// What is zero is not worth its name on the wire: small tasks would carry more of that than of anything else.
fn is_zero(micros: &u64) -> bool {
    *micros == 0
}

impl Timings {
    /// Whether nothing is known.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A [`Processor`] whose task is known only at run time.
///
/// There are two ways in: encoded messages, which come over a wire, and typed values as `Any`, for a
/// host in the same process as the one who asks, which spares encoding.
pub trait Process: Send {
    /// [`Task::NAME`].
    fn task(&self) -> &str;

    /// Does one encoded job.
    ///
    /// # Errors
    /// As [`Processor::process`]; a job that cannot be decoded is `Bad`.
    fn process(&mut self, job: Message) -> Result<Message, Unprocessed>;

    /// Does one job given as a boxed [`Task::Job`]; the answer is a boxed [`Task::Answer`].
    ///
    /// # Errors
    /// As [`Processor::process`]; a box that holds another type is `Bad`.
    fn process_any(&mut self, job: Box<dyn Any + Send>) -> Result<Box<dyn Any + Send>, Unprocessed>;

    /// Does several encoded jobs at once; one result for each, in order.
    fn process_batch(&mut self, jobs: Vec<Message>) -> Vec<Result<Message, Unprocessed>>;

    /// Does several typed jobs at once; one result for each, in order.
    fn process_batch_any(
        &mut self,
        jobs: Vec<Box<dyn Any + Send>>,
    ) -> Vec<Result<Box<dyn Any + Send>, Unprocessed>>;

    /// Where the time of the last call went.
    fn timings(&mut self) -> Timings;
}

/// An error of any kind, as factories give it.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// Makes a processor on the thread that will use it.
pub type Factory = Arc<dyn Fn() -> Result<Box<dyn Process>, BoxError> + Send + Sync>;

/// Hides the task of a processor.
pub fn erase<P: Processor + 'static>(processor: P) -> Box<dyn Process> {
    Box::new(Erased(processor))
}

/// Makes a [`Factory`] of a function that makes processors.
pub fn factory<P, E>(make: impl Fn() -> Result<P, E> + Send + Sync + 'static) -> Factory
where
    P: Processor + 'static,
    E: Into<BoxError>,
{
    Arc::new(move || make().map(erase).map_err(Into::into))
}

struct Erased<P>(P);

type Job<P> = <<P as Processor>::Task as Task>::Job;
type Answer<P> = <<P as Processor>::Task as Task>::Answer;

impl<P: Processor> Erased<P> {
    /// Runs the processor on the jobs that could be read and puts the results back in their places.
    fn batch(&mut self, jobs: Vec<Result<Job<P>, Unprocessed>>) -> Vec<Result<Answer<P>, Unprocessed>> {
        let mut good = Vec::with_capacity(jobs.len());
        let places: Vec<_> = jobs.into_iter().map(|job| job.map(|job| good.push(job))).collect();
        let mut results = self.0.process_batch(good).into_iter();
        let missing = || Err(Unprocessed::Failed("the processor gave fewer answers than it got jobs".into()));
        places.into_iter().map(|place| place.and_then(|()| results.next().unwrap_or_else(missing))).collect()
    }
}

impl<P: Processor> Process for Erased<P> {
    fn task(&self) -> &str {
        P::Task::NAME
    }

    fn process(&mut self, job: Message) -> Result<Message, Unprocessed> {
        read::<Job<P>>(job).and_then(|job| self.0.process(job)).and_then(write)
    }

    fn process_any(&mut self, job: Box<dyn Any + Send>) -> Result<Box<dyn Any + Send>, Unprocessed> {
        unbox::<P>(job).and_then(|job| self.0.process(job)).map(|answer| Box::new(answer) as _)
    }

    fn process_batch(&mut self, jobs: Vec<Message>) -> Vec<Result<Message, Unprocessed>> {
        let jobs = jobs.into_iter().map(read).collect();
        self.batch(jobs).into_iter().map(|answer| answer.and_then(write)).collect()
    }

    fn process_batch_any(
        &mut self,
        jobs: Vec<Box<dyn Any + Send>>,
    ) -> Vec<Result<Box<dyn Any + Send>, Unprocessed>> {
        let jobs = jobs.into_iter().map(unbox::<P>).collect();
        self.batch(jobs).into_iter().map(|answer| answer.map(|answer| Box::new(answer) as _)).collect()
    }

    fn timings(&mut self) -> Timings {
        self.0.timings()
    }
}

/// A job that cannot be read is no better elsewhere, unless it was only damaged on its way here.
fn read<J: Payload>(job: Message) -> Result<J, Unprocessed> {
    decode(job).map_err(|error| {
        let text = format!("the job cannot be read: {error}");
        match error {
            PayloadError::Checksum { .. } => Unprocessed::Failed(text),
            _ => Unprocessed::Bad(text),
        }
    })
}

/// An answer that cannot be written will not be written next time either, hence `Bad`.
fn write<A: Payload>(answer: A) -> Result<Message, Unprocessed> {
    encode(answer).map_err(|e| Unprocessed::Bad(format!("the answer cannot be written: {e}")))
}

fn unbox<P: Processor>(job: Box<dyn Any + Send>) -> Result<Job<P>, Unprocessed> {
    match job.downcast() {
        Ok(job) => Ok(*job),
        Err(_) => {
            Err(Unprocessed::Bad(format!("the job is of another type than task {} expects", P::Task::NAME)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Cbor;

    struct Halve;
    impl Task for Halve {
        const NAME: &'static str = "halve";
        type Job = Cbor<u32>;
        type Answer = Cbor<u32>;
    }
    impl Processor for Halve {
        type Task = Self;
        fn process(&mut self, Cbor(n): Cbor<u32>) -> Result<Cbor<u32>, Unprocessed> {
            if n % 2 == 0 { Ok(Cbor(n / 2)) } else { Err(Unprocessed::Bad("odd".into())) }
        }
    }

    fn made() -> Box<dyn Process> {
        factory(|| Ok::<_, BoxError>(Halve))().unwrap()
    }

    #[test]
    fn both_ways_in_give_the_same() {
        let mut halve = made();
        let answer = halve.process(encode(Cbor(8u32)).unwrap()).unwrap();
        assert_eq!(decode::<Cbor<u32>>(answer).unwrap(), Cbor(4));
        let answer = halve.process_any(Box::new(Cbor(8u32))).unwrap();
        assert_eq!(*answer.downcast::<Cbor<u32>>().unwrap(), Cbor(4));
        assert_eq!(halve.task(), "halve");
    }

    #[test]
    fn what_cannot_be_read_is_bad() {
        let mut halve = made();
        assert!(matches!(halve.process(Message::default()), Err(Unprocessed::Bad(_))));
        assert!(matches!(halve.process_any(Box::new("text")), Err(Unprocessed::Bad(_))));
    }

    #[test]
    fn a_batch_keeps_its_order_around_bad_jobs() {
        let jobs = vec![
            encode(Cbor(2u32)).unwrap(),
            Message::default(),
            encode(Cbor(3u32)).unwrap(),
            encode(Cbor(4u32)).unwrap(),
        ];
        let results = made().process_batch(jobs);
        let answers: Vec<_> =
            results.into_iter().map(|r| r.ok().map(|m| decode::<Cbor<u32>>(m).unwrap().0)).collect();
        assert_eq!(answers, [Some(1), None, None, Some(2)]);
    }

    #[test]
    fn a_processor_that_answers_too_few_harms_nobody() {
        struct Lazy;
        impl Processor for Lazy {
            type Task = Halve;
            fn process(&mut self, _: Cbor<u32>) -> Result<Cbor<u32>, Unprocessed> {
                Ok(Cbor(0))
            }
            fn process_batch(&mut self, _: Vec<Cbor<u32>>) -> Vec<Result<Cbor<u32>, Unprocessed>> {
                vec![]
            }
        }
        let results = erase(Lazy).process_batch_any(vec![Box::new(Cbor(1u32))]);
        assert!(matches!(&results[..], [Err(Unprocessed::Failed(_))]));
    }
}
