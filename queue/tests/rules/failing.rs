//! Lanes that fail what they get: who has it next, who rests, and who is found to be well again.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use crate::small::{MS, Small, key};
use framelane_queue::{Failure, FlowId, LaneId, LaneKey, NoLane, Policy, Settled, Step, Ticket, Verdict};

/// Lanes that take so long each, and fail or answer.
struct Shop {
    small: Small,
    lanes: Vec<Lane>,
    working: Vec<(Instant, usize, Ticket)>,
}

struct Lane {
    id: LaneId,
    takes: Duration,
    fails: bool,
    /// When it got something.
    got: Vec<Instant>,
}

impl Shop {
    /// Lanes of a worker each, which take so many milliseconds for each part; a lane is (takes, credit, fails).
    fn new(lanes: &[(u32, u32, bool)]) -> Self {
        let mut small = Small::new();
        let lanes = lanes.iter().zip(1..).map(|(&(takes, credit, fails), worker)| {
            let id = small.join_as(worker, &["work"], credit);
            Lane { id, takes: takes * MS, fails, got: Vec::new() }
        });
        let lanes = lanes.collect();
        Self { small, lanes, working: Vec::new() }
    }

    /// Lets them work until this moment.
    fn until(&mut self, end: Instant) {
        loop {
            let wait = self.poll();
            let done = self.working.iter().map(|&(at, ..)| at).min();
            let next = wait.into_iter().chain(done).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.small.now = next;
            self.working.sort();
            while let Some(&(at, lane, ticket)) = self.working.first()
                && at <= next
            {
                self.working.remove(0);
                let Lane { id, fails, .. } = self.lanes[lane];
                if fails {
                    self.small.fail(id, ticket, Failure::Failed);
                } else {
                    self.small.answer(id, ticket);
                }
            }
        }
        self.small.now = end;
    }

    fn poll(&mut self) -> Option<Instant> {
        loop {
            match self.small.queue.poll(self.small.now) {
                Step::Wait(until) => return until,
                Step::Assign { lane, ticket } => {
                    let at = self.lanes.iter().position(|known| known.id == lane).unwrap();
                    self.lanes[at].got.push(self.small.now);
                    self.working.push((self.small.now + self.lanes[at].takes, at, ticket));
                }
                _ => {}
            }
        }
    }

    /// A video of so many frames, one each `gap`; how many were answered.
    fn video(&mut self, frames: u64, gap: Duration) -> u64 {
        let flow = self.small.open(Policy::video(500 * MS));
        for _ in 0..frames {
            self.small.offer(flow).unwrap();
            self.until(self.small.now + gap);
            self.small.taken(flow);
        }
        self.until(self.small.now + 1_000 * MS);
        self.small.taken(flow);
        let books = self.small.books(flow);
        assert_eq!(books.admitted, frames);
        books.answered
    }
}

/// A lossless flow with so many items waiting.
fn crowd(small: &mut Small, items: usize) -> FlowId {
    let bound = NonZeroUsize::new(items).unwrap();
    let flow = small.open(Policy { pending: bound, held: bound, ..Policy::lossless() });
    for _ in 0..items {
        small.offer(flow).unwrap();
    }
    flow
}

fn lanes_of(assigned: &[(LaneId, Ticket)]) -> Vec<LaneId> {
    assigned.iter().map(|&(lane, _)| lane).collect()
}

#[test]
fn what_the_first_lane_fails_another_answers() {
    // The one that fails joined first, and has the most credit.
    let mut small = Small::new();
    let flow = small.open(Policy::lossless());
    let broken = small.join(&["work"], 9);
    let good = small.join(&["work"], 1);
    small.offer(flow).unwrap();
    let (lane, ticket) = small.assigned()[0];
    assert_eq!(lane, broken);
    small.fail(broken, ticket, Failure::Failed);
    let (lane, ticket) = small.assigned()[0];
    assert_eq!(lane, good);
    assert_eq!(small.answer(good, ticket), Settled::Counted);
    assert_eq!(small.verdicts(flow), [(0, Verdict::Answered)]);
}

#[test]
fn a_video_with_one_bad_lane_of_two_loses_nothing() {
    // One that fails at once, before it has another frame; and one that has several meanwhile.
    for takes in [1, 90] {
        let mut shop = Shop::new(&[(takes, 4, true), (30, 2, false)]);
        assert_eq!(shop.video(1_000, 40 * MS), 1_000, "where failing takes {takes} ms");
        let probes = shop.lanes[0].got.len();
        assert!((5..25).contains(&probes), "{probes} hand-outs to the bad lane in 40 seconds");
    }
}

