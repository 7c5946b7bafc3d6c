//! Everything that one kind of part can be handed out to: the lanes that serve a key, or the lanes of
//! one worker that serve it where a flow is pinned; and the flows that wait there.
//!
//! Flows inside a pool share it by stride scheduling: the one with the least virtual time is next, and
//! each hand-out adds to its time in inverse proportion to its weight. A flow that comes back from
//! idleness starts at the pool's present time, so it can neither claim what it did not use nor be
//! punished for it. The pool's time goes on with each hand-out by what that is to all who wait together:
//! were it only the time of who is served, flows that are ever new would all come before an old one. Pools that share lanes take turns by smooth weighted round robin.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::num::NonZeroU64;
use std::time::Instant;

use crate::id::{FlowId, LaneId, PartIndex, Seq, WorkerId};
use crate::key::Key;
use crate::line::Line;
use crate::members::{Mark, Members, Standings};
use crate::service::Service;
use crate::slots::{At, Slots};
use crate::spread::Spread;

/// What one hand-out adds to the virtual time of a flow with weight 1. Weights above it count as it;
/// a larger one would let the virtual time run over within the life of a server.
const STRIDE: u64 = 1 << 20;

/// A pool's number, never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PoolId(pub(crate) u64);

/// A slow part's turn among those that wait for a second lane: who became slow first comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SlowTurn(NonZeroU64);

/// A part that a lane has had for long, and that may have a second lane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SlowPart {
    pub(crate) flow: At<FlowId>,
    pub(crate) seq: Seq,
    pub(crate) part: PartIndex,
    /// The lane that has it.
    pub(crate) holder: At<LaneId>,
}

/// One pool.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) id: PoolId,
    pub(crate) key: Key,
    pub(crate) pin: Option<WorkerId>,
    pub(crate) service: Service,
    /// How its times are spread, where a flow ever named it that hedges.
    pub(crate) spread: Option<Box<Spread>>,
    /// Parts that are to be hedged as soon as there is room for it.
    slow: BTreeMap<SlowTurn, SlowPart>,
    /// The lanes that serve it.
    lanes: Members,
    /// Lines of flows that name this pool, waiting parts or not.
    lines: usize,
    /// Flows by virtual time: all that have waiting parts, and some that have none any more. Those leave
    /// when their turn comes, because until then they mostly have come back: a flow in its stride costs
    /// no more than one change at the front.
    turns: BinaryHeap<Reverse<(u64, At<FlowId>)>>,
    /// Flows with waiting parts.
    waiting: usize,
    /// Their weights together.
    weight: u64,
    /// The virtual time of those who wait, on average.
    time: u64,
    /// This pool's balance in the round robin among pools.
    turn: i64,
    /// Where it stands in `Pools::runnable`.
    runnable: Option<usize>,
    /// Where it stands in `Pools::hedging`.
    hedging: Option<usize>,
}

impl Pool {
    pub(crate) fn is_served(&self) -> bool {
        !self.lanes.is_empty()
    }

    /// All flows with waiting parts, and perhaps some more.
    pub(crate) fn flows(&self) -> impl Iterator<Item = At<FlowId>> {
        self.turns.iter().map(|&Reverse((_, flow))| flow)
    }
}

/// All pools.
pub(crate) struct Pools {
    slots: Slots<PoolId, Pool>,
    by_key: HashMap<(Key, Option<WorkerId>), At<PoolId>>,
    next: u64,
    /// Pools with waiting flows and a lane that may have a part: the only ones that `poll` looks at.
    runnable: Vec<At<PoolId>>,
    /// Pools with slow parts and a lane that may have one.
    hedging: Vec<At<PoolId>>,
    next_slow: NonZeroU64,
    standings: Standings,
}

impl Pools {
    pub(crate) fn new() -> Self {
        Self {
            slots: Slots::new(),
            by_key: HashMap::new(),
            next: 0,
            runnable: Vec::new(),
            hedging: Vec::new(),
            next_slow: NonZeroU64::MIN,
            standings: Standings::default(),
        }
    }

    #[inline]
    pub(crate) fn get(&self, at: At<PoolId>) -> &Pool {
        &self.slots[at]
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, at: At<PoolId>) -> &mut Pool {
        &mut self.slots[at]
    }

    #[inline]
    pub(crate) fn by_id(&mut self, id: PoolId) -> Option<&mut Pool> {
        let at = self.slots.find(id)?;
        Some(&mut self.slots[at])
    }

    pub(crate) fn at(&self, id: PoolId) -> Option<At<PoolId>> {
        self.slots.find(id)
    }

    pub(crate) fn find(&self, key: &Key, pin: Option<WorkerId>) -> Option<At<PoolId>> {
        self.by_key.get(&(key.clone(), pin)).copied()
    }

