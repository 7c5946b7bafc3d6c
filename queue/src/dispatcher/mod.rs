//! The dispatcher: the state, and the calls that only look at it.
//!
//! The calls that change it lie in one file each kind: `offer`, `take`, `lanes`, `answer`, `poll`;
//! what they share, the settling and queueing of parts, in `settle`, what time does in `time`, second
//! hand-outs in `hedge`, of what is slow, and `suspect`, of what a silent lane has, and what may never end in
//! `overlong`.

mod answer;
mod flows;
mod hedge;
mod lanes;
mod offer;
mod overlong;
mod poll;
mod settle;
mod suspect;
mod take;
mod time;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub use answer::{Answered, Failure, Settled};
pub use overlong::Overlong;
pub use poll::HandOut;

use crate::books::Books;
use crate::flow::Flow;
use crate::id::{FlowId, LaneId, PartIndex};
use crate::key::Key;
use crate::lane::{Lane, LaneView};
use crate::pool::Pools;
use crate::slots::Slots;
use crate::step::Step;
use crate::timer::Timers;

/// What holds for all flows and lanes of a dispatcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How long a lane may keep a ticket after its `Cancel` before it counts as lost. Default 2 s.
    pub release_within: Duration,
    /// The most parts of one place, first ones and later ones together. Default 1024.
    pub parts: PartIndex,
}

impl Default for Config {
    fn default() -> Self {
        Self { release_within: Duration::from_secs(2), parts: 1024 }
    }
}

/// The queue: flows, lanes, and what is between them. See the [crate](crate) for how it is driven.
///
/// `I` is an item, `P` what a part needs besides it, `A` an answer. All calls are cheap and none
/// blocks. Time never goes back: a `now` before the latest one counts as the latest.
pub struct Dispatcher<I, P, A> {
    config: Config,
    /// The latest `now`.
    now: Option<Instant>,
    flows: Slots<FlowId, Flow<I, P, A>>,
    lanes: Slots<LaneId, Lane>,
    pools: Pools,
    timers: Timers,
    /// Steps that were caused by other calls and not polled yet; `Assign` is never among them.
    steps: VecDeque<Step>,
    next_flow: u64,
    next_lane: u64,
}

impl<I, P, A> Dispatcher<I, P, A> {
    /// An empty dispatcher.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            now: None,
            flows: Slots::new(),
            lanes: Slots::new(),
            pools: Pools::new(),
            timers: Timers::new(),
            steps: VecDeque::new(),
            next_flow: 0,
            next_lane: 0,
        }
    }

    /// The books of a flow, as one consistent snapshot; `None` for a flow that is not known.
    #[must_use]
    pub fn books(&self, flow: FlowId) -> Option<Books> {
        Some(self.flows[self.flows.find(flow)?].books())
    }

    /// All lanes.
    pub fn lanes(&self) -> impl Iterator<Item = LaneView<'_>> {
        self.lanes.iter().map(|(_, lane)| lane.view())
    }

    /// One lane.
    #[must_use]
    pub fn lane(&self, lane: LaneId) -> Option<LaneView<'_>> {
        Some(self.lanes[self.lanes.find(lane)?].view())
    }

    /// Whether a lane serves the key: declares it, warm or cold, with credit or without, and does not drain.
    #[must_use]
    pub fn serves(&self, key: &Key) -> bool {
        self.is_served(key, None)
    }

    /// The service time of a key as estimated now, from hand-out to answer; zero while nothing is
    /// known, `None` where no lane serves the key and no flow uses it.
    #[must_use]
    pub fn service(&self, key: &Key, now: Instant) -> Option<Duration> {
        let pool = self.pools.find(key, None)?;
        Some(self.pools.get(pool).service.estimate(now))
    }

    /// From when on a hand-out of this key counts as slow for a flow that hedges, from its hand-out.
    /// `None` for a flow that does not, and before the key has enough answers.
    pub fn slow_after(&mut self, flow: FlowId, key: &Key, now: Instant) -> Option<Duration> {
        let flow = &self.flows[self.flows.find(flow)?];
        let slowest = flow.policy.hedge?.slowest;
        let pool = self.pools.find(key, flow.policy.pin)?;
        self.pools.get_mut(pool).spread.as_mut()?.slowest(slowest, now)
    }
}
