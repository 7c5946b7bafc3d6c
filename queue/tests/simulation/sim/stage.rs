//! One life: what happens when, and what each does who takes part.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use framelane_queue::{
    Answered, Config, Dispatcher, Failure, FlowId, Join, LaneId, Offer, Part, SourceCounts, Step, Ticket,
};

use super::judge::{Judge, Verdicts};
use super::random::Random;
use super::scene::{self, FlowPlan, KEYS, Worker, key, lane_keys};
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
const PATIENCE: Duration = Duration::from_millis(400);
const MS: u64 = 1_000;

#[derive(Debug, Clone, Copy)]
enum Event {
    Open(usize),
    Item(usize),
    Wake(usize),
    Abort(usize),
    Join(usize),
    Die(usize, LaneId),
    Change(usize, LaneId),
    Watchdog(usize, LaneId, Ticket),
    /// An answer, or why there is none; whether it asks for more.
    Answer(LaneId, Ticket, Result<bool, Failure>),
    Release(LaneId, Ticket),
    Calm,
}

struct Source {
    plan: FlowPlan,
    id: Option<FlowId>,
    made: u64,
    given_up: u64,
    kept: Option<Offer<u64, u64>>,
    naps: bool,
    over: bool,
}

struct Machine {
    plan: Worker,
    lane: Option<LaneId>,
}

pub(super) struct Stage {
    random: Random,
    start: Instant,
    now: Instant,
    queue: Subject,
    judge: Judge,
    sources: Vec<Source>,
    machines: Vec<Machine>,
    events: BTreeMap<(Instant, u64), Event>,
    order: u64,
    poll_at: Option<Instant>,
    hung: BTreeSet<Ticket>,
    values: u64,
    calm: bool,
    tell: bool,
}

