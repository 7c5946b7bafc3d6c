//! When each frame is due, on one monotonic clock.

use std::time::Duration;

use picture::Pts;
use tokio::time::{Instant, sleep_until};

/// Shows frames at their times, counted from one beginning, so that nothing adds up over hours.
///
/// A frame that is late by more than its distance from the one before moves the schedule: frames then
/// come later by as much, rather than in a burst until the lost time is made up, and their times say so.
pub(super) struct Schedule {
    /// When the frame of time 0 was due.
    begin: Instant,
    last: Pts,
    slipped: Duration,
}

impl Schedule {
    /// The frame of time `first` is shown now.
    pub(super) fn begin(first: Pts) -> Self {
        let now = Instant::now();
        // A clip's times start at zero, so that nothing is lost where the clock cannot go back this far.
        let begin = now.checked_sub(first.as_duration()).unwrap_or(now);
        Schedule { begin, last: first, slipped: Duration::ZERO }
    }

    /// Waits until the frame of time `pts` is due, and gives the time at which it is shown.
    pub(super) async fn due(&mut self, pts: Pts) -> Pts {
        let distance = pts.since(self.last);
        let due = self.begin + pts.as_duration() + self.slipped;
        let late = Instant::now().saturating_duration_since(due);
        if late > distance {
            tracing::debug!(?late, %pts, "a frame is late and moves those after it");
            self.slipped += late;
        }
        self.last = pts;
        sleep_until(due).await;
        pts.saturating_add(self.slipped)
    }
}

#[cfg(test)]
mod tests {
    use picture::Rate;
    use tokio::time::advance;

    use super::*;

    fn ms(millis: u64) -> Pts {
        Pts::from_nanos(millis * 1_000_000)
    }

    #[tokio::test(start_paused = true)]
    async fn frames_are_due_by_count_without_drift() {
        let begin = Instant::now();
        let rate = Rate::new(30_000, 1001).unwrap();
        let mut schedule = Schedule::begin(Pts::ZERO);
        for number in 1..=30_000 {
            let pts = rate.pts(number);
            assert_eq!(schedule.due(pts).await, pts);
        }
        let off = begin.elapsed().abs_diff(Duration::from_secs(1001));
        assert!(off <= Duration::from_millis(2), "{off:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_little_late_is_made_up() {
        let begin = Instant::now();
        let mut schedule = Schedule::begin(Pts::ZERO);
        advance(Duration::from_millis(70)).await;
        assert_eq!(schedule.due(ms(40)).await, ms(40));
        assert_eq!(schedule.due(ms(80)).await, ms(80));
        assert_eq!(begin.elapsed().as_millis(), 80);
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_stall_frames_keep_their_distance() {
        let begin = Instant::now();
        let mut schedule = Schedule::begin(Pts::ZERO);
        advance(Duration::from_secs(5)).await;
        let mut shown = vec![];
        for number in 1..=5 {
            let pts = schedule.due(ms(40 * number)).await;
            shown.push((begin.elapsed().as_millis(), pts));
        }
        let expected: Vec<_> = (0..5).map(|n| (5000 + 40 * n, ms(5000 + 40 * n as u64))).collect();
        assert_eq!(shown, expected);
    }
}
