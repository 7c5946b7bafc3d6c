//! Random lives: policies, and what happens to flows and lanes.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use framelane_queue::{Hedge, NoLane, Policy, Share, WhenFull, WorkerId};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// What a lane says about a ticket. Keys are numbers below [`KEYS`].
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Ok { asks: Vec<u8>, seal: bool },
    Bad,
    Failed,
    Release,
}

/// One thing that happens. Flows, lanes and tickets are picked by number among those there are.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Open(Box<Policy>),
    Offer {
        flow: u8,
        parts: Vec<u8>,
        sealed: bool,
        age: u16,
    },
    Batch {
        flow: u8,
        count: u8,
    },
    Take {
        flow: u8,
        most: u8,
    },
    Close(u8),
    Abort(u8),
    /// A flow, and one of its places by number from the front; beyond the last it is one that is not there.
    Cancel(u8, u8),
    Forget(u8),
    Join {
        worker: u8,
        keys: Vec<(u8, bool)>,
        credit: u8,
    },
    Credit(u8, u8),
    Keys(u8, Vec<(u8, bool)>),
    Drain(u8),
    /// `blame`: nobody known, one of the lane's tickets, or (255) somebody else.
    Leave(u8, Option<u8>),
    Suspect(u8),
    Trust(u8),
    Reply(u8, u8, Reply),
    /// Any ticket that was ever handed out, answered by any lane.
    Stray(u8, u8),
    Wait(u16),
}

/// How many keys there are.
pub(crate) const KEYS: u8 = 3;

/// A whole life: the policies of the first flows, and what happens, each with whether to poll after.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) policies: Vec<Policy>,
    pub(crate) ops: Vec<(Op, bool)>,
}

pub(crate) fn policy() -> impl Strategy<Value = Policy> {
    let bounds = (1_usize..6, 1_usize..10);
    let when_full =
        prop_oneof![Just(WhenFull::Refuse), Just(WhenFull::DropOldest), Just(WhenFull::DropNewest)];
    let rests = (option::of(1_u64..40), option::weighted(0.3, 1_u64..100));
    let limits = (option::of(1_u64..200), option::of(1_u32..4), rests);
    let no_lane = prop_oneof![Just(NoLane::Pass), Just(NoLane::Wait)];
    let share = (option::weighted(0.2, 0_u64..3), 1_u32..4, option::of(hedge()));
    (bounds, when_full, limits, no_lane, share).prop_map(
        |((pending, held), when_full, (budget, attempts, (rest, within)), no_lane, (pin, weight, hedge))| {
            Policy {
                pending: NonZeroUsize::new(pending).unwrap(),
                held: NonZeroUsize::new(held).unwrap(),
                when_full,
                budget: budget.map(Duration::from_millis),
                attempts: attempts.map(|most| NonZeroU32::new(most).unwrap()),
                retry_after: rest.map(Duration::from_millis),
                answer_within: within.map(Duration::from_millis),
                no_lane,
                pin: pin.map(WorkerId),
                weight: NonZeroU32::new(weight).unwrap(),
                hedge,
            }
        },
    )
}

/// Hedges of much of the work, because the lives are short.
pub(crate) fn hedge() -> impl Strategy<Value = Hedge> {
    let share = || (500_u16..=1000).prop_map(|share| Share::of_1000(share).unwrap());
    (share(), share()).prop_map(|(slowest, extra)| Hedge { slowest, extra })
}

fn keys() -> impl Strategy<Value = Vec<(u8, bool)>> {
    vec((0..KEYS, any::<bool>()), 0..4)
}

fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        6 => Just(Reply::Ok { asks: vec![], seal: true }),
        3 => (vec(0..KEYS, 0..3), any::<bool>()).prop_map(|(asks, seal)| Reply::Ok { asks, seal }),
        1 => Just(Reply::Bad),
        2 => Just(Reply::Failed),
        1 => Just(Reply::Release),
    ]
}

fn parts() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (0..KEYS).prop_map(|key| vec![key]),
        1 => Just(vec![]),
        2 => vec(0..KEYS, 2..4),
    ]
}

pub(crate) fn op() -> impl Strategy<Value = Op> {
    let some = any::<u8>;
    prop_oneof![
        1 => policy().prop_map(|policy| Op::Open(Box::new(policy))),
        20 => (some(), parts(), any::<bool>(), 0_u16..30)
            .prop_map(|(flow, parts, sealed, age)| Op::Offer { flow, parts, sealed, age }),
        2 => (some(), 0_u8..6).prop_map(|(flow, count)| Op::Batch { flow, count }),
        10 => (some(), 0_u8..6).prop_map(|(flow, most)| Op::Take { flow, most }),
        1 => some().prop_map(Op::Close),
        1 => some().prop_map(Op::Abort),
        3 => (some(), 0_u8..12).prop_map(|(flow, nth)| Op::Cancel(flow, nth)),
        1 => some().prop_map(Op::Forget),
        3 => (0_u8..3, keys(), 0_u8..4)
            .prop_map(|(worker, keys, credit)| Op::Join { worker, keys, credit }),
        2 => (some(), 0_u8..5).prop_map(|(lane, credit)| Op::Credit(lane, credit)),
        1 => (some(), keys()).prop_map(|(lane, keys)| Op::Keys(lane, keys)),
        1 => some().prop_map(Op::Drain),
        3 => some().prop_map(Op::Suspect),
        3 => some().prop_map(Op::Trust),
        1 => (some(), option::of(some())).prop_map(|(lane, blame)| Op::Leave(lane, blame)),
        16 => (some(), some(), reply()).prop_map(|(lane, nth, reply)| Op::Reply(lane, nth, reply)),
        2 => (some(), some()).prop_map(|(lane, nth)| Op::Stray(lane, nth)),
        6 => (0_u16..60).prop_map(Op::Wait),
    ]
}

/// Lives of up to `most` things that happen to up to three flows and some lanes.
pub(crate) fn setup(most: usize) -> impl Strategy<Value = Setup> {
    let joins = vec((0_u8..3, keys(), 1_u8..4), 0..3);
    let ops = vec((op(), any::<bool>()), 1..most);
    (vec(policy(), 1..4), joins, ops).prop_map(|(policies, joins, ops)| {
        let joins = joins.into_iter().map(|(worker, keys, credit)| {
            let join = Op::Join { worker, keys, credit };
            (join, true)
        });
        Setup { policies, ops: joins.chain(ops).collect() }
    })
}

/// Lives in which much is hedged: all flows want it, and several lanes serve every key.
pub(crate) fn hedged(most: usize) -> impl Strategy<Value = Setup> {
    let all = || (0..KEYS).map(|key| (key, true)).collect();
    let join = move |credit| (Op::Join { worker: 0, keys: all(), credit }, true);
    let joins = vec((2_u8..5).prop_map(join), 2..4);
    let policy = (policy(), hedge()).prop_map(|(policy, hedge)| Policy {
        hedge: Some(hedge),
        pin: None,
        when_full: WhenFull::Refuse,
        budget: policy.budget.map(|budget| 5 * budget),
        ..policy
    });
    let ops = vec((op(), any::<bool>()), 1..most);
    (vec(policy, 1..4), joins, ops)
        .prop_map(|(policies, joins, ops)| Setup { policies, ops: joins.into_iter().chain(ops).collect() })
}
