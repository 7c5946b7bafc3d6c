//! One life: what happens when, and what each does who takes part.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use framelane_queue::{Config, Dispatcher, Failure, FlowId, LaneId, Offer, Seq, Step, Ticket};

use super::judge::{Judge, Verdicts};
use super::random::Random;
use super::scene::{self, FlowPlan, Worker};
use super::subject::{Fault, Queue, Subject};
use super::{Seen, scene::draw};

/// The owner polls so much later than it was told to, at most.
const TICK: u64 = 1_000;
/// From then on all is well, so that every flow can end.
const CALM: Duration = Duration::from_millis(1_500);
/// By then every flow must have ended.
const END: Duration = Duration::from_secs(120);
const RELEASE_WITHIN: Duration = Duration::from_millis(80);
/// A lane that lost an answer is found out after this long, by whoever owns it.
pub(super) const PATIENCE: Duration = Duration::from_millis(400);
pub(super) const MS: u64 = 1_000;

#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    Open(usize),
    Item(usize),
    Wake(usize),
    Abort(usize),
    /// Nobody wants this place of the flow any more.
    Cancel(FlowId, Seq),
    Join(usize),
    Die(usize, LaneId),
    /// A lane is not heard.
    Pause(usize, LaneId),
    /// It is heard again.
    Resume(LaneId),
    Change(usize, LaneId),
    Watchdog(usize, LaneId, Ticket),
    /// An answer, or why there is none; whether it asks for more.
    Answer(LaneId, Ticket, Result<bool, Failure>),
    Release(LaneId, Ticket),
    Calm,
}

pub(super) struct Source {
    pub(super) plan: FlowPlan,
    pub(super) id: Option<FlowId>,
    pub(super) made: u64,
    pub(super) given_up: u64,
    pub(super) kept: Option<Offer<u64, u64>>,
    pub(super) naps: bool,
    pub(super) over: bool,
    /// A client's window is full.
    pub(super) blocked: bool,
}

impl Source {
    fn new(plan: FlowPlan) -> Self {
        Self { plan, id: None, made: 0, given_up: 0, kept: None, naps: false, over: false, blocked: false }
    }
}

pub(super) struct Machine {
    pub(super) plan: Worker,
    pub(super) lane: Option<LaneId>,
}

pub(super) struct Stage {
    pub(super) random: Random,
    start: Instant,
    pub(super) now: Instant,
    pub(super) queue: Subject,
    pub(super) judge: Judge,
    pub(super) sources: Vec<Source>,
    pub(super) machines: Vec<Machine>,
    events: BTreeMap<(Instant, u64), Event>,
    order: u64,
    poll_at: Option<Instant>,
    pub(super) hung: BTreeSet<Ticket>,
    pub(super) values: u64,
    pub(super) calm: bool,
    tell: bool,
}

impl Stage {
    pub(super) fn new(seed: u64, start: Instant, fault: Option<Fault>, tell: bool) -> Self {
        let mut random = Random::new(seed);
        let scene::Scene { flows, workers } = draw(&mut random);
        let queue: Queue = Dispatcher::new(Config { release_within: RELEASE_WITHIN, ..Config::default() });
        let mut stage = Self {
            random,
            start,
            now: start,
            queue: Subject::new(queue, fault),
            judge: Judge::new(RELEASE_WITHIN),
            sources: flows.into_iter().map(Source::new).collect(),
            machines: workers.into_iter().map(|plan| Machine { plan, lane: None }).collect(),
            events: BTreeMap::new(),
            order: 0,
            poll_at: None,
            hung: BTreeSet::new(),
            values: 0,
            calm: false,
            tell,
        };
        for source in 0..stage.sources.len() {
            stage.after(0, 100 * MS, Event::Open(source));
        }
        for machine in 0..stage.machines.len() {
            stage.after(0, 50 * MS, Event::Join(machine));
        }
        stage.at(start + CALM, Event::Calm);
        stage
    }

    /// A client that was cut off comes back for the rest of its items.
    pub(super) fn come_back(&mut self, source: usize) {
        let Source { plan, made, .. } = &self.sources[source];
        let items = plan.items - made;
        if plan.client && items > 0 {
            let plan = FlowPlan { items, aborts: 0, ..plan.clone() };
            self.sources.push(Source::new(plan));
            self.after(MS, 100 * MS, Event::Open(self.sources.len() - 1));
        }
    }

    pub(super) fn now(&self) -> Instant {
        self.now
    }

    pub(super) fn seen(&self) -> Seen {
        let books = self.judge.flows.keys().filter_map(|&flow| self.queue.books(flow));
        let hedges_won = books.map(|books| books.parts.hedges_won).sum();
        Seen { hedges_won, faulty: self.queue.struck, ..self.judge.seen }
    }

