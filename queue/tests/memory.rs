//! Invariant 8, second half, over a long life: memory follows what there is, never what there was.
//!
//! What is measured is all memory of this process that is no file's, so nothing that the dispatcher keeps can
//! hide. The tests take turns, since they share the process.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "helpers of a test fail the test, as the test itself does")]

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use framelane_queue::{
    Answered, Config, Dispatcher, Failure, FlowId, Hedge, Join, Key, LaneId, LaneKey, NoLane, Offer, Part,
    Parts, Policy, SourceCounts, Step, TaskName, Ticket, WorkerId,
};

const FLOWS: usize = 1_000;
const LANES: u64 = 100;
const CREDIT: u32 = 4;
/// Virtual time between two offers.
const GAP: Duration = Duration::from_micros(10);
/// By then every table has the size that it needs.
const SHORT: u64 = 100_000;
const LONG: u64 = 1_000_000;
/// What the allocator may keep back otherwise than before. A byte of every third life would be more.
const SLACK: u64 = 256 << 10;

static TURN: Mutex<()> = Mutex::new(());

/// The memory of this process that is no file's, in bytes.
fn anonymous() -> u64 {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
    let kib: u64 = line.trim().strip_suffix(" kB").unwrap().parse().unwrap();
    kib << 10
}

fn key(number: u64) -> Key {
    Key::task(TaskName::new(&format!("work-{number}")).unwrap())
}

/// Policies with and without deadlines, rests, hedges and limits to an answer's time, so that every table is used.
fn policy(number: u64) -> Policy {
    let budget = Duration::from_millis(200);
    match number % 4 {
        0 => Policy::lossless(),
        1 => Policy { no_lane: NoLane::Wait, ..Policy::video(budget) },
        2 => Policy { hedge: Some(Hedge::default()), retry_after: Some(budget / 10), ..Policy::lossless() },
        _ => Policy { answer_within: Some(budget), attempts: NonZeroU32::new(2), ..Policy::lossless() },
    }
}

struct World {
    queue: Dispatcher<u64, (), u64>,
    now: Instant,
    flows: VecDeque<(FlowId, Key)>,
    lanes: VecDeque<LaneId>,
    out: VecDeque<(LaneId, Ticket)>,
    opened: u64,
    joined: u64,
    offered: u64,
    taken: u64,
    /// After so many lives a flow ends and another begins, and after twice as many a lane.
    change: Option<u64>,
}

impl World {
    fn new(change: Option<u64>) -> Self {
        let mut world = Self {
            queue: Dispatcher::new(Config::default()),
            now: Instant::now(),
            flows: VecDeque::new(),
            lanes: VecDeque::new(),
            out: VecDeque::new(),
            opened: 0,
            joined: 0,
            offered: 0,
            taken: 0,
            change,
        };
        (0..LANES).for_each(|_| world.join());
        (0..FLOWS).for_each(|_| world.open());
        world
    }

    /// Keys change with those who come and go: a few at any time, and never one of before again.
    fn key(&self) -> Key {
        key(self.change.map_or(0, |_| self.opened / FLOWS as u64))
    }

    fn open(&mut self) {
        let flow = self.queue.open(policy(self.opened));
        self.flows.push_back((flow, self.key()));
        self.opened += 1;
    }

    fn join(&mut self) {
        let present = self.flows.front().map_or_else(|| self.key(), |(_, key)| key.clone());
        let next = self.flows.back().map_or_else(|| self.key(), |(_, key)| key.clone());
        let keys = [present, next].map(|key| LaneKey { key, warm: true }).to_vec();
        let lane = self.queue.join(Join { worker: WorkerId(self.joined), keys, credit: CREDIT }, self.now);
        self.lanes.push_back(lane);
        self.joined += 1;
    }

    /// One flow ends and another begins; each second time a lane leaves, with what it has, for another one.
    fn come_and_go(&mut self, flow_only: bool) {
        let (flow, _) = self.flows.pop_front().unwrap();
        self.queue.close(flow, self.now);
        self.queue.abort(flow, self.now);
        self.open();
        if !flow_only {
            let lane = self.lanes.pop_front().unwrap();
            self.queue.leave(lane, None, self.now);
            self.out.retain(|(holder, _)| *holder != lane);
            self.join();
        }
    }

    fn live(&mut self, lives: u64) {
        let mut idle = 0;
        while self.taken < lives {
            let before = self.taken;
            self.offer();
            self.now += GAP;
            if let Some(change) = self.change
                && self.offered.is_multiple_of(change)
            {
                self.come_and_go(!self.offered.is_multiple_of(2 * change));
            }
            self.poll();
            // As many as come in, and again those that failed.
            while self.out.len() >= LANES as usize * CREDIT as usize / 2
                && let Some((lane, ticket)) = self.out.pop_front()
            {
                // One in fifty fails, here and there.
                let fails = (ticket.seq.get() * 7 + lane.get()).is_multiple_of(50);
                let result = if fails { Err(Failure::Failed) } else { Ok(1) };
                self.queue.answer(lane, ticket, Answered::new(result), self.now);
                self.poll();
            }
            idle = if self.taken == before { idle + 1 } else { 0 };
            assert!(idle < 100_000, "no task comes out any more");
        }
    }

    fn offer(&mut self) {
        let (flow, key) = self.flows[self.offered as usize % FLOWS].clone();
        let parts = Parts::one(Part { key, payload: () });
        let (captured_at, source) = (self.now, SourceCounts::default());
        let offer = Offer { item: self.offered, parts, sealed: true, captured_at, source };
        let _ = self.queue.offer(flow, offer, self.now);
        self.offered += 1;
    }

    fn poll(&mut self) {
        loop {
            match self.queue.poll(self.now) {
                Step::Assign { lane, ticket } => self.out.push_back((lane, ticket)),
                Step::Cancel { lane, ticket } => {
                    self.out.retain(|(_, held)| *held != ticket);
                    self.queue.released(lane, ticket, self.now);
                }
                Step::Ready { flow } => {
                    while self.queue.take(flow, self.now).is_some() {
                        self.taken += 1;
                    }
                }
                Step::Closed { flow } => {
                    self.queue.forget(flow).unwrap();
                }
                Step::Wait(_) => return,
                Step::Room { .. } | Step::Drained { .. } | Step::Lost { .. } => {}
            }
        }
    }
}

fn hold(change: Option<u64>) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut world = World::new(change);
    world.live(SHORT);
    let before = anonymous();
    world.live(LONG);
    let after = anonymous();
    assert_eq!((world.flows.len(), world.lanes.len()), (FLOWS, LANES as usize));
    assert!(
        after.abs_diff(before) <= SLACK,
        "{} KiB after {SHORT} lives, {} KiB after {LONG}",
        before >> 10,
        after >> 10
    );
}

#[test]
fn invariant_8_a_million_lives_later_memory_is_what_it_was() {
    hold(None);
}

#[test]
fn invariant_8_flows_and_lanes_that_come_and_go_leave_nothing_behind() {
    // Some ten thousand flows and five thousand lanes.
    hold(Some(90));
}
