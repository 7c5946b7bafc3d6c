//! The eight invariants of the crate, each a property over random lives in virtual time.

#![allow(clippy::unwrap_used, reason = "helpers of a test fail the test, as the test itself does")]

mod model;

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::{Duration, Instant};

use framelane_queue::{
    Answered, Config, Dispatcher, FlowId, Join, LaneId, LaneKey, Offer, Part, Policy, Reason, SourceCounts,
    Step, Ticket, Verdict, WhenFull, WorkerId,
};
use model::world::key;
use model::{Op, Reply, World, setup};
use proptest::collection::vec;
use proptest::prelude::*;

const MS: Duration = Duration::from_millis(1);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn invariant_1_every_place_leaves_exactly_once_in_order_without_gaps(life in setup(120)) {
        let mut world = World::live(Instant::now(), &life);
        world.finish();
        let mut next: BTreeMap<FlowId, u64> = BTreeMap::new();
        let mut items = std::collections::BTreeSet::new();
        for (flow, seq, item) in &world.taken {
            let expected = next.entry(*flow).or_default();
            prop_assert_eq!(seq.get(), *expected, "rising and without gaps in {}", flow);
            *expected += 1;
            prop_assert!(items.insert(*item), "item {} came out twice", item);
        }
        for (flow, known) in &world.model.flows {
            let books = world.queue.books(*flow).expect("it was not forgotten");
            let taken = next.get(flow).copied().unwrap_or(0);
            let discarded = known.admitted - taken;
            prop_assert_eq!(books.held, 0);
            prop_assert!(discarded == 0 || books.missing.cancelled >= discarded);
        }
    }

    #[test]
    fn invariant_2_credit_is_kept_and_comes_back_once_and_the_books_balance(life in setup(160)) {
        // The world compares outstanding tickets and books after every call and every step.
        let mut world = World::live(Instant::now(), &life);
        let lanes: Vec<LaneId> = world.model.lanes.keys().copied().collect();
        for lane in lanes {
            // Everything a lane holds comes back, and then it holds nothing.
            while let Some(ticket) = world.held(lane, 0) {
                world.reply(lane, ticket, &Reply::Release);
            }
            if let Some(view) = world.queue.lane(lane) {
                prop_assert_eq!(view.outstanding, 0);
            }
        }
    }

    #[test]
    fn invariant_3_the_first_answer_of_a_live_ticket_counts_and_no_other(life in setup(100)) {
        let mut world = World::live(Instant::now(), &life);
        // Every answer that was or could have been given, again, from its own lane and from others:
        // the world checks that exactly the live ones count.
        let lanes = world.lanes.clone();
        for (lane, ticket) in world.tickets.clone() {
            for other in lanes.iter().copied().chain([lane, lane]) {
                let reply = Reply::Ok { asks: vec![], seal: true };
                world.reply(other, ticket, &reply);
            }
        }
        world.finish();
    }

    #[test]
    fn invariant_4_poll_comes_to_wait_which_names_the_next_due_moment(life in setup(120)) {
        let mut world = World::live(Instant::now(), &life);
        // From one named moment to the next, with nobody answering: each of them has something to
        // do, none is passed over, and in the end nothing is due.
        let mut moments = 0;
        while let Some(until) = world.poll() {
            prop_assert!(until > world.now, "Wait names a moment that is over");
            // One moment earlier there is nothing to do.
            world.now = until - Duration::from_nanos(1);
            let before = world.trace.len();
            prop_assert_eq!(world.poll(), Some(until));
            prop_assert_eq!(world.trace.len(), before + 1, "something was done before its time");
            world.now = until;
            moments += 1;
            prop_assert!(moments < 2_000, "the queue is never done");
        }
    }

    #[test]
    fn invariant_5_closed_comes_after_the_last_place(life in setup(100)) {
        let mut world = World::live(Instant::now(), &life);
        world.finish();
        for (id, flow) in &world.model.flows {
            // Every flow has a live lane for its keys and pin here.
            prop_assert!(flow.told_closed, "{} was closed and has not ended", id);
        }
    }

    #[test]
    fn invariant_5_with_a_budget_closed_comes_without_any_lane(life in setup(100)) {
        let mut world = World::live(Instant::now(), &life);
        for flow in world.flows.clone() {
            world.apply(&Op::Close(u8::try_from(flow.get()).unwrap_or(0)));
        }
        // All lanes fall silent; budgets alone must bring the flows to their end.
        for _ in 0..1_000 {
            let until = world.poll();
            for flow in world.flows.clone() {
                world.take(flow, 200);
            }
            match until {
                Some(until) => world.now = until,
                None => break,
            }
        }
        world.poll();
        for (id, flow) in &world.model.flows {
            if flow.policy.budget.is_some() {
                prop_assert!(flow.told_closed, "{} has a budget and has not ended", id);
            }
        }
    }

    #[test]
    fn invariant_6_a_lossless_flow_loses_nothing_whatever_lanes_die(
        bounds in (1_usize..6, 1_usize..12),
        rest in proptest::option::of(1_u64..40),
        ops in vec(lane_trouble(), 1..150),
    ) {
        let mut world = World::new(Instant::now());
        let flow = world.open(Policy {
            pending: NonZeroUsize::new(bounds.0).unwrap(),
            held: NonZeroUsize::new(bounds.1).unwrap(),
            retry_after: rest.map(|rest| MS * rest as u32),
            ..Policy::lossless()
        });
        for op in &ops {
            world.apply(op);
            world.poll();
        }
        world.finish();
        let books = world.queue.books(flow).expect("it was not forgotten");
        prop_assert_eq!(books.answered + books.not_asked, books.admitted);
        prop_assert_eq!(books.missing.total(), 0);
        prop_assert_eq!(books.parts.missing.total(), 0);
    }

    #[test]
    fn invariant_7_no_lane_holds_a_flow_past_its_budget(
        budget in 20_u64..200,
        gap in 1_u64..40,
        slow in vec(0_u64..400, 1..6),
    ) {
        let late = silent_and_slow(Duration::from_millis(budget), gap, &slow);
        prop_assert_eq!(late, None, "a place was settled after its deadline");
    }

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

    #[test]
    fn invariant_8_only_now_moves_time(life in setup(100), later in 1_u64..1_000_000) {
        let start = Instant::now();
        let world = World::live(start, &life);
        // The same life at another time is the same life: no clock is read.
        let offset = Duration::from_secs(later);
        let again = World::live(start + offset, &life);
        prop_assert_eq!(world.trace.len(), again.trace.len());
        for (step, other) in world.trace.iter().zip(&again.trace) {
            match (step, other) {
                (Step::Wait(Some(at)), Step::Wait(Some(other))) => {
                    prop_assert_eq!(*at + offset, *other);
                }
                _ => prop_assert_eq!(step, other),
            }
        }
    }

    #[test]
    fn invariant_8_time_does_not_go_back_and_memory_is_bounded(life in setup(100)) {
        // `World::compare` checks the bounds of held and pending places after every call.
        let mut world = World::live(Instant::now(), &life);
        let end = world.now;
        let waits = world.poll();
        world.now = end - 500 * MS;
        for flow in world.flows.clone() {
            world.offer(flow, &[0], true, 0);
        }
        // An offer from the past is judged at the latest moment known, not at its own.
        world.poll();
        if let Some(until) = world.poll() {
            prop_assert!(until > end, "{:?} after {:?}", until, waits);
        }
    }
}

