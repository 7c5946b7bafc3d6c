//! The queue and the model side by side.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use framelane_queue::{
    Config, Dispatcher, FlowId, Join, Key, LaneId, LaneKey, Policy, Seq, Step, TaskName, Ticket, WorkerId,
};

use super::rules::Model;
use super::script::{Reply, Setup};
use super::state::{Flow, Lane};

pub(crate) type Queue = Dispatcher<u64, u64, u64>;

/// Both, with what is needed to compare them.
pub(crate) struct World {
    pub(crate) queue: Queue,
    pub(crate) model: Model,
    pub(crate) now: Instant,
    /// Every flow and every lane there ever was.
    pub(crate) flows: Vec<FlowId>,
    pub(crate) lanes: Vec<LaneId>,
    /// Every hand-out there ever was.
    pub(crate) tickets: Vec<(LaneId, Ticket)>,
    /// Those of them that were made beside another one.
    pub(crate) hedges: BTreeSet<Ticket>,
    /// Every step, for comparing two lives.
    pub(crate) trace: Vec<Step>,
    /// Every place that was taken.
    pub(crate) taken: Vec<(FlowId, Seq, u64)>,
    pub(super) items: u64,
}

pub(crate) fn key(number: u8) -> Key {
    Key::task(TaskName::new(&format!("task-{number}")).unwrap())
}

pub(super) fn lane_keys(keys: &[(u8, bool)]) -> Vec<LaneKey> {
    keys.iter().map(|&(number, warm)| LaneKey { key: key(number), warm }).collect()
}

pub(super) fn model_keys(keys: &[(u8, bool)]) -> Vec<(Key, bool)> {
    keys.iter().map(|&(number, warm)| (key(number), warm)).collect()
}

impl World {
    pub(crate) fn new(start: Instant) -> Self {
        let release_within = Duration::from_millis(50);
        let config = Config { release_within, ..Config::default() };
        Self {
            queue: Queue::new(config),
            model: Model::new(start, release_within),
            now: start,
            flows: Vec::new(),
            lanes: Vec::new(),
            tickets: Vec::new(),
            hedges: BTreeSet::new(),
            trace: Vec::new(),
            taken: Vec::new(),
            items: 0,
        }
    }

    /// A whole life.
    pub(crate) fn live(start: Instant, setup: &Setup) -> Self {
        let mut world = Self::new(start);
        for policy in &setup.policies {
            world.open(policy.clone());
        }
        for (op, poll) in &setup.ops {
            world.apply(op);
            if *poll {
                world.poll();
            }
        }
        world.poll();
        world
    }

    pub(crate) fn open(&mut self, policy: Policy) -> FlowId {
        let id = self.queue.open(policy.clone());
        assert!(!self.flows.contains(&id), "flow ids are not used again");
        self.flows.push(id);
        self.model.flows.insert(id, Flow::new(policy));
        id
    }

    /// Time moves in the model just as the next call moves it in the queue.
    pub(super) fn advance(&mut self) {
        self.model.advance(self.now);
    }

    pub(crate) fn held(&self, lane: LaneId, nth: u8) -> Option<Ticket> {
        let held = &self.model.lanes.get(&lane)?.held;
        held.keys().nth(usize::from(nth) % held.len().max(1)).copied()
    }

    pub(crate) fn join(&mut self, worker: u8, keys: &[(u8, bool)], credit: u8) -> LaneId {
        self.advance();
        let worker = WorkerId(u64::from(worker));
        let join = Join { worker, keys: lane_keys(keys), credit: u32::from(credit) };
        let id = self.queue.join(join, self.now);
        assert!(!self.lanes.contains(&id), "lane ids are not used again");
        self.lanes.push(id);
        let lane = Lane {
            worker,
            keys: model_keys(keys),
            credit: u32::from(credit),
            draining: false,
            suspected: false,
            told_drained: false,
            held: Default::default(),
            answers: Default::default(),
            marks: Default::default(),
        };
        self.model.lanes.insert(id, lane);
        id
    }

    pub(crate) fn leave(&mut self, lane: LaneId, blame: Option<Ticket>) {
        self.advance();
        self.queue.leave(lane, blame, self.now);
        self.model.leave(lane, blame);
    }

    /// Closes every flow and lets willing lanes finish it, taking all that comes.
    pub(crate) fn finish(&mut self) {
        for flow in self.flows.clone() {
            self.advance();
            self.queue.close(flow, self.now);
            self.model.close(flow);
        }
        for worker in 0..3 {
            self.join(worker, &[(0, true), (1, true), (2, true)], 3);
        }
        for _ in 0..10_000 {
            self.poll();
            for flow in self.flows.clone() {
                self.take(flow, 200);
            }
            if let Some((lane, ticket)) = self.any_held() {
                let reply = Reply::Ok { asks: vec![], seal: true };
                self.reply(lane, ticket, &reply);
            } else if let Some(until) = self.poll() {
                self.now = self.now.max(until);
            } else {
                break;
            }
        }
        self.poll();
    }

    fn any_held(&self) -> Option<(LaneId, Ticket)> {
        let mut lanes = self.model.lanes.iter();
        lanes.find_map(|(&id, lane)| Some((id, *lane.held.keys().next()?)))
    }
}
