//! Who was refused and why: counted for ever, logged once a second with the numbers.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Why a connection was refused, or a greeted one ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// Too many connections at once that were not greeted yet: this one was not let in, or was let go to
    /// make room for another.
    Crowded,
    /// The TLS or QUIC handshake failed otherwise than below.
    Handshake,
    /// Handshake, greeting or enrolment took too long.
    Slow,
    /// It speaks no protocol of this version.
    Protocol,
    /// It showed no certificate.
    NoCertificate,
    /// Its certificate is another authority's, or of no role that this version knows.
    BadCertificate,
    /// Its certificate, or its token, is for another role than what it came for.
    WrongRole,
    /// Its certificate has expired.
    ExpiredCertificate,
    /// The worker was revoked, or its record was removed while it was connected.
    Revoked,
    /// The authority signed its certificate and has no record of it: it enrolled with a version that kept
    /// none, or the record was removed. It must enrol anew.
    UnknownWorker,
    /// A token that was never made here.
    WrongToken,
    /// A token whose time is over.
    ExpiredToken,
    /// A token without uses left: a replayed enrolment, too.
    UsedUpToken,
    /// It broke a rule of the protocol, before the greeting or after it.
    Violation,
    /// As many workers as may be are connected.
    Full,
    /// Somebody came for the memory that is shared with a worker on this host, and runs as another user or
    /// does not know its secret. The worker's connection goes on, with all bodies on its streams.
    SharedMemory,
    /// This end was at fault, such as with files that it could not read.
    Trouble,
}

impl Refusal {
    /// Every reason.
    pub const ALL: [Self; 17] = [
        Self::Crowded,
        Self::Handshake,
        Self::Slow,
        Self::Protocol,
        Self::NoCertificate,
        Self::BadCertificate,
        Self::WrongRole,
        Self::ExpiredCertificate,
        Self::Revoked,
        Self::UnknownWorker,
        Self::WrongToken,
        Self::ExpiredToken,
        Self::UsedUpToken,
        Self::Violation,
        Self::Full,
        Self::SharedMemory,
        Self::Trouble,
    ];

    /// As in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crowded => "crowded",
            Self::Handshake => "handshake",
            Self::Slow => "slow",
            Self::Protocol => "version",
            Self::NoCertificate => "no_certificate",
            Self::BadCertificate => "bad_certificate",
            Self::WrongRole => "wrong_role",
            Self::ExpiredCertificate => "expired_certificate",
            Self::Revoked => "revoked",
            Self::UnknownWorker => "unknown_worker",
            Self::WrongToken => "wrong_token",
            Self::ExpiredToken => "expired_token",
            Self::UsedUpToken => "used_up_token",
            Self::Violation => "violation",
            Self::Full => "full",
            Self::SharedMemory => "shared_memory",
            Self::Trouble => "trouble",
        }
    }
}

/// How many connections were refused since the listener was bound, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refusals([u64; Refusal::ALL.len()]);

impl Refusals {
    /// For this reason.
    pub fn of(&self, refusal: Refusal) -> u64 {
        self.0[refusal as usize]
    }

    /// For each reason, also those that never occurred.
    pub fn iter(&self) -> impl Iterator<Item = (Refusal, u64)> {
        Refusal::ALL.into_iter().zip(self.0)
    }

    /// For all reasons.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    fn since(&self, before: &Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] - before.0[i]))
    }
}

/// At most one line in this time, whatever comes.
const EVERY: Duration = Duration::from_secs(1);

/// Counts. Time is an argument, so that this can be tested.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    counts: Refusals,
    said: Refusals,
    said_at: Option<Instant>,
    /// The latest one that was not logged.
    latest: Option<(SocketAddr, String)>,
}

impl Tally {
    fn state(&self) -> MutexGuard<'_, State> {
        // No step panics half-way, so a poisoned state is a whole one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn counts(&self) -> Refusals {
        self.state().counts
    }

    /// Counts one, and logs if nothing was logged just now.
    pub(super) fn count(&self, refusal: Refusal, remote: SocketAddr, why: &str, now: Instant) {
        let line = {
            let mut state = self.state();
            state.counts.0[refusal as usize] += 1;
            state.latest = Some((remote, why.to_owned()));
            state.line(now)
        };
        say(line);
    }

    /// Logs what was counted and not logged, if it is time.
    pub(super) fn tick(&self, now: Instant) {
        let line = self.state().line(now);
        say(line);
    }
}

impl State {
    /// What is to be logged now: counts by reason, and the latest one with its address.
    fn line(&mut self, now: Instant) -> Option<(String, SocketAddr, String)> {
        if self.said_at.is_some_and(|said| now.saturating_duration_since(said) < EVERY) {
            return None;
        }
        let (remote, why) = self.latest.take()?;
        let mut text = String::new();
        for (refusal, n) in self.counts.since(&self.said).iter().filter(|(_, n)| *n > 0) {
            let comma = if text.is_empty() { "" } else { ", " };
            // Writing to a string does not fail.
            let _ = write!(text, "{comma}{} {n}", refusal.name());
        }
        (self.said, self.said_at) = (self.counts, Some(now));
        Some((text, remote, why))
    }
}

fn say(line: Option<(String, SocketAddr, String)>) {
    if let Some((refused, remote, why)) = line {
        tracing::warn!(refused, latest = %remote, why, "connections were refused");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line_a_second_with_its_numbers() {
        let mut state = State::default();
        let (start, remote) = (Instant::now(), "127.0.0.1:1".parse().unwrap());
        let mut count = |refusal, why: &str, at| {
            state.counts.0[refusal as usize] += 1;
            state.latest = Some((remote, why.to_owned()));
            state.line(start + Duration::from_millis(at))
        };
        let first = count(Refusal::Revoked, "it was revoked", 0);
        assert_eq!(first, Some(("revoked 1".into(), remote, "it was revoked".into())));
        for at in 1..1000 {
            assert_eq!(count(Refusal::Slow, "slow", at), None);
        }
        let second = count(Refusal::Revoked, "again", 1000);
        assert_eq!(second, Some(("slow 999, revoked 1".into(), remote, "again".into())));
        assert_eq!(state.line(start + Duration::from_secs(9)), None, "there is nothing new to say");
    }

    #[test]
    fn every_reason_has_its_place_and_a_name_of_its_own() {
        let tally = Tally::default();
        for refusal in Refusal::ALL {
            tally.count(refusal, "127.0.0.1:1".parse().unwrap(), "", Instant::now());
        }
        let counts = tally.counts();
        assert!(counts.iter().all(|(_, n)| n == 1));
        assert_eq!(counts.total(), Refusal::ALL.len() as u64);
        let names: std::collections::BTreeSet<_> = Refusal::ALL.map(Refusal::name).into();
        assert_eq!(names.len(), Refusal::ALL.len());
    }
}