    /// The pool of a key; `true` where it was made by this call and has no lanes yet.
    pub(crate) fn find_or_make(&mut self, key: &Key, pin: Option<WorkerId>) -> (At<PoolId>, bool) {
        if let Some(at) = self.find(key, pin) {
            return (at, false);
        }
        let id = PoolId(self.next);
        self.next += 1;
        let pool = Pool {
            id,
            key: key.clone(),
            pin,
            service: Service::default(),
            spread: None,
            slow: BTreeMap::new(),
            lanes: Members::default(),
            lines: 0,
            turns: BinaryHeap::new(),
            waiting: 0,
            weight: 0,
            time: 0,
            turn: 0,
            runnable: None,
            hedging: None,
        };
        let at = self.slots.insert(id, pool);
        self.by_key.insert((key.clone(), pin), at);
        (at, true)
    }

    /// Forgets a pool that neither a lane nor a line names.
    pub(crate) fn sweep(&mut self, at: At<PoolId>) {
        let pool = &self.slots[at];
        if pool.lanes.is_empty() && pool.lines == 0 {
            self.by_key.remove(&(pool.key.clone(), pool.pin));
            let id = pool.id;
            self.slots.remove(id);
        }
    }

    pub(crate) fn add_line(&mut self, at: At<PoolId>) {
        self.slots[at].lines += 1;
    }

    pub(crate) fn drop_line(&mut self, flow: At<FlowId>, line: &Line) {
        let pool = &mut self.slots[line.pool];
        pool.lines -= 1;
        if line.listed {
            pool.turns.retain(|&Reverse((_, other))| other != flow);
        }
        self.sweep(line.pool);
    }

    pub(crate) fn add_lane(&mut self, at: At<PoolId>, lane: At<LaneId>, warm: bool) {
        self.slots[at].lanes.add(lane, warm, &self.standings);
        self.refresh(at);
    }

    /// Takes a lane off a pool; the caller sweeps once it has dealt with what waits there.
    pub(crate) fn drop_lane(&mut self, at: At<PoolId>, lane: At<LaneId>) {
        self.slots[at].lanes.drop(lane, &self.standings);
        self.refresh(at);
    }

    /// Notes how many more tickets a lane may hold, and whether it is able to work at all. `pools` are those
    /// that the lane serves.
    #[inline]
    pub(crate) fn set_room(&mut self, lane: At<LaneId>, room: u32, able: bool, pools: &[At<PoolId>]) {
        let Some(change) = self.standings.set(lane, room, able) else {
            return;
        };
        for &at in pools {
            self.slots[at].lanes.changed(change, &self.standings);
            self.refresh(at);
        }
    }

    /// A lane has failed a part of this pool. Returns until when it rests, where that is new.
    pub(crate) fn lane_failed(&mut self, at: At<PoolId>, lane: At<LaneId>, now: Instant) -> Option<Instant> {
        let until = self.slots[at].lanes.failed(lane, now, &self.standings);
        self.refresh(at);
        until
    }

    /// A lane has got a part of this pool. Returns until when it rests, where it had failed before.
    #[inline]
    pub(crate) fn lane_handed(&mut self, at: At<PoolId>, lane: At<LaneId>, now: Instant) -> Option<Instant> {
        let until = self.slots[at].lanes.handed(lane, now, &self.standings);
        if until.is_some() {
            self.refresh(at);
        }
        until
    }

    /// A lane has answered a part of this pool.
    #[inline]
    pub(crate) fn lane_answered(&mut self, at: At<PoolId>, lane: At<LaneId>) {
        if self.slots[at].lanes.answered(lane, &self.standings) {
            self.refresh(at);
        }
    }

    /// The rest of a lane is over.
    pub(crate) fn lane_rested(&mut self, at: At<PoolId>, lane: At<LaneId>) {
        self.slots[at].lanes.rested(lane, &self.standings);
        self.refresh(at);
    }

    /// Until when a lane rests at a pool.
    pub(crate) fn rests_until(&self, at: At<PoolId>, lane: At<LaneId>) -> Option<Instant> {
        self.slots[at].lanes.rests_until(lane)
    }

    /// What a pool holds against a lane.
    pub(crate) fn mark(&self, at: At<PoolId>, lane: At<LaneId>) -> Option<Mark> {
        self.slots[at].lanes.mark(lane)
    }

    /// Holds against a lane what was held against it before it stepped down, where it serves again.
    pub(crate) fn hold_against(&mut self, at: At<PoolId>, lane: At<LaneId>, mark: Mark) {
        self.slots[at].lanes.hold_against(lane, mark, &self.standings);
        self.refresh(at);
    }

    /// A flow has begun to wait.
    #[inline]
    pub(crate) fn wake(&mut self, flow: At<FlowId>, line: &mut Line, weight: u32) {
        let pool = &mut self.slots[line.pool];
        if !line.listed {
            line.listed = true;
            line.pass = line.pass.max(pool.time);
            pool.turns.push(Reverse((line.pass, flow)));
        }
        pool.waiting += 1;
        pool.weight += u64::from(weight);
        self.refresh(line.pool);
    }