#[test]
fn under_load_a_lane_that_fails_at_once_gets_probes_only() {
    let mut shop = Shop::new(&[(1, 4, true), (10, 2, false), (10, 2, false)]);
    let flow = crowd(&mut shop.small, 4_000);
    let start = shop.small.now;
    // Two lanes with two at a time: ten seconds of work for four thousand parts.
    shop.until(start + 10_100 * MS);
    assert_eq!(shop.small.books(flow).pending, 0, "the others have done all");
    let probes = shop.lanes[0].got.len();
    // What its credit was at first, and then one after each rest: 20, 80, 320, 1280 and 5120 ms.
    assert!((5..=12).contains(&probes), "{probes} hand-outs to a lane that fails everything");
    assert!(shop.small.books(flow).parts.missing.total() == 0);
}

#[test]
fn one_that_is_well_again_has_its_work_again() {
    for gap in [1_000, 5] {
        // With few parts the other one always has room, with many it never has.
        let mut shop = Shop::new(&[(1, 1, true), (9, 1, false)]);
        shop.video(20_000 / gap, gap as u32 * MS);
        shop.lanes[0].fails = false;
        let healed = shop.small.now;
        shop.video(20_000 / gap, gap as u32 * MS);
        let got = shop.lanes[0].got.iter().filter(|at| **at >= healed);
        let first = got.clone().next().copied().expect("it has work");
        assert!(first - healed <= 5_120 * MS + gap as u32 * MS, "after {:?}", first - healed);
        assert!(got.count() as u64 > 6_000 / gap, "as much as any other");
    }
}

#[test]
fn a_failed_part_waits_for_a_lane_that_is_only_busy_but_not_for_ever() {
    for frees in [true, false] {
        let mut small = Small::new();
        let flow = small.open(Policy::lossless());
        let broken = small.join(&["work"], 1);
        let busy = small.join(&["work"], 1);
        small.offer(flow).unwrap();
        small.offer(flow).unwrap();
        let held = small.assigned();
        assert_eq!(lanes_of(&held), [broken, busy]);
        small.fail(broken, held[0].1, Failure::Failed);
        assert_eq!(small.steps(), [], "the other one will do it");
        small.now += 19 * MS;
        assert_eq!(small.steps(), []);
        if frees {
            small.answer(busy, held[1].1);
            assert_eq!(lanes_of(&small.assigned()), [busy]);
        } else {
            small.now += MS;
            assert_eq!(lanes_of(&small.assigned()), [broken], "work goes on behind one that hangs");
        }
    }
}

#[test]
fn it_waits_for_nobody_who_does_not_work() {
    type Stop = fn(&mut Small, LaneId);
    let stops: [Stop; 4] = [
        |small, lane| small.queue.suspect(lane, small.now),
        |small, lane| small.queue.drain(lane, small.now),
        |small, lane| small.queue.credit(lane, 0, small.now),
        |small, lane| small.queue.keys(lane, vec![], small.now),
    ];
    for early in [true, false] {
        for stop in stops {
            let mut small = Small::new();
            let flow = small.open(Policy { no_lane: NoLane::Wait, ..Policy::lossless() });
            let broken = small.join(&["work"], 1);
            let other = small.join(&["work"], 1);
            small.offer(flow).unwrap();
            small.offer(flow).unwrap();
            let held = small.assigned();
            if early {
                stop(&mut small, other);
            }
            small.fail(broken, held[0].1, Failure::Failed);
            if !early {
                assert_eq!(small.assigned(), []);
                stop(&mut small, other);
            }
            assert_eq!(lanes_of(&small.assigned()), [broken], "at once");
        }
    }
}

#[test]
fn a_lone_lane_and_lanes_that_all_fail_are_not_held_back() {
    for lanes in [1, 2] {
        let mut small = Small::new();
        crowd(&mut small, 20);
        for _ in 0..lanes {
            small.join(&["work"], 1);
        }
        for _ in 0..10 {
            let held = small.assigned();
            assert_eq!(held.len(), lanes, "all that have room get work");
            for (lane, ticket) in held {
                small.fail(lane, ticket, Failure::Failed);
            }
        }
    }
}

#[test]
fn work_that_fails_everywhere_is_held_against_the_first_lane_only() {
    let mut small = Small::new();
    let flow = small.open(Policy::lossless());
    let first = small.join(&["work"], 1);
    let others = [small.join(&["work"], 1), small.join(&["work"], 1)];
    small.offer(flow).unwrap();
    let (lane, mut ticket) = small.assigned()[0];
    assert_eq!(lane, first);
    small.fail(first, ticket, Failure::Failed);
    for other in [others[0], others[1], others[0]] {
        let assigned = small.assigned();
        assert_eq!(lanes_of(&assigned), [other], "it goes to and fro between those that do not rest");
        ticket = assigned[0].1;
        small.fail(other, ticket, Failure::Failed);
    }
    assert_eq!(lanes_of(&small.assigned()), [others[1]]);
    small.offer(flow).unwrap();
    assert_eq!(lanes_of(&small.assigned()), [others[0]], "and keeps none of them from other work");
}

