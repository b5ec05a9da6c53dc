//! Points in time as `--since` and `--until` take them.

use ravelin_node::config::parse_duration;
use std::time::SystemTime;

/// A point in time, in milliseconds since the Unix epoch: `2026-11-24`, `2026-11-24T09:30`, `2026-11-24T09:30:05Z`, or as long
/// ago as a duration says: `90m`, `2d`.
pub fn parse(text: &str) -> Result<u64, String> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    if let Some(ago) = parse_duration(text) {
        return Ok(now.saturating_sub(ago).as_millis() as u64);
    }
    moment(text).ok_or_else(|| {
        "write a time in UTC (2026-11-24, 2026-11-24T09:30:05) or how long ago it was (90m, 2d)".into()
    })
}

fn moment(text: &str) -> Option<u64> {
    let text = text.trim_end_matches('Z');
    let (date, time) = text.split_once(['T', ' ']).unwrap_or((text, "00:00:00"));
    let date: Vec<u64> = date.split('-').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let (seconds, fraction) = time.split_once('.').unwrap_or((time, ""));
    let time: Vec<u64> = seconds.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let (&[year, month, day], (&[hour, minute], second)) = (
        date.as_slice(),
        match time.as_slice() {
            [head @ .., second] if head.len() == 2 => (head, *second),
            both => (both, 0),
        },
    ) else {
        return None;
    };
    let lengths = [31, if is_leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let month_length = *lengths.get(usize::try_from(month).ok()?.checked_sub(1)?)?;
    let sound = (1970..=9999).contains(&year)
        && (1..=month_length).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !sound || fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let millis: u64 = format!("{fraction:0<3}").parse().ok()?;
    let years: u64 = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum();
    let days = years + lengths[..month as usize - 1].iter().sum::<u64>() + day - 1;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + millis)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        for (text, millis) in [
            ("1970-01-01", 0),
            ("2000-02-29T00:00", 951_782_400_000),
            ("2026-11-24T06:53:43.007Z", 1_795_503_223_007),
            ("2026-11-24 06:53:43", 1_795_503_223_000),
        ] {
            assert_eq!(parse(text), Ok(millis), "{text}");
        }
        let ago = parse("1h").unwrap();
        assert!(parse("0s").unwrap() - ago >= 3_600_000);
        for bad in
            ["", "yesterday", "2026-13-01", "2026-02-29", "2026-11-24T24:00", "2026-11-24T9", "1969-12-31"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
