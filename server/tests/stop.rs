//! `framelane stop` ends a server that runs, and only who can read its state folder can do that.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

fn framelane() -> Command {
    let mut framelane = Command::new(env!("CARGO_BIN_EXE_framelane"));
    framelane.stdin(Stdio::null()).env("FRAMELANE_LOG", "warn");
    framelane
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a server without streams; gives the address of its API too.
fn serve(folder: &Path) -> (Server, String, BufReader<ChildStdout>) {
    let any = "127.0.0.1:0";
    let child = framelane()
        .current_dir(folder)
        .args(["serve", "--http", any, "--rtsp", any, "--quic", any, "--state", "state"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut server = Server(child);
    let mut said = BufReader::new(server.0.stdout.take().expect("piped"));
    let mut line = String::new();
    said.read_line(&mut line).expect("text");
    let address = line.split("http://").nth(1).and_then(|rest| rest.split(' ').next());
    let address = address.unwrap_or_else(|| panic!("it said: {line}")).to_owned();
    // Kept: a server whose standard output is closed cannot say goodbye.
    (server, address, said)
}

fn stop(folder: &Path) -> Output {
    framelane().current_dir(folder).args(["stop", "--state", "state"]).output().expect("it starts")
}

fn ask(address: &str, request: &str) -> String {
    let mut connection = TcpStream::connect(address).expect("it listens");
    let rest = "Host: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    connection.write_all(format!("{request} HTTP/1.1\r\n{rest}").as_bytes()).expect("sent");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("text");
    answer
}

#[test]
fn a_server_is_stopped_by_who_can_read_its_state_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut server, address, _said) = serve(folder.path());
    let file = folder.path().join("state/running.json");
    let mode = std::fs::metadata(&file).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    // The dump of all queues; and nobody ends it without the secret.
    let queues = ask(&address, "GET /api/v1/queues");
    assert!(queues.ends_with(r#"{"flows":[],"lanes":[]}"#), "{queues}");
    assert!(ask(&address, "POST /api/v1/shutdown").starts_with("HTTP/1.1 401"));
    assert!(server.0.try_wait().expect("a child").is_none(), "it runs on");

    // A second one would leave `stop` without a word to the first.
    let second = ["serve", "--state", "state", "--http", address.as_str()];
    let second = framelane().current_dir(folder.path()).args(second).output();
    let second = String::from_utf8_lossy(&second.expect("it starts").stderr).into_owned();
    assert!(second.contains("state: ") && second.contains(&format!("process {}", server.0.id())), "{second}");

    let stopped = stop(folder.path());
    assert!(stopped.status.success(), "{}", String::from_utf8_lossy(&stopped.stderr));
    assert!(!file.exists(), "the server has ended, so that its file is gone");
    assert!(server.0.wait().expect("a child").success());

    let again = stop(folder.path());
    assert!(!again.status.success());
    assert!(String::from_utf8_lossy(&again.stderr).contains("no server runs on state"));
}

#[test]
fn a_server_that_was_killed_leaves_a_file_and_the_text_says_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(serve(folder.path()));
    let stopped = stop(folder.path());
    assert!(!stopped.status.success());
    let text = String::from_utf8_lossy(&stopped.stderr);
    assert!(text.contains("no server answers") && text.contains("running.json"), "{text}");
}
