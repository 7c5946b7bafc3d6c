//! The eight invariants of the crate, each a property over random lives in virtual time. Those about
//! time and shares, the seventh, have a world of their own in `budgets.rs` and `shares.rs`.

#![allow(clippy::unwrap_used, reason = "helpers of a test fail the test, as the test itself does")]

mod budgets;
mod model;
mod plain;
mod shares;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use framelane_queue::{FlowId, LaneId, Policy, Step};
use model::script::{hedge, hedged};
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
    fn invariants_1_to_5_hold_while_parts_are_hedged(life in hedged(120)) {
        let mut world = World::live(Instant::now(), &life);
        // As above: the world judges every step, and answers of both tickets are given once more.
        for (lane, ticket) in world.tickets.clone() {
            world.reply(lane, ticket, &Reply::Ok { asks: vec![], seal: true });
        }
        world.finish();
        for (id, flow) in &world.model.flows {
            prop_assert!(flow.told_closed, "{} was closed and has not ended", id);
        }
        let mut places: Vec<_> = world.taken.iter().map(|(flow, seq, _)| (flow, seq)).collect();
        places.sort_unstable();
        places.dedup();
        prop_assert_eq!(places.len(), world.taken.len(), "nothing comes out twice");
    }

    #[test]
    fn invariant_6_a_lossless_flow_loses_nothing_whatever_lanes_die(
        bounds in (1_usize..6, 1_usize..12),
        rest in proptest::option::of(1_u64..40),
        hedge in proptest::option::of(hedge()),
        ops in vec(lane_trouble(), 1..150),
    ) {
        let mut world = World::new(Instant::now());
        let flow = world.open(Policy {
            pending: NonZeroUsize::new(bounds.0).unwrap(),
            held: NonZeroUsize::new(bounds.1).unwrap(),
            retry_after: rest.map(|rest| MS * rest as u32),
            hedge,
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
        2 => any::<u8>().prop_map(Op::Suspect),
        2 => any::<u8>().prop_map(Op::Trust),
        1 => (any::<u8>(), 0_u8..3).prop_map(|(lane, credit)| Op::Credit(lane, credit)),
        4 => (any::<u8>(), any::<u8>(), prop_oneof![
            Just(Reply::Failed),
            Just(Reply::Release),
            Just(Reply::Ok { asks: vec![], seal: true }),
        ]).prop_map(|(lane, nth, reply)| Op::Reply(lane, nth, reply)),
        2 => (0_u16..60).prop_map(Op::Wait),
    ]
}
