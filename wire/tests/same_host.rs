//! Server and workers as processes of one host, which share memory: bodies arrive, and what is killed,
//! cancelled or kept out leaves nothing behind.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use bytes::Bytes;
use framelane_wire::identity::{Identity, TokenOptions};
use framelane_wire::server::{Config, Event, Events, Peer, Refusal};
use framelane_wire::{Closed, Message, Timings, node};
use support::{Site, hello, job, soon, ticket};

/// One test at a time: they count what this process holds.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

const SERVER: &str = "FRAMELANE_TEST_SERVER";
const TOKEN: &str = "FRAMELANE_TEST_TOKEN";
const DIR: &str = "FRAMELANE_TEST_DIR";

/// Where a dead peer is noticed soon.
fn hasty() -> Config {
    Config {
        dead_after: Duration::from_millis(300),
        heartbeat: Duration::from_millis(100),
        ..Config::default()
    }
}

/// A process of this same program that runs one of the "tests" that only wait to be started so.
struct Process(Child);

impl Process {
    fn start(program: &Path, role: &str, user: Option<u32>, env: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program);
        command.args(["--ignored", "--exact", role]).envs(env.iter().copied());
        if let Some(user) = user {
            command.uid(user).gid(user).current_dir("/");
        }
        Process(command.spawn().unwrap())
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, or been killed before.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A worker that answers with the body that it got; a job without a head it never answers.
#[tokio::test]
#[ignore = "the worker's process of the tests below"]
async fn worker() {
    let (server, token) = (std::env::var(SERVER).unwrap(), std::env::var(TOKEN).unwrap());
    let identity = Identity::enrol(&server, &token.parse().unwrap(), "worker").await.unwrap();
    let (_node, mut jobs) =
        node::connect(&server, &identity, hello(8), node::Config::default()).await.unwrap();
    let mut unanswered = Vec::new();
    loop {
        match jobs.next().await {
            node::Event::Jobs(jobs) => {
                for job in jobs {
                    match job.message.head.is_empty() {
                        true => unanswered.push(job),
                        false => job.reply.send(Ok(job.message), Timings::default()),
                    }
                }
            }
            node::Event::Cancel(_) => unanswered.clear(),
            node::Event::Closed(_) => return,
            _ => {}
        }
    }
}

/// A server that hands one worker a job that it has no time to answer, and waits.
#[tokio::test]
#[ignore = "the server's process of a test below"]
async fn server() {
    let site = Site::new(Config::default());
    let token = site.authority.token(TokenOptions::default()).unwrap().to_string();
    let text = format!("{} {token}", site.addr());
    let dir = std::path::PathBuf::from(std::env::var(DIR).unwrap());
    // Renamed, so that it is whole when it is there.
    std::fs::write(dir.join("new"), text).unwrap();
    std::fs::rename(dir.join("new"), dir.join("server")).unwrap();
    let (peer, _events) = site.listener.accept().await.unwrap();
    let _ = peer.hand_out(job(1), body(1)).await;
}

fn start(site: &Site) -> Process {
    let token = site.authority.token(TokenOptions::default()).unwrap().to_string();
    Process::start(
        &std::env::current_exe().unwrap(),
        "worker",
        None,
        &[(SERVER, &site.addr()), (TOKEN, &token)],
    )
}

async fn accept(site: &Site) -> (Peer, Events) {
    soon(site.listener.accept()).await.unwrap()
}

/// 1.2 MB that differ from those of another number.
fn body(number: u32) -> Message {
    let body: Vec<u8> =
        (0..1_228_800u32).map(|n| (n.wrapping_add(number).wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    Message { head: Bytes::from_static(&[0xf6]), body: body.into() }
}

fn unanswered() -> Message {
    Message { head: Bytes::new(), ..body(0) }
}

/// What this process has open of what is shared: memory files and their sockets, and mappings. Other files
/// come and go with the runtimes of the tests that wait for this one.
fn held() -> (usize, usize) {
    // Num RefCount Protocol Flags Type St Inode Path
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap();
    let sockets: Vec<String> = sockets
        .lines()
        .filter(|line| line.contains("@framelane/"))
        .filter_map(|line| Some(format!("socket:[{}]", line.split_whitespace().nth(6)?)))
        .collect();
    let open = std::fs::read_dir("/proc/self/fd").unwrap().filter(|file| {
        let Ok(target) = std::fs::read_link(file.as_ref().unwrap().path()) else { return false };
        let target = target.to_string_lossy();
        target.contains("memfd:framelane") || sockets.iter().any(|socket| *socket == target)
    });
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    (open.count(), maps.lines().filter(|line| line.contains("memfd:framelane")).count())
}

#[tokio::test]
async fn bodies_reach_two_processes_through_memory() {
    let _alone = ALONE.lock().await;
    let site = Site::new(Config::default());
    let _workers = [start(&site), start(&site)];
    let peers = [accept(&site).await, accept(&site).await];
    let asked: Vec<_> = (0..40)
        .map(|n| {
            let peer = &peers[n as usize % 2].0;
            assert!(peer.shares_memory());
            let message = body(n);
            (message.clone(), tokio::spawn(peer.hand_out(job(n.into()), message)))
        })
        // As many at a time as credit allows.
        .collect();
    for (message, answer) in asked {
        assert_eq!(soon(answer).await.unwrap().unwrap().result, Ok(message));
    }
    assert_eq!(held().1, 2, "one file for each worker");
}

#[tokio::test]
async fn a_killed_worker_leaves_nothing() {
    let _alone = ALONE.lock().await;
    let site = Site::new(hasty());
    let before = held();
    assert_eq!(before, (0, 0));
    for round in 0..3 {
        let mut worker = start(&site);
        let (peer, mut events) = accept(&site).await;
        assert_eq!(held(), (before.0 + 1, before.1 + 1), "its file");
        let pending: Vec<_> = (0..4).map(|n| tokio::spawn(peer.hand_out(job(n), unanswered()))).collect();
        // Answered behind the others, so those have arrived.
        soon(peer.hand_out(job(9), body(round))).await.unwrap().result.unwrap();
        peer.cancel(ticket(3));
        worker.kill();
        loop {
            match soon(events.next()).await {
                Event::Closed(closed) => {
                    break assert!(matches!(closed, Closed::Silent | Closed::Lost(_)), "{closed}");
                }
                Event::Released(_) | Event::Silent => {}
                other => panic!("{other:?}"),
            }
        }
        for answer in pending {
            assert!(soon(answer).await.unwrap().is_err());
        }
        // Also while somebody still holds the peer, with a cancelled ticket that nobody will release.
        assert!(!peer.shares_memory());
        assert_eq!(held(), before);
    }
}

#[tokio::test]
async fn a_killed_server_leaves_nothing() {
    let _alone = ALONE.lock().await;
    let dir = tempfile::tempdir().unwrap();
    let before = held();
    let program = std::env::current_exe().unwrap();
    let mut server = Process::start(&program, "server", None, &[(DIR, dir.path().to_str().unwrap())]);
    let told = soon(async {
        let mut looks = tokio::time::interval(Duration::from_millis(10));
        loop {
            looks.tick().await;
            if let Ok(text) = std::fs::read_to_string(dir.path().join("server")) {
                break text;
            }
        }
    })
    .await;
    let (address, token) = told.split_once(' ').unwrap();
    let identity = soon(Identity::enrol(address, &token.parse().unwrap(), "worker")).await.unwrap();
    let connected = node::connect(address, &identity, hello(8), node::Config::default());
    let (node, mut jobs) = soon(connected).await.unwrap();
    assert!(node.shares_memory());
    let (_, message, reply) = support::next_job(&mut jobs).await;
    assert_eq!(held().1, before.1 + 1);
    server.kill();
    let closed = soon(jobs.next()).await;
    assert!(matches!(closed, node::Event::Closed(Closed::Silent | Closed::Lost(_))), "{closed:?}");
    // The worker may go on working on what it has: it is its own.
    assert_eq!(message, body(1));
    drop((reply, node, jobs, message));
    soon(async {
        // The endpoint's task ends on its own, a moment later.
        while held() != before {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_worker_of_another_user_works_over_quic() {
    let _alone = ALONE.lock().await;
    if !is_root() {
        // Only root can start somebody else's process; the decision itself is tested in `memory::tests`.
        return;
    }
    let site = Site::new(Config::default());
    // Where another user can run it: the build's folder may be closed to others.
    let dir = tempfile::tempdir_in("/tmp").unwrap();
    let program = dir.path().join("worker");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    for path in [dir.path(), &program] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let token = site.authority.token(TokenOptions::default()).unwrap().to_string();
    let env = [(SERVER, &*site.addr()), (TOKEN, &token)];
    let before = held();
    let _worker = Process::start(&program, "worker", Some(65_534), &env);
    let (peer, _events) = accept(&site).await;
    assert!(!peer.shares_memory());
    assert_eq!(site.listener.refusals().of(Refusal::SharedMemory), 1);
    assert_eq!(held(), before, "what was offered is gone");
    for n in 0..4 {
        assert_eq!(soon(peer.hand_out(job(n.into()), body(n))).await.unwrap().result, Ok(body(n)));
    }
}

#[tokio::test]
async fn bodies_that_are_announced_before_they_are_laid_arrive_whole() {
    let _alone = ALONE.lock().await;
    let site = Site::new(Config::default());
    let _worker = start(&site);
    let (peer, mut events) = accept(&site).await;
    assert!(peer.shares_memory());
    const KIB: usize = 1 << 10;
    let long = long();
    for (n, len) in
        [256 * KIB - 1, 256 * KIB, 256 * KIB + 1, 384 * KIB, 384 * KIB + 1, 700_001, 1_228_800, 30_000_003]
            .into_iter()
            .enumerate()
    {
        // One at a time, and none is like the one before, in whose place it comes.
        let message = Message { head: Bytes::from_static(&[0xf6]), body: long.slice(n..n + len) };
        assert_eq!(soon(peer.hand_out(job(n as u64), message.clone())).await.unwrap().result, Ok(message));
    }
    // Cancelled at any moment: while it is laid, most of the time. The next one comes to the same place.
    for n in 100..150 {
        let message = Message { head: Bytes::new(), body: long.slice(..long.len() - 1) };
        let given = tokio::spawn(peer.hand_out(job(n), message));
        for _ in 0..n % 10 {
            tokio::task::yield_now().await;
        }
        peer.cancel(ticket(n));
        assert!(soon(given).await.unwrap().is_err());
        let message = Message { head: Bytes::from_static(&[0xf6]), body: long.slice(..300_000 + n as usize) };
        assert_eq!(soon(peer.hand_out(job(n + 1000), message.clone())).await.unwrap().result, Ok(message));
        while peer.outstanding() > 0 {
            assert!(matches!(soon(events.next()).await, Event::Released(_)));
        }
    }
}

/// 30 MB, no part of which is like another.
fn long() -> Bytes {
    (0..7_500_010u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect::<Vec<_>>().into()
}

#[tokio::test]
async fn either_end_can_do_without() {
    let _alone = ALONE.lock().await;
    let site = Site::new(Config { shared_memory: 0, ..Config::default() });
    let _worker = start(&site);
    let (peer, _events) = accept(&site).await;
    assert!(!peer.shares_memory());
    assert_eq!(soon(peer.hand_out(job(1), body(1))).await.unwrap().result, Ok(body(1)));
}

#[tokio::test]
async fn what_finds_no_room_goes_over_quic_and_a_cancel_makes_room() {
    let _alone = ALONE.lock().await;
    // Two bodies of 1.2 MB fit.
    let site = Site::new(Config { shared_memory: 2_600_000, ..Config::default() });
    let _worker = start(&site);
    let (peer, mut events) = accept(&site).await;
    assert!(peer.shares_memory());
    for round in 0..3 {
        let first = round * 10;
        let pending: Vec<_> =
            (0..4).map(|n| tokio::spawn(peer.hand_out(job(first + n), unanswered()))).collect();
        // All of these are there, wherever they came through; and so is a fifth.
        soon(peer.hand_out(job(first + 9), body(5))).await.unwrap().result.unwrap();
        for n in 0..4 {
            peer.cancel(ticket(first + n));
        }
        for answer in pending {
            assert!(soon(answer).await.unwrap().is_err());
        }
        while peer.outstanding() > 0 {
            assert!(matches!(soon(events.next()).await, Event::Released(_)));
        }
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0)
}
