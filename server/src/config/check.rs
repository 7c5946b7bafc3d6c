//! What no single field of the config can know.

use std::net::SocketAddr;

use super::stream::worker;
use super::{Config, Pace, Stream, WhenFull};

/// A config that is well formed and still cannot be served.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Invalid {
    /// An address that anybody on the network could reach, where nothing asks who they are.
    #[error(
        "{what} may only bind to loopback (127.0.0.1 or [::1]), not {address}: it asks nobody for a credential yet, \
         so a wider address would show the cameras to the whole network"
    )]
    NotLoopback {
        /// The flag and key.
        what: &'static str,
        /// What was asked for.
        address: SocketAddr,
    },
    /// A stream's id would not do in a URL.
    #[error("stream id `{0}`: use 1 to 64 letters, digits, `-` and `_`")]
    StreamId(String),
    /// One field of one stream.
    #[error("stream `{stream}`: {problem}")]
    Stream {
        /// The stream's id.
        stream: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// More local workers than any machine has cores.
    #[error("local_workers = {0}: at most 256")]
    LocalWorkers(u32),
    /// One field of one broker. The broker is named without its password.
    #[error("broker {broker}: {problem}")]
    Broker {
        /// Its address.
        broker: wire::broker::Url,
        /// What is wrong and what would be right.
        problem: String,
    },
}

/// The largest side of an output: what H.264 level 6 can carry.
const SIDE_MAX: u32 = 8192;

/// The largest weight: beyond it the others as good as starve.
const WEIGHT_MAX: u32 = 1000;

/// The most frames a stream may hold: at 1080p about three gigabytes.
const HELD_MAX: usize = 1024;

/// The largest credit of a broker: as many frames wait in it.
const CREDIT_MAX: u32 = 4096;

pub(super) fn check(config: &Config) -> Result<(), Invalid> {
    for (what, address) in [("http", config.http), ("rtsp", config.rtsp)] {
        if !address.ip().is_loopback() {
            return Err(Invalid::NotLoopback { what, address });
        }
    }
    if config.local_workers > 256 {
        return Err(Invalid::LocalWorkers(config.local_workers));
    }
    for (at, broker) in config.broker.iter().enumerate() {
        let refuse = |problem: String| Err(Invalid::Broker { broker: broker.url.clone(), problem });
        if broker.credit.get() > CREDIT_MAX {
            return refuse(format!("credit = {}: at most {CREDIT_MAX}", broker.credit));
        }
        if config.broker[..at].iter().any(|other| other.url == broker.url) {
            return refuse("it is named twice; name it once, with the sum of the credits".into());
        }
    }
    for (id, stream) in &config.streams {
        let fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if id.is_empty() || id.len() > 64 || !id.chars().all(fine) {
            return Err(Invalid::StreamId(id.clone()));
        }
        check_stream(stream).map_err(|problem| Invalid::Stream { stream: id.clone(), problem })?;
    }
    Ok(())
}

