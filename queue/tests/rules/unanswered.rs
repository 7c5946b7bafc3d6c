//! Lanes that have a part for longer than its flow allows.

use std::num::NonZeroU32;

use crate::small::{MS, Small, key};
use framelane_queue::{Policy, Reason, Seq, Settled, Step, Ticket, Verdict};

fn within(policy: Policy) -> Policy {
    Policy { answer_within: Some(100 * MS), ..policy }
}

#[test]
fn what_is_not_answered_in_time_goes_to_another_lane_and_a_late_answer_is_stale() {
    let mut small = Small::new();
    let flow = small.open(within(Policy::lossless()));
    let never = small.join(&["work"], 1);
    small.offer(flow).unwrap();
    let (_, first) = small.assigned()[0];
    let other = small.join(&["work"], 1);
    small.now += 99 * MS;
    assert_eq!(small.steps(), [], "it may take so long");
    small.now += MS;
    let second = Ticket { attempt: 2, ..first };
    let steps = small.steps();
    assert!(steps.contains(&Step::Cancel { lane: never, ticket: first }), "{steps:?}");
    assert!(steps.contains(&Step::Assign { lane: other, ticket: second }), "{steps:?}");
    assert_eq!(small.answer(never, first), Settled::Stale);
    assert_eq!(small.answer(other, second), Settled::Counted);
    assert_eq!(small.verdicts(flow), [(0, Verdict::Answered)]);
    assert_eq!(small.books(flow).parts.unanswered, 1);
}

/// A worker that is heard and never answers: all its credit is a lossless flow's, so nothing else ends it.
#[test]
fn a_lane_that_keeps_what_it_never_answers_is_lost_and_all_it_held_is_answered() {
    let mut small = Small::new();
    let flow = small.open(within(Policy::lossless()));
    let never = small.join(&["work"], 3);
    for _ in 0..3 {
        small.offer(flow).unwrap();
    }
    assert_eq!(small.assigned().len(), 3);
    let honest = small.join(&["work"], 1);
    let mut lost = false;
    for _ in 0..5_000 {
        for step in small.steps() {
            match step {
                Step::Assign { lane, ticket } if lane == honest => {
                    assert_eq!(small.answer(honest, ticket), Settled::Counted);
                }
                Step::Lost { lane } => {
                    assert_eq!(lane, never);
                    lost = true;
                }
                _ => {}
            }
        }
        small.now += MS;
    }
    assert!(lost, "it did not let go");
    assert_eq!(small.verdicts(flow), [0, 1, 2].map(|seq| (seq, Verdict::Answered)));
}

#[test]
fn each_time_is_a_failure() {
    let mut small = Small::new();
    let flow = small.open(within(Policy { attempts: NonZeroU32::new(2), ..Policy::lossless() }));
    small.join(&["work"], 2);
    small.offer(flow).unwrap();
    assert_eq!(small.assigned().len(), 1);
    small.now += 100 * MS;
    assert_eq!(small.assigned().len(), 1, "the lane has room for another try");
    small.now += 100 * MS;
    small.steps();
    assert_eq!(small.verdicts(flow), [(0, Verdict::Missing(Reason::Failed))]);
}

/// What is told of a queue whose hand-outs were given a second and three times as long as is usual.
fn overlong(small: &mut Small) -> (Vec<Ticket>, bool) {
    let (told, more) = small.queue.overlong(1000 * MS, 3, small.now);
    (told.into_iter().map(|overlong| overlong.ticket).collect(), more)
}

#[test]
fn a_hand_out_without_a_limit_is_told_once_when_it_is_out_for_long() {
    let mut small = Small::new();
    let flow = small.open(Policy::lossless());
    let lane = small.join_as(7, &["work"], 2);
    small.offer(flow).unwrap();
    let (_, ticket) = small.assigned()[0];
    small.now += 999 * MS;
    assert_eq!(overlong(&mut small), (vec![], true), "but it may become so");
    small.now += MS;
    let (told, more) = small.queue.overlong(1000 * MS, 3, small.now);
    assert!(!more);
    let [told] = &told[..] else { panic!("one: {told:?}") };
    assert_eq!((told.lane, told.worker.0, told.ticket, told.out_for), (lane, 7, ticket, 1000 * MS));
    assert_eq!(told.key, key("work"));
    small.now += 60_000 * MS;
    assert_eq!(overlong(&mut small), (vec![], false), "once");
    assert_eq!(small.queue.lane(lane).unwrap().overlong, 1);
    // Nothing was done about it.
    assert_eq!(small.answer(lane, ticket), Settled::Counted);
}

#[test]
fn work_that_usually_takes_long_is_overlong_later_however_long_ago_that_was() {
    let mut small = Small::new();
    let flow = small.open(Policy::lossless());
    let lane = small.join(&["work"], 1);
    small.offer(flow).unwrap();
    let (_, first) = small.assigned()[0];
    small.now += 10_000 * MS;
    small.answer(lane, first);
    small.now += 3_600_000 * MS;
    small.offer(flow).unwrap();
    let (_, second) = small.assigned()[0];
    small.now += 29_999 * MS;
    assert_eq!(overlong(&mut small), (vec![], true));
    small.now += MS;
    assert_eq!(overlong(&mut small), (vec![second], false));
}

#[test]
fn what_something_ends_is_never_overlong() {
    let mut small = Small::new();
    let lane = small.join(&["work"], 4);
    let limited = [within(Policy::lossless()), Policy::video(3_600_000 * MS)];
    for policy in limited {
        let flow =
            small.open(Policy { answer_within: policy.answer_within.map(|_| 3_600_000 * MS), ..policy });
        small.offer(flow).unwrap();
    }
    let flow = small.open(Policy::lossless());
    small.offer(flow).unwrap();
    small.offer(flow).unwrap();
    let tickets = small.assigned();
    assert_eq!(tickets.len(), 4);
    // One is cancelled, and the lane is not heard for a while.
    small.queue.cancel(flow, Seq(0), small.now);
    small.queue.suspect(lane, small.now);
    small.now += 60_000 * MS;
    assert_eq!(overlong(&mut small), (vec![], true), "of one that is not heard nobody knows");
    small.queue.trust(lane, small.now);
    let of_the_flow = |ticket: &&Ticket| ticket.flow == flow && ticket.seq == Seq(1);
    let last = *tickets.iter().map(|(_, ticket)| ticket).find(of_the_flow).unwrap();
    assert_eq!(overlong(&mut small), (vec![last], false));
}
