//! Three servers and four workers, each a process, with nothing between them but a broker. One of each is killed.

use std::collections::BTreeMap;

use framelane_bench::brokers::{Broker, MORTAL};
use framelane_bench::child::Child;
use framelane_bench::coordinator::{Kind, Said};
use framelane_bench::tally::Tally;
use framelane_bench::work::Work;
use nix::sys::signal::Signal;
use queue::Books;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::until;

/// All that one server said.
#[derive(Default)]
struct Told {
    tallies: BTreeMap<Kind, Tally>,
    closed: BTreeMap<Kind, (u64, Box<Books>)>,
}

/// A server, heard by a task of its own.
struct Server {
    child: Child,
    hearing: JoinHandle<Told>,
    /// Lossless places that left.
    taken: watch::Receiver<u64>,
}

impl Server {
    fn start(broker: &Broker, state: &std::path::Path) -> Server {
        let (state, url) = (state.to_str().expect("plain letters"), broker.address());
        let args = ["coordinator", "--state", state, "--broker", &url, "--rate", "80", "--body", "500"];
        let args = args.into_iter().chain(["--budget-ms", "1000"]);
        let mut child = Child::start_by(&MORTAL, "framelane-bench", args, "error").expect("it starts");
        let mut lines = child.lines().expect("its output");
        let (tell, taken) = watch::channel(0);
        let hearing = tokio::spawn(async move {
            let mut told = Told::default();
            while let Ok(Some(line)) = lines.next_line().await {
                match serde_json::from_str(&line) {
                    Ok(Said::Taken { flow, seen }) => {
                        told.tallies.entry(flow).or_default().see(&seen);
                        if flow == Kind::Lossless {
                            tell.send_modify(|taken| *taken += 1);
                        }
                    }
                    Ok(Said::Books { books, .. }) => books.balances().expect("the books balance, always"),
                    Ok(Said::Closed { flow, admitted, books }) => {
                        told.closed.insert(flow, (admitted, books));
                    }
                    Ok(_) => {}
                    // The last line of one that is killed may be cut off.
                    Err(_) => break,
                }
            }
            told
        });
        Server { child, hearing, taken }
    }

    /// Waits until so many more places have left.
    async fn goes_on(&mut self, more: u64) {
        let at = *self.taken.borrow() + more;
        self.taken.wait_for(|taken| *taken >= at).await.expect("it lives");
    }
}

fn worker(broker: &Broker, name: &'static str) -> Child {
    let url = broker.address();
    let args = ["worker", "--broker", &url, "--name", name, "--service-ms", "2", "--credit", "8"];
    Child::start_by(&MORTAL, "framelane-bench", args, "error").expect("it starts")
}

pub(crate) async fn three_servers_share_four_workers_and_one_of_each_is_killed(broker: &mut Broker) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut workers = ["w0", "w1", "w2", "w3"].map(|name| worker(broker, name));
    let mut servers = ["s0", "s1", "s2"].map(|name| Server::start(broker, &folder.path().join(name)));
    for server in &mut servers {
        server.goes_on(80).await;
    }
    workers[0].signal(Signal::SIGKILL).expect("it is killed");
    workers[0].ended().await.expect("it is gone");
    for server in &mut servers {
        server.goes_on(80).await;
    }
    let [mut killed, mut left @ ..] = servers;
    killed.child.signal(Signal::SIGKILL).expect("it is killed");
    killed.child.ended().await.expect("it is gone");
    for server in &mut left {
        server.goes_on(160).await;
    }

    // What left the killed one left in order, and once, up to its end.
    let told = killed.hearing.await.expect("its books balanced");
    for tally in told.tallies.values() {
        assert_eq!((tally.out_of_order, tally.duplicates, tally.wrong), (0, 0, 0));
    }
    for Server { child, hearing, .. } in left {
        assert!(child.end().await.expect("it ends").success());
        judge(&hearing.await.expect("its books balanced"));
    }
    // Nothing of the dead is left behind, in the broker or in a worker's hands.
    until(async || {
        let left = broker.jobs(&Work::key()).await.expect("it counts");
        (left > 0).then(|| format!("{left} jobs are left"))
    })
    .await;
    for worker in workers.into_iter().skip(1) {
        assert!(worker.end().await.expect("it ends").success());
    }
}

fn judge(told: &Told) {
    for (flow, (admitted, books)) in &told.closed {
        let tally = &told.tallies[flow];
        assert_eq!(tally.lost(*admitted), 0, "{flow:?} lost {:?}", tally.lost_names());
        assert_eq!((tally.out_of_order, tally.duplicates, tally.wrong), (0, 0, 0), "{flow:?}");
        books.balances().unwrap_or_else(|error| panic!("{flow:?}: {error}"));
        tally.agrees(books).unwrap_or_else(|error| panic!("{flow:?}: {error}"));
        match flow {
            Kind::Lossless => assert_eq!(tally.answered, *admitted, "missing: {:?}", tally.missing),
            // How many are in time depends on how busy the machine is.
            Kind::Budgeted => assert!(tally.answered > 0, "missing: {:?}", tally.missing),
        }
    }
    assert_eq!(told.closed.len(), 2, "both flows ended");
}
