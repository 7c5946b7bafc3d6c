//! What happens, to the queue and to the model alike.

use std::time::Duration;

use framelane_queue::{
    Answered, Failure, FlowId, Key, LaneId, Offer, Outcome, Part, Reason, RefusedWhy, Seq, Settled,
    SourceCounts, Ticket,
};

use super::script::{Op, Reply};
use super::state::State;
use super::world::{World, key, lane_keys, model_keys};

impl World {
    pub(crate) fn apply(&mut self, op: &Op) {
        let flow = |number: u8| self.flows[usize::from(number) % self.flows.len()];
        let lanes = &self.lanes;
        let lane = |number: u8| lanes.get(usize::from(number) % lanes.len().max(1)).copied();
        match op {
            Op::Open(policy) => {
                self.open((**policy).clone());
            }
            Op::Offer { flow: number, parts, sealed, age } => self.offer(flow(*number), parts, *sealed, *age),
            Op::Batch { flow: number, count } => self.batch(flow(*number), *count),
            Op::Take { flow: number, most } => self.take(flow(*number), *most),
            Op::Close(number) => {
                let flow = flow(*number);
                self.advance();
                self.queue.close(flow, self.now);
                self.model.close(flow);
            }
            Op::Abort(number) => {
                let flow = flow(*number);
                self.advance();
                let discarded = self.queue.abort(flow, self.now);
                let expected = self.model.abort(flow);
                assert_eq!(discarded, expected, "invariant 1: discarded by abort");
            }
            Op::Cancel(number, nth) => {
                let flow = flow(*number);
                self.advance();
                let (seq, expected) = self.model.cancel(flow, *nth);
                assert_eq!(
                    self.queue.cancel(flow, seq, self.now),
                    expected,
                    "cancelled, if it was unsettled"
                );
            }
            Op::Forget(number) => {
                let flow = flow(*number);
                let known = self.model.flows.get(&flow);
                let books = match known.is_some_and(|flow| flow.told_closed) {
                    true => self.model.books(flow),
                    false => None,
                };
                if books.is_some() {
                    self.model.flows.remove(&flow);
                }
                assert_eq!(self.queue.forget(flow), books);
            }
            Op::Join { worker, keys, credit } => {
                self.join(*worker, keys, *credit);
            }
            Op::Credit(number, credit) => {
                if let Some(lane) = lane(*number) {
                    self.advance();
                    self.queue.credit(lane, u32::from(*credit), self.now);
                    if let Some(lane) = self.model.lanes.get_mut(&lane) {
                        lane.credit = u32::from(*credit);
                    }
                }
            }
            Op::Keys(number, keys) => {
                if let Some(lane) = lane(*number) {
                    self.advance();
                    self.queue.keys(lane, lane_keys(keys), self.now);
                    if let Some(lane) = self.model.lanes.get_mut(&lane) {
                        lane.keys = model_keys(keys);
                        let declared = |key: &Key| lane.keys.iter().any(|(declared, _)| declared == key);
                        lane.marks.retain(|(key, _), _| declared(key));
                    }
                    self.model.pass_by();
                }
            }
            Op::Drain(number) => {
                if let Some(lane) = lane(*number) {
                    self.advance();
                    self.queue.drain(lane, self.now);
                    if let Some(lane) = self.model.lanes.get_mut(&lane) {
                        lane.draining = true;
                        lane.marks.clear();
                    }
                    self.model.pass_by();
                }
            }
            Op::Leave(number, blame) => {
                if let Some(lane) = lane(*number) {
                    let blame = blame.and_then(|nth| match nth {
                        255 => self.tickets.first().map(|&(_, ticket)| ticket),
                        nth => self.held(lane, nth),
                    });
                    self.leave(lane, blame);
                }
            }
            Op::Suspect(number) => {
                if let Some(lane) = lane(*number) {
                    self.advance();
                    self.queue.suspect(lane, self.now);
                    self.model.suspect(lane);
                }
            }
            Op::Trust(number) => {
                if let Some(lane) = lane(*number) {
                    self.advance();
                    self.queue.trust(lane, self.now);
                    self.model.trust(lane);
                }
            }
            Op::Reply(number, nth, reply) => {
                let lanes: Vec<_> = (self.model.lanes.iter())
                    .filter_map(|(&id, lane)| (!lane.held.is_empty()).then_some(id))
                    .collect();
                if let Some(&lane) = lanes.get(usize::from(*number) % lanes.len().max(1))
                    && let Some(ticket) = self.held(lane, *nth)
                {
                    self.reply(lane, ticket, reply);
                }
            }
            Op::Stray(number, nth) => {
                let count = self.tickets.len().max(1);
                let stray = self.tickets.get(usize::from(*nth) * 7 % count).copied();
                if let (Some(lane), Some((_, ticket))) = (lane(*number), stray) {
                    let reply = Reply::Ok { asks: vec![], seal: true };
                    self.reply(lane, ticket, &reply);
                }
            }
            Op::Wait(millis) => self.now += Duration::from_millis(u64::from(*millis)),
        }
        self.compare();
    }

    fn make(&mut self, flow: FlowId, parts: &[u8], sealed: bool, age: u16) -> Offer<u64, u64> {
        self.items += 1;
        let item = self.items;
        let parts = parts
            .iter()
            .zip(0..)
            .map(|(&number, index)| Part { key: key(number), payload: item * 1000 + index });
        let admitted = self.model.flows.get(&flow).map_or(0, |flow| flow.admitted);
        Offer {
            item,
            parts: parts.collect(),
            sealed,
            captured_at: self.now.checked_sub(Duration::from_millis(u64::from(age))).unwrap_or(self.now),
            source: SourceCounts { decoded: admitted + 3, waiting: 2, ..SourceCounts::default() },
        }
    }

