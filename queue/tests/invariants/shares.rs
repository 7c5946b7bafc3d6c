//! Invariant 7, second half: flows share lanes by weight, whatever they offer and however long their work
//! takes, and none waits for longer than its share allows.

use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Instant;

use framelane_queue::{Answered, Config, FlowId, LaneId, Policy, Step, Ticket, WorkerId};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::MS;
use crate::plain::{Queue, join_as, offer};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn invariant_7_flows_share_a_busy_lane_by_weight(
        weights in vec(1_u32..6, 2..6),
        costs in vec(1_u32..50, 6),
        credit in 1_u32..5,
        greedy in 0_usize..6,
        sleeper in 0_usize..6,
    ) {
        // In virtual time each flow is ahead of the slowest by one hand-out at most, so it is off by that
        // one and by its part of what all flows together are off.
        let all: u32 = weights.iter().sum();
        let shares = share(&weights, 1, &costs, credit, greedy, sleeper);
        let total: u64 = shares.iter().sum();
        for (at, (&had, &weight)) in shares.iter().zip(&weights).enumerate() {
            let part = f64::from(weight) / f64::from(all);
            let off = had as f64 - total as f64 * part;
            let most = 2.0 + weights.len() as f64 * part;
            prop_assert!(off.abs() <= most, "flow {} of {:?} had {:?}", at, weights, shares);
        }
    }

    #[test]
    fn invariant_7_flows_of_different_keys_share_a_busy_lane_by_weight(
        weights in vec(1_u32..6, 2..6),
        costs in vec(1_u32..50, 6),
        keys in 2_u8..4,
        credit in 1_u32..5,
        greedy in 0_usize..6,
        sleeper in 0_usize..6,
    ) {
        // Keys take turns by the weight that waits there, and are off by no more than all of it.
        let all: u32 = weights.iter().sum();
        let shares = share(&weights, keys, &costs, credit, greedy, sleeper);
        let total: u64 = shares.iter().sum();
        for (at, (&had, &weight)) in shares.iter().zip(&weights).enumerate() {
            let off = had as f64 - total as f64 * f64::from(weight) / f64::from(all);
            prop_assert!(off.abs() <= 3.0 + f64::from(all), "flow {} of {:?} had {:?}", at, weights, shares);
        }
    }

    #[test]
    fn invariant_7_no_flow_waits_for_longer_than_its_share_allows(
        weights in vec(1_u32..6, 1..6),
        arrivals in vec(vec((0_usize..7, 1_u32..5), 0..4), 300),
        credit in 1_u32..4,
    ) {
        prop_assert_eq!(Waits::live(&weights, &arrivals, 1, credit), None);
    }

    #[test]
    fn invariant_7_no_flow_waits_for_longer_than_its_share_allows_among_keys(
        weights in vec(1_u32..6, 1..6),
        arrivals in vec(vec((0_usize..7, 1_u32..5), 0..4), 300),
        keys in 2_u8..4,
    ) {
        prop_assert_eq!(Waits::live(&weights, &arrivals, keys, 1), None);
    }

    #[test]
    fn invariant_7_a_pinned_flow_has_its_share_of_its_worker(
        weights in (1_u32..6, 1_u32..6),
        credits in (1_u32..4, 1_u32..4),
        costs in (1_u32..30, 1_u32..30),
    ) {
        let mut queue = Busy::new();
        let lanes = [queue.join(1, 1, credits.0), queue.join(2, 1, credits.1)];
        let pinned = queue.open(weights.0, costs.0, Some(WorkerId(1)));
        let free = queue.open(weights.1, costs.1, None);
        for _ in 0..600 {
            queue.fill(pinned, 0, 6);
            queue.fill(free, 0, 6);
            queue.next();
        }
        let had = |flow, lane| queue.had.get(&(flow, lane)).copied().unwrap_or(0);
        // Of its own worker at least what its weight says, and nothing of the other.
        let own = had(pinned, lanes[0]) + had(free, lanes[0]);
        let due = own as f64 * f64::from(weights.0) / f64::from(weights.0 + weights.1);
        prop_assert!(had(pinned, lanes[0]) as f64 >= due - 4.0 - f64::from(weights.0 + weights.1), "{:?}", queue.had);
        prop_assert_eq!(had(pinned, lanes[1]), 0);
    }
}

#[test]
fn invariant_7_one_to_three_is_one_to_three_though_one_works_a_hundred_times_longer() {
    for slow in [0, 1] {
        let costs = if slow == 0 { [100, 1] } else { [1, 100] };
        let mut queue = Busy::new();
        let lane = queue.join(1, 1, 1);
        let flows = [queue.open(1, costs[0], None), queue.open(3, costs[1], None)];
        for _ in 0..400 {
            flows.iter().for_each(|&flow| queue.fill(flow, 0, 6));
            queue.next();
        }
        let had = flows.map(|flow| queue.had[&(flow, lane)]);
        assert!(had[0].abs_diff(100) <= 1 && had[1].abs_diff(300) <= 1, "{had:?}");
    }
}

