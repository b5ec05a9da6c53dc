//! Rates: how much in how much time, in EMQX's grammar, and the buckets that hold to it.
//!
//! `1000/s`, `500KB/10s`, `20/m`, `infinity`; several of them at once as a list. A [`Bucket`] is a generic cell rate
//! algorithm (GCRA) for each window: one number, the time at which the window would be empty again. It is an atomic one, so
//! that a bucket that several shards share needs no lock.
//!
//! Pure: time is an argument, in milliseconds of a clock that never goes back.

mod bucket;
mod pace;
mod rule;

pub use bucket::Bucket;
pub use rule::{Excess, Measure, RateRule, RateScope};

use crate::units::{format_bytes, format_duration, parse_bytes, parse_duration};
use pace::Pace;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::time::Duration;

/// Windows of one rate.
const WINDOWS_MAX: usize = 8;
const PER_MAX: Duration = Duration::from_secs(31 * 86_400);

/// So much in so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// How much; not 0.
    pub amount: u64,
    /// In how much time; not zero.
    pub per: Duration,
    /// Whether the amount is of bytes.
    pub bytes: bool,
}

/// Why a rate cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RateError {
    /// It is not in the grammar.
    #[error("`{0}` is not a rate (`1000/s`, `500KB/10s`, `infinity`)")]
    Syntax(String),
    /// Nothing at all would be allowed.
    #[error("`{0}` allows nothing; ban who shall send nothing")]
    Nothing(String),
    /// The window is too long.
    #[error("the window of `{0}` is longer than 31 days")]
    TooLong(String),
    /// There are too many windows.
    #[error("more than {WINDOWS_MAX} windows")]
    TooMany,
}

impl Quota {
    /// Reads a rate; `None` is `infinity`.
    pub fn parse(text: &str) -> Result<Option<Quota>, RateError> {
        let text = text.trim();
        if text == "infinity" {
            return Ok(None);
        }
        let syntax = || RateError::Syntax(text.chars().take(80).collect());
        let (amount_text, per) = text.split_once('/').ok_or_else(syntax)?;
        let amount = parse_bytes(amount_text).ok_or_else(syntax)?;
        let per = per.trim();
        let per = parse_duration(per).or_else(|| parse_duration(&format!("1{per}"))).ok_or_else(syntax)?;
        if per.is_zero() {
            return Err(syntax());
        }
        if amount == 0 {
            return Err(RateError::Nothing(text.into()));
        }
        if per > PER_MAX {
            return Err(RateError::TooLong(text.into()));
        }
        let bytes = amount_text.trim().ends_with('B');
        Ok(Some(Quota { amount, per, bytes }))
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bytes {
            f.write_str(&format_bytes(self.amount))?;
        } else {
            write!(f, "{}", self.amount)?;
        }
        let per = format_duration(self.per);
        let unit = per.strip_prefix('1').filter(|unit| unit.starts_with(|c: char| c.is_ascii_alphabetic()));
        write!(f, "/{}", unit.unwrap_or(&per))
    }
}

/// All windows that must allow something; none is `infinity`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    quotas: Vec<Quota>,
    /// How much may come at once; `None`: what a window allows in all of its time.
    burst: Option<u64>,
    /// What is counted with, of each window.
    paces: Vec<Pace>,
}

impl Windows {
    /// Reads several rates that hold at once.
    pub fn parse<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<Windows, RateError> {
        let mut quotas = Vec::new();
        for text in texts {
            quotas.extend(Quota::parse(text)?);
        }
        if quotas.len() > WINDOWS_MAX {
            return Err(RateError::TooMany);
        }
        Ok(Windows::of(quotas, None))
    }

    /// The same with how much may come at once; 0 and 1 are one at a time.
    pub fn with_burst(self, burst: Option<u64>) -> Windows {
        Windows::of(self.quotas, burst)
    }

    /// The same with the `divisor`-th part of every amount, and at least 1.
    pub fn divided(&self, divisor: u64) -> Windows {
        let part = |amount: u64| (amount / divisor.max(1)).max(1);
        let quotas = self.quotas.iter().map(|quota| Quota { amount: part(quota.amount), ..*quota }).collect();
        Windows::of(quotas, self.burst.map(part))
    }

    fn of(quotas: Vec<Quota>, burst: Option<u64>) -> Windows {
        let paces = quotas.iter().map(|quota| Pace::new(quota, burst)).collect();
        Windows { quotas, burst, paces }
    }

    /// Whether nothing is limited.
    pub fn is_infinite(&self) -> bool {
        self.quotas.is_empty()
    }

    /// The windows.
    pub fn quotas(&self) -> &[Quota] {
        &self.quotas
    }

    /// How much may come at once, where it is set.
    pub fn burst(&self) -> Option<u64> {
        self.burst
    }
}

/// As it is written: one string, or a list of them.
impl Serialize for Windows {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.quotas.as_slice() {
            [] => serializer.serialize_str("infinity"),
            [one] => serializer.collect_str(one),
            many => serializer.collect_seq(many.iter().map(Quota::to_string)),
        }
    }
}

impl<'de> Deserialize<'de> for Windows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Windows, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            One(String),
            Many(Vec<String>),
        }
        let windows = match Written::deserialize(deserializer)? {
            Written::One(text) => Windows::parse([text.as_str()]),
            Written::Many(texts) => Windows::parse(texts.iter().map(String::as_str)),
        };
        windows.map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_emqx_reads_them() {
        let shown = |text: &str| Quota::parse(text).unwrap().map(|quota| quota.to_string());
        assert_eq!(shown("1000/s").as_deref(), Some("1000/s"));
        assert_eq!(shown("500KB/10s").as_deref(), Some("500000B/10s"));
        assert_eq!(shown("1MiB/1m").as_deref(), Some("1MiB/m"));
        assert_eq!(shown(" 20 / m ").as_deref(), Some("20/m"));
        assert_eq!(shown("infinity"), None);
        for wrong in ["", "1000", "/s", "1000/", "a/s", "1000/0s", "-1/s", "1.5/s", "1000/s/s", "Infinity"] {
            assert!(matches!(Quota::parse(wrong), Err(RateError::Syntax(_))), "{wrong}");
        }
        assert!(matches!(Quota::parse("0/s"), Err(RateError::Nothing(_))));
        assert!(matches!(Quota::parse("1/52w"), Err(RateError::TooLong(_))));
        assert!(matches!(Windows::parse(["1/s"; 9]), Err(RateError::TooMany)));
        assert!(Windows::parse(["infinity"]).unwrap().is_infinite());
    }

    #[test]
    fn windows_are_one_string_or_several() {
        let windows: Windows = serde_json::from_str(r#"["10/s","100/m"]"#).unwrap();
        assert_eq!(serde_json::to_string(&windows).unwrap(), r#"["10/s","100/m"]"#);
        assert_eq!(serde_json::from_str::<Windows>("\"infinity\"").unwrap(), Windows::default());
        assert!(serde_json::from_str::<Windows>("\"10\"").is_err());
    }
}
