//! Lanes that have a part for longer than its flow allows.

use std::num::NonZeroU32;

use crate::small::{MS, Small};
use framelane_queue::{Policy, Reason, Settled, Step, Ticket, Verdict};

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
