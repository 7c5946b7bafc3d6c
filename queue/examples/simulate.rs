//! The simulation of `tests/simulation`, for as many lives as one has time for.
//!
//! `cargo run --release -p framelane-queue --example simulate -- --seeds 100000` lives them until one
//! breaks a promise; `--from N` begins elsewhere; `--seed N` lives one and prints all that happens.

#[path = "../tests/simulation/sim/mod.rs"]
mod sim;

use std::process::ExitCode;

use sim::Seen;

const USAGE: &str = "simulate [--seeds COUNT] [--from SEED] | --seed SEED";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (mut seeds, mut from, mut one) = (10_000, 0, None);
    while let Some(flag) = args.next() {
        let number = args.next().and_then(|number| number.parse::<u64>().ok());
        match (flag.as_str(), number) {
            ("--seeds", Some(number)) => seeds = number,
            ("--from", Some(number)) => from = number,
            ("--seed", Some(number)) => one = Some(number),
            _ => {
                eprintln!("{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    let lives = match one {
        Some(seed) => seed..seed.saturating_add(1),
        None => from..from.saturating_add(seeds),
    };
    let mut seen = Seen::default();
    for seed in lives.clone() {
        match sim::run(seed, None, one.is_some()) {
            Ok(life) => seen.add(life),
            Err(broken) => {
                eprintln!("{broken}");
                return ExitCode::FAILURE;
            }
        }
        let done = seed - lives.start + 1;
        if done.is_multiple_of(10_000) {
            eprintln!("{done} lives");
        }
    }
    println!("no promise broken in {} lives: {seen:?}", lives.end - lives.start);
    ExitCode::SUCCESS
}
