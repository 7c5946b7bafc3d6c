//! The rules of policies, lanes, parts and flows, one by one, in virtual time.

#![allow(clippy::unwrap_used, reason = "helpers of a test fail the test, as the test itself does")]
#![allow(clippy::result_large_err, reason = "a refused offer is handed back whole")]

mod bounds;
mod cancels;
mod failing;
mod hedges;
mod lanes;
mod parts;
mod small;
mod suspects;
mod unanswered;