    fn offer_model(&mut self, flow: FlowId, offer: &Offer<u64, u64>) -> Result<Seq, RefusedWhy> {
        let parts: Vec<_> = (offer.parts.iter()).map(|part| (part.key.clone(), part.payload)).collect();
        let (at, source) = (offer.captured_at, offer.source);
        self.model.offer(flow, offer.item, &parts, offer.sealed, at, source)
    }

    pub(crate) fn offer(&mut self, flow: FlowId, parts: &[u8], sealed: bool, age: u16) {
        let offer = self.make(flow, parts, sealed, age);
        self.advance();
        let expected = self.offer_model(flow, &offer);
        if expected == Err(RefusedWhy::Full) {
            self.model.flows.get_mut(&flow).unwrap().failed_offers += 1;
        }
        let item = offer.item;
        let admitted = self.queue.offer(flow, offer, self.now);
        if let Err(refused) = &admitted {
            assert_eq!(refused.offer.item, item, "a refused item is handed back");
        }
        assert_eq!(admitted.map_err(|refused| refused.why), expected);
    }

    fn batch(&mut self, flow: FlowId, count: u8) {
        self.advance();
        let mut offers = Vec::new();
        let (mut admitted, mut why) = (0, None);
        for _ in 0..count {
            let offer = self.make(flow, &[0], true, 0);
            if why.is_none() {
                match self.offer_model(flow, &offer) {
                    Ok(_) => admitted += 1,
                    Err(refused) => why = Some(refused),
                }
            }
            offers.push(offer);
        }
        if why == Some(RefusedWhy::Full) {
            self.model.flows.get_mut(&flow).unwrap().failed_offers += 1;
        }
        let rest: Vec<u64> = offers[admitted..].iter().map(|offer| offer.item).collect();
        let batch = self.queue.offer_batch(flow, offers, self.now);
        let back: Vec<u64> = batch.rest.iter().map(|offer| offer.item).collect();
        assert_eq!((batch.admitted, batch.why, back), (admitted, why, rest));
    }

    pub(crate) fn take(&mut self, flow: FlowId, most: u8) {
        self.advance();
        let mut taken = Vec::new();
        let count = match most {
            // One place by the simple form, more by the batch form.
            1 => {
                taken.extend(self.queue.take(flow, self.now));
                taken.len()
            }
            most => self.queue.take_batch(flow, usize::from(most), &mut taken, self.now),
        };
        assert_eq!(count, taken.len());
        for place in taken {
            let expected = self.model.take(flow);
            let (seq, expected) = expected.expect("invariant 1: only settled heads are taken");
            assert_eq!((place.seq, place.item), (seq, expected.item), "invariant 1");
            assert_eq!(place.verdict, expected.verdict(), "invariant 1: verdict");
            let parts: Vec<_> = (expected.parts.into_iter())
                .map(|part| match part.state {
                    State::Done(outcome) => (part.key, outcome),
                    other => panic!("invariant 1: taken with an open part: {other:?}"),
                })
                .collect();
            assert_eq!(*place.parts, *parts, "invariant 3: outcomes of the parts");
            self.taken.push((flow, seq, place.item));
        }
        if count < usize::from(most) {
            let more = self.model.take(flow);
            assert!(more.is_none(), "invariant 1: take left {more:?} behind");
        }
    }

    pub(crate) fn reply(&mut self, lane: LaneId, ticket: Ticket, reply: &Reply) {
        self.advance();
        let live = self.model.let_go(lane, ticket) == Some(true);
        let other = live && self.model.take_back(ticket);
        let Ticket { flow, seq, part, .. } = ticket;
        let answer = ticket.seq.get() * 100 + u64::from(ticket.attempt);
        let (result, asks, seal) = match reply {
            Reply::Release => {
                self.queue.released(lane, ticket, self.now);
                if live {
                    self.model.wait_again(ticket, other);
                }
                return;
            }
            Reply::Ok { asks, seal } => (Ok(answer), asks.clone(), *seal),
            Reply::Bad => (Err(Failure::Bad), vec![], false),
            Reply::Failed => (Err(Failure::Failed), vec![], false),
        };
        let asks: Vec<_> = asks.into_iter().map(|number| (key(number), answer)).collect();
        if live {
            match result {
                Ok(answer) => {
                    let parts = &mut self.model.flows.get_mut(&flow).unwrap().parts;
                    parts.hedges_won += u64::from(self.hedges.contains(&ticket));
                    self.model.is_sound(lane, ticket);
                    self.model.ask(ticket, &asks);
                    if seal {
                        let flow = self.model.flows.get_mut(&flow).unwrap();
                        flow.places.get_mut(&seq).unwrap().sealed = true;
                    }
                    self.model.settle(flow, seq, part, Outcome::Answer(answer));
                }
                Err(Failure::Bad) => {
                    let failed = Outcome::Missing(Reason::Failed);
                    self.model.settle(flow, seq, part, failed);
                }
                Err(Failure::Failed) => {
                    let worker = self.model.lanes[&lane].worker;
                    self.model.charge(ticket, (lane, worker), other);
                }
            }
        }
        let asks = asks.into_iter().map(|(key, payload)| Part { key, payload });
        let answered = Answered { result, asks: asks.collect(), seal, service: Some(Duration::ZERO) };
        let settled = self.queue.answer(lane, ticket, answered, self.now);
        let expected = match live {
            true => Settled::Counted,
            false => Settled::Stale,
        };
        assert_eq!(settled, expected, "invariant 3: an answer for {ticket}");
    }
}
