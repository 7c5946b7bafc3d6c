//! An error in one line, for a program's last word.

/// An error and what it comes from, in one line.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        // Many texts name their source already.
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Above {
        text: &'static str,
        source: std::io::Error,
    }

    #[test]
    fn what_an_error_comes_from_is_said_once() {
        let below = || std::io::Error::other("no such file");
        let silent = Above { text: "no log", source: below() };
        assert_eq!(chain(&silent), "no log: no such file");
        let tells = Above { text: "no log: no such file", source: below() };
        assert_eq!(chain(&tells), "no log: no such file");
    }
}
