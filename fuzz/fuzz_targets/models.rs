//! One decoder of `models`, chosen by `FUZZ_TARGET`: its name in `models::fuzz::TARGETS`, and its corpus's folder.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use models::fuzz::{TARGETS, Target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    match TARGETS.iter().find(|(target, _)| *target == name) {
        Some((_, target)) => *target,
        None => panic!("FUZZ_TARGET is one of {:?}", TARGETS.iter().map(|(name, _)| *name).collect::<Vec<_>>()),
    }
});

fuzz_target!(|bytes: &[u8]| TARGET(bytes));
