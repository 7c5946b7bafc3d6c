//! Our own times for a source's frames: strictly rising over jumps, loops and reconnects.

use std::time::{Duration, Instant};

use picture::{Pts, Stamp};

/// A source time that is this far from the expected one is a jump and starts a new epoch. Cameras that
/// deliver one frame in ten seconds exist; clocks that are set differ by more.
const JUMP: Duration = Duration::from_secs(15);

/// How far apart two frames are where nothing else tells: 25 frames a second.
const USUAL: Duration = Duration::from_millis(40);

/// The least distance of two frames. Well above the 11 microseconds of RTP's clock, on which two frames at
/// the same time are one frame.
const LEAST: Duration = Duration::from_millis(1);

/// Gives each frame its times. Within an epoch our times follow the source's own; between epochs they
/// continue where the last one ended.
#[derive(Debug)]
pub(super) struct Timeline {
    epoch: u32,
    last: Option<Stamp>,
    /// The last time that the source gave in this epoch.
    last_source: Option<Pts>,
    /// The source time and our time at the start of this epoch.
    base: Option<(Pts, Pts)>,
    /// The distance between the last two frames, for when the source gives no times.
    step: Duration,
    /// A loop or reconnect was announced: the next frame starts an epoch.
    broken: Option<Break>,
}

/// Why the source's times start anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Break {
    /// The file starts over: time continues one frame later.
    Loop,
    /// The connection was lost: time continues by as much as passed meanwhile.
    Reconnect,
}

impl Timeline {
    pub(super) fn new() -> Self {
        Self { epoch: 0, last: None, last_source: None, base: None, step: USUAL, broken: None }
    }

    /// The next frame starts a new epoch.
    pub(super) fn start_over(&mut self, why: Break) {
        self.broken = Some(why);
    }

    /// The frame's usual distance from the one before it, where the caps name a frame rate.
    pub(super) fn set_step(&mut self, step: Duration) {
        if !step.is_zero() && step < JUMP {
            self.step = step;
        }
    }

    /// The times of the next frame.
    pub(super) fn stamp(&mut self, source_pts: Option<Pts>, captured_at: Instant) -> Stamp {
        let pts = match self.last {
            None => {
                self.base = source_pts.map(|source| (source, Pts::ZERO));
                self.broken = None;
                Pts::ZERO
            }
            Some(last) => self.after(last, source_pts, captured_at),
        };
        let stamp = Stamp { pts, source_pts, epoch: self.epoch, captured_at };
        self.last = Some(stamp);
        self.last_source = source_pts.or(self.last_source);
        stamp
    }

    fn after(&mut self, last: Stamp, source_pts: Option<Pts>, captured_at: Instant) -> Pts {
        let next = last.pts.saturating_add(self.step);
        let start = match self.broken.take() {
            Some(Break::Loop) => next,
            Some(Break::Reconnect) => {
                let gap = captured_at.saturating_duration_since(last.captured_at);
                last.pts.saturating_add(gap).max(next)
            }
            None => {
                let Some(source) = source_pts else { return next };
                let (Some((source_base, base)), Some(last_source)) = (self.base, self.last_source) else {
                    self.base = Some((source, next));
                    return next;
                };
                let pts = base.saturating_add(source.since(source_base));
                if source >= last_source && pts.since(last.pts) < JUMP {
                    // Repeated times are a muxer's rounding, not a jump: the frame is set just after its
                    // predecessor, and the next one follows the source's clock again.
                    return pts.max(last.pts.saturating_add(LEAST));
                }
                next
            }
        };
        self.epoch = self.epoch.saturating_add(1);
        self.base = source_pts.map(|source| (source, start));
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Pts {
        Pts::from_nanos(millis * 1_000_000)
    }

    /// Stamps frames that arrive 40 ms apart.
    fn run(timeline: &mut Timeline, times: &[Option<u64>]) -> Vec<(u64, u32)> {
        let start = Instant::now();
        let mut stamps = Vec::new();
        for (n, time) in (0..).zip(times) {
            let stamp = timeline.stamp(time.map(ms), start + n * Duration::from_millis(40));
            stamps.push((stamp.pts.nanos() / 1_000_000, stamp.epoch));
        }
        stamps
    }

    #[test]
    fn times_follow_the_source_from_zero() {
        let mut timeline = Timeline::new();
        let stamps = run(&mut timeline, &[Some(1000), Some(1040), Some(1100)]);
        assert_eq!(stamps, [(0, 0), (40, 0), (100, 0)]);
    }

    #[test]
    fn a_loop_continues_one_frame_later_in_a_new_epoch() {
        let mut timeline = Timeline::new();
        timeline.set_step(Duration::from_millis(100));
        run(&mut timeline, &[Some(0), Some(100)]);
        timeline.start_over(Break::Loop);
        assert_eq!(run(&mut timeline, &[Some(0), Some(100)]), [(200, 1), (300, 1)]);
    }

    #[test]
    fn a_reconnect_continues_by_the_time_that_passed() {
        let mut timeline = Timeline::new();
        let start = Instant::now();
        timeline.stamp(Some(ms(5000)), start);
        timeline.start_over(Break::Reconnect);
        let stamp = timeline.stamp(Some(ms(0)), start + Duration::from_secs(3));
        assert_eq!((stamp.pts, stamp.epoch), (ms(3000), 1));
        timeline.start_over(Break::Reconnect);
        let stamp = timeline.stamp(None, start + Duration::from_secs(3));
        assert_eq!((stamp.pts, stamp.epoch), (ms(3040), 2));
    }

    #[test]
    fn jumps_both_ways_start_an_epoch() {
        let mut timeline = Timeline::new();
        let stamps = run(&mut timeline, &[Some(0), Some(40), Some(900_000), Some(900_040), Some(80)]);
        assert_eq!(stamps, [(0, 0), (40, 0), (80, 1), (120, 1), (160, 2)]);
    }

    #[test]
    fn repeated_and_missing_times_still_rise() {
        let mut timeline = Timeline::new();
        let start = Instant::now();
        let times = [Some(0), Some(0), Some(40), None, Some(40), None, Some(130)];
        let mut last = None;
        for time in times {
            let stamp = timeline.stamp(time.map(ms), start);
            assert!(Some(stamp.pts) > last, "{stamp:?} after {last:?}");
            last = Some(stamp.pts);
        }
    }

    #[test]
    fn a_frame_without_time_is_no_jump() {
        let stamps = run(&mut Timeline::new(), &[Some(0), Some(40), None, Some(79), Some(120)]);
        assert_eq!(stamps, [(0, 0), (40, 0), (80, 0), (81, 0), (120, 0)]);
    }

    #[test]
    fn hostile_times_never_fall_back() {
        let mut timeline = Timeline::new();
        let start = Instant::now();
        let mut last = None;
        for n in 0..10_000_u64 {
            // Times as a broken camera sends them: repeats, steps back, jumps over hours.
            let time = fastrand::Rng::with_seed(n).u64(0..40_000_000);
            let source = (n % 7 != 0).then(|| ms(time / (n % 5 + 1)));
            if n % 11 == 0 {
                timeline.start_over(if n % 2 == 0 { Break::Loop } else { Break::Reconnect });
            }
            let stamp = timeline.stamp(source, start + Duration::from_millis(n));
            assert!(Some(stamp.pts) > last);
            last = Some(stamp.pts);
        }
    }
}
