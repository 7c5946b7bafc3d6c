//! What a worker does wrong.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// One kind of misbehaviour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// None.
    None,
    /// Each job takes so many times as long.
    Slow(f64),
    /// Each answer comes so much later.
    Late(Duration),
    /// One job in five hangs for ever; the watchdog ends the process.
    Never,
    /// One job in five panics.
    Panic,
    /// Every job fails at once, so there is always room for the next.
    Fail,
    /// Answers are no answers: random bytes, broken lengths, heads, payloads, wrong tickets.
    Garbage,
    /// Every answer comes twice, and a release on top of it.
    Twice,
    /// Takes jobs, says that it lives, and never answers nor releases.
    Hold,
    /// Closes its connection again and again with jobs in hand.
    Close,
}

impl Fault {
    /// Whether the SDK would not let a worker do this.
    pub fn is_below_the_protocol(self) -> bool {
        matches!(self, Fault::Garbage | Fault::Twice | Fault::Hold | Fault::Close)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::None => f.write_str("none"),
            Fault::Slow(factor) => write!(f, "slow:{factor}x"),
            Fault::Late(by) => write!(f, "late:{}ms", by.as_millis()),
            Fault::Never => f.write_str("never"),
            Fault::Panic => f.write_str("panic"),
            Fault::Fail => f.write_str("fail"),
            Fault::Garbage => f.write_str("garbage"),
            Fault::Twice => f.write_str("twice"),
            Fault::Hold => f.write_str("hold"),
            Fault::Close => f.write_str("close"),
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, value) = text.split_once(':').map_or((text, None), |(kind, value)| (kind, Some(value)));
        let number = |unit| value.and_then(|value| value.strip_suffix(unit)?.parse::<f64>().ok());
        let fault = match (kind, value) {
            ("none", None) => Some(Fault::None),
            ("never", None) => Some(Fault::Never),
            ("panic", None) => Some(Fault::Panic),
            ("fail", None) => Some(Fault::Fail),
            ("garbage", None) => Some(Fault::Garbage),
            ("twice", None) => Some(Fault::Twice),
            ("hold", None) => Some(Fault::Hold),
            ("close", None) => Some(Fault::Close),
            ("slow", _) => number("x").filter(|factor| (1.0..=1e3).contains(factor)).map(Fault::Slow),
            ("late", _) => number("ms")
                .filter(|ms| (0.0..=1e6).contains(ms))
                .map(|ms| Fault::Late(Duration::from_secs_f64(ms / 1e3))),
            _ => None,
        };
        fault.ok_or_else(|| {
            format!("`{text}`: write none, slow:10x, late:500ms, never, panic, fail, garbage, twice, hold or close")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_written_as_it_is_read() {
        for text in
            ["none", "slow:10x", "late:500ms", "never", "panic", "fail", "garbage", "twice", "hold", "close"]
        {
            assert_eq!(text.parse::<Fault>().expect(text).to_string(), text);
        }
        for text in ["", "slow", "slow:10", "slow:NaNx", "slow:0x", "late:-1ms", "none:1", "lazy"] {
            assert!(text.parse::<Fault>().is_err(), "{text}");
        }
    }
}
