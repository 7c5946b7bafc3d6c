//! Which requests are answered at all. Pure: headers in, verdict out.
//!
//! A server on loopback is reached by every web page that its user opens, so a browser must not become a
//! way in. Two attacks matter. *DNS rebinding*: a foreign name is made to point at this machine, after
//! which the browser takes the answers for that site's own; so the `Host` must be a name that is really
//! ours. *Cross-site requests*: a foreign page asks us by our true name, and the browser says so in
//! `Origin` or `Sec-Fetch-Site`; so these must be absent (not a browser) or our own.

use std::net::{IpAddr, SocketAddr};

use warp::http::header::{CONTENT_LENGTH, HOST, HeaderMap, ORIGIN, TRANSFER_ENCODING};
use warp::http::uri::{Authority, Uri};

/// No route reads a body so far; what is sent along anyway may be this long, in bytes.
const BODY_LIMIT: u64 = 16 * 1024;

/// Why a request is not answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No `Host`, several, or one that is not a host.
    BadHost,
    /// A host that is not ours.
    ForeignHost(String),
    /// A browser asks on behalf of another site.
    ForeignOrigin(String),
    /// A body without a length, or a longer one than anything here takes.
    BodyTooLarge,
}

/// Checks one request that came in at the local address `local`. `hosts` are the configured names that
/// this server is known under besides its addresses.
pub(crate) fn check(
    uri: &Uri,
    headers: &HeaderMap,
    local: SocketAddr,
    hosts: &[String],
) -> Result<(), Refusal> {
    let host = host(headers)?;
    if !is_ours(&host, local, hosts) {
        return Err(Refusal::ForeignHost(host.to_string()));
    }
    // `GET http://name/path` names a host of its own, and HTTP lets it win over the header.
    if let Some(authority) = uri.authority()
        && !is_ours(authority, local, hosts)
    {
        return Err(Refusal::ForeignHost(authority.to_string()));
    }
    check_origin(headers, &host)?;
    check_body(headers)
}

/// The one `Host` header.
fn host(headers: &HeaderMap) -> Result<Authority, Refusal> {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err(Refusal::BadHost);
    };
    Authority::try_from(host.as_bytes()).map_err(|_| Refusal::BadHost)
}

/// Whether a host is this server. The port does not matter: rebinding needs a foreign *name*, and behind
/// a forwarded port the one that the client sees is not ours.
fn is_ours(authority: &Authority, local: SocketAddr, hosts: &[String]) -> bool {
    let host = authority.host();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        let ip = ip.to_canonical();
        return ip.is_loopback() || ip == local.ip().to_canonical() || hosts.iter().any(|name| name == bare);
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    // Browsers and resolvers keep `localhost` and what ends in it on this machine (RFC 6761).
    name == "localhost"
        || name.ends_with(".localhost")
        || hosts.iter().any(|ours| ours.eq_ignore_ascii_case(&name))
}

fn check_origin(headers: &HeaderMap, host: &Authority) -> Result<(), Refusal> {
    for origin in headers.get_all(ORIGIN) {
        let ours = Uri::try_from(origin.as_bytes()).is_ok_and(|origin| {
            matches!(origin.scheme_str(), Some("http" | "https")) && origin.authority() == Some(host)
        });
        if !ours {
            let text = String::from_utf8_lossy(origin.as_bytes()).into_owned();
            return Err(Refusal::ForeignOrigin(text));
        }
    }
    // An embedded picture or script is asked for without `Origin`, yet not without these. A link that a
    // person follows is fine: the answer is shown as a page of its own.
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let site = text("sec-fetch-site");
    let same = matches!(site, None | Some("same-origin" | "none"));
    if !same && text("sec-fetch-mode") != Some("navigate") {
        return Err(Refusal::ForeignOrigin(site.unwrap_or_default().to_owned()));
    }
    Ok(())
}

