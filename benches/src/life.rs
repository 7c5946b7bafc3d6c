//! The whole life of a task inside the queue, with nothing around it: offer, assign, hand out, answer,
//! ready, take.

use std::collections::VecDeque;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use queue::{
    Answered, Config, Dispatcher, Join, Key, LaneId, LaneKey, Offer, Part, Parts, Policy, SourceCounts, Step,
    TaskName, Ticket, WorkerId,
};

/// Virtual time between two offers. With the usual budget of 0.2 s many deadlines lie ahead at any
/// moment, as they do under load.
const GAP: Duration = Duration::from_micros(10);

/// How much of everything there is.
#[derive(Debug, Clone)]
pub struct Load {
    /// Flows, which offer in turn.
    pub flows: usize,
    /// Lanes, each of a worker of its own.
    pub lanes: u64,
    /// The tickets that each lane may hold. All of them are out all the time.
    pub credit: u32,
    /// The policy of every flow.
    pub policy: Policy,
}

/// Lets so many tasks live and returns the time that this took on the processor, so that a busy
/// machine does not show.
///
/// # Panics
/// If a task does not come out: the queue is broken then, and a figure would mean nothing.
#[must_use]
pub fn run(load: &Load, tasks: u64) -> Duration {
    let mut world = World::new(load);
    let began = on_processor();
    world.run(tasks);
    on_processor().saturating_sub(began)
}

struct World {
    queue: Dispatcher<u64, (), u64>,
    key: Key,
    now: Instant,
    flows: Vec<queue::FlowId>,
    /// How many tickets may be out.
    most: usize,
    out: VecDeque<(LaneId, Ticket, u64)>,
    offered: u64,
    taken: u64,
}

impl World {
    fn new(load: &Load) -> Self {
        let key = Key::task(TaskName::new("life").expect("it is a name"));
        let mut queue = Dispatcher::new(Config::default());
        let now = Instant::now();
        for worker in 0..load.lanes {
            let keys = vec![LaneKey { key: key.clone(), warm: true }];
            queue.join(Join { worker: WorkerId(worker), keys, credit: load.credit }, now);
        }
        let flows = (0..load.flows).map(|_| queue.open(load.policy.clone())).collect();
        let most = load.lanes as usize * load.credit as usize;
        Self { queue, key, now, flows, most, out: VecDeque::new(), offered: 0, taken: 0 }
    }

    fn run(&mut self, tasks: u64) {
        let end = self.taken + tasks;
        let mut idle = 0;
        while self.taken < end {
            let before = self.taken;
            self.offer();
            self.now += GAP;
            if self.out.len() >= self.most
                && let Some((lane, ticket, item)) = self.out.pop_front()
            {
                self.queue.answer(lane, ticket, Answered::new(Ok(item)), self.now);
            }
            self.poll();
            idle = if self.taken == before { idle + 1 } else { 0 };
            assert!(idle < 1_000_000, "no task comes out any more");
        }
    }

    fn offer(&mut self) {
        let flow = self.flows[self.offered as usize % self.flows.len()];
        let offer = Offer {
            item: self.offered,
            parts: Parts::one(Part { key: self.key.clone(), payload: () }),
            sealed: true,
            captured_at: self.now,
            source: SourceCounts::default(),
        };
        self.offered += u64::from(self.queue.offer(flow, offer, self.now).is_ok());
    }

    fn poll(&mut self) {
        loop {
            match self.queue.poll(self.now) {
                Step::Assign { lane, ticket } => {
                    let out = self.queue.hand_out(ticket).expect("a fresh ticket is live");
                    self.out.push_back((lane, ticket, *out.item));
                }
                Step::Ready { flow } => {
                    while self.queue.take(flow, self.now).is_some() {
                        self.taken += 1;
                    }
                }
                Step::Wait(_) => return,
                _ => {}
            }
        }
    }
}

/// How long this thread has had a processor; where the system does not tell, an ordinary clock.
fn on_processor() -> Duration {
    static START: OnceLock<Instant> = OnceLock::new();
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = told.and_then(|told| told.split(' ').next()?.parse().ok());
    nanos.map_or_else(|| START.get_or_init(Instant::now).elapsed(), Duration::from_nanos)
}
