//! How the owner tells an inlet that there is room, ahead of its offers: so an offer costs no round trip.

use tokio::sync::{Semaphore, SemaphorePermit, TryAcquireError};

/// The places that a flow is sure to admit. The owner adds to them, the flow's one inlet uses them up.
#[derive(Debug)]
pub(crate) struct Room(Semaphore);

/// There is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// Not now.
    Full,
    /// Never again.
    Closed,
}

impl Room {
    pub(crate) fn new() -> Self {
        Self(Semaphore::new(0))
    }

    /// From now on `places` more may be offered.
    pub(crate) fn add(&self, places: usize) {
        self.0.add_permits(places);
    }

    /// The flow takes no more offers.
    pub(crate) fn close(&self) {
        self.0.close();
    }

    /// A place if there is one. It is used up by `forget`, else given back when it is dropped.
    pub(crate) fn one_now(&self) -> Result<SemaphorePermit<'_>, NoRoom> {
        self.0.try_acquire().map_err(|error| match error {
            TryAcquireError::NoPermits => NoRoom::Full,
            TryAcquireError::Closed => NoRoom::Closed,
        })
    }

    /// Waits for places, and uses up as many as are there, at least one and at most `most`.
    pub(crate) async fn some(&self, most: usize) -> Result<usize, NoRoom> {
        self.one().await?.forget();
        let more = u32::try_from(most.saturating_sub(1).min(self.0.available_permits())).unwrap_or(0);
        // One producer: nobody else takes them meanwhile.
        Ok(match self.0.try_acquire_many(more) {
            Ok(places) => {
                places.forget();
                1 + more as usize
            }
            Err(_) => 1,
        })
    }

    /// Waits for a place; the same.
    pub(crate) async fn one(&self) -> Result<SemaphorePermit<'_>, NoRoom> {
        self.0.acquire().await.map_err(|_| NoRoom::Closed)
    }
}
