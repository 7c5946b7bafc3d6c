//! How bad one direction is.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What happens to packets of one direction, each on its own.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Weather {
    /// The part that is lost, 0 to 1.
    pub loss: f64,
    /// The part that arrives twice, 0 to 1.
    pub duplicate: f64,
    /// How long each packet takes at least.
    pub delay: Duration,
    /// How much longer at most. Packets that are closer to each other than this may be reordered.
    pub jitter: Duration,
}

impl fmt::Display for Weather {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Weather { loss, duplicate, delay, jitter } = self;
        let (delay, jitter) = (delay.as_millis(), jitter.as_millis());
        write!(f, "loss={}%,duplicate={}%,delay={delay}ms,jitter={jitter}ms", loss * 1e2, duplicate * 1e2)
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
            format!("`{part}`: write loss=2%, duplicate=1%, delay=20ms or jitter=15ms, with commas between")
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
        for text in ["none", "loss=2%,duplicate=1%,delay=20ms,jitter=15ms", "delay=1ms"] {
            let weather: Weather = text.parse().expect(text);
            assert_eq!(weather.to_string().parse(), Ok(weather));
        }
        for text in ["", "rain", "loss=2", "loss=200%", "delay=20", "delay=-1ms", "loss=NaN%", "loss=1%,"] {
            assert!(text.parse::<Weather>().is_err(), "{text}");
        }
    }
}
