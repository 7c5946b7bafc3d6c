//! One clock for all processes of this machine: events that different processes saw can be compared.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Microseconds of the system's monotonic clock.
pub fn micros() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux has a monotonic clock");
    u64::try_from(Duration::from(now).as_micros()).expect("no machine runs for half a million years")
}
