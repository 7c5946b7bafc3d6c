//! Places with several parts: asks, seals, second stages, and the ends of flows.

use crate::small::{MS, Small, key};
use framelane_queue::{
    Answered, Failure, LaneId, Outcome, Part, Policy, Reason, RefusedWhy, Settled, Step, Ticket, Verdict,
};

fn ask(small: &mut Small, lane: LaneId, ticket: Ticket, tasks: &[&str], seal: bool) -> Settled {
    let asks = tasks.iter().map(|task| Part { key: key(task), payload: "second" });
    let answered = Answered { asks: asks.collect(), seal, ..Answered::new(Ok("boxes")) };
    small.queue.answer(lane, ticket, answered, small.now)
}

fn open_place(small: &mut Small, policy: Policy) -> framelane_queue::FlowId {
    let flow = small.open(policy);
    let item = small.item(&["detect"], false);
    small.queue.offer(flow, item, small.now).unwrap();
    flow
}

#[test]
fn an_answer_asks_for_more_and_the_place_waits_for_it() {
    let mut small = Small::new();
    let lane = small.join(&["detect", "name"], 4);
    let flow = open_place(&mut small, Policy::lossless());
    let (_, ticket) = small.assigned()[0];
    ask(&mut small, lane, ticket, &["name", "name"], true);
    assert_eq!(small.verdicts(flow), []);
    let held = small.assigned();
    let parts: Vec<_> = held.iter().map(|(_, ticket)| ticket.part).collect();
    assert_eq!(parts, [1, 2]);
    let out = small.queue.hand_out(held[0].1).unwrap();
    assert_eq!((*out.payload, out.key), ("second", &key("name")));
    for (lane, ticket) in held {
        small.answer(lane, ticket);
    }
    let taken = small.taken(flow);
    assert_eq!(taken[0].verdict, Verdict::Answered);
    let keys: Vec<_> = taken[0].parts.iter().map(|(key, _)| key.task.as_str()).collect();
    assert_eq!(keys, ["detect", "name", "name"]);
}

#[test]
fn a_late_second_stage_is_named_and_the_place_is_answered() {
    let mut small = Small::new();
    let lane = small.join(&["detect", "name"], 1);
    let flow = open_place(&mut small, Policy::video(100 * MS));
    let (_, ticket) = small.assigned()[0];
    ask(&mut small, lane, ticket, &["name"], true);
    let (_, second) = small.assigned()[0];
    small.now += 100 * MS;
    let steps = small.steps();
    assert!(steps.contains(&Step::Cancel { lane, ticket: second }));
    let taken = small.taken(flow);
    assert_eq!(taken[0].verdict, Verdict::Answered);
    let outcomes: Vec<_> = taken[0].parts.iter().map(|(_, part)| part.clone()).collect();
    let late = Outcome::Missing(Reason::Late);
    assert_eq!(outcomes, [Outcome::Answer("boxes"), late]);
    let books = small.books(flow);
    assert_eq!((books.answered, books.parts.missing.late), (1, 1));
}

#[test]
fn a_missing_first_part_seals_the_place() {
    let mut small = Small::new();
    let lane = small.join(&["detect", "pose", "name"], 2);
    let flow = small.open(Policy::lossless());
    let item = small.item(&["detect", "pose"], false);
    small.queue.offer(flow, item, small.now).unwrap();
    let held = small.assigned();
    small.fail(lane, held[0].1, Failure::Bad);
    ask(&mut small, lane, held[1].1, &["name"], false);
    let taken = small.taken(flow);
    assert_eq!(taken[0].verdict, Verdict::Missing(Reason::Failed));
    let cancelled = Outcome::Missing(Reason::Cancelled);
    assert_eq!(taken[0].parts[2].1, cancelled, "asked for in a sealed place");
    small.books(flow);
}

#[test]
fn an_open_place_whose_parts_are_all_settled_waits_for_nobody() {
    let mut small = Small::new();
    let lane = small.join(&["detect"], 1);
    let flow = open_place(&mut small, Policy::lossless());
    let (_, ticket) = small.assigned()[0];
    ask(&mut small, lane, ticket, &[], false);
    assert_eq!(small.verdicts(flow), [(0, Verdict::Answered)]);
}

