//! Lanes: joining, credit, keys, draining, leaving.

use std::time::Instant;

use super::Dispatcher;
use crate::id::{FlowId, LaneId, Ticket, WorkerId};
use crate::key::Key;
use crate::lane::{Held, Join, Lane, LaneKey, Worth};
use crate::line::Waiting;
use crate::offer::{Outcome, Reason};
use crate::place::{Culprit, State};
use crate::policy::NoLane;
use crate::pool::PoolId;
use crate::slots::At;
use crate::step::Step;

impl<I, P, A> Dispatcher<I, P, A> {
    /// A worker connected. The lane serves its keys from now on.
    pub fn join(&mut self, join: Join, now: Instant) -> LaneId {
        self.advance(now);
        let id = LaneId(self.next_lane);
        self.next_lane += 1;
        let at = self.lanes.insert(id, Lane::new(id, join));
        self.serve(at);
        self.lane_changed(at);
        id
    }

    /// Sets the most tickets that a lane may hold. Below what it holds already it gets nothing until
    /// enough came back.
    pub fn credit(&mut self, lane: LaneId, credit: u32, now: Instant) {
        self.advance(now);
        if let Some(at) = self.lanes.find(lane) {
            self.lanes[at].credit = credit;
            self.lane_changed(at);
        }
    }

    /// Replaces the keys that a lane serves. Tickets it holds are not touched.
    pub fn keys(&mut self, lane: LaneId, keys: Vec<LaneKey>, now: Instant) {
        self.advance(now);
        let Some(at) = self.lanes.find(lane) else {
            return;
        };
        self.lanes[at].keys = keys;
        if !self.lanes[at].draining {
            let mark = |&pool| Some((pool, self.pools.mark(pool, at)?));
            let marks: Vec<_> = self.lanes[at].pools.iter().filter_map(mark).collect();
            let before = self.step_down(at);
            self.serve(at);
            for (pool, mark) in marks {
                self.pools.hold_against(pool, at, mark);
            }
            self.unstaffed(&before);
        }
    }

    /// Hands out nothing more to a lane; once it holds nothing, `Drained` comes.
    pub fn drain(&mut self, lane: LaneId, now: Instant) {
        self.advance(now);
        let Some(at) = self.lanes.find(lane) else {
            return;
        };
        if self.lanes[at].draining {
            return;
        }
        let before = self.step_down(at);
        self.lanes[at].draining = true;
        self.lane_changed(at);
        self.tell_drained(at);
        self.unstaffed(&before);
    }

    /// A lane is gone. Its tickets go back to the front of their lines, and no `Cancel` follows.
    ///
    /// `blame` names the ticket that hung or crashed it: only that one is charged an attempt. Where
    /// it is not known, each ticket of the lane is charged, because any of them may be the cause and
    /// the policy's attempts are what ends one that takes down lane after lane. A `blame` that the lane
    /// does not hold charges nobody: that is how a lane leaves that is known to have lost its network.
    pub fn leave(&mut self, lane: LaneId, blame: Option<Ticket>, now: Instant) {
        self.advance(now);
        self.remove_lane(lane, blame);
    }

    pub(super) fn remove_lane(&mut self, id: LaneId, blame: Option<Ticket>) {
        let Some(at) = self.lanes.find(id) else {
            return;
        };
        let before = self.step_down(at);
        self.lanes[at].draining = true;
        self.lane_changed(at);
        let held = std::mem::take(&mut self.lanes[at].held);
        let culprit = self.lanes[at].culprit();
        self.lanes.remove(id);
        // The table gives them in no order; the same calls must always lead to the same steps.
        let mut held: Vec<(Ticket, Held)> = held.into_iter().collect();
        held.sort_unstable_by_key(|&(ticket, _)| ticket);
        for (ticket, held) in held {
            self.learn(&held, false, None);
            if held.worth == Worth::Live {
                let charged = blame.is_none_or(|blamed| blamed == ticket);
                self.give_back(ticket, charged.then_some(culprit));
            }
        }
        self.unstaffed(&before);
    }

