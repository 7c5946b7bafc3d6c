//! Hand-outs that nothing ends: a lane has had them for far longer than their key takes, and their flow sets
//! no limit.
//!
//! The queue leaves them where they are, since the work may simply be long and only a person can know. It tells
//! of each once, so that the person learns of the limit that would have helped.

use std::time::{Duration, Instant};

use super::Dispatcher;
use crate::id::{LaneId, Ticket, WorkerId};
use crate::key::Key;
use crate::lane::{Held, Worth};

/// A hand-out that has been out for long, and may be for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlong {
    /// Who has it.
    pub lane: LaneId,
    /// Whose lane that is.
    pub worker: WorkerId,
    /// Which hand-out.
    pub ticket: Ticket,
    /// What was to be done.
    pub key: Key,
    /// Since when the lane has it.
    pub out_for: Duration,
}

impl<I, P, A> Dispatcher<I, P, A> {
    /// Hand-outs that a lane has had for `least`, and for as many `times` as long as its key takes, in flows that
    /// have neither a budget nor [`answer_within`](crate::Policy::answer_within). Each is told once, in the order
    /// of tickets; those of suspected lanes are not, since whoever suspects ends that. And whether there are others
    /// that may become so: while there are none, nobody need ask.
    ///
    /// It looks at every ticket that is out, so it is for every few seconds.
    pub fn overlong(&mut self, least: Duration, times: u32, now: Instant) -> (Vec<Overlong>, bool) {
        self.advance(now);
        let (mut told, mut more) = (Vec::new(), false);
        let (flows, pools) = (&self.flows, &mut self.pools);
        for lane in self.lanes.values_mut() {
            let watched = |ticket: &Ticket, held: &Held| {
                let unlimited = || flows.find(ticket.flow).is_some_and(|at| flows[at].policy.is_unlimited());
                held.worth == Worth::Live && !held.overlong && unlimited()
            };
            for (ticket, held) in &mut lane.held {
                if !watched(ticket, held) {
                    continue;
                }
                let out_for = now.saturating_duration_since(held.since);
                match pools.by_id(held.pool) {
                    Some(pool)
                        if !lane.suspected
                            && out_for >= least
                            && out_for >= pool.service.usual().saturating_mul(times) =>
                    {
                        held.overlong = true;
                        lane.overlong += 1;
                        let (lane, worker, key) = (lane.id, lane.worker, pool.key.clone());
                        told.push(Overlong { lane, worker, ticket: *ticket, key, out_for });
                    }
                    _ => more = true,
                }
            }
        }
        // The tables give them in no order; the same calls must always lead to the same answers.
        told.sort_unstable_by_key(|overlong| overlong.ticket);
        (told, more)
    }
}
