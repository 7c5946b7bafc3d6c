//! Which thread drives a worker's network.
//!
//! A job that comes in on one thread and is done on another costs two switches between threads, and on a core
//! that sleeps a switch takes longer than a short job. So a host of one thread drives the network itself
//! while it waits, as long as jobs are quick and come one at a time. The main thread stands by: it drives
//! while the host's thread has more to do, and takes over at once from a job that takes longer than it should,
//! so that nothing a job does can keep the network waiting.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::panic::resume_unwind;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How often the main thread looks whether the other one has left the network alone ...
const LOOK: Duration = Duration::from_millis(20);
/// ... for so long: more than a quick job takes, less than a server notices.
const PATIENCE: Duration = Duration::from_millis(5);
/// After so many looks at a thread that never left the network it looks no more, until that one leaves it again: a
/// worker without work costs nothing. Tests do not wait a second for it.
const AT_REST: u32 = if cfg!(test) { 5 } else { 50 };

/// A runtime of one thread at a time: the calling one, or that of a host that was given the [`Wheel`].
pub struct Drive {
    shared: Arc<Shared>,
    wheel: Option<Wheel>,
}

/// A share in a [`Drive`], for [`Host::open_driving`](crate::Host::open_driving).
pub struct Wheel {
    shared: Arc<Shared>,
    /// Whether this side drives, or did when it was last looked at.
    mine: bool,
}

struct Shared {
    runtime: Runtime,
    state: Mutex<State>,
    changed: Condvar,
    /// Asks the main thread for the wheel.
    asked: Notify,
    /// The main thread's future has ended.
    over: CancellationToken,
}

struct State {
    driver: Driver,
    /// Whether the wheel's holder has left the network alone since the main thread last looked.
    left: bool,
    /// Whether the main thread looks no more until it does.
    at_rest: bool,
}

/// Who drives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Driver {
    /// The main thread.
    Main,
    /// The wheel's holder. Where it is away, since when.
    Wheel { away: Option<Instant> },
    /// Nobody any more.
    Over,
}

impl Drive {
    /// A runtime with timers and the network, driven by nobody yet.
    ///
    /// # Errors
    /// What the system says.
    pub fn new() -> io::Result<Drive> {
        let shared = Arc::new(Shared {
            runtime: Builder::new_current_thread().enable_all().build()?,
            state: Mutex::new(State { driver: Driver::Main, left: false, at_rest: false }),
            changed: Condvar::new(),
            asked: Notify::new(),
            over: CancellationToken::new(),
        });
        let wheel = Wheel { shared: Arc::clone(&shared), mine: false };
        Ok(Drive { shared, wheel: Some(wheel) })
    }

    /// What lets a host drive, once.
    pub fn wheel(&mut self) -> Option<Wheel> {
        self.wheel.take()
    }

