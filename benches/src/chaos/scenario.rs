//! The kinds of trouble.

/// Who works, and what happens meanwhile.
#[derive(Debug)]
pub(super) struct Scenario {
    /// Its name on the command line.
    pub(super) name: &'static str,
    /// For people.
    pub(super) about: &'static str,
    /// How many workers with which fault.
    pub(super) workers: &'static [(usize, &'static str)],
    /// How much they have to do.
    pub(super) load: Load,
    /// What happens to them.
    pub(super) acts: Acts,
    /// How they reach the server.
    pub(super) road: Road,
}

impl Scenario {
    /// How many workers there are.
    pub(super) fn count(&self) -> usize {
        self.workers.iter().map(|(count, _)| count).sum()
    }

    /// How many workers join before the others: those that fail all they get, so that whoever is asked in order of
    /// joining asks them first.
    pub(super) fn first(&self) -> usize {
        self.workers.iter().filter(|(_, fault)| *fault == "fail").map(|(count, _)| count).sum()
    }

    /// Whether one of the workers is there and never answers.
    pub(super) fn has_silent(&self) -> bool {
        self.workers.iter().any(|(_, fault)| *fault == "hold")
    }
}

/// How much there is to do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// Items a second of each flow.
    pub(super) rate: u32,
    /// What an honest worker sleeps over a job, in milliseconds.
    pub(super) service_ms: u32,
    /// How many jobs it works on at once.
    pub(super) threads: u32,
    /// How many it takes, so that one that dies holds something.
    pub(super) credit: u32,
}

/// Less than the workers can do, so that those that are left can do it too.
const USUAL: Load = Load { rate: 75, service_ms: 10, threads: 2, credit: 4 };
/// Every worker has several jobs in hand at any moment, and there is always room at another: each loss shows
/// how long several items are without a worker.
const IN_HAND: Load = Load { rate: 150, service_ms: 50, threads: 16, credit: 16 };

/// What happens, and how often in seconds; 0 is never.
#[derive(Debug, Clone, Copy)]
pub(super) struct Acts {
    /// SIGKILL of one worker, which is started again.
    pub(super) kill: f64,
    /// SIGSTOP of one worker, and SIGCONT a second later.
    pub(super) stop: f64,
    /// The road is cut for a second: all of it, or one worker's where each has its own.
    pub(super) cut: f64,
    /// Whether the coordinator dies at half time and is started again.
    pub(super) restart: bool,
}

/// What lies between workers and coordinator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Road {
    /// The loopback, and shared memory for bodies.
    Plain,
    /// The relay, in bad weather both ways.
    Relay(&'static str),
    /// A network namespace for each worker, with an address of its own.
    Namespaces,
}

const NOTHING: Acts = Acts { kill: 0.0, stop: 0.0, cut: 0.0, restart: false };
/// A poor mobile link.
const BAD: &str = "loss=2%,duplicate=1%,delay=10ms,jitter=20ms,reorder=5%";

