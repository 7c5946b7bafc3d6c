//! Tasks of one's own through a Redis and through a RabbitMQ, by the programs and flags of docs/brokers.md: `wordcount`,
//! `framelane-tasks`, a worker in Rust and one in Python. The broker is killed in mid-run and comes back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use framelane_bench::brokers::{Broker, MORTAL};
use framelane_bench::child::{Child, beside};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;
use tokio::time::{sleep, timeout};
use wire::broker::Kind;
use wire::client::{Answers, Client, Config, Id};
use wire::identity::{Authority, Role};
use wire::{Cbor, Task};

/// Far more than any of this takes on a busy machine.
const WITHIN: Duration = Duration::from_secs(120);

/// As the example has it.
struct WordCount;

type Counts = BTreeMap<String, u64>;

impl Task for WordCount {
    const NAME: &'static str = "wordcount";
    type Job = Cbor<String>;
    type Answer = Cbor<Counts>;
}

fn flag(kind: Kind) -> String {
    format!("--{}", kind.name())
}

fn worker(kind: Kind, broker: &Broker, name: &str) -> Child {
    let (flag, url) = (flag(kind), broker.address());
    let args = ["worker", &flag, &url, "--name", name, "--threads", "1"];
    Child::start_by(&MORTAL, "wordcount", args, "error").expect("a worker")
}

