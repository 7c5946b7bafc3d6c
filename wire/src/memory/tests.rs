//! Both ends of the memory, against each other and against those that do not keep to the rules.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::{Arena, NotShared, Offer, PAGE, PIECE, Window, accept};
use crate::protocol::{MemoryOffer, Place};

const SIZE: u64 = 64 * PAGE;

async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("nothing came within 20 s")
}

fn connect(socket: &str) -> UnixStream {
    UnixStream::connect_addr(&SocketAddr::from_abstract_name(socket).unwrap()).unwrap()
}

/// Whether the other end of a stream is gone without having sent anything.
fn turned_away(mut stream: UnixStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // One whose unread bytes were thrown away sees a reset.
    let mut byte = [0];
    match stream.read(&mut byte) {
        Ok(read) => read == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

fn place(at: u64, len: u32) -> Place {
    Place { at, len, laid: None }
}

/// All of a body that is there.
fn take(window: &Window, place: Place) -> Bytes {
    let mut taking = window.begin(place).unwrap();
    assert!(window.take(&mut taking).unwrap());
    taking.body()
}

#[tokio::test]
async fn bodies_arrive_and_places_are_used_again() {
    let (arena, window) = shared(SIZE).await;
    let bodies = [vec![1; 20_000], (0..100_000u32).map(|n| n as u8).collect(), vec![3; PAGE as usize]];
    let leases: Vec<_> = bodies.iter().map(|body| arena.lay(body).unwrap()).collect();
    for (lease, body) in leases.iter().zip(&bodies) {
        assert_eq!(take(&window, lease.place()), body);
    }
    // The worker's copy stays as it is, whatever is laid there next.
    let copy = take(&window, leases[0].place());
    let at = leases[0].place().at;
    drop(leases);
    let next = arena.lay(&[9; 20_000]).unwrap();
    assert_eq!(next.place().at, at);
    assert_eq!(copy, bodies[0]);
    assert_eq!(arena.used(), 1);

    assert!(arena.lay(&vec![0; SIZE as usize]).is_none(), "there is no room");
    drop(next);
    assert!(arena.lay(&vec![0; SIZE as usize + 1]).is_none(), "nor ever for this");
    assert_eq!(take(&window, arena.lay(&vec![7; SIZE as usize]).unwrap().place()), vec![7; SIZE as usize]);
    assert_eq!(arena.backed(), SIZE);
}

/// Both ends of a file.
async fn shared(size: u64) -> (Arc<Arena>, Window) {
    let offer = Offer::new(size).unwrap();
    let told = offer.told();
    let (handed, window) = soon(async { tokio::join!(offer.hand_over(|_| ()), accept(&told)) }).await;
    handed.unwrap();
    (offer.arena(), window.unwrap())
}

#[tokio::test]
async fn a_body_is_taken_while_it_is_laid() {
    const LEN: usize = 3 * PIECE + 1001;
    let (arena, window) = shared(2 * LEN as u64 / PAGE * PAGE).await;
    let body: Vec<_> = (0..LEN).map(|n| (n % 251) as u8).collect();
    for _ in 0..2 {
        let lease = arena.begin(LEN).unwrap();
        let Place { at, laid: Some(mark), .. } = lease.place() else { panic!("{:?}", lease.place()) };
        let mut taking = window.begin(lease.place()).unwrap();
        assert!(!window.take(&mut taking).unwrap(), "what lay there before does not pass for it");
        let two = 2 * PIECE;
        assert!(arena.write(at, &body[..two]) && arena.mark(mark, two as u32));
        assert!(!window.take(&mut taking).unwrap());
        // What is changed behind it is not seen.
        assert!(arena.write(at, &vec![255; two]));
        // Small steps are not taken, nor is one back.
        assert!(arena.write(at + two as u64, &[255; 9]) && arena.mark(mark, two as u32 + 9));
        assert!(!window.take(&mut taking).unwrap());
        assert!(arena.mark(mark, 1));
        assert!(!window.take(&mut taking).unwrap());
        assert!(arena.write(at + two as u64, &body[two..]) && arena.mark(mark, LEN as u32));
        assert!(window.take(&mut taking).unwrap());
        assert_eq!(taking.body(), body);
    }
    assert_eq!(arena.used(), 0);
    // Whole before the worker looks for the first time.
    let lease = arena.begin(LEN).unwrap();
    lease.fill(&body);
    assert_eq!(take(&window, lease.place()), body);
    // A length of no more than that is believed, and no mark outside of the file.
    let Place { laid: Some(mark), .. } = lease.place() else { panic!("{:?}", lease.place()) };
    assert!(arena.mark(mark, u32::MAX));
    assert_eq!(take(&window, lease.place()), body);
    let size = 2 * LEN as u64 / PAGE * PAGE;
    for (mark, good) in [
        (size - 4, true),
        (size, false),
        (size - 3, false),
        (2, false),
        (u64::MAX, false),
        (u64::MAX - 3, false),
    ] {
        let mut taking = window.begin(Place { laid: Some(mark), ..lease.place() }).unwrap();
        assert_eq!(window.take(&mut taking).is_ok(), good, "{mark}");
    }
    drop(arena);
    lease.fill(&body);
}

#[tokio::test]
async fn no_place_outside_of_the_file_is_read() {
    let window = Window::open(super::file::create(SIZE).unwrap(), SIZE).unwrap();
    assert!(window.begin(place(SIZE - 1, 1)).is_ok());
    for (at, len) in
        [(SIZE, 1), (SIZE - 1, 2), (0, SIZE as u32 + 1), (u64::MAX, 1), (1, u32::MAX), (u64::MAX, u32::MAX)]
    {
        assert!(window.begin(place(at, len)).is_err(), "{len} bytes at {at}");
    }
}

#[tokio::test]
async fn who_does_not_know_the_secret_gets_nothing() {
    use std::io::Write;
    let offer = Offer::new(SIZE).unwrap();
    let told = offer.told();
    let handing = tokio::spawn(async move {
        offer.hand_over(|_| ()).await.unwrap();
        offer.arena()
    });
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..20 {
        // Some nearly right, some too short, some far too long.
        let mut shown = told.secret.to_vec();
        match round % 3 {
            0 => shown[round] ^= 1,
            1 => shown.truncate(round),
            _ => shown = (0..round * 1000).map(|_| random.u8(..)).collect(),
        }
        let socket = told.socket.clone();
        let refused = tokio::task::spawn_blocking(move || {
            let mut stream = connect(&socket);
            // The server may hang up before it has read all.
            let _ = stream.write_all(&shown);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            turned_away(stream)
        });
        assert!(soon(refused).await.unwrap(), "round {round}");
        assert!(!handing.is_finished());
    }
    // And the one that knows it still gets in.
    let window = soon(accept(&told)).await.unwrap();
    let arena = soon(handing).await.unwrap();
    assert_eq!(take(&window, arena.lay(&[5; 20_000]).unwrap().place()), vec![5; 20_000]);
    // Once: the socket is gone with the offer.
    assert!(matches!(soon(accept(&told)).await, Err(NotShared::Unreachable(_))));
}

#[tokio::test]
async fn a_foreign_user_gets_nothing_though_it_knows_the_secret() {
    if !rustix::process::geteuid().is_root() {
        // Only root can become somebody else. `tests/same_host.rs` has the same between whole processes.
        assert!(super::offer::may_share(0, 1000) && super::offer::may_share(1000, 1000));
        return;
    }
    assert!(!super::offer::may_share(65_534, 0));
    let offer = Offer::new(SIZE).unwrap();
    let told = offer.told();
    let handing = tokio::spawn(async move { offer.hand_over(|_| ()).await });
    // A thread's user is its own: the rest of this process stays root.
    let theirs = told.clone();
    let foreign = std::thread::spawn(move || {
        use std::io::Write;
        rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(65_534)).unwrap();
        let mut stream = connect(&theirs.socket);
        let _ = stream.write_all(&theirs.secret);
        turned_away(stream)
    });
    let refused = tokio::task::spawn_blocking(move || foreign.join().unwrap());
    assert!(soon(refused).await.unwrap());
    assert!(!handing.is_finished());
    soon(accept(&told)).await.unwrap();
    soon(handing).await.unwrap().unwrap();
}

/// A server that hands over what a test wants, with these first bytes.
fn rogue(files: Vec<File>, bytes: &'static [u8]) -> MemoryOffer {
    let socket = format!("framelane/test/{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&socket).unwrap()).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.read_exact(&mut [0; 32]).unwrap();
        let files: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(&files)));
        }
        if !bytes.is_empty() {
            sendmsg(&stream, &[std::io::IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL).unwrap();
        }
    });
    MemoryOffer { socket, secret: Bytes::from_static(&[1; 32]), size: SIZE }
}