/// All of them, in the order in which they are played.
pub(super) static SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "kill",
        about: "every 2 s a worker dies by SIGKILL",
        workers: &[(4, "none")],
        load: IN_HAND,
        acts: Acts { kill: 2.0, ..NOTHING },
        road: Road::Plain,
    },
    Scenario {
        name: "spare",
        about: "every 2 s a worker dies by SIGKILL, though most have nothing to do",
        workers: &[(4, "none")],
        load: USUAL,
        acts: Acts { kill: 2.0, ..NOTHING },
        road: Road::Plain,
    },
    Scenario {
        name: "closed",
        about: "two workers of four close their connections with work in hand",
        workers: &[(2, "none"), (2, "close")],
        load: IN_HAND,
        acts: NOTHING,
        road: Road::Plain,
    },
    Scenario {
        name: "stop",
        about: "every 3 s a worker is stopped for a second",
        workers: &[(4, "none")],
        load: USUAL,
        acts: Acts { stop: 3.0, ..NOTHING },
        road: Road::Plain,
    },
    Scenario {
        name: "slow",
        about: "one worker of four is ten times slower",
        workers: &[(3, "none"), (1, "slow:10x")],
        load: USUAL,
        acts: NOTHING,
        road: Road::Plain,
    },
    Scenario {
        name: "panic",
        about: "one worker of three panics at every fifth job",
        workers: &[(2, "none"), (1, "panic")],
        load: USUAL,
        acts: NOTHING,
        road: Road::Plain,
    },
    Scenario {
        name: "fails",
        about: "the worker of four that joined first fails every job at once",
        workers: &[(1, "fail"), (3, "none")],
        load: USUAL,
        acts: NOTHING,
        road: Road::Plain,
    },
    Scenario {
        name: "garbage",
        about: "one worker of four answers garbage",
        workers: &[(3, "none"), (1, "garbage")],
        load: USUAL,
        acts: NOTHING,
        road: Road::Plain,
    },
    Scenario {
        name: "late",
        about: "one worker of four answers after the budget",
        workers: &[(3, "none"), (1, "late:600ms")],
        load: USUAL,
        acts: NOTHING,
        road: Road::Plain,
    },
    Scenario {
        name: "twice",
        about: "two workers of four answer everything twice",
        workers: &[(2, "none"), (2, "twice")],
        load: USUAL,
        acts: NOTHING,
        road: Road::Plain,
    },
    Scenario {
        name: "never",
        about: "one worker of four hangs at every fifth job, one never answers at all",
        workers: &[(2, "none"), (1, "never"), (1, "hold")],
        load: USUAL,
        acts: NOTHING,
        road: Road::Plain,
    },
    Scenario {
        name: "restart",
        about: "the server dies at half time and is started again",
        workers: &[(4, "none")],
        load: USUAL,
        acts: Acts { restart: true, ..NOTHING },
        road: Road::Plain,
    },
    Scenario {
        name: "network",
        about: "a network that loses, delays, reorders, doubles, and is cut for a second every 5 s",
        workers: &[(4, "none")],
        load: USUAL,
        acts: Acts { cut: 5.0, ..NOTHING },
        road: Road::Relay(BAD),
    },
    Scenario {
        name: "namespaces",
        about: "workers on networks of their own, one of which goes down every 4 s",
        workers: &[(3, "none")],
        load: USUAL,
        acts: Acts { kill: 3.0, cut: 4.0, ..NOTHING },
        road: Road::Namespaces,
    },
    Scenario {
        name: "all",
        about: "all of it at once",
        workers: &[
            (3, "none"),
            (1, "slow:10x"),
            (1, "panic"),
            (1, "garbage"),
            (1, "late:600ms"),
            (1, "twice"),
            (1, "never"),
            (1, "hold"),
            (1, "close"),
        ],
        load: USUAL,
        acts: Acts { kill: 2.0, stop: 3.0, cut: 5.0, restart: true },
        road: Road::Relay(BAD),
    },
];

/// The scenario of this name.
pub(super) fn named(name: &str) -> Result<&'static Scenario, String> {
    SCENARIOS.iter().find(|scenario| scenario.name == name).ok_or_else(|| {
        let names: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        format!("no such scenario; there are {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outsider::Fault;
    use crate::relay::Weather;

    #[test]
    fn every_scenario_can_be_played() {
        for scenario in SCENARIOS {
            assert!(
                std::ptr::eq(named(scenario.name).unwrap(), scenario),
                "{} is there twice",
                scenario.name
            );
            for (_, fault) in scenario.workers {
                fault.parse::<Fault>().expect("a fault");
            }
            if let Road::Relay(weather) = scenario.road {
                weather.parse::<Weather>().expect("weather");
            }
            assert!(scenario.first() == 0 || scenario.workers[0].1 == "fail", "{}", scenario.name);
            let honest = scenario.workers.iter().find(|(_, fault)| *fault == "none");
            assert!(honest.is_some(), "{} would never end", scenario.name);
        }
        assert!(named("boredom").is_err());
    }
}
