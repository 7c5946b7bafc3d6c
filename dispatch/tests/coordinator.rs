//! A coordinator of one's own that works itself: word count on threads beside whatever workers come, pushed by
//! a client.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use framelane_dispatch::kit::threads;
use framelane_dispatch::tasks::{Config, Server};
use queue::{Key, TaskName};
use tokio_util::sync::CancellationToken;
use wire::client::{Answers, Ask, Client, operate};
use wire::identity::{Authority, Role};
use wire::{BoxError, Cbor, Processor, Task, Unprocessed};

const WITHIN: Duration = Duration::from_secs(30);

struct WordCount;

impl Task for WordCount {
    const NAME: &'static str = "word-count";
    type Job = Cbor<String>;
    type Answer = Cbor<BTreeMap<String, u64>>;
}

impl Processor for WordCount {
    type Task = Self;

    fn process(&mut self, Cbor(line): Cbor<String>) -> Result<Cbor<BTreeMap<String, u64>>, Unprocessed> {
        let mut counts = BTreeMap::new();
        for word in line.split_whitespace() {
            *counts.entry(word.to_owned()).or_default() += 1;
        }
        Ok(Cbor(counts))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_of_ones_own_counts_words_on_its_threads() {
    let folder = tempfile::tempdir().expect("a folder");
    let authority = Authority::load_or_create(folder.path()).expect("an authority");
    let any = "127.0.0.1:0".parse().expect("an address");
    let server = Server::bind(authority.clone(), Config::new(any)).expect("a free port");
    let (address, stop) = (server.local_addr().to_string(), CancellationToken::new());

    // Two threads of this process, in the same pool as workers from elsewhere.
    let key = Key::task(TaskName::new(WordCount::NAME).expect("a name"));
    let processors = [(key, wire::factory(|| Ok::<_, BoxError>(WordCount)))].into();
    let at_hand = NonZeroU32::new(32).expect("32 is not 0");
    let server = server.threads(threads(2, at_hand, processors).expect("2 is not 0"));
    let serving = tokio::spawn(server.run(stop.clone()));

    let identity = authority.own(Role::Client).expect("an identity");
    let config = wire::client::Config { reconnect: false, ..wire::client::Config::new("reader") };
    let (raw, answers) = wire::client::connect(&address, identity, config).await.expect("connected");
    let (client, mut answers) =
        (Client::<WordCount>::new(raw).expect("a name"), Answers::<WordCount>::new(answers));
    let pushing = client.clone();
    let push = async move {
        for n in 0..1000_u64 {
            pushing.push(n, Cbor(format!("the books of day {n} always balance"))).await.expect("taken");
        }
        pushing.raw().close().await;
    };
    let add_up = async {
        let mut sum = BTreeMap::<String, u64>::new();
        while let Some((_, counts)) = answers.next().await {
            for (word, count) in counts.expect("counted").0 {
                *sum.entry(word).or_default() += count;
            }
        }
        sum
    };
    let both = async { tokio::join!(push, add_up) };
    let ((), sum) = tokio::time::timeout(WITHIN, both).await.expect("all of it in time");
    assert_eq!((sum["balance"], sum["999"], sum.len()), (1000, 1, 1006));

    let operator = authority.own(Role::Operator).expect("an identity");
    let status = operate(&address, &operator, Ask::Status, WITHIN).await.expect("a status");
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    assert_eq!(status["workers"][0]["answered"], 1000);
    operate(&address, &operator, Ask::Stop, WITHIN).await.expect("it stops");
    tokio::time::timeout(WITHIN, serving)
        .await
        .expect("in time")
        .expect("no panic")
        .expect("its threads worked");
}
