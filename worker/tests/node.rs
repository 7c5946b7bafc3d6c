//! A host behind a real connection: jobs, cancels, panics, several threads.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking, as the test does")]

mod support;

use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::time::Duration;

use framelane_worker::identity::Seat;
use framelane_worker::{Cbor, Host, Key, Processor, Registry, Task, TaskName, Unprocessed, host, node};
use queue::{FlowId, Seq, Ticket};
use support::{Server, WITHIN};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use wire::server::{Answer, Event, Events, HandOut, HandOutError, Peer};

/// What is asked of [`Puppet`].
struct Play;

impl Task for Play {
    const NAME: &'static str = "play";
    type Job = Cbor<String>;
    type Answer = Cbor<String>;
}

/// Does what the job says: shouts, panics, fails, or waits for the test.
struct Puppet {
    gate: Arc<std::sync::Mutex<std_mpsc::Receiver<()>>>,
    begun: std_mpsc::Sender<()>,
}

impl Processor for Puppet {
    type Task = Play;

    fn process(&mut self, Cbor(what): Cbor<String>) -> Result<Cbor<String>, Unprocessed> {
        match what.as_str() {
            "panic" => panic!("as asked"),
            "bad" => Err(Unprocessed::Bad("as asked".into())),
            "fail" => Err(Unprocessed::Failed("as asked".into())),
            "wait" => {
                let _ = self.begun.send(());
                let gate = self.gate.lock().unwrap();
                let _ = gate.recv_timeout(Duration::from_secs(30));
                Ok(Cbor("waited".into()))
            }
            other => Ok(Cbor(other.to_uppercase())),
        }
    }
}

struct Stage {
    server: Server,
    peer: Peer,
    events: Events,
    gate: std_mpsc::Sender<()>,
    begun: std_mpsc::Receiver<()>,
    stop: CancellationToken,
    running: JoinHandle<Result<(), node::RunError>>,
    _state: tempfile::TempDir,
}

fn key() -> Key {
    Key::task(TaskName::new(Play::NAME).unwrap())
}

fn ticket(number: u64) -> Ticket {
    Ticket { flow: FlowId(1), seq: Seq(number), part: 0, attempt: 1 }
}

async fn stage(threads: usize) -> Stage {
    let threads = threads.try_into().unwrap();
    stage_with(host::Config { threads, ..host::Config::default() }).await
}

async fn stage_with(config: host::Config) -> Stage {
    let server = Server::start();
    let address = server.listener.local_addr().to_string();
    let (gate, gated) = std_mpsc::channel();
    let (begin, begun) = std_mpsc::channel();
    let gated = Arc::new(std::sync::Mutex::new(gated));
    let mut registry = Registry::new();
    let make = move || Ok::<_, wire::BoxError>(Puppet { gate: gated.clone(), begun: begin.clone() });
    registry.serve(key(), make).unwrap();
    let host = Arc::new(Host::start(&registry, config).unwrap());
    let stop = CancellationToken::new();
    let state = tempfile::tempdir().unwrap();
    let seat = Seat::new(&address, "puppet", state.path());
    let token = server.token().parse().unwrap();
    let papers = seat.take(Some(token), &stop).await.unwrap();
    let running = tokio::spawn({
        let stop = stop.clone();
        async move { node::run(&node::Config::new(address, "puppet"), &papers, host, stop).await }
    });
    let (peer, events) = server.peer().await;
    Stage { server, peer, events, gate, begun, stop, running, _state: state }
}

impl Stage {
    fn ask(&self, number: u64, what: &str) -> impl Future<Output = Result<Answer, HandOutError>> + use<> {
        let message = wire::encode(Cbor(what.to_owned())).unwrap();
        let asked =
            self.peer.hand_out(HandOut { ticket: ticket(number), key: key(), budget_left: None }, message);
        async move { timeout(WITHIN, asked).await.expect("an answer in time") }
    }

    async fn answer(&self, number: u64, what: &str) -> Result<String, Unprocessed> {
        let answer = self.ask(number, what).await.expect("an answer");
        answer.result.map(|message| wire::decode::<Cbor<String>>(message).unwrap().0)
    }

    async fn event(&mut self) -> Event {
        timeout(WITHIN, self.events.next()).await.expect("an event in time")
    }

