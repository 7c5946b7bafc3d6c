//! Credit, failures, and lanes that drain, leave or do not let go.

use std::num::NonZeroU32;

use crate::small::{MS, Small, key};
use framelane_queue::{Failure, LaneKey, NoLane, Policy, Reason, Settled, Step, Ticket, Verdict, WorkerId};

const FAILED: Verdict = Verdict::Missing(Reason::Failed);
const LATE: Verdict = Verdict::Missing(Reason::Late);
const NO_LANE: Verdict = Verdict::Missing(Reason::NoLane);

fn attempts(most: u32) -> Policy {
    Policy { attempts: NonZeroU32::new(most), ..Policy::lossless() }
}

#[test]
fn a_lost_lane_charges_only_the_culprit_where_it_is_known() {
    let mut small = Small::new();
    let flow = small.open(attempts(1));
    let lane = small.join(&["work"], 3);
    for _ in 0..3 {
        small.offer(flow).unwrap();
    }
    let held = small.assigned();
    small.queue.leave(lane, Some(held[1].1), small.now);
    let books = small.books(flow);
    assert_eq!((books.parts.missing.failed, books.pending), (1, 2));
    // The others come back to the front, in order, as new hand-outs.
    small.join(&["work"], 3);
    let again = small.assigned();
    let tickets: Vec<_> = again.iter().map(|(_, t)| (t.seq.get(), t.attempt)).collect();
    assert_eq!(tickets, [(0, 2), (2, 2)]);
    for (lane, ticket) in again {
        small.answer(lane, ticket);
    }
    assert_eq!(small.verdicts(flow)[1], (1, FAILED));
}

#[test]
fn a_lost_lane_charges_all_its_tickets_where_the_culprit_is_not_known() {
    let mut small = Small::new();
    let flow = small.open(attempts(1));
    let lane = small.join(&["work"], 2);
    small.offer(flow).unwrap();
    small.offer(flow).unwrap();
    small.assigned();
    small.queue.leave(lane, None, small.now);
    assert_eq!(small.verdicts(flow), [(0, FAILED), (1, FAILED)]);
}

#[test]
fn a_lane_whose_loss_is_nobodys_fault_charges_nobody() {
    let mut small = Small::new();
    let flow = small.open(attempts(1));
    let lane = small.join(&["work"], 1);
    small.offer(flow).unwrap();
    let (_, ticket) = small.assigned()[0];
    let somebody_else = Ticket { attempt: 99, ..ticket };
    small.queue.leave(lane, Some(somebody_else), small.now);
    small.join(&["work"], 1);
    let (lane, ticket) = small.assigned()[0];
    assert_eq!(small.answer(lane, ticket), Settled::Counted);
}

#[test]
fn a_lane_that_does_not_release_a_cancelled_ticket_in_time_is_lost() {
    let mut small = Small::new();
    let flow = small.open(Policy::video(100 * MS));
    let lane = small.join(&["work"], 2);
    small.offer(flow).unwrap();
    let (_, ticket) = small.assigned()[0];
    let lossless = small.open(attempts(1));
    small.offer(lossless).unwrap();
    small.assigned();

    small.now += 100 * MS;
    let steps = small.steps();
    assert!(steps.contains(&Step::Cancel { lane, ticket }), "{steps:?}");
    assert_eq!(small.verdicts(flow), [(0, LATE)]);
    assert_eq!(small.queue.poll(small.now), Step::Wait(Some(small.now + 2_000 * MS)));

    small.now += 2_000 * MS;
    assert_eq!(small.steps(), [Step::Lost { lane }]);
    assert!(small.queue.lane(lane).is_none());
    // It hung on the cancelled ticket, so the other one is not charged its only attempt.
    small.join(&["work"], 1);
    let (lane, ticket) = small.assigned()[0];
    assert_eq!((ticket.flow, ticket.attempt), (lossless, 2));
    assert_eq!(small.answer(lane, ticket), Settled::Counted);
}

