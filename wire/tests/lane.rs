//! A server and a worker on loopback: jobs, cancels, credit, drain, and every way to end.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use std::time::Duration;

use framelane_wire::server::{Config, Event, HandOutError};
use framelane_wire::{Closed, Timings, Unprocessed, node};
use support::{echo, hello, job, key, message, next_job, one_job, pair, soon, ticket};

#[tokio::test]
async fn a_job_is_answered() {
    let (_site, peer, _events, node, mut jobs) = pair(Config::default(), 4).await;
    assert_eq!(peer.worker(), node.worker());
    assert_eq!(peer.hello(), &hello(4));
    let asked = message("hello", 1_200_000);
    let answer = tokio::spawn(peer.hand_out(job(1), asked.clone()));
    let node::Job { ticket: t, key: k, budget_left, message, reply } = one_job(&mut jobs).await;
    assert_eq!((t, k, &message), (ticket(1), key(), &asked));
    let left = budget_left.unwrap();
    assert!(left <= Duration::from_secs(1) && left > Duration::from_millis(1), "{left:?}");
    let timings = Timings { infer_us: 5, batch: 1, ..Timings::default() };
    reply.answer(Ok(message), timings).await.unwrap();
    let answer = soon(answer).await.unwrap().unwrap();
    assert_eq!((answer.result, answer.timings), (Ok(asked), timings));
    assert_eq!((peer.outstanding(), node.held()), (0, 0));
}

#[tokio::test]
async fn many_jobs_at_once_find_their_answers() {
    let (_site, peer, _events, _node, jobs) = pair(Config::default(), 100).await;
    tokio::spawn(echo(jobs));
    let asked: Vec<_> = (0..100)
        .map(|n| {
            let body = if n % 10 == 0 { 300_000 } else { n as usize };
            let asked = message(&n.to_string(), body);
            (asked.clone(), tokio::spawn(peer.hand_out(job(n), asked)))
        })
        .collect();
    for (asked, answer) in asked {
        assert_eq!(soon(answer).await.unwrap().unwrap().result, Ok(asked));
    }
    assert_eq!(peer.outstanding(), 0);
}

#[tokio::test]
async fn failures_arrive_as_they_were_given() {
    let (_site, peer, _events, _node, mut jobs) = pair(Config::default(), 4).await;
    for given in [Unprocessed::Bad("odd".into()), Unprocessed::Failed("é".repeat(5000))] {
        let answer = tokio::spawn(peer.hand_out(job(1), message("", 0)));
        let (.., reply) = next_job(&mut jobs).await;
        reply.send(Err(given.clone()), Timings::default());
        let answer = soon(answer).await.unwrap().unwrap();
        match (answer.result.unwrap_err(), given) {
            (Unprocessed::Failed(got), Unprocessed::Failed(_)) => assert_eq!(got, "é".repeat(512)),
            (got, given) => assert_eq!(got, given),
        }
    }
}

#[tokio::test]
async fn a_dropped_reply_is_a_failure() {
    let (_site, peer, _events, _node, mut jobs) = pair(Config::default(), 4).await;
    let answer = tokio::spawn(peer.hand_out(job(1), message("", 0)));
    drop(next_job(&mut jobs).await);
    let answer = soon(answer).await.unwrap().unwrap();
    assert!(matches!(answer.result, Err(Unprocessed::Failed(_))));
}

#[tokio::test]
async fn an_answer_that_is_too_long_is_bad() {
    let (_site, peer, _events, _node, mut jobs) = pair(Config::default(), 4).await;
    let answer = tokio::spawn(peer.hand_out(job(1), message("", 0)));
    let (.., reply) = next_job(&mut jobs).await;
    let too_long = framelane_wire::Message { head: vec![0; 70_000].into(), body: Default::default() };
    reply.send(Ok(too_long), Timings::default());
    let answer = soon(answer).await.unwrap().unwrap();
    assert!(matches!(answer.result, Err(Unprocessed::Bad(_))), "{answer:?}");
}

#[tokio::test]
async fn a_job_that_is_too_long_for_the_worker_is_bad() {
    let site = support::Site::new(Config::default());
    let identity = site.enrol().await;
    let addr = site.addr();
    let mut config = support::node_config();
    config.limits.body = 1000;
    let (accepted, connected) =
        tokio::join!(site.listener.accept(), node::connect(&addr, &identity, hello(1), config));
    let (peer, _events) = accepted.unwrap();
    let (_node, jobs) = connected.unwrap();
    tokio::spawn(echo(jobs));
    let answer = soon(peer.hand_out(job(1), message("", 5_000_000))).await.unwrap();
    assert!(matches!(answer.result, Err(Unprocessed::Bad(_))), "{answer:?}");
    assert!(soon(peer.hand_out(job(2), message("", 1000))).await.unwrap().result.is_ok());
}

