//! What workers do in a life.

use framelane_queue::{Answered, Failure, Join, LaneId, Part, Ticket};

use super::judge::Verdicts;
use super::scene::{KEYS, Worker, key, lane_keys};
use super::stage::{Event, MS, PATIENCE, Stage};

impl Stage {
    pub(super) fn machine_of(&self, lane: LaneId) -> Option<usize> {
        self.machines.iter().position(|machine| machine.lane == Some(lane))
    }

    pub(super) fn some_keys(&mut self) -> Vec<framelane_queue::LaneKey> {
        let serves: Vec<u64> = (0..KEYS).filter(|_| self.calm || self.random.chance(75)).collect();
        lane_keys(serves)
    }

    pub(super) fn join(&mut self, machine: usize) -> Verdicts {
        if self.machines[machine].lane.is_some() {
            return Ok(());
        }
        let keys = self.some_keys();
        let credit = self.random.between(1, 6) as u32;
        let join = Join { worker: self.machines[machine].plan.id, keys, credit };
        let lane = self.queue.join(join.clone(), self.now);
        self.machines[machine].lane = Some(lane);
        let Worker { dies, pauses, fickle, .. } = self.machines[machine].plan;
        if let Some(dies) = dies {
            self.after(MS, 2 * dies * MS, Event::Die(machine, lane));
        }
        if let Some(pauses) = pauses {
            self.after(MS, 2 * pauses * MS, Event::Pause(machine, lane));
        }
        if let Some(fickle) = fickle {
            self.after(MS, 2 * fickle * MS, Event::Change(machine, lane));
        }
        self.judge.joined(lane, join)
    }

    pub(super) fn die(&mut self, machine: usize, lane: LaneId) -> Verdicts {
        let held = self.judge.lanes.get(&lane).map(|lane| lane.held.keys().copied().collect::<Vec<_>>());
        let blame = match self.random.between(0, 2) {
            0 => None,
            1 => self.random.pick(&held.unwrap_or_default()),
            _ => self.random.pick(&self.judge.tickets),
        };
        self.leave(machine, lane, blame)
    }

    pub(super) fn leave(&mut self, machine: usize, lane: LaneId, blame: Option<Ticket>) -> Verdicts {
        if self.machines[machine].lane != Some(lane) {
            return Ok(());
        }
        self.queue.leave(lane, blame, self.now);
        self.judge.left(lane, blame, self.now);
        self.machines[machine].lane = None;
        self.after(MS, 300 * MS, Event::Join(machine));
        Ok(())
    }

    /// A lane falls silent for a while; some of its answers come late, others are on their way already.
    pub(super) fn pause(&mut self, machine: usize, lane: LaneId) -> Verdicts {
        let Some(pauses) = self.machines[machine].plan.pauses else { return Ok(()) };
        if self.machines[machine].lane != Some(lane) {
            return Ok(());
        }
        self.queue.suspect(lane, self.now);
        self.judge.suspected(lane, self.now)?;
        self.after(0, 200 * MS, Event::Resume(lane));
        self.after(200 * MS, (200 + 2 * pauses) * MS, Event::Pause(machine, lane));
        Ok(())
    }

    /// A lane changes its credit, its keys or its mind.
    pub(super) fn change(&mut self, machine: usize, lane: LaneId) -> Verdicts {
        let Some(fickle) = self.machines[machine].plan.fickle else { return Ok(()) };
        if self.machines[machine].lane != Some(lane) {
            return Ok(());
        }
        self.after(MS, 2 * fickle * MS, Event::Change(machine, lane));
        match self.random.between(0, 9) {
            0 => {
                self.queue.drain(lane, self.now);
                self.judge.drains(lane)
            }
            1..=4 => {
                let keys = self.some_keys();
                self.queue.keys(lane, keys.clone(), self.now);
                self.judge.keys(lane, keys)
            }
            _ => {
                let credit = self.random.between(0, 6) as u32;
                self.queue.credit(lane, credit, self.now);
                self.judge.credit(lane, credit)
            }
        }
    }

    /// What a worker makes of a hand-out.
    pub(super) fn work(&mut self, lane: LaneId, ticket: Ticket) {
        let Some(machine) = self.machine_of(lane) else { return };
        let plan = self.machines[machine].plan.clone();
        let done = self.now + self.random.micros(plan.takes / 2, 2 * plan.takes);
        if self.random.chance(plan.hangs) {
            self.hung.insert(ticket);
            self.at(self.now + 3 * PATIENCE, Event::Watchdog(machine, lane, ticket));
        } else if self.random.chance(plan.loses) {
            self.at(self.now + PATIENCE, Event::Watchdog(machine, lane, ticket));
        } else {
            let result = match self.random.between(0, 99) {
                roll if roll < plan.bad => Err(Failure::Bad),
                roll if roll < plan.bad + plan.fails => Err(Failure::Failed),
                _ => Ok(self.random.chance(plan.asks)),
            };
            self.at(done, Event::Answer(lane, ticket, result));
        }
        if self.random.chance(plan.twice) {
            let again = done + self.random.micros(0, 100 * MS);
            self.at(again, Event::Answer(lane, ticket, Ok(false)));
        }
        if self.random.chance(plan.foreign)
            && let Some(foreign) = self.random.pick(&self.judge.tickets)
        {
            self.at(done, Event::Answer(lane, foreign, Ok(false)));
        }
    }

    pub(super) fn answer(&mut self, lane: LaneId, ticket: Ticket, result: Result<bool, Failure>) -> Verdicts {
        self.values += 1;
        let value = self.values;
        let asks = if result == Ok(true) { self.random.between(0, 3) } else { 0 };
        let asks = (0..asks).map(|_| Part { key: key(self.random.between(0, KEYS - 1)), payload: value });
        let answered = Answered {
            asks: asks.collect(),
            seal: result != Ok(true) || self.random.chance(50),
            ..Answered::new(result.map(|_| value))
        };
        let settled = self.queue.answer(lane, ticket, answered, self.now);
        let said = result.map(|_| value).map_err(|failure| failure == Failure::Bad);
        self.judge.answered(lane, ticket, said, settled, self.now)
    }
}
