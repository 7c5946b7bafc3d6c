//! A client pushes texts, as docs/tasks.md shows, and the program's own threads count them.

mod support;

use std::path::Path;
use std::time::Duration;

use wire::client::{Answers, Ask, Client, Config, Seat, operate};
use wire::identity::{Authority, Role, Token};
use wire::{Cbor, Processor};
use wordcount::counter::Counter;
use wordcount::task::{Counts, WordCount};

use support::{Ended, program};

/// Counts one text, then two whose answers come to the stream.
async fn pushed(server: &str, token: &Token, file: &Path) -> anyhow::Result<Vec<Counts>> {
    let seat = Seat::new(server, "me", file).token(Some(token.clone()));
    let (raw, answers) = seat.connect(Config::new("me")).await?;
    let client = Client::<WordCount>::new(raw)?;

    // Waits for room, then for the answer.
    let Cbor(counts) = client.submit(Cbor("to be or not to be".into())).await?.await?;
    let mut all = vec![counts];

    // Or: the answers come to the stream, in the order of the pushes, each under a name that you give it.
    client.push(7, Cbor("that is".into())).await?;
    client.push(8, Cbor("the question".into())).await?;
    let mut answers = Answers::<WordCount>::new(answers);
    while let Some((id, counts)) = answers.next().await {
        all.push(counts?.0);
        if id == 8.into() {
            break;
        }
    }

    // Takes no more, and waits for what has no answer yet.
    client.raw().close().await;
    Ok(all)
}

#[tokio::test]
async fn what_is_pushed_is_counted_by_its_own_threads() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    let child = program()
        .args(["serve", "--local", "2", "--bind", "127.0.0.1:0", "--log", "warn", "--state"])
        .arg(&state)
        .spawn()
        .expect("the program starts");
    let mut serving = Ended(child);
    // It says where it listens when it does.
    while !state.join("address").exists() {
        assert!(serving.0.try_wait().expect("its status").is_none(), "it ended");
        tokio::task::yield_now().await;
    }
    let address = std::fs::read_to_string(state.join("address")).expect("an address");
    let authority = Authority::load(&state).expect("its authority");

    let token = authority.token_for(Role::Client, Default::default()).expect("a token");
    let file = folder.path().join("client.pem");
    let counted = pushed(address.trim(), &token, &file).await.expect("all is counted");
    let texts = ["to be or not to be", "that is", "the question"];
    assert_eq!(counted, texts.map(|text| Counter.process(Cbor(text.to_owned())).expect("text").0));

    let operator = authority.own(Role::Operator).expect("an identity");
    operate(address.trim(), &operator, Ask::Stop, Duration::from_secs(30)).await.expect("it stops");
    assert!(serving.0.wait().expect("its status").success());
}
