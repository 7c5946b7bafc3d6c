//! Invariant 7, first half: no lane holds a flow past its budget, and none shuts a key out.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use framelane_queue::{Answered, Config, LaneId, Policy, Reason, Step, Ticket, Verdict, WhenFull};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::MS;
use crate::plain::{Queue, join, offer};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn invariant_7_no_lane_holds_a_flow_past_its_budget(
        budget in 20_u64..200,
        gap in 1_u64..40,
        slow in vec(0_u64..400, 1..6),
    ) {
        let late = silent_and_slow(Duration::from_millis(budget), gap, &slow);
        prop_assert_eq!(late, None, "a place was settled after its deadline");
    }
}

/// A flow with a budget and lanes that each take `slow[lane]` milliseconds, the last one for ever;
/// service times are measured, so parts may be given up early. Returns a place that was settled late.
fn silent_and_slow(budget: Duration, gap: u64, slow: &[u64]) -> Option<(u64, Duration)> {
    let mut now = Instant::now();
    let mut queue = Queue::new(Config::default());
    let flow = queue.open(Policy {
        held: NonZeroUsize::new(1000).unwrap(),
        when_full: WhenFull::DropNewest,
        ..Policy::video(budget)
    });
    let mut lanes: BTreeMap<LaneId, Option<u64>> = BTreeMap::new();
    for at in 0..=slow.len() {
        let lane = join(&mut queue, 1, 2, now);
        lanes.insert(lane, slow.get(at).copied());
    }
    let mut answers: Vec<(Instant, LaneId, Ticket)> = Vec::new();
    let mut offered = 0;
    let mut next_offer = now;
    let mut out = 0;
    loop {
        if now >= next_offer && offered < 60 {
            queue.offer(flow, offer(0, offered, now), now).unwrap();
            offered += 1;
            next_offer = now + MS * gap as u32;
        }
        answers.sort_unstable();
        while answers.first().is_some_and(|&(at, ..)| at <= now) {
            let (_, lane, ticket) = answers.remove(0);
            queue.answer(lane, ticket, Answered::new(Ok(1)), now);
        }
        let until = loop {
            match queue.poll(now) {
                Step::Assign { lane, ticket } => {
                    if let Some(Some(slow)) = lanes.get(&lane) {
                        answers.push((now + MS * *slow as u32, lane, ticket));
                    }
                }
                Step::Ready { flow } => {
                    while let Some(place) = queue.take(flow, now) {
                        let took = now - place.captured_at;
                        if took > budget {
                            return Some((place.item, took));
                        }
                        out += 1;
                    }
                }
                Step::Wait(until) => break until,
                _ => {}
            }
        };
        if out == 60 {
            break;
        }
        let offer_at = (offered < 60).then_some(next_offer);
        let answer_at = answers.iter().map(|&(at, ..)| at).min();
        let next = [until, offer_at, answer_at].into_iter().flatten().min();
        now = next.expect("something is to come while places are not out");
    }
    None
}

#[test]
fn invariant_7_one_slow_answer_does_not_shut_a_key_out() {
    let mut now = Instant::now();
    let mut queue = Queue::new(Config::default());
    let flow = queue.open(Policy::video(200 * MS));
    let lane = join(&mut queue, 1, 1, now);
    let mut answered_again = None;
    let start = now;
    for item in 0..500 {
        let _ = queue.offer(flow, offer(0, item, now), now);
        loop {
            match queue.poll(now) {
                Step::Assign { ticket, .. } => {
                    // The first answer takes five seconds, all others ten milliseconds.
                    let slow = item == 0;
                    now += if slow { 5_000 * MS } else { 10 * MS };
                    queue.answer(lane, ticket, Answered::new(Ok(item)), now);
                }
                Step::Ready { .. } => {
                    while let Some(place) = queue.take(flow, now) {
                        match place.verdict {
                            Verdict::Answered => answered_again = answered_again.or(Some(now)),
                            Verdict::Missing(reason) => assert_eq!(reason, Reason::Late),
                            Verdict::NotAsked => unreachable!("every item has a part"),
                        }
                    }
                }
                Step::Wait(_) => break,
                _ => {}
            }
        }
        now += 40 * MS;
    }
    let again = answered_again.expect("the key is tried again");
    assert!(again - start < Duration::from_secs(9), "{:?}", again - start);
}