fn check_body(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.contains_key(TRANSFER_ENCODING) {
        return Err(Refusal::BodyTooLarge);
    }
    let Some(length) = headers.get(CONTENT_LENGTH) else {
        return Ok(());
    };
    let length: Option<u64> = length.to_str().ok().and_then(|text| text.parse().ok());
    match length {
        Some(length) if length <= BODY_LIMIT => Ok(()),
        _ => Err(Refusal::BodyTooLarge),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warp::http::header::{HeaderName, HeaderValue};

    const LOOPBACK: &str = "127.0.0.1:8080";

    fn verdict(local: &str, names: &[&str], headers: &[(&str, &str)]) -> Result<(), Refusal> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        check(&Uri::from_static("/"), &map, local.parse().unwrap(), &names)
    }

    fn of_host(local: &str, host: &str) -> Result<(), Refusal> {
        verdict(local, &["cam.example"], &[("host", host)])
    }

    #[test]
    fn own_names_pass() {
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "localhost.:8080",
            "lane.localhost:8080",
            "127.0.0.1:8080",
            "127.0.0.1:1",
            "[::1]:8080",
            "cam.example",
            "CAM.example:443",
        ] {
            assert_eq!(of_host(LOOPBACK, host), Ok(()), "{host}");
        }
        assert_eq!(of_host("10.1.2.3:8080", "10.1.2.3:8080"), Ok(()));
        assert_eq!(of_host("[::ffff:10.1.2.3]:8080", "10.1.2.3:8080"), Ok(()));
    }

    #[test]
    fn foreign_names_do_not() {
        for host in [
            "evil.example",
            "localhost.evil.example",
            "notlocalhost",
            "cam.example.evil.example",
            "10.1.2.3",
            "127.0.0.1.evil.example",
        ] {
            assert!(matches!(of_host(LOOPBACK, host), Err(Refusal::ForeignHost(_))), "{host}");
        }
        for headers in
            [&[][..], &[("host", "")], &[("host", "a b")], &[("host", "localhost"), ("host", "evil.example")]]
        {
            assert_eq!(verdict(LOOPBACK, &[], headers), Err(Refusal::BadHost));
        }
    }

    #[test]
    fn a_host_in_the_request_line_is_checked_too() {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("localhost"));
        let uri = Uri::from_static("http://evil.example/metrics");
        let verdict = check(&uri, &headers, LOOPBACK.parse().unwrap(), &[]);
        assert!(matches!(verdict, Err(Refusal::ForeignHost(_))));
    }

    #[test]
    fn only_our_own_page_may_ask() {
        let origin = |origin| verdict(LOOPBACK, &[], &[("host", "localhost:8080"), ("origin", origin)]);
        assert_eq!(origin("http://localhost:8080"), Ok(()));
        for foreign in ["http://localhost:3000", "http://evil.example", "null", "file://localhost:8080", ""] {
            assert!(matches!(origin(foreign), Err(Refusal::ForeignOrigin(_))), "{foreign}");
        }
    }

    #[test]
    fn a_picture_embedded_by_another_site_is_refused_and_a_link_is_not() {
        let site = |site, mode| {
            let headers = [("host", "localhost"), ("sec-fetch-site", site), ("sec-fetch-mode", mode)];
            verdict(LOOPBACK, &[], &headers)
        };
        assert_eq!(site("same-origin", "no-cors"), Ok(()));
        assert_eq!(site("none", "navigate"), Ok(()));
        assert_eq!(site("cross-site", "navigate"), Ok(()));
        assert!(site("cross-site", "no-cors").is_err());
        assert!(site("same-site", "no-cors").is_err());
    }

    #[test]
    fn long_and_unmeasured_bodies_are_refused() {
        let body = |name, value| verdict(LOOPBACK, &[], &[("host", "localhost"), (name, value)]);
        assert_eq!(body("content-length", "10"), Ok(()));
        assert_eq!(body("content-length", "99999999999999999999999"), Err(Refusal::BodyTooLarge));
        assert_eq!(body("content-length", "1000000"), Err(Refusal::BodyTooLarge));
        assert_eq!(body("transfer-encoding", "chunked"), Err(Refusal::BodyTooLarge));
    }
}
