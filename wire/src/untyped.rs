//! The worker's side of a task whose types are not known in Rust.

use std::any::Any;

use crate::process::{Process, Timings, Unprocessed};
use crate::task::Message;

/// Does one kind of task, on one thread, with its messages as they are on the wire: what a
/// [`Processor`](crate::Processor) is where the task is no type, such as a function in another language.
pub trait Untyped: Send {
    /// Does one job.
    ///
    /// # Errors
    /// As [`Processor::process`](crate::Processor::process).
    fn process(&mut self, job: Message) -> Result<Message, Unprocessed>;

    /// Does several jobs at once; one result for each job, in the same order.
    fn process_batch(&mut self, jobs: Vec<Message>) -> Vec<Result<Message, Unprocessed>> {
        jobs.into_iter().map(|job| self.process(job)).collect()
    }

    /// Where the time of the last call went. The default knows nothing.
    fn timings(&mut self) -> Timings {
        Timings::default()
    }
}

/// Makes a host's [`Process`] of it. `task` is the name that it is registered under.
pub fn erase_untyped<P: Untyped + 'static>(task: &str, processor: P) -> Box<dyn Process> {
    Box::new(Erased { task: task.into(), processor })
}

struct Erased<P> {
    task: Box<str>,
    processor: P,
}

type Boxed = Box<dyn Any + Send>;

impl<P: Untyped> Process for Erased<P> {
    fn task(&self) -> &str {
        &self.task
    }

    fn process(&mut self, job: Message) -> Result<Message, Unprocessed> {
        self.processor.process(job)
    }

    /// The one type that is known here is the message itself.
    fn process_any(&mut self, job: Boxed) -> Result<Boxed, Unprocessed> {
        match job.downcast::<Message>() {
            Ok(job) => self.processor.process(*job).map(|answer| Box::new(answer) as Boxed),
            Err(_) => {
                let task = &self.task;
                Err(Unprocessed::Bad(format!("the task {task} takes encoded jobs only, and got a value")))
            }
        }
    }

    fn process_batch(&mut self, jobs: Vec<Message>) -> Vec<Result<Message, Unprocessed>> {
        let count = jobs.len();
        let mut results = self.processor.process_batch(jobs);
        let missing = || Err(Unprocessed::Failed("the processor gave fewer answers than it got jobs".into()));
        results.resize_with(count, missing);
        results
    }

    fn process_batch_any(&mut self, jobs: Vec<Boxed>) -> Vec<Result<Boxed, Unprocessed>> {
        jobs.into_iter().map(|job| self.process_any(job)).collect()
    }

    fn timings(&mut self) -> Timings {
        self.processor.timings()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{Cbor, encode};

    /// Gives the job back, and one answer too few for a batch.
    struct Echo;
    impl Untyped for Echo {
        fn process(&mut self, job: Message) -> Result<Message, Unprocessed> {
            Ok(job)
        }
        fn process_batch(&mut self, mut jobs: Vec<Message>) -> Vec<Result<Message, Unprocessed>> {
            jobs.pop();
            jobs.into_iter().map(Ok).collect()
        }
    }

    #[test]
    fn messages_go_through_and_other_values_do_not() {
        let mut echo = erase_untyped("echo", Echo);
        let job = encode(Cbor(1u8)).unwrap();
        assert_eq!(echo.process(job.clone()), Ok(job.clone()));
        let answer = echo.process_any(Box::new(job.clone())).unwrap();
        assert_eq!(*answer.downcast::<Message>().unwrap(), job);
        assert!(matches!(echo.process_any(Box::new(1u8)), Err(Unprocessed::Bad(_))));
        assert_eq!(echo.task(), "echo");
    }

    #[test]
    fn each_job_of_a_batch_has_a_result() {
        let jobs = vec![encode(Cbor(1u8)).unwrap(), encode(Cbor(2u8)).unwrap()];
        let results = erase_untyped("echo", Echo).process_batch(jobs.clone());
        assert_eq!(results[0], Ok(jobs[0].clone()));
        assert!(matches!(results[..], [_, Err(Unprocessed::Failed(_))]));
    }
}