#[test]
fn asks_beyond_the_bound_of_a_place_are_counted_and_not_kept() {
    let mut small = Small::new();
    let config = framelane_queue::Config { parts: 3, ..Default::default() };
    small.queue = framelane_queue::Dispatcher::new(config);
    let lane = small.join(&["detect", "name"], 1);
    let flow = open_place(&mut small, Policy::lossless());
    let (_, ticket) = small.assigned()[0];
    ask(&mut small, lane, ticket, &["name"; 5], true);
    let books = small.books(flow);
    assert_eq!((books.parts.asked, books.parts.missing.evicted), (6, 3));
    let too_many = small.item(&["detect"; 4], true);
    let refused = small.queue.offer(flow, too_many, small.now).unwrap_err();
    assert_eq!(refused.why, RefusedWhy::TooManyParts);
}

#[test]
fn abort_discards_and_counts_and_late_releases_still_give_credit_back() {
    let mut small = Small::new();
    let lane = small.join(&["work"], 2);
    let flow = small.open(Policy::lossless());
    for _ in 0..4 {
        small.offer(flow).unwrap();
    }
    let held = small.assigned();
    small.answer(lane, held[0].1);
    let replacement = small.assigned();
    assert_eq!(small.queue.abort(flow, small.now), 4);
    let books = small.books(flow);
    assert_eq!((books.missing.cancelled, books.held), (4, 0));
    assert_eq!((books.parts.answered, books.parts.missing.cancelled), (1, 3));
    let steps = small.steps();
    let cancel = |ticket| Step::Cancel { lane, ticket };
    let closed = Step::Closed { flow };
    let expected = [cancel(held[1].1), cancel(replacement[0].1), closed];
    assert_eq!(steps, expected);
    assert_eq!(small.taken(flow).len(), 0);
    assert_eq!(small.queue.forget(flow), Some(books));
    assert_eq!(small.queue.books(flow), None);
    for ticket in [held[1].1, replacement[0].1] {
        small.queue.released(lane, ticket, small.now);
    }
    assert_eq!(small.queue.lane(lane).unwrap().outstanding, 0);
}

#[test]
fn closed_comes_after_the_last_place_and_forget_after_closed() {
    let mut small = Small::new();
    let lane = small.join(&["work"], 1);
    let flow = small.open(Policy::lossless());
    small.offer(flow).unwrap();
    small.queue.close(flow, small.now);
    assert_eq!(small.offer(flow).unwrap_err().why, RefusedWhy::Closed);
    let (_, ticket) = small.assigned()[0];
    small.answer(lane, ticket);
    assert_eq!(small.steps(), [Step::Ready { flow }], "settled, not taken");
    assert_eq!(small.taken(flow).len(), 1);
    assert_eq!(small.queue.forget(flow), None, "Closed was not told yet");
    assert_eq!(small.steps(), [Step::Closed { flow }]);
    assert!(small.queue.forget(flow).is_some());
    assert_eq!(small.offer(flow).unwrap_err().why, RefusedWhy::NoSuchFlow);
}

#[test]
fn an_empty_flow_closes_at_once() {
    let mut small = Small::new();
    let flow = small.open(Policy::lossless());
    small.queue.close(flow, small.now);
    assert_eq!(small.steps(), [Step::Closed { flow }]);
}

#[test]
fn ready_is_told_again_only_after_take_gave_nothing() {
    let mut small = Small::new();
    let lane = small.join(&["work"], 3);
    let flow = small.open(Policy::lossless());
    for _ in 0..3 {
        small.offer(flow).unwrap();
    }
    let held = small.assigned();
    small.answer(lane, held[0].1);
    assert_eq!(small.steps(), [Step::Ready { flow }]);
    small.answer(lane, held[1].1);
    assert_eq!(small.steps(), [], "it was told, and nobody took");
    assert_eq!(small.taken(flow).len(), 2);
    assert_eq!(small.steps(), []);
    small.answer(lane, held[2].1);
    assert_eq!(small.steps(), [Step::Ready { flow }]);
}

#[test]
fn earliest_deadline_first_inside_a_flow() {
    let mut small = Small::new();
    let flow = small.open(Policy::video(100 * MS));
    small.join(&["work"], 0);
    let mut late = small.item(&["work"], true);
    late.captured_at += 5 * MS;
    let early = small.item(&["work"], true);
    for item in [late, early] {
        small.queue.offer(flow, item, small.now).unwrap();
    }
    small.join(&["work"], 2);
    let order: Vec<_> = small.assigned().iter().map(|(_, t)| t.seq.get()).collect();
    assert_eq!(order, [1, 0]);
}
