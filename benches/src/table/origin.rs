//! Where figures come from, in one sentence.

use std::collections::BTreeMap;

use crate::report::Report;

/// Machine, commit, and how often and how long what was measured. Figures of several machines or commits are told
/// apart.
pub(super) fn of(reports: &[&Report]) -> String {
    let mut origins: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for report in reports {
        origins.entry((&report.machine, &report.commit)).or_default().push(measured(report));
    }
    let origins = origins.iter().map(|((machine, commit), measured)| {
        format!("On {machine}, built from {commit}: {}", measured.join(", "))
    });
    origins.collect::<Vec<_>>().join("; ")
}

/// The measurement, and its rounds.
fn measured(report: &Report) -> String {
    let figure = |name: &str| report.figures.get(name);
    let how = match (figure("rounds"), figure("seconds")) {
        (Some(rounds), Some(seconds)) => format!(" ({rounds} × {seconds} s)"),
        (Some(rounds), None) => format!(" ({rounds} ×)"),
        (None, Some(seconds)) => format!(" ({seconds} s each)"),
        (None, None) => String::new(),
    };
    format!("`{}`{how}", report.name)
}

#[cfg(test)]
mod tests {
    use super::super::tests::report;
    use super::*;

    #[test]
    fn machines_and_commits_are_told_apart() {
        let dispatch = report("dispatch", &[("rounds", 5.0), ("seconds", 3.0)]);
        let chaos = report("chaos", &[("seconds", 15.0)]);
        let mut later = report("scale", &[]);
        assert_eq!(
            of(&[&dispatch, &chaos, &later]),
            "On M x 2, built from c0ffee: `dispatch` (5 × 3 s), `chaos` (15 s each), `scale`"
        );
        later.commit = "decaf+".into();
        assert_eq!(
            of(&[&dispatch, &later]),
            "On M x 2, built from c0ffee: `dispatch` (5 × 3 s); On M x 2, built from decaf+: `scale`"
        );
    }
}
