//! The tasks of one client: those that wait to be sent, and those that wait for their answers. Pure.
//!
//! Tasks have two numbers. The client's own rises over its whole life; the place in the task stream begins
//! anew with each connection and skips what was cancelled before it was sent.

use std::collections::VecDeque;

use queue::Key;
use tokio::sync::oneshot;

use super::error::Unanswered;
use super::{Answer, Id};
use crate::close::Closed;
use crate::framing::Limits;
use crate::pushed::{fits, weight};
use crate::task::Message;

/// What became of a task.
pub(super) type Outcome = Result<Answer, Unanswered>;

/// Where an outcome goes.
#[derive(Debug)]
pub(super) enum To {
    Future(oneshot::Sender<Outcome>),
    Stream(Id),
}

#[derive(Debug)]
struct Unsent {
    number: u64,
    key: Key,
    message: Message,
    /// None: nobody wants it any more.
    to: Option<To>,
}

#[derive(Debug)]
struct Sent {
    number: u64,
    weight: u64,
    to: Option<To>,
}

/// What a coordinator said that it takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Window {
    pub(super) tasks: usize,
    pub(super) bytes: u64,
    pub(super) limits: Limits,
}

/// What is to be sent next.
#[derive(Debug)]
pub(super) enum Next {
    Submit(Key, Vec<Message>),
    Cancel(Vec<u64>),
    Nothing,
}

/// An outcome that is known, the window's room that comes back with it, and where it goes if anywhere.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) to: Option<To>,
    pub(super) outcome: Outcome,
    pub(super) weight: u64,
}

/// The tasks, in order.
#[derive(Debug, Default)]
pub(super) struct State {
    next: u64,
    unsent: VecDeque<Unsent>,
    sent: VecDeque<Sent>,
    /// The place of the front of `sent` in the task stream.
    first: u64,
    /// What `sent` weighs.
    weight: u64,
    /// Places whose cancel is to be told.
    cancels: Vec<u64>,
}

/// The most tasks in one message: enough that the message costs nothing beside them.
const MOST: usize = 512;

impl State {
    /// Adds a task. Returns its number, and whether it is the only one that waits to be sent.
    pub(super) fn add(&mut self, key: Key, message: Message, to: To) -> (u64, bool) {
        let number = self.next;
        self.next += 1;
        self.unsent.push_back(Unsent { number, key, message, to: Some(to) });
        (number, self.unsent.len() == 1)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty() && self.unsent.is_empty()
    }

