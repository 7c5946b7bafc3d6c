//! The ordered task queue: items go in, work on them is handed out to whatever workers there are, and
//! every item comes out exactly once, in order, before its deadline, with its answers or with the
//! reason why there are none.
//!
//! It is a state machine and nothing else. There is no clock in it, no thread, no socket and no lock:
//! time is an argument, the outside is whoever owns it by `&mut`, and the same calls always lead to
//! the same steps. So it can be driven by a test in virtual time as well as by an async task.
//!
//! # What is in it
//!
//! * A **flow** ([`FlowId`]) is one ordered stream of work with a [`Policy`]. Each item that is
//!   admitted gets a **place**, numbered without gaps ([`Seq`]).
//! * A place has **parts**, the pieces of work on its item, each with a [`Key`] that says what must be
//!   done. An answer may ask for more parts of the same place. A place without open parts is settled,
//!   and settled places are taken out at the front, in order.
//! * A **lane** ([`LaneId`]) is one connection of a worker. It serves keys and has **credit**: the
//!   most hand-outs it may hold. A hand-out is known by its [`Ticket`].
//! * The **books** ([`Books`]) say what became of everything. They balance after every call.
//!
//! # The run loop
//!
//! One owner makes calls as things happen (an item came, a lane answered), and after each of them
//! polls until there is nothing to do. [`Step::Wait`] says when to poll again though nothing happened.
//!
//! ```
//! use std::time::{Duration, Instant};
//!
//! use framelane_queue::{
//!     Answered, Config, Dispatcher, Join, Key, LaneKey, Offer, Part, Parts, Policy, SourceCounts,
//!     Step, TaskName, Verdict, WorkerId,
//! };
//!
//! // Items are lines of text, a part needs nothing besides its item, answers are numbers.
//! let mut queue: Dispatcher<&str, (), usize> = Dispatcher::new(Config::default());
//! let key = Key::task(TaskName::new("count-words")?);
//! let now = Instant::now();
//!
//! let flow = queue.open(Policy::lossless());
//! let keys = vec![LaneKey { key: key.clone(), warm: true }];
//! queue.join(Join { worker: WorkerId(1), keys, credit: 2 }, now);
//! for item in ["the books", "always balance", "at any moment"] {
//!     let parts = Parts::one(Part { key: key.clone(), payload: () });
//!     let source = SourceCounts::default();
//!     queue.offer(flow, Offer { item, parts, sealed: true, captured_at: now, source }, now)?;
//! }
//! queue.close(flow, now);
//!
//! let mut counts = Vec::new();
//! loop {
//!     match queue.poll(now) {
//!         // A real owner sends the item to the lane and answers when the lane does.
//!         Step::Assign { lane, ticket } => {
//!             let words = queue.hand_out(ticket).map(|out| out.item.split(' ').count());
//!             queue.answer(lane, ticket, Answered::new(Ok(words.unwrap_or(0))), now);
//!         }
//!         Step::Ready { flow } => {
//!             while let Some(place) = queue.take(flow, now) {
//!                 assert_eq!(place.verdict, Verdict::Answered);
//!                 counts.extend(place.parts.into_iter().filter_map(|(_, part)| part.answer()));
//!             }
//!         }
//!         Step::Closed { flow } => {
//!             let books = queue.forget(flow).expect("closed flows keep their books");
//!             assert_eq!((books.admitted, books.answered), (3, 3));
//!             break;
//!         }
//!         Step::Cancel { .. } | Step::Room { .. } | Step::Drained { .. } | Step::Lost { .. } => {}
//!         // A real owner sleeps here until something happens, or until the moment named.
//!         Step::Wait(_) => unreachable!("this lane answers at once"),
//!     }
//! }
//! assert_eq!(counts, [2, 2, 3]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What always holds
//!
//! `tests/invariants/` checks each of these in virtual time, against a simple model, over random
//! lives of flows and lanes:
//!
//! 1. Every admitted place is taken, or discarded by `abort`, exactly once, in rising [`Seq`] without
//!    gaps, per flow.
//! 2. A lane never holds more than its credit (more only while a lowered credit bites); a ticket's
//!    credit comes back exactly once, at answer, release or loss; the books balance after every step.
//! 3. An answer counts while its ticket is live; the first settles the part, others are
//!    [`Settled::Stale`]; no more than two tickets of a part are live; nothing comes out twice.
//! 4. [`Dispatcher::poll`] reaches [`Step::Wait`] in bounded steps, and `Wait` names the next moment
//!    at which something is due.
//! 5. After `close`, with a budget or a live lane that serves the flow's keys and pin,
//!    [`Step::Closed`] comes, after the last place: the end never overtakes what is in flight.
//! 6. With [`WhenFull::Refuse`], no budget and no limit of attempts nothing is lost, whatever lanes die.
//! 7. A slow or silent lane cannot hold a flow past its budget; one flow cannot starve another.
//! 8. Only `now` moves time; memory is bounded by the policies.
//!
//! Delivery is exactly once; execution is at least once.
//!
//! The same is held against thousands of lives with misbehaving lanes, sources and takers by
//! `tests/simulation/`; `examples/simulate.rs` lives as many more as one has time for.
//!
//! # Hedging
//!
//! A flow may ask for it ([`Hedge`]): a hand-out that is slower than nearly all others of its key is
//! given to a second lane too, where one has room that no first hand-out wants. The first answer counts,
//! the other ticket is cancelled, and a flow earns its hedges by its hand-outs, so that a pool which is
//! slow as a whole does not get twice the work.
//!
//! # Suspicion
//!
//! A lane that has not been heard for a moment may be dead or may only pause, and nobody can tell which.
//! [`Dispatcher::suspect`] makes no decision: the lane keeps what it holds and gets nothing new, and
//! another lane gets the same parts, in their old turn. The first answer counts. [`Dispatcher::trust`] takes
//! it back, [`Dispatcher::leave`] ends it.
//!
//! # Lanes that fail
//!
//! A part that failed goes to another lane than the one that failed it, of another worker if there is one.
//! A lane whose latest word on a key was a failure rests: it comes after the others, and while one of them has
//! not failed and is able to work it gets nothing but a probe at the end of each rest, from 20 ms at first to
//! 5 s at last. So a part that failed waits that long at most for another lane which is only busy, a worker that
//! fails everything takes no work from those beside it, and one that is well again is found out. One answer
//! ends it; where all have failed lately nobody is held back. `members.rs` has the rules.
//!
//! # Where to read on
//!
//! `dispatcher/` has one file for each kind of call, and `dispatcher/settle.rs` what they share.
//! `place.rs` and `flow.rs` are the state, `pool.rs` decides whose turn it is and `members.rs` who gets it,
//! `timer.rs` keeps what is due.

mod books;
mod dispatcher;
mod flow;
mod id;
mod key;
mod lane;
mod line;
mod members;
mod offer;
mod parts;
mod place;
mod policy;
mod pool;
mod service;
mod slots;
mod spread;
mod step;
mod timer;

pub use books::{Books, Missing, PartBooks, SourceCounts, Unbalanced};
pub use dispatcher::{Answered, Config, Dispatcher, Failure, HandOut, Overlong, Settled};
pub use id::{FlowId, LaneId, PartIndex, Seq, Ticket, WorkerId};
pub use key::{Key, ModelHash, ModelHashError, Named, TaskName, TaskNameError};
pub use lane::{Join, LaneKey, LaneView};
pub use offer::{Batch, Offer, Outcome, Part, Reason, Refused, RefusedWhy, Taken, Verdict};
pub use parts::Parts;
pub use policy::{Hedge, NoLane, Policy, Share, WhenFull};
pub use step::Step;
