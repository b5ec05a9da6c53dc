//! A point in time as people write it, in UTC: ISO 8601 and the common conversions of `strftime`.

use std::time::{SystemTime, UNIX_EPOCH};

/// A point in time, in UTC, split for printing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Seconds since 1970.
    pub unix_s: u64,
    /// Nanoseconds of the second.
    pub nanoseconds: u32,
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

impl Moment {
    /// Now.
    pub fn now() -> Moment {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Moment::from_unix(since.as_secs(), since.subsec_nanos())
    }

    /// The moment `unix_s` seconds and `nanoseconds` after the start of 1970.
    pub fn from_unix(unix_s: u64, nanoseconds: u32) -> Moment {
        // Days to date by eras of 400 years that start on 1 March, so that the leap day is the last of its year.
        let days = unix_s / 86_400 + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let second_of_day = unix_s % 86_400;
        Moment {
            unix_s,
            nanoseconds,
            year: era * 400 + year_of_era + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * shifted_month + 2) / 5 + 1,
            hour: second_of_day / 3600,
            minute: second_of_day / 60 % 60,
            second: second_of_day % 60,
        }
    }

    /// `2026-01-31T12:00:00+0000`, as `mosquitto_sub` writes `%I`.
    pub fn iso8601(&self) -> String {
        format!("{}T{}+0000", self.date(), self.time())
    }

    /// `2026-01-31T12:00:00.123456Z`, RFC 3339 with microseconds.
    pub fn rfc3339_us(&self) -> String {
        format!("{}T{}.{:06}Z", self.date(), self.time(), self.nanoseconds / 1000)
    }

    /// What `strftime` writes for `%` and `conversion`, with `N` for nanoseconds; `None` for a conversion that is not known.
    pub fn strftime(&self, conversion: char) -> Option<String> {
        let weekday = (self.unix_s / 86_400 % 7) as usize;
        let month = MONTHS[self.month as usize - 1];
        Some(match conversion {
            'Y' => self.year.to_string(),
            'C' => format!("{:02}", self.year / 100),
            'y' => format!("{:02}", self.year % 100),
            'm' => format!("{:02}", self.month),
            'd' => format!("{:02}", self.day),
            'e' => format!("{:2}", self.day),
            'j' => format!("{:03}", self.day_of_year()),
            'H' => format!("{:02}", self.hour),
            'I' => format!("{:02}", (self.hour + 11) % 12 + 1),
            'p' => if self.hour < 12 { "AM" } else { "PM" }.into(),
            'M' => format!("{:02}", self.minute),
            'S' => format!("{:02}", self.second),
            's' => self.unix_s.to_string(),
            'N' => format!("{:09}", self.nanoseconds),
            'F' => self.date(),
            'T' => self.time(),
            'R' => format!("{:02}:{:02}", self.hour, self.minute),
            'D' => format!("{:02}/{:02}/{:02}", self.month, self.day, self.year % 100),
            'a' => DAYS[weekday][..3].into(),
            'A' => DAYS[weekday].into(),
            'b' | 'h' => month[..3].into(),
            'B' => month.into(),
            'c' => {
                format!(
                    "{} {} {:2} {} {}",
                    &DAYS[weekday][..3],
                    &month[..3],
                    self.day,
                    self.time(),
                    self.year
                )
            }
            // 1970 began on a Thursday; ISO days count from Monday.
            'u' => ((weekday + 3) % 7 + 1).to_string(),
            'w' => ((weekday + 4) % 7).to_string(),
            'z' => "+0000".into(),
            'Z' => "UTC".into(),
            'n' => "\n".into(),
            't' => "\t".into(),
            _ => return None,
        })
    }

    fn date(&self) -> String {
        format!("{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }

    fn time(&self) -> String {
        format!("{:02}:{:02}:{:02}", self.hour, self.minute, self.second)
    }

    fn day_of_year(&self) -> u64 {
        let leap =
            self.year.is_multiple_of(4) && !self.year.is_multiple_of(100) || self.year.is_multiple_of(400);
        const BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        BEFORE[self.month as usize - 1] + self.day + u64::from(leap && self.month > 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        for (unix_s, text) in [
            (0, "1970-01-01T00:00:00+0000"),
            (951_782_399, "2000-02-28T23:59:59+0000"),
            (951_782_400, "2000-02-29T00:00:00+0000"),
            (1_704_067_199, "2023-12-31T23:59:59+0000"),
            (1_795_503_240, "2026-11-24T06:54:00+0000"),
            (4_107_542_400, "2100-03-01T00:00:00+0000"),
        ] {
            assert_eq!(Moment::from_unix(unix_s, 0).iso8601(), text);
        }
    }

    #[test]
    fn every_day_of_a_leap_year_follows_the_one_before() {
        for day in 1..=366 {
            let moment = Moment::from_unix(1_704_067_200 + (day - 1) * 86_400, 0);
            assert_eq!(moment.strftime('j'), Some(format!("{day:03}")));
        }
    }

    #[test]
    fn conversions() {
        // A Tuesday.
        let moment = Moment::from_unix(1_795_503_240, 5_000);
        let of = |conversion| moment.strftime(conversion).unwrap();
        assert_eq!((of('a').as_str(), of('u').as_str(), of('w').as_str()), ("Tue", "2", "2"));
        assert_eq!(of('c'), "Tue Nov 24 06:54:00 2026");
        assert_eq!(of('N'), "000005000");
        assert_eq!(of('D'), "11/24/26");
        assert_eq!(moment.rfc3339_us(), "2026-11-24T06:54:00.000005Z");
        assert_eq!(moment.strftime('!'), None);
        // A Thursday.
        assert_eq!(Moment::from_unix(0, 0).strftime('u').as_deref(), Some("4"));
    }
}
