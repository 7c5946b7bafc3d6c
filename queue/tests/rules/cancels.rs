//! Places that nobody wants any more.

use crate::small::{MS, Small};
use framelane_queue::{Answered, Part, Policy, Reason, Seq, Settled, Step, Ticket, Verdict};

const CANCELLED: Verdict = Verdict::Missing(Reason::Cancelled);

#[test]
fn a_cancelled_place_leaves_in_its_turn_and_the_others_as_ever() {
    let mut small = Small::new();
    let flow = small.open(Policy::lossless());
    let lane = small.join(&["work"], 1);
    for _ in 0..3 {
        small.offer(flow).unwrap();
    }
    let (_, first) = small.assigned()[0];
    assert!(small.queue.cancel(flow, Seq(1), small.now));
    assert!(!small.queue.cancel(flow, Seq(1), small.now), "a second time changes nothing");
    assert_eq!(small.verdicts(flow), [], "the place before it is not settled");
    let books = small.books(flow);
    assert_eq!((books.pending, books.held, books.parts.missing.cancelled), (2, 3, 1));

    small.answer(lane, first);
    let third = small.assigned()[0].1;
    assert_eq!(third.seq, Seq(2), "nobody works on a cancelled place");
    small.answer(lane, third);
    assert_eq!(small.verdicts(flow), [(0, Verdict::Answered), (1, CANCELLED), (2, Verdict::Answered)]);
    assert_eq!(small.books(flow).missing.cancelled, 1);
}

#[test]
fn a_live_ticket_of_a_cancelled_place_is_cancelled_and_gives_its_credit_back_once() {
    let mut small = Small::new();
    let flow = small.open(Policy::lossless());
    let lane = small.join(&["work"], 1);
    small.offer(flow).unwrap();
    small.offer(flow).unwrap();
    let (_, ticket) = small.assigned()[0];
    assert!(small.queue.cancel(flow, Seq(0), small.now));
    assert_eq!(small.steps(), [Step::Cancel { lane, ticket }, Step::Ready { flow }]);
    assert_eq!(small.verdicts(flow), [(0, CANCELLED)]);
    assert_eq!(small.assigned(), [], "its credit is not back");
    assert_eq!(small.answer(lane, ticket), Settled::Stale);
    let next = Ticket { seq: Seq(1), ..ticket };
    assert_eq!(small.assigned(), [(lane, next)]);
}

#[test]
fn a_lane_that_keeps_what_was_cancelled_is_lost() {
    let mut small = Small::new();
    let flow = small.open(Policy::lossless());
    let lane = small.join(&["work"], 1);
    small.offer(flow).unwrap();
    small.assigned();
    small.queue.cancel(flow, Seq(0), small.now);
    small.steps();
    small.now += 2_000 * MS;
    assert_eq!(small.steps(), [Step::Lost { lane }]);
}

#[test]
fn what_is_answered_stays_answered() {
    let mut small = Small::new();
    let flow = small.open(Policy::lossless());
    let lane = small.join(&["detect", "name"], 1);
    let place = small.item(&["detect"], false);
    small.queue.offer(flow, place, small.now).unwrap();
    let (_, ticket) = small.assigned()[0];
    let asks = vec![Part { key: crate::small::key("name"), payload: "asked" }];
    let answered = Answered { asks, seal: false, ..Answered::new(Ok("found")) };
    small.queue.answer(lane, ticket, answered, small.now);
    assert!(small.queue.cancel(flow, Seq(0), small.now), "its second stage is open");
    assert_eq!(small.books(flow).parts.missing.cancelled, 1);
    assert_eq!(small.verdicts(flow), [(0, Verdict::Answered)]);
}

#[test]
fn what_is_settled_taken_or_was_never_there_cannot_be_cancelled() {
    let mut small = Small::new();
    let flow = small.open(Policy::lossless());
    let lane = small.join(&["work"], 1);
    small.offer(flow).unwrap();
    let (_, ticket) = small.assigned()[0];
    small.answer(lane, ticket);
    assert!(!small.queue.cancel(flow, Seq(0), small.now), "settled");
    assert_eq!(small.verdicts(flow), [(0, Verdict::Answered)]);
    assert!(!small.queue.cancel(flow, Seq(0), small.now), "taken");
    assert!(!small.queue.cancel(flow, Seq(1), small.now), "not admitted yet");
    assert!(!small.queue.cancel(framelane_queue::FlowId(9), Seq(0), small.now), "no such flow");
    assert_eq!(small.books(flow).missing.total(), 0);
}

#[test]
fn a_closed_flow_ends_when_what_was_left_of_it_is_cancelled() {
    let mut small = Small::new();
    let flow = small.open(Policy::lossless());
    small.offer(flow).unwrap();
    small.queue.close(flow, small.now);
    assert!(small.queue.cancel(flow, Seq(0), small.now));
    assert_eq!(small.verdicts(flow), [(0, CANCELLED)]);
    assert_eq!(small.steps(), [Step::Closed { flow }]);
}
