//! Thousands of lives of the dispatcher among lanes, sources and takers that misbehave, in virtual time.
//!
//! A life that breaks a promise names its seed and the command that lives it again. More lives than
//! here: `cargo run --release -p framelane-queue --example simulate -- --seeds 100000`.

#[path = "sim/mod.rs"]
mod sim;

use sim::{Fault, Seen};

const LIVES: u64 = 3_000;

#[test]
fn no_life_breaks_a_promise() {
    let mut seen = Seen::default();
    for seed in 0..LIVES {
        match sim::run(seed, None, false) {
            Ok(life) => seen.add(life),
            Err(broken) => panic!("{broken}"),
        }
    }
    // What is promised means nothing in lives in which nothing happens.
    assert!(seen.taken > 20 * LIVES, "{seen:?}");
    let counts = [seen.missing, seen.stale, seen.hedges, seen.hedges_won, seen.rescues, seen.lanes_lost];
    for count in counts.into_iter().chain([seen.cancelled, seen.unanswered, seen.probes]) {
        assert!(count > LIVES / 10, "{seen:?}");
    }
}

#[test]
fn the_same_seed_is_the_same_life() {
    for seed in 0..20 {
        let steps = || sim::run(seed, None, false).map(|seen| (seen.steps, seen.taken, seen.hand_outs)).ok();
        assert_eq!(steps(), steps());
    }
}

/// Lives with a queue that breaks this promise once: how many of them it could, and what was seen.
fn broken(fault: Fault) -> Vec<String> {
    let mut seen = Vec::new();
    for seed in 0..40 {
        match sim::run(seed, Some(fault), false) {
            Ok(life) => assert!(!life.faulty, "seed {seed}: {fault:?} is not noticed"),
            Err(broken) => seen.push(broken.to_string()),
        }
    }
    assert!(seen.len() >= 10, "{fault:?} had its chance in {} lives only", seen.len());
    seen
}

#[test]
fn a_place_that_is_lost_on_purpose_is_missed() {
    let seen = broken(Fault::LosePlace);
    assert!(seen.iter().all(|what| what.contains("invariant")), "{seen:#?}");
    assert!(seen[0].contains("--example simulate -- --seed "), "{}", seen[0]);
}

#[test]
fn every_other_promise_broken_on_purpose_is_noticed() {
    for fault in [
        Fault::RepeatPlace,
        Fault::SwapPlaces,
        Fault::RepeatHandOut,
        Fault::LoseAnswer,
        Fault::CountStale,
        Fault::LoseClosed,
    ] {
        broken(fault);
    }
}

#[test]
fn a_queue_that_tells_nothing_or_too_late_is_noticed() {
    // Where a later call makes up for it this may do no harm, so not every life shows it.
    for fault in [
        Fault::WaitTooLong,
        Fault::LoseReady,
        Fault::LoseSilence,
        Fault::LoseCancel,
        Fault::KeepTicket,
        Fault::WaitForAnswers,
        Fault::ForgiveFailures,
    ] {
        let noticed = (0..40).filter(|&seed| sim::run(seed, Some(fault), false).is_err());
        let noticed = noticed.count();
        assert!(noticed >= 10, "{fault:?} is noticed in {noticed} lives");
    }
}
