//! What happens to newcomers at the bounds of a flow.

use std::num::NonZeroUsize;

use crate::small::{MS, Small};
use framelane_queue::{NoLane, Policy, Reason, RefusedWhy, Step, Verdict, WhenFull, WorkerId};

fn two_pending(when_full: WhenFull) -> Policy {
    Policy {
        pending: NonZeroUsize::new(2).unwrap(),
        held: NonZeroUsize::new(4).unwrap(),
        when_full,
        no_lane: NoLane::Wait,
        ..Policy::lossless()
    }
}

const EVICTED: Verdict = Verdict::Missing(Reason::Evicted);

#[test]
fn drop_oldest_evicts_the_oldest_place_that_no_lane_works_on() {
    let mut small = Small::new();
    let flow = small.open(two_pending(WhenFull::DropOldest));
    let lane = small.join(&["work"], 1);
    small.offer(flow).unwrap();
    small.offer(flow).unwrap();
    let held = small.assigned();
    assert_eq!(held.len(), 1, "place 0 is being worked on, place 1 waits");
    small.offer(flow).unwrap();
    small.answer(lane, held[0].1);
    let verdicts = small.verdicts(flow);
    assert_eq!(verdicts, [(0, Verdict::Answered), (1, EVICTED)]);
    assert_eq!(small.books(flow).pending, 1, "the newcomer took the place");
}

#[test]
fn drop_oldest_evicts_the_newcomer_where_lanes_work_on_all_others() {
    let mut small = Small::new();
    let flow = small.open(two_pending(WhenFull::DropOldest));
    let lane = small.join(&["work"], 2);
    small.offer(flow).unwrap();
    small.offer(flow).unwrap();
    let held = small.assigned();
    small.offer(flow).unwrap();
    for (lane, ticket) in held {
        small.answer(lane, ticket);
    }
    let answered = Verdict::Answered;
    let expected = [(0, answered), (1, answered), (2, EVICTED)];
    assert_eq!(small.verdicts(flow), expected);
    assert_eq!(small.queue.lane(lane).unwrap().answered, 2);
}

#[test]
fn drop_newest_admits_the_newcomer_as_evicted() {
    let mut small = Small::new();
    let flow = small.open(two_pending(WhenFull::DropNewest));
    let lane = small.join(&["work"], 1);
    for _ in 0..3 {
        small.offer(flow).unwrap();
    }
    assert_eq!(small.books(flow).parts.missing.evicted, 1);
    for _ in 0..2 {
        let ticket = small.assigned()[0].1;
        small.answer(lane, ticket);
    }
    assert_eq!(small.verdicts(flow)[2], (2, EVICTED));
}

#[test]
fn refuse_hands_back_uncounted_and_leaves_no_hole() {
    let mut small = Small::new();
    let flow = small.open(two_pending(WhenFull::Refuse));
    let lane = small.join(&["work"], 2);
    small.offer(flow).unwrap();
    small.offer(flow).unwrap();
    let refused = small.offer(flow).unwrap_err();
    assert_eq!((refused.why, refused.offer.item), (RefusedWhy::Full, 2));
    assert_eq!(small.books(flow).admitted, 2);
    let held = small.assigned();
    small.answer(lane, held[0].1);
    assert_eq!(small.verdicts(flow).len(), 1);
    let now = small.now;
    let seq = small.queue.offer(flow, refused.offer, now).unwrap();
    assert_eq!(seq.get(), 2, "the number that it did not get before");
}

