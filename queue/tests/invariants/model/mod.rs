//! A simple model of the queue and a world that drives both side by side in virtual time.
//!
//! [`rules::Model`] is the queue as one would write it without a thought for speed: plain maps, and every
//! question answered by looking at everything. [`World`] applies the same calls to the queue and to
//! the model and compares all that can be seen, after every call and every step. What the queue is
//! free to choose, which waiting part goes to which free lane next, the model does not predict but
//! judges. Lanes report a service time of zero here, so no part is given up before its deadline.

mod act;
mod judge;
pub(crate) mod rests;
mod rules;
pub(crate) mod script;
pub(crate) mod state;
pub(crate) mod world;

pub(crate) use script::{Op, Reply, setup};
pub(crate) use world::World;
