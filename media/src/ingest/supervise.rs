//! The thread behind an ingest: connects, watches, reconnects.

use std::cell::RefCell;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use gst::MessageView;
use gstreamer as gst;
use picture::Rate;
use tokio::sync::watch;

use super::backoff::Backoff;
use super::pipeline::{Pipeline, Shared};
use super::queue::Queue;
use super::timeline::Break;
use super::{Config, Error, Event, report};
use crate::Source;

/// What an ingest and its thread share.
#[derive(Debug)]
pub(super) struct Control {
    queue: Queue,
    state: Mutex<State>,
    /// Wakes the thread from its wait before a reconnect.
    stopped: Condvar,
    /// True once the thread is gone.
    closed: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    stopping: bool,
    /// The bus that the thread listens to; a message on it wakes the thread.
    bus: Option<gst::Bus>,
    /// What the source says its frame rate is.
    rate: Option<Rate>,
}

impl Control {
    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn rate(&self) -> Option<Rate> {
        self.state().rate
    }

    pub(super) fn set_rate(&self, rate: Option<Rate>) {
        self.state().rate = rate;
    }

    pub(super) fn stop(&self) {
        let mut state = self.state();
        state.stopping = true;
        if let Some(bus) = &state.bus {
            let wake = gst::message::Application::new(gst::Structure::new_empty("stop"));
            // A bus that is being closed refuses; then nobody needs to be woken.
            let _ = bus.post(wake);
        }
        drop(state);
        self.stopped.notify_all();
        self.queue.abort();
    }

    pub(super) async fn closed(&self) {
        // The sender lives in self, so waiting cannot fail.
        let _ = self.closed.subscribe().wait_for(|closed| *closed).await;
    }

    /// Names the bus to wake. False: it is to stop.
    fn listen(&self, bus: Option<gst::Bus>) -> bool {
        let mut state = self.state();
        state.bus = bus;
        !state.stopping
    }

    fn is_stopping(&self) -> bool {
        self.state().stopping
    }

    /// Waits, or returns at once when it is to stop.
    fn pause(&self, wait: Duration) {
        let (state, _) = self
            .stopped
            .wait_timeout_while(self.state(), wait, |state| !state.stopping)
            .unwrap_or_else(PoisonError::into_inner);
        drop(state);
    }
}

/// How often a source without a first frame is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// How long a connection may take to close before it is left to close by itself.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// How one connection ended.
enum Attempt {
    /// It was told to stop.
    Stopped,
    /// The file's last frame was delivered.
    Ended,
    /// The file starts over in a new pipeline.
    Again,
    /// It failed.
    Failed(Error),
}

/// Starts the thread.
pub(super) fn start(source: Source, config: Config) -> Arc<Control> {
    let control = Arc::new(Control {
        queue: Queue::new(config.queue),
        state: Mutex::default(),
        stopped: Condvar::new(),
        closed: watch::Sender::new(false),
    });
    let shared = Arc::new(Shared::new(control.clone()));
    let supervisor = Supervisor { shared, source, config, left_behind: RefCell::default() };
    let thread = std::thread::Builder::new().name("ingest".to_owned());
    if let Err(error) = thread.spawn(move || supervisor.run()) {
        let (from, element) = ("the source".to_owned(), "thread".to_owned());
        let why = error.to_string();
        control.queue.finish(Event::Failed(Error::Pipeline { from, element, why }));
        control.closed.send_replace(true);
    }
    control
}

struct Supervisor {
    shared: Arc<Shared>,
    source: Source,
    config: Config,
    /// Disconnected once the connection that was left behind is closed.
    left_behind: RefCell<Option<mpsc::Receiver<()>>>,
}

impl Supervisor {
    fn run(self) {
        let control = self.shared.control.clone();
        let last = self.attempts();
        control.listen(None);
        control.queue.finish(last);
        control.closed.send_replace(true);
    }

    fn attempts(&self) -> Event {
        let control = &self.shared.control;
        let mut backoff = Backoff::new(self.config.retry_first, self.config.retry_cap);
        loop {
            let before = self.shared.frames.load(Ordering::Relaxed);
            match self.attempt() {
                Attempt::Stopped | Attempt::Ended => return Event::Ended,
                Attempt::Again => self.start_over(Break::Loop),
                Attempt::Failed(error) if !self.source.is_network() => return Event::Failed(error),
                Attempt::Failed(error) => {
                    if self.shared.frames.load(Ordering::Relaxed) > before {
                        backoff.reset();
                    }
                    let wait = backoff.wait();
                    tracing::debug!(source = %self.source, %error, ?wait, "the source failed");
                    control.queue.trouble(error.to_string());
                    control.pause(wait);
                    self.wait_for_left_behind();
                    self.start_over(Break::Reconnect);
                }
            }
            if control.is_stopping() {
                return Event::Ended;
            }
        }
    }

    fn start_over(&self, why: Break) {
        let mut timeline = self.shared.timeline.lock().unwrap_or_else(PoisonError::into_inner);
        timeline.start_over(why);
    }

