//! Hand-outs that share a stream: each is answered, cancelled and lost as if it were alone.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use std::collections::BTreeMap;

use framelane_wire::server::{Batch, Config, Event, HandOut, HandOutError, Outcome};
use framelane_wire::{Message, Timings, Unprocessed, node};
use queue::{Key, TaskName, Ticket};
use support::{echo, job, key, message, pair, soon, ticket};

fn jobs(numbers: std::ops::Range<u64>) -> Vec<(HandOut, Message)> {
    numbers.map(|n| (job(n), message(&n.to_string(), n as usize))).collect()
}

async fn all(mut batch: Batch) -> BTreeMap<Ticket, Outcome> {
    let mut told = BTreeMap::new();
    while let Some(outcomes) = soon(batch.next()).await {
        for outcome in outcomes {
            assert!(told.insert(outcome.0, outcome).is_none(), "told twice");
        }
    }
    told
}

/// The jobs of the next event, which must be jobs.
async fn some_jobs(jobs: &mut node::Jobs) -> Vec<node::Job> {
    match soon(jobs.next()).await {
        node::Event::Jobs(jobs) => jobs,
        other => panic!("jobs were expected, not {other:?}"),
    }
}

#[tokio::test]
async fn each_gets_its_own_answer() {
    let (_site, peer, _events, node, mut jobs_in) = pair(Config::default(), 50).await;
    let worker = tokio::spawn(async move {
        let mut sizes = Vec::new();
        let mut held = Vec::new();
        while held.len() < 50 {
            let jobs = some_jobs(&mut jobs_in).await;
            sizes.push(jobs.len());
            held.extend(jobs);
        }
        // In another order than they came.
        for node::Job { key: k, message, reply, .. } in held.into_iter().rev() {
            assert_eq!(k, key(), "also where the head leaves it out");
            reply.send(Ok(message), Timings { infer_us: 3, ..Timings::default() });
        }
        sizes
    });
    let told = all(peer.hand_out_batch(jobs(0..50))).await;
    assert_eq!(told.len(), 50);
    for (asked, sent) in jobs(0..50) {
        let answer = told[&asked.ticket].1.as_ref().unwrap();
        assert_eq!((answer.result.as_ref(), answer.timings.infer_us), (Ok(&sent), 3));
    }
    let sizes = soon(worker).await.unwrap();
    assert!(sizes.len() < 50, "those that came together are told together: {sizes:?}");
    assert_eq!((peer.outstanding(), node.held()), (0, 0));
}

#[tokio::test]
async fn the_key_may_change_within_a_batch() {
    let (_site, peer, _events, _node, mut jobs_in) = pair(Config::default(), 4).await;
    let other = Key::task(TaskName::new("other").unwrap());
    let mut sent = jobs(0..4);
    sent[1].0.key = other.clone();
    sent[2].0.key = other.clone();
    let batch = tokio::spawn(all(peer.hand_out_batch(sent)));
    let mut keys = BTreeMap::new();
    while keys.len() < 4 {
        for job in some_jobs(&mut jobs_in).await {
            keys.insert(job.ticket, job.key);
            job.reply.send(Ok(job.message), Timings::default());
        }
    }
    let keys: Vec<_> = keys.into_values().collect();
    assert_eq!(keys, [key(), other.clone(), other, key()]);
    assert_eq!(soon(batch).await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_cancel_concerns_one_of_them() {
    let (_site, peer, mut events, node, mut jobs_in) = pair(Config::default(), 4).await;
    let batch = tokio::spawn(all(peer.hand_out_batch(jobs(0..3))));
    let mut held = Vec::new();
    while held.len() < 3 {
        held.extend(some_jobs(&mut jobs_in).await);
    }
    peer.cancel(ticket(1));
    assert!(matches!(soon(jobs_in.next()).await, node::Event::Cancel(t) if t == ticket(1)));
    for job in held {
        job.reply.send(Ok(job.message), Timings::default());
    }
    let told = soon(batch).await.unwrap();
    assert_eq!(told[&ticket(1)].1, Err(HandOutError::Cancelled));
    assert!(told[&ticket(0)].1.is_ok() && told[&ticket(2)].1.is_ok());
    assert_eq!(soon(events.next()).await, Event::Released(ticket(1)));
    assert_eq!((peer.outstanding(), node.held()), (0, 0));
}

#[tokio::test]
async fn a_dropped_batch_is_cancelled() {
    let (_site, peer, mut events, node, jobs_in) = pair(Config::default(), 4).await;
    drop(peer.hand_out_batch(jobs(0..3)));
    let mut released = Vec::new();
    while released.len() < 3 {
        match soon(events.next()).await {
            Event::Released(ticket) => released.push(ticket),
            other => panic!("{other:?}"),
        }
    }
    released.sort_unstable();
    assert_eq!(released, [ticket(0), ticket(1), ticket(2)]);
    assert_eq!((peer.outstanding(), node.held()), (0, 0));
    drop(jobs_in);
}

#[tokio::test]
async fn one_that_cannot_be_sent_fails_alone() {
    let mut config = Config::default();
    config.limits.body = 100;
    let (_site, peer, _events, _node, jobs_in) = pair(config, 8).await;
    tokio::spawn(echo(jobs_in));
    let mut sent = jobs(0..3);
    sent[1].1 = message("long", 101);
    sent.push((job(2), message("again", 0)));
    let told = {
        let mut batch = peer.hand_out_batch(sent);
        let mut told = Vec::new();
        while let Some(outcomes) = soon(batch.next()).await {
            told.extend(outcomes);
        }
        told
    };
    let of = |n: u64| told.iter().filter(move |(t, _)| *t == ticket(n)).map(|(_, result)| result);
    assert!(matches!(of(1).next(), Some(Err(HandOutError::Message(_)))));
    assert!(of(0).all(Result::is_ok) && of(0).count() == 1);
    let twice: Vec<_> = of(2).collect();
    assert_eq!(twice.iter().filter(|result| ***result == Err(HandOutError::Duplicate)).count(), 1);
    assert_eq!(twice.iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(peer.outstanding(), 0);
}

#[tokio::test]
async fn jobs_that_nobody_answers_fail_and_a_closed_connection_ends_all() {
    let (_site, peer, mut events, node, mut jobs_in) = pair(Config::default(), 4).await;
    let batch = tokio::spawn(all(peer.hand_out_batch(jobs(0..2))));
    let mut came = 0;
    while came < 2 {
        // Dropped unanswered.
        came += some_jobs(&mut jobs_in).await.len();
    }
    for (_, result) in soon(batch).await.unwrap().into_values() {
        assert!(matches!(result.unwrap().result, Err(Unprocessed::Failed(_))));
    }
    let batch = tokio::spawn(all(peer.hand_out_batch(jobs(2..4))));
    let held = some_jobs(&mut jobs_in).await;
    peer.close("enough");
    let told = soon(batch).await.unwrap();
    assert!(told.into_values().all(|(_, result)| result == Err(HandOutError::LaneClosed)));
    assert!(matches!(soon(events.next()).await, Event::Closed(_)));
    drop((held, node));
}
