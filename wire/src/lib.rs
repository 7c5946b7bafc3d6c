//! What both ends of a lane agree on.
//!
//! - [`Task`] and [`Payload`] say what is asked and answered; [`Processor`] does it.
//! - [`Object`] is a payload, and [`Untyped`] a processor, where the types are not known in Rust; [`Array`] is
//!   what both worlds share with numpy.
//! - [`server::Listener`] accepts workers over QUIC and gives a [`server::Peer`] for each, on which
//!   work is handed out, and its [`server::Events`].
//! - [`node::connect`] is the worker's end: a [`node::Node`] and the [`node::Jobs`] that arrive.
//! - `broker`, by the features `redis` and `amqp`, is both ends of a lane through a message broker.
//! - [`client::connect`] is the end of somebody who pushes tasks: [`server::Config::clients`] lets them in.
//! - [`practice`] keeps the way of jobs quick between jobs.
//! - [`identity`] lets a worker in: a [`Token`](identity::Token) names the authority and is exchanged
//!   once for an [`Identity`](identity::Identity); from then on both ends show certificates.
//!
//! Protocol 1 is written down in [`protocol`], [`pushed`] and [`framing`]; the golden tests hold its bytes.

#[cfg(feature = "bare")]
pub mod bare;
#[cfg(any(feature = "redis", feature = "amqp"))]
pub mod broker;
pub mod client;
pub mod framing;
pub mod identity;
pub mod node;
pub mod practice;
pub mod process;
pub mod protocol;
pub mod pushed;
pub mod server;
pub mod task;

mod array;
mod chain;
mod checked;
mod close;
mod control;
mod exchange;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
#[cfg(any(test, feature = "fuzz"))]
mod fuzz_frames;
#[cfg(any(test, feature = "fuzz"))]
mod fuzz_seeds;
mod memory;
mod object;
mod repr;
mod stream;
mod tls;
mod transport;
mod under_way;
mod untyped;
mod version;

pub use array::{Array, ArrayHead, DType, Element};
pub use chain::chain;
pub use checked::{Checked, CheckedHead};
pub use close::Closed;
pub use object::Object;
pub use process::{BoxError, Factory, Process, Processor, Timings, Unprocessed, erase, factory};
pub use task::{Cbor, Message, Payload, PayloadError, Task, decode, encode};
pub use untyped::{Untyped, erase_untyped};
