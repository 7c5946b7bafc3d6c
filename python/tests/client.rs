//! Tasks pushed from Python, to the wire's own end, which does them in the simplest way.

// It is test code throughout, which clippy cannot see.
#![allow(clippy::unwrap_used)]
#![cfg(unix)]

mod support;

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;
use std::time::Duration;

use nix::sys::signal::Signal;
use support::{Worker, file};
use wire::identity::{Authority, Identity, Role, TokenOptions};
use wire::pushed::NoAnswer;
use wire::server::{Clients, Config, Listener, Pushing, Replies, Reply, Submits};
use wire::{Cbor, Message, decode, encode};

/// Answers clients in the order of their tasks. Small enough that they have to wait for room.
struct Desk {
    addr: String,
    authority: Authority,
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Desk {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::load_or_create(folder.path().join("server")).unwrap();
        let clients = Clients { tasks: 64, ..Clients::default() };
        let config = Config { clients: Some(clients), ..Config::default() };
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), authority.clone(), config).unwrap();
        let addr = listener.local_addr().to_string();
        tokio::spawn(async move {
            while let Some((_caller, submits, replies)) = listener.accept_client().await {
                tokio::spawn(answer(submits, replies));
            }
        });
        Desk { addr, authority, folder }
    }

    fn token(&self) -> String {
        let options = TokenOptions { expires_in: Duration::from_secs(600), uses: NonZeroU32::MIN };
        self.authority.token_for(Role::Client, options).unwrap().to_string()
    }

    /// Lets a client in no more.
    fn revoke(&self, name: &str) {
        let identity = self.folder.path().join(name).join("framelane-client-state/client.pem");
        let known = self.authority.revoke(Identity::load(identity).unwrap().worker()).unwrap();
        assert!(known.is_some());
    }

    fn client(&self, name: &str, args: &[&str]) -> Worker {
        Worker::start(&self.folder.path().join(name), args, &self.addr, &self.token())
    }
}

async fn answer(mut submits: Submits, mut replies: Replies) {
    // What is not answered, from the oldest on; none while it has no end.
    let (mut open, mut first) = (VecDeque::<Option<Reply>>::new(), 0);
    loop {
        match submits.next().await {
            Ok(Pushing::Tasks(key, jobs)) => {
                open.extend(jobs.into_iter().map(|job| done(key.task.as_str(), job)));
            }
            Ok(Pushing::Cancel(numbers)) => {
                for number in numbers {
                    let place = number.checked_sub(first).and_then(|place| open.get_mut(place as usize));
                    if let Some(reply) = place.filter(|reply| reply.is_none()) {
                        *reply = Some(Err((NoAnswer::Cancelled, String::new())));
                    }
                }
            }
            Ok(Pushing::End) => break,
            Err(_) => return,
        }
        let ready = open.iter().take_while(|reply| reply.is_some()).count();
        first += ready as u64;
        if ready > 0 && replies.send(open.drain(..ready).flatten()).await.is_err() {
            return;
        }
    }
    assert!(open.is_empty(), "a client that closes has waited for its answers, or cancelled them");
    replies.finish().await;
}

fn done(task: &str, job: Message) -> Option<Reply> {
    match task {
        "echo" => Some(Ok(job)),
        "odd" if decode::<Cbor<u64>>(job.clone()).unwrap().0 % 2 == 1 => Some(Ok(job)),
        "odd" | "fails" => Some(Err((NoAnswer::Failed, "no luck".into()))),
        "wordcount" => {
            let mut counts = BTreeMap::<String, u64>::new();
            for word in decode::<Cbor<String>>(job).unwrap().0.split_whitespace() {
                *counts.entry(word.to_owned()).or_default() += 1;
            }
            Some(Ok(encode(Cbor(counts)).unwrap()))
        }
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_pushed_and_their_answers_come_in_order() {
    let desk = Desk::new();
    let program = file("workers/client.py");
    let mut client = desk.client("client", &[program.to_str().unwrap(), "all"]);
    assert!(client.ended().await.success(), "{}", client.log());
    assert_eq!(client.out(), "over\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_let_in_is_told_whether_another_token_helps() {
    let desk = Desk::new();
    let program = file("workers/client.py");
    let enter = async |name: &str, addr: &str, token: &str| {
        let args = [program.to_str().unwrap(), "enters"];
        let mut client = Worker::start(&desk.folder.path().join(name), &args, addr, token);
        assert!(client.ended().await.success(), "{}", client.log());
        client.out()
    };
    let said = enter("stranger", &desk.addr, "").await;
    assert!(said.starts_with("NotAdmitted: ") && said.contains("token --role client"), "{said}");
    let worker = desk.authority.token(TokenOptions::default()).unwrap().to_string();
    let said = enter("worker", &desk.addr, &worker).await;
    assert!(said.starts_with("NotAdmitted: ") && said.contains("another role and no client"), "{said}");
    // A name that cannot be one costs no time.
    let nowhere = format!("{}:4434", "x".repeat(64));
    let said = enter("lost", &nowhere, &desk.token()).await;
    assert!(said.starts_with("Error: ") && said.contains("has no address"), "{said}");

    assert_eq!(enter("revoked", &desk.addr, &desk.token()).await, "in\n");
    let said = enter("revoked", &nowhere, "").await;
    assert!(said.starts_with("Error: ") && said.contains("has no address"), "{said}");
    desk.revoke("revoked");
    let said = enter("revoked", &desk.addr, "").await;
    assert!(said.starts_with("NotAdmitted: ") && said.contains("enrol again with a new token"), "{said}");
    assert_eq!(enter("revoked", &desk.addr, &desk.token()).await, "in\n");
    assert_eq!(enter("revoked", &desk.addr, "").await, "in\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_revoked_is_told_that_another_token_helps() {
    let desk = Desk::new();
    let program = file("workers/client.py");
    let mut client = desk.client("revoked", &[program.to_str().unwrap(), "revoked"]);
    client.says("connected\n").await;
    desk.revoke("revoked");
    assert!(client.ended().await.success(), "{}", client.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_a_client_that_waits() {
    let desk = Desk::new();
    let program = file("workers/client.py");
    let mut client = desk.client("waits", &[program.to_str().unwrap(), "waits"]);
    client.says("connected\n").await;
    client.signal(Signal::SIGINT);
    assert!(!client.ended().await.success());
    assert!(client.log().contains("KeyboardInterrupt"), "{}", client.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lines_of_the_guide_that_push_work() {
    let desk = Desk::new();
    let guide = std::fs::read_to_string(file("../../docs/python.md")).unwrap();
    let program = guide.split("## Pushing tasks").nth(1).and_then(|rest| rest.split("```python\n").nth(1));
    let program = program.and_then(|rest| rest.split("```").next()).unwrap();
    let book = desk.folder.path().join("book.txt");
    std::fs::write(&book, "one two\nthree\n").unwrap();
    let there = program
        .replace("127.0.0.1:4434", &desk.addr)
        .replace("fl1_…", &desk.token())
        .replace("book.txt", book.to_str().unwrap());
    assert!(
        there.contains(&desk.addr) && there.contains(book.to_str().unwrap()) && !there.contains('…'),
        "{there}"
    );
    let path = desk.folder.path().join("guide.py");
    std::fs::write(&path, there).unwrap();
    let mut client = desk.client("guide", &[path.to_str().unwrap()]);
    assert!(client.ended().await.success(), "{}", client.log());
    assert_eq!(client.out(), "{'be': 2, 'not': 1, 'or': 1, 'to': 2}\n{'one': 1, 'two': 1}\n{'three': 1}\n");
}
