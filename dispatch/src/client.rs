//! A client that pushes tasks: one flow between its connection and the lanes.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use queue::{FlowId, Hedge, Policy, Seq, WorkerId};
use tokio::sync::oneshot;
use wire::Closed;
use wire::server::{Caller, Pushing, Replies, Submits};

use crate::relay::{Inlet, Outlet};
use crate::{Coordinator, Stopped};

/// What the coordinator decides where a client wishes nothing, and how far its wishes go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// How many failures end a task. None: none does. Default 3.
    pub attempts: Option<NonZeroU32>,
    /// How long a worker may take over a task before another one gets it. None: for as long as it lives.
    /// Default none, since nobody but the client knows what is usual.
    pub answer_within: Option<Duration>,
    /// Whether slow hand-outs get a second one beside them. Default none, since a task may run twice by it.
    pub hedge: Option<Hedge>,
    /// A client's share of the workers beside other clients. Default 1.
    pub weight: NonZeroU32,
}

impl Default for Config {
    fn default() -> Self {
        Self { attempts: NonZeroU32::new(3), answer_within: None, hedge: None, weight: NonZeroU32::MIN }
    }
}

/// The most answers that are taken at once.
const TAKEN: usize = 256;
/// How long a client that has all its answers may take to go.
const FAREWELL: Duration = Duration::from_secs(5);

/// Serves a client until its connection ends; gives the reason for the end. What it has not been answered by
/// then is cancelled. `opened` is told which flow is its.
pub async fn run(
    coordinator: Coordinator,
    caller: Caller,
    submits: Submits,
    replies: Replies,
    config: Config,
    opened: oneshot::Sender<FlowId>,
) -> Result<Closed, Stopped> {
    let (inlet, outlet) = coordinator.relay(policy(&caller, &config)).await?;
    let _ = opened.send(inlet.flow());
    let ended = tokio::select! {
        biased;
        closed = caller.closed() => Some(closed),
        // Each is cut off in the middle only where nothing of it matters any more.
        closed = take_in(submits, inlet) => Some(closed?),
        closed = give_out(replies, outlet) => closed,
    };
    let closed = match ended {
        Some(closed) => closed,
        // It has all its answers, and goes by itself.
        None => match tokio::time::timeout(FAREWELL, caller.closed()).await {
            Ok(closed) => closed,
            Err(_) => Closed::Here("all is answered".into()),
        },
    };
    caller.close("all is answered");
    Ok(closed)
}

/// A client holds no more than its window, so its flow never refuses anything.
fn policy(caller: &Caller, config: &Config) -> Policy {
    let wishes = caller.wishes();
    let window = NonZeroUsize::new(caller.allowed().tasks as usize).unwrap_or(NonZeroUsize::MIN);
    let millis = |ms: Option<u64>| ms.map(Duration::from_millis);
    Policy {
        pending: window,
        held: window,
        budget: millis(wishes.budget_ms),
        attempts: wishes.attempts.map_or(config.attempts, NonZeroU32::new),
        retry_after: millis(wishes.retry_after_ms),
        answer_within: millis(wishes.answer_within_ms).or(config.answer_within),
        hedge: hedge(wishes.hedge_percent, config.hedge),
        pin: wishes.worker.map(WorkerId),
        weight: config.weight,
        ..Policy::lossless()
    }
}

/// A client may wish for less than is usual here too: for nothing.
fn hedge(wish: Option<u16>, usual: Option<Hedge>) -> Option<Hedge> {
    match wish {
        Some(percent) => Hedge::slowest_percent(percent.min(100)),
        None => usual,
    }
}

/// What it pushes goes into the flow. At its end the flow is closed, and this waits for ever: the answers are
/// what ends it then.
async fn take_in(mut submits: Submits, mut inlet: Inlet) -> Result<Closed, Stopped> {
    loop {
        match submits.next().await {
            Ok(Pushing::Tasks(key, jobs)) => {
                if inlet.send(&key, jobs).await.is_err() {
                    return Err(Stopped);
                }
            }
            Ok(Pushing::Cancel(tasks)) => inlet.cancel(tasks.into_iter().map(Seq).collect()).await?,
            Ok(Pushing::End) => break,
            Err(closed) => return Ok(closed),
        }
    }
    inlet.close();
    std::future::pending().await
}

/// What leaves the flow is told. None at its end; a connection that ended meanwhile says so.
async fn give_out(mut replies: Replies, mut outlet: Outlet) -> Option<Closed> {
    while let Some(outcomes) = outlet.next(TAKEN).await {
        let outcomes = outcomes.into_iter().map(|o| o.map_err(|(why, text)| (why.into(), text)));
        if let Err(closed) = replies.send(outcomes).await {
            return Some(closed);
        }
    }
    replies.finish().await;
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_hedged_as_it_wishes_and_else_as_is_usual() {
        let percent = Hedge::slowest_percent;
        for usual in [None, percent(1)] {
            assert_eq!(hedge(None, usual), usual);
            assert_eq!(hedge(Some(0), usual), None);
            assert_eq!(hedge(Some(5), usual), percent(5));
            assert_eq!(hedge(Some(u16::MAX), usual), percent(100));
        }
    }
}
