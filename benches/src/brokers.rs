//! Real brokers for tests and measurements: Debian's `redis-server` and `rabbitmq-server`, on spare ports of
//! the loopback, each with a folder of its own, ended by their process ids.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use queue::Key;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};
use wire::bare::rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use wire::bare::{lapin, redis};
use wire::broker::{Kind, Url};

/// RabbitMQ takes its time, and more on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(90);
/// How long one may take to end after SIGTERM.
const END_WITHIN: Duration = Duration::from_secs(20);

/// A broker of one's own. Dropping it kills it.
pub struct Broker {
    kind: Kind,
    folder: TempDir,
    port: u16,
    /// For RabbitMQ: of the daemon that Erlang's nodes find each other by, and of this node.
    erlang: Option<Erlang>,
    tls: Option<Tls>,
    /// For Redis: whether it writes down what it is told, and knows it after a restart.
    keeps: bool,
    process: Option<Child>,
}

/// A second door, with TLS.
struct Tls {
    port: u16,
    authority: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

struct Erlang {
    names: u16,
    node: u16,
    /// Started here, or the first node would leave one behind for the whole machine.
    _daemon: Child,
}

impl Broker {
    /// Starts one, empty.
    pub async fn start(kind: Kind) -> anyhow::Result<Broker> {
        Self::start_as(kind, false, false).await
    }

    /// Starts a Redis that comes back with all that it had (an append-only file).
    pub async fn start_redis_that_keeps() -> anyhow::Result<Broker> {
        Self::start_as(Kind::Redis, false, true).await
    }

    /// Starts one that speaks TLS too, under an authority of its own.
    pub async fn start_with_tls(kind: Kind) -> anyhow::Result<Broker> {
        Self::start_as(kind, true, false).await
    }

    async fn start_as(kind: Kind, tls: bool, keeps: bool) -> anyhow::Result<Broker> {
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let tls = if tls { Some(Tls::new(folder.path())?) } else { None };
        let erlang = match kind {
            Kind::Amqp => Some(Erlang::start().await?),
            _ => None,
        };
        let mut broker = Broker { kind, folder, port: spare_port()?, erlang, tls, keeps, process: None };
        broker.start_again().await?;
        Ok(broker)
    }

    /// Where it is, or will be again.
    pub fn url(&self) -> Url {
        let text = match self.kind {
            Kind::Amqp => format!("amqp://guest:guest@127.0.0.1:{}", self.port),
            _ => format!("redis://127.0.0.1:{}", self.port),
        };
        text.parse().expect("a broker's address")
    }

    /// The same as text, with the password, for a command line.
    pub fn address(&self) -> String {
        match self.kind {
            Kind::Amqp => format!("amqp://guest:guest@127.0.0.1:{}", self.port),
            _ => format!("redis://127.0.0.1:{}", self.port),
        }
    }

    /// Where it speaks TLS, and the file with the certificate of the authority that it is known by.
    pub fn tls(&self) -> Option<(String, &Path)> {
        let Tls { port, authority, .. } = self.tls.as_ref()?;
        let address = match self.kind {
            Kind::Amqp => format!("amqps://guest:guest@localhost:{port}"),
            _ => format!("rediss://localhost:{port}"),
        };
        Some((address, authority))
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().and_then(Child::id)
    }

