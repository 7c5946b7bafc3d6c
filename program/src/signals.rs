//! The signals that ask a program to end: SIGTERM and SIGINT on Unix, Ctrl-C elsewhere.

use std::io;

use tokio_util::sync::CancellationToken;

/// The code of a process that a second signal ended at once.
const CUT_SHORT: i32 = 130;

/// The token that the first signal cancels: finish what is in hand. The second one ends the process with 130.
/// Must be called within a tokio runtime, and once in a process.
///
/// # Errors
/// The system does not let the signals be caught.
pub fn stop() -> io::Result<CancellationToken> {
    let mut signals = Signals::catch()?;
    let stop = CancellationToken::new();
    let first = stop.clone();
    tokio::spawn(async move {
        let signal = signals.next().await;
        tracing::info!(signal, "stopping: what is in hand may finish; again to stop at once");
        first.cancel();
        let signal = signals.next().await;
        tracing::warn!(signal, "stopped at once; what was in hand is lost");
        std::process::exit(CUT_SHORT);
    });
    Ok(stop)
}

/// These signals one by one, for a program that has nothing to finish.
#[cfg(unix)]
#[derive(Debug)]
pub struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    /// From here on they end the process no more. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The system does not let them be caught.
    pub fn catch() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next one and gives its name.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "Ctrl-C",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// These signals one by one, for a program that has nothing to finish.
#[cfg(not(unix))]
#[derive(Debug)]
pub struct Signals;

#[cfg(not(unix))]
impl Signals {
    /// From the first [`next`](Self::next) on they end the process no more.
    ///
    /// # Errors
    /// None here.
    #[allow(clippy::unnecessary_wraps, reason = "alike on every system")]
    pub fn catch() -> io::Result<Self> {
        Ok(Self)
    }

    /// Waits for the next one and gives its name.
    pub async fn next(&mut self) -> &'static str {
        match tokio::signal::ctrl_c().await {
            Ok(()) => "Ctrl-C",
            // It cannot be caught, so none will come.
            Err(_) => std::future::pending().await,
        }
    }
}
