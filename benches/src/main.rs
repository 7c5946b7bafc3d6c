//! `framelane-bench`: the test camera, the demo, and what is measured.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Parser, Subcommand};
use tokio::runtime::Runtime;
use worker::Drive;
use worker::signals::Signals;

#[cfg(not(target_env = "msvc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Measures Framelane, and shows it.
#[derive(Parser)]
#[command(name = "framelane-bench", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// What to log: `warn`, `info`, or a filter such as `framelane_media=debug,info`.
    #[arg(long, global = true, env = "FRAMELANE_LOG", default_value = "warn", value_name = "FILTER")]
    log: String,
}

#[derive(Subcommand)]
enum Command {
    /// A test camera: an RTSP server that plays a clip or a synthetic scene.
    Camera(framelane_bench::camera::Args),
    /// Camera, server and worker on this machine, until Ctrl-C.
    Demo(framelane_bench::demo::Args),
    /// Frames per second from end to end, beside what its stages allow.
    Fps(framelane_bench::fps::Args),
    /// What the queue and the wire cost, beside bare quinn and pyzmq.
    Dispatch(framelane_bench::dispatch::Args),
    /// Small tasks, beside Celery, Dramatiq and Redis.
    Wordcount(framelane_bench::wordcount::Args),
    /// Workers in Python, beside Celery and pyzmq.
    Python(framelane_bench::python::Args),
    /// Does the throughput of N workers come to N times that of one?
    Scale(framelane_bench::scale::Args),
    /// Small tasks through Redis and RabbitMQ, beside a bare loop of the same client library.
    Lanes(framelane_bench::lanes::Args),
    /// Real processes and real trouble: is every promise kept?
    Chaos(framelane_bench::chaos::Args),
    /// A bad network: passes UDP on, and loses, delays, reorders and doubles it on the way.
    Relay(framelane_bench::relay::Args),
    /// A table in Markdown of figures that `--json` wrote.
    Table(framelane_bench::table::Args),
    /// A worker that may misbehave, for the other subcommands.
    #[command(hide = true)]
    Worker(framelane_bench::outsider::Args),
    /// The far end of a bare QUIC pair, for the other subcommands.
    #[command(hide = true)]
    Bare(framelane_bench::bare::Args),
    /// The far end of a bare loop through a broker, for the other subcommands.
    #[command(hide = true)]
    LanesBare(framelane_bench::lanes::Bare),
    /// A server that tells all that leaves it, for the other subcommands.
    #[command(hide = true)]
    Coordinator(framelane_bench::coordinator::Args),
}

/// How long threads that block may take to end.
const SHUTDOWN: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    let Cli { command, log } = Cli::parse();
    let done = match command {
        // As `framelane-worker` has it.
        Command::Worker(args) => Drive::new().map(|mut drive| {
            let wheel = drive.wheel();
            drive.block_on(told(log, framelane_bench::outsider::run(args, wheel)))
        }),
        command => Runtime::new().map(|runtime| {
            let code = runtime.block_on(told(log, run(command)));
            // After a signal a thread may be in the middle of a measurement still.
            runtime.shutdown_timeout(SHUTDOWN);
            code
        }),
    };
    done.unwrap_or_else(|error| {
        eprintln!("framelane-bench: no runtime: {error}");
        ExitCode::FAILURE
    })
}

/// Logs while `work` goes on, and tells how it ended.
async fn told(log: String, work: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    let _logging = match worker::kit::Log::to_stderr(&log).start() {
        Ok(logging) => logging,
        Err(error) => {
            eprintln!("framelane-bench: {error}");
            return ExitCode::from(2);
        }
    };
    match work.await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("framelane-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures until a signal, if one comes. What was started for it ends with it, which it would not if the signal ended
/// this process: the others do not see a Ctrl-C in the terminal.
async fn measure(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let mut signals = Signals::catch().context("signals cannot be caught")?;
    tokio::select! {
        signal = signals.next() => anyhow::bail!("ended by {signal} before all was measured"),
        done = work => done,
    }
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Camera(args) => framelane_bench::camera::run(args).await,
        Command::Demo(args) => framelane_bench::demo::run(args).await,
        Command::Fps(args) => measure(framelane_bench::fps::run(args)).await,
        Command::Dispatch(args) => measure(framelane_bench::dispatch::run(args)).await,
        Command::Bare(args) => framelane_bench::bare::run(args).await,
        Command::Wordcount(args) => measure(framelane_bench::wordcount::run(args)).await,
        Command::Python(args) => measure(framelane_bench::python::run(args)).await,
        Command::Scale(args) => measure(framelane_bench::scale::run(args)).await,
        Command::Chaos(args) => measure(framelane_bench::chaos::run(args)).await,
        Command::Lanes(args) => measure(framelane_bench::lanes::run(args)).await,
        Command::LanesBare(args) => framelane_bench::lanes::bare(args).await,
        Command::Relay(args) => framelane_bench::relay::run(args).await,
        Command::Table(args) => framelane_bench::table::run(&args),
        Command::Worker(args) => framelane_bench::outsider::run(args, None).await,
        Command::Coordinator(args) => framelane_bench::coordinator::run(args).await,
    }
}