#[test]
fn room_comes_once_for_each_failed_offer_and_after_a_take() {
    let mut small = Small::new();
    let flow = small.open(two_pending(WhenFull::Refuse));
    let lane = small.join(&["work"], 2);
    small.offer(flow).unwrap();
    small.offer(flow).unwrap();
    for _ in 0..3 {
        small.offer(flow).unwrap_err();
    }
    // A batch is one failed offer, however much of it comes back.
    let batch = [small.item(&["work"], true), small.item(&["work"], true)];
    let now = small.now;
    let batch = small.queue.offer_batch(flow, batch, now);
    assert_eq!((batch.admitted, batch.rest.len()), (0, 2));
    let rooms = |steps: &[Step]| {
        let room = steps.iter().filter(|step| matches!(step, Step::Room { .. }));
        room.count()
    };
    let steps = small.steps();
    assert_eq!(rooms(&steps), 0, "nothing was taken yet");
    let Step::Assign { ticket, .. } = steps[0] else {
        panic!("{steps:?}");
    };
    small.answer(lane, ticket);
    assert_eq!(rooms(&small.steps()), 0, "settled is not taken");
    assert_eq!(small.taken(flow).len(), 1);
    assert_eq!(rooms(&small.steps()), 4);
    assert_eq!(rooms(&small.steps()), 0);
}

#[test]
fn at_held_a_newcomer_is_refused_whatever_when_full_says() {
    for when_full in [WhenFull::DropOldest, WhenFull::DropNewest] {
        let mut small = Small::new();
        let flow = small.open(two_pending(when_full));
        for _ in 0..4 {
            small.offer(flow).unwrap();
        }
        assert_eq!(small.offer(flow).unwrap_err().why, RefusedWhy::Full);
        let not_asked = small.item(&[], true);
        let now = small.now;
        let refused = small.queue.offer(flow, not_asked, now);
        assert_eq!(refused.unwrap_err().why, RefusedWhy::Full);
    }
}

#[test]
fn a_place_that_is_not_asked_needs_no_pending_room() {
    let mut small = Small::new();
    let flow = small.open(two_pending(WhenFull::Refuse));
    small.offer(flow).unwrap();
    small.offer(flow).unwrap();
    let not_asked = small.item(&[], false);
    let now = small.now;
    small.queue.offer(flow, not_asked, now).unwrap();
    assert_eq!((small.books(flow).pending, small.books(flow).held), (2, 3));
}

#[test]
fn a_pinned_flow_is_full_for_the_keys_its_worker_serves_though_it_never_used_them() {
    // Found by the properties: the lanes of a key new to a pinned flow were overlooked.
    let mut small = Small::new();
    let flow = small.open(Policy {
        pending: NonZeroUsize::MIN,
        no_lane: NoLane::Pass,
        pin: Some(WorkerId(1)),
        ..two_pending(WhenFull::Refuse)
    });
    small.join(&["work", "other"], 1);
    small.offer(flow).unwrap();
    let other = small.item(&["other"], true);
    let now = small.now;
    let refused = small.queue.offer(flow, other, now);
    assert_eq!(refused.unwrap_err().why, RefusedWhy::Full);
}

#[test]
fn an_item_that_is_late_already_is_admitted_as_late() {
    let mut small = Small::new();
    let flow = small.open(Policy::video(10 * MS));
    small.join(&["work"], 1);
    let item = small.item(&["work"], true);
    small.now += 10 * MS;
    let now = small.now;
    small.queue.offer(flow, item, now).unwrap();
    assert_eq!(small.assigned(), []);
    assert_eq!(small.verdicts(flow), [(0, Verdict::Missing(Reason::Late))]);
}

#[test]
fn the_counters_of_the_source_are_adopted_with_an_admitted_item_only() {
    let mut small = Small::new();
    let flow = small.open(Policy { pending: NonZeroUsize::MIN, ..two_pending(WhenFull::Refuse) });
    let now = small.now;
    let mut item = small.item(&["work"], true);
    (item.source.decoded, item.source.waiting) = (3, 2);
    small.queue.offer(flow, item, now).unwrap();
    small.books(flow);
    let mut item = small.item(&["work"], true);
    (item.source.decoded, item.source.waiting) = (3, 1);
    let mut refused = small.queue.offer(flow, item, now).unwrap_err().offer;
    assert_eq!(small.books(flow).source.waiting, 2);
    refused.source.refused += 1;
    small.queue.source(flow, refused.source);
    assert_eq!(small.books(flow).source.refused, 1);
}
