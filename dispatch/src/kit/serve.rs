//! A coordinator of pushed tasks that is a program: its command line, its folder, and where it listens.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use queue::Key;
use tokio_util::sync::CancellationToken;
use wire::identity::{Authority, Hold};
use wire::server::Clients;

use super::Error;
use crate::lane::local;
use crate::tasks::{Config, Server};

/// The folder of a coordinator; for a program's command line.
#[derive(Debug, Clone, clap::Args)]
// A program's own subcommand may have the same name, and groups must not.
#[group(skip)]
pub struct State {
    /// The coordinator's folder: its keys, tokens and records.
    #[arg(
        id = "state",
        long = "state",
        env = "FRAMELANE_TASKS_STATE",
        default_value = ".framelane-tasks",
        value_name = "DIR"
    )]
    pub folder: PathBuf,
}

/// The file in which a coordinator says where it listens.
const ADDRESS: &str = "address";

impl State {
    /// Where the coordinator with this folder listens, as this host reaches it.
    ///
    /// # Errors
    /// None was ever started with it, or the file cannot be read.
    pub fn address(&self) -> Result<SocketAddr, Error> {
        let path = self.folder.join(ADDRESS);
        let system = |what: &str, source| Error::System { what: format!("{}{what}", path.display()), source };
        let text = std::fs::read_to_string(&path)
            .map_err(|source| system(": no coordinator was ever started here; give --server", source))?;
        let mut address: SocketAddr =
            text.trim().parse().map_err(|source| system("", std::io::Error::other(source)))?;
        if address.ip().is_unspecified() {
            address.set_ip(match address.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        Ok(address)
    }
}

/// Takes tasks that clients push; for a program's command line.
#[derive(Debug, Clone, clap::Args)]
// A program's own subcommand may have the same name, and groups must not.
#[group(skip)]
pub struct Serve {
    #[command(flatten)]
    state: State,
    /// Where workers and clients connect (UDP).
    #[arg(long, env = "FRAMELANE_TASKS_BIND", default_value = "127.0.0.1:4434", value_name = "ADDRESS:PORT")]
    bind: SocketAddr,
    /// The most tasks of one client that may be unanswered.
    #[arg(long, value_name = "N", default_value = "4096")]
    window: NonZeroU32,
    /// How many failures end a task; 0: none does.
    #[arg(long, value_name = "N", default_value_t = 3)]
    attempts: u32,
    /// How long a stop waits for tasks under way, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    grace: u64,
    /// For how many milliseconds after some work to look for more without sleeping. It takes a processor for that
    /// long, and spares the next task the time to wake one up.
    #[arg(long, env = "FRAMELANE_TASKS_BUSY_POLL", value_name = "MS", default_value_t = 0)]
    busy_poll: u32,
    #[cfg(any(feature = "redis", feature = "amqp"))]
    #[command(flatten)]
    brokers: super::Brokers,
}

impl Serve {
    /// Whether it wants a runtime of one thread, see [`crate::Config::busy_poll`].
    pub fn polls(&self) -> bool {
        self.busy_poll > 0
    }

    /// Serves until `stop`, or until an operator says so, with these threads beside the workers that dial in. The
    /// workers behind brokers get tasks of these keys.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn run(
        self,
        threads: Option<local::Config>,
        keys: impl IntoIterator<Item = Key>,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        let folder = self.state.folder;
        let keys: Vec<Key> = keys.into_iter().collect();
        #[cfg(any(feature = "redis", feature = "amqp"))]
        let brokers = self.brokers.lanes(&keys)?;
        // Until the end: a second one would put its address in the place of this one's.
        let _hold = Hold::take(&folder)?;
        let authority = Authority::load_or_create(&folder)?;
        let mut config = Config::new(self.bind);
        config.wire.clients = Some(Clients { tasks: self.window.get(), ..Clients::default() });
        config.client.attempts = NonZeroU32::new(self.attempts);
        config.grace = Duration::from_secs(self.grace);
        config.busy_poll = Duration::from_millis(self.busy_poll.into());
        let server = Server::bind(authority, config)?;
        let server = threads.into_iter().fold(server, Server::threads);
        #[cfg(any(feature = "redis", feature = "amqp"))]
        let server = brokers.into_iter().fold(server, Server::broker);
        let address = server.local_addr();
        tell(&folder, address)
            .map_err(|source| Error::System { what: format!("{}", folder.display()), source })?;
        tracing::info!(%address, state = %folder.display(), "a coordinator of tasks is ready");
        Ok(server.run(stop).await?)
    }
}

/// Writes where it listens, whole at once: who waits for the file must not read half of it.
fn tell(state: &Path, address: SocketAddr) -> std::io::Result<()> {
    let written = state.join(format!("{ADDRESS}.new"));
    std::fs::write(&written, format!("{address}\n"))?;
    std::fs::rename(written, state.join(ADDRESS))
}
