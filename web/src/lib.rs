//! HTTP for people, programs and monitoring: the page, the JSON API, live pictures, metrics.
//!
//! This crate knows nothing of queues or video. It owns the [API's types](api) and asks the program behind
//! it through one trait, [`Backend`]; [`serve`] does the rest on a listener that the caller has bound:
//!
//! | path | answer |
//! | --- | --- |
//! | `/` | the page, for people |
//! | `/api/v1/streams`, `/api/v1/streams/{id}` | streams with their books, as JSON |
//! | `/api/v1/workers` | who does the work, as JSON |
//! | `/api/v1/refusals` | how many were refused that would be workers, by reason, as JSON |
//! | `/api/v1/queues` | all that the queue holds: every flow's and every lane's counters, as JSON |
//! | `POST /api/v1/shutdown` | ends the program, for who has its secret: see [`Shutdown`] |
//! | `/streams/{id}/mjpeg` | the annotated video as motion JPEG |
//! | `/streams/{id}/snapshot.jpg` | one picture of it |
//! | `/metrics` | OpenMetrics text |
//! | `/healthz`, `/readyz` | for whoever watches the process |
//!
//! Requests come from browsers too, so every one passes [the guard](guard) first: it keeps web pages of
//! other sites away from a server on this machine or in this network.

pub mod api;
mod backend;
mod guard;
mod io;
mod metrics;
mod mjpeg;
mod page;
mod reply;
mod routes;
mod server;
mod shutdown;

pub use backend::{Backend, Picture, Pictures};
pub use server::{Config, ServeError, serve};
pub use shutdown::Shutdown;
