//! All that the queue holds, for people and their tools: plain values that any serde format writes.

use queue::{Books, FlowId, Key};
use serde::Serialize;

use crate::lane::View;

/// Every flow and every lane at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct Dump {
    /// The flows, oldest first.
    pub flows: Vec<Flow>,
    /// The lanes, oldest first.
    pub lanes: Vec<Lane>,
}

/// A flow. Of its places `books.held` are not taken yet, and `books.pending` of those have no outcome yet; of
/// its parts `books.parts.open` wait for a lane or are with one.
#[derive(Debug, Clone, Serialize)]
pub struct Flow {
    /// Names it in this process.
    pub flow: FlowId,
    /// What its items are handed out as: the task, and the model if it has one.
    pub key: String,
    /// Whether it came to its end and waits only for somebody to see that.
    pub closed: bool,
    /// Its counters.
    pub books: Books,
}

/// A lane: one connection of a worker, or the threads of this process.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "the fields of View, which says what they are")]
pub struct Lane {
    pub lane: u64,
    pub worker: String,
    pub name: String,
    pub kind: &'static str,
    pub remote: Option<String>,
    pub shared_memory: bool,
    pub keys: Vec<LaneKey>,
    pub credit: u32,
    pub outstanding: u32,
    pub draining: bool,
    pub suspected: bool,
    pub answered: u64,
    pub failed: u64,
    pub stale: u64,
    pub overlong: u64,
}

/// What a lane serves, and whether it is ready for it at once.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs, reason = "said above")]
pub struct LaneKey {
    pub key: String,
    pub warm: bool,
}

impl Dump {
    pub(crate) fn new(mut flows: Vec<(FlowId, Key, bool, Books)>, mut lanes: Vec<View>) -> Self {
        flows.sort_by_key(|(flow, ..)| *flow);
        lanes.sort_by_key(|view| view.lane);
        let flow = |(flow, key, closed, books): (FlowId, Key, bool, Books)| Flow {
            flow,
            key: key.to_string(),
            closed,
            books,
        };
        Dump {
            flows: flows.into_iter().map(flow).collect(),
            lanes: lanes.into_iter().map(Lane::new).collect(),
        }
    }
}

impl Lane {
    fn new(view: View) -> Self {
        let keys = view.keys.iter().map(|lane| LaneKey { key: lane.key.to_string(), warm: lane.warm });
        Lane {
            lane: view.lane.get(),
            worker: view.worker.to_string(),
            keys: keys.collect(),
            name: view.label.name,
            kind: view.label.kind,
            remote: view.label.remote.map(|remote| remote.to_string()),
            shared_memory: view.label.shared_memory,
            credit: view.credit,
            outstanding: view.outstanding,
            draining: view.draining,
            suspected: view.suspected,
            answered: view.answered,
            failed: view.failed,
            stale: view.stale,
            overlong: view.overlong,
        }
    }
}
