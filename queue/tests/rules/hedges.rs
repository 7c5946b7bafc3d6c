//! Second hand-outs beside slow ones.

use std::num::NonZeroU32;

use crate::small::{MS, Small, key};
use framelane_queue::{
    Failure, FlowId, Hedge, LaneId, Policy, Reason, Settled, Share, Step, Ticket, Verdict, WorkerId,
};

/// The slowest tenth, and a fifth more hand-outs at most.
fn tenth() -> Option<Hedge> {
    Some(Hedge { slowest: Share::percent(10).unwrap(), extra: Share::percent(20).unwrap() })
}

/// A hedging flow on two lanes whose key has had ten answers of 20 ms each.
struct Race {
    small: Small,
    flow: FlowId,
    lanes: [LaneId; 2],
}

impl Race {
    fn new(policy: Policy) -> Self {
        let mut small = Small::new();
        let flow = small.open(Policy { hedge: tenth(), ..policy });
        let lanes = [small.join(&["work"], 1), small.join(&["work"], 1)];
        let mut race = Self { small, flow, lanes };
        for _ in 0..10 {
            let (lane, ticket) = race.first();
            race.small.now += 20 * MS;
            assert_eq!(race.small.answer(lane, ticket), Settled::Counted);
            race.small.taken(flow);
        }
        race
    }

    /// Hands out one part.
    fn first(&mut self) -> (LaneId, Ticket) {
        self.small.offer(self.flow).unwrap();
        let assigned = self.small.assigned();
        assert_eq!(assigned.len(), 1);
        assigned[0]
    }

    /// Hands out one part and waits until it is hedged.
    fn both(&mut self) -> [(LaneId, Ticket); 2] {
        let first = self.first();
        self.small.now += 19 * MS;
        assert_eq!(self.small.assigned(), [], "it is not slow yet");
        self.small.now += 5 * MS;
        let assigned = self.small.assigned();
        assert_eq!(assigned.len(), 1, "the slow part is hedged");
        let (lane, ticket) = assigned[0];
        assert_eq!((ticket.seq, ticket.part, ticket.attempt), (first.1.seq, 0, first.1.attempt + 1));
        assert_ne!(lane, first.0);
        [first, (lane, ticket)]
    }

    fn outstanding(&self) -> [u32; 2] {
        self.lanes.map(|lane| self.small.queue.lane(lane).unwrap().outstanding)
    }
}

#[test]
fn the_first_answer_wins_and_the_other_is_cancelled_and_stale() {
    for hedge_wins in [false, true] {
        let mut race = Race::new(Policy::lossless());
        let [first, second] = race.both();
        let (winner, loser) = if hedge_wins { (second, first) } else { (first, second) };
        for (_, ticket) in [first, second] {
            assert!(race.small.queue.hand_out(ticket).is_some(), "both are live");
        }
        assert_eq!(race.small.answer(winner.0, winner.1), Settled::Counted);
        assert!(race.small.queue.hand_out(loser.1).is_none());
        let steps = race.small.steps();
        let cancel = Step::Cancel { lane: loser.0, ticket: loser.1 };
        assert_eq!(steps, [cancel, Step::Ready { flow: race.flow }]);
        assert_eq!(race.outstanding().iter().sum::<u32>(), 1, "the loser has not let go yet");
        assert_eq!(race.small.answer(loser.0, loser.1), Settled::Stale);
        assert_eq!(race.small.answer(loser.0, loser.1), Settled::Stale);
        assert_eq!(race.outstanding(), [0, 0]);
        assert_eq!(race.small.verdicts(race.flow), [(10, Verdict::Answered)]);
        let parts = race.small.books(race.flow).parts;
        assert_eq!((parts.answered, parts.hedged, parts.hedges_won), (11, 1, u64::from(hedge_wins)));
    }
}

#[test]
fn without_a_hedge_in_the_policy_a_slow_part_has_one_lane() {
    let mut race = Race::new(Policy::lossless());
    let plain = race.small.open(Policy::lossless());
    race.small.offer(plain).unwrap();
    assert_eq!(race.small.assigned().len(), 1);
    race.small.now += 10_000 * MS;
    assert_eq!(race.small.assigned(), []);
    let now = race.small.now;
    assert_eq!(race.small.queue.slow_after(plain, &key("work"), now), None);
}