/// The worker of `make python-demo`, two processes, in the environment that `make install-package` makes.
fn worker_in_python(kind: Kind, broker: &Broker) -> tokio::process::Child {
    let test = std::env::current_exe().expect("the path of this test");
    let target = test.ancestors().nth(3).expect("tests lie in TARGET/PROFILE/deps");
    let python = target.join("python/dev/venv/bin/python");
    assert!(python.exists(), "{} is not there: run `make install-package`", python.display());
    Command::new(MORTAL[0])
        .args(&MORTAL[1..])
        .arg(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/python/count.py"))
        .env(format!("FRAMELANE_{}", kind.name().to_uppercase()), broker.address())
        .env_remove("FRAMELANE_SERVER")
        .env("FRAMELANE_LOG", "error")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("Python starts")
}

/// A coordinator that has nobody but the workers behind the broker.
struct Tasks {
    serving: Child,
    state: PathBuf,
}

impl Tasks {
    fn start(kind: Kind, broker: &Broker, folder: &Path) -> Tasks {
        let state = folder.join("state");
        // A broker's end is no job's fault, so none may be charged an attempt.
        let fixed = ["serve", "--bind", "127.0.0.1:0", "--attempts", "1", "--task", "wordcount"];
        let (flag, url) = (flag(kind), broker.address());
        let args = fixed.map(AsRef::as_ref).into_iter().chain([flag.as_ref(), url.as_ref()]);
        let args = args.chain(["--state".as_ref(), state.as_os_str()]);
        let serving = Child::start_by(&MORTAL, "framelane-tasks", args, "error").expect("a coordinator");
        Tasks { serving, state }
    }

    async fn client(&mut self) -> (Client<WordCount>, Answers<WordCount>) {
        // It says where it listens when it does.
        let address = loop {
            if let Ok(address) = std::fs::read_to_string(self.state.join("address")) {
                break address;
            }
            assert!(!self.serving.has_ended(), "it does not serve");
            sleep(Duration::from_millis(5)).await;
        };
        let identity =
            Authority::load(&self.state).expect("its keys").own(Role::Client).expect("an identity");
        let config = Config { reconnect: false, ..Config::new("test") };
        let (raw, answers) =
            wire::client::connect(address.trim(), identity, config).await.expect("connected");
        (Client::new(raw).expect("a name"), Answers::new(answers))
    }
}

/// Pushes so many lines; `meanwhile` is called when a third of them is answered.
async fn lines_are_counted(tasks: &mut Tasks, lines: u64, meanwhile: impl AsyncFnOnce()) {
    let (client, mut answers) = tasks.client().await;
    let pushing = tokio::spawn(async move {
        for line in 0..lines {
            client.push(line, Cbor(format!("line {line} of a book that balances"))).await.expect("taken");
        }
        client.raw().close().await;
    });
    let (mut next, mut sum, mut meanwhile) = (0, Counts::new(), Some(meanwhile));
    while let Some((id, counts)) = answers.next().await {
        assert_eq!(id, Id::Number(next), "answers come in order, each once");
        next += 1;
        for (word, count) in counts.expect("an answer").0 {
            *sum.entry(word).or_default() += count;
        }
        if next == lines / 3 {
            meanwhile.take().expect("once")().await;
        }
    }
    pushing.await.expect("all was taken");
    let each = |word: &str| sum[word];
    assert_eq!(
        (next, each("line"), each("balances"), each(&(lines - 1).to_string())),
        (lines, lines, lines, 1)
    );
    assert_eq!(sum.values().sum::<u64>(), 7 * lines);
}

async fn again(broker: &mut Broker) {
    broker.kill().await.expect("it is killed");
    broker.start_again().await.expect("it comes back");
}

/// `wordcount --redis URL`: the words of its own text, so often.
async fn the_example_counts(kind: Kind, broker: &mut Broker) {
    const REPEAT: u64 = 100;
    let mut counting = Command::new(MORTAL[0])
        .args(&MORTAL[1..])
        .arg(beside("wordcount").expect("built"))
        .args([&flag(kind), &broker.address(), "--repeat", &REPEAT.to_string()])
        .env("FRAMELANE_LOG", "info")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut log = BufReader::new(counting.stderr.take().expect("piped")).lines();
    // From here on it sends; 160,000 words take seconds.
    while !log.next_line().await.expect("text").expect("a line").contains("\"wordcount\"") {}
    tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
    again(broker).await;
    assert!(matches!(counting.try_wait(), Ok(None)), "it was to be in mid-run");
    let mut table = String::new();
    counting.stdout.take().expect("piped").read_to_string(&mut table).await.expect("text");
    assert!(counting.wait().await.expect("its status").success(), "{table}");
    let words = include_str!("../../LICENSE-APACHE").split_whitespace().count() as u64 * REPEAT;
    assert!(table.contains(&format!("{words} tasks in ")), "{table}");
    let the = table.split_whitespace().collect::<Vec<_>>();
    let the: u64 =
        the.windows(2).find(|pair| pair[1] == "the").expect("the word")[0].parse().expect("a number");
    assert_eq!(the, count_of_the() * REPEAT, "{table}");
}

fn count_of_the() -> u64 {
    let words = include_str!("../../LICENSE-APACHE").split(|c: char| !c.is_alphanumeric());
    words.filter(|word| word.eq_ignore_ascii_case("the")).count() as u64
}

async fn all(kind: Kind) {
    let mut broker = Broker::start(kind).await.expect("a broker");
    let folder = tempfile::tempdir().expect("a folder");
    let mut tasks = Tasks::start(kind, &broker, folder.path());
    let workers = ["a", "b"].map(|name| worker(kind, &broker, name));
    lines_are_counted(&mut tasks, 6000, async || again(&mut broker).await).await;
    the_example_counts(kind, &mut broker).await;
    for worker in workers {
        assert!(worker.end().await.expect("it ends").success());
    }
    let mut python = worker_in_python(kind, &broker);
    lines_are_counted(&mut tasks, 3000, async || again(&mut broker).await).await;
    assert!(python.try_wait().expect("its status").is_none(), "the worker in Python has ended");
    assert!(tasks.serving.end().await.expect("it ends").success());
    broker.stop().await.expect("it ends");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis() {
    timeout(WITHIN, all(Kind::Redis)).await.expect("it ends in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq() {
    timeout(WITHIN, all(Kind::Amqp)).await.expect("it ends in time");
}
