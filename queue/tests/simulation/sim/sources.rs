//! What sources and takers do in a life.

use framelane_queue::{FlowId, Offer, Part, SourceCounts};

use super::judge::Verdicts;
use super::scene::{KEYS, key};
use super::stage::{Event, MS, Stage};

impl Stage {
    pub(super) fn source_of(&self, flow: FlowId) -> Option<usize> {
        self.sources.iter().position(|source| source.id == Some(flow))
    }

    pub(super) fn open(&mut self, source: usize) -> Verdicts {
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

    pub(super) fn make(&mut self, source: usize) -> Offer<u64, u64> {
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
    pub(super) fn item(&mut self, source: usize) -> Verdicts {
        let state = &self.sources[source];
        if state.over || state.kept.is_some() {
            return Ok(());
        }
        let left = state.plan.items - state.made;
        if left == 0 {
            return self.close(source);
        }
        let window = match (state.plan.client, state.id) {
            (true, Some(flow)) => state.plan.policy.held.get() - self.judge.held(flow),
            _ => usize::MAX,
        };
        if window == 0 {
            self.sources[source].blocked = true;
            return Ok(());
        }
        if left >= 4 && window >= 3 && self.random.chance(10) {
            return self.batch(source);
        }
        let offer = self.make(source);
        self.offer(source, offer)
    }

    pub(super) fn offer(&mut self, source: usize, offer: Offer<u64, u64>) -> Verdicts {
        let Some(flow) = self.sources[source].id else { return Ok(()) };
        let head = (offer.item, offer.parts.len(), offer.captured_at);
        match self.queue.offer(flow, offer, self.now) {
            Ok(seq) => {
                self.judge.offered(flow, head, Ok(seq))?;
                if self.random.chance(self.sources[source].plan.cancels) {
                    self.after(0, 60 * MS, Event::Cancel(flow, seq));
                }
                self.next_item(source);
            }
            Err(refused) => {
                self.judge.offered(flow, head, Err(refused.why))?;
                self.refused(source, refused.offer);
            }
        }
        Ok(())
    }

    pub(super) fn batch(&mut self, source: usize) -> Verdicts {
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

    pub(super) fn judge_seq(&self, flow: FlowId) -> u64 {
        self.queue.books(flow).map_or(0, |books| books.admitted)
    }

    pub(super) fn refused(&mut self, source: usize, offer: Offer<u64, u64>) {
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

    pub(super) fn next_item(&mut self, source: usize) {
        let plan = &self.sources[source].plan;
        let (gap, stalls) = (plan.gap, plan.stalls);
        let longest = if self.random.chance(stalls) { 300 * MS } else { gap };
        self.after(0, longest, Event::Item(source));
    }

    pub(super) fn close(&mut self, source: usize) -> Verdicts {
        self.sources[source].over = true;
        let Some(flow) = self.sources[source].id else { return Ok(()) };
        self.queue.close(flow, self.now);
        self.judge.ends(flow)
    }

    pub(super) fn abort(&mut self, source: usize) -> Verdicts {
        (self.sources[source].over, self.sources[source].kept) = (true, None);
        let Some(flow) = self.sources[source].id else { return Ok(()) };
        let discarded = self.queue.abort(flow, self.now);
        self.judge.aborted(flow, discarded)?;
        self.come_back(source);
        Ok(())
    }

    pub(super) fn ready(&mut self, flow: FlowId) -> Verdicts {
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

    pub(super) fn take(&mut self, source: usize) -> Result<usize, String> {
        let Some(flow) = self.sources[source].id else { return Ok(0) };
        let mut count = 0;
        loop {
            let most = self.random.between(1, 4) as usize;
            let mut places = Vec::new();
            let took = self.queue.take_batch(flow, most, &mut places, self.now);
            count += took;
            self.judge.took(flow, &places, took < most, self.now)?;
            if took < most {
                break;
            }
        }
        if count > 0 && std::mem::take(&mut self.sources[source].blocked) {
            self.after(0, MS, Event::Item(source));
        }
        Ok(count)
    }

    pub(super) fn room(&mut self, flow: FlowId) -> Verdicts {
        let Some(source) = self.source_of(flow) else { return Ok(()) };
        match self.sources[source].kept.take() {
            Some(offer) => self.offer(source, offer),
            None => Ok(()),
        }
    }
}
