//! Every so many-th frame, by time: which frames a slower rate takes from a faster one.

use crate::{Pts, Rate};

/// How much before its time a slot begins, in sixteenths of its length. With a half, every second frame of twice
/// the rate would lie on an edge, where rounding decides; much less, and frames at the very rate would be too
/// early for their own slots.
const EARLY: u128 = 7;

/// Takes at most `rate` frames a second from a stream of any rate, evenly, by their times alone.
///
/// Time is cut into slots of one frame of `rate`, each from a little before a multiple of its frame time,
/// counted from the first frame; a slot takes one frame. Slots are computed, never added up, so 30000/1001 is that also after a day, and a frame
/// that comes a little early or late, as real ones do, is in its own slot. After a gap nothing is made up for.
#[derive(Clone, Copy, Debug)]
pub struct Thin {
    rate: Rate,
    first: Option<Pts>,
    /// The first slot that has taken nothing yet.
    open: u128,
}

impl Thin {
    /// Nothing taken yet.
    pub fn to(rate: Rate) -> Self {
        Self { rate, first: None, open: 0 }
    }

    /// Whether to take the frame of this time. Times rise from call to call; one that does not is not taken.
    pub fn take(&mut self, pts: Pts) -> bool {
        let first = *self.first.get_or_insert(pts);
        let nanos = u128::from(pts.nanos().saturating_sub(first.nanos()));
        // All of it is far from 128 bits.
        let second = 1_000_000_000 * u128::from(self.rate.den());
        let slot = (16 * nanos * u128::from(self.rate.num()) + EARLY * second) / (16 * second);
        if slot < self.open {
            return false;
        }
        self.open = slot + 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Rate {
        text.parse().unwrap()
    }

    /// The numbers of the frames that are taken of so many.
    fn taken(source: &str, to: &str, frames: u64) -> Vec<u64> {
        let mut thin = Thin::to(rate(to));
        (0..frames).filter(|&n| thin.take(rate(source).pts(n))).collect()
    }

    #[test]
    fn the_share_is_exact_and_even() {
        assert_eq!(taken("25", "5", 12), [0, 3, 8]);
        for (source, to, frames, expected) in [
            ("25", "5", 25 * 3600, 5 * 3600),
            ("25", "10", 25 * 3600, 10 * 3600),
            ("30000/1001", "15000/1001", 60_000, 30_000),
            ("30", "25", 30 * 3600, 25 * 3600),
            ("25", "1/10", 25 * 3600, 360),
        ] {
            let taken = taken(source, to, frames);
            assert!(taken.len().abs_diff(expected) <= 1, "{source} to {to}: {}", taken.len());
            let steps: Vec<u64> = taken.windows(2).skip(1).map(|two| two[1] - two[0]).collect();
            let (least, most) = (steps.iter().min().unwrap(), steps.iter().max().unwrap());
            assert!(most - least <= 1, "{source} to {to}: steps of {least} to {most}");
        }
    }

    #[test]
    fn the_same_rate_and_a_faster_one_take_every_frame() {
        for (source, to) in [("30000/1001", "30000/1001"), ("25", "25"), ("24000/1001", "24"), ("25", "60")] {
            assert_eq!(taken(source, to, 10_000).len(), 10_000, "{source} to {to}");
        }
    }

    #[test]
    fn a_frame_early_or_late_is_in_its_own_slot() {
        let mut thin = Thin::to(rate("25"));
        let jitter = [0i64, 9, -12, 15, -15, 3, 0, 14];
        let times = (0i64..)
            .zip(jitter)
            .map(|(n, jitter)| Pts::from_nanos(((100 + n * 40 + jitter) * 1_000_000) as u64));
        assert!(times.into_iter().all(|pts| thin.take(pts)));
    }

    #[test]
    fn a_gap_is_not_made_up_for_and_time_does_not_go_back() {
        let mut thin = Thin::to(rate("1"));
        let mut at = |ms: u64| thin.take(Pts::from_nanos(ms * 1_000_000));
        assert!(at(0) && !at(400) && at(1000));
        assert!(at(60_000) && !at(60_040) && !at(60_080) && at(61_000));
        assert!(!at(5_000), "an earlier time");
        assert!(at(u64::MAX / 1_000_000));
    }
}