#[tokio::test]
async fn a_job_that_is_too_long_for_the_server_is_not_sent() {
    let mut config = Config::default();
    config.limits.body = 1000;
    let (_site, peer, _events, _node, jobs) = pair(config, 4).await;
    tokio::spawn(echo(jobs));
    let refused = soon(peer.hand_out(job(1), message("", 1001))).await;
    assert!(matches!(refused, Err(HandOutError::Message(_))));
    assert_eq!(peer.outstanding(), 0);
    assert!(soon(peer.hand_out(job(1), message("", 1000))).await.is_ok());
}

#[tokio::test]
async fn a_cancelled_job_is_released_when_the_worker_lets_go() {
    let (_site, peer, mut events, node, mut jobs) = pair(Config::default(), 4).await;
    let answer = tokio::spawn(peer.hand_out(job(1), message("", 100_000)));
    let (.., reply) = next_job(&mut jobs).await;
    peer.cancel(ticket(1));
    peer.cancel(ticket(1));
    assert_eq!(soon(answer).await.unwrap(), Err(HandOutError::Cancelled));
    assert!(matches!(soon(jobs.next()).await, node::Event::Cancel(t) if t == ticket(1)));
    assert_eq!((peer.outstanding(), node.held()), (1, 1), "it is still worked on");
    let late = reply.answer(Ok(message("", 0)), Timings::default()).await;
    assert_eq!(late, Err(node::ReplyError::Unwanted));
    assert_eq!(soon(events.next()).await, Event::Released(ticket(1)));
    assert_eq!((peer.outstanding(), node.held()), (0, 0));
    // Exactly once: the next event is another one.
    node.credit(9);
    assert_eq!(soon(events.next()).await, Event::Credit(9));
}

#[tokio::test]
async fn a_worker_can_let_go_before_it_drops_the_reply() {
    let (_site, peer, mut events, node, mut jobs) = pair(Config::default(), 4).await;
    let _answer = tokio::spawn(peer.hand_out(job(1), message("", 0)));
    let (.., reply) = next_job(&mut jobs).await;
    node.released(ticket(1)); // Nobody asked: nothing happens.
    peer.cancel(ticket(1));
    assert!(matches!(soon(jobs.next()).await, node::Event::Cancel(_)));
    node.released(ticket(1));
    assert_eq!(soon(events.next()).await, Event::Released(ticket(1)));
    drop(reply);
    node.drain();
    assert_eq!(soon(events.next()).await, Event::Drain);
}

#[tokio::test]
async fn a_hand_out_cancelled_before_it_was_sent_is_released_too() {
    let (_site, peer, mut events, _node, _jobs) = pair(Config::default(), 4).await;
    let never_polled = peer.hand_out(job(1), message("", 0));
    peer.cancel(ticket(1));
    assert_eq!(soon(never_polled).await, Err(HandOutError::Cancelled));
    assert_eq!(soon(events.next()).await, Event::Released(ticket(1)));
    drop(peer.hand_out(job(2), message("", 0)));
    assert_eq!(soon(events.next()).await, Event::Released(ticket(2)));
}

