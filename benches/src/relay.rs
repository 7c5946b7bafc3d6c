//! `framelane-bench relay`: a bad network. It passes UDP between clients and one server, and on the way
//! loses, delays, reorders and doubles packets, or is cut for a while.
//!
//! The dice are seeded and the seed is printed. All queues are bounded: what does not fit is lost, as in
//! any router.

mod line;
mod weather;

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use line::Line;
pub use weather::Weather;

/// What passes, and how badly.
#[derive(clap::Args, Clone)]
pub struct Args {
    /// Where clients connect.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The server.
    #[arg(long, value_name = "HOST:PORT")]
    to: SocketAddr,
    /// Towards the server, such as loss=2%,duplicate=1%,delay=20ms,jitter=15ms,reorder=5%; none for a good
    /// line.
    #[arg(long, value_name = "WEATHER", default_value = "none")]
    up: Weather,
    /// Towards the clients.
    #[arg(long, value_name = "WEATHER", default_value = "none")]
    down: Weather,
    /// Cuts the line this often; 0 is never.
    #[arg(long, value_name = "S", default_value_t = 0.0)]
    cut_every_s: f64,
    /// For how long.
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    cut_ms: u64,
    /// Where the dice begin; a random one is chosen and printed if none is given.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

/// A longer packet than any network carries.
const PACKET: usize = 65_536;
/// Packets that wait for a client's task to look; a burst that is larger is lost.
const ARRIVED: usize = 1024;
/// Clients at once. A worker that connects again is another one, so the least used gives way.
const CLIENTS: usize = 256;
/// A client that says nothing for so long is gone.
const IDLE: Duration = Duration::from_secs(60);

/// Runs until Ctrl-C or SIGTERM.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    let relay = Relay::start(args.listen, args.to, args.up, args.down, seed).await?;
    println!("relay ready: {}", relay.addr());
    println!("seed {seed}");
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .context("SIGTERM cannot be caught")?;
    let cuts = async {
        if args.cut_every_s <= 0.0 {
            return std::future::pending().await;
        }
        loop {
            sleep(Duration::from_secs_f64(args.cut_every_s)).await;
            relay.cut(true);
            sleep(Duration::from_millis(args.cut_ms)).await;
            relay.cut(false);
        }
    };
    tokio::select! {
        biased;
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
        () = cuts => {}
    }
    println!("{}", relay.counts());
    Ok(())
}

/// A running relay; dropping it ends it.
pub struct Relay {
    addr: SocketAddr,
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct State {
    cut: AtomicBool,
    passed: AtomicU64,
    lost: AtomicU64,
    doubled: AtomicU64,
    reordered: AtomicU64,
    overflowed: AtomicU64,
}

/// What became of packets, both directions together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Sent on, doubles included.
    pub passed: u64,
    /// Lost by the dice, or while the line was cut.
    pub lost: u64,
    /// Sent on twice.
    pub doubled: u64,
    /// Sent on after a packet that came later.
    pub reordered: u64,
    /// Lost since a queue was full.
    pub overflowed: u64,
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Counts { passed, lost, doubled, reordered, overflowed } = self;
        write!(
            f,
            "{passed} packets passed, {lost} lost, {doubled} doubled, {reordered} reordered, {overflowed} did not fit"
        )
    }
}

/// Both directions of each client.
#[derive(Clone, Copy)]
struct Dice {
    up: Weather,
    down: Weather,
    seed: u64,
}

impl Relay {
    /// Listens on `listen` and passes on to `to`.
    pub async fn start(
        listen: SocketAddr,
        to: SocketAddr,
        up: Weather,
        down: Weather,
        seed: u64,
    ) -> anyhow::Result<Relay> {
        let front = UdpSocket::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
        let addr = front.local_addr()?;
        let state = Arc::new(State::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(stand(Arc::new(front), to, Dice { up, down, seed }, Arc::clone(&state)));
        Ok(Relay { addr, state, _tasks: tasks })
    }

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Cuts the line, or mends it.
    pub fn cut(&self, cut: bool) {
        self.state.cut.store(cut, Relaxed);
    }

    /// What became of packets so far.
    pub fn counts(&self) -> Counts {
        let State { passed, lost, doubled, reordered, overflowed, .. } = &*self.state;
        Counts {
            passed: passed.load(Relaxed),
            lost: lost.load(Relaxed),
            doubled: doubled.load(Relaxed),
            reordered: reordered.load(Relaxed),
            overflowed: overflowed.load(Relaxed),
        }
    }
}

/// Gives each client a task of its own.
async fn stand(front: Arc<UdpSocket>, to: SocketAddr, dice: Dice, state: Arc<State>) {
    let mut clients: HashMap<SocketAddr, (mpsc::Sender<Bytes>, Instant)> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; PACKET];
    let mut number = 0;
    loop {
        // An error is a client that went away, which the next packet does not suffer for.
        let Ok((len, from)) = front.recv_from(&mut buffer).await else { continue };
        while tasks.try_join_next().is_some() {}
        clients.retain(|_, (packets, _)| !packets.is_closed());
        if !clients.contains_key(&from) {
            if clients.len() == CLIENTS {
                let oldest = clients.iter().min_by_key(|(_, (_, heard))| *heard).map(|(addr, _)| *addr);
                oldest.map(|oldest| clients.remove(&oldest));
            }
            let (packets, arrived) = mpsc::channel(ARRIVED);
            clients.insert(from, (packets, Instant::now()));
            let dice = Dice { seed: dice.seed.wrapping_add(number), ..dice };
            number += 1;
            tasks.spawn(serve(Arc::clone(&front), from, to, arrived, dice, Arc::clone(&state)));
        }
        if let Some((packets, heard)) = clients.get_mut(&from) {
            *heard = Instant::now();
            if packets.try_send(Bytes::copy_from_slice(&buffer[..len])).is_err() {
                state.overflowed.fetch_add(1, Relaxed);
            }
        }
    }
}

