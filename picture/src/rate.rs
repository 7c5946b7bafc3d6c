//! Frame rates as fractions: 29.97 is 30000/1001 and never 29.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Pts;

/// Frames per second as a reduced fraction, neither part 0.
///
/// Serialised as the pair `[num, den]`; parsed from `25`, `30000/1001`, and shown the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "(u32, u32)", into = "(u32, u32)")]
pub struct Rate {
    num: NonZeroU32,
    den: NonZeroU32,
}

impl Rate {
    /// `num / den` frames per second, reduced.
    ///
    /// # Errors
    /// Either part is 0.
    pub fn new(num: u32, den: u32) -> Result<Self, RateError> {
        let divisor = gcd(num, den).max(1);
        match (NonZeroU32::new(num / divisor), NonZeroU32::new(den / divisor)) {
            (Some(num), Some(den)) => Ok(Self { num, den }),
            _ => Err(RateError::Zero { num, den }),
        }
    }

    /// The numerator of the reduced fraction.
    pub fn num(self) -> u32 {
        self.num.get()
    }

    /// The denominator of the reduced fraction.
    pub fn den(self) -> u32 {
        self.den.get()
    }

    /// Frames per second, for display and estimates.
    pub fn as_f64(self) -> f64 {
        f64::from(self.num()) / f64::from(self.den())
    }

    /// The time between two frames, rounded down to a nanosecond.
    pub fn frame_time(self) -> Duration {
        Duration::from_nanos(self.pts(1).nanos())
    }

    /// The time of frame `n` counted from 0, without the drift of adding up rounded frame times.
    /// Saturates after some hundreds of years.
    pub fn pts(self, n: u64) -> Pts {
        let nanos = u128::from(n) * 1_000_000_000 * u128::from(self.den()) / u128::from(self.num());
        Pts::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// A rate that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RateError {
    /// A part of the fraction is 0.
    #[error("{num}/{den} is not a frame rate: neither part may be 0")]
    Zero {
        /// The numerator that was given.
        num: u32,
        /// The denominator that was given.
        den: u32,
    },
    /// A text that does not read as a rate.
    #[error("'{0}' is not a frame rate: write 25 or 30000/1001")]
    Text(String),
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.den() {
            1 => write!(f, "{}", self.num),
            den => write!(f, "{}/{den}", self.num),
        }
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let (num, den) = text.split_once('/').unwrap_or((text, "1"));
        match (num.parse(), den.parse()) {
            (Ok(num), Ok(den)) => Self::new(num, den),
            _ => Err(RateError::Text(text.to_owned())),
        }
    }
}

impl TryFrom<(u32, u32)> for Rate {
    type Error = RateError;

    fn try_from((num, den): (u32, u32)) -> Result<Self, RateError> {
        Self::new(num, den)
    }
}

impl From<Rate> for (u32, u32) {
    fn from(rate: Rate) -> Self {
        (rate.num(), rate.den())
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ntsc_stays_a_fraction() {
        let rate: Rate = "30000/1001".parse().unwrap();
        assert_eq!(rate.frame_time(), Duration::from_nanos(33_366_666));
        // A hundred thousand frames later the rounding has not added up.
        assert_eq!(rate.pts(30_000), Pts::from_nanos(1_001_000_000_000));
        assert_eq!(rate.to_string(), "30000/1001");
    }

    #[test]
    fn rates_are_reduced_and_zero_is_refused() {
        assert_eq!(Rate::new(50, 2), Rate::new(25, 1));
        assert!(Rate::new(0, 1).is_err());
        assert!(Rate::new(25, 0).is_err());
        assert!(Rate::new(0, 0).is_err());
        assert!("25fps".parse::<Rate>().is_err());
        assert_eq!(Rate::new(1, u32::MAX).unwrap().pts(u64::MAX), Pts::from_nanos(u64::MAX));
    }
}
