//! Invariant 7, second half: flows share lanes by weight, whatever they offer.

use std::collections::VecDeque;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Instant;

use framelane_queue::{Answered, Config, FlowId, Policy, Step};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::MS;
use crate::plain::{Queue, join, offer};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn invariant_7_flows_share_a_busy_lane_by_weight(
        weights in vec(1_u32..6, 2..6),
        keys in 1_u8..3,
        credit in 1_u32..5,
        greedy in 0_usize..6,
        sleeper in 0_usize..6,
    ) {
        let shares = share(&weights, keys, credit, greedy, sleeper);
        let total: u64 = shares.iter().sum();
        let all: u32 = weights.iter().sum();
        for (at, (&had, &weight)) in shares.iter().zip(&weights).enumerate() {
            let due = total as f64 * f64::from(weight) / f64::from(all);
            prop_assert!(
                (had as f64 - due).abs() <= 3.0 + f64::from(all),
                "flow {} of {:?} had {:?}", at, weights, shares
            );
        }
    }
}

/// Hand-outs that each of several flows had from one busy lane in the second half of a life: `greedy`
/// always offers ten times as much as the others, and `sleeper` was idle in the first half, for which
/// it may neither be paid nor punished. Flow `i` uses key `i % keys`.
fn share(weights: &[u32], keys: u8, credit: u32, greedy: usize, sleeper: usize) -> Vec<u64> {
    let mut now = Instant::now();
    let mut queue = Queue::new(Config::default());
    let lane = join(&mut queue, keys, credit, now);
    let deep = NonZeroUsize::new(64).unwrap();
    let open = |&weight: &u32| {
        queue.open(Policy {
            pending: deep,
            held: deep,
            weight: NonZeroU32::new(weight).unwrap(),
            ..Policy::lossless()
        })
    };
    let flows: Vec<FlowId> = weights.iter().map(open).collect();
    let mut shares = vec![0; flows.len()];
    let mut held = VecDeque::new();
    let (half, end) = (600, 1200);
    for item in 0..end {
        for (at, &flow) in flows.iter().enumerate() {
            if at == sleeper && item < half {
                continue;
            }
            let depth = if at == greedy { 60 } else { 6 };
            while queue.books(flow).unwrap().pending < depth {
                let key = u8::try_from(at).unwrap() % keys;
                queue.offer(flow, offer(key, item, now), now).unwrap();
            }
        }
        loop {
            match queue.poll(now) {
                Step::Assign { ticket, .. } => {
                    let at = flows.iter().position(|&flow| flow == ticket.flow).unwrap();
                    shares[at] += u64::from(item >= half);
                    held.push_back(ticket);
                }
                Step::Ready { flow } => while queue.take(flow, now).is_some() {},
                Step::Wait(_) => break,
                _ => {}
            }
        }
        now += MS;
        if let Some(ticket) = held.pop_front() {
            queue.answer(lane, ticket, Answered::new(Ok(item)), now);
        }
    }
    shares
}
