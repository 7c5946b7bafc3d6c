//! Bodies through memory that a server and a worker on one host share.
//!
//! A refinement of the QUIC lane: enrolment, greeting, control stream, credit, order and the streams of
//! hand-outs stay as they are. Only the bytes of a long job body do not travel on the stream. The server
//! lays them into a file in memory, the head of the job says where ([`Place`]), and the worker takes them
//! out of there before it gives the job on.
//!
//! # The way in
//! With the greeting ([`protocol`](crate::protocol) has the messages) the server offers an abstract Unix
//! socket and a secret that is good for this connection alone. Whoever shows the secret there, and runs as
//! the server's user or as root, gets the file's descriptor ([`Offer`], [`accept`]). So the file belongs to
//! the connection that the certificates made. An abstract socket is gone with its process, however that
//! ends, and another network namespace, such as a container's, does not reach it. Whatever stands in the
//! way, bodies then travel on the streams.
//!
//! # What neither side can do to the other
//! - *Make it read or write past an end*: the file is sealed against shrinking and growing before it is
//!   handed over, the worker checks seals and size before it maps it, and every place against the size.
//! - *Change a body under its eyes*: the worker works on a copy of its own, made before anything is read
//!   of it. The server reads nothing at all from the file, so nothing that is written there can reach it.
//! - *See or spoil another's bodies*: each connection has a file of its own.
//! - *Take its memory or its time by never laying what it announced*: the worker looks at how far it is, and
//!   otherwise waits for the end of the stream as for any other bytes, within the same bounds
//!   ([`Reading`](crate::under_way::Reading)).
//! - *Leave something behind*: the file has no name. Each end lets go of it with the connection, and the
//!   system takes it back when both have, also from a process that was killed.
//!
//! Both ends map the file, and `vm-memory`, made for memory that a guest may change at any moment, copies:
//! no reference into the mapping exists anywhere. A page is set aside by the server before it is first
//! written ([`Arena`]), so that a system without memory sends bodies back to the stream and ends nobody.
//!
//! # One end copies while the other one does
//! A worker that has nothing else to do would wait for the server's copy, and then make its own. So its job is
//! announced first: the server sends the head, then lays the body piece by piece and says in the file, behind the
//! body, how many bytes are laid ([`Place::laid`](crate::protocol::Place::laid)). The worker takes what is there; it
//! has most of it when the last piece is laid. The end of the stream, which comes once all is laid, wakes one that
//! found too little: it never polls. This takes a quarter to a third off the time that one body of 1.2 MB takes there
//! and back, and costs a datagram more; so bodies for a worker that is busy are laid first and announced then.
//!
//! # Why one reused file, and two copies
//! Measured for 1.2 MB on two virtual processors, in microseconds of processor time (a nested virtual
//! machine, where a fresh page is dear; elsewhere the order is the same):
//!
//! | way | server | worker |
//! | --- | --- | --- |
//! | a fresh file for each body, sealed against writing too, mapped by the worker | 620 | 190 |
//! | a reused file, `pwrite` and `pread` | 125 | 85 (500 unless the buffer begins at a page) |
//! | a reused file, mapped at both ends, copied in and out | 40 | 35 |
//! | `vmsplice` of the body's own pages, and `read` | 13 | 90 |
//!
//! A fresh file spares the worker's copy and pays for three hundred fresh pages instead. `vmsplice` spares
//! the server's, but leaves pages of the server's heap readable for as long as the worker keeps the pipe,
//! whatever they hold by then. Heads stay on QUIC: encrypted and scheduled, they cost some ten
//! microseconds, and cancel, credit and order need no second way.

#[cfg(not(target_os = "linux"))]
mod absent;
#[cfg(target_os = "linux")]
mod arena;
#[cfg(target_os = "linux")]
mod buffers;
#[cfg(target_os = "linux")]
mod file;
#[cfg(target_os = "linux")]
mod offer;
#[cfg(target_os = "linux")]
mod ranges;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
#[cfg(target_os = "linux")]
mod window;

#[cfg(not(target_os = "linux"))]
pub(crate) use absent::{Arena, Lease, Offer, Taking, Window, accept};
#[cfg(target_os = "linux")]
pub(crate) use {arena::Arena, arena::Lease, offer::Offer, offer::accept, window::Taking, window::Window};

/// Bodies from this length on are laid into shared memory. A shorter one is quicker on the stream, where
/// it fits into a packet or two with its head and may share the stream with others.
pub(crate) const FROM: usize = 16 << 10;

/// A body of at least so many bytes whose worker has nothing else to do is announced before it is laid, so that
/// one end copies while the other one does.
pub(crate) const EARLY: usize = 256 << 10;

/// How much of such a body is laid, or taken, at a time.
#[cfg(target_os = "linux")]
const PIECE: usize = 128 << 10;

/// Bytes of the number that says how many bytes of such a body are laid, and what its place is a multiple of.
#[cfg(target_os = "linux")]
const MARK: u64 = 4;

/// What a size is a multiple of.
pub(crate) const PAGE: u64 = 4096;

/// The largest file that either end takes part in.
pub(crate) const MOST: u64 = 1 << 40;

/// Why there is no shared memory, for a worker that was offered some.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotShared {
    /// It cannot be had; bodies travel on streams, and all is well.
    #[error("{0}")]
    Unreachable(#[from] std::io::Error),
    /// What was handed over is not what was offered.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "nothing is handed over there"))]
    #[error("the memory that it shares {0}")]
    Wrong(String),
}
