//! Every figure under its own name: what the others' numbers are, of which the goals have the ratios.

use std::fmt::Write;

use super::origin;
use crate::report::Report;

/// What a median has beside it.
const BESIDE: [&str; 2] = ["_min", "_max"];

pub(super) fn table(reports: &[Report]) -> Option<String> {
    if reports.is_empty() {
        return None;
    }
    let all: Vec<_> = reports.iter().collect();
    let mut text = format!("{}.\n\n", origin::of(&all));
    text += "| by | figure | median, or the only one | min | max |\n| --- | --- | --- | --- | --- |\n";
    for report in reports {
        for (name, value) in &report.figures {
            let beside = |end: &str| report.figures.get(&format!("{name}{end}")).copied();
            // It stands beside its median.
            let mut is_beside = BESIDE.iter().filter_map(|end| name.strip_suffix(end));
            if is_beside.any(|median| report.figures.contains_key(median)) {
                continue;
            }
            let [min, max] = BESIDE.map(|end| beside(end).map(number).unwrap_or_default());
            let _ = writeln!(text, "| {} | `{name}` | {} | {min} | {max} |", report.name, number(*value));
        }
    }
    Some(text)
}

/// With as many decimals as say something.
fn number(value: f64) -> String {
    match value.abs() {
        _ if value.fract() == 0.0 => format!("{value:.0}"),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::report;
    use super::*;

    #[test]
    fn every_figure_has_its_line() {
        let figures = [
            ("celery_solo_per_s", 1044.26),
            ("celery_solo_per_s_max", 1100.0),
            ("celery_solo_per_s_min", 987.5),
            ("lost", 0.0),
            ("rtt_min", 0.25),
        ];
        let expected = "\
            On M x 2, built from c0ffee: `wordcount`.\n\n\
            | by | figure | median, or the only one | min | max |\n| --- | --- | --- | --- | --- |\n\
            | wordcount | `celery_solo_per_s` | 1044 | 988 | 1100 |\n\
            | wordcount | `lost` | 0 |  |  |\n\
            | wordcount | `rtt_min` | 0.250 |  |  |\n";
        assert_eq!(table(&[report("wordcount", &figures)]).unwrap(), expected);
        assert_eq!(table(&[]), None);
    }
}
