//! A worker that is not heard: told in time, and told when it is heard again. Behind a relay that can be
//! mute, and lose and delay what it carries.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use framelane_wire::server::{Config, Event, Events, HandOutError, Peer};
use framelane_wire::{Closed, Timings, node};
use support::{LOOPBACK, Site, echo, hello, job, message, next_job, node_config, soon};
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until};

/// What the network between does.
#[derive(Clone, Default)]
struct Relay {
    mute: Arc<AtomicBool>,
    carried: Arc<AtomicU64>,
    delay: Duration,
    /// One packet of so many is lost; none where it is 0.
    loses: u64,
}

impl Relay {
    /// Where workers find it.
    async fn before(&self, server: SocketAddr) -> SocketAddr {
        let outer = Arc::new(UdpSocket::bind(LOOPBACK).await.unwrap());
        let addr = outer.local_addr().unwrap();
        let relay = self.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 2048];
            let (n, worker) = outer.recv_from(&mut buffer).await.unwrap();
            let inner = Arc::new(UdpSocket::bind(LOOPBACK).await.unwrap());
            inner.send_to(&buffer[..n], server).await.unwrap();
            let there = relay.carry(outer.clone(), inner.clone(), server);
            let back = relay.carry(inner, outer, worker);
            tokio::join!(there, back);
        });
        addr
    }

    /// One direction.
    async fn carry(&self, from: Arc<UdpSocket>, to: Arc<UdpSocket>, addr: SocketAddr) {
        let mut under_way: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
        let mut buffer = [0; 2048];
        loop {
            let next = under_way.front().map(|(at, _)| *at);
            let due = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                received = from.recv_from(&mut buffer) => {
                    let Ok((n, _)) = received else { continue };
                    let number = self.carried.fetch_add(1, Ordering::Relaxed) + 1;
                    let lost = self.loses > 0 && number.is_multiple_of(self.loses);
                    if !lost && !self.mute.load(Ordering::Relaxed) {
                        under_way.push_back((Instant::now() + self.delay, buffer[..n].to_vec()));
                    }
                }
                () = due => {
                    if let Some((_, packet)) = under_way.pop_front() {
                        let _ = to.send_to(&packet, addr).await;
                    }
                }
            }
        }
    }

    fn mute(&self, mute: bool) {
        self.mute.store(mute, Ordering::Relaxed);
    }
}

async fn behind(relay: &Relay, config: Config) -> (Site, Peer, Events, node::Node, node::Jobs) {
    let site = Site::new(config);
    let identity = site.enrol().await;
    let addr = relay.before(site.listener.local_addr()).await.to_string();
    let (server, worker) = soon(async {
        tokio::join!(site.listener.accept(), node::connect(&addr, &identity, hello(20), node_config()))
    })
    .await;
    let ((peer, events), (node, jobs)) = (server.unwrap(), worker.unwrap());
    (site, peer, events, node, jobs)
}

#[tokio::test]
async fn a_worker_that_pauses_is_told_of_twice_and_its_answer_still_comes() {
    let relay = Relay::default();
    let (_site, peer, mut events, _node, mut jobs) = behind(&relay, Config::default()).await;
    let answer = tokio::spawn(peer.hand_out(job(1), message("", 10)));
    let (_, asked, reply) = next_job(&mut jobs).await;
    for _ in 0..2 {
        relay.mute(true);
        assert_eq!(soon(events.next()).await, Event::Silent);
        relay.mute(false);
        assert_eq!(soon(events.next()).await, Event::Heard);
    }
    reply.answer(Ok(asked.clone()), Timings::default()).await.unwrap();
    assert_eq!(soon(answer).await.unwrap().unwrap().result, Ok(asked));
}

#[tokio::test]
async fn a_worker_that_stays_silent_is_told_of_before_it_is_given_up() {
    let relay = Relay::default();
    let (_site, peer, mut events, _node, mut jobs) = behind(&relay, Config::default()).await;
    let answer = tokio::spawn(peer.hand_out(job(1), message("", 10)));
    let _held = next_job(&mut jobs).await;
    relay.mute(true);
    assert_eq!(soon(events.next()).await, Event::Silent);
    assert!(!answer.is_finished(), "it may still be answered");
    assert_eq!(soon(events.next()).await, Event::Closed(Closed::Silent));
    assert_eq!(soon(answer).await.unwrap(), Err(HandOutError::LaneClosed));
}

#[tokio::test]
async fn a_worker_in_use_is_known_to_be_silent_before_it_gets_its_next_job() {
    let relay = Relay::default();
    let (_site, peer, mut events, _node, jobs) = behind(&relay, Config::default()).await;
    tokio::spawn(echo(jobs));
    assert!(soon(peer.hand_out(job(1), message("", 10))).await.is_ok());
    assert_eq!(peer.outstanding(), 0);
    relay.mute(true);
    assert_eq!(soon(events.next()).await, Event::Silent);
}

#[tokio::test]
async fn a_spare_worker_is_known_to_be_silent_before_it_gets_its_first_job() {
    let relay = Relay::default();
    let (_site, peer, mut events, _node, _jobs) = behind(&relay, Config::default()).await;
    relay.mute(true);
    assert_eq!(soon(events.next()).await, Event::Silent);
    relay.mute(false);
    assert_eq!(soon(events.next()).await, Event::Heard);
    assert_eq!(peer.outstanding(), 0);
}

#[tokio::test]
async fn loss_and_delay_cost_no_connection() {
    let relay = Relay { delay: Duration::from_millis(100), loses: 20, ..Relay::default() };
    // Heartbeats alone would be too few to tell a slow worker from a dead one.
    let config = Config { dead_after: Duration::from_millis(2_500), ..Config::default() };
    let (_site, peer, mut events, _node, mut jobs) = behind(&relay, config).await;
    // Each is held for longer than a silence may be.
    tokio::spawn(async move {
        while let node::Event::Jobs(all) = jobs.next().await {
            tokio::time::sleep(Duration::from_millis(500)).await;
            for node::Job { message, reply, .. } in all {
                reply.send(Ok(message), Timings::default());
            }
        }
    });
    for round in 0..3 {
        let answers: Vec<_> =
            (0..10).map(|n| tokio::spawn(peer.hand_out(job(100 * round + n), message("", 3_000)))).collect();
        for answer in answers {
            assert!(soon(answer).await.unwrap().unwrap().result.is_ok());
        }
    }
    peer.close("enough");
    loop {
        match soon(events.next()).await {
            // Unlikely, and no harm.
            Event::Silent | Event::Heard => {}
            event => break assert_eq!(event, Event::Closed(Closed::Here("enough".into()))),
        }
    }
    assert!(relay.carried.load(Ordering::Relaxed) > 60, "there was something to lose");
}
