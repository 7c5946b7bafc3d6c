//! How bad one direction is.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What happens to packets of one direction, each on its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weather {
    /// The part that is lost, 0 to 1.
    pub loss: f64,
    /// The part that arrives twice, 0 to 1.
    pub duplicate: f64,
    /// How long each packet takes at least.
    pub delay: Duration,
    /// How much longer at most. Packets that are closer to each other than this may be reordered.
    pub jitter: Duration,
    /// The part that takes longer, 0 to 1; by default all. Where all do, every burst arrives shuffled, which
    /// QUIC takes for heavy loss.
    pub reorder: f64,
}

impl Default for Weather {
    /// A good line.
    fn default() -> Self {
        Weather { loss: 0.0, duplicate: 0.0, delay: Duration::ZERO, jitter: Duration::ZERO, reorder: 1.0 }
    }
}

impl fmt::Display for Weather {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Weather { loss, duplicate, delay, jitter, reorder } = self;
        let (delay, jitter) = (delay.as_millis(), jitter.as_millis());
        let [loss, duplicate, reorder] = [loss, duplicate, reorder].map(|share| share * 1e2);
        write!(f, "loss={loss}%,duplicate={duplicate}%,delay={delay}ms,jitter={jitter}ms,reorder={reorder}%")
    }
}

impl FromStr for Weather {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut weather = Weather::default();
        if text == "none" {
            return Ok(weather);
        }
        let hint = |part: &str| {
            format!(
                "`{part}`: write loss=2%, duplicate=1%, delay=20ms, jitter=15ms or reorder=5%, with commas between"
            )
        };
        for part in text.split(',') {
            let (name, value) = part.split_once('=').ok_or_else(|| hint(part))?;
            let number = |unit, most| {
                let number: f64 = value.strip_suffix(unit)?.parse().ok()?;
                (0.0..=most).contains(&number).then_some(number)
            };
            let share = || number("%", 100.0).map(|percent| percent / 1e2).ok_or_else(|| hint(part));
            let time =
                || number("ms", 1e4).map(|ms| Duration::from_secs_f64(ms / 1e3)).ok_or_else(|| hint(part));
            match name {
                "loss" => weather.loss = share()?,
                "duplicate" => weather.duplicate = share()?,
                "delay" => weather.delay = time()?,
                "reorder" => weather.reorder = share()?,
                "jitter" => weather.jitter = time()?,
                _ => return Err(hint(part)),
            }
        }
        Ok(weather)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weather_is_read_as_it_is_written() {
        for text in ["none", "loss=2%,duplicate=1%,delay=20ms,jitter=15ms,reorder=5%", "delay=1ms"] {
            let weather: Weather = text.parse().expect(text);
            assert_eq!(weather.to_string().parse(), Ok(weather));
        }
        for text in ["", "rain", "loss=2", "loss=200%", "delay=20", "delay=-1ms", "loss=NaN%", "loss=1%,"] {
            assert!(text.parse::<Weather>().is_err(), "{text}");
        }
    }
}
