//! The server's JSON API, asked from outside.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use serde::de::DeserializeOwned;

/// Asks for one path and reads the answer as JSON.
pub async fn get<T: DeserializeOwned + Send + 'static>(server: SocketAddr, path: &str) -> anyhow::Result<T> {
    let url = format!("http://{server}{path}");
    let asked = tokio::task::spawn_blocking(move || {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(5))).build().into();
        let text = agent
            .get(&url)
            .call()
            .with_context(|| format!("cannot ask {url}"))?
            .body_mut()
            .read_to_string()?;
        serde_json::from_str(&text).with_context(|| format!("{url} answered with something else"))
    });
    asked.await.context("asking panicked")?
}
