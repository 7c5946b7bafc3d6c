//! What a place may come out as.

use framelane_queue::{Key, NoLane, Outcome, Policy, Reason, Taken, Verdict, WhenFull};

use super::{Part, Place, Verdicts};

/// Whether a place came out as its lanes and its policy say.
pub(super) fn hold(policy: &Policy, place: &Place, taken: &Taken<u64, u64>) -> Verdicts {
    let nothing = Part::default();
    hold!(taken.parts.len() >= place.first, "only {} parts", taken.parts.len());
    for (index, (_, outcome)) in taken.parts.iter().enumerate() {
        let part = place.parts.get(&(index as u16)).unwrap_or(&nothing);
        match outcome {
            Outcome::Answer(value) => {
                hold!(part.answer == Some(*value), "invariant 3: answer {value}, not {:?}", part.answer);
            }
            Outcome::Missing(reason) => {
                hold!(part.answer.is_none(), "invariant 6: part {index} was answered and is {reason:?}");
                let tried = policy.attempts.is_some_and(|most| part.failures >= most.get());
                let why = match reason {
                    Reason::Evicted => policy.when_full != WhenFull::Refuse && !place.cancelled,
                    Reason::Late => policy.budget.is_some(),
                    Reason::Failed => part.bad || tried,
                    Reason::NoLane => policy.no_lane == NoLane::Pass,
                    Reason::Cancelled => index >= place.first || place.cancelled,
                };
                hold!(why, "invariant 6: part {index} is missing without a cause: {reason:?}");
            }
        }
    }
    let cancelled = |(_, outcome): &(Key, Outcome<u64>)| *outcome == Outcome::Missing(Reason::Cancelled);
    hold!(!place.cancelled || taken.parts.iter().any(cancelled), "invariant 3: a cancel changed nothing");
    let first = taken.parts[..place.first].iter();
    let missing = first.filter_map(|(_, outcome)| match outcome {
        Outcome::Missing(reason) => Some(Verdict::Missing(*reason)),
        Outcome::Answer(_) => None,
    });
    let whole = if place.first == 0 { Verdict::NotAsked } else { Verdict::Answered };
    let expected = missing.into_iter().next().unwrap_or(whole);
    hold!(taken.verdict == expected, "invariant 1: {:?}, not {expected:?}", taken.verdict);
    Ok(())
}
