//! A small world for tests of one rule each: one key or a few, numbers as items and answers.

use std::time::{Duration, Instant};

use framelane_queue::{
    Answered, Books, Config, Dispatcher, Failure, FlowId, Join, Key, LaneId, LaneKey, Offer, Part, Policy,
    Refused, Seq, Settled, SourceCounts, Step, Taken, TaskName, Ticket, Verdict, WorkerId,
};

pub(crate) const MS: Duration = Duration::from_millis(1);

pub(crate) fn key(name: &str) -> Key {
    Key::task(TaskName::new(name).unwrap())
}

pub(crate) struct Small {
    pub(crate) queue: Dispatcher<u64, &'static str, &'static str>,
    pub(crate) now: Instant,
    items: u64,
}

impl Small {
    pub(crate) fn new() -> Self {
        Self { queue: Dispatcher::new(Config::default()), now: Instant::now(), items: 0 }
    }

    pub(crate) fn open(&mut self, policy: Policy) -> FlowId {
        self.queue.open(policy)
    }

    /// A lane of worker 1, warm for the named tasks.
    pub(crate) fn join(&mut self, tasks: &[&str], credit: u32) -> LaneId {
        self.join_as(1, tasks, credit)
    }

    pub(crate) fn join_as(&mut self, worker: u64, tasks: &[&str], credit: u32) -> LaneId {
        let keys = tasks.iter().map(|task| LaneKey { key: key(task), warm: true });
        let join = Join { worker: WorkerId(worker), keys: keys.collect(), credit };
        self.queue.join(join, self.now)
    }

    pub(crate) fn item(&mut self, tasks: &[&str], sealed: bool) -> Offer<u64, &'static str> {
        self.items += 1;
        let parts = tasks.iter().map(|task| Part { key: key(task), payload: "first" });
        Offer {
            item: self.items - 1,
            parts: parts.collect(),
            sealed,
            captured_at: self.now,
            source: SourceCounts::default(),
        }
    }

    /// Offers a sealed item with one part of the task "work".
    pub(crate) fn offer(&mut self, flow: FlowId) -> Result<Seq, Refused<u64, &'static str>> {
        let item = self.item(&["work"], true);
        self.queue.offer(flow, item, self.now)
    }

    /// All steps until the queue waits.
    pub(crate) fn steps(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        loop {
            match self.queue.poll(self.now) {
                Step::Wait(_) => return steps,
                step => steps.push(step),
            }
        }
    }

    /// The hand-outs until the queue waits; other steps are dropped.
    pub(crate) fn assigned(&mut self) -> Vec<(LaneId, Ticket)> {
        let assign = |step| match step {
            Step::Assign { lane, ticket } => Some((lane, ticket)),
            _ => None,
        };
        self.steps().into_iter().filter_map(assign).collect()
    }

    pub(crate) fn answer(&mut self, lane: LaneId, ticket: Ticket) -> Settled {
        let answered = Answered::new(Ok("done"));
        self.queue.answer(lane, ticket, answered, self.now)
    }

    pub(crate) fn fail(&mut self, lane: LaneId, ticket: Ticket, failure: Failure) -> Settled {
        let answered = Answered::new(Err(failure));
        self.queue.answer(lane, ticket, answered, self.now)
    }

    pub(crate) fn taken(&mut self, flow: FlowId) -> Vec<Taken<u64, &'static str>> {
        let mut taken = Vec::new();
        self.queue.take_batch(flow, 1_000, &mut taken, self.now);
        taken
    }

    pub(crate) fn verdicts(&mut self, flow: FlowId) -> Vec<(u64, Verdict)> {
        let taken = self.taken(flow).into_iter();
        taken.map(|place| (place.seq.get(), place.verdict)).collect()
    }

    /// The books of a flow, which always balance.
    pub(crate) fn books(&self, flow: FlowId) -> Books {
        let books = self.queue.books(flow).expect("a known flow");
        assert_eq!(books.balances(), Ok(()));
        books
    }
}
