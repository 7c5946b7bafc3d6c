//! A task's function: a job in, its answer or its failure out.
//!
//! The interpreter is held from the first object that is made of a job to the last byte of its answer, and by no
//! thread that waits.

use std::time::{Duration, Instant};

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyList, PyTuple, PyType};
use wire::{Message, Timings, Unprocessed, Untyped};

use crate::error::Bad;
use crate::{read, write};

/// The package's own class for a value with bytes beside it.
pub(crate) static BESIDE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
/// The package's own log of what goes wrong in tasks.
static LOG: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

/// One thread's way to call one task's function.
pub(crate) struct Function {
    task: String,
    function: Py<PyAny>,
    /// Whether it takes a list of jobs and gives a list of answers.
    many: bool,
    timings: Timings,
}

impl Function {
    pub(crate) fn new(task: &str, function: Py<PyAny>, many: bool) -> Self {
        Function { task: task.to_owned(), function, many, timings: Timings::default() }
    }

    /// Calls the function, and notes how long it took.
    fn call<'py>(&mut self, argument: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let begun = Instant::now();
        let answer = self.function.bind(argument.py()).call1((argument,));
        self.timings.infer_us += micros(begun.elapsed());
        answer
    }

    fn one(&mut self, py: Python<'_>, job: Message) -> Result<Message, Unprocessed> {
        let begun = Instant::now();
        let job = self.read(py, job)?;
        self.timings.prepare_us = micros(begun.elapsed());
        let answer = self.call(job.into_bound(py)).map_err(|error| self.raised(py, &error))?;
        let begun = Instant::now();
        let written = self.write(&answer);
        self.timings.decode_us = micros(begun.elapsed());
        written
    }

    /// Jobs that cannot be read have their failure already, and the function does not see them.
    fn several(&mut self, py: Python<'_>, jobs: Vec<Message>) -> Vec<Result<Message, Unprocessed>> {
        let begun = Instant::now();
        let mut readable = Vec::with_capacity(jobs.len());
        let places: Vec<_> =
            jobs.into_iter().map(|job| self.read(py, job).map(|job| readable.push(job))).collect();
        self.timings.prepare_us = micros(begun.elapsed());
        let mut answers = match self.answers(py, readable) {
            Ok(answers) => answers.into_iter(),
            Err(all) => {
                return places.into_iter().map(|place| place.and_then(|()| Err(all.clone()))).collect();
            }
        };
        let begun = Instant::now();
        let mut answer = || answers.next().map_or_else(|| Err(self.fewer()), |answer| self.answer(&answer));
        let results = places.into_iter().map(|place| place.and_then(|()| answer())).collect();
        self.timings.decode_us = micros(begun.elapsed());
        results
    }

    /// One answer for each job, or the failure of all.
    fn answers<'py>(
        &mut self,
        py: Python<'py>,
        jobs: Vec<Py<PyAny>>,
    ) -> Result<Vec<Bound<'py, PyAny>>, Unprocessed> {
        let count = jobs.len();
        if count == 0 {
            return Ok(Vec::new());
        }
        let jobs = PyList::new(py, jobs).map_err(|error| self.raised(py, &error))?;
        let answers = self.call(jobs.into_any()).map_err(|error| self.raised(py, &error))?;
        let answers: Vec<_> = match (answers.cast::<PyList>(), answers.cast::<PyTuple>()) {
            (Ok(list), _) => list.iter().collect(),
            (_, Ok(tuple)) => tuple.iter().collect(),
            _ => {
                let kind = answers.get_type();
                return Err(self.wrong(format!("returned a {kind} where a list of {count} answers was due")));
            }
        };
        match answers.len() {
            given if given == count => Ok(answers),
            given => Err(self.wrong(format!("returned {given} answers to {count} jobs"))),
        }
    }

    /// One of several: an exception in the place of an answer is that job's alone.
    fn answer(&self, answer: &Bound<'_, PyAny>) -> Result<Message, Unprocessed> {
        match answer.is_instance_of::<pyo3::exceptions::PyBaseException>() {
            true => Err(self.raised(answer.py(), &PyErr::from_value(answer.clone()))),
            false => self.write(answer),
        }
    }

    fn read(&self, py: Python<'_>, job: Message) -> Result<Py<PyAny>, Unprocessed> {
        read::object(py, job).map_err(|why| Unprocessed::Bad(format!("the job cannot be read: {why}")))
    }

    fn write(&self, answer: &Bound<'_, PyAny>) -> Result<Message, Unprocessed> {
        write::message(answer).map_err(|why| self.wrong(format!("returned what it must not: {why}")))
    }

    fn fewer(&self) -> Unprocessed {
        self.wrong("gave fewer answers than it got jobs".into())
    }

    /// The function keeps to no task's rules: a mistake of its author, which another worker may not have.
    fn wrong(&self, why: String) -> Unprocessed {
        let why = format!("its function {why}");
        Python::attach(|py| self.log(py, "wrong", &why));
        Unprocessed::Failed(format!("task {}: {why}", self.task))
    }

    /// The failure that an exception is. Its traceback goes to the log, its text to the one who asked.
    fn raised(&self, py: Python<'_>, error: &PyErr) -> Unprocessed {
        let bad = error.is_instance_of::<Bad>(py);
        // The exception by itself has no traceback.
        self.log(py, "raised", error.clone_ref(py).into_value(py));
        match bad {
            true => Unprocessed::Bad(error.value(py).to_string()),
            false => Unprocessed::Failed(error.to_string()),
        }
    }

    fn log<'py>(&self, py: Python<'py>, kind: &str, what: impl IntoPyObject<'py>) {
        let log = LOG.import(py, "framelane._log", "log").and_then(|log| log.getattr(kind));
        if let Err(trouble) = log.and_then(|log| log.call1((&self.task, what))) {
            tracing::error!(task = self.task, %trouble, "a task failed, and the reason cannot be logged");
        }
    }
}

impl Untyped for Function {
    fn process(&mut self, job: Message) -> Result<Message, Unprocessed> {
        self.timings = Timings::default();
        Python::attach(|py| match self.many {
            true => self.several(py, vec![job]).pop().unwrap_or_else(|| Err(self.fewer())),
            false => self.one(py, job),
        })
    }

    fn process_batch(&mut self, jobs: Vec<Message>) -> Vec<Result<Message, Unprocessed>> {
        self.timings = Timings::default();
        Python::attach(|py| match self.many {
            true => self.several(py, jobs),
            false => jobs.into_iter().map(|job| self.one(py, job)).collect(),
        })
    }

    fn timings(&mut self) -> Timings {
        self.timings
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