/// What can happen to a lossless flow: anything but an answer that says "bad".
fn lane_trouble() -> impl Strategy<Value = Op> {
    let all = || vec![(0, true), (1, false), (2, true)];
    prop_oneof![
        8 => vec(0_u8..3, 0..3).prop_map(|parts| Op::Offer { flow: 0, parts, sealed: true, age: 0 }),
        4 => any::<u8>().prop_map(|most| Op::Take { flow: 0, most: most % 4 }),
        3 => (0_u8..3, 0_u8..4).prop_map(move |(worker, credit)| {
            Op::Join { worker, keys: all(), credit }
        }),
        3 => (any::<u8>(), proptest::option::of(any::<u8>())).prop_map(|(l, b)| Op::Leave(l, b)),
        1 => any::<u8>().prop_map(Op::Drain),
        1 => (any::<u8>(), 0_u8..3).prop_map(|(lane, credit)| Op::Credit(lane, credit)),
        4 => (any::<u8>(), any::<u8>(), prop_oneof![
            Just(Reply::Failed),
            Just(Reply::Release),
            Just(Reply::Ok { asks: vec![], seal: true }),
        ]).prop_map(|(lane, nth, reply)| Op::Reply(lane, nth, reply)),
        2 => (0_u16..60).prop_map(Op::Wait),
    ]
}

type Queue = Dispatcher<u64, (), u64>;

fn offer(key_number: u8, item: u64, now: Instant) -> Offer<u64, ()> {
    Offer {
        item,
        parts: vec![Part { key: key(key_number), payload: () }],
        sealed: true,
        captured_at: now,
        source: SourceCounts::default(),
    }
}

fn join(queue: &mut Queue, keys: u8, credit: u32, now: Instant) -> LaneId {
    let keys = (0..keys).map(|number| LaneKey { key: key(number), warm: true });
    let join = Join { worker: WorkerId(0), keys: keys.collect(), credit };
    queue.join(join, now)
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
    let mut held = std::collections::VecDeque::new();
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
