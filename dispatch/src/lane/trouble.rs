//! Trouble that a lane may have with every hand-out: logged at once, and what follows is counted and logged
//! once a second with the number.

use std::convert::Infallible;
use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use queue::{LaneId, Ticket, WorkerId};
use tokio::sync::Notify;

/// At most one line of a kind in this time, whatever comes.
const EVERY: Duration = Duration::from_secs(1);

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// No job can be made of an item, or none that may be sent.
    NoJob,
    /// A job could not be handed out.
    NotSent,
    /// An answer came that is none of its task.
    Unread,
}

impl Trouble {
    const ALL: [Self; 3] = [Self::NoJob, Self::NotSent, Self::Unread];
}

/// The trouble of one lane.
pub(super) struct Troubles {
    worker: WorkerId,
    lane: LaneId,
    states: Mutex<[State; Trouble::ALL.len()]>,
    /// Something was counted that is to be told later.
    more: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// How often since it was said.
    count: u64,
    said_at: Option<Instant>,
    latest: Option<(Ticket, String)>,
}

/// What is to be logged: how often, and the latest one with its cause.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    count: u64,
    ticket: Ticket,
    why: String,
}

impl Troubles {
    pub(super) fn new(worker: WorkerId, lane: LaneId) -> Self {
        Troubles { worker, lane, states: Mutex::default(), more: Notify::new() }
    }

    fn states(&self) -> MutexGuard<'_, [State; Trouble::ALL.len()]> {
        // No step panics half-way, so poisoned states are whole ones.
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one, and logs if nothing of the kind was logged just now.
    pub(super) fn count(&self, trouble: Trouble, ticket: Ticket, why: &dyn Display) {
        let line = {
            let state = &mut self.states()[trouble as usize];
            state.add(ticket, why.to_string());
            state.line(now())
        };
        match line {
            Some(line) => self.say(trouble, line),
            None => self.more.notify_one(),
        }
    }

    /// Logs what was only counted, when it is time. To be polled for as long as the lane is there.
    pub(super) async fn tell(&self) -> Infallible {
        loop {
            self.more.notified().await;
            tokio::time::sleep(EVERY).await;
            self.say_all(|state| state.line(now()));
        }
    }

    fn say_all(&self, line: impl Fn(&mut State) -> Option<Line>) {
        for trouble in Trouble::ALL {
            let line = line(&mut self.states()[trouble as usize]);
            if let Some(line) = line {
                self.say(trouble, line);
            }
        }
    }

    fn say(&self, trouble: Trouble, Line { count, ticket, why }: Line) {
        let Troubles { worker, lane, .. } = self;
        macro_rules! warn {
            ($text:literal) => {
                tracing::warn!(%worker, %lane, count, latest = %ticket, why, $text)
            };
        }
        match trouble {
            Trouble::NoJob => warn!("no jobs could be made of items, which are missing as failed"),
            Trouble::NotSent => warn!("jobs could not be handed out"),
            Trouble::Unread => warn!("answers cannot be read"),
        }
    }
}

impl Drop for Troubles {
    /// The lane is over: what was only counted is told now.
    fn drop(&mut self) {
        self.say_all(State::rest);
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl State {
    fn add(&mut self, ticket: Ticket, why: String) {
        self.count += 1;
        self.latest = Some((ticket, why));
    }

    /// What is to be logged now.
    fn line(&mut self, now: Instant) -> Option<Line> {
        if self.said_at.is_some_and(|said| now.saturating_duration_since(said) < EVERY) {
            return None;
        }
        let line = self.rest()?;
        self.said_at = Some(now);
        Some(line)
    }

    /// What was not logged yet.
    fn rest(&mut self) -> Option<Line> {
        let (ticket, why) = self.latest.take()?;
        Some(Line { count: std::mem::take(&mut self.count), ticket, why })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use queue::{FlowId, Seq};

    #[test]
    fn a_flood_is_one_line_a_second_with_its_number() {
        let (start, mut state) = (Instant::now(), State::default());
        let ticket = |seq| Ticket { flow: FlowId(1), seq: Seq(seq), part: 0, attempt: 1 };
        let mut count = |seq, at| {
            state.add(ticket(seq), format!("cause {seq}"));
            state.line(start + Duration::from_millis(at))
        };
        let line = |count, seq| Some(Line { count, ticket: ticket(seq), why: format!("cause {seq}") });
        assert_eq!(count(0, 0), line(1, 0));
        for seq in 1..1000 {
            assert_eq!(count(seq, seq), None);
        }
        assert_eq!(count(1000, 1000), line(1000, 1000));
        assert_eq!(count(1001, 1500), None);
        assert_eq!(state.rest(), line(1, 1001), "what was left at the end");
        assert_eq!(state.line(start + 9 * EVERY), None, "there is nothing new to say");
    }
}
