//! Which parts of a file are in use: pure.

use std::collections::BTreeMap;

/// Ranges begin and end at multiples of this, so that no two bodies share a page.
pub(super) const STEP: u64 = super::PAGE;

/// The ranges in use, none of which overlap.
#[derive(Debug)]
pub(super) struct Ranges {
    size: u64,
    /// Begin to end.
    used: BTreeMap<u64, u64>,
}

impl Ranges {
    /// Nothing is in use of `size` bytes.
    pub(super) fn new(size: u64) -> Self {
        Self { size, used: BTreeMap::new() }
    }

    /// Takes the first gap of at least `len` bytes: the lowest one, so that few pages are used again and
    /// again. Looks at each range in use, of which there are as many as hand-outs.
    pub(super) fn take(&mut self, len: u64) -> Option<u64> {
        let len = len.checked_next_multiple_of(STEP)?;
        let mut at = 0;
        for (&begin, &end) in &self.used {
            if begin - at >= len {
                break;
            }
            at = end;
        }
        let end = at.checked_add(len).filter(|&end| end <= self.size)?;
        (len > 0).then(|| {
            self.used.insert(at, end);
            at
        })
    }

    /// Gives back what began at `at`.
    pub(super) fn give(&mut self, at: u64) {
        self.used.remove(&at);
    }

    /// How many ranges are in use.
    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.used.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_lowest_gap_is_used_again() {
        let mut ranges = Ranges::new(10 * STEP);
        assert_eq!(ranges.take(1), Some(0));
        assert_eq!(ranges.take(2 * STEP), Some(STEP));
        assert_eq!(ranges.take(STEP), Some(3 * STEP));
        ranges.give(STEP);
        assert_eq!(ranges.take(2 * STEP + 1), Some(4 * STEP), "the gap is too small");
        assert_eq!(ranges.take(STEP + 1), Some(STEP));
        assert_eq!(ranges.take(4 * STEP), None);
        assert_eq!(ranges.take(3 * STEP), Some(7 * STEP), "to the last byte");
        assert_eq!((ranges.take(1), ranges.used()), (None, 5));
    }

    #[test]
    fn lengths_that_cannot_be_are_refused() {
        let mut ranges = Ranges::new(STEP);
        for len in [0, STEP + 1, u64::MAX, u64::MAX - STEP] {
            assert_eq!(ranges.take(len), None, "{len}");
        }
        assert_eq!(ranges.take(STEP), Some(0));
    }

    proptest! {
        /// Against a map of pages: no two ranges in use overlap, none leaves the file, and what is given
        /// back can be had again.
        #[test]
        fn ranges_never_overlap(steps in prop::collection::vec((0u64..20_000, any::<prop::sample::Index>()), 1..100)) {
            let mut ranges = Ranges::new(32 * STEP);
            let mut pages = [false; 32];
            let mut held: Vec<(u64, u64)> = Vec::new();
            for (len, which) in steps {
                let pages_of = |at: u64, len: u64| (at / STEP) as usize..(at + len).div_ceil(STEP) as usize;
                if len % 3 == 0 && !held.is_empty() {
                    let (at, len) = held.swap_remove(which.index(held.len()));
                    ranges.give(at);
                    pages[pages_of(at, len)].fill(false);
                } else if let Some(at) = ranges.take(len) {
                    prop_assert!(pages[pages_of(at, len)].iter().all(|used| !used));
                    pages[pages_of(at, len)].fill(true);
                    held.push((at, len));
                } else {
                    let wanted = len.div_ceil(STEP) as usize;
                    prop_assert!(len == 0 || pages.windows(wanted).all(|gap| gap.iter().any(|used| *used)));
                }
            }
            prop_assert_eq!(ranges.used(), held.len());
        }
    }
}