    /// Whether anything waits to be sent.
    pub(super) fn waits(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Whether nothing waits for an answer.
    pub(super) fn is_answered(&self) -> bool {
        self.sent.is_empty()
    }

    /// What is to be sent next, counted as sent. What cannot be sent at all goes to `settled`. With
    /// `cancels_alone` no task is given, since the coordinator takes no more.
    pub(super) fn next(&mut self, window: Window, cancels_alone: bool, settled: &mut Vec<Settled>) -> Next {
        if !self.cancels.is_empty() {
            return Next::Cancel(std::mem::take(&mut self.cancels));
        }
        let (mut key, mut messages, mut together) = (None, Vec::new(), 0);
        while !cancels_alone
            && messages.len() < MOST
            && self.sent.len() < window.tasks
            && let Some(front) = self.unsent.front()
        {
            let heavy = weight(&front.message);
            let room = self.sent.is_empty() || self.weight + heavy <= window.bytes;
            let same = key.as_ref().is_none_or(|key| *key == front.key);
            let alone = messages.is_empty();
            if front.to.is_some() && (!room || !same || !(alone || fits(together, &front.message))) {
                break;
            }
            let Some(Unsent { number, key: about, message, to }) = self.unsent.pop_front() else { break };
            let Some(to) = to else { continue };
            let (head, body) = (message.head.len(), message.body.len());
            if head > window.limits.head || body > window.limits.body {
                let why = format!("{head} and {body} bytes are more than this coordinator takes");
                settled.push(Settled { to: Some(to), outcome: Err(Unanswered::Failed(why)), weight: heavy });
                continue;
            }
            together += head + body;
            self.weight += heavy;
            self.sent.push_back(Sent { number, weight: heavy, to: Some(to) });
            key = Some(about);
            messages.push(message);
        }
        key.map_or(Next::Nothing, |key| Next::Submit(key, messages))
    }

    /// Outcomes have come, the first of which is for this place. False if that cannot be.
    pub(super) fn answered(&mut self, first: u64, outcomes: Vec<Outcome>, into: &mut Vec<Settled>) -> bool {
        if first != self.first || outcomes.len() > self.sent.len() {
            return false;
        }
        self.first += outcomes.len() as u64;
        let sent = self.sent.drain(..outcomes.len());
        into.extend(sent.zip(outcomes).map(|(Sent { weight, to, .. }, outcome)| {
            self.weight -= weight;
            Settled { to, outcome, weight }
        }));
        true
    }

    /// Nobody wants this task any more. Returns whether there is something new to be told, and the weight of
    /// one that was not sent yet, which gives its room back now.
    pub(super) fn cancel(&mut self, number: u64) -> (bool, Option<u64>) {
        if let Ok(at) = self.sent.binary_search_by_key(&number, |sent| sent.number) {
            let wanted = self.sent[at].to.take().is_some();
            if wanted {
                self.cancels.push(self.first + at as u64);
            }
            return (wanted && self.cancels.len() == 1, None);
        }
        let Ok(at) = self.unsent.binary_search_by_key(&number, |unsent| unsent.number) else {
            return (false, None);
        };
        let unsent = &mut self.unsent[at];
        let heavy = weight(&unsent.message);
        unsent.message = Message::default();
        (false, unsent.to.take().map(|_| heavy))
    }

    /// The connection is lost: what was sent has no answer, what was not waits for the next one.
    pub(super) fn lost(&mut self, why: &Closed, into: &mut Vec<Settled>) {
        into.extend(self.sent.drain(..).map(|Sent { to, weight, .. }| {
            let outcome = Err(Unanswered::Lost { sent: true, why: why.clone() });
            Settled { to, outcome, weight }
        }));
        self.cancels.clear();
        (self.first, self.weight) = (0, 0);
    }

    /// There will be no other connection.
    pub(super) fn end(&mut self, why: &Closed, into: &mut Vec<Settled>) {
        self.lost(why, into);
        into.extend(self.unsent.drain(..).filter(|unsent| unsent.to.is_some()).map(
            |Unsent { message, to, .. }| {
                let outcome = Err(Unanswered::Lost { sent: false, why: why.clone() });
                Settled { to, outcome, weight: weight(&message) }
            },
        ));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use queue::TaskName;

    use super::*;

    const WINDOW: Window = Window { tasks: 3, bytes: 10_000, limits: Limits { head: 100, body: 9_000 } };

    fn key(name: &str) -> Key {
        Key::task(TaskName::new(name).unwrap())
    }

    fn body(len: usize) -> Message {
        Message { head: Bytes::from_static(b"\xf6"), body: vec![0; len].into() }
    }

    fn add(state: &mut State, name: &str, len: usize) -> u64 {
        state.add(key(name), body(len), To::Stream(Id::Number(state.next))).0
    }

    fn sent(state: &mut State) -> Option<(String, usize)> {
        let mut settled = Vec::new();
        match state.next(WINDOW, false, &mut settled) {
            Next::Submit(key, messages) => Some((key.task.as_str().to_owned(), messages.len())),
            Next::Cancel(places) => Some(("cancel".into(), places.iter().map(|p| *p as usize).sum())),
            Next::Nothing => None,
        }
    }

    fn answer(state: &mut State, first: u64, count: usize) -> Vec<Settled> {
        let mut into = Vec::new();
        let outcomes = (0..count).map(|_| Ok(Answer::default())).collect();
        assert!(state.answered(first, outcomes, &mut into));
        into
    }

    #[test]
    fn what_is_there_together_is_sent_together_and_no_more_than_the_window_holds() {
        let mut state = State::default();
        for _ in 0..5 {
            add(&mut state, "a", 1);
        }
        assert_eq!(sent(&mut state), Some(("a".into(), 3)));
        assert_eq!(sent(&mut state), None, "three are unanswered");
        answer(&mut state, 0, 2);
        assert_eq!(sent(&mut state), Some(("a".into(), 2)));
        answer(&mut state, 2, 3);
        assert!(state.is_empty());
    }

    #[test]
    fn heavy_ones_wait_for_bytes_and_another_key_begins_another_message() {
        let mut state = State::default();
        for (name, len) in [("a", 9_000), ("a", 9_000), ("b", 1)] {
            add(&mut state, name, len);
        }
        assert_eq!(sent(&mut state), Some(("a".into(), 1)));
        assert_eq!(sent(&mut state), None, "the light one waits behind the heavy one");
        answer(&mut state, 0, 1);
        assert_eq!(sent(&mut state), Some(("a".into(), 1)));
        assert_eq!(sent(&mut state), Some(("b".into(), 1)));
        answer(&mut state, 1, 2);
        assert_eq!((state.weight, state.first), (0, 3));
    }

    #[test]
    fn a_cancel_is_told_by_the_place_and_what_was_not_sent_never_is() {
        let mut state = State::default();
        let numbers: Vec<u64> = (0..4).map(|_| add(&mut state, "a", 2_000)).collect();
        assert_eq!(state.cancel(numbers[1]), (false, Some(2_001 - crate::pushed::FREE as u64)));
        assert_eq!(state.cancel(numbers[1]), (false, None), "once");
        assert_eq!(sent(&mut state), Some(("a".into(), 3)));
        assert_eq!(state.cancel(numbers[3]), (true, None));
        assert_eq!(sent(&mut state), Some(("cancel".into(), 2)));
        let settled = answer(&mut state, 0, 3);
        assert!(settled[2].to.is_none() && settled[1].to.is_some());
        assert_eq!(state.cancel(numbers[0]), (false, None), "it was answered");
    }

    #[test]
    fn a_lost_connection_ends_what_was_sent_and_keeps_the_rest() {
        let mut state = State::default();
        for _ in 0..4 {
            add(&mut state, "a", 1);
        }
        sent(&mut state);
        answer(&mut state, 0, 1);
        let (why, mut settled) = (Closed::Silent, Vec::new());
        state.lost(&why, &mut settled);
        assert_eq!(settled.len(), 2);
        assert!(
            settled.iter().all(|s| s.outcome == Err(Unanswered::Lost { sent: true, why: Closed::Silent }))
        );
        // Places begin anew.
        assert_eq!(sent(&mut state), Some(("a".into(), 1)));
        assert_eq!(answer(&mut state, 0, 1).len(), 1);
        add(&mut state, "a", 1);
        settled.clear();
        state.end(&why, &mut settled);
        assert_eq!(settled[0].outcome, Err(Unanswered::Lost { sent: false, why }));
    }

    #[test]
    fn answers_that_nobody_waits_for_are_not_taken() {
        let mut state = State::default();
        add(&mut state, "a", 1);
        sent(&mut state);
        let two = || vec![Ok(Answer::default()), Ok(Answer::default())];
        assert!(!state.answered(0, two(), &mut Vec::new()));
        assert!(!state.answered(1, vec![], &mut Vec::new()));
    }

    #[test]
    fn what_a_coordinator_would_not_take_fails_here() {
        let mut state = State::default();
        add(&mut state, "a", 9_001);
        add(&mut state, "a", 1);
        let mut settled = Vec::new();
        assert!(
            matches!(state.next(WINDOW, false, &mut settled), Next::Submit(_, messages) if messages.len() == 1)
        );
        assert!(matches!(settled[0].outcome, Err(Unanswered::Failed(_))));
    }

    #[test]
    fn a_coordinator_that_stops_gets_cancels_and_no_tasks() {
        let mut state = State::default();
        let first = add(&mut state, "a", 1);
        sent(&mut state);
        add(&mut state, "a", 1);
        assert!(matches!(state.next(WINDOW, true, &mut Vec::new()), Next::Nothing));
        state.cancel(first);
        assert!(matches!(state.next(WINDOW, true, &mut Vec::new()), Next::Cancel(_)));
    }
}
