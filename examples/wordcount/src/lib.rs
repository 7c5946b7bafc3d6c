//! A task of one's own, in three pieces: [`task`], [`flow`] and [`counter`]. The program around them is in
//! `main.rs` and `count.rs`.

pub mod counter;
pub mod flow;
pub mod task;