    /// Runs a future to its end. Its panic is the caller's.
    pub fn block_on<F>(self, future: F) -> F::Output
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let Shared { runtime, asked, over, .. } = &*self.shared;
        // Also where it panics.
        let ends = over.clone().drop_guard();
        let mut task = runtime.spawn(async move {
            let _ends = ends;
            future.await
        });
        let ended = loop {
            let ended = runtime.block_on(async {
                tokio::select! {
                    biased;
                    ended = &mut task => Some(ended),
                    () = asked.notified() => None,
                }
            });
            match ended {
                Some(ended) => break ended,
                None => self.stand_by(&task),
            }
        };
        self.shared.state().driver = Driver::Over;
        self.shared.changed.notify_all();
        // Nobody aborts it.
        ended.unwrap_or_else(|error| resume_unwind(error.into_panic()))
    }

    /// Lets the other thread drive until it does not.
    fn stand_by<T>(&self, task: &JoinHandle<T>) {
        let mut state = self.shared.state();
        state.driver = Driver::Wheel { away: None };
        self.shared.changed.notify_all();
        let mut quiet = 0;
        loop {
            quiet = if std::mem::take(&mut state.left) { 0 } else { quiet + 1 };
            state.at_rest = quiet > AT_REST;
            state = match state.at_rest {
                true => self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                false => {
                    let waited = self.shared.changed.wait_timeout(state, LOOK);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            match state.driver {
                Driver::Wheel { away: Some(since) } if task.is_finished() || since.elapsed() > PATIENCE => {
                    state.driver = Driver::Main;
                    return;
                }
                Driver::Wheel { .. } => {}
                Driver::Main | Driver::Over => return,
            }
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // No step panics half-way, so a poisoned one is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wheel {
    /// Whether this side drives.
    pub(crate) fn is_mine(&self) -> bool {
        self.mine
    }

    /// Drives until there is `work`; gives false where all is over. Until `awake` the thread does not sleep.
    pub(crate) fn drive_until(&mut self, work: &Notify, awake: Option<Instant>) -> bool {
        let worth = self.take()
            && self.shared.runtime.block_on(async {
                tokio::select! {
                    biased;
                    () = self.shared.over.cancelled() => false,
                    () = work.notified() => true,
                    never = busy_poll(awake) => match never {},
                }
            });
        if !worth {
            self.hand_over();
        }
        worth
    }

    /// Leaves the network alone for a moment; if that becomes long, the main thread drives.
    pub(crate) fn leave(&mut self) {
        self.step(Some(Instant::now()));
    }

    /// Is back from that.
    pub(crate) fn back(&mut self) {
        self.step(None);
    }

    fn step(&mut self, away: Option<Instant>) {
        if self.mine {
            let mut state = self.shared.state();
            match state.driver {
                Driver::Wheel { .. } => {
                    state.driver = Driver::Wheel { away };
                    state.left |= away.is_some();
                    if away.is_some() && std::mem::take(&mut state.at_rest) {
                        self.shared.changed.notify_all();
                    }
                }
                Driver::Main | Driver::Over => self.mine = false,
            }
        }
    }

    /// Lets the main thread drive.
    pub(crate) fn hand_over(&mut self) {
        if std::mem::take(&mut self.mine) {
            let mut state = self.shared.state();
            if let Driver::Wheel { .. } = state.driver {
                state.driver = Driver::Main;
                self.shared.changed.notify_all();
            }
        }
    }

    /// Asks for the wheel if it is not here, and waits for it; gives false where nobody drives any more.
    fn take(&mut self) -> bool {
        if self.mine {
            return true;
        }
        let mut state = self.shared.state();
        if state.driver == Driver::Main {
            self.shared.asked.notify_one();
        }
        while state.driver == Driver::Main {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        self.mine = state.driver != Driver::Over;
        self.mine
    }
}

/// Lets the runtime look for packets again and again until this moment, instead of sleeping until one comes.
async fn busy_poll(until: Option<Instant>) -> Infallible {
    while until.is_some_and(|until| Instant::now() < until) {
        // Whatever else there is has its turn, and then the network is looked at without a wait.
        tokio::task::yield_now().await;
    }
    std::future::pending().await
}

impl Drop for Wheel {
    fn drop(&mut self) {
        self.hand_over();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;

    use super::*;

    /// A thread that takes the wheel, and the means to make it leave the network alone.
    fn driver(mut wheel: Wheel, work: Arc<Notify>, away: mpsc::Receiver<()>) -> thread::JoinHandle<bool> {
        thread::spawn(move || {
            while wheel.drive_until(&work, None) {
                wheel.leave();
                // Without a word it is away for ever, like a job that hangs.
                if away.recv().is_err() {
                    return false;
                }
                wheel.back();
            }
            true
        })
    }

    #[test]
    fn timers_go_on_while_the_other_thread_drives_is_away_and_is_back() {
        let mut drive = Drive::new().expect("a runtime");
        let work = Arc::new(Notify::new());
        let (come_back, away) = mpsc::channel();
        let thread = driver(drive.wheel().expect("the first"), Arc::clone(&work), away);
        assert!(drive.wheel().is_none(), "there is one");
        let threads = drive.block_on(async move {
            let mut threads = std::collections::BTreeSet::new();
            for turn in 0..60 {
                tokio::time::sleep(Duration::from_millis(1)).await;
                threads.insert(format!("{:?}", thread::current().id()));
                match turn {
                    10 => work.notify_one(),
                    40 => drop(come_back.send(())),
                    _ => {}
                }
            }
            threads
        });
        assert_eq!(threads.len(), 2, "both drove");
        assert!(thread.join().expect("no panic"), "it was told that all is over");
    }

    /// That the main thread drives in the end, where the other one is away for ever some time after the beginning.
    fn taken_over_after(quiet: Duration) {
        let mut drive = Drive::new().expect("a runtime");
        let work = Arc::new(Notify::new());
        let (come_back, away) = mpsc::channel::<()>();
        let thread = driver(drive.wheel().expect("the first"), Arc::clone(&work), away);
        let main = thread::current().id();
        let ended_on = drive.block_on(async move {
            while thread::current().id() == main {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            tokio::time::sleep(quiet).await;
            work.notify_one();
            while thread::current().id() != main {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            thread::current().id()
        });
        assert_eq!(ended_on, main);
        drop(come_back);
        assert!(!thread.join().expect("no panic"), "it was away to the end");
    }

    #[test]
    fn one_that_never_comes_back_holds_up_nothing() {
        taken_over_after(Duration::ZERO);
        taken_over_after(2 * AT_REST * LOOK);
    }

    /// How often the thread with this folder in `/proc` has gone to sleep.
    #[cfg(target_os = "linux")]
    fn naps(thread: &std::path::Path) -> u64 {
        let status = std::fs::read_to_string(std::path::Path::new("/proc").join(thread).join("status"));
        let status = status.expect("the thread is there");
        let naps = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        naps.and_then(|naps| naps.trim().parse().ok()).expect("Linux counts them")
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_main_thread_sleeps_while_there_is_no_work() {
        let mut drive = Drive::new().expect("a runtime");
        let wheel = drive.wheel().expect("the first");
        let (_never, away) = mpsc::channel();
        let thread = driver(wheel, Arc::default(), away);
        let main = std::fs::read_link("/proc/thread-self").expect("Linux has it");
        let woken = drive.block_on(async move {
            tokio::time::sleep(2 * AT_REST * LOOK).await;
            let before = naps(&main);
            tokio::time::sleep(20 * LOOK).await;
            naps(&main) - before
        });
        assert!(woken <= 1, "woken {woken} times for nothing");
        assert!(thread.join().expect("no panic"));
    }

    /// How often a runtime sleeps in some milliseconds in which the other thread drives it.
    #[cfg(target_pointer_width = "64")] // tokio counts there.
    fn sleeps(awake: Option<Instant>) -> u64 {
        let mut drive = Drive::new().expect("a runtime");
        let mut wheel = drive.wheel().expect("the first");
        let thread = thread::spawn(move || wheel.drive_until(&Notify::new(), awake));
        let main = thread::current().id();
        let slept = drive.block_on(async move {
            while thread::current().id() == main {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let metrics = tokio::runtime::Handle::current().metrics();
            let so_far = metrics.worker_park_count(0);
            tokio::time::sleep(Duration::from_millis(20)).await;
            metrics.worker_park_count(0) - so_far
        });
        assert!(!thread.join().expect("no panic"), "there was no work");
        slept
    }

    #[cfg(target_pointer_width = "64")]
    #[test]
    fn who_is_to_poll_does_not_sleep() {
        assert_eq!(sleeps(Instant::now().checked_add(Duration::from_secs(3600))), 0);
        assert!(sleeps(Some(Instant::now())) > 0);
        assert!(sleeps(None) > 0);
    }

    #[test]
    fn the_end_is_told_to_one_who_drives() {
        let mut drive = Drive::new().expect("a runtime");
        let (_never, away) = mpsc::channel();
        let thread = driver(drive.wheel().expect("the first"), Arc::default(), away);
        drive.block_on(async {
            for _ in 0..50 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        assert!(thread.join().expect("no panic"));
    }
}