impl Stage {
    pub(super) fn new(seed: u64, start: Instant, fault: Option<Fault>, tell: bool) -> Self {
        let mut random = Random::new(seed);
        let scene::Scene { flows, workers } = draw(&mut random);
        let queue: Queue = Dispatcher::new(Config { release_within: RELEASE_WITHIN, ..Config::default() });
        let source =
            |plan| Source { plan, id: None, made: 0, given_up: 0, kept: None, naps: false, over: false };
        let mut stage = Self {
            random,
            start,
            now: start,
            queue: Subject::new(queue, fault),
            judge: Judge::new(RELEASE_WITHIN),
            sources: flows.into_iter().map(source).collect(),
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

    fn say(&self, what: impl Fn() -> String) {
        if self.tell {
            println!("{:>10.3} ms  {}", (self.now - self.start).as_secs_f64() * 1e3, what());
        }
    }

    fn at(&mut self, at: Instant, event: Event) {
        self.order += 1;
        self.events.insert((at, self.order), event);
    }

    /// An event in some microseconds.
    fn after(&mut self, least: u64, most: u64, event: Event) {
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
            Event::Join(machine) => self.join(machine),
            Event::Die(machine, lane) => self.die(machine, lane),
            Event::Change(machine, lane) => self.change(machine, lane),
            Event::Watchdog(machine, lane, ticket) => {
                let holds = self.judge.lanes.get(&lane).is_some_and(|lane| lane.held.contains_key(&ticket));
                if holds { self.leave(machine, lane, Some(ticket)) } else { Ok(()) }
            }
            Event::Answer(lane, ticket, result) => self.answer(lane, ticket, result),
            Event::Release(lane, ticket) => {
                self.queue.released(lane, ticket, self.now);
                self.judge.let_go(lane, ticket);
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

    fn machine_of(&self, lane: LaneId) -> Option<usize> {
        self.machines.iter().position(|machine| machine.lane == Some(lane))
    }

    fn source_of(&self, flow: FlowId) -> Option<usize> {
        self.sources.iter().position(|source| source.id == Some(flow))
    }

    fn open(&mut self, source: usize) -> Verdicts {
        let policy = self.sources[source].plan.policy.clone();
        self.say(|| format!("{policy:?}"));
        let flow = self.queue.open(policy.clone());
        self.sources[source].id = Some(flow);
        if self.random.chance(self.sources[source].plan.aborts) {
            self.after(0, 1_500 * MS, Event::Abort(source));
        }
        self.after(0, 10 * MS, Event::Item(source));
        self.judge.opened(flow, policy)
    }

    fn make(&mut self, source: usize) -> Offer<u64, u64> {
        let captured_at = match self.random.chance(70) {
            true => self.now,
            false => self.now.checked_sub(self.random.micros(0, 20 * MS)).unwrap_or(self.now),
        };
        let parts = match self.random.between(0, 9) {
            0 => 0,
            1 => self.random.between(2, 3),
            _ => 1,
        };
        let parts =
            (0..parts).map(|_| Part { key: key(self.random.between(0, KEYS - 1)), payload: 0 }).collect();
        let state = &mut self.sources[source];
        state.made += 1;
        let source = SourceCounts { decoded: state.made, refused: state.given_up, ..SourceCounts::default() };
        let item = state.made - 1;
        Offer { item, parts, sealed: self.random.chance(60), captured_at, source }
    }

    /// The source has a next item, unless it keeps one or is at its end.
    fn item(&mut self, source: usize) -> Verdicts {
        let state = &self.sources[source];
        if state.over || state.kept.is_some() {
            return Ok(());
        }
        let left = state.plan.items - state.made;
        if left == 0 {
            return self.close(source);
        }
        if left >= 4 && self.random.chance(10) {
            return self.batch(source);
        }
        let offer = self.make(source);
        self.offer(source, offer)
    }

    fn offer(&mut self, source: usize, offer: Offer<u64, u64>) -> Verdicts {
        let Some(flow) = self.sources[source].id else { return Ok(()) };
        let head = (offer.item, offer.parts.len(), offer.captured_at);
        match self.queue.offer(flow, offer, self.now) {
            Ok(seq) => {
                self.judge.offered(flow, head, Ok(seq))?;
                self.next_item(source);
            }
            Err(refused) => {
                self.judge.offered(flow, head, Err(refused.why))?;
                self.refused(source, refused.offer);
            }
        }
        Ok(())
    }

    fn batch(&mut self, source: usize) -> Verdicts {
        let Some(flow) = self.sources[source].id else { return Ok(()) };
        let first = self.judge_seq(flow);
        let mut offers: Vec<_> = (0..3).map(|_| self.make(source)).collect();
        let heads: Vec<_> =
            offers.iter().map(|offer| (offer.item, offer.parts.len(), offer.captured_at)).collect();
        let batch = self.queue.offer_batch(flow, offers.drain(..), self.now);
        for (&head, seq) in heads[..batch.admitted].iter().zip(first..) {
            self.judge.offered(flow, head, Ok(framelane_queue::Seq(seq)))?;
        }
        let mut rest = batch.rest.into_iter();
        match (batch.why, rest.next()) {
            (None, None) => self.next_item(source),
            (Some(why), Some(offer)) => {
                self.judge.offered(flow, heads[batch.admitted], Err(why))?;
                // What is behind the refused one is made again later.
                self.sources[source].made -= rest.count() as u64;
                self.refused(source, offer);
            }
            _ => return Err("a batch is refused without a rest, or has one without being refused".into()),
        }
        Ok(())
    }

    fn judge_seq(&self, flow: FlowId) -> u64 {
        self.queue.books(flow).map_or(0, |books| books.admitted)
    }

    fn refused(&mut self, source: usize, offer: Offer<u64, u64>) {
        let gives_up = self.random.chance(self.sources[source].plan.gives_up);
        let state = &mut self.sources[source];
        if state.over {
            return;
        }
        if !gives_up {
            state.kept = Some(offer);
            return;
        }
        state.given_up += 1;
        let counts = SourceCounts { decoded: state.made, refused: state.given_up, ..SourceCounts::default() };
        if let Some(flow) = state.id {
            self.queue.source(flow, counts);
        }
        self.next_item(source);
    }

    fn next_item(&mut self, source: usize) {
        let plan = &self.sources[source].plan;
        let (gap, stalls) = (plan.gap, plan.stalls);
        let longest = if self.random.chance(stalls) { 300 * MS } else { gap };
        self.after(0, longest, Event::Item(source));
    }

    fn close(&mut self, source: usize) -> Verdicts {
        self.sources[source].over = true;
        let Some(flow) = self.sources[source].id else { return Ok(()) };
        self.queue.close(flow, self.now);
        self.judge.ends(flow)
    }

    fn abort(&mut self, source: usize) -> Verdicts {
        (self.sources[source].over, self.sources[source].kept) = (true, None);
        let Some(flow) = self.sources[source].id else { return Ok(()) };
        let discarded = self.queue.abort(flow, self.now);
        self.judge.aborted(flow, discarded)
    }

    fn ready(&mut self, flow: FlowId) -> Verdicts {
        let Some(source) = self.source_of(flow) else { return Ok(()) };
        if self.sources[source].naps {
            return Ok(());
        }
        if !self.calm && self.random.chance(self.sources[source].plan.naps) {
            self.sources[source].naps = true;
            self.after(MS, 200 * MS, Event::Wake(source));
            return Ok(());
        }
        match self.take(source)? {
            0 => Err(format!("invariant 4: {flow} is said to be ready, and gives nothing")),
            _ => Ok(()),
        }
    }

    fn take(&mut self, source: usize) -> Result<usize, String> {
        let Some(flow) = self.sources[source].id else { return Ok(0) };
        let mut count = 0;
        loop {
            let most = self.random.between(1, 4) as usize;
            let mut places = Vec::new();
            let took = self.queue.take_batch(flow, most, &mut places, self.now);
            count += took;
            self.judge.took(flow, &places, took < most)?;
            if took < most {
                return Ok(count);
            }
        }
    }

    fn room(&mut self, flow: FlowId) -> Verdicts {
        let Some(source) = self.source_of(flow) else { return Ok(()) };
        match self.sources[source].kept.take() {
            Some(offer) => self.offer(source, offer),
            None => Ok(()),
        }
    }

    fn some_keys(&mut self) -> Vec<framelane_queue::LaneKey> {
        let serves: Vec<u64> = (0..KEYS).filter(|_| self.calm || self.random.chance(75)).collect();
        lane_keys(serves)
    }

    fn join(&mut self, machine: usize) -> Verdicts {
        if self.machines[machine].lane.is_some() {
            return Ok(());
        }
        let keys = self.some_keys();
        let credit = self.random.between(1, 6) as u32;
        let join = Join { worker: self.machines[machine].plan.id, keys, credit };
        let lane = self.queue.join(join.clone(), self.now);
        self.machines[machine].lane = Some(lane);
        let Worker { dies, fickle, .. } = self.machines[machine].plan;
        if let Some(dies) = dies {
            self.after(MS, 2 * dies * MS, Event::Die(machine, lane));
        }
        if let Some(fickle) = fickle {
            self.after(MS, 2 * fickle * MS, Event::Change(machine, lane));
        }
        self.judge.joined(lane, join)
    }

    fn die(&mut self, machine: usize, lane: LaneId) -> Verdicts {
        let held = self.judge.lanes.get(&lane).map(|lane| lane.held.keys().copied().collect::<Vec<_>>());
        let blame = match self.random.between(0, 2) {
            0 => None,
            1 => self.random.pick(&held.unwrap_or_default()),
            _ => self.random.pick(&self.judge.tickets),
        };
        self.leave(machine, lane, blame)
    }

    fn leave(&mut self, machine: usize, lane: LaneId, blame: Option<Ticket>) -> Verdicts {
        if self.machines[machine].lane != Some(lane) {
            return Ok(());
        }
        self.queue.leave(lane, blame, self.now);
        self.judge.left(lane, blame);
        self.machines[machine].lane = None;
        self.after(MS, 300 * MS, Event::Join(machine));
        Ok(())
    }

    /// A lane changes its credit, its keys or its mind.
    fn change(&mut self, machine: usize, lane: LaneId) -> Verdicts {
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
    fn work(&mut self, lane: LaneId, ticket: Ticket) {
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

    fn answer(&mut self, lane: LaneId, ticket: Ticket, result: Result<bool, Failure>) -> Verdicts {
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