#[test]
fn a_late_answer_is_stale_and_gives_its_credit_back() {
    let mut small = Small::new();
    let flow = small.open(Policy::video(100 * MS));
    let lane = small.join(&["work"], 1);
    small.offer(flow).unwrap();
    let (_, ticket) = small.assigned()[0];
    small.now += 100 * MS;
    // Nobody polled in between; the deadline has passed all the same.
    assert_eq!(small.answer(lane, ticket), Settled::Stale);
    let view = small.queue.lane(lane).unwrap();
    assert_eq!((view.outstanding, view.answered, view.stale), (0, 0, 1));
    let cancels = small.steps();
    assert_eq!(cancels, [Step::Ready { flow }], "nothing is left to cancel");
    // The release that crossed the answer gives nothing back a second time.
    small.queue.released(lane, ticket, small.now);
    assert_eq!(small.answer(lane, ticket), Settled::Stale);
    assert_eq!(small.verdicts(flow), [(0, LATE)]);
}

#[test]
fn an_answer_from_another_lane_or_to_an_earlier_hand_out_is_stale() {
    let mut small = Small::new();
    let flow = small.open(Policy::lossless());
    let first = small.join(&["work"], 1);
    small.offer(flow).unwrap();
    let (_, ticket) = small.assigned()[0];
    let second = small.join(&["work"], 1);
    assert_eq!(small.answer(second, ticket), Settled::Stale);
    small.fail(first, ticket, Failure::Failed);
    let again = small.assigned();
    assert_eq!(again.len(), 1);
    assert_eq!(small.answer(first, ticket), Settled::Stale);
    assert_eq!(small.answer(again[0].0, again[0].1), Settled::Counted);
    assert_eq!(small.taken(flow).len(), 1);
}

#[test]
fn a_lowered_credit_bites_as_tickets_come_back() {
    let mut small = Small::new();
    let flow = small.open(Policy::lossless());
    let lane = small.join(&["work"], 3);
    for _ in 0..6 {
        small.offer(flow).unwrap();
    }
    let held = small.assigned();
    assert_eq!(held.len(), 3);
    small.queue.credit(lane, 1, small.now);
    small.answer(lane, held[0].1);
    small.answer(lane, held[1].1);
    assert_eq!(small.assigned(), [], "one is out, which is all it may hold");
    small.answer(lane, held[2].1);
    assert_eq!(small.assigned().len(), 1);
    small.queue.credit(lane, 3, small.now);
    assert_eq!(small.assigned().len(), 2);
}

#[test]
fn without_a_lane_parts_pass_or_wait_as_the_policy_says() {
    let mut small = Small::new();
    let pass = small.open(Policy::video(100 * MS));
    let wait = small.open(Policy { no_lane: NoLane::Wait, ..Policy::video(100 * MS) });
    small.offer(pass).unwrap();
    small.offer(wait).unwrap();
    assert_eq!(small.verdicts(pass), [(0, NO_LANE)]);
    assert_eq!(small.verdicts(wait), []);
    // A lane that serves, even without credit, is a lane: now both wait.
    let lane = small.join(&["work"], 0);
    assert!(small.queue.serves(&key("work")));
    small.offer(pass).unwrap();
    assert_eq!(small.verdicts(pass), []);
    // It drains, and what waited for it passes; what may wait waits on, until its deadline.
    small.queue.drain(lane, small.now);
    assert!(!small.queue.serves(&key("work")));
    assert_eq!(small.verdicts(pass), [(1, NO_LANE)]);
    assert_eq!(small.steps().last(), Some(&Step::Drained { lane }));
    small.now += 100 * MS;
    assert_eq!(small.verdicts(wait), [(0, LATE)]);
}

#[test]
fn a_drained_lane_is_told_once_it_holds_nothing() {
    let mut small = Small::new();
    let flow = small.open(Policy::lossless());
    let lane = small.join(&["work"], 1);
    small.offer(flow).unwrap();
    small.offer(flow).unwrap();
    let (_, ticket) = small.assigned()[0];
    small.queue.drain(lane, small.now);
    small.queue.drain(lane, small.now);
    assert_eq!(small.steps(), []);
    small.answer(lane, ticket);
    let drained = Step::Drained { lane };
    assert_eq!(small.steps(), [drained, Step::Ready { flow }]);
    assert_eq!(small.steps(), [], "told once");
    assert_eq!(small.books(flow).pending, 1);
}

