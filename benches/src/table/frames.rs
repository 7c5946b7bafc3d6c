//! Frames a second of the whole server, and what a frame costs.

use std::fmt::Write;

use super::{faults, origin};
use crate::fps::{STAGES, Workers};
use crate::report::Report;

/// What must be zero.
const FAULTS: [&str; 4] = ["out_of_order", "duplicates", "missing", "unbalanced"];

pub(super) fn table(reports: &[Report]) -> Option<String> {
    let report = reports.iter().find(|report| report.name == "fps")?;
    let mut text = format!("{}; min / **median** / max.\n\n", origin::of(&[report]));
    text += "| workers | frames a second | limit | ratio | out of order, twice, missing, unbalanced |\n";
    text += "| --- | --- | --- | --- | --- |\n";
    let faults = faults(&[report], &FAULTS);
    for workers in Workers::of(report) {
        let figure = |name: &str, decimals| spread(report, &workers.figure(name), decimals);
        let (Some(fps), Some(limit), Some(ratio)) =
            (figure("fps", 1), figure("limit_fps", 1), figure("ratio", 2))
        else {
            continue;
        };
        let _ = writeln!(text, "| {workers} | {fps} | {limit} | {ratio} | {faults} |");
    }
    let costs = STAGES.iter().filter_map(|(stage, doing)| {
        let ms = report.figures.get(&format!("stage_{stage}_ms"))?;
        Some(format!("{ms:.1} in {doing}"))
    });
    let costs = costs.collect::<Vec<_>>().join(", ");
    if !costs.is_empty() {
        let _ = write!(text, "\nMilliseconds of the machine that one frame costs (medians): {costs}.\n");
    }
    Some(text)
}

fn spread(report: &Report, name: &str, decimals: usize) -> Option<String> {
    let [min, median, max] = ["_min", "", "_max"].map(|end| {
        let value = report.figures.get(&format!("{name}{end}"))?;
        Some(format!("{value:.decimals$}"))
    });
    Some(format!("{} / **{}** / {}", min?, median?, max?))
}

#[cfg(test)]
mod tests {
    use super::super::tests::report;
    use super::*;

    #[test]
    fn each_way_to_infer_has_its_line() {
        let mut fps = report(
            "fps",
            &[("stage_infer_ms", 14.61), ("stage_draw_ms", 0.1), ("out_of_order", 0.0), ("duplicates", 0.0)],
        );
        for (name, runs) in [
            ("quic_2_fps", [53.2, 53.9, 55.5]),
            ("quic_2_limit_fps", [52.9, 54.6, 57.7]),
            ("quic_2_ratio", [0.96, 0.98, 1.02]),
            // Without its limit it says nothing.
            ("local_2_fps", [56.1, 57.8, 57.9]),
        ] {
            fps.spread(name, &runs);
        }
        fps.set("missing", 1.0);
        let expected = "\
            On M x 2, built from c0ffee: `fps`; min / **median** / max.\n\n\
            | workers | frames a second | limit | ratio | out of order, twice, missing, unbalanced |\n\
            | --- | --- | --- | --- | --- |\n\
            | 2 processes over QUIC | 53.2 / **53.9** / 55.5 | 52.9 / **54.6** / 57.7 | 0.96 / **0.98** / 1.02 | 0, 0, 1, unknown |\n\
            \nMilliseconds of the machine that one frame costs (medians): 14.6 in inference, 0.1 in drawing.\n";
        assert_eq!(table(&[report("scale", &[]), fps]).unwrap(), expected);
        assert_eq!(table(&[]), None);
    }
}
