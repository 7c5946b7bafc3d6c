//! Finds a job that hangs.
//!
//! A thread that hangs cannot be ended from outside without ending the process: whoever runs the watchdog
//! does that, and whatever started the process starts it again. Until then the server gives the hung job
//! to another worker once its time is over.

use std::fmt;
use std::time::Duration;

use crate::host::{Host, Running};

/// The code with which a process ends since a job hung: to be started again.
pub const HUNG: i32 = 86;

/// A job that takes longer than any should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hung(pub Running);

impl fmt::Display for Hung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Hung(Running { thread, key, job, time }) = self;
        write!(f, "thread {thread} has worked on {key} for {:.1} s (job {job})", time.as_secs_f64())
    }
}

/// Looks after the host and ends when one of its threads has been at a job for longer than `after`.
pub async fn watch(host: &Host, after: Duration) -> Hung {
    // Found at most a quarter late; more often would be no use.
    let mut looks = tokio::time::interval((after / 4).max(Duration::from_millis(1)));
    loop {
        looks.tick().await;
        if let Some(running) = host.longest().filter(|running| running.time > after) {
            return Hung(running);
        }
    }
}

/// As [`watch`], where hung jobs are looked for at all.
pub async fn watch_if(host: &Host, after: Option<Duration>) -> Hung {
    match after {
        Some(after) => watch(host, after).await,
        None => std::future::pending().await,
    }
}

/// Ends this process with [`HUNG`].
pub fn end(hung: &Hung) -> ! {
    tracing::error!("{hung}: it hangs, ending this process with {HUNG}");
    // A hung thread can hold what the libraries' exit handlers wait for.
    std::thread::spawn(|| {
        std::thread::sleep(Duration::from_secs(2));
        std::process::abort();
    });
    std::process::exit(HUNG)
}
