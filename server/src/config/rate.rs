//! A frame rate as people write it in a config: `5`, `7.5`, `"30000/1001"`.

use std::fmt;

use picture::Rate;
use serde::de::{self, Deserialize, Deserializer, Visitor};

/// How often a model is asked, in frames a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelRate(Rate);

impl ModelRate {
    /// The rate.
    pub fn get(self) -> Rate {
        self.0
    }
}

/// What a decimal is read to: thousandths of a frame a second.
const STEPS: u32 = 1000;
/// No camera is faster, and with it the thousandths fit.
const MOST: f64 = 1000.0;

impl<'de> Deserialize<'de> for ModelRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl Visitor<'_> for Reader {
    type Value = ModelRate;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("frames a second: a number such as 5 or 0.5, or a fraction such as \"30000/1001\"")
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<ModelRate, E> {
        self.visit_f64(value as f64)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<ModelRate, E> {
        self.visit_f64(value as f64)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<ModelRate, E> {
        let steps = (value * f64::from(STEPS)).round();
        // False for NaN.
        if !(value <= MOST && steps >= 1.0) {
            return Err(E::custom(format!("{value} is not between 0.001 and {MOST} frames a second")));
        }
        Rate::new(steps as u32, STEPS).map(ModelRate).map_err(E::custom)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ModelRate, E> {
        let rate: Rate = text.parse().map_err(E::custom)?;
        // A fraction is kept as it is, within the same bounds.
        self.visit_f64::<E>(rate.as_f64()).map(|_| ModelRate(rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(text: &str) -> Result<Rate, String> {
        #[derive(serde::Deserialize)]
        struct Config {
            rate: ModelRate,
        }
        let config: Result<Config, _> = toml::from_str(&format!("rate = {text}"));
        config.map(|config| config.rate.get()).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn numbers_and_fractions_are_exact() {
        for (text, num, den) in
            [("5", 5, 1), ("0.5", 1, 2), ("7.5", 15, 2), ("\"30000/1001\"", 30_000, 1001), ("\"5\"", 5, 1)]
        {
            assert_eq!(rate(text), Ok(Rate::new(num, den).expect("a rate")), "{text}");
        }
    }

    #[test]
    fn what_is_no_rate_is_refused_in_words() {
        for text in ["0", "-5", "0.0001", "1e9", "nan", "inf", "\"25fps\"", "\"1/0\"", "\"1/9999\"", "true"] {
            let error = rate(text).expect_err(text);
            assert!(error.contains("frame"), "{text}: {error}");
        }
    }
}
