//! The Framelane server: streams come in, go through the ordered queue to workers, and leave
//! annotated.
//!
//! [`app`] assembles it, the only place that does: a [`config::Config`] becomes streams (one
//! [`stream`] each), a pool of workers, and three listeners, HTTP, RTSP and QUIC. Each part is a
//! library of its own; what is here is how they are wired and in which order they end.

pub mod app;
mod backend;
pub mod cli;
pub mod config;
mod control;
mod pool;
pub mod stream;