    /// A flow has nothing waiting any more.
    #[inline]
    pub(crate) fn sleep(&mut self, at: At<PoolId>, weight: u32) {
        let pool = &mut self.slots[at];
        pool.waiting -= 1;
        pool.weight -= u64::from(weight);
        if pool.waiting == 0 {
            pool.turn = 0;
        }
        self.refresh(at);
    }

    /// The flow whose turn it was has had a hand-out.
    #[inline]
    pub(crate) fn charge(&mut self, line: &mut Line, weight: u32) {
        let pool = &mut self.slots[line.pool];
        pool.time = pool.time.saturating_add(STRIDE / pool.weight.max(1)).max(line.pass);
        line.pass += (STRIDE / u64::from(weight)).max(1);
        let mut first = pool.turns.peek_mut().expect("it was the flow's turn");
        first.0.0 = line.pass;
    }

    /// The flow whose turn it is, waiting or not.
    #[inline]
    pub(crate) fn first(&self, at: At<PoolId>) -> Option<At<FlowId>> {
        self.slots[at].turns.peek().map(|&Reverse((_, flow))| flow)
    }

    /// Passes over the flow whose turn it is, because it does not wait.
    pub(crate) fn pass_over(&mut self, line: &mut Line) {
        line.listed = false;
        self.slots[line.pool].turns.pop();
    }

    /// The next pool to hand out from.
    #[inline]
    pub(crate) fn pick(&mut self) -> Option<At<PoolId>> {
        match *self.runnable.as_slice() {
            [] => None,
            [only] => Some(only),
            _ => Some(self.take_turn()),
        }
    }

    fn take_turn(&mut self) -> At<PoolId> {
        let mut total = 0;
        let mut best = (i64::MIN, self.runnable[0]);
        for &at in &self.runnable {
            let pool = &mut self.slots[at];
            let weight = i64::try_from(pool.weight).unwrap_or(i64::MAX);
            pool.turn = pool.turn.saturating_add(weight);
            total += weight;
            if pool.turn > best.0 {
                best = (pool.turn, at);
            }
        }
        self.slots[best.1].turn -= total;
        best.1
    }

    /// The lane of a pool to hand out to, as [`Members::freest`] says, `but` for one; those come last that are
    /// `far`.
    #[inline]
    pub(crate) fn freest(
        &self,
        at: At<PoolId>,
        but: Option<At<LaneId>>,
        far: impl Fn(At<LaneId>) -> u8,
    ) -> Option<At<LaneId>> {
        self.slots[at].lanes.freest(&self.standings, but, far)
    }

    /// A part has been out for long. Returns its turn.
    pub(crate) fn add_slow(&mut self, at: At<PoolId>, part: SlowPart) -> SlowTurn {
        let turn = SlowTurn(self.next_slow);
        self.next_slow = self.next_slow.saturating_add(1);
        self.slots[at].slow.insert(turn, part);
        self.refresh(at);
        turn
    }

    /// A slow part has found its second lane, or needs none any more.
    pub(crate) fn drop_slow(&mut self, at: At<PoolId>, turn: SlowTurn) {
        self.slots[at].slow.remove(&turn);
        self.refresh(at);
    }

    /// The next slow part for which a lane has room that does not have it yet, and that lane.
    #[inline]
    pub(crate) fn pick_slow(&self) -> Option<(SlowTurn, SlowPart, At<LaneId>)> {
        self.hedging.iter().find_map(|&at| {
            // Only where its own lane is the one with room, a part must let others go first: with
            // two such lanes the first part will do, so no more are looked at than one lane holds.
            let mut slow = self.slots[at].slow.iter();
            slow.find_map(|(&turn, &part)| Some((turn, part, self.freest(at, Some(part.holder), |_| 0)?)))
        })
    }

    /// Keeps `runnable` and `hedging` true to a pool's state.
    fn refresh(&mut self, at: At<PoolId>) {
        let pool = &mut self.slots[at];
        let can_run = pool.lanes.is_ready() && pool.waiting > 0;
        let can_hedge = pool.lanes.is_ready() && !pool.slow.is_empty();
        if can_run != pool.runnable.is_some() {
            list(&mut self.runnable, &mut self.slots, at, |pool| &mut pool.runnable);
        }
        if can_hedge != self.slots[at].hedging.is_some() {
            list(&mut self.hedging, &mut self.slots, at, |pool| &mut pool.hedging);
        }
    }
}

/// Puts a pool on a list that it is not on, or takes it off; `mark` is where a pool keeps its place in it.
fn list(
    list: &mut Vec<At<PoolId>>,
    pools: &mut Slots<PoolId, Pool>,
    at: At<PoolId>,
    mark: impl Fn(&mut Pool) -> &mut Option<usize>,
) {
    match mark(&mut pools[at]).take() {
        None => {
            *mark(&mut pools[at]) = Some(list.len());
            list.push(at);
        }
        Some(place) => {
            list.swap_remove(place);
            if let Some(&moved) = list.get(place) {
                *mark(&mut pools[moved]) = Some(place);
            }
        }
    }
}