#[tokio::test]
async fn cancels_at_any_moment_are_each_released_once() {
    let (_site, peer, mut events, node, jobs) = pair(Config::default(), 50).await;
    tokio::spawn(echo(jobs));
    let mut released = 0;
    for round in 0..10u64 {
        let pending: Vec<_> = (0..40)
            .map(|n| {
                let body = [0, 100, 5_000, 400_000][n as usize % 4];
                tokio::spawn(peer.hand_out(job(round * 100 + n), message("", body)))
            })
            .collect();
        // Let some be on their way, in flight or answered.
        for _ in 0..round * 4 {
            tokio::task::yield_now().await;
        }
        for n in 0..40 {
            peer.cancel(ticket(round * 100 + n));
        }
        for answer in pending {
            match soon(answer).await.unwrap() {
                Ok(answer) => assert!(answer.result.is_ok()),
                Err(HandOutError::Cancelled) => released += 1,
                Err(other) => panic!("{other}"),
            }
        }
        while peer.outstanding() > 0 {
            assert!(matches!(soon(events.next()).await, Event::Released(_)));
            released -= 1;
        }
    }
    // Those that came before the last look at the table are in the channel; then nothing is left.
    node.drain();
    loop {
        match soon(events.next()).await {
            Event::Released(_) => released -= 1,
            Event::Drain => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(released, 0);
    assert_eq!(node.held(), 0);
}

#[tokio::test]
async fn credit_is_absolute_and_capped() {
    let config = Config { max_credit: 8, ..Config::default() };
    let (_site, peer, mut events, node, _jobs) = pair(config, 1000).await;
    assert_eq!(peer.hello().credit, 8);
    assert_eq!(node.max_credit(), 8);
    node.credit(3);
    node.credit(500);
    node.credit(0);
    for n in [3, 8, 0] {
        assert_eq!(soon(events.next()).await, Event::Credit(n));
    }
}

#[tokio::test]
async fn outstanding_hand_outs_are_bounded() {
    let config = Config { max_credit: 2, ..Config::default() };
    let (_site, peer, _events, _node, _jobs) = pair(config, 2).await;
    let held: Vec<_> = (0..12).map(|n| peer.hand_out(job(n), message("", 0))).collect();
    let refused = soon(peer.hand_out(job(12), message("", 0))).await;
    assert_eq!(refused, Err(HandOutError::OverCredit));
    drop(held);
    let (_site, peer, _events, _node, _jobs) = pair(Config::default(), 2).await;
    let _held = peer.hand_out(job(1), message("", 0));
    let refused = soon(peer.hand_out(job(1), message("", 0))).await;
    assert_eq!(refused, Err(HandOutError::Duplicate));
}

#[tokio::test]
async fn keys_and_drain_are_told() {
    let (_site, peer, mut events, node, mut jobs) = pair(Config::default(), 4).await;
    let keys = vec![node::HelloKey { key: key(), warm: false }];
    node.keys(keys.clone());
    node.drain();
    assert_eq!(soon(events.next()).await, Event::Keys(keys));
    assert_eq!(soon(events.next()).await, Event::Drain);
    peer.drain();
    assert!(matches!(soon(jobs.next()).await, node::Event::Drain));
}

#[tokio::test]
async fn a_worker_that_leaves_delivers_its_answers_first() {
    let (_site, peer, mut events, node, mut jobs) = pair(Config::default(), 4).await;
    let answer = tokio::spawn(peer.hand_out(job(1), message("", 0)));
    let (.., reply) = next_job(&mut jobs).await;
    reply.send(Ok(message("last", 1_000_000)), Timings::default());
    soon(node.close("stopped by its operator")).await;
    assert!(soon(answer).await.unwrap().unwrap().result.is_ok());
    let closed = Event::Closed(Closed::There("stopped by its operator".into()));
    assert_eq!(soon(events.next()).await, closed);
    assert_eq!(soon(events.next()).await, closed, "and again");
    assert!(matches!(soon(jobs.next()).await, node::Event::Closed(Closed::Here(_))));
    let late = soon(peer.hand_out(job(2), message("", 0))).await;
    assert_eq!(late, Err(HandOutError::LaneClosed));
}

#[tokio::test]
async fn a_closed_connection_ends_every_hand_out() {
    let (_site, peer, mut events, _node, mut jobs) = pair(Config::default(), 4).await;
    let pending: Vec<_> = (0..4).map(|n| tokio::spawn(peer.hand_out(job(n), message("", 10)))).collect();
    let (.., reply) = next_job(&mut jobs).await;
    peer.close("enough");
    for answer in pending {
        assert_eq!(soon(answer).await.unwrap(), Err(HandOutError::LaneClosed));
    }
    assert_eq!(soon(events.next()).await, Event::Closed(Closed::Here("enough".into())));
    let closed = loop {
        if let node::Event::Closed(closed) = soon(jobs.next()).await {
            break closed;
        }
    };
    assert_eq!(closed, Closed::There("enough".into()));
    let late = reply.answer(Ok(message("", 0)), Timings::default()).await;
    assert_eq!(late, Err(node::ReplyError::Unwanted));
}

#[tokio::test]
async fn a_stopped_server_says_so() {
    let (site, peer, mut events, _node, mut jobs) = pair(Config::default(), 4).await;
    let pending = tokio::spawn(peer.hand_out(job(1), message("", 10)));
    let _held = next_job(&mut jobs).await;
    soon(site.listener.close()).await;
    assert!(soon(site.listener.accept()).await.is_none());
    assert_eq!(soon(pending).await.unwrap(), Err(HandOutError::LaneClosed));
    assert!(matches!(soon(events.next()).await, Event::Closed(Closed::Here(_))));
    let node::Event::Closed(closed) = soon(jobs.next()).await else { panic!("not closed") };
    assert_eq!(closed, Closed::There("the server stops".into()));
}

#[tokio::test]
async fn heartbeats_keep_an_idle_connection() {
    let config = Config {
        heartbeat: Duration::from_millis(50),
        dead_after: Duration::from_millis(500),
        ..Config::default()
    };
    let (_site, _peer, mut events, _node, mut jobs) = pair(config, 4).await;
    // Both ends would give the other up after 500 ms of silence.
    let quiet = tokio::time::timeout(Duration::from_millis(1200), async {
        tokio::select! {
            event = events.next() => panic!("{event:?}"),
            event = jobs.next() => panic!("{event:?}"),
        }
    });
    assert!(quiet.await.is_err());
}

#[tokio::test]
async fn a_worker_keeps_its_id_over_connections() {
    let site = support::Site::new(Config::default());
    let identity = site.enrol().await;
    let path = site.dir.path().join("worker/identity.pem");
    identity.save(&path).unwrap();
    let (first, _, node, _) = site.join(&identity, hello(1)).await;
    soon(node.close("again")).await;
    let again = framelane_wire::identity::Identity::load(&path).unwrap();
    let (second, ..) = site.join(&again, hello(1)).await;
    assert_eq!(first.worker(), second.worker());
    assert_eq!(first.worker(), identity.worker());
    assert_ne!(site.enrol().await.worker(), identity.worker());
}
