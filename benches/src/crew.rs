//! Worker processes for a pool in this process.

use std::path::Path;

use anyhow::Context;

use crate::child::Child;
use crate::pool::Pool;

/// How many workers share a process, to spare memory; each has a connection and threads of its own.
const A_PROCESS: usize = 8;

/// Running worker processes; dropping it kills them.
pub struct Crew {
    children: Vec<Child>,
}

impl Crew {
    /// Starts `workers` workers with further arguments, each process with so many, and waits until they
    /// have joined. Their identities are kept in `folder`.
    pub async fn start(
        pool: &Pool,
        folder: &Path,
        workers: usize,
        a_process: Option<usize>,
        args: &[&str],
    ) -> anyhow::Result<Crew> {
        let (server, token) = (pool.addr().to_string(), pool.token()?);
        let mut children = Vec::new();
        let mut left = workers;
        while left > 0 {
            let here = left.min(a_process.unwrap_or(A_PROCESS));
            let name = format!("w{}", children.len());
            let state = folder.join(&name);
            let state = state.to_str().context("the temporary folder has an odd name")?;
            let count = here.to_string();
            let fixed = ["worker", "--server", &server, "--token", &token, "--name", &name];
            let fixed = fixed.into_iter().chain(["--state", state, "--connections", &count]);
            children.push(Child::start("framelane-bench", fixed.chain(args.iter().copied()), "warn")?);
            left -= here;
        }
        pool.joined(workers).await?;
        Ok(Crew { children })
    }

    /// The processes.
    pub fn pids(&self) -> Vec<u32> {
        self.children.iter().filter_map(Child::pid).collect()
    }

    /// Lets them finish and leave.
    pub async fn end(self) -> anyhow::Result<()> {
        for child in &self.children {
            child.signal(nix::sys::signal::Signal::SIGTERM)?;
        }
        for child in self.children {
            child.end().await?;
        }
        Ok(())
    }
}
