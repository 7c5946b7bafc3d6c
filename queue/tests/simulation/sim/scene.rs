//! What there is in a life: flows with policies, sources and takers, and workers with their vices.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use framelane_queue::{Hedge, Key, LaneKey, NoLane, Policy, Share, TaskName, WhenFull, WorkerId};

use super::random::Random;

/// How many keys there are.
pub(crate) const KEYS: u64 = 3;

pub(crate) fn key(number: u64) -> Key {
    Key::task(TaskName::new(&format!("task-{number}")).expect("a name"))
}

pub(crate) fn lane_keys(numbers: impl IntoIterator<Item = u64>) -> Vec<LaneKey> {
    numbers.into_iter().map(|number| LaneKey { key: key(number), warm: number % 2 == 0 }).collect()
}

/// One flow, with who fills and who empties it.
#[derive(Clone)]
pub(crate) struct FlowPlan {
    pub(crate) policy: Policy,
    /// Items that its source has.
    pub(crate) items: u64,
    /// Microseconds between two of them, at most.
    pub(crate) gap: u64,
    /// The source stalls before an item, in percent.
    pub(crate) stalls: u64,
    /// The taker stalls when it is called, in percent.
    pub(crate) naps: u64,
    /// It is aborted, in percent, at some moment.
    pub(crate) aborts: u64,
    /// A refused item is given up instead of kept, in percent.
    pub(crate) gives_up: u64,
    /// An admitted item is cancelled some time later, in percent.
    pub(crate) cancels: u64,
    /// It is a client's: its source keeps to the flow's bounds by itself, as a window, and comes back with a new
    /// flow when it was aborted.
    pub(crate) client: bool,
}

/// One worker. Vices in percent of hand-outs, unless something else is said.
#[derive(Clone)]
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    /// Microseconds that a hand-out takes, about.
    pub(crate) takes: u64,
    pub(crate) loses: u64,
    pub(crate) hangs: u64,
    /// From 100 on it is a black hole: all that it does not lose comes back without an answer.
    pub(crate) fails: u64,
    pub(crate) bad: u64,
    pub(crate) twice: u64,
    pub(crate) foreign: u64,
    pub(crate) asks: u64,
    /// Milliseconds that a lane of it lives, about; for ever where there are none.
    pub(crate) dies: Option<u64>,
    /// Milliseconds between two silences of it, about; none where it is always heard.
    pub(crate) pauses: Option<u64>,
    /// Milliseconds between changes of its credit or keys or mind; none where it is steady.
    pub(crate) fickle: Option<u64>,
}

impl Worker {
    /// As it is when all is well: what a life ends with, so that every flow can.
    pub(crate) fn healthy(&self) -> Self {
        let none = 0;
        Self {
            id: self.id,
            takes: self.takes.min(5_000),
            loses: none,
            hangs: none,
            fails: none,
            bad: none,
            twice: none,
            foreign: none,
            asks: none,
            dies: None,
            pauses: None,
            fickle: None,
        }
    }
}

pub(crate) struct Scene {
    pub(crate) flows: Vec<FlowPlan>,
    pub(crate) workers: Vec<Worker>,
}

pub(crate) fn draw(random: &mut Random) -> Scene {
    let workers = random.between(1, 4);
    // In half of the lives one worker is ten times slower than it would be.
    let slow = random.chance(50).then(|| random.between(0, workers - 1));
    let mut workers: Vec<_> = (0..workers).map(|id| worker(random, id, slow == Some(id))).collect();
    // In a third of them one fails all that it gets, mostly at once.
    if random.chance(33) {
        let broken = random.between(0, workers.len() as u64 - 1) as usize;
        workers[broken] = Worker { fails: 100, bad: 0, takes: random.between(50, 5_000), ..workers[broken] };
    }
    let flows = (0..random.between(1, 4)).map(|_| flow(random)).collect();
    Scene { flows, workers }
}

fn worker(random: &mut Random, id: u64, slow: bool) -> Worker {
    // Some are good, some have this or that vice, and few have all.
    let vicious = random.between(0, 60);
    let mut vice = |most: u64| if random.chance(vicious) { random.between(1, most) } else { 0 };
    let (loses, hangs, fails, bad) = (vice(10), vice(5), vice(30), vice(5));
    let (twice, foreign, asks) = (vice(30), vice(20), vice(50));
    let takes = random.between(500, 20_000) * if slow { 10 } else { 1 };
    let dies = random.chance(vicious).then(|| random.between(50, 600));
    let pauses = random.chance(vicious).then(|| random.between(20, 300));
    let fickle = random.chance(vicious).then(|| random.between(20, 200));
    let id = WorkerId(id);
    Worker { id, takes, loses, hangs, fails, bad, twice, foreign, asks, dies, pauses, fickle }
}

fn flow(random: &mut Random) -> FlowPlan {
    let client = random.chance(30);
    let aborts = if random.chance(if client { 30 } else { 10 }) { 100 } else { 0 };
    let cancels = if random.chance(40) { random.between(1, 40) } else { 0 };
    let drawn = policy(random);
    let policy = match client {
        // Its window is both bounds, so that it is never refused.
        true => Policy { pending: drawn.held, when_full: WhenFull::Refuse, ..drawn },
        false => drawn,
    };
    FlowPlan {
        policy,
        items: random.between(5, 60),
        gap: random.between(100, 30_000),
        stalls: random.between(0, 5),
        naps: random.between(0, 20),
        aborts,
        gives_up: random.between(0, 50),
        cancels,
        client,
    }
}

fn policy(random: &mut Random) -> Policy {
    let bound = |random: &mut Random, most| {
        NonZeroUsize::new(random.between(1, most) as usize).expect("one at least")
    };
    let budget = Duration::from_millis(random.between(20, 400));
    let base = match random.between(0, 2) {
        0 => Policy::lossless(),
        1 => Policy::video(budget),
        _ => Policy {
            budget: random.chance(50).then_some(budget),
            attempts: NonZeroU32::new(random.between(0, 3) as u32),
            when_full: random
                .pick(&[WhenFull::Refuse, WhenFull::DropOldest, WhenFull::DropNewest])
                .expect("three"),
            no_lane: random.pick(&[NoLane::Pass, NoLane::Wait]).expect("two"),
            ..Policy::lossless()
        },
    };
    let share = |random: &mut Random| Share::of_1000(random.between(50, 500) as u16).expect("a share");
    let hedge = random.chance(40).then(|| Hedge { slowest: share(random), extra: share(random) });
    Policy {
        pending: bound(random, 12),
        held: bound(random, 20),
        // Longer than a healthy worker takes.
        answer_within: random.chance(30).then(|| random.micros(15_000, 200_000)),
        retry_after: random.chance(40).then(|| random.micros(0, 30_000)),
        pin: random.chance(10).then(|| WorkerId(random.between(0, 1))),
        weight: NonZeroU32::new(random.between(1, 4) as u32).expect("one at least"),
        hedge,
        ..base
    }
}
