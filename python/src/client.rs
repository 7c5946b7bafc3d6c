//! A client that pushes tasks: submits wait for room, answers for their turn, and neither holds the interpreter.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyRuntimeError, PyTimeoutError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;
use queue::Key;
use tokio::runtime::{Builder, Runtime};
use wire::client::{Config, Raw, Seat, Submitted, Unanswered, Wishes};
use wire::identity::Token;

use crate::error::{self, Error};
use crate::run::{check_server, task_name};
use crate::{read, write};

/// How long Ctrl-C may have to wait.
const LOOK: Duration = Duration::from_millis(100);

/// The package's own exception for a task without an answer.
static UNANSWERED: PyOnceLock<Py<PyType>> = PyOnceLock::new();

/// The threads of a client. They end with it, whatever they are at.
struct Threads(Option<Runtime>);

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Threads {
    /// Waits for something without the interpreter. Python's signals are looked after meanwhile.
    fn wait<T: Send>(
        &self,
        py: Python<'_>,
        most: Option<Duration>,
        work: impl Future<Output = T> + Send,
    ) -> PyResult<Option<T>> {
        let runtime = self.0.as_ref().expect("it is taken when this is dropped, and not before");
        let mut work = pin!(work);
        // One that is beyond the clock's range never comes.
        let until = most.and_then(|most| Instant::now().checked_add(most));
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let now = left.map_or(LOOK, |left| left.min(LOOK));
            let done = py.detach(|| runtime.block_on(async { tokio::time::timeout(now, &mut work).await }));
            match done {
                Ok(done) => return Ok(Some(done)),
                Err(_) if left.is_some_and(|left| left <= LOOK) => return Ok(None),
                Err(_) => py.check_signals()?,
            }
        }
    }

    fn wait_long<T: Send>(&self, py: Python<'_>, work: impl Future<Output = T> + Send) -> PyResult<T> {
        self.wait(py, None, work)?.ok_or_else(|| PyRuntimeError::new_err("a wait without an end has ended"))
    }
}

/// Where to push to, and how.
#[derive(FromPyObject)]
pub(crate) struct Asking {
    server: String,
    name: String,
    identity: PathBuf,
    token: Option<String>,
    reconnect: bool,
    budget: Option<f64>,
    attempts: Option<u32>,
    retry_after: Option<f64>,
    answer_within: Option<f64>,
    hedge: Option<u16>,
    worker: Option<String>,
}

/// A connection that tasks are pushed over.
#[pyclass(frozen, module = "framelane._framelane")]
pub(crate) struct Pusher {
    threads: Arc<Threads>,
    raw: Mutex<Option<Raw>>,
}

#[pymethods]
impl Pusher {
    #[new]
    fn new(py: Python<'_>, asking: Asking) -> PyResult<Self> {
        check_server(&asking.server)?;
        let token = asking.token.as_deref().map(str::trim).map(str::parse::<Token>).transpose();
        let token = token.map_err(|error| PyValueError::new_err(format!("token: {error}")))?;
        let wishes = Wishes {
            budget_ms: millis("budget", asking.budget)?,
            attempts: asking.attempts,
            retry_after_ms: millis("retry_after", asking.retry_after)?,
            answer_within_ms: millis("answer_within", asking.answer_within)?,
            hedge_percent: percent("hedge", asking.hedge)?,
            worker: asking.worker.as_deref().map(worker_id).transpose()?,
        };
        let runtime =
            Builder::new_multi_thread().worker_threads(1).enable_all().thread_name("framelane").build();
        let runtime =
            runtime.map_err(|error| Error::new_err(format!("no threads can be started: {error}")))?;
        let threads = Arc::new(Threads(Some(runtime)));
        let config = Config { wishes, reconnect: asking.reconnect, ..Config::new(&asking.name) };
        let connecting = async {
            let seat = Seat::new(&asking.server, &asking.name, &asking.identity).token(token);
            seat.connect(config).await.map_err(|error| error::entry(&error))
        };
        // Nothing is pushed whose answers come in a stream.
        let (raw, _) = threads.wait_long(py, connecting)??;
        Ok(Pusher { threads, raw: Mutex::new(Some(raw)) })
    }

    /// Sends a job once there is room for it.
    fn submit(&self, task: &str, job: &Bound<'_, PyAny>) -> PyResult<Answer> {
        let py = job.py();
        let key = Key::task(task_name(task)?);
        let message = write::message(job)
            .map_err(|why| PyTypeError::new_err(format!("a job of {task} cannot be sent: {why}")))?;
        let raw = self.raw()?;
        let submitted = self.threads.wait_long(py, raw.submit(&key, message))?;
        let submitted = submitted.map_err(|error| error::submit(&error))?;
        Ok(Answer { threads: Arc::clone(&self.threads), state: Mutex::new(State::Coming(submitted)) })
    }

