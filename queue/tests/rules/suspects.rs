//! Lanes that are not heard for a while: what they hold, what they get, and what they are forgiven.

use std::num::NonZeroU32;

use crate::small::{MS, Small, key};
use framelane_queue::{Failure, LaneId, NoLane, Policy, Reason, Settled, Step, Ticket, Verdict};

fn attempts(most: u32) -> Policy {
    Policy { attempts: NonZeroU32::new(most), ..Policy::lossless() }
}

/// A lane with one part that is suspected, and another one that has room.
fn suspected(small: &mut Small, policy: Policy) -> [LaneId; 2] {
    let flow = small.open(policy);
    let silent = small.join(&["work"], 1);
    small.offer(flow).unwrap();
    assert_eq!(small.assigned().len(), 1);
    small.queue.suspect(silent, small.now);
    [silent, small.join(&["work"], 1)]
}

fn numbers(assigned: &[(LaneId, Ticket)]) -> Vec<(LaneId, u64, u32)> {
    assigned.iter().map(|(lane, ticket)| (*lane, ticket.seq.get(), ticket.attempt)).collect()
}

#[test]
fn what_a_silent_lane_has_goes_to_another_too_and_the_first_answer_counts() {
    for silent_wins in [true, false] {
        let mut small = Small::new();
        let lanes = suspected(&mut small, attempts(1));
        let again = small.assigned();
        assert_eq!(numbers(&again), [(lanes[1], 0, 2)]);
        let second = again[0].1;
        let first = Ticket { attempt: 1, ..second };
        let mut order = [(lanes[0], first), (lanes[1], second)];
        if !silent_wins {
            order.reverse();
        }
        let [(winner, won), (loser, lost)] = order;
        assert_eq!(small.answer(winner, won), Settled::Counted);
        assert!(small.steps().contains(&Step::Cancel { lane: loser, ticket: lost }));
        assert_eq!(small.answer(loser, lost), Settled::Stale);
        assert_eq!(small.verdicts(second.flow), [(0, Verdict::Answered)]);
        let parts = small.books(second.flow).parts;
        assert_eq!((parts.answered, parts.rescued, parts.hedged, parts.hedges_won), (1, 1, 0, 0));
    }
}

#[test]
fn a_lone_lane_that_pauses_keeps_its_work_and_gets_no_more_meanwhile() {
    let mut small = Small::new();
    // Without a lane it would pass its items by, and one charge would end them.
    let flow = small.open(Policy { no_lane: NoLane::Pass, ..attempts(1) });
    let lane = small.join(&["work"], 2);
    small.offer(flow).unwrap();
    let (_, ticket) = small.assigned()[0];
    small.queue.suspect(lane, small.now);
    assert!(small.queue.serves(&key("work")), "it may come back");
    small.offer(flow).unwrap();
    assert_eq!(small.steps(), [], "nothing is handed out, and nothing passes by");
    small.now += 1_000 * MS;
    small.queue.trust(lane, small.now);
    assert_eq!(numbers(&small.assigned()), [(lane, 1, 1)], "only what it did not have");
    assert_eq!(small.answer(lane, ticket), Settled::Counted);
    assert_eq!(small.verdicts(flow), [(0, Verdict::Answered)]);
    assert_eq!(small.books(flow).parts.rescued, 0);
}

#[test]
fn an_answer_of_a_silent_lane_counts_while_its_part_waits_for_another() {
    let mut small = Small::new();
    let flow = small.open(Policy::lossless());
    let lane = small.join(&["work"], 1);
    small.offer(flow).unwrap();
    let (_, ticket) = small.assigned()[0];
    small.queue.suspect(lane, small.now);
    assert_eq!(small.answer(lane, ticket), Settled::Counted);
    small.join(&["work"], 1);
    assert_eq!(small.steps(), [Step::Ready { flow }], "nobody gets it again");
}