#[test]
fn a_lane_that_leaves_is_told_no_cancel() {
    let mut small = Small::new();
    let flow = small.open(Policy::video(100 * MS));
    let lane = small.join(&["work"], 1);
    small.offer(flow).unwrap();
    small.assigned();
    small.queue.abort(flow, small.now);
    small.queue.leave(lane, None, small.now);
    assert_eq!(small.steps(), [Step::Closed { flow }]);
}

#[test]
fn bad_work_is_not_tried_again_and_failed_work_rests_first() {
    let mut small = Small::new();
    let flow = small.open(Policy { retry_after: Some(20 * MS), ..attempts(2) });
    let lane = small.join(&["work"], 2);
    small.offer(flow).unwrap();
    small.offer(flow).unwrap();
    let held = small.assigned();
    small.fail(lane, held[0].1, Failure::Bad);
    small.fail(lane, held[1].1, Failure::Failed);
    assert_eq!(small.verdicts(flow), [(0, FAILED)]);
    assert_eq!(small.assigned(), []);
    assert_eq!(small.queue.poll(small.now), Step::Wait(Some(small.now + 20 * MS)));
    small.now += 20 * MS;
    let (_, ticket) = small.assigned()[0];
    assert_eq!((ticket.seq.get(), ticket.attempt), (1, 2));
    small.fail(lane, ticket, Failure::Failed);
    assert_eq!(small.verdicts(flow), [(1, FAILED)]);
}

#[test]
fn warm_lanes_come_first_and_then_the_freest() {
    let mut small = Small::new();
    let flow = small.open(Policy::lossless());
    let cold = small.join(&["work"], 9);
    let keys = vec![LaneKey { key: key("work"), warm: false }];
    small.queue.keys(cold, keys, small.now);
    let little = small.join(&["work"], 1);
    let much = small.join(&["work"], 2);
    for _ in 0..5 {
        small.offer(flow).unwrap();
    }
    let lanes: Vec<_> = small.assigned().into_iter().map(|(lane, _)| lane).collect();
    assert_eq!(lanes, [much, little, much, cold, cold]);
}

#[test]
fn a_pinned_flow_goes_to_its_worker_only() {
    let mut small = Small::new();
    let flow = small.open(Policy { pin: Some(WorkerId(7)), ..Policy::lossless() });
    small.join_as(1, &["work"], 1);
    small.offer(flow).unwrap();
    assert_eq!(small.assigned(), []);
    let seven = small.join_as(7, &["work"], 1);
    assert_eq!(small.assigned()[0].0, seven);
}

#[test]
fn a_live_ticket_that_is_released_waits_again_uncharged() {
    let mut small = Small::new();
    let flow = small.open(attempts(1));
    let lane = small.join(&["work"], 1);
    small.offer(flow).unwrap();
    let (_, ticket) = small.assigned()[0];
    small.queue.released(lane, ticket, small.now);
    let (_, again) = small.assigned()[0];
    assert_eq!((again.seq, again.attempt), (ticket.seq, 2));
}

#[test]
fn nothing_is_handed_out_that_cannot_be_done_in_time() {
    let mut small = Small::new();
    let flow = small.open(Policy::video(100 * MS));
    let lane = small.join(&["work"], 1);
    // Answers take 80 ms, again and again, so the estimate comes near.
    for _ in 0..20 {
        small.offer(flow).unwrap();
        let (_, ticket) = small.assigned()[0];
        small.now += 80 * MS;
        assert_eq!(small.answer(lane, ticket), Settled::Counted);
        small.taken(flow);
    }
    let item = small.item(&["work"], true);
    small.now += 70 * MS;
    small.queue.offer(flow, item, small.now).unwrap();
    assert_eq!(small.assigned(), [], "30 ms are left");
    assert_eq!(small.verdicts(flow), [(20, LATE)], "and it does not wait for its end");
}
