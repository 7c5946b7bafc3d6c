//! Frames at a given rate, whatever the rate of their source.

use picture::{Pts, Rate};
use tokio::time::{Instant, sleep_until};

/// When each frame is due: counted from the first, so that nothing adds up over hours.
pub(super) struct Pace {
    rate: Rate,
    begin: Option<Instant>,
}

impl Pace {
    pub(super) fn new(rate: Rate) -> Self {
        Pace { rate, begin: None }
    }

    /// Waits until frame `number` is due, and gives its time.
    pub(super) async fn due(&mut self, number: u32) -> Pts {
        let begin = *self.begin.get_or_insert_with(Instant::now);
        let pts = self.rate.pts(u64::from(number));
        sleep_until(begin + pts.as_duration()).await;
        pts
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn frames_are_due_by_count_without_drift() {
        let begin = Instant::now();
        let mut pace = Pace::new(Rate::new(30_000, 1001).unwrap());
        for number in 0..=30_000 {
            pace.due(number).await;
        }
        let late = begin.elapsed().abs_diff(Duration::from_secs(1001));
        assert!(late <= Duration::from_millis(2), "{late:?}");
    }
}
