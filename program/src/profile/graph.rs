//! The profile itself, and its picture.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use pprof::{ProfilerGuard, ProfilerGuardBuilder};

use super::ProfileError;

/// Samples a second: enough for seconds of work, too few to be felt.
const HERTZ: i32 = 99;
/// Where a signal may come at a bad time for one who walks the stack.
const NOT_THERE: [&str; 4] = ["libc", "libgcc", "pthread", "vdso"];

pub(super) struct Taken {
    guard: ProfilerGuard<'static>,
    path: PathBuf,
}

impl Taken {
    pub(super) fn start(path: &Path) -> Result<Taken, ProfileError> {
        // Before the work, since nobody wants to learn at its end that there is no place for the result.
        write(path, "")?;
        let built = ProfilerGuardBuilder::default().frequency(HERTZ).blocklist(&NOT_THERE).build();
        let guard = built.map_err(|error| ProfileError::Profiler(error.to_string()))?;
        Ok(Taken { guard, path: path.to_owned() })
    }

    pub(super) fn finish(self) -> Result<(), ProfileError> {
        let report = self.guard.report().build();
        let report = report.map_err(|error| ProfileError::Profiler(error.to_string()))?;
        let mut folded = BTreeMap::new();
        for (frames, count) in &report.data {
            // Outermost first; one address can stand for several functions that were put into one another.
            let names = frames.frames.iter().rev().flat_map(|frame| frame.iter().rev());
            let names = names.map(|symbol| symbol.name().replace([';', '\n'], ":"));
            let stack: Vec<String> = std::iter::once(frames.thread_name.clone()).chain(names).collect();
            *folded.entry(stack).or_insert(0) += u64::try_from(*count).unwrap_or(0);
        }
        write(&self.path, &svg(&folded))?;
        let mut text = String::new();
        for (stack, count) in &folded {
            let _ = writeln!(text, "{} {count}", stack.join(";"));
        }
        let mut beside = self.path.into_os_string();
        beside.push(".folded");
        write(Path::new(&beside), &text)
    }
}

fn write(path: &Path, text: &str) -> Result<(), ProfileError> {
    fs::write(path, text).map_err(|source| ProfileError::File { path: path.to_owned(), source })
}

/// A function, called from the one above it in the tree.
#[derive(Default)]
struct Node {
    count: u64,
    called: BTreeMap<String, Node>,
}

const WIDTH: f64 = 1600.0;
const ROW: usize = 17;
/// What is narrower, in pixels, is not drawn.
const NARROWEST: f64 = 0.4;
/// The width of a letter, in pixels, and the space beside a text.
const LETTER: f64 = 6.6;

/// The picture: the wider, the more time; what is called lies below its caller. A pointer on a box shows it all.
fn svg(folded: &BTreeMap<Vec<String>, u64>) -> String {
    let mut root = Node::default();
    let mut deepest = 0;
    for (stack, count) in folded {
        let mut node = &mut root;
        node.count += count;
        deepest = deepest.max(stack.len());
        for name in stack {
            node = node.called.entry(name.clone()).or_default();
            node.count += count;
        }
    }
    let height = (deepest + 1) * ROW;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"monospace\" font-size=\"11\">\n"
    );
    let all = root.count;
    let name = format!("all: {all} samples, {HERTZ} a second of processor time");
    draw(&mut out, &name, &root, (0.0, 0), all);
    out.push_str("</svg>\n");
    out
}

fn draw(out: &mut String, name: &str, node: &Node, (left, depth): (f64, usize), all: u64) {
    let width = node.count as f64 / all.max(1) as f64 * WIDTH;
    if width < NARROWEST {
        return;
    }
    let share = 100.0 * node.count as f64 / all.max(1) as f64;
    let hue = name.bytes().fold(7_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into())) % 50;
    let letters = ((width - LETTER) / LETTER).max(0.0) as usize;
    let shown: String = if letters < 3 { String::new() } else { name.chars().take(letters).collect() };
    let y = depth * ROW;
    let _ = writeln!(
        out,
        "<g><title>{} ({share:.2} %)</title><rect x=\"{left:.2}\" y=\"{y}\" width=\"{width:.2}\" \
         height=\"{}\" fill=\"hsl({hue},80%,70%)\"/><text x=\"{:.2}\" y=\"{}\">{}</text></g>",
        escaped(name),
        ROW - 1,
        left + LETTER / 2.0,
        y + ROW - 5,
        escaped(&shown),
    );
    let mut left = left;
    for (name, called) in &node.called {
        draw(out, name, called, (left, depth + 1), all);
        left += called.count as f64 / all.max(1) as f64 * WIDTH;
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_shares_and_names_are_safe() {
        let stack = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let folded = BTreeMap::from([
            (stack(&["main", "run", "work<T>"]), 3),
            (stack(&["main", "run"]), 1),
            (stack(&["other"]), 4),
        ]);
        let svg = svg(&folded);
        assert!(svg.contains("<title>main (50.00 %)</title><rect x=\"0.00\" y=\"17\" width=\"800.00\""));
        assert!(svg.contains("<title>work&lt;T&gt; (37.50 %)</title>"));
        assert!(svg.contains("<title>other (50.00 %)</title><rect x=\"800.00\" y=\"17\""));
        assert!(super::svg(&BTreeMap::new()).ends_with("</svg>\n"), "no samples, no panic");
    }

    #[test]
    fn a_busy_thread_is_in_the_profile() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("profile.svg");
        let taken = Taken::start(&path).expect("it starts");
        let begun = std::time::Instant::now();
        let mut sum = 0_u64;
        while begun.elapsed() < std::time::Duration::from_millis(300) {
            sum = (0..10_000_u64).fold(sum, |sum, number| std::hint::black_box(sum ^ number));
        }
        std::hint::black_box(sum);
        taken.finish().expect("written");
        let folded = fs::read_to_string(folder.path().join("profile.svg.folded")).expect("the stacks");
        assert!(folded.contains("a_busy_thread_is_in_the_profile"), "{folded}");
        assert!(fs::read_to_string(&path).expect("the picture").starts_with("<svg"));
    }
}