#[test]
fn a_key_with_few_answers_is_not_hedged() {
    let mut small = Small::new();
    let flow = small.open(Policy { hedge: tenth(), ..Policy::lossless() });
    small.join(&["work"], 20);
    small.join(&["work"], 20);
    for _ in 0..9 {
        small.offer(flow).unwrap();
        let (lane, ticket) = small.assigned()[0];
        small.answer(lane, ticket);
    }
    small.offer(flow).unwrap();
    let (lane, ticket) = small.assigned()[0];
    small.now += 10_000 * MS;
    assert_eq!(small.assigned(), [], "nobody can tell whether it is among the slowest");
    small.answer(lane, ticket);
    assert!(small.queue.slow_after(flow, &key("work"), small.now).is_some());
}

#[test]
fn first_hand_outs_come_before_hedges() {
    let mut race = Race::new(Policy::lossless());
    let slow = race.first();
    let other = race.first();
    race.small.offer(race.flow).unwrap();
    race.small.now += 30 * MS;
    assert_eq!(race.small.assigned(), [], "no lane has room");
    race.small.answer(other.0, other.1);
    let next = race.small.assigned();
    assert_eq!(next.len(), 1);
    assert_eq!(next[0].1.seq.get(), 12, "the part that waits goes first");
    race.small.answer(next[0].0, next[0].1);
    let hedge = race.small.assigned();
    assert_eq!(hedge.len(), 1);
    assert_eq!((hedge[0].1.seq, hedge[0].1.attempt), (slow.1.seq, 2));
}

#[test]
fn a_hedge_never_goes_to_the_lane_that_has_the_part() {
    let mut race = Race::new(Policy::lossless());
    let (lane, _) = race.first();
    let [other] = race
        .lanes
        .map(|known| (known != lane).then_some(known))
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()[..]
    else {
        panic!("one lane of two");
    };
    race.small.queue.leave(other, None, race.small.now);
    race.small.queue.credit(lane, 5, race.small.now);
    race.small.now += 100 * MS;
    assert_eq!(race.small.assigned(), []);
    let third = race.small.join_as(3, &["work"], 1);
    assert_eq!(race.small.assigned()[0].0, third, "it still waits for a second lane");
}

#[test]
fn a_pinned_flow_is_hedged_at_its_worker_only() {
    let mut race = Race::new(Policy { pin: Some(WorkerId(1)), ..Policy::lossless() });
    race.small.join_as(2, &["work"], 9);
    let [first, second] = race.both();
    assert!(race.lanes.contains(&first.0) && race.lanes.contains(&second.0));
}

#[test]
fn where_every_lane_is_slow_the_load_grows_by_the_extra_share_only() {
    let mut race = Race::new(Policy::lossless());
    for _ in 0..20 {
        race.small.join(&["work"], 20);
    }
    race.small.taken(race.flow);
    let mut out = Vec::new();
    for _ in 0..100 {
        race.small.offer(race.flow).unwrap();
        out.extend(race.small.assigned());
    }
    // From now on nobody answers: all hundred hand-outs are slow.
    race.small.now += 1_000 * MS;
    let hedges = race.small.assigned();
    // Ten hand-outs before and these hundred earned 22 hedges, of which 16 are kept at most.
    assert_eq!((out.len(), hedges.len()), (100, 16));
    race.small.now += 1_000 * MS;
    assert_eq!(race.small.assigned(), []);
}

