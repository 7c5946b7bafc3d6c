//! What a user writes as the source of a stream.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use picture::{Rate, Size};
use url::Url;

/// Where video comes from. Its `Display` never shows a password.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// A camera or server: `rtsp://` or `rtsps://`.
    Rtsp(Url),
    /// A file: a path, or `file://`.
    File(PathBuf),
    /// A synthetic moving scene: `test:WIDTHxHEIGHT@FPS?frames=N`, every part may be left out.
    Test(Test),
}

/// The synthetic scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Test {
    /// The picture's size.
    pub size: Size,
    /// Frames per second.
    pub rate: Rate,
    /// How many frames there are; none: no end.
    pub frames: Option<u32>,
}

/// A source that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// Nothing was given.
    #[error("the source is empty: give rtsp://HOST/PATH, the path of a video file, or test:")]
    Empty,
    /// A scheme that is not understood.
    #[error(
        "'{scheme}://' is not a source that can be read: use rtsp://, rtsps://, file://, a path, or test:"
    )]
    Scheme {
        /// The scheme that was given.
        scheme: String,
    },
    /// An address that does not parse.
    #[error("'{given}' is not a valid address ({why}): write it as rtsp://USER:PASSWORD@HOST:PORT/PATH")]
    Address {
        /// The address, without its password.
        given: String,
        /// What is wrong with it.
        why: String,
    },
    /// A test source that does not parse.
    #[error("'{given}' is not a test source ({why}): write test:WIDTHxHEIGHT@FPS?frames=N")]
    Test {
        /// What was given.
        given: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Source {
    /// Reads a source as a user writes it.
    ///
    /// # Errors
    /// An empty text, an unknown scheme, an address or test source that does not parse; each says how to
    /// write it. Whether a file exists is found out when it is opened.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(SourceError::Empty);
        }
        if let Some(scene) = text.strip_prefix("test:") {
            return Test::parse(scene)
                .map(Self::Test)
                .map_err(|why| SourceError::Test { given: text.to_owned(), why });
        }
        let Some((scheme, _)) = text.split_once("://") else {
            return Ok(Self::File(PathBuf::from(text)));
        };
        let address = |why: String| SourceError::Address { given: redact_address(text), why };
        match scheme.to_ascii_lowercase().as_str() {
            "rtsp" | "rtsps" => {
                let url = Url::parse(text).map_err(|error| address(error.to_string()))?;
                if url.host_str().is_none_or(str::is_empty) {
                    return Err(address("it names no host".to_owned()));
                }
                Ok(Self::Rtsp(url))
            }
            "file" => {
                let url = Url::parse(text).map_err(|error| address(error.to_string()))?;
                let path = url.to_file_path();
                path.map(Self::File)
                    .map_err(|()| address("a file address looks like file:///PATH".to_owned()))
            }
            _ => Err(SourceError::Scheme { scheme: scheme.to_owned() }),
        }
    }

    /// True where frames come at their own time and a lost connection is worth trying again.
    pub fn is_network(&self) -> bool {
        matches!(self, Self::Rtsp(_))
    }

    /// The same text without this source's password: for texts that other libraries made.
    pub(crate) fn redact(&self, text: &str) -> String {
        let Self::Rtsp(url) = self else { return text.to_owned() };
        match url.password() {
            Some(password) if !password.is_empty() => {
                text.replace(password, "***").replace(&percent_decode(password), "***")
            }
            _ => text.to_owned(),
        }
    }
}

impl Test {
    /// Reads what follows `test:`.
    fn parse(text: &str) -> Result<Self, String> {
        let mut test = Self::default();
        let (scene, query) = text.split_once('?').unwrap_or((text, ""));
        let (size, rate) = scene.split_once('@').unwrap_or((scene, ""));
        if !size.is_empty() {
            test.size = size.parse().map_err(|error: picture::SizeError| error.to_string())?;
        }
        if !rate.is_empty() {
            test.rate = rate.parse().map_err(|error: picture::RateError| error.to_string())?;
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("frames", n)) => {
                    let frames = n.parse().ok().filter(|&n| n > 0 && n <= i32::MAX as u32);
                    test.frames = Some(frames.ok_or(format!("'{n}' is not a number of frames"))?);
                }
                _ => return Err(format!("'{pair}' is not known")),
            }
        }
        Ok(test)
    }
}

impl Default for Test {
    /// 640x480 at 25 frames a second, without end.
    fn default() -> Self {
        Self {
            size: Size::new(640, 480).expect("a plain size"),
            rate: Rate::new(25, 1).expect("a plain rate"),
            frames: None,
        }
    }
}

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        Self::parse(text)
    }
}

