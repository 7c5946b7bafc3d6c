//! The numbers by which flows, places, lanes, workers and hand-outs are known.
//!
//! All of them rise and none is ever used twice, so a message that names one which is gone names
//! nothing, and cannot be mistaken for a later one.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
        #[cfg_attr(feature = "serde", serde(transparent))]
        pub struct $name(pub u64);

        impl $name {
            /// The bare number.
            #[must_use]
            pub const fn get(self) -> u64 {
                self.0
            }
        }

        impl From<u64> for $name {
            fn from(number: u64) -> Self {
                Self(number)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

number!(
    /// One stream of work: a camera, a file, a client. Given by [`Dispatcher::open`](crate::Dispatcher::open).
    FlowId, "f"
);
number!(
    /// A place in a flow. The first is 0, and there are no gaps: a refused item never gets a number.
    Seq, "#"
);
number!(
    /// One connection of a worker. Given by [`Dispatcher::join`](crate::Dispatcher::join); the same
    /// worker gets another one when it comes back.
    LaneId, "l"
);
number!(
    /// A worker's identity, the same over all its connections. The caller gives it.
    WorkerId, "w"
);

/// The index of a part inside its place: first parts in the order of the offer, then what answers asked for.
pub type PartIndex = u16;

/// One hand-out of one part to one lane.
///
/// A part that is handed out again gets another `attempt`, so a late answer to the first hand-out
/// can never be taken for an answer to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Ticket {
    /// The flow of the place.
    pub flow: FlowId,
    /// The place.
    pub seq: Seq,
    /// The part of the place.
    pub part: PartIndex,
    /// Which hand-out of this part, from 1.
    pub attempt: u32,
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}.{}/{}", self.flow, self.seq, self.part, self.attempt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickets_read_well_in_logs() {
        let ticket = Ticket { flow: FlowId(3), seq: Seq(17), part: 0, attempt: 2 };
        assert_eq!(ticket.to_string(), "f3#17.0/2");
    }
}