#[test]
fn invariant_7_flows_that_are_ever_new_do_not_starve_an_old_one() {
    let mut queue = Busy::new();
    let lane = queue.join(1, 1, 1);
    let old = queue.open(1, 1, None);
    let mut new = old;
    for _ in 0..100 {
        queue.fill(old, 0, 6);
        // There is always one beside it, each for one hand-out.
        if new == old || queue.had.contains_key(&(new, lane)) {
            new = queue.open(1, 1, None);
            queue.fill(new, 0, 1);
        }
        queue.next();
    }
    let had = queue.had[&(old, lane)];
    assert!(had.abs_diff(50) <= 2, "half of the lane is the old one's, and it had {had} of 100");
}

#[test]
fn invariant_7_a_flow_that_was_idle_has_saved_nothing() {
    let mut queue = Busy::new();
    let lane = queue.join(1, 1, 1);
    let [steady, sleeper] = [(); 2].map(|()| queue.open(1, 1, None));
    queue.fill(sleeper, 0, 1);
    for _ in 0..1_000 {
        queue.fill(steady, 0, 6);
        queue.next();
    }
    let before = queue.had.clone();
    for _ in 0..20 {
        queue.fill(steady, 0, 6);
        queue.fill(sleeper, 0, 6);
        queue.next();
    }
    let since = |flow| queue.had[&(flow, lane)] - before[&(flow, lane)];
    assert!(since(sleeper).abs_diff(10) <= 1, "it had {} of 20", since(sleeper));
    assert!(since(steady).abs_diff(10) <= 1, "nor is it punished for what it did not use");
}

/// A queue whose lanes are always busy.
struct Busy {
    queue: Queue,
    now: Instant,
    costs: BTreeMap<FlowId, u32>,
    /// What is under way, by when it is answered.
    under_way: BTreeSet<(Instant, LaneId, Ticket)>,
    /// Hand-outs so far.
    had: BTreeMap<(FlowId, LaneId), u64>,
    items: u64,
}

impl Busy {
    fn new() -> Self {
        Self {
            queue: Queue::new(Config::default()),
            now: Instant::now(),
            costs: BTreeMap::new(),
            under_way: BTreeSet::new(),
            had: BTreeMap::new(),
            items: 0,
        }
    }

    fn join(&mut self, worker: u64, keys: u8, credit: u32) -> LaneId {
        join_as(&mut self.queue, worker, keys, credit, self.now)
    }

    /// A flow whose work takes `cost` milliseconds.
    fn open(&mut self, weight: u32, cost: u32, pin: Option<WorkerId>) -> FlowId {
        let deep = NonZeroUsize::new(4_000).unwrap();
        let weight = NonZeroU32::new(weight).unwrap();
        let flow = self.queue.open(Policy { pending: deep, held: deep, weight, pin, ..Policy::lossless() });
        self.costs.insert(flow, cost);
        flow
    }

    fn offer(&mut self, flow: FlowId, key: u8) {
        self.items += 1;
        self.queue.offer(flow, offer(key, self.items, self.now), self.now).unwrap();
    }

    /// Offers until so many are pending.
    fn fill(&mut self, flow: FlowId, key: u8, pending: u64) {
        while self.queue.books(flow).unwrap().pending < pending {
            self.offer(flow, key);
        }
    }

    /// What is handed out until the queue waits.
    fn settle(&mut self) -> Vec<FlowId> {
        let mut out = Vec::new();
        loop {
            match self.queue.poll(self.now) {
                Step::Assign { lane, ticket } => {
                    out.push(ticket.flow);
                    *self.had.entry((ticket.flow, lane)).or_default() += 1;
                    self.under_way.insert((self.now + MS * self.costs[&ticket.flow], lane, ticket));
                }
                Step::Ready { flow } => while self.queue.take(flow, self.now).is_some() {},
                Step::Wait(_) => return out,
                _ => {}
            }
        }
    }

    /// Hands out what it can, and lets the next answer come.
    fn next(&mut self) -> Vec<FlowId> {
        let out = self.settle();
        if let Some((at, lane, ticket)) = self.under_way.pop_first() {
            self.now = at;
            self.queue.answer(lane, ticket, Answered::new(Ok(0)), at);
        }
        out
    }
}

