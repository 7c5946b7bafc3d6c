//! Presentation times.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A presentation time in nanoseconds, on the clock of the stream that it belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pts(u64);

impl Pts {
    /// The start of a stream.
    pub const ZERO: Self = Self(0);

    /// A time given in nanoseconds.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// The time in nanoseconds.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// The time since [`Pts::ZERO`].
    pub const fn as_duration(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// This much later; stays at the end of time instead of wrapping.
    pub fn saturating_add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for Pts {
    /// Seconds with three decimals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0 / 1_000_000;
        write!(f, "{}.{:03} s", millis / 1000, millis % 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_saturate_instead_of_wrapping() {
        assert_eq!(Pts::from_nanos(u64::MAX).saturating_add(Duration::MAX), Pts::from_nanos(u64::MAX));
        assert_eq!(Pts::ZERO.since(Pts::from_nanos(5)), Duration::ZERO);
        assert_eq!(Pts::from_nanos(1_234_567_890).to_string(), "1.234 s");
    }
}