    /// One pipeline from start to end. A file's is closed when this returns, and of a camera's at least the
    /// sink, so that every frame that it decoded is in the channel before what comes next.
    fn attempt(&self) -> Attempt {
        if let Source::File(path) = &self.source
            && let Err(error) = readable(path)
        {
            return Attempt::Failed(error);
        }
        let pipeline = match Pipeline::build(&self.source, &self.config, &self.shared) {
            Ok(pipeline) => pipeline,
            Err(error) => return Attempt::Failed(error),
        };
        if !self.shared.control.listen(Some(pipeline.bus.clone())) {
            return Attempt::Stopped;
        }
        self.shared.touch();
        // Before it plays: a short source may have given all its frames before this thread looks again.
        let started = self.frames();
        pipeline.play();
        let attempt = self.watch(&pipeline, started);
        if self.source.is_network() {
            self.close(pipeline);
        }
        attempt
    }

    /// Closes a connection on a thread of its own: `rtspsrc` cannot be interrupted inside a message, and a
    /// peer whose message never ends would hold the stream for good. Only one connection is ever left
    /// behind, because the next attempt waits for its end.
    fn close(&self, pipeline: Pipeline) {
        let (done, closed) = mpsc::channel();
        let closing = std::thread::Builder::new().name("ingest-close".to_owned()).spawn(move || {
            drop(pipeline);
            drop(done);
        });
        // Without a thread the pipeline was closed right here.
        if closing.is_ok() && closed.recv_timeout(CLOSE_WITHIN) == Err(mpsc::RecvTimeoutError::Timeout) {
            tracing::warn!(source = %self.source, "the connection does not close, because a message does not end");
            *self.left_behind.borrow_mut() = Some(closed);
        }
    }

    /// Waits until a connection that was left behind is closed, or until it is to stop.
    fn wait_for_left_behind(&self) {
        let Some(closed) = self.left_behind.take() else { return };
        while !self.shared.control.is_stopping()
            && closed.recv_timeout(LOOK) == Err(mpsc::RecvTimeoutError::Timeout)
        {}
    }

    fn watch(&self, pipeline: &Pipeline, started: u64) -> Attempt {
        const TYPES: &[gst::MessageType] = &[
            gst::MessageType::Error,
            gst::MessageType::Eos,
            gst::MessageType::Application,
            gst::MessageType::Latency,
        ];
        let mut pass = started;
        loop {
            let limit = if self.frames() == started {
                self.config.connect_within.max(self.config.stall_after)
            } else {
                self.config.stall_after
            };
            if self.shared.delivering() {
                // The consumer takes its time; the source is not to blame.
                self.shared.touch();
            }
            let Some(left) = limit.checked_sub(self.shared.silent_for()).filter(|t| !t.is_zero()) else {
                return Attempt::Failed(self.silent(self.frames() == started, limit));
            };
            let wait = if self.frames() == started { left.min(LOOK) } else { left };
            let wait = gst::ClockTime::try_from(wait).unwrap_or(gst::ClockTime::SECOND);
            let Some(message) = pipeline.bus.timed_pop_filtered(wait, TYPES) else {
                if self.frames() == started && pipeline.gave_up() {
                    let why = "it holds no stream that is understood".to_owned();
                    return Attempt::Failed(Error::NotVideo { from: self.source.to_string(), why });
                }
                continue;
            };
            match message.view() {
                MessageView::Application(_) if self.shared.control.is_stopping() => {
                    return Attempt::Stopped;
                }
                MessageView::Error(_) if self.shared.control.is_stopping() => return Attempt::Stopped,
                MessageView::Error(error) => {
                    return Attempt::Failed(report::explain(&self.source, error));
                }
                MessageView::Latency(_) => pipeline.recalculate_latency(),
                MessageView::Eos(_) if self.source.is_network() => {
                    return Attempt::Failed(Error::Ended { from: self.source.to_string() });
                }
                MessageView::Eos(_) if self.frames() == pass => {
                    let why = "it holds no video frame".to_owned();
                    return Attempt::Failed(Error::NotVideo { from: self.source.to_string(), why });
                }
                MessageView::Eos(_) if !self.config.loop_file => return Attempt::Ended,
                MessageView::Eos(_) => {
                    pass = self.frames();
                    self.start_over(Break::Loop);
                    // A test scene counts its frames once per pipeline, and some files cannot seek.
                    if !matches!(self.source, Source::File(_)) || !pipeline.rewind() {
                        return Attempt::Again;
                    }
                    self.shared.touch();
                }
                _ => {}
            }
        }
    }

    fn silent(&self, from_the_start: bool, after: Duration) -> Error {
        let from = self.source.to_string();
        if from_the_start && !self.source.is_network() {
            return Error::NotVideo { from, why: format!("no frame came in {} s", after.as_secs_f32()) };
        }
        Error::Stalled { from, after }
    }

    fn frames(&self) -> u64 {
        self.shared.frames.load(Ordering::Relaxed)
    }
}

/// Says what is wrong with a file before GStreamer says less about it.
fn readable(path: &std::path::Path) -> Result<(), Error> {
    let unreadable = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => Error::NoFile { path: path.to_owned() },
        _ => Error::Unreadable { path: path.to_owned(), source },
    };
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(Error::NotAFile { path: path.to_owned() });
    }
    std::fs::File::open(path).map(drop).map_err(unreadable)
}