    /// Takes nothing more, and waits for what was sent.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let raw = lock(&self.raw).take();
        match raw {
            Some(raw) => self.threads.wait_long(py, raw.close()),
            None => Ok(()),
        }
    }

    /// Takes nothing more. What nobody holds the answer of is cancelled.
    fn abandon(&self) {
        lock(&self.raw).take();
    }
}

impl Pusher {
    fn raw(&self) -> PyResult<Raw> {
        lock(&self.raw).clone().ok_or_else(|| Error::new_err("this client is closed"))
    }
}

/// The answer to a job, to be waited for. Without anyone who holds it, the job is cancelled.
#[pyclass(frozen, module = "framelane")]
pub(crate) struct Answer {
    threads: Arc<Threads>,
    state: Mutex<State>,
}

enum State {
    Coming(Submitted),
    /// A thread waits for it.
    Awaited,
    Here(PyResult<Py<PyAny>>),
    Cancelled,
}

#[pymethods]
impl Answer {
    /// The answer. Raises `Unanswered` if there is none, and `TimeoutError` if it takes longer than so many seconds;
    /// then it may be asked for again.
    #[pyo3(signature = (timeout=None))]
    fn result(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Py<PyAny>> {
        let most = timeout.map(|timeout| seconds("timeout", timeout)).transpose()?;
        let state = std::mem::replace(&mut *lock(&self.state), State::Awaited);
        let mut submitted = match state {
            State::Coming(submitted) => submitted,
            State::Here(answer) => return self.keep(py, answer),
            State::Awaited => return Err(PyRuntimeError::new_err("another thread waits for this answer")),
            State::Cancelled => {
                *lock(&self.state) = State::Cancelled;
                return Err(unanswered(py, &Unanswered::Cancelled));
            }
        };
        match self.threads.wait(py, most, &mut submitted) {
            Ok(Some(Ok(message))) => {
                let answer = read::object(py, message);
                let unreadable = |why| unanswered(py, &Unanswered::Unreadable(why));
                self.keep(py, answer.map_err(unreadable))
            }
            Ok(Some(Err(why))) => self.keep(py, Err(unanswered(py, &why))),
            Ok(None) => {
                *lock(&self.state) = State::Coming(submitted);
                Err(PyTimeoutError::new_err("the answer has not come yet"))
            }
            Err(interrupted) => {
                *lock(&self.state) = State::Coming(submitted);
                Err(interrupted)
            }
        }
    }

    /// Nobody wants the answer any more.
    fn cancel(&self) {
        let mut state = lock(&self.state);
        if matches!(*state, State::Coming(_)) {
            *state = State::Cancelled;
        }
    }
}

impl Answer {
    fn keep(&self, py: Python<'_>, answer: PyResult<Py<PyAny>>) -> PyResult<Py<PyAny>> {
        let again = match &answer {
            Ok(answer) => Ok(answer.clone_ref(py)),
            Err(error) => Err(error.clone_ref(py)),
        };
        *lock(&self.state) = State::Here(answer);
        again
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each holds it for one step, which does not panic half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unanswered(py: Python<'_>, why: &Unanswered) -> PyErr {
    let reason = match why {
        Unanswered::Failed(_) => "failed",
        Unanswered::Late => "late",
        Unanswered::NoLane => "no_lane",
        Unanswered::Evicted => "evicted",
        Unanswered::Cancelled => "cancelled",
        Unanswered::Lost { .. } => "lost",
        Unanswered::Unreadable(_) => "unreadable",
        _ => "unknown",
    };
    let made = UNANSWERED
        .import(py, "framelane._client", "Unanswered")
        .and_then(|class| class.call1((why.to_string(), reason, why.may_have_run())));
    made.map_or_else(|error| error, PyErr::from_value)
}

/// As people see it, `w` and a number, or the number alone.
fn worker_id(text: &str) -> PyResult<u64> {
    let number = text.strip_prefix('w').unwrap_or(text).parse();
    number.map_err(|_| PyValueError::new_err(format!("worker={text:?}: an id is as w123")))
}

fn seconds(name: &str, value: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value)
        .map_err(|_| PyValueError::new_err(format!("{name}={value}: a number of seconds from 0 on")))
}

fn percent(name: &str, value: Option<u16>) -> PyResult<Option<u16>> {
    match value {
        Some(value @ 101..) => {
            Err(PyValueError::new_err(format!("{name}={value}: a percentage from 0 to 100")))
        }
        _ => Ok(value),
    }
}

fn millis(name: &str, value: Option<f64>) -> PyResult<Option<u64>> {
    let millis = |value| seconds(name, value).map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    value.map(millis).transpose()
}