impl From<&Path> for Source {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rtsp(url) if url.password().is_some() => {
                let mut url = url.clone();
                url.set_password(Some("***")).map_err(|()| fmt::Error)?;
                f.write_str(url.as_str())
            }
            Self::Rtsp(url) => f.write_str(url.as_str()),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Test(test) => {
                write!(f, "test:{}@{}", test.size, test.rate)?;
                test.frames.map_or(Ok(()), |frames| write!(f, "?frames={frames}"))
            }
        }
    }
}

impl fmt::Debug for Source {
    /// As `Display`: a derived one would put passwords into logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({self})")
    }
}

/// `%40` -> `@`; what is not valid UTF-8 afterwards is shown with replacement characters.
fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Replaces what may be a password in an address that did not parse: everything between the first colon of
/// the authority and its last `@`.
fn redact_address(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // A password with a raw slash would end the authority early; then look as far as the last `@`.
    let at = rest[..end].rfind('@').or_else(|| rest.rfind('@'));
    let Some((user, host)) = at.map(|at| (&rest[..at], &rest[at..])) else { return text.to_owned() };
    match user.split_once(':') {
        Some((name, _)) => format!("{scheme}://{name}:***{host}"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_addresses() {
        assert_eq!(Source::parse("clips/a b.mp4").unwrap(), Source::File("clips/a b.mp4".into()));
        assert_eq!(Source::parse("file:///x/a%20b.mp4").unwrap(), Source::File("/x/a b.mp4".into()));
        assert!(matches!(Source::parse("rtsp://host:8554/a"), Ok(Source::Rtsp(_))));
        assert!(matches!(Source::parse("RTSPS://host/a"), Ok(Source::Rtsp(_))));
    }

    #[test]
    fn test_scenes() {
        let Ok(Source::Test(test)) = Source::parse("test:320x240@30000/1001?frames=9") else { panic!() };
        assert_eq!(test.size, Size::new(320, 240).unwrap());
        assert_eq!(test.rate, Rate::new(30000, 1001).unwrap());
        assert_eq!(test.frames, Some(9));
        assert_eq!(Source::Test(test).to_string(), "test:320x240@30000/1001?frames=9");
        assert_eq!(Source::parse("test:").unwrap(), Source::Test(Test::default()));
        for bad in ["test:axb", "test:@0", "test:?frames=0", "test:?frames=-1", "test:?colour=red"] {
            let error = Source::parse(bad).unwrap_err().to_string();
            assert!(error.contains(bad) && error.contains("WIDTHxHEIGHT@FPS"), "{error}");
        }
    }

    #[test]
    fn passwords_are_never_shown() {
        for (given, shown) in [
            ("rtsp://me:s3cret@host/a", "rtsp://me:***@host/a"),
            ("rtsp://me:p@ss@host:554/a@b", "rtsp://me:***@host:554/a@b"),
            ("rtsp://host:554/a@b", "rtsp://host:554/a@b"),
            ("rtsp://me@host/a", "rtsp://me@host/a"),
        ] {
            let source = Source::parse(given).unwrap();
            assert_eq!(source.to_string(), shown);
            assert_eq!(format!("{source:?}"), format!("Source({shown})"));
        }
        let source = Source::parse("rtsp://me:s3cret@host/a").unwrap();
        assert_eq!(source.redact("cannot open s3cret"), "cannot open ***");
        let source = Source::parse("rtsp://me:p%40ss@host/a").unwrap();
        assert_eq!(source.redact("p@ss and p%40ss"), "*** and ***");

        let error = Source::parse("rtsp://me:s3cret@ho st/a").unwrap_err().to_string();
        assert!(!error.contains("s3cret") && error.contains("me:***"), "{error}");
        let error = Source::parse("rtsp://me:s3/cret@host/a").unwrap_err().to_string();
        assert!(!error.contains("cret@"), "{error}");
    }

    #[test]
    fn what_cannot_be_read_says_what_can() {
        let error = Source::parse("http://host/a.m3u8").unwrap_err();
        assert_eq!(error, SourceError::Scheme { scheme: "http".into() });
        assert!(error.to_string().contains("rtsp://"));
        assert_eq!(Source::parse("  ").unwrap_err(), SourceError::Empty);
        let error = Source::parse("rtsp:///a").unwrap_err().to_string();
        assert!(error.contains("host"), "{error}");
    }
}