/// One client, until it is silent for long or gives way to another.
async fn serve(
    front: Arc<UdpSocket>,
    client: SocketAddr,
    to: SocketAddr,
    mut arrived: mpsc::Receiver<Bytes>,
    dice: Dice,
    state: Arc<State>,
) {
    let any: SocketAddr = match to {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let Ok(back) = UdpSocket::bind(any).await else { return };
    if back.connect(to).await.is_err() {
        return;
    }
    let mut random = fastrand::Rng::with_seed(dice.seed);
    let mut up = Line::new(dice.up, random.fork());
    let mut down = Line::new(dice.down, random.fork());
    let mut buffer = vec![0; PACKET];
    let mut idle = Instant::now() + IDLE;
    loop {
        let due = [up.due(), down.due(), Some(idle)].into_iter().flatten().min().unwrap_or(idle);
        tokio::select! {
            biased;
            () = sleep_until(due) => {}
            packet = arrived.recv() => match packet {
                Some(packet) => {
                    idle = Instant::now() + IDLE;
                    enter(&mut up, packet, &state);
                }
                None => return,
            },
            // A server that is being started again refuses for a while.
            received = back.recv(&mut buffer) => if let Ok(len) = received {
                enter(&mut down, Bytes::copy_from_slice(&buffer[..len]), &state);
            },
        }
        let now = Instant::now();
        while let Some(packet) = up.leave(now) {
            pass(&packet, &state, back.send(&packet.bytes)).await;
        }
        while let Some(packet) = down.leave(now) {
            pass(&packet, &state, front.send_to(&packet.bytes, client)).await;
        }
        if now >= idle {
            return;
        }
    }
}

fn enter(line: &mut Line, packet: Bytes, state: &State) {
    if state.cut.load(Relaxed) {
        state.lost.fetch_add(1, Relaxed);
        return;
    }
    let fate = line.enter(packet, Instant::now());
    state.lost.fetch_add(fate.lost, Relaxed);
    state.doubled.fetch_add(fate.doubled, Relaxed);
    state.overflowed.fetch_add(fate.overflowed, Relaxed);
}

async fn pass(packet: &line::Packet, state: &State, sending: impl Future<Output = std::io::Result<usize>>) {
    state.reordered.fetch_add(packet.overtaken.into(), Relaxed);
    // A full socket is a full router.
    let sent = timeout_at(Instant::now() + Duration::from_millis(100), sending).await;
    if matches!(sent, Ok(Ok(_))) {
        state.passed.fetch_add(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pair(up: Weather) -> (Relay, UdpSocket, UdpSocket) {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = UdpSocket::bind(any).await.unwrap();
        let relay = Relay::start(any, server.local_addr().unwrap(), up, Weather::default(), 1).await.unwrap();
        let client = UdpSocket::bind(any).await.unwrap();
        client.connect(relay.addr()).await.unwrap();
        (relay, server, client)
    }

    #[tokio::test]
    async fn packets_pass_both_ways() {
        let (relay, server, client) = pair(Weather::default()).await;
        let mut buffer = [0; 16];
        client.send(b"there").await.unwrap();
        let (len, from) = server.recv_from(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..len], b"there");
        server.send_to(b"back", from).await.unwrap();
        let len = client.recv(&mut buffer).await.unwrap();
        assert_eq!((&buffer[..len], relay.counts().lost), (&b"back"[..], 0));
    }

    #[tokio::test]
    async fn what_is_doubled_arrives_twice_and_what_is_cut_never() {
        let (relay, server, client) = pair("duplicate=100%".parse().unwrap()).await;
        let mut buffer = [0; 16];
        relay.cut(true);
        client.send(b"lost").await.unwrap();
        while relay.counts().lost == 0 {
            tokio::task::yield_now().await;
        }
        relay.cut(false);
        client.send(b"twice").await.unwrap();
        for _ in 0..2 {
            let len = server.recv(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..len], b"twice");
        }
        assert_eq!(relay.counts().doubled, 1);
    }
}
