//! The page: plain files, built by `tsc` from `page/src` and compiled in, so that one binary is all there
//! is to install and building it needs no Node.

use bytes::Bytes;
use warp::reply::Response;

use crate::reply;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! script {
    ($name:literal) => {
        ($name, SCRIPT, include_str!(concat!("../page/dist/", $name)))
    };
}

/// Name under `/assets/`, type, content.
const ASSETS: &[(&str, &str, &str)] = &[
    ("style.css", CSS, include_str!("../page/style.css")),
    ("icon.svg", SVG, include_str!("../page/icon.svg")),
    script!("api.js"),
    script!("dom.js"),
    script!("format.js"),
    script!("ledger.js"),
    script!("main.js"),
    script!("picture.js"),
    script!("view.js"),
];

/// The page itself.
pub(crate) fn index() -> Response {
    let body = include_str!("../page/index.html");
    reply::typed(HTML, Bytes::from_static(body.as_bytes()))
}

/// One of its files.
pub(crate) fn asset(name: &str) -> Option<Response> {
    let (_, kind, body) = ASSETS.iter().find(|(asset, _, _)| *asset == name)?;
    Some(reply::typed(kind, Bytes::from_static(body.as_bytes())))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_built_script_is_served() {
        let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("page/dist");
        let built: BTreeSet<String> = std::fs::read_dir(dist)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let served: BTreeSet<String> = ASSETS
            .iter()
            .filter(|(_, kind, _)| *kind == SCRIPT)
            .map(|(name, _, _)| (*name).to_owned())
            .collect();
        assert_eq!(built, served);
    }

    #[test]
    fn the_page_has_nothing_inline() {
        let page = include_str!("../page/index.html");
        assert!(!page.contains("<style") && !page.contains("style=") && !page.contains("onclick"));
        for script in page.split("<script").skip(1) {
            assert!(script.contains("src=\"/assets/"), "{script}");
        }
    }
}
