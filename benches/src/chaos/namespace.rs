//! Network namespaces: workers on networks of their own, each with a pair of virtual cables to this host.

use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::{Context, ensure};

/// A namespace with one cable. Dropping it takes both away.
pub(super) struct Namespace {
    name: String,
    cable: String,
    host: Ipv4Addr,
}

impl Namespace {
    /// Makes the `index`th one of this process: needs root and `ip`.
    pub(super) fn new(index: u8) -> anyhow::Result<Namespace> {
        let pid = std::process::id();
        // Names of interfaces have at most 15 letters.
        let (name, cable) = (format!("framelane-{pid}-{index}"), format!("fl{pid}-{index}"));
        // Of the private addresses a corner that nobody is likely to use; a clash fails below.
        let net = [10, 213, u8::try_from(pid % 251).unwrap_or(0), index.saturating_mul(4)];
        let host = Ipv4Addr::from([net[0], net[1], net[2], net[3] + 1]);
        let inside = Ipv4Addr::from([net[0], net[1], net[2], net[3] + 2]);
        ip(&["netns", "add", &name])?;
        // From here on what was made is taken away again.
        let namespace = Namespace { name, cable, host };
        let Namespace { name, cable, .. } = &namespace;
        ip(&["link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name])?;
        ip(&["addr", "add", &format!("{host}/30"), "dev", cable])?;
        ip(&["link", "set", cable, "up"])?;
        ip(&["-n", name, "addr", "add", &format!("{inside}/30"), "dev", "eth0"])?;
        ip(&["-n", name, "link", "set", "eth0", "up"])?;
        Ok(namespace)
    }

    /// The address at which this host is reached from inside.
    pub(super) fn host(&self) -> Ipv4Addr {
        self.host
    }

    /// The command that starts a program inside.
    pub(super) fn enter(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.name].map(str::to_owned).to_vec()
    }

    /// Cuts the cable, or mends it.
    pub(super) fn cut(&self, cut: bool) -> anyhow::Result<()> {
        ip(&["link", "set", &self.cable, if cut { "down" } else { "up" }])
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The cable may not have been made; the namespace was.
        let _ = ip(&["link", "del", &self.cable]);
        if let Err(error) = ip(&["netns", "del", &self.name]) {
            tracing::warn!(name = self.name, "{error:#}");
        }
    }
}

fn ip(args: &[&str]) -> anyhow::Result<()> {
    let done = Command::new("ip").args(args).output().context("`ip` (Debian: iproute2) cannot be run")?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "ip {}: {}", args.join(" "), said.trim());
    Ok(())
}
