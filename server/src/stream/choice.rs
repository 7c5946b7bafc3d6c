//! JPEG or I420 for one worker, by how fast the link to it is. Without a clock.

use std::time::{Duration, Instant};

/// How long JPEG stays at least, once chosen.
const HOLD: Duration = Duration::from_secs(5);
/// The longest that a link which keeps disappointing is left with JPEG.
const MOST: Duration = Duration::from_secs(300);
/// I420 comes back only where it takes at most this share of what is allowed, so that what carried it barely
/// does not change its mind with every frame.
const CLEARLY: f64 = 0.5;

/// What is sent to one worker.
#[derive(Debug, Default)]
pub(super) struct Choice {
    /// None: I420.
    jpeg: Option<Jpeg>,
    /// How long JPEG was held the last time, and when I420 came back.
    last: Option<(Duration, Instant)>,
}

#[derive(Debug)]
struct Jpeg {
    until: Instant,
    hold: Duration,
}

impl Choice {
    /// Whether to send JPEG, where a picture takes `i420` on this link as I420 (none: not known) and may take
    /// `allowed`.
    pub(super) fn jpeg(&mut self, i420: Option<Duration>, allowed: Duration, now: Instant) -> bool {
        match (&self.jpeg, i420) {
            // I420 finds out what is not known: at first, and where JPEGs are so few or small that they do not.
            (Some(jpeg), None) if now >= jpeg.until => {
                self.last = Some((jpeg.hold, now));
                self.jpeg = None;
            }
            (None, Some(takes)) if takes > allowed => {
                // A link that carried I420 only for a while is given twice as long to become better.
                let again =
                    self.last.filter(|(hold, since)| now.saturating_duration_since(*since) < *hold * 4);
                let hold = again.map_or(HOLD, |(hold, _)| (hold * 2).min(MOST));
                self.jpeg = Some(Jpeg { until: now + hold, hold });
            }
            (Some(jpeg), Some(takes)) if now >= jpeg.until && takes <= allowed.mul_f64(CLEARLY) => {
                self.last = Some((jpeg.hold, now));
                self.jpeg = None;
            }
            _ => {}
        }
        self.jpeg.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const ALLOWED: Duration = Duration::from_millis(10);

    #[test]
    fn a_thin_link_gets_jpeg_and_a_wide_one_i420() {
        let (mut choice, now) = (Choice::default(), Instant::now());
        assert!(!choice.jpeg(None, ALLOWED, now), "unknown is I420");
        assert!(!choice.jpeg(Some(ALLOWED), ALLOWED, now));
        assert!(choice.jpeg(Some(11 * MS), ALLOWED, now));
        assert!(choice.jpeg(Some(2 * MS), ALLOWED, now + HOLD - MS), "for a while at least");
        assert!(choice.jpeg(None, ALLOWED, now + HOLD - MS));
        assert!(choice.jpeg(Some(6 * MS), ALLOWED, now + 2 * HOLD), "barely is not enough");
        assert!(!choice.jpeg(Some(2 * MS), ALLOWED, now + 2 * HOLD));
        let (mut choice, now) = (Choice::default(), Instant::now());
        assert!(choice.jpeg(Some(11 * MS), ALLOWED, now));
        assert!(!choice.jpeg(None, ALLOWED, now + HOLD), "what became unknown is found out");
    }

    #[test]
    fn around_the_edge_it_does_not_flap() {
        let (mut choice, mut now, mut changes, mut was) = (Choice::default(), Instant::now(), 0, false);
        for n in 0..3000u32 {
            now += 40 * MS;
            let jpeg = choice.jpeg(Some(9 * MS + n % 3 * MS), ALLOWED, now);
            changes += u32::from(jpeg != was);
            was = jpeg;
        }
        assert_eq!((changes, was), (1, true), "two minutes at 9 to 11 ms of 10");
    }

    /// A link that looks wide while little is sent, and is not.
    #[test]
    fn a_link_that_disappoints_is_asked_less_and_less() {
        let (mut choice, mut now, mut changes, mut was) = (Choice::default(), Instant::now(), 0, false);
        for _ in 0..25 * 600 {
            now += 40 * MS;
            let takes = if was { MS } else { 100 * MS };
            let jpeg = choice.jpeg(Some(takes), ALLOWED, now);
            changes += u32::from(jpeg != was);
            was = jpeg;
        }
        // 5, 10, 20, ... s: seven times there and back in ten minutes.
        assert!((12..=15).contains(&changes), "{changes} changes");
    }

    #[test]
    fn old_disappointments_are_forgotten() {
        let (mut choice, now) = (Choice::default(), Instant::now());
        assert!(choice.jpeg(Some(20 * MS), ALLOWED, now));
        assert!(!choice.jpeg(Some(MS), ALLOWED, now + HOLD));
        let later = now + HOLD * 10;
        assert!(choice.jpeg(Some(20 * MS), ALLOWED, later));
        assert!(!choice.jpeg(Some(MS), ALLOWED, later + HOLD));
    }
}
