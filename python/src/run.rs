//! What goes on in the background while Python waits: to get in, and to work.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use queue::{Key, TaskName};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use worker::broker::{Kind, Url};
use worker::identity::{Papers, Seat, SeatError, Token};
use worker::{Host, Registry, broker, host, node, watchdog};

use crate::error::{self, Error};
use crate::function::Function;

/// How long the threads may take to end. What takes longer hangs, and is left behind.
const END_WITHIN: Duration = Duration::from_secs(30);

/// Something that runs until it is done or told to stop. `on_end` of whoever started it is called once, from
/// another thread, when it is over.
#[pyclass(frozen, module = "framelane._framelane")]
pub(crate) struct Run {
    stop: CancellationToken,
    outcome: Arc<Mutex<Option<PyResult<()>>>>,
}

#[pymethods]
impl Run {
    /// Finishes what is in hand, and ends.
    fn stop(&self) {
        self.stop.cancel();
    }

    /// Raises what it ended with, once; nothing while it goes on or if it ended well.
    fn result(&self) -> PyResult<()> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or(Ok(()))
    }
}

/// Where a worker works, and how it gets in.
#[derive(FromPyObject)]
pub(crate) struct Place {
    server: Option<String>,
    redis: Vec<String>,
    amqp: Vec<String>,
    name: String,
    state: std::path::PathBuf,
    token: Option<String>,
}

impl Place {
    /// How it gets in at its server, where there is one.
    fn admission(&self) -> PyResult<Option<(String, Seat, Option<Token>)>> {
        if !wire::protocol::name_is_good(&self.name) {
            return Err(PyValueError::new_err("a worker's name has 1 to 64 bytes and no control characters"));
        }
        let Some(server) = &self.server else { return Ok(None) };
        check_server(server)?;
        let token = self.token.as_deref().map(str::trim).map(str::parse::<Token>).transpose();
        let token = token.map_err(|error| PyValueError::new_err(format!("token: {error}")))?;
        Ok(Some((server.clone(), Seat::new(server, &self.name, &self.state), token)))
    }

    fn brokers(&self) -> PyResult<Vec<Url>> {
        let url = |kind: Kind, text: &String| {
            Url::of(kind, text).map_err(|error| PyValueError::new_err(format!("{}: {error}", kind.name())))
        };
        let redis = self.redis.iter().map(|text| url(Kind::Redis, text));
        redis.chain(self.amqp.iter().map(|text| url(Kind::Amqp, text))).collect()
    }
}

/// How a worker works.
#[derive(FromPyObject)]
pub(crate) struct Ways {
    threads: NonZeroUsize,
    credit: Option<NonZeroU32>,
    reconnect: bool,
    shared_memory: bool,
    hang_after: f64,
}

impl Ways {
    /// None: nobody looks for jobs that hang.
    fn hang_after(&self) -> PyResult<Option<Duration>> {
        let after = Duration::try_from_secs_f64(self.hang_after).map_err(|_| {
            PyValueError::new_err(format!("hang_after={}: a number of seconds, 0 for never", self.hang_after))
        })?;
        Ok(Some(after).filter(|after| !after.is_zero()))
    }
}

/// A task as it was registered.
#[derive(FromPyObject)]
pub(crate) struct Served {
    name: String,
    function: Py<PyAny>,
    batch: Option<NonZeroUsize>,
}

/// Checks an address.
pub(crate) fn check_server(server: &str) -> PyResult<()> {
    let port = server.rsplit_once(':').and_then(|(host, port)| (!host.is_empty()).then_some(port));
    match port.map(str::parse::<u16>) {
        Some(Ok(1..)) => Ok(()),
        _ => Err(PyValueError::new_err(format!(
            "server={server:?}: give it as HOST:PORT, such as gate.example:4433 or [::1]:4433"
        ))),
    }
}

/// Checks the name of a task.
#[pyfunction]
pub(crate) fn check_name(name: &str) -> PyResult<()> {
    task_name(name).map(drop)
}

pub(crate) fn task_name(name: &str) -> PyResult<TaskName> {
    TaskName::new(name)
        .map_err(|error| PyValueError::new_err(format!("{name:?} cannot name a task: {error}")))
}

/// Gets an identity at the server if there is none yet, for processes that will use it.
#[pyfunction]
pub(crate) fn enrol(place: Place, on_end: Py<PyAny>) -> PyResult<Run> {
    let admission = place.admission()?;
    start(on_end, move |stop| async move {
        let Some((_, seat, token)) = admission else { return Ok(()) };
        match seat.take(token, &stop).await {
            Ok(_) | Err(SeatError::Stopped) => Ok(()),
            Err(error) => Err(error::seat(&error)),
        }
    })
}