#[test]
fn a_ticket_that_fails_beside_a_live_one_ends_nothing() {
    for hedge_fails in [false, true] {
        let policy =
            || Policy { attempts: NonZeroU32::new(1), retry_after: Some(5 * MS), ..Policy::lossless() };
        let mut race = Race::new(policy());
        let [first, second] = race.both();
        let (fails, other) = if hedge_fails { (second, first) } else { (first, second) };
        assert_eq!(race.small.fail(fails.0, fails.1, Failure::Failed), Settled::Counted);
        assert_eq!(race.small.steps(), [], "no retry, no rest, no end: the other lane has it");
        assert_eq!(race.small.answer(other.0, other.1), Settled::Counted);
        assert_eq!(race.small.verdicts(race.flow), [(10, Verdict::Answered)]);

        let mut race = Race::new(policy());
        for (lane, ticket) in race.both() {
            race.small.fail(lane, ticket, Failure::Failed);
        }
        assert_eq!(race.small.verdicts(race.flow), [(10, Verdict::Missing(Reason::Failed))]);
        assert_eq!(race.outstanding(), [0, 0]);
    }
}

#[test]
fn work_that_is_bad_in_itself_is_not_left_to_the_other_lane() {
    let mut race = Race::new(Policy::lossless());
    let [first, second] = race.both();
    race.small.fail(second.0, second.1, Failure::Bad);
    let steps = race.small.steps();
    assert!(steps.contains(&Step::Cancel { lane: first.0, ticket: first.1 }), "{steps:?}");
    assert_eq!(race.small.verdicts(race.flow), [(10, Verdict::Missing(Reason::Failed))]);
}

#[test]
fn a_lane_that_is_lost_leaves_the_part_to_the_other() {
    for hedge_lost in [false, true] {
        let mut race = Race::new(Policy { attempts: NonZeroU32::new(1), ..Policy::lossless() });
        let [first, second] = race.both();
        let (lost, other) = if hedge_lost { (second, first) } else { (first, second) };
        race.small.queue.leave(lost.0, None, race.small.now);
        assert_eq!(race.small.steps(), [], "nothing waits, and nothing is lost");
        // Let go uncharged, the part waits again as any other.
        race.small.queue.released(other.0, other.1, race.small.now);
        let again = race.small.assigned();
        assert_eq!(again.len(), 1);
        assert_eq!((again[0].0, again[0].1.attempt), (other.0, 3));
        race.small.answer(again[0].0, again[0].1);
        assert_eq!(race.small.verdicts(race.flow), [(10, Verdict::Answered)]);
    }
}

#[test]
fn a_deadline_and_an_abort_cancel_both_tickets() {
    let budget = 200 * MS;
    for abort in [false, true] {
        let mut race = Race::new(Policy::video(budget));
        let both = race.both();
        if abort {
            assert_eq!(race.small.queue.abort(race.flow, race.small.now), 1);
        } else {
            race.small.now += budget;
        }
        let steps = race.small.steps();
        for (lane, ticket) in both {
            assert!(steps.contains(&Step::Cancel { lane, ticket }), "{steps:?}");
        }
        for (lane, ticket) in both {
            race.small.queue.released(lane, ticket, race.small.now);
        }
        assert_eq!(race.outstanding(), [0, 0]);
        let books = race.small.books(race.flow);
        assert_eq!(books.parts.missing.total(), 1, "one part, one outcome");
    }
}

#[test]
fn nothing_is_hedged_that_the_second_lane_would_not_make_in_time() {
    let mut race = Race::new(Policy::video(100 * MS));
    let blocked = race.first();
    let slow = race.first();
    race.small.now += 90 * MS;
    race.small.answer(blocked.0, blocked.1);
    assert_eq!(race.small.assigned(), [], "10 ms are left, and work takes 20");
    race.small.answer(slow.0, slow.1);
    let answered = [(10, Verdict::Answered), (11, Verdict::Answered)];
    assert_eq!(race.small.verdicts(race.flow), answered);
}

#[test]
fn a_lane_that_keeps_losing_ticket_is_lost_and_the_winner_stays() {
    let mut race = Race::new(Policy::lossless());
    let [first, second] = race.both();
    race.small.answer(second.0, second.1);
    race.small.steps();
    race.small.now += 2_000 * MS;
    assert_eq!(race.small.steps(), [Step::Lost { lane: first.0 }]);
    assert_eq!(race.small.verdicts(race.flow), [(10, Verdict::Answered)]);
    assert!(race.small.queue.lane(second.0).is_some());
}
