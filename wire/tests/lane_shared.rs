//! The tests of a lane once more, with long bodies through shared memory.
#![cfg(target_os = "linux")]

#[path = "lane.rs"]
mod lane;
