//! Frame rate and latency of a stream, over its last seconds.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What counts as now: long enough for a steady figure at one frame a second, short enough that a
/// person sees a change.
const WINDOW: Duration = Duration::from_secs(5);
/// Bounds the memory at any frame rate.
const SAMPLES: usize = 2048;

/// Frames that left a stream. Written by the stream's output task, read by the API.
#[derive(Default)]
pub(super) struct Meter {
    // Held for a push or a copy, never over an await.
    samples: Mutex<VecDeque<Sample>>,
}

#[derive(Clone, Copy)]
struct Sample {
    left_at: Instant,
    latency: Duration,
}

/// The figures of one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Reading {
    /// Frames a second.
    pub(super) fps: f64,
    /// From capture to the encoder, in milliseconds: p50, p95, p99, max. None without frames.
    pub(super) latency_ms: Option<[f64; 4]>,
}

impl Meter {
    /// Notes a frame that was captured at one moment and left at the other.
    pub(super) fn note(&self, captured_at: Instant, left_at: Instant) {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() == SAMPLES {
            samples.pop_front();
        }
        samples.push_back(Sample { left_at, latency: left_at.saturating_duration_since(captured_at) });
    }

    /// Reads the last seconds.
    pub(super) fn read(&self, now: Instant) -> Reading {
        let recent: Vec<Sample> = {
            let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
            let begin = now.checked_sub(WINDOW);
            samples
                .iter()
                .filter(|sample| begin.is_none_or(|begin| sample.left_at >= begin))
                .copied()
                .collect()
        };
        let (Some(first), Some(last)) = (recent.first(), recent.last()) else {
            return Reading { fps: 0.0, latency_ms: None };
        };
        // Intervals, not frames: n frames span n - 1 of them. A stream that stopped decays to zero
        // because the span then runs to now.
        let span = last.left_at.duration_since(first.left_at);
        let idle = now.saturating_duration_since(last.left_at);
        let mean = span.as_secs_f64() / (recent.len() - 1).max(1) as f64;
        let span = if idle.as_secs_f64() > 2.0 * mean { span + idle } else { span };
        let fps = if span.is_zero() { 0.0 } else { (recent.len() - 1) as f64 / span.as_secs_f64() };
        let mut latencies: Vec<f64> =
            recent.iter().map(|sample| sample.latency.as_secs_f64() * 1e3).collect();
        latencies.sort_by(f64::total_cmp);
        let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share).round() as usize];
        Reading { fps, latency_ms: Some([at(0.5), at(0.95), at(0.99), at(1.0)]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_reads_its_rate_and_latency() {
        let meter = Meter::default();
        let begin = Instant::now();
        for frame in 0..100 {
            let left_at = begin + Duration::from_millis(40 * frame);
            meter.note(left_at - Duration::from_millis(10 + frame % 2), left_at);
        }
        let reading = meter.read(begin + Duration::from_millis(40 * 99));
        assert!((reading.fps - 25.0).abs() < 0.01, "{reading:?}");
        let [p50, _, _, max] = reading.latency_ms.expect("frames");
        assert!(p50 >= 10.0 && (max - 11.0).abs() < 1e-6, "{reading:?}");
    }

    #[test]
    fn a_stopped_stream_decays_to_nothing() {
        let meter = Meter::default();
        let begin = Instant::now();
        for frame in 0..50 {
            meter.note(begin, begin + Duration::from_millis(20 * frame));
        }
        assert!(meter.read(begin + Duration::from_secs(3)).fps < 25.0);
        assert_eq!(meter.read(begin + Duration::from_secs(9)), Reading { fps: 0.0, latency_ms: None });
    }

    #[test]
    fn nothing_is_unbounded() {
        let meter = Meter::default();
        let now = Instant::now();
        for _ in 0..3 * SAMPLES {
            meter.note(now, now);
        }
        assert_eq!(meter.samples.lock().expect("whole").len(), SAMPLES);
    }
}
