//! The workers and clients that are connected, held against what the authority knows of them.
//!
//! Several times a second the register's stamp is looked at, and the records of those connected are read
//! again when it has changed. So whatever another process writes there takes effect within a second, and
//! a quiet register costs one look at a folder.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use queue::WorkerId;
use tokio::sync::Notify;

use super::{Caller, Peer};
use crate::close::Closed;
use crate::identity::{Authority, Record, admitted, unix_now};

/// After a change the records are read this often, since two changes within one tick of the file
/// system's clock leave the same stamp.
const AGAIN: u8 = 3;

#[derive(Debug, Default)]
pub(super) struct Roll {
    state: Mutex<State>,
    looked: Mutex<Looked>,
    /// Told when somebody left.
    left: Notify,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    live: HashMap<u64, Live>,
}

/// Who is connected.
#[derive(Debug, Clone)]
pub(super) enum Member {
    Worker(Peer),
    Client(Caller),
}

impl Member {
    pub(super) fn is_client(&self) -> bool {
        matches!(self, Self::Client(_))
    }

    fn id(&self) -> WorkerId {
        match self {
            Self::Worker(peer) => peer.worker(),
            Self::Client(caller) => caller.client(),
        }
    }

    pub(super) fn drain(&self) {
        match self {
            Self::Worker(peer) => peer.drain(),
            Self::Client(caller) => caller.drain(),
        }
    }

    fn send_away(&self) {
        match self {
            Self::Worker(peer) => peer.send_away(),
            Self::Client(caller) => caller.send_away(),
        }
    }

    fn end(&self, reason: Closed) {
        match self {
            Self::Worker(peer) => peer.end(reason),
            Self::Client(caller) => caller.end(reason),
        }
    }
}

#[derive(Debug, Clone)]
struct Live {
    member: Member,
    /// What was known of its drains when it was greeted, or when it was last drained.
    drains: u64,
    /// Seconds of the Unix epoch: of its worker's latest certificate, as far as is known.
    expires: u64,
}

#[derive(Debug, Default)]
struct Looked {
    stamp: Option<SystemTime>,
    again: u8,
}

/// A line on the roll, struck out when dropped.
pub(super) struct Entry<'a> {
    roll: &'a Roll,
    id: u64,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.roll.state().live.remove(&self.id);
        self.roll.left.notify_one();
    }
}

impl Roll {
    fn state(&self) -> MutexGuard<'_, State> {
        // No step panics half-way, so a poisoned state is a whole one.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody was greeted; `record` is what was known of it then.
    pub(super) fn enter(&self, member: Member, record: &Record) -> Entry<'_> {
        let mut state = self.state();
        let id = state.next;
        state.next += 1;
        state.live.insert(id, Live { member, drains: record.drains, expires: record.expires });
        drop(state);
        // It may have changed since it was read.
        self.looked().again = AGAIN;
        Entry { roll: self, id }
    }

    pub(super) fn members(&self) -> Vec<Member> {
        self.state().live.values().map(|live| live.member.clone()).collect()
    }

    /// Waits until none of these is here. For one caller at a time.
    pub(super) async fn without(&self, these: impl Fn(&Member) -> bool) {
        while self.state().live.values().any(|live| these(&live.member)) {
            self.left.notified().await;
        }
    }

    fn looked(&self) -> MutexGuard<'_, Looked> {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends and drains whom the authority says to. Blocks on files.
    pub(super) fn check(&self, authority: &Authority) {
        let look = {
            let stamp = authority.register().stamp();
            let mut looked = self.looked();
            match stamp {
                Ok(stamp) if looked.stamp == Some(stamp) => looked.again = looked.again.saturating_sub(1),
                Ok(stamp) => (looked.stamp, looked.again) = (Some(stamp), AGAIN),
                Err(error) => tracing::error!(%error, "the register of workers cannot be read"),
            }
            looked.again > 0
        };
        // Without the lock while files are read: a worker that joins or leaves must not wait for them.
        let live: Vec<(u64, Live)> = self.state().live.iter().map(|(id, live)| (*id, live.clone())).collect();
        for (id, mut live) in live {
            if look && !renewed(&mut live, authority) {
                continue;
            }
            if unix_now() > live.expires {
                live.member.end(Closed::Expired);
            } else if let Some(entry) = self.state().live.get_mut(&id) {
                *entry = live;
            }
        }
    }
}

/// Does what the worker's record says. False if its connection was ended.
fn renewed(live: &mut Live, authority: &Authority) -> bool {
    let record = match authority.register().find(live.member.id()) {
        Ok(record) => record,
        Err(error) => {
            // Nothing is known, so nothing is done: the next handshake of this worker will be refused.
            tracing::error!(%error, "the record of a connected worker cannot be read");
            return true;
        }
    };
    match admitted(record) {
        Ok(record) => {
            live.expires = record.expires;
            if record.drains > live.drains {
                live.drains = record.drains;
                tracing::info!(id = %live.member.id(), "a worker or client is drained, as an operator asked");
                live.member.send_away();
            }
            true
        }
        Err(outside) => {
            tracing::warn!(id = %live.member.id(), why = %outside, "a connected worker or client is not admitted any more");
            live.member.end(Closed::Revoked(outside.to_string()));
            false
        }
    }
}
