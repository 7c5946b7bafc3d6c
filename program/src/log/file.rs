//! A log file that nobody waits for: a thread of its own writes it.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

/// Lines that may wait to be written. A disk that stands still for longer than these last costs lines, not time.
const LINES: usize = 16_384;
/// How long the last line may take, which says how many are missing. The program is about to end.
const LAST: Duration = Duration::from_secs(1);

/// The end of a log file. When it is dropped the rest of the lines is written, for a second or so, and then how
/// many are missing.
pub(super) struct Written {
    path: PathBuf,
    /// Lines for which there was no room.
    crowded: ErrorCounter,
    /// Lines that the disk did not take.
    refused: Arc<AtomicU64>,
    guard: Option<WorkerGuard>,
    told: Option<File>,
}

impl Written {
    pub(super) fn new(file: File, path: &Path) -> io::Result<(NonBlocking, Written)> {
        let told = file.try_clone()?;
        let refused = Arc::new(AtomicU64::new(0));
        let lines = Lines { file, path: path.to_owned(), refused: Arc::clone(&refused) };
        let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES);
        let (writer, guard) = builder.finish(lines);
        let crowded = writer.error_counter();
        let written =
            Written { path: path.to_owned(), crowded, refused, guard: Some(guard), told: Some(told) };
        Ok((writer, written))
    }

    /// Lines that are not in the file and never will be.
    fn lost(&self) -> u64 {
        self.crowded.dropped_lines() as u64 + self.refused.load(Ordering::Relaxed)
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        drop(self.guard.take());
        let lost = self.lost();
        let Some(mut told) = self.told.take().filter(|_| lost > 0) else { return };
        let text = format!("{lost} lines are missing in this log: they could not be written, or not in time");
        // A disk that stands still must not hold up the end, so this line waits in a thread of its own.
        let (done, is_done) = mpsc::channel();
        let line = text.clone();
        let _ = thread::Builder::new().spawn(move || done.send(writeln!(told, "{line}").is_ok()));
        if is_done.recv_timeout(LAST) != Ok(true) {
            eprintln!("--log-file {}: {text}", self.path.display());
        }
    }
}

/// What the thread writes to: counts what the disk refuses, and says so the first time.
struct Lines {
    file: File,
    path: PathBuf,
    refused: Arc<AtomicU64>,
}

impl Write for Lines {
    /// The writer hands over a line at a time.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Err(error) = self.file.write_all(line)
            && self.refused.fetch_add(1, Ordering::Relaxed) == 0
        {
            eprintln!("--log-file {}: {error}; lines are missing from now on", self.path.display());
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs::OpenOptions;
    use std::io::{BufRead, BufReader};
    use std::os::fd::OwnedFd;

    use super::*;

    #[test]
    fn a_disk_that_stands_still_costs_lines_that_are_counted_and_no_time() {
        // Nobody reads at first, so it takes some hundred lines and then stands still.
        let (reader, writer) = io::pipe().unwrap();
        let file = File::from(OwnedFd::from(writer));
        let (mut log, written) = Written::new(file, Path::new("pipe")).unwrap();
        let all = LINES + 10_000;
        for number in 0..all {
            log.write_all(format!("{number:099}\n").as_bytes()).unwrap();
        }
        let lost = written.lost();
        assert!(lost > 0 && lost < all as u64, "{lost}");
        let (going, goes) = mpsc::channel();
        let reading = thread::spawn(move || {
            let lines = BufReader::new(reader).lines().map(Result::unwrap).enumerate();
            let each = |(number, line)| {
                if number == 1000 {
                    going.send(()).unwrap();
                }
                line
            };
            lines.map(each).collect()
        });
        goes.recv().unwrap();
        drop((log, written));
        let mut lines: Vec<String> = reading.join().unwrap();
        assert_eq!(
            lines.pop().unwrap(),
            format!("{lost} lines are missing in this log: they could not be written, or not in time")
        );
        assert_eq!(lines.len() as u64 + lost, all as u64);
    }

    #[test]
    fn a_disk_that_stands_still_at_the_end_is_not_waited_for() {
        let (reader, writer) = io::pipe().unwrap();
        let (mut log, written) = Written::new(File::from(OwnedFd::from(writer)), Path::new("pipe")).unwrap();
        for _ in 0..LINES + 10_000 {
            log.write_all(&[b' '; 99]).unwrap();
        }
        drop((log, written));
        drop(reader);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_costs_lines_that_are_counted() {
        let file = OpenOptions::new().append(true).open("/dev/full").unwrap();
        let (mut log, mut written) = Written::new(file, Path::new("/dev/full")).unwrap();
        for _ in 0..3 {
            log.write_all(b"a line\n").unwrap();
        }
        // It ends when all is written.
        drop(written.guard.take());
        assert_eq!(written.lost(), 3);
    }
}