    /// Kills it: SIGKILL, no goodbye.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill().await.context("cannot kill a broker")?;
        }
        Ok(())
    }

    /// Asks it to end, as an operator would.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        if let Some(pid) = process.id() {
            let pid = Pid::from_raw(pid.try_into().context("a process id beyond the system's range")?);
            kill(pid, Signal::SIGTERM).context("cannot stop a broker")?;
        }
        if timeout(END_WITHIN, process.wait()).await.is_err() {
            process.kill().await.context("cannot kill a broker")?;
        }
        Ok(())
    }

    /// Sends it a signal: SIGSTOP makes it stand still with all connections open, SIGCONT lets it go on.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = self.pid().context("it does not run")?;
        let pid = Pid::from_raw(pid.try_into().context("a process id beyond the system's range")?);
        kill(pid, signal).with_context(|| format!("cannot send {signal} to a broker"))
    }

    /// Starts it at the same address. A Redis comes back empty unless it keeps things; a RabbitMQ has its queues, without messages.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        let mut command = match &self.erlang {
            Some(erlang) => erlang.rabbitmq(self.folder.path(), self.port, self.tls.as_ref())?,
            None => {
                let mut redis = plain_redis(self.folder.path(), self.port, self.tls.as_ref());
                if self.keeps {
                    // Else what it has said yes to may wait for the disk, and be lost when it is killed.
                    redis.args(["--appendonly", "yes", "--appendfsync", "no"]);
                }
                redis
            }
        };
        let log = std::fs::File::create(self.log()).context("no log")?;
        command.stdin(Stdio::null()).stdout(log.try_clone().context("no log")?).stderr(log);
        let process = command.process_group(0).kill_on_drop(true).spawn();
        self.process = Some(process.context("run scripts/setup test, which installs the brokers")?);
        let begin = Instant::now();
        // It may accept connections before it serves them, so it is asked as a worker would ask.
        while let Err(error) = self.answers().await {
            let ended = self.process.as_mut().is_none_or(|process| !matches!(process.try_wait(), Ok(None)));
            if ended || begin.elapsed() > READY_WITHIN {
                let log = std::fs::read_to_string(self.log()).unwrap_or_default();
                bail!("no {} within {:?}: {error:#}\n{log}", self.kind.name(), begin.elapsed());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Asks a Redis something, from outside of all that is tested; gives its word as text.
    pub async fn redis(&self, words: &[&str]) -> anyhow::Result<String> {
        let client = redis::Client::open(self.address())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let mut command = redis::cmd(words.first().context("a command")?);
        command.arg(&words[1..]);
        let said: redis::Value = command.query_async(&mut connection).await?;
        Ok(redis::from_redis_value(said)?)
    }

    /// How many jobs of a key lie there; those in workers' hands count on Redis alone.
    pub async fn jobs(&self, key: &Key) -> anyhow::Result<u64> {
        if self.kind == Kind::Redis {
            return Ok(self.redis(&["XLEN", &format!("framelane:jobs:{key}")]).await?.parse()?);
        }
        let connection = lapin::Connection::connect(&self.address(), Default::default()).await?;
        let channel = connection.create_channel().await?;
        let passive = lapin::options::QueueDeclareOptions::default().passive();
        let queue = format!("framelane.jobs.{key}");
        let queue = channel.queue_declare(queue.into(), passive, Default::default()).await?;
        let jobs = queue.message_count().into();
        connection.close(200, "done".into()).await?;
        Ok(jobs)
    }

    /// Lays any bytes where a key's jobs lie.
    pub async fn put_in(&self, key: &Key, bytes: &[u8]) -> anyhow::Result<()> {
        if self.kind == Kind::Redis {
            let client = redis::Client::open(self.address())?;
            let mut connection = client.get_multiplexed_async_connection().await?;
            let stream = format!("framelane:jobs:{key}");
            let mut add = redis::cmd("XADD");
            return Ok(add.arg(stream).arg("*").arg("m").arg(bytes).exec_async(&mut connection).await?);
        }
        let connection = lapin::Connection::connect(&self.address(), Default::default()).await?;
        let channel = connection.create_channel().await?;
        let queue = format!("framelane.jobs.{key}");
        channel.confirm_select(Default::default()).await?;
        channel
            .basic_publish("".into(), queue.into(), Default::default(), bytes, Default::default())
            .await?
            .await?;
        Ok(connection.close(200, "done".into()).await?)
    }

    /// A connection to a RabbitMQ of one's own, to do to it what people may do.
    pub async fn rabbitmq(&self) -> anyhow::Result<(lapin::Connection, lapin::Channel)> {
        let connection = lapin::Connection::connect(&self.address(), Default::default()).await?;
        let channel = connection.create_channel().await?;
        Ok((connection, channel))
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    async fn answers(&self) -> anyhow::Result<()> {
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await?;
        let config = wire::broker::server::Config {
            server: "test".into(),
            keys: Vec::new(),
            credit: 1,
            limits: wire::framing::Limits::default(),
            before: None,
        };
        let (sender, _events) = wire::broker::server::connect(&self.url(), config).await?;
        sender.leave().await;
        Ok(())
    }
}

/// A port that nobody listens on now.
pub fn spare_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no spare port")?;
    Ok(listener.local_addr().context("no spare port")?.port())
}

/// A command that becomes the program after it, which the kernel then ends with the thread that started it: a test
/// that is killed leaves nothing behind. Not for what a thread starts that ends before its process does.
pub const MORTAL: [&str; 4] = ["setpriv", "--pdeathsig", "KILL", "--"];

fn mortal(program: &Path) -> Command {
    let [setpriv, options @ ..] = MORTAL;
    let mut command = Command::new(setpriv);
    command.args(options).arg(program);
    command
}

impl Tls {
    /// Makes an authority and a certificate for this host.
    fn new(folder: &Path) -> anyhow::Result<Tls> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let port = spare_port()?;
        // Two of one name would be taken for one with a broken signature.
        params.distinguished_name.push(DnType::CommonName, format!("authority of {port}"));
        let authority_key = KeyPair::generate()?;
        let authority = params.self_signed(&authority_key)?;
        let issuer = Issuer::new(params, authority_key);
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec!["localhost".to_owned()])?.signed_by(&key, &issuer)?;
        let write = |name: &str, text: String| {
            let path = folder.join(name);
            std::fs::write(&path, text).context("no certificate")?;
            anyhow::Ok(path)
        };
        Ok(Tls {
            port,
            authority: write("authority.pem", authority.pem())?,
            certificate: write("certificate.pem", certificate.pem())?,
            key: write("key.pem", key.serialize_pem())?,
        })
    }
}

