//! Connections that were not greeted yet: a bounded number, and who goes when it is reached.
//!
//! A newcomer that finds no room takes the place of another stranger: the oldest one of the address that
//! holds the most places. So connections that never greet cannot keep others out, and an address that
//! brings many only displaces its own. How fast places change hands is bounded too, because a connection
//! that was let go costs memory until QUIC forgets it.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

/// How long a stranger has at least, unless its address holds more places than the newcomer's. Several
/// round trips across the world.
const AT_LEAST: Duration = Duration::from_millis(500);

/// The places.
#[derive(Debug)]
pub(super) struct Strangers {
    max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// Oldest first.
    places: Vec<Place>,
}

#[derive(Debug)]
struct Place {
    id: u64,
    ip: IpAddr,
    since: Instant,
    /// Cancelled when it must go; none once it was greeted, and stays until the caller takes it.
    evict: Option<CancellationToken>,
}

/// A place, given back when dropped.
#[derive(Debug)]
pub(super) struct Stranger {
    strangers: Arc<Strangers>,
    id: u64,
    evicted: CancellationToken,
}

impl Strangers {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No step panics half-way, so a poisoned state is a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.state().places.len()
    }

    /// Whether so many are here that a newcomer must first show that its address is its own: a flood of
    /// forged addresses must not take the places of those who can be reached.
    pub(super) fn crowded(&self) -> bool {
        self.state().places.len() * 2 >= self.max
    }

    /// Takes a place, if need be that of another.
    pub(super) fn enter(self: &Arc<Self>, ip: IpAddr, now: Instant) -> Option<Stranger> {
        let ip = network(ip);
        let mut state = self.state();
        if state.places.len() >= self.max {
            let at = state.least_worthy(ip, now)?;
            if let Some(evict) = state.places.remove(at).evict {
                evict.cancel();
            }
        }
        let (id, evicted) = (state.next, CancellationToken::new());
        state.next += 1;
        state.places.push(Place { id, ip, since: now, evict: Some(evicted.clone()) });
        Some(Stranger { strangers: self.clone(), id, evicted })
    }
}

impl State {
    /// Whose place a newcomer takes, if any.
    fn least_worthy(&self, newcomer: IpAddr, now: Instant) -> Option<usize> {
        let mut held: HashMap<IpAddr, usize> = HashMap::new();
        for place in self.places.iter().filter(|place| place.evict.is_some()) {
            *held.entry(place.ip).or_default() += 1;
        }
        let most = *held.values().max()?;
        let (at, place) = self
            .places
            .iter()
            .enumerate()
            .find(|(_, place)| place.evict.is_some() && held.get(&place.ip) == Some(&most))?;
        let fairer = held.get(&newcomer).copied().unwrap_or(0) + 1 < most;
        let patient = now.saturating_duration_since(place.since) >= AT_LEAST;
        (fairer || patient).then_some(at)
    }
}

impl Stranger {
    /// Resolves when another one needs the place.
    pub(super) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }

    /// It was greeted: nobody takes its place any more. False: somebody just did.
    pub(super) fn greeted(&self) -> bool {
        let mut state = self.strangers.state();
        let place = state.places.iter_mut().find(|place| place.id == self.id);
        place.is_some_and(|place| place.evict.take().is_some())
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.strangers.state().places.retain(|place| place.id != self.id);
    }
}

/// Who has one address of version 6 has a network full of them.
fn network(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn full_of(ips: &[IpAddr], now: Instant) -> (Arc<Strangers>, Vec<Stranger>) {
        let strangers = Strangers::new(ips.len());
        let held = ips.iter().map(|ip| strangers.enter(*ip, now).unwrap()).collect();
        (strangers, held)
    }

    #[test]
    fn one_address_with_all_places_gives_one_up_for_another() {
        let now = Instant::now();
        let (strangers, held) = full_of(&[ip(1), ip(2), ip(1), ip(1)], now);
        let _newcomer = strangers.enter(ip(3), now).unwrap();
        let gone: Vec<_> = held.iter().map(|stranger| stranger.evicted.is_cancelled()).collect();
        assert_eq!(gone, [true, false, false, false], "the oldest of the address with the most");
        assert_eq!(strangers.state().places.len(), 4);
    }

    #[test]
    fn an_address_that_brings_many_displaces_only_its_own_and_not_at_once() {
        let now = Instant::now();
        let (strangers, held) = full_of(&[ip(2), ip(1), ip(1)], now);
        assert!(strangers.enter(ip(1), now).is_none());
        let _newcomer = strangers.enter(ip(1), now + AT_LEAST).unwrap();
        let gone: Vec<_> = held.iter().map(|stranger| stranger.evicted.is_cancelled()).collect();
        assert_eq!(gone, [false, true, false]);
    }

    #[test]
    fn who_was_greeted_keeps_its_place_until_it_leaves() {
        let now = Instant::now();
        let (strangers, mut held) = full_of(&[ip(1), ip(1)], now);
        assert!(held.iter().all(Stranger::greeted));
        assert!(strangers.enter(ip(2), now + AT_LEAST).is_none());
        held.pop();
        assert!(strangers.enter(ip(2), now).is_some());
    }

    #[test]
    fn a_network_of_version_6_is_one_address() {
        let a = network("2001:db8::1".parse().unwrap());
        assert_eq!(a, network("2001:db8::ffff:1".parse().unwrap()));
        assert_ne!(a, network("2001:db8:0:1::1".parse().unwrap()));
        assert_eq!(network("::ffff:10.0.0.1".parse().unwrap()), ip(1));
    }
}