/// Serves tasks, for a server and for brokers.
#[pyfunction]
pub(crate) fn work(
    py: Python<'_>,
    place: Place,
    ways: Ways,
    tasks: Vec<Served>,
    on_end: Py<PyAny>,
) -> PyResult<Run> {
    let (admission, brokers) = (place.admission()?, place.brokers()?);
    let hang_after = ways.hang_after()?;
    let registry = registry(py, tasks)?;
    let admission = admission.map(|(server, seat, token)| {
        let defaults = node::Config::new(server, &place.name);
        let wire = wire::node::Config { shared_memory: ways.shared_memory, ..defaults.wire };
        let config = node::Config { wire, credit: ways.credit, reconnect: ways.reconnect, ..defaults };
        (config, seat, token)
    });
    let broker = |url| {
        let defaults = broker::Config::new(url, &place.name);
        broker::Config { credit: ways.credit, reconnect: ways.reconnect, ..defaults }
    };
    let brokers: Vec<broker::Config> = brokers.into_iter().map(broker).collect();
    let threads = host::Config { threads: ways.threads, ..host::Config::default() };
    // The threads make nothing that could keep the caller waiting.
    let host = Arc::new(Host::open(&registry, threads).map_err(|error| Error::new_err(error.to_string()))?);
    start(on_end, move |stop| async move {
        let mut serving = JoinSet::new();
        if let Some((config, seat, token)) = admission {
            let (host, stop) = (Arc::clone(&host), stop.clone());
            serving.spawn(async move { keep(&config, &seat, token, &host, &stop).await });
        }
        for broker in brokers {
            let (host, stop) = (Arc::clone(&host), stop.clone());
            serving.spawn(async move {
                broker::run(&broker, host, stop).await.map_err(|error| error::run(&error))
            });
        }
        let working = async {
            let mut worked = Ok(());
            while worked.is_ok()
                && let Some(ended) = serving.join_next().await
            {
                worked = ended.unwrap_or_else(|panic| Err(Error::new_err(panic.to_string())));
            }
            worked
        };
        let worked = tokio::select! {
            worked = working => worked,
            // None of this takes the interpreter, which may be what hangs.
            hung = watchdog::watch_if(&host, hang_after) => watchdog::end(&hung),
        };
        serving.shutdown().await;
        quiet(host).await;
        worked
    })
}

fn registry(py: Python<'_>, tasks: Vec<Served>) -> PyResult<Registry> {
    let mut registry = Registry::new();
    for Served { name, function, batch } in tasks {
        let key = Key::task(task_name(&name)?);
        let made = function.clone_ref(py);
        let make = move || {
            let function = Python::attach(|py| made.clone_ref(py));
            Ok::<_, std::convert::Infallible>(Function::new(&name, function, batch.is_some()))
        };
        registry.serve_any(key.clone(), make).map_err(|error| PyValueError::new_err(error.to_string()))?;
        if let Some(batch) = batch {
            registry.batch(key, batch);
        }
    }
    Ok(registry)
}

/// Works until `stop`, and enrols anew where the identity on disk is of no use and a token was given.
async fn keep(
    config: &node::Config,
    seat: &Seat,
    mut token: Option<Token>,
    host: &Arc<Host>,
    stop: &CancellationToken,
) -> PyResult<()> {
    let mut papers = match seat.take(token.clone(), stop).await {
        Ok(papers) => papers,
        Err(SeatError::Stopped) => return Ok(()),
        Err(error) => return Err(error::seat(&error)),
    };
    loop {
        match node::run(config, &papers, Arc::clone(host), stop.clone()).await {
            Ok(()) => return Ok(()),
            Err(error) if error.needs_enrolment() => {
                let Some(token) = token.take() else { return Err(error::run(&error)) };
                tracing::warn!(%error, "enrolling again with the token");
                papers = match again(seat, &token, stop).await? {
                    Some(papers) => papers,
                    None => return Ok(()),
                };
            }
            Err(error) => return Err(error::run(&error)),
        }
    }
}

async fn again(seat: &Seat, token: &Token, stop: &CancellationToken) -> PyResult<Option<Papers>> {
    match seat.enrol(token, stop).await {
        Ok(papers) => Ok(Some(papers)),
        Err(SeatError::Stopped) => Ok(None),
        Err(error) => Err(error::seat(&error)),
    }
}

/// Lets the threads come to an end, so that none is in Python while Python ends.
async fn quiet(host: Arc<Host>) {
    if let Some(host) = Arc::into_inner(host) {
        let closed = tokio::task::spawn_blocking(|| host.close());
        if tokio::time::timeout(END_WITHIN, closed).await.is_err() {
            tracing::error!("a task has not come back for {END_WITHIN:?}, and is left behind");
        }
    }
}

/// Runs `work` on a thread of its own, which needs no interpreter but to tell its end.
fn start<W>(on_end: Py<PyAny>, work: impl FnOnce(CancellationToken) -> W + Send + 'static) -> PyResult<Run>
where
    W: Future<Output = PyResult<()>>,
{
    let stop = CancellationToken::new();
    let outcome = Arc::new(Mutex::new(None));
    let (stopped, told) = (stop.clone(), Arc::clone(&outcome));
    let body = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let ended = match runtime {
            Ok(runtime) => {
                let ended = runtime.block_on(work(stopped));
                // A thread that hangs is not waited for.
                runtime.shutdown_background();
                ended
            }
            Err(error) => Err(Error::new_err(format!("no runtime can be made: {error}"))),
        };
        *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended);
        // None where Python has ended meanwhile.
        let _ = Python::try_attach(|py| {
            if let Err(error) = on_end.call0(py) {
                error.write_unraisable(py, None);
            }
        });
    };
    let thread = std::thread::Builder::new().name("framelane".into()).spawn(body);
    thread.map_err(|error| Error::new_err(format!("no thread can be started: {error}")))?;
    Ok(Run { stop, outcome })
}