fn check_stream(stream: &Stream) -> Result<(), String> {
    if stream.held.get() > HELD_MAX {
        return Err(format!("held = {}: at most {HELD_MAX}", stream.held));
    }
    if stream.pending > stream.held {
        return Err(format!("pending = {} is more than held = {}; raise held", stream.pending, stream.held));
    }
    if let Some(threshold) = stream.threshold
        && !(0.0..=1.0).contains(&threshold)
    {
        return Err(format!("threshold = {threshold}: use a number from 0 to 1"));
    }
    if let Some(pin) = &stream.pin
        && worker(pin).is_none()
    {
        return Err(format!(
            "pin = {pin:?}: use a worker's id, as /api/v1/workers shows it, such as \"w123456\""
        ));
    }
    if stream.weight.get() > WEIGHT_MAX {
        return Err(format!("weight = {}: at most {WEIGHT_MAX}", stream.weight));
    }
    if stream.hedge_percent > 100 {
        return Err(format!("hedge_percent = {}: use a number from 0 to 100", stream.hedge_percent));
    }
    if stream.hold_boxes && stream.model_rate.is_none() {
        return Err("hold_boxes needs model_rate: without it every frame has boxes of its own".into());
    }
    if stream.pace == Pace::Fast && stream.when_full != WhenFull::Refuse {
        return Err(
            "pace = \"fast\" needs when_full = \"refuse\": a file that never waits would only be dropped"
                .into(),
        );
    }
    match (stream.output.width, stream.output.height) {
        (None, None) => Ok(()),
        (Some(width), Some(height)) => {
            let fine = |side: u32| (16..=SIDE_MAX).contains(&side) && side.is_multiple_of(2);
            if fine(width) && fine(height) {
                Ok(())
            } else {
                Err(format!("output {width}x{height}: use even sides from 16 to {SIDE_MAX}"))
            }
        }
        _ => Err("output: give width and height, or neither".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        toml::from_str(text).expect("a config")
    }

    fn problem(text: &str) -> String {
        config(text).check().expect_err("refused").to_string()
    }

    #[test]
    fn http_and_rtsp_stay_on_loopback() {
        assert!(problem("http = \"0.0.0.0:8080\"").starts_with("http may only bind to loopback"));
        assert!(problem("rtsp = \"[::]:8554\"").starts_with("rtsp may only bind to loopback"));
        assert_eq!(config("quic = \"0.0.0.0:4433\"").check(), Ok(()));
        assert_eq!(config("http = \"[::1]:8080\"").check(), Ok(()));
    }

    #[test]
    fn brokers_are_checked_and_their_passwords_are_kept() {
        let twice = "[[broker]]\nurl = \"redis://:hunter22@db\"\n".repeat(2);
        let problem_of_twice = problem(&twice);
        assert!(
            problem_of_twice.starts_with("broker redis://***@db: it is named twice"),
            "{problem_of_twice}"
        );
        assert!(!format!("{:?}", config(&twice)).contains("hunter22"));
        assert!(problem("[[broker]]\nurl = \"amqp://mq\"\ncredit = 5000").contains("at most 4096"));
        let error = toml::from_str::<Config>("[[broker]]\nurl = \"http://hunter22\"").expect_err("refused");
        assert!(error.message().contains("redis://") && !error.message().contains("hunter22"), "{error}");
    }

    #[test]
    fn ids_must_do_in_a_url() {
        assert!(problem("[streams.\"a/b\"]\nsource = \"test:\"").starts_with("stream id `a/b`"));
    }

    #[test]
    fn limits_of_a_stream_are_checked() {
        assert!(problem("[streams.a]\nsource = \"test:\"\npending = 20").contains("raise held"));
        assert!(problem("[streams.a]\nsource = \"test:\"\nthreshold = 2.0").contains("from 0 to 1"));
        assert!(problem("[streams.a]\nsource = \"test:\"\npin = \"gpu-1\"").contains("worker's id"));
        assert!(problem("[streams.a]\nsource = \"test:\"\nweight = 1001").contains("at most 1000"));
        assert!(problem("[streams.a]\nsource = \"test:\"\nhedge_percent = 101").contains("from 0 to 100"));
        assert!(problem("[streams.a]\nsource = \"test:\"\nhold_boxes = true").contains("model_rate"));
        assert!(problem("[streams.a]\nsource = \"test:\"\npace = \"fast\"").contains("when_full"));
        assert!(problem("[streams.a]\nsource = \"test:\"\noutput = { width = 640 }").contains("or neither"));
        assert!(
            problem("[streams.a]\nsource = \"test:\"\noutput = { width = 641, height = 480 }")
                .contains("even")
        );
    }

    #[test]
    fn a_stream_hedges_as_many_as_it_says() {
        let policy = |key: &str| {
            let config = config(&format!("[streams.a]\nsource = \"test:\"\n{key}"));
            assert_eq!(config.check(), Ok(()));
            config.streams["a"].policy()
        };
        assert_eq!(policy("").hedge, None);
        assert_eq!(policy("hedge_percent = 0").hedge, None);
        assert_eq!(policy("hedge_percent = 5").hedge, queue::Hedge::slowest_percent(5));
    }
}
