//! The program framelane-tasks as its users start it, with a worker of this process.
#![cfg(unix)]

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wire::identity::Identity;
use wire::node::{self, Event, Hello, HelloKey};
use wire::{Cbor, Message, Timings, Unprocessed};

const PROGRAM: &str = env!("CARGO_BIN_EXE_framelane-tasks");

fn command(state: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).arg("--state").arg(state).env("FRAMELANE_LOG", "warn");
    command
}

fn run(state: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = command(state, arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
    child.wait_with_output().expect("it ends")
}

fn good(state: &Path, arguments: &[&str], input: &str) -> String {
    let output = run(state, arguments, input);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        // It has ended by itself where all went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(state: &Path) -> (Serving, String) {
    started(state, command(state, &["serve", "--bind", "127.0.0.1:0"]))
}

fn started(state: &Path, mut command: Command) -> (Serving, String) {
    let serving = Serving(command.spawn().expect("the program starts"));
    let begun = Instant::now();
    let address = loop {
        if let Ok(address) = std::fs::read_to_string(state.join("address")) {
            break address.trim().to_owned();
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "it does not say where it listens");
        std::thread::yield_now();
    };
    (serving, address)
}

/// Turns texts round, and bodies too.
async fn worker(address: &str, token: &str) {
    let identity =
        Identity::enrol(address, &token.trim().parse().expect("a token"), "w").await.expect("enrolled");
    let key = queue::Key::task(queue::TaskName::new("reverse").expect("a name"));
    let hello = Hello {
        name: "reverser".into(),
        keys: vec![HelloKey { key, warm: true }],
        credit: 8,
        capabilities: vec![],
    };
    let (_node, mut jobs) =
        node::connect(address, &identity, hello, node::Config::default()).await.expect("connected");
    loop {
        match jobs.next().await {
            Event::Jobs(jobs) => {
                for job in jobs {
                    job.reply.send(reverse(job.message), Timings::default());
                }
            }
            Event::Closed(_) => return,
            _ => {}
        }
    }
}

fn reverse(job: Message) -> Result<Message, Unprocessed> {
    let head = Message { head: job.head, body: Default::default() };
    let Cbor(head) = wire::decode::<Cbor<Option<String>>>(head)
        .map_err(|error| Unprocessed::Bad(format!("no text: {error}")))?;
    let head: Option<String> = head.map(|head| head.chars().rev().collect());
    let body: Vec<u8> = job.body.iter().rev().copied().collect();
    Ok(Message { head: wire::encode(Cbor(head)).expect("a text").head, body: body.into() })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_serves_a_shell_and_stops_when_it_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    let (mut serving, address) = serve(&state);
    let token = good(&state, &["token", "--role", "worker"], "");
    let dial = address.clone();
    let working = tokio::spawn(async move { worker(&dial, &token).await });

    let test = tokio::task::spawn_blocking(move || {
        // A worker that does not come must not be waited for without end.
        let one = good(&state, &["submit", "reverse", "--json", "\"abc\"", "--budget", "20000"], "");
        assert_eq!(one.trim(), "\"cba\"");
        let many = good(&state, &["submit", "reverse", "--lines"], "one\ntwo\nthree\n");
        assert_eq!(many, "\"eno\"\n\"owt\"\n\"eerht\"\n");

        let out = state.join("out");
        let file =
            good(&state, &["submit", "reverse", "--file", "-", "--out", &out.to_string_lossy()], "12345");
        assert_eq!(serde_json::from_str::<Value>(&file).expect("JSON"), json!({ "bytes": 5 }));
        assert_eq!(std::fs::read(out).expect("the answer's bytes"), b"54321");

        let bad = run(&state, &["submit", "reverse", "--json", "7"], "");
        assert!(!bad.status.success());
        assert!(String::from_utf8_lossy(&bad.stderr).contains("no text"), "{bad:?}");

        let status: Value = serde_json::from_str(&good(&state, &["status"], "")).expect("JSON");
        assert_eq!(status["tasks"], json!(["reverse"]));
        assert_eq!(
            (&status["workers"][0]["name"], &status["workers"][0]["answered"]),
            (&json!("reverser"), &json!(5))
        );
        assert_eq!(status["workers"][0]["failed"], json!(1));

        // Somebody elsewhere, with a token, and with one that does not fit.
        let away = folder.path().join("away");
        let client = good(&state, &["token", "--role", "client"], "");
        let identity = folder.path().join("client.pem");
        let elsewhere = |what: &[&str], identity: &Path, token: &str| {
            let identity = identity.to_string_lossy();
            let with = ["--server", &address, "--identity", &identity, "--token", token.trim()];
            run(&away, &[what, &with].concat(), "")
        };
        let there = elsewhere(&["submit", "reverse", "--json", "\"xy\""], &identity, &client);
        assert_eq!(String::from_utf8_lossy(&there.stdout).trim(), "\"yx\"", "{there:?}");
        let refused = elsewhere(&["stop"], &identity, &client);
        assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("operator"));

        let unknown = ["submit", "reverse", "--server", &address, "--identity", "none.pem"];
        let unknown = String::from_utf8_lossy(&run(&away, &unknown, "").stderr).into_owned();
        assert!(unknown.contains("none.pem") && unknown.contains("token --role client"), "{unknown}");

        // Nobody is asked about what is wrong here already.
        let unread = run(&away, &["submit", "reverse", "--json", "{"], "");
        assert!(String::from_utf8_lossy(&unread.stderr).contains("--json"), "{unread:?}");

        let nowhere = folder.path().join("nowhere");
        for question in ["list", "status"] {
            let asked = run(&nowhere, &[question], "");
            let said = String::from_utf8_lossy(&asked.stderr).into_owned();
            assert!(!asked.status.success() && said.matches("os error").count() <= 1, "{said}");
            assert!(!nowhere.exists(), "a question makes no folder");
        }

        let list = good(&state, &["list"], "");
        let line = list.lines().find(|line| line.contains("framelane-tasks")).expect("the client");
        let id = line.split_whitespace().next().expect("an id").to_owned();
        good(&state, &["revoke", &id], "");
        let revoked = elsewhere(&["submit", "reverse", "--json", "\"xy\""], &identity, &client);
        assert!(!revoked.status.success(), "{revoked:?}");
        let revoked = String::from_utf8_lossy(&revoked.stderr).into_owned();
        assert!(revoked.contains("revoked") && revoked.contains("used up"), "{revoked}");
        // As it says: with a new token, and the file stays where it is.
        let new = good(&state, &["token", "--role", "client"], "");
        let again = elsewhere(&["submit", "reverse", "--json", "\"xy\""], &identity, &new);
        assert_eq!(String::from_utf8_lossy(&again.stdout).trim(), "\"yx\"", "{again:?}");

        good(&state, &["stop"], "");
        assert!(serving.0.wait().expect("it ends").success());
        folder
    });
    let folder = test.await.expect("all of it");
    tokio::time::timeout(Duration::from_secs(20), working).await.expect("told").expect("no panic");
    drop(folder);
}