    /// From the first event to the last.
    pub(super) fn live(&mut self) -> Verdicts {
        loop {
            let event = self.events.first_key_value().map(|(&(at, _), _)| at);
            let poll = self.poll_at.filter(|&poll| event.is_none_or(|event| poll <= event));
            let Some(next) = poll.or(event) else { break };
            self.now = next;
            if next > self.start + END {
                return self.judge.over().and(Err("events go on for ever".into()));
            }
            if poll.is_none()
                && let Some((_, event)) = self.events.pop_first()
            {
                self.say(|| format!("{event:?}"));
                self.happens(event)?;
                self.judge.balanced(&self.queue)?;
            }
            self.settle()?;
        }
        self.judge.over()
    }

    pub(super) fn say(&self, what: impl Fn() -> String) {
        if self.tell {
            println!("{:>10.3} ms  {}", (self.now - self.start).as_secs_f64() * 1e3, what());
        }
    }

    pub(super) fn at(&mut self, at: Instant, event: Event) {
        self.order += 1;
        self.events.insert((at, self.order), event);
    }

    /// An event in some microseconds.
    pub(super) fn after(&mut self, least: u64, most: u64, event: Event) {
        let at = self.now + self.random.micros(least, most);
        self.at(at, event);
    }

    fn happens(&mut self, event: Event) -> Verdicts {
        match event {
            Event::Open(source) => self.open(source),
            Event::Item(source) => self.item(source),
            Event::Wake(source) => {
                self.sources[source].naps = false;
                self.take(source).map(drop)
            }
            Event::Abort(source) => self.abort(source),
            Event::Cancel(flow, seq) => {
                let said = self.queue.cancel(flow, seq, self.now);
                self.judge.cancelled(flow, seq, said, self.now)
            }
            Event::Join(machine) => self.join(machine),
            Event::Die(machine, lane) => self.die(machine, lane),
            Event::Pause(machine, lane) => self.pause(machine, lane),
            Event::Resume(lane) => {
                self.queue.trust(lane, self.now);
                self.judge.trusted(lane, self.now);
                Ok(())
            }
            Event::Change(machine, lane) => self.change(machine, lane),
            Event::Watchdog(machine, lane, ticket) => {
                let holds = self.judge.lanes.get(&lane).is_some_and(|lane| lane.held.contains_key(&ticket));
                if holds { self.leave(machine, lane, Some(ticket)) } else { Ok(()) }
            }
            Event::Answer(lane, ticket, result) => self.answer(lane, ticket, result),
            Event::Release(lane, ticket) => {
                self.queue.released(lane, ticket, self.now);
                self.judge.let_go(lane, ticket, self.now);
                Ok(())
            }
            Event::Calm => self.be_calm(),
        }
    }

    /// Polls until the queue waits, and does what each step asks for.
    fn settle(&mut self) -> Verdicts {
        let mut left = self.judge.bound();
        loop {
            let step = self.queue.poll(self.now);
            self.say(|| format!("    {step:?}"));
            self.judge.step(step, &self.queue, self.now)?;
            match step {
                Step::Assign { lane, ticket } => self.work(lane, ticket),
                Step::Cancel { lane, ticket } => {
                    if !self.hung.contains(&ticket) {
                        self.after(100, 20 * MS, Event::Release(lane, ticket));
                    }
                }
                Step::Ready { flow } => self.ready(flow)?,
                Step::Room { flow } => self.room(flow)?,
                Step::Closed { flow } => {
                    // Some flows are forgotten, with their books.
                    if self.random.chance(30) && self.queue.forget(flow).is_none() {
                        return Err(format!("{flow} is closed and has no books"));
                    }
                }
                Step::Drained { lane } => {
                    if let Some(machine) = self.machine_of(lane) {
                        self.leave(machine, lane, None)?;
                    }
                }
                Step::Lost { lane } => {
                    if let Some(machine) = self.machine_of(lane) {
                        self.machines[machine].lane = None;
                        self.after(MS, 300 * MS, Event::Join(machine));
                    }
                }
                Step::Wait(until) => {
                    self.judge.at_rest(&self.queue, until, self.now)?;
                    let late = self.random.micros(0, TICK);
                    self.poll_at = until.map(|until| until + late);
                    return Ok(());
                }
            }
            self.judge.balanced(&self.queue)?;
            left = left.checked_sub(1).ok_or("invariant 4: poll does not come to Wait")?;
        }
    }

    /// From now on nobody has vices, and every worker serves everything.
    fn be_calm(&mut self) -> Verdicts {
        self.calm = true;
        for machine in 0..self.machines.len() {
            self.machines[machine].plan = self.machines[machine].plan.healthy();
            if let Some(lane) = self.machines[machine].lane {
                let keys = self.some_keys();
                self.queue.keys(lane, keys.clone(), self.now);
                self.judge.keys(lane, keys)?;
                self.queue.credit(lane, 4, self.now);
                self.judge.credit(lane, 4)?;
            }
        }
        // Flows may be pinned to workers that never were: they come now.
        for id in self.machines.len()..2 {
            let plan = Worker { id: framelane_queue::WorkerId(id as u64), ..self.machines[0].plan.clone() };
            self.machines.push(Machine { plan, lane: None });
            self.after(0, 10 * MS, Event::Join(id));
        }
        Ok(())
    }
}
