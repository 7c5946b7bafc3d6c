//! How the file changes hands: a Unix socket, a secret, a descriptor.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener as Std};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ring::rand::{SecureRandom, SystemRandom};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use super::file::sensible;
use super::{Arena, NotShared, Window};
use crate::protocol::MemoryOffer;

const SECRET: usize = 32;
/// How long one who connects may take to show the secret, and the server to hand the file over. Both are
/// on one host and have nothing else to do.
const PATIENCE: Duration = Duration::from_secs(2);

/// A file that waits for one worker to fetch it.
#[derive(Debug)]
pub(crate) struct Offer {
    listener: UnixListener,
    told: MemoryOffer,
    arena: Arc<Arena>,
}

impl Offer {
    /// Makes a file of `size` bytes, a socket and a secret.
    pub(crate) fn new(size: u64) -> io::Result<Self> {
        let mut random = [0; 16 + SECRET];
        SystemRandom::new().fill(&mut random).map_err(|_| io::Error::other("no random bytes"))?;
        let (name, secret) = random.split_at(16);
        // Text, since people see it in /proc/net/unix.
        let name: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
        let name = format!("framelane/{name}");
        let listener = Std::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        listener.set_nonblocking(true)?;
        let told = MemoryOffer { socket: name, secret: Bytes::copy_from_slice(secret), size };
        Ok(Self { listener: UnixListener::from_std(listener)?, told, arena: Arc::new(Arena::new(size)?) })
    }

    /// What the worker is told, over the connection that is to use the memory.
    pub(crate) fn told(&self) -> MemoryOffer {
        self.told.clone()
    }

    /// Waits for the worker and hands the file to it. Others are turned away, one after the other, and
    /// `refused` learns why.
    pub(crate) async fn hand_over(&self, refused: impl Fn(&str)) -> io::Result<()> {
        loop {
            let (mut stream, _) = self.listener.accept().await?;
            // Before anything is read: who may not come in cannot make others wait either.
            if let Err(why) = check_user(&stream) {
                refused(&why.to_string());
                continue;
            }
            let mut shown = [0; SECRET];
            match timeout(PATIENCE, stream.read_exact(&mut shown)).await {
                Ok(Ok(_)) if same(&shown, &self.told.secret) => {}
                _ => {
                    refused("somebody came for shared memory and does not know the secret");
                    continue;
                }
            }
            let file = self.arena.file().ok_or(io::ErrorKind::NotFound)?;
            return send(&stream, file).await;
        }
    }

    /// The memory, once the worker says that it has it.
    pub(crate) fn arena(self) -> Arc<Arena> {
        self.arena
    }
}

/// Fetches and checks the file that a server offers.
pub(crate) async fn accept(offer: &MemoryOffer) -> Result<Window, NotShared> {
    if !sensible(offer.size) {
        return Err(NotShared::Wrong(format!("cannot have a size of {} bytes", offer.size)));
    }
    let file =
        timeout(PATIENCE, fetch(offer)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    Window::open(file, offer.size)
}

async fn fetch(offer: &MemoryOffer) -> Result<File, NotShared> {
    // Tokio takes an abstract name as a path that begins with a zero byte.
    let mut stream = UnixStream::connect(format!("\0{}", offer.socket)).await?;
    check_user(&stream)?;
    stream.write_all(&offer.secret).await?;
    let file = stream.async_io(Interest::READABLE, || receive(&stream)).await?;
    file.map(File::from).ok_or_else(|| NotShared::Wrong("was not handed over".into()))
}

/// Only root and this process's own user: those who could look into its memory anyway.
fn check_user(stream: &UnixStream) -> io::Result<()> {
    let (theirs, ours) = (stream.peer_cred()?.uid(), rustix::process::geteuid().as_raw());
    if may_share(theirs, ours) {
        return Ok(());
    }
    let why =
        format!("memory is not shared between users: user {theirs} is at the other end, this is {ours}");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

pub(super) fn may_share(theirs: u32, ours: u32) -> bool {
    theirs == ours || theirs == 0
}

/// Takes the same time wherever they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

async fn send(stream: &UnixStream, file: &File) -> io::Result<()> {
    stream.async_io(Interest::WRITABLE, || send_now(stream, file)).await
}

fn send_now(stream: &UnixStream, file: &File) -> io::Result<()> {
    let files = [file.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&files));
    // A descriptor needs a byte to travel with.
    sendmsg(stream, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// The descriptor in the next message, if there is one. What else comes is closed.
fn receive(stream: &UnixStream) -> io::Result<Option<OwnedFd>> {
    // Room for a second one, since one that does not fit would be lost without a word.
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let got = recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut files = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(some) = message {
            files.extend(some);
        }
    }
    let whole = got.bytes == 1 && !got.flags.contains(ReturnFlags::CTRUNC);
    Ok(files.pop().filter(|_| whole && files.is_empty()))
}