fn sealed(size: u64) -> File {
    super::file::create(size).unwrap()
}

fn unsealed(size: u64) -> File {
    let file = File::from(memfd_create("test", MemfdFlags::ALLOW_SEALING).unwrap());
    file.set_len(size).unwrap();
    fcntl_add_seals(&file, SealFlags::GROW).unwrap();
    file
}

#[tokio::test]
async fn a_worker_takes_nothing_but_what_was_offered() {
    let wrong: [(&str, Vec<File>, &[u8]); 7] = [
        ("unsealed", vec![unsealed(SIZE)], b"x"),
        ("too short", vec![sealed(SIZE - PAGE)], b"x"),
        ("too long", vec![sealed(SIZE + PAGE)], b"x"),
        ("a device", vec![File::open("/dev/zero").unwrap()], b"x"),
        ("none", vec![], b"x"),
        ("two", vec![sealed(SIZE), sealed(SIZE)], b"x"),
        ("eight", (0..8).map(|_| sealed(SIZE)).collect(), b"x"),
    ];
    for (what, files, bytes) in wrong {
        let taken = soon(accept(&rogue(files, bytes))).await;
        assert!(matches!(taken, Err(NotShared::Wrong(_))), "{what}: {taken:?}");
    }
    // One that hangs up, and sizes that cannot be.
    let taken = soon(accept(&rogue(vec![sealed(SIZE)], b""))).await;
    assert!(taken.is_err(), "{taken:?}");
    for size in [0, 1, PAGE + 1, u64::MAX] {
        let offer = MemoryOffer { socket: "framelane/unseen".into(), secret: Bytes::new(), size };
        let taken = soon(accept(&offer)).await;
        assert!(matches!(taken, Err(NotShared::Wrong(_))), "{size}: {taken:?}");
    }
    soon(accept(&rogue(vec![sealed(SIZE)], b"x"))).await.unwrap();
    soon(accept(&rogue(vec![sealed(SIZE)], b"more than a byte"))).await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_not_there_is_no_trouble() {
    let offer = MemoryOffer { socket: "framelane/nobody".into(), secret: Bytes::new(), size: SIZE };
    assert!(matches!(soon(accept(&offer)).await, Err(NotShared::Unreachable(_))));
    for socket in ["", "\0\0", &"x".repeat(200), "a/b\0c"] {
        let offer = MemoryOffer { socket: socket.into(), ..offer.clone() };
        assert!(matches!(soon(accept(&offer)).await, Err(NotShared::Unreachable(_))), "{socket:?}");
    }
}
