//! Sizes, durations and rates, written as users of EMQX write them: `500KB`, `64MiB`, `5m`, `1000/s`.

use std::fmt;
use std::time::Duration;

const BYTE_UNITS: &[(&str, u64)] = &[
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("kB", 1_000),
    ("B", 1),
    ("", 1),
];

const TIME_UNITS: &[(&str, u64)] =
    &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];

/// So many events in so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many events.
    pub events: u64,
    /// In how much time; not zero.
    pub per: Duration,
}

impl Rate {
    /// Events a second, rounded up.
    pub fn per_second(self) -> u64 {
        let millis = self.per.as_millis().max(1) as u64;
        self.events.saturating_mul(1000).div_ceil(millis)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = format_duration(self.per);
        // `1000/s`, not `1000/1s`.
        let unit = per.strip_prefix('1').filter(|unit| unit.starts_with(|c: char| c.is_ascii_alphabetic()));
        write!(f, "{}/{}", self.events, unit.unwrap_or(&per))
    }
}

/// The number in front and the unit behind it.
fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let digits = text[..end].replace('_', "");
    Some((digits.parse().ok()?, text[end..].trim_start()))
}

/// A size in bytes: `4096`, `500KB`, `64MiB`.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let (number, unit) = split(text.trim())?;
    let (_, factor) = BYTE_UNITS.iter().find(|(name, _)| *name == unit)?;
    number.checked_mul(*factor)
}

/// A duration: `100ms`, `30s`, `5m`, `12h`, `7d`, also `1h30m`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total: u64 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, behind) = split(rest)?;
        let end = behind.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(behind.len());
        let (_, factor) = TIME_UNITS.iter().find(|(name, _)| *name == &behind[..end])?;
        total = total.checked_add(number.checked_mul(*factor)?)?;
        rest = behind[end..].trim_start();
    }
    Some(Duration::from_millis(total))
}

/// A rate: `1000/s`, `50/10s`, `20/m`.
pub fn parse_rate(text: &str) -> Option<Rate> {
    let (events, per) = text.trim().split_once('/')?;
    let (events, rest) = split(events.trim())?;
    let per = per.trim();
    let per = parse_duration(per).or_else(|| parse_duration(&format!("1{per}")))?;
    (rest.is_empty() && !per.is_zero()).then_some(Rate { events, per })
}

/// The size with the largest unit that divides it.
pub fn format_bytes(bytes: u64) -> String {
    let unit = BYTE_UNITS.iter().find(|(name, factor)| {
        (name.ends_with("iB") || *name == "B") && bytes != 0 && bytes.is_multiple_of(*factor)
    });
    match unit {
        Some((name, factor)) => format!("{}{name}", bytes / factor),
        None => format!("{bytes}B"),
    }
}

/// The duration with the largest unit (up to days) that divides it.
pub fn format_duration(duration: Duration) -> String {
    let millis = duration.as_millis() as u64;
    let unit = TIME_UNITS[..5].iter().rev().find(|(_, factor)| millis != 0 && millis.is_multiple_of(*factor));
    match unit {
        Some((name, factor)) => format!("{}{name}", millis / factor),
        None => "0s".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_durations_and_rates_are_read_and_written() {
        for (text, bytes) in
            [("4096", 4096), ("500KB", 500_000), ("64MiB", 64 << 20), ("1 GiB", 1 << 30), ("1_000", 1000)]
        {
            assert_eq!(parse_bytes(text), Some(bytes), "{text}");
            assert_eq!(parse_bytes(&format_bytes(bytes)), Some(bytes));
        }
        for bad in ["", "KB", "-1", "1.5MB", "1kb", "99999999999999999999", "18446744073709551615KB", "1 K B"]
        {
            assert_eq!(parse_bytes(bad), None, "{bad}");
        }
        for (text, millis) in
            [("100ms", 100), ("30s", 30_000), ("5m", 300_000), ("1h30m", 5_400_000), ("7d", 604_800_000)]
        {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
            assert_eq!(parse_duration(&format_duration(Duration::from_millis(millis))), parse_duration(text));
        }
        for bad in ["", "5", "m", "5 minutes", "-5m", "5m3", "999999999999999999w"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
        assert_eq!(parse_rate("1000/s").map(Rate::per_second), Some(1000));
        assert_eq!(parse_rate("50/10s").map(Rate::per_second), Some(5));
        assert_eq!(parse_rate("20/m").map(|rate| rate.to_string()).as_deref(), Some("20/m"));
        assert_eq!(parse_rate("50/10s").map(|rate| rate.to_string()).as_deref(), Some("50/10s"));
        for bad in ["", "1000", "/s", "1000/", "1000/0s", "1KB/s", "a/s"] {
            assert_eq!(parse_rate(bad), None, "{bad}");
        }
    }
}
