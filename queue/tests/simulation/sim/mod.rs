//! The dispatcher among lanes, sources and takers that misbehave, in virtual time. One number, the
//! seed, decides everything, so a life that broke a promise can be lived again.
//!
//! [`scene`] draws what there is: policies, workers with their vices, sources, clients and takers. [`stage`] lets
//! it happen: [`sources`] and [`machines`] say what each does. [`judge`] watches from outside: it knows what was offered, handed out, said and taken, and
//! nothing of the queue's insides, and holds the eight invariants against that after every step.
//! [`subject`] is the queue, or one that breaks a promise on purpose.

mod judge;
mod machines;
mod random;
mod scene;
mod sources;
mod stage;
mod subject;

use std::time::{Duration, Instant};

pub(crate) use subject::Fault;

/// What was seen in one life, so that a test can tell that much happened.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) taken: u64,
    pub(crate) missing: u64,
    pub(crate) hand_outs: u64,
    pub(crate) hedges: u64,
    pub(crate) hedges_won: u64,
    pub(crate) rescues: u64,
    pub(crate) stale: u64,
    pub(crate) lanes_lost: u64,
    /// Places that were cancelled before they were settled.
    pub(crate) cancelled: u64,
    /// Hand-outs that were taken back, since no answer came in time.
    pub(crate) unanswered: u64,
    /// Hand-outs to lanes that fail, while others work.
    pub(crate) probes: u64,
    pub(crate) steps: u64,
    /// The fault on purpose, where there is one, had its chance.
    pub(crate) faulty: bool,
}

impl Seen {
    pub(crate) fn add(&mut self, other: Self) {
        self.taken += other.taken;
        self.missing += other.missing;
        self.hand_outs += other.hand_outs;
        self.hedges += other.hedges;
        self.hedges_won += other.hedges_won;
        self.rescues += other.rescues;
        self.stale += other.stale;
        self.lanes_lost += other.lanes_lost;
        self.cancelled += other.cancelled;
        self.unanswered += other.unanswered;
        self.probes += other.probes;
        self.steps += other.steps;
        self.faulty |= other.faulty;
    }
}

/// A promise that did not hold.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) seed: u64,
    /// Since the beginning of the life.
    pub(crate) at: Duration,
    pub(crate) what: String,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seed, at, what } = self;
        writeln!(f, "seed {seed}: a promise is broken after {at:?}: {what}")?;
        write!(f, "again: cargo run --release -p framelane-queue --example simulate -- --seed {seed}")
    }
}

/// Lives the life of a seed. With `tell` every call and step is printed.
pub(crate) fn run(seed: u64, fault: Option<Fault>, tell: bool) -> Result<Seen, Box<Broken>> {
    let start = Instant::now();
    let mut stage = stage::Stage::new(seed, start, fault, tell);
    // A panic inside the queue is a broken promise too, and must name its seed.
    let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| stage.live()));
    let what = match lived {
        Ok(Ok(())) => return Ok(stage.seen()),
        Ok(Err(what)) => what,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            format!("it panics: {}", text.unwrap_or("without a text"))
        }
    };
    Err(Box::new(Broken { seed, at: stage.now() - start, what }))
}