    /// A live ticket comes back without an answer, charged to a lane or not: its part waits again, unless
    /// another lane has it too.
    pub(super) fn give_back(&mut self, ticket: Ticket, charged: Option<Culprit>) {
        let Some(at) = self.flows.find(ticket.flow) else {
            return;
        };
        let other = self.take_back(at, ticket);
        match (self.now, charged) {
            (Some(now), Some(culprit)) => self.charge(at, ticket.seq, ticket.part, culprit, other, now),
            _ if other => self.doubt(at, ticket.seq, ticket.part),
            _ => self.enqueue(at, ticket.seq, ticket.part),
        }
    }

    /// Notes a lane's room after its credit or its tickets changed.
    pub(super) fn lane_changed(&mut self, at: At<LaneId>) {
        let lane = &self.lanes[at];
        self.pools.set_room(at, lane.room(), lane.is_able(), &lane.pools);
    }

    /// Tells once that a draining lane holds nothing any more. To be called when it begins to drain
    /// and whenever a ticket came back.
    pub(super) fn tell_drained(&mut self, at: At<LaneId>) {
        let lane = &self.lanes[at];
        if lane.draining && lane.held.is_empty() {
            let lane = lane.id;
            self.steps.push_back(Step::Drained { lane });
        }
    }

    /// Puts a lane into the pools of its keys.
    fn serve(&mut self, at: At<LaneId>) {
        let lane = &mut self.lanes[at];
        for LaneKey { key, warm } in &lane.keys {
            let anyone = self.pools.find_or_make(key, None).0;
            if lane.pools.contains(&anyone) {
                continue;
            }
            let pinned = self.pools.find(key, Some(lane.worker));
            for pool in [Some(anyone), pinned].into_iter().flatten() {
                self.pools.add_lane(pool, at, *warm);
                lane.pools.push(pool);
            }
        }
    }

    /// Takes a lane out of its pools, which are returned.
    fn step_down(&mut self, at: At<LaneId>) -> Vec<At<PoolId>> {
        let pools = std::mem::take(&mut self.lanes[at].pools);
        for &pool in &pools {
            self.pools.drop_lane(pool, at);
        }
        pools
    }

    /// Deals with what waits in pools that lanes stepped down from.
    fn unstaffed(&mut self, pools: &[At<PoolId>]) {
        for &pool in pools {
            if !self.pools.get(pool).is_served() {
                let waiting: Vec<At<FlowId>> = self.pools.get(pool).flows().collect();
                for flow in waiting {
                    self.pass_by(flow, pool);
                }
            }
            self.pools.sweep(pool);
        }
    }

    /// Settles what a flow has waiting where nobody serves, if its policy says so; but what a suspected
    /// lane has, it may still answer.
    fn pass_by(&mut self, at: At<FlowId>, pool: At<PoolId>) {
        if self.flows[at].policy.no_lane == NoLane::Wait {
            return;
        }
        let waiting: Vec<Waiting> = self.flows[at].line(pool).iter().collect();
        for Waiting { seq, part, .. } in waiting {
            let place = self.flows[at].place(seq).expect("a part that waits is not settled");
            if matches!(place.parts[usize::from(part)].state, State::Waiting) {
                self.settle(at, seq, part, Outcome::Missing(Reason::NoLane));
            }
        }
    }

    /// Whether a lane serves the key, of this worker where it is pinned.
    pub(super) fn is_served(&self, key: &Key, pin: Option<WorkerId>) -> bool {
        match (self.pools.find(key, pin), pin) {
            (Some(pool), _) => self.pools.get(pool).is_served(),
            // Pools of pinned flows are made when the first part goes there.
            (None, Some(worker)) => self.lanes_of(worker, key).next().is_some(),
            (None, None) => false,
        }
    }

    /// Fills a new pool of a pinned flow with the lanes of its worker.
    pub(super) fn staff(&mut self, pool: At<PoolId>, worker: WorkerId) {
        let key = self.pools.get(pool).key.clone();
        let lanes: Vec<_> = self.lanes_of(worker, &key).collect();
        for (at, warm) in lanes {
            self.pools.add_lane(pool, at, warm);
            self.lanes[at].pools.push(pool);
        }
    }

    /// The lanes of a worker that serve a key, and whether they are warm for it.
    fn lanes_of(&self, worker: WorkerId, key: &Key) -> impl Iterator<Item = (At<LaneId>, bool)> {
        self.lanes.iter().filter_map(move |(at, lane)| {
            let declared = lane.keys.iter().find(|declared| declared.key == *key)?;
            (lane.worker == worker && !lane.draining).then_some((at, declared.warm))
        })
    }
}
