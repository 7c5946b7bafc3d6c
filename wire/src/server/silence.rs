//! Whether a worker is heard.
//!
//! Between two heartbeats a worker that works on long jobs has nothing to say, so a death would be noticed
//! late. While it has work, its silence is therefore counted in short **ticks**: each packet of its
//! connection is a sign of life, and after a tick without one the worker is sent a heartbeat out of turn,
//! which its QUIC must acknowledge, whatever its threads do. Loss and delay need no care beyond a round
//! trip: several ticks and thus several probes go by before a silence is told.
//!
//! Only packets that belong to the connection count, not what anybody can send from its address. The ticks
//! are this end's own: if it was stopped itself, that is one tick.
//!
//! A worker that has had no work for a minute costs nothing but its heartbeats: 1,000 of them are 2,000 small packets
//! a second each way, a packet and its acknowledgement for either end. One that works on long jobs, or had work in the
//! last minute, costs a probe and its acknowledgement for every second tick, 12 a second; one whose answers come more
//! often costs none. So spare workers are listened for as well: a job that is handed to one that died unnoticed would
//! wait for a whole silence that others know to be over.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::peer::{Event, Shared};

/// A silence is told after so many ticks, the one in which it began included.
const TICKS: u32 = 6;
/// After so many ticks without work nobody listens for the worker any more: a minute by default, longer than the
/// gaps of one that is in use or spare, so that it is known to be silent before it gets its next job.
const AT_REST: u32 = 1500;
/// A shorter tick would be noise of the scheduler.
const SHORTEST_TICK: Duration = Duration::from_millis(1);

/// Listens for one worker.
#[derive(Debug)]
pub(super) struct Silence {
    tick: Duration,
    /// What had been heard by the last tick.
    heard: u64,
    /// Ticks since then without anything.
    missed: u32,
    /// Ticks without work.
    idle: u32,
    told: bool,
}

/// What a tick asks for.
#[derive(Debug, PartialEq, Eq)]
enum Tick {
    Nothing,
    /// Nothing was heard: ask for a sign of life.
    Probe,
    /// It has become silent. Ask on, for it may come back.
    Silent,
    /// It is heard again.
    Heard,
    /// Nobody needs to know.
    Rest,
}

impl Silence {
    pub(super) fn new(suspect_after: Duration) -> Self {
        let tick = (suspect_after / TICKS).max(SHORTEST_TICK);
        Self { tick, heard: 0, missed: 0, idle: 0, told: false }
    }

    /// Begins to listen, after a rest.
    fn begin(&mut self, heard: u64) {
        (self.heard, self.missed, self.idle) = (heard, 0, 0);
    }

    /// One tick later: what was heard by now, whether it has work, and its round trip time.
    fn tick(&mut self, heard: u64, works: bool, rtt: Duration) -> Tick {
        self.idle = if works { 0 } else { self.idle.saturating_add(1) };
        if heard != self.heard {
            (self.heard, self.missed) = (heard, 0);
            if std::mem::take(&mut self.told) {
                return Tick::Heard;
            }
            return if self.idle < AT_REST { Tick::Nothing } else { Tick::Rest };
        }
        self.missed = self.missed.saturating_add(1);
        // The answer to a probe takes a round trip, in which there is nothing to be heard.
        let travels = rtt.as_nanos() / self.tick.as_nanos();
        if !self.told && u128::from(self.missed) >= u128::from(TICKS - 1) + travels {
            self.told = true;
            return Tick::Silent;
        }
        Tick::Probe
    }

    /// Tells of each silence and of its end, until it is dropped. A worker that has just come is listened for too.
    pub(super) async fn watch(mut self, shared: &Shared, events: &mpsc::Sender<Event>) {
        loop {
            self.begin(heard(shared));
            let mut ticks = interval_at(Instant::now() + self.tick, self.tick);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let works = shared.table.len() > 0;
                let event = match self.tick(heard(shared), works, shared.connection.rtt()) {
                    Tick::Nothing => continue,
                    Tick::Rest => break,
                    Tick::Probe => {
                        shared.probe();
                        continue;
                    }
                    Tick::Silent => {
                        shared.probe();
                        Event::Silent
                    }
                    Tick::Heard => Event::Heard,
                };
                // Who went away wants no events.
                let _ = events.send(event).await;
            }
            shared.table.begun().await;
        }
    }
}

/// A number that grows with each packet of the worker: each acknowledges something, carries something, or
/// asks whether this end is there.
fn heard(shared: &Shared) -> u64 {
    let frames = shared.connection.stats().frame_rx;
    frames.acks + frames.stream + frames.ping
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A worker that is heard in the ticks named, and has work but in the last ones.
    fn listen(rtt: Duration, heard: impl Fn(u32) -> bool, works: impl Fn(u32) -> bool) -> Vec<(u32, Tick)> {
        let mut silence = Silence::new(240 * MS);
        silence.begin(7);
        let mut total = 7;
        let mut told = Vec::new();
        for tick in 1..=2 * AT_REST {
            total += u64::from(heard(tick));
            match silence.tick(total, works(tick), rtt) {
                Tick::Nothing | Tick::Probe => {}
                Tick::Rest => {
                    told.push((tick, Tick::Rest));
                    break;
                }
                other => told.push((tick, other)),
            }
        }
        told
    }

    #[test]
    fn a_silence_is_told_within_its_bound_and_its_end_at_once() {
        let silence = Silence::new(240 * MS);
        assert_eq!(silence.tick * TICKS, 240 * MS);
        // Heard last in tick 10: told after five silent ones, so before six have passed since then.
        let told = listen(MS / 10, |tick| tick <= 10 || tick == 100, |_| true);
        assert_eq!(told, [(15, Tick::Silent), (100, Tick::Heard), (105, Tick::Silent)]);
    }

    #[test]
    fn a_hiccup_is_no_silence() {
        assert_eq!(listen(Duration::ZERO, |tick| tick % 5 == 0, |_| true), []);
    }

    #[test]
    fn nobody_is_expected_to_answer_before_a_round_trip() {
        let told = listen(200 * MS, |tick| tick <= 10, |_| true);
        assert_eq!(told, [(10 + 5 + 5, Tick::Silent)]);
    }

    #[test]
    fn a_worker_is_listened_for_until_it_has_had_no_work_for_a_while() {
        let told = listen(Duration::ZERO, |_| true, |tick| tick <= 30);
        assert_eq!(told, [(30 + AT_REST, Tick::Rest)]);
        // One that fell silent before is listened for until it is heard.
        let back = AT_REST + 50;
        let told = listen(Duration::ZERO, |tick| tick <= 60 || tick >= back, |tick| tick <= 30);
        assert_eq!(told, [(65, Tick::Silent), (back, Tick::Heard), (back + 1, Tick::Rest)]);
    }
}