fn plain_redis(folder: &Path, port: u16, tls: Option<&Tls>) -> Command {
    let mut command = mortal("redis-server".as_ref());
    if let Some(Tls { port, authority, certificate, key }) = tls {
        command.arg("--tls-port").arg(port.to_string()).arg("--tls-ca-cert-file").arg(authority);
        command.arg("--tls-cert-file").arg(certificate).arg("--tls-key-file").arg(key);
        command.args(["--tls-auth-clients", "no"]);
    }
    command
        .arg("--port")
        .arg(port.to_string())
        .args(["--bind", "127.0.0.1", "--save", "", "--dir"])
        .arg(folder);
    command
}

impl Erlang {
    async fn start() -> anyhow::Result<Erlang> {
        let names = spare_port()?;
        let mut daemon = mortal("epmd".as_ref());
        daemon.args(["-address", "127.0.0.1", "-port"]).arg(names.to_string());
        daemon
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true);
        let daemon = daemon.spawn().context("run scripts/setup test, which installs Erlang")?;
        Ok(Erlang { names, node: spare_port()?, _daemon: daemon })
    }

    /// RabbitMQ as this user, all that it writes in the folder. What Debian has on the path insists on root
    /// and on a user of its own.
    fn rabbitmq(&self, folder: &Path, port: u16, tls: Option<&Tls>) -> anyhow::Result<Command> {
        let lib = Path::new("/usr/lib/rabbitmq/lib");
        let versions = std::fs::read_dir(lib).context("run scripts/setup test, which installs RabbitMQ")?;
        let program = versions.flatten().map(|version| version.path().join("sbin/rabbitmq-server"));
        let program = program.filter(|program| program.is_file()).max().context("no rabbitmq-server")?;
        let plugins = folder.join("plugins");
        std::fs::write(&plugins, "[].\n").context("no list of plugins")?;
        let config = folder.join("rabbitmq.conf");
        let mut lines = "disk_free_limit.absolute = 1MB\n".to_owned();
        if let Some(Tls { port, authority, certificate, key }) = tls {
            let (authority, certificate, key) = (authority.display(), certificate.display(), key.display());
            lines += &format!(
                "listeners.ssl.1 = 127.0.0.1:{port}\nssl_options.cacertfile = {authority}\n\
                 ssl_options.certfile = {certificate}\nssl_options.keyfile = {key}\n\
                 ssl_options.verify = verify_none\n"
            );
        }
        std::fs::write(&config, lines).context("no config")?;
        let path = |path: &Path| path.as_os_str().to_owned();
        let text = |text: String| OsString::from(text);
        let mut command = mortal(&program);
        command.env_remove("RABBITMQ_ALLOW_INPUT").envs([
            ("HOME", path(folder)),
            // Then the script becomes the server, and its process id is the server's.
            ("RUNNING_UNDER_SYSTEMD", text("1".into())),
            ("RABBITMQ_NODENAME", text(format!("framelane{port}@localhost"))),
            ("RABBITMQ_NODE_IP_ADDRESS", text("127.0.0.1".into())),
            ("RABBITMQ_NODE_PORT", text(port.to_string())),
            ("RABBITMQ_DIST_PORT", text(self.node.to_string())),
            ("RABBITMQ_MNESIA_BASE", path(folder)),
            ("RABBITMQ_LOG_BASE", path(folder)),
            ("RABBITMQ_LOGS", text("-".into())),
            ("RABBITMQ_CONFIG_FILE", path(&config)),
            ("RABBITMQ_CONF_ENV_FILE", path(&folder.join("none"))),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", path(&plugins)),
            ("ERL_EPMD_ADDRESS", text("127.0.0.1".into())),
            ("ERL_EPMD_PORT", text(self.names.to_string())),
            (
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                text("+sbwt none -kernel inet_dist_use_interface {127,0,0,1}".into()),
            ),
        ]);
        Ok(command)
    }
}