/// Hand-outs that each of several flows had from one busy lane in the second half of a life: `greedy`
/// always offers ten times as much as the others, and `sleeper` was idle in the first half, for which
/// it may neither be paid nor punished. Flow `i` uses key `i % keys`, and its work takes `costs[i]`.
fn share(weights: &[u32], keys: u8, costs: &[u32], credit: u32, greedy: usize, sleeper: usize) -> Vec<u64> {
    let mut queue = Busy::new();
    queue.join(1, keys, credit);
    let flows: Vec<FlowId> =
        weights.iter().zip(costs).map(|(&weight, &cost)| queue.open(weight, cost, None)).collect();
    let mut shares = vec![0; flows.len()];
    for round in 0..1_200 {
        for (at, &flow) in flows.iter().enumerate() {
            if at != sleeper || round >= 600 {
                queue.fill(flow, u8::try_from(at).unwrap() % keys, if at == greedy { 60 } else { 6 });
            }
        }
        for flow in queue.next() {
            let at = flows.iter().position(|&known| known == flow).unwrap();
            shares[at] += u64::from(round >= 600);
        }
    }
    shares
}

/// What one flow that waits has seen go by since it began to wait or had its last hand-out.
#[derive(Default, Clone)]
struct Wait {
    weight: u32,
    key: u8,
    waiting: u32,
    passed: u32,
    /// The most weight and the most flows that waited meanwhile, itself included, and those of its key.
    most: [u32; 2],
    of_key: [u32; 2],
}

impl Wait {
    /// How many hand-outs may go by at most.
    fn bound(&self) -> u32 {
        let [all, flows] = self.most;
        let [same, same_flows] = self.of_key;
        let own = 2 * same.div_ceil(self.weight) + same_flows;
        match flows == same_flows {
            true => own,
            // Each turn of its key comes after as much of the others' as their weight says.
            false => own * all.div_ceil(same.min(all)) + all,
        }
    }
}

struct Waits {
    busy: Busy,
    flows: BTreeMap<FlowId, Wait>,
}

impl Waits {
    /// Flows to which items come at random, between hand-outs: `(flow, items)`, where a flow that is none of the
    /// first ones is a new one, which ends after these. Returns one that waited for too long, and what it saw.
    fn live(weights: &[u32], arrivals: &[Vec<(usize, u32)>], keys: u8, credit: u32) -> Option<String> {
        let mut waits = Waits { busy: Busy::new(), flows: BTreeMap::new() };
        waits.busy.join(1, keys, credit);
        let old: Vec<FlowId> =
            (weights.iter().zip(0_u8..)).map(|(&weight, at)| waits.open(weight, at % keys)).collect();
        for (round, arrivals) in arrivals.iter().enumerate() {
            for &(at, items) in arrivals {
                let flow = match old.get(at) {
                    Some(&flow) => flow,
                    None => waits.open(items, u8::try_from(round % usize::from(keys)).unwrap()),
                };
                for _ in 0..items {
                    waits.busy.offer(flow, waits.flows[&flow].key);
                }
                let wait = waits.flows.get_mut(&flow).unwrap();
                if wait.waiting == 0 {
                    *wait = Wait { weight: wait.weight, key: wait.key, ..Wait::default() };
                }
                wait.waiting += items;
            }
            for flow in waits.busy.next() {
                if let Some(late) = waits.saw(flow) {
                    return Some(late);
                }
            }
        }
        None
    }

    fn open(&mut self, weight: u32, key: u8) -> FlowId {
        let flow = self.busy.open(weight, 1, None);
        self.flows.insert(flow, Wait { weight, key, ..Wait::default() });
        flow
    }

    /// A hand-out goes to one flow, and by all others that wait.
    fn saw(&mut self, served: FlowId) -> Option<String> {
        let waiting = || self.flows.values().filter(|wait| wait.waiting > 0);
        let sum = |key: Option<u8>| {
            let these = || waiting().filter(move |wait| key.is_none_or(|key| wait.key == key));
            [these().map(|wait| wait.weight).sum(), these().count() as u32]
        };
        let all = sum(None);
        let by_key: Vec<[u32; 2]> = (0..4).map(|key| sum(Some(key))).collect();
        for (id, wait) in self.flows.iter_mut().filter(|(_, wait)| wait.waiting > 0) {
            if *id == served {
                *wait =
                    Wait { weight: wait.weight, key: wait.key, waiting: wait.waiting - 1, ..Wait::default() };
                continue;
            }
            wait.passed += 1;
            let most = |most: &mut [u32; 2], now: [u32; 2]| {
                *most = [most[0].max(now[0]), most[1].max(now[1])];
            };
            most(&mut wait.most, all);
            most(&mut wait.of_key, by_key[usize::from(wait.key)]);
            if wait.passed > wait.bound() {
                let Wait { weight, passed, most, .. } = wait;
                return Some(format!("{id} of weight {weight} among {most:?} sees {passed} go by"));
            }
        }
        None
    }
}