    async fn end(self) {
        self.stop.cancel();
        timeout(WITHIN, self.running).await.expect("ended in time").unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_answered_each_with_its_own() {
    let stage = stage(2).await;
    let asked: Vec<_> =
        (0..3).map(|number| tokio::spawn(stage.ask(number, &format!("job {number}")))).collect();
    for (number, asked) in asked.into_iter().enumerate() {
        let message = asked.await.unwrap().expect("answered").result.unwrap();
        assert_eq!(wire::decode::<Cbor<String>>(message).unwrap().0, format!("JOB {number}"));
    }
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_polls_practises_beside_its_jobs_and_another_does_not_offer_to() {
    let sleeps = stage(1).await;
    assert!(!sleeps.peer.can_practise());
    sleeps.end().await;

    let stage = stage_with(host::Config { busy_poll: Duration::from_millis(1), ..Default::default() }).await;
    assert!(stage.peer.can_practise());
    assert!(stage.peer.hello().capabilities.is_empty(), "it is no ability that a Prepare has to know of");
    for number in 0..3 {
        timeout(WITHIN, stage.peer.practise()).await.expect("done in time");
        assert_eq!(stage.answer(number, "on time").await.unwrap(), "ON TIME");
    }
    // One that is not done yet is nothing that a worker has to finish.
    let waits = tokio::spawn(stage.ask(9, "wait"));
    tokio::task::block_in_place(|| stage.begun.recv_timeout(WITHIN)).unwrap();
    let Stage { peer, gate, stop, running, server, .. } = stage;
    let peer = Arc::new(peer);
    let practising = tokio::spawn({
        let peer = Arc::clone(&peer);
        async move { peer.practise().await }
    });
    stop.cancel();
    gate.send(()).unwrap();
    waits.await.unwrap().expect("answered").result.unwrap();
    peer.close("drained");
    timeout(WITHIN, running).await.expect("ended in time").unwrap().unwrap();
    timeout(WITHIN, practising).await.expect("ended with the connection").unwrap();
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_with_a_job_is_told_and_harms_no_other() {
    let stage = stage(1).await;
    assert!(matches!(stage.answer(1, "bad").await, Err(Unprocessed::Bad(_))));
    assert!(matches!(stage.answer(2, "fail").await, Err(Unprocessed::Failed(_))));
    let panicked = stage.answer(3, "panic").await;
    assert!(matches!(&panicked, Err(Unprocessed::Failed(text)) if text.contains("panicked")), "{panicked:?}");
    assert_eq!(stage.answer(4, "still here").await.unwrap(), "STILL HERE");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_job_is_let_go_at_once_and_a_running_one_when_it_is_done() {
    let mut stage = stage(1).await;
    let running = tokio::spawn(stage.ask(1, "wait"));
    stage.begun.recv_timeout(WITHIN).expect("the job begins");
    let waiting = tokio::spawn(stage.ask(2, "never"));
    stage.peer.cancel(ticket(1));
    stage.peer.cancel(ticket(2));
    assert_eq!(waiting.await.unwrap(), Err(HandOutError::Cancelled));
    assert_eq!(running.await.unwrap(), Err(HandOutError::Cancelled));
    assert_eq!(stage.event().await, Event::Released(ticket(2)));
    stage.gate.send(()).unwrap();
    assert_eq!(stage.event().await, Event::Released(ticket(1)));
    assert_eq!(stage.answer(3, "next").await.unwrap(), "NEXT");
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_finishes_what_is_in_hand() {
    let mut stage = stage(1).await;
    let running = tokio::spawn(stage.ask(1, "wait"));
    stage.begun.recv_timeout(WITHIN).expect("the job begins");
    stage.stop.cancel();
    assert_eq!(stage.event().await, Event::Drain);
    stage.gate.send(()).unwrap();
    assert!(running.await.unwrap().expect("answered").result.is_ok());
    assert!(matches!(stage.event().await, Event::Closed(_)));
    stage.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_an_operator_drains_finishes_and_stays_away() {
    let mut stage = stage(1).await;
    let running = tokio::spawn(stage.ask(1, "wait"));
    stage.begun.recv_timeout(WITHIN).expect("the job begins");
    stage.server.authority.drain(stage.peer.worker()).unwrap().expect("it is known");
    assert_eq!(stage.event().await, Event::Drain, "its answer to the server's word");
    stage.gate.send(()).unwrap();
    assert!(running.await.unwrap().expect("answered").result.is_ok());
    // As the queue does with a lane that is drained.
    stage.peer.close("drained");
    timeout(WITHIN, stage.running).await.expect("ended in time").unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_comes_back_after_a_server_that_stops_has_drained_it() {
    let mut stage = stage(1).await;
    let running = tokio::spawn(stage.ask(1, "wait"));
    stage.begun.recv_timeout(WITHIN).expect("the job begins");
    let worker = stage.peer.worker();
    let drained = stage.server.listener.drain(WITHIN);
    let finish = async {
        assert_eq!(timeout(WITHIN, stage.events.next()).await.unwrap(), Event::Drain);
        stage.gate.send(()).unwrap();
        assert!(running.await.unwrap().expect("answered").result.is_ok());
        stage.peer.close("drained");
    };
    tokio::join!(drained, finish);
    drop((stage.peer, stage.events));
    let server = stage.server.restart().await;
    let (peer, _events) = server.peer().await;
    assert_eq!(peer.worker(), worker);
    stage.stop.cancel();
    timeout(WITHIN, stage.running).await.expect("ended in time").unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_load_delays_neither_the_join_nor_the_jobs_of_what_is_ready() {
    let server = Server::start();
    let address = server.listener.local_addr().to_string();
    let (load, loads) = std_mpsc::channel::<()>();
    let loads = Arc::new(std::sync::Mutex::new(loads));
    let puppet = || {
        let gate = Arc::new(std::sync::Mutex::new(std_mpsc::channel().1));
        Puppet { gate, begun: std_mpsc::channel().0 }
    };
    let mut registry = Registry::new();
    let slow = Key::model(TaskName::new(Play::NAME).unwrap(), queue::ModelHash([9; 32]));
    registry.serve(key(), move || Ok::<_, wire::BoxError>(puppet())).unwrap();
    let make = move || match loads.lock().unwrap().recv_timeout(WITHIN) {
        Ok(()) => Ok::<_, wire::BoxError>(puppet()),
        Err(error) => Err(error.into()),
    };
    registry.serve(slow.clone(), make).unwrap();
    // Two threads: one gets no further than the slow load, so does the other.
    let config = host::Config { threads: 2.try_into().unwrap(), ..host::Config::default() };
    let host = Arc::new(Host::open(&registry, config).unwrap());
    let (stop, state) = (CancellationToken::new(), tempfile::tempdir().unwrap());
    let seat = Seat::new(&address, "slow", state.path());
    let papers = seat.take(Some(server.token().parse().unwrap()), &stop).await.unwrap();
    let running = tokio::spawn({
        let stop = stop.clone();
        async move { node::run(&node::Config::new(address, "slow"), &papers, host, stop).await }
    });
    let (peer, mut events) = server.peer().await;
    let said = peer.hello().keys.iter().find(|said| said.key == slow);
    assert!(said.is_some_and(|said| !said.warm), "it joins cold");
    let ask = |number, key: &Key| {
        let message = wire::encode(Cbor("hello".to_owned())).unwrap();
        let job = HandOut { ticket: ticket(number), key: key.clone(), budget_left: None };
        timeout(WITHIN, peer.hand_out(job, message))
    };
    let cold = tokio::spawn(ask(1, &slow));
    assert!(!cold.is_finished());
    for _ in 0..2 {
        load.send(()).unwrap();
    }
    assert!(cold.await.unwrap().expect("in time").expect("answered").result.is_ok());
    assert!(ask(2, &key()).await.expect("in time").expect("answered").result.is_ok());
    let mut keys = peer.hello().keys.clone();
    while !keys.iter().all(|key| key.warm) {
        match timeout(WITHIN, events.next()).await.expect("it says so in time") {
            Event::Keys(now) => keys = now,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(keys.len(), 2);
    stop.cancel();
    timeout(WITHIN, running).await.expect("ended in time").unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_renews_its_certificate_by_itself_and_keeps_its_id() {
    // Certificates of some seconds: a third of the time is left after one.
    let server = Server::start_with(|authority| authority.certificate_lifetime(Duration::from_secs(4)));
    let address = server.listener.local_addr().to_string();
    let (stop, state) = (CancellationToken::new(), tempfile::tempdir().unwrap());
    let seat = Seat::new(&address, "w", state.path());
    let papers = Arc::new(seat.take(Some(server.token().parse().unwrap()), &stop).await.unwrap());
    let (first, mut changes) = (papers.identity(), papers.watch());
    let host = Arc::new(Host::open(&Registry::new(), host::Config::default()).unwrap());
    let running = tokio::spawn({
        let (stop, papers) = (stop.clone(), papers.clone());
        async move { node::run(&node::Config::new(address, "w"), &papers, host, stop).await }
    });
    let (peer, _events) = server.peer().await;
    timeout(WITHIN, changes.changed()).await.expect("renewed in time").unwrap();
    let second = papers.identity();
    assert!(second.expires() > first.expires());
    assert_eq!((second.worker(), second.worker()), (first.worker(), peer.worker()));
    let kept = framelane_worker::identity::Identity::load(seat.path()).unwrap();
    assert_eq!(kept.expires(), second.expires(), "on disk too");
    stop.cancel();
    timeout(WITHIN, running).await.expect("ended in time").unwrap().unwrap();
}
