//! `framelane-bench table`: tables in Markdown of figures that were written by `--json`.
//!
//! Documents show them between two comments, `<!-- figures: NAME -->` and `<!-- end of figures -->`, and
//! `--into` replaces what lies there, so that no figure is ever copied by hand.

mod blocks;
mod frames;
mod goals;
mod origin;
mod raw;

use std::path::{Path, PathBuf};

use anyhow::Context;

pub use blocks::into;

use crate::report::Report;

/// What it is made of.
#[derive(clap::Args, Clone)]
pub struct Args {
    /// What `--json` wrote.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A document whose tables are replaced, instead of printing them; may be given several times.
    #[arg(long, value_name = "DOCUMENT")]
    into: Vec<PathBuf>,
}

/// One of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Table {
    /// Frames a second of the whole server.
    Frames,
    /// What has a goal, and what people ask for first.
    Goals,
    /// Every figure.
    Raw,
}

impl Table {
    const ALL: [Table; 3] = [Table::Frames, Table::Goals, Table::Raw];

    /// As documents call it.
    fn name(self) -> &'static str {
        match self {
            Table::Frames => "frames",
            Table::Goals => "goals",
            Table::Raw => "raw",
        }
    }

    /// The table; none where no report has a figure for it.
    fn of(self, reports: &[Report]) -> Option<String> {
        match self {
            Table::Frames => frames::table(reports),
            Table::Goals => goals::table(reports),
            Table::Raw => raw::table(reports),
        }
    }
}

/// Prints the tables, or writes them where they belong.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let reports = read(&args.files)?;
    if args.into.is_empty() {
        let tables: Vec<_> = Table::ALL.iter().filter_map(|table| table.of(&reports)).collect();
        print!("{}", tables.join("\n"));
    }
    for document in &args.into {
        let named = || document.display().to_string();
        let text = std::fs::read_to_string(document).with_context(named)?;
        let text = into(&text, &reports).with_context(named)?;
        std::fs::write(document, text).with_context(named)?;
    }
    Ok(())
}

/// Reads what `--json` wrote.
pub fn read<P: AsRef<Path>>(files: &[P]) -> anyhow::Result<Vec<Report>> {
    let read = |path: &P| {
        let path = path.as_ref();
        let named = || path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(named)?;
        serde_json::from_str(&text).with_context(named)
    };
    files.iter().map(read).collect()
}

/// The sum of a figure that must be zero.
fn faults(reports: &[&Report], names: &[&str]) -> String {
    let sum = |fault: &&str| {
        // Without the figure nobody knows, and that is told rather than called zero.
        let sum: Option<f64> = reports.iter().map(|report| report.figures.get(*fault)).sum();
        sum.map_or("unknown".to_owned(), |sum| sum.to_string())
    };
    names.iter().map(sum).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A report as the measurement of this name leaves it.
    pub(super) fn report(name: &str, figures: &[(&str, f64)]) -> Report {
        let figures = figures.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        Report { name: name.into(), machine: "M x 2".into(), commit: "c0ffee".into(), figures }
    }

    #[test]
    fn a_report_is_read_as_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scale.json");
        let written = report("scale", &[("worst_ratio", 1.5)]);
        written.publish(Some(&path)).unwrap();
        let read = read(&[path]).unwrap().remove(0);
        assert_eq!((read.name, read.figures), (written.name, written.figures));
    }
}
