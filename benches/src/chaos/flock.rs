//! The workers of a scenario: started, tended, killed, stopped.

use std::net::SocketAddr;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use tokio::time::Instant;

use super::namespace::Namespace;
use super::recovery::Losses;
use super::scenario::Load;
use crate::brokers::MORTAL;
use crate::child::Child;
use crate::clock;
use crate::outsider::name;

/// One worker process.
struct Hand {
    number: usize,
    fault: &'static str,
    namespace: Option<Namespace>,
    child: Option<Child>,
    /// How often it was started.
    lives: u32,
    stopped_until: Option<Instant>,
}

impl Hand {
    /// The same in all its lives.
    fn identity(&self) -> String {
        format!("{}-{}", self.fault.split(':').next().unwrap_or_default(), self.number)
    }

    /// What its present process is called.
    fn process(&self) -> String {
        format!("{}.{}", self.identity(), self.lives)
    }
}

/// Which hand a worker is, whichever its life and connection.
pub(super) fn identity_of(worker: &str) -> &str {
    worker.split_once('.').map_or(worker, |(identity, _)| identity)
}

/// All workers. Dropping it kills them.
pub(super) struct Flock {
    folder: PathBuf,
    server: SocketAddr,
    token: String,
    seed: u64,
    load: Load,
    hands: Vec<Hand>,
    /// When workers were lost.
    pub(super) losses: Losses,
}

impl Flock {
    /// The workers, none of which is started yet. `namespaces` is empty or has one for each.
    pub(super) fn new(
        folder: PathBuf,
        server: SocketAddr,
        token: String,
        seed: u64,
        workers: &[(usize, &'static str)],
        load: Load,
        namespaces: Vec<Namespace>,
    ) -> Flock {
        let mut namespaces = namespaces.into_iter();
        let faults = workers.iter().flat_map(|(count, fault)| std::iter::repeat_n(*fault, *count));
        let hands = faults
            .enumerate()
            .map(|(number, fault)| Hand {
                number,
                fault,
                namespace: namespaces.next(),
                child: None,
                lives: 0,
                stopped_until: None,
            })
            .collect();
        Flock { folder, server, token, seed, load, hands, losses: Losses::default() }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.hands.len()
    }

    /// Starts those that do not run, as a supervisor would, and lets those go on whose stop is over.
    pub(super) fn tend(&mut self) -> anyhow::Result<()> {
        self.tend_first(self.hands.len())
    }

    /// The first of them alone.
    pub(super) fn tend_first(&mut self, count: usize) -> anyhow::Result<()> {
        for index in 0..count {
            let hand = &mut self.hands[index];
            if hand.stopped_until.is_some_and(|until| until <= Instant::now()) {
                hand.stopped_until = None;
                if let Some(child) = &hand.child {
                    child.signal(Signal::SIGCONT)?;
                }
            }
            if hand.child.as_mut().is_none_or(Child::has_ended) {
                hand.lives += 1;
                let child = self.spawn(index)?;
                self.hands[index].child = Some(child);
            }
        }
        Ok(())
    }

    fn spawn(&self, index: usize) -> anyhow::Result<Child> {
        let hand = &self.hands[index];
        let mut server = self.server;
        if let Some(namespace) = &hand.namespace {
            server.set_ip(namespace.host().into());
        }
        let name = hand.process();
        let state = self.folder.join(hand.identity());
        let seed = self.seed.wrapping_add(1000 * hand.number as u64).to_string();
        let server = server.to_string();
        let Load { service_ms, threads, credit, .. } = self.load;
        let [service_ms, threads, credit] = [service_ms, threads, credit].map(|number| number.to_string());
        let args = [
            ["--server", &server],
            ["--token", &self.token],
            ["--name", &name],
            ["--service-ms", &service_ms],
            ["--credit", &credit],
            ["--threads", &threads],
            ["--fault", hand.fault],
            ["--seed", &seed],
        ];
        let state = ["--state".as_ref(), state.as_os_str()];
        let args = ["worker"].into_iter().chain(args.into_iter().flatten()).map(AsRef::as_ref).chain(state);
        // Or a worker would outlive a bench that is killed.
        let mut by = MORTAL.map(str::to_owned).to_vec();
        by.extend(hand.namespace.iter().flat_map(Namespace::enter));
        let mut child = Child::start_by(&by, "framelane-bench", args, "off")?;
        if let Some(mut lines) = child.lines() {
            let losses = self.losses.clone();
            tokio::spawn(async move {
                while let Ok(Some(line)) = lines.next_line().await {
                    if let Some((name, at_us)) = name::read_closed(&line) {
                        losses.note(name.to_owned(), at_us);
                    }
                }
            });
        }
        Ok(child)
    }

    /// Kills one that runs.
    pub(super) fn kill(&mut self, random: &mut fastrand::Rng) -> anyhow::Result<()> {
        let losses = self.losses.clone();
        if let Some(hand) = self.one(random)
            && let Some(child) = &hand.child
        {
            losses.note(name::worker(&hand.process(), 0), clock::micros());
            child.signal(Signal::SIGKILL)?;
        }
        Ok(())
    }

    /// Stops one that runs until a moment.
    pub(super) fn stop(&mut self, random: &mut fastrand::Rng, until: Instant) -> anyhow::Result<()> {
        if let Some(hand) = self.one(random) {
            if let Some(child) = &hand.child {
                child.signal(Signal::SIGSTOP)?;
            }
            hand.stopped_until = Some(until);
        }
        Ok(())
    }

    /// Cuts the cable of one, or mends all.
    pub(super) fn cut(&mut self, random: &mut fastrand::Rng, cut: bool) -> anyhow::Result<()> {
        if cut {
            return self
                .one(random)
                .and_then(|hand| hand.namespace.as_ref())
                .map_or(Ok(()), |it| it.cut(true));
        }
        self.hands.iter().filter_map(|hand| hand.namespace.as_ref()).try_for_each(|it| it.cut(false))
    }

    /// One that is not stopped.
    fn one(&mut self, random: &mut fastrand::Rng) -> Option<&mut Hand> {
        let mut running: Vec<_> = self
            .hands
            .iter_mut()
            .filter(|hand| hand.child.is_some() && hand.stopped_until.is_none())
            .collect();
        if running.is_empty() {
            return None;
        }
        let index = random.usize(..running.len());
        Some(running.swap_remove(index))
    }
}