#[test]
fn a_folder_has_one_coordinator_at_a_time_and_the_next_one_after_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    let (mut first, address) = serve(&state);
    let second = run(&state, &["serve", "--bind", "127.0.0.1:0"], "");
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(!second.status.success(), "{said}");
    let pid = format!("process {}", first.0.id());
    assert!(said.contains(&pid) && said.contains(&state.display().to_string()), "{said}");
    // What the first one said of itself still holds.
    assert_eq!(std::fs::read_to_string(state.join("address")).expect("it is there").trim(), address);
    good(&state, &["status"], "");

    // However it ends.
    first.0.kill().expect("it lives");
    first.0.wait().expect("it ends");
    std::fs::remove_file(state.join("address")).expect("it is there");
    let (_third, _) = serve(&state);
    good(&state, &["status"], "");
}

#[test]
fn who_gives_up_or_is_stopped_says_goodbye() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("state");
    let log = folder.path().join("log");
    let mut serving = command(&state, &["serve", "--bind", "127.0.0.1:0", "--log", "info"]);
    serving.stderr(std::fs::File::create(&log).expect("a log"));
    let _serving = Serving(serving.spawn().expect("the program starts"));
    let logged = |what: &str, times: usize| {
        let begun = Instant::now();
        loop {
            let text = std::fs::read_to_string(&log).expect("text");
            if text.matches(what).count() >= times {
                return text;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "it does not say {what:?}:\n{text}");
            std::thread::yield_now();
        }
    };
    logged("is ready", 1);
    // Nobody serves it.
    let late = run(&state, &["submit", "nobody", "--budget", "50"], "");
    assert!(String::from_utf8_lossy(&late.stderr).contains("it was late"), "{late:?}");

    // Its standard input stays open, and it must end all the same.
    let mut stopped = command(&state, &["submit", "nobody", "--lines"]);
    let mut stopped = stopped.stdin(Stdio::piped()).spawn().expect("the program starts");
    let mut input = stopped.stdin.take().expect("piped");
    input.write_all(b"one\n").expect("it reads");
    logged("a client is here", 2);
    let pid = nix::unistd::Pid::from_raw(stopped.id().try_into().expect("a process id"));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("it lives");
    assert_eq!(stopped.wait().expect("it ends").code(), Some(130));
    let log = logged("a client has left", 2);
    assert!(!log.contains("silent"), "{log}");
}

#[test]
fn a_coordinator_logs_to_a_file_and_draws_where_its_time_went() {
    let folder = tempfile::tempdir().expect("a folder");
    let (log, profile) = (folder.path().join("log"), folder.path().join("profile.svg"));
    let (log_text, profile_text) = (log.to_str().expect("text"), profile.to_str().expect("text"));
    let state = folder.path().join("state");
    let arguments = ["serve", "--bind", "127.0.0.1:0", "--log-file", log_text, "--profile", profile_text];
    let mut command = command(&state, &arguments);
    command.env("FRAMELANE_LOG", "info").stderr(Stdio::piped());
    let (mut serving, _) = started(&state, command);
    good(&state, &["stop"], "");
    assert!(serving.0.wait().expect("it ends").success());
    let said = std::io::read_to_string(serving.0.stderr.take().expect("piped")).expect("text");
    assert_eq!(said, "", "all of it is in the file");
    assert!(std::fs::read_to_string(&log).expect("the log").contains("an operator asked to stop"));
    assert!(std::fs::read_to_string(&profile).expect("the graph").starts_with("<svg"));

    let nowhere = run(&state, &["list", "--log-file", "no/such/folder/log"], "");
    assert!(!nowhere.status.success());
    assert!(
        String::from_utf8_lossy(&nowhere.stderr).contains("--log-file no/such/folder/log"),
        "{nowhere:?}"
    );
}
