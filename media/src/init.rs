//! Starts GStreamer once and checks that its elements are there.

use std::fmt;
use std::sync::OnceLock;

use gst::glib;
use gstreamer as gst;

/// Every element that this crate names, and the Debian package that brings it. Decoders are found by
/// decodebin: the two here stand for the package that brings them all.
const ELEMENTS: &[(&str, &str)] = &[
    ("appsink", "gstreamer1.0-plugins-base"),
    ("appsrc", "gstreamer1.0-plugins-base"),
    ("avdec_h264", "gstreamer1.0-libav"),
    ("avdec_msmpeg4", "gstreamer1.0-libav"),
    ("capsfilter", "libgstreamer1.0-0"),
    ("decodebin", "gstreamer1.0-plugins-base"),
    ("filesrc", "libgstreamer1.0-0"),
    ("h264parse", "gstreamer1.0-plugins-bad"),
    ("jpegenc", "gstreamer1.0-plugins-good"),
    ("rtph264depay", "gstreamer1.0-plugins-good"),
    ("rtph264pay", "gstreamer1.0-plugins-good"),
    ("rtspsrc", "gstreamer1.0-plugins-good"),
    ("videoconvert", "gstreamer1.0-plugins-base"),
    ("videoscale", "gstreamer1.0-plugins-base"),
    ("videotestsrc", "gstreamer1.0-plugins-base"),
    ("x264enc", "gstreamer1.0-plugins-ugly"),
];

/// What [`check`] did not find.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Missing {
    /// GStreamer itself did not start.
    GStreamer(String),
    /// Elements are not installed.
    Elements(Vec<MissingElement>),
}

/// An element that is not installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingElement {
    /// The element's name.
    pub element: String,
    /// The Debian package that brings it.
    pub package: &'static str,
}

impl std::error::Error for Missing {}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GStreamer(why) => {
                write!(f, "GStreamer does not start ({why}): install the Debian package libgstreamer1.0-0")
            }
            Self::Elements(missing) => {
                let names: Vec<_> = missing.iter().map(|m| m.element.as_str()).collect();
                let mut packages: Vec<_> = missing.iter().map(|m| m.package).collect();
                packages.sort_unstable();
                packages.dedup();
                write!(
                    f,
                    "GStreamer has no {}: install with `apt-get install {}`",
                    names.join(", "),
                    packages.join(" ")
                )
            }
        }
    }
}

/// Starts GStreamer and looks for every element that this crate uses.
///
/// # Errors
/// GStreamer does not start, or elements are missing: all of them are listed, each with its Debian package.
pub fn check() -> Result<(), Missing> {
    start()?;
    let missing: Vec<_> = ELEMENTS
        .iter()
        .filter(|(element, _)| gst::ElementFactory::find(element).is_none())
        .map(|&(element, package)| MissingElement { element: element.to_owned(), package })
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(Missing::Elements(missing)) }
}

/// Starts GStreamer, once for the whole process.
pub(crate) fn start() -> Result<(), Missing> {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    STARTED
        .get_or_init(|| gst::init().map_err(|error: glib::Error| error.message().to_owned()))
        .clone()
        .map_err(Missing::GStreamer)
}

/// Makes an element, or says which package brings it.
pub(crate) fn make(element: &str) -> Result<gst::Element, Missing> {
    start()?;
    gst::ElementFactory::make(element).build().map_err(|_| {
        let package = ELEMENTS
            .iter()
            .find(|(name, _)| *name == element)
            .map_or("gstreamer1.0-plugins-base", |&(_, package)| package);
        Missing::Elements(vec![MissingElement { element: element.to_owned(), package }])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_installed_here() {
        assert_eq!(check(), Ok(()));
    }

    #[test]
    fn a_missing_element_is_named_with_its_package() {
        let element = |element: &str, package| MissingElement { element: element.into(), package };
        let missing = Missing::Elements(vec![
            element("x264enc", "gstreamer1.0-plugins-ugly"),
            element("h264parse", "gstreamer1.0-plugins-bad"),
        ]);
        assert_eq!(
            missing.to_string(),
            "GStreamer has no x264enc, h264parse: install with `apt-get install \
             gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly`"
        );
        let Err(Missing::Elements(missing)) = make("nosuchelement") else { panic!("it was made") };
        assert_eq!(missing[0].element, "nosuchelement");
    }
}
