//! A task of one's own with pictures, in three pieces: [`task`], [`flow`] and [`detector`]. The program around
//! them is in `main.rs` and `find.rs`.

pub mod detector;
pub mod drawn;
pub mod file;
pub mod flow;
pub mod task;