#[test]
fn a_part_that_took_down_a_worker_goes_to_another_worker() {
    let mut small = Small::new();
    let flow = small.open(Policy::lossless());
    let lost = small.join_as(1, &["work"], 1);
    small.offer(flow).unwrap();
    small.assigned();
    small.queue.leave(lost, None, small.now);
    // It is back before the other one comes, with more credit.
    let again = small.join_as(1, &["work"], 5);
    let other = small.join_as(2, &["work"], 1);
    let held = small.assigned();
    assert_eq!(lanes_of(&held), [other]);
    // And is better than nothing.
    small.queue.leave(other, None, small.now);
    assert_eq!(lanes_of(&small.assigned()), [again]);
}

#[test]
fn a_part_goes_to_another_lane_of_a_worker_rather_than_to_the_same() {
    let mut small = Small::new();
    let flow = small.open(Policy::lossless());
    let broken = small.join(&["work"], 5);
    let beside = small.join(&["work"], 1);
    small.offer(flow).unwrap();
    let (_, ticket) = small.assigned()[0];
    // It answers another part meanwhile, so nothing is held against the lane.
    small.offer(flow).unwrap();
    let (lane, good) = small.assigned()[0];
    assert_eq!(lane, broken);
    small.fail(broken, ticket, Failure::Failed);
    small.answer(broken, good);
    assert_eq!(lanes_of(&small.assigned()), [beside]);
}

#[test]
fn failures_are_held_against_a_lane_at_their_key_only_and_while_it_serves_it() {
    let mut small = Small::new();
    let flow = small.open(Policy::lossless());
    let broken = small.join(&["work", "else"], 3);
    let other = small.join(&["work", "else"], 1);
    small.offer(flow).unwrap();
    let (_, ticket) = small.assigned()[0];
    small.fail(broken, ticket, Failure::Failed);
    assert_eq!(lanes_of(&small.assigned()), [other]);
    let item = small.item(&["else"], true);
    small.queue.offer(flow, item, small.now).unwrap();
    assert_eq!(lanes_of(&small.assigned()), [broken], "at another key");

    // It says again what it serves: nothing is forgotten.
    let keys = || ["work", "more"].map(|task| LaneKey { key: key(task), warm: true }).to_vec();
    small.queue.keys(broken, keys(), small.now);
    small.offer(flow).unwrap();
    assert_eq!(small.assigned(), [], "it rests still");
    small.queue.keys(broken, vec![], small.now);
    small.queue.keys(broken, keys(), small.now);
    assert_eq!(lanes_of(&small.assigned()), [broken], "it begins anew");
}

#[test]
fn a_lane_that_does_not_answer_in_time_rests_too() {
    let mut small = Small::new();
    let flow = small.open(Policy { answer_within: Some(100 * MS), ..Policy::lossless() });
    let never = small.join(&["work"], 5);
    let other = small.join(&["work"], 1);
    small.offer(flow).unwrap();
    assert_eq!(lanes_of(&small.assigned()), [never]);
    small.now += 100 * MS;
    assert_eq!(lanes_of(&small.assigned()), [other]);
    small.offer(flow).unwrap();
    assert_eq!(small.assigned(), []);
    small.now += 20 * MS;
    assert_eq!(lanes_of(&small.assigned()), [never], "one part, to see whether it is well again");
    small.offer(flow).unwrap();
    assert_eq!(small.assigned(), []);
}

#[test]
fn what_a_lane_had_when_it_failed_does_not_make_its_rest_longer() {
    let mut small = Small::new();
    let flow = small.open(Policy::lossless());
    let hiccup = small.join(&["work"], 5);
    for _ in 0..5 {
        small.offer(flow).unwrap();
    }
    let held = small.assigned();
    let other = small.join(&["work"], 5);
    for &(lane, ticket) in &held {
        small.fail(lane, ticket, Failure::Failed);
    }
    assert_eq!(lanes_of(&small.assigned()), [other; 5]);
    small.offer(flow).unwrap();
    small.now += 19 * MS;
    assert_eq!(small.assigned(), []);
    small.now += MS;
    let (lane, probe) = small.assigned()[0];
    assert_eq!(lane, hiccup, "five failures at once are one");
    // But the probe counts, and the next rest is four times as long.
    small.fail(hiccup, probe, Failure::Failed);
    small.now += 79 * MS;
    assert_eq!(small.assigned(), []);
    small.now += MS;
    assert_eq!(lanes_of(&small.assigned()), [hiccup]);
}