#[test]
fn what_a_silent_lane_has_comes_before_all_that_came_later() {
    let mut small = Small::new();
    let flow = small.open(Policy::lossless());
    let silent = small.join(&["work"], 2);
    for _ in 0..4 {
        small.offer(flow).unwrap();
    }
    assert_eq!(small.assigned().len(), 2);
    small.queue.suspect(silent, small.now);
    let other = small.join(&["work"], 3);
    assert_eq!(numbers(&small.assigned()), [(other, 0, 2), (other, 1, 2), (other, 2, 1)]);
}

#[test]
fn what_two_silent_lanes_have_waits_for_one_of_them() {
    let mut small = Small::new();
    let [first, second] = suspected(&mut small, Policy::lossless());
    assert_eq!(small.assigned().len(), 1);
    small.queue.suspect(second, small.now);
    let third = small.join(&["work"], 1);
    assert_eq!(small.assigned(), [], "work that kills its workers must not go through all of them");
    small.queue.leave(first, None, small.now);
    assert_eq!(numbers(&small.assigned()), [(third, 0, 3)]);
}

#[test]
fn a_silent_lane_that_turns_out_dead_is_charged_and_the_other_goes_on() {
    let mut small = Small::new();
    let [silent, other] = suspected(&mut small, attempts(1));
    let (_, ticket) = small.assigned()[0];
    small.queue.leave(silent, None, small.now);
    assert_eq!(small.steps(), []);
    assert_eq!(small.answer(other, ticket), Settled::Counted);
    assert_eq!(small.verdicts(ticket.flow), [(0, Verdict::Answered)]);
}

#[test]
fn a_part_without_attempts_left_stays_with_its_silent_lane() {
    let mut small = Small::new();
    let [silent, other] = suspected(&mut small, attempts(1));
    let (_, ticket) = small.assigned()[0];
    small.fail(other, ticket, Failure::Failed);
    assert_eq!(small.steps(), [], "it has had its attempt, and may be answered still");
    small.queue.leave(silent, None, small.now);
    assert_eq!(small.verdicts(ticket.flow), [(0, Verdict::Missing(Reason::Failed))]);

    // With an attempt left it is tried again at once.
    let mut small = Small::new();
    let [_, other] = suspected(&mut small, attempts(2));
    let (_, ticket) = small.assigned()[0];
    small.fail(other, ticket, Failure::Failed);
    assert_eq!(numbers(&small.assigned()), [(other, 0, 3)]);
}

#[test]
fn a_second_lane_that_would_be_too_late_is_not_tried() {
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
    small.offer(flow).unwrap();
    let (_, ticket) = small.assigned()[0];
    small.now += 70 * MS;
    small.queue.suspect(lane, small.now);
    small.join(&["work"], 1);
    assert_eq!(small.assigned(), [], "30 ms are left");
    small.now += 10 * MS;
    assert_eq!(small.answer(lane, ticket), Settled::Counted);
}

#[test]
fn a_lane_has_its_time_to_let_go_once_it_is_heard() {
    let mut small = Small::new();
    let [silent, other] = suspected(&mut small, Policy::lossless());
    let (_, ticket) = small.assigned()[0];
    assert_eq!(small.answer(other, ticket), Settled::Counted);
    let cancel = Step::Cancel { lane: silent, ticket: Ticket { attempt: 1, ..ticket } };
    assert!(small.steps().contains(&cancel));
    small.now += 10_000 * MS;
    assert_eq!(small.queue.poll(small.now), Step::Wait(None), "it may not have heard");
    small.queue.trust(silent, small.now);
    assert_eq!(small.queue.poll(small.now), Step::Wait(Some(small.now + 2_000 * MS)));
    // Silent again before its time is over: it begins anew.
    small.now += 1_999 * MS;
    small.queue.suspect(silent, small.now);
    small.now += 10 * MS;
    small.queue.trust(silent, small.now);
    small.now += 1_999 * MS;
    assert_eq!(small.steps(), []);
    small.now += MS;
    assert_eq!(small.steps(), [Step::Lost { lane: silent }]);
}
