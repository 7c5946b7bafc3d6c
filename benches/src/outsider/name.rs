//! What workers call themselves, so that each connection can be told from all others, those of the same
//! worker before and after it too; and what they say when they close one.

/// Separates a worker's name from the number of a connection that it may close while it lives.
const CONNECTION: char = '/';
/// What begins the line that tells of a closed connection.
const CLOSED: &str = "closed ";

/// One of the workers of a process.
pub fn worker(process: &str, number: u32) -> String {
    format!("{process}-{number}")
}

/// One of a worker's connections, for one that closes them itself.
pub fn connection(worker: &str, number: u64) -> String {
    format!("{worker}{CONNECTION}{number}")
}

/// The worker whose connection this is.
pub fn worker_of(name: &str) -> &str {
    name.split_once(CONNECTION).map_or(name, |(worker, _)| worker)
}

/// The line that tells of a connection that was closed, and when by [`crate::clock`].
pub fn closed(name: &str, at_us: u64) -> String {
    format!("{CLOSED}{at_us} {name}")
}

/// What such a line says.
pub fn read_closed(line: &str) -> Option<(&str, u64)> {
    let (at_us, name) = line.strip_prefix(CLOSED)?.split_once(' ')?;
    Some((name, at_us.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_names_its_worker() {
        let worker = worker("close-2.1", 0);
        assert_eq!(worker_of(&connection(&worker, 7)), worker);
        assert_eq!(worker_of(&worker), worker);
    }

    #[test]
    fn what_was_closed_is_read_as_it_is_told() {
        assert_eq!(read_closed(&closed("a/1", 17)), Some(("a/1", 17)));
        for line in ["", "closed", "closed 17", "closed a/1 17", "opened 17 a/1"] {
            assert_eq!(read_closed(line), None, "{line}");
        }
    }
}
