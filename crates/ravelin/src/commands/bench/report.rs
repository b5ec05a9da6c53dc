//! What a run found, once for people and once for programs: one list of figures, printed as a table or as one JSON line.

use super::histogram::Histogram;
use serde_json::{Map, Value, json};
use std::io::IsTerminal;

/// The figures of a run, in the order of the table.
#[derive(Debug, Default)]
pub struct Report {
    figures: Vec<Figure>,
    /// Why the run is not a success.
    faults: Vec<String>,
}

#[derive(Debug)]
struct Figure {
    key: &'static str,
    label: &'static str,
    value: Value,
    shown: String,
}

impl Report {
    /// A report on a scenario.
    pub fn new(scenario: &str) -> Report {
        let mut report = Report::default();
        report.text("scenario", "scenario", scenario);
        report
    }

    /// Adds words.
    pub fn text(&mut self, key: &'static str, label: &'static str, value: &str) {
        self.add(key, label, json!(value), value.to_owned());
    }

    /// Adds a whole number.
    pub fn count(&mut self, key: &'static str, label: &'static str, value: u64) {
        self.add(key, label, json!(value), grouped(value));
    }

    /// Adds a number with a unit; what could not be measured (not finite) is null.
    pub fn number(&mut self, key: &'static str, label: &'static str, value: f64, unit: &str) {
        let shown = if value.is_finite() { format!("{} {unit}", readable(value)) } else { "-".into() };
        self.add(key, label, rounded(value), shown.trim_end().to_owned());
    }

    /// Adds bytes.
    pub fn bytes(&mut self, key: &'static str, label: &'static str, value: f64) {
        let shown = match value {
            value if !value.is_finite() => "-".into(),
            value if value.abs() >= 10.0 * 1024.0 * 1024.0 => {
                format!("{} MiB", readable(value / 1024.0 / 1024.0))
            }
            value if value.abs() >= 10.0 * 1024.0 => format!("{} KiB", readable(value / 1024.0)),
            value => format!("{} B", readable(value)),
        };
        self.add(key, label, rounded(value), shown);
    }

    /// Adds the percentiles of a histogram of nanoseconds, in microseconds.
    pub fn latency(&mut self, key: &'static str, label: &'static str, histogram: &Histogram) {
        let us = |ns: u64| ns as f64 / 1000.0;
        let points = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];
        let mut value = Map::new();
        let mut shown = Vec::new();
        for (name, share) in points {
            let at = us(histogram.quantile(share));
            value.insert(name.into(), rounded(at));
            shown.push(format!("{} {}", name.replace("p999", "p99.9"), duration(at)));
        }
        value.insert("max".into(), rounded(us(histogram.max())));
        shown.push(format!("max {}", duration(us(histogram.max()))));
        let shown = if histogram.count() == 0 { "-".into() } else { shown.join("  ") };
        self.add(key, label, Value::Object(value), shown);
    }

    /// Notes a reason why the run is not a success.
    pub fn fault(&mut self, what: impl Into<String>) {
        self.faults.push(what.into());
    }

    /// Notes a fault if `count` is not 0.
    pub fn fault_count(&mut self, count: u64, what: &str) {
        if count > 0 {
            self.fault(format!("{} {what}", grouped(count)));
        }
    }

    /// Whether nothing went wrong.
    pub fn is_success(&self) -> bool {
        self.faults.is_empty()
    }

    /// Prints to standard output: a table, or one line of JSON.
    pub fn print(&self, json: bool) {
        if json {
            println!("{}", self.json());
        } else {
            print!("{}", self.table(std::io::stdout().is_terminal()));
        }
    }

    fn json(&self) -> Value {
        let mut object: Map<String, Value> =
            self.figures.iter().map(|figure| (figure.key.to_owned(), figure.value.clone())).collect();
        object.insert("faults".into(), json!(self.faults));
        Value::Object(object)
    }

    fn table(&self, colour: bool) -> String {
        let (bold, red, plain) = if colour { ("\x1b[1m", "\x1b[31m", "\x1b[0m") } else { ("", "", "") };
        let width = self.figures.iter().map(|figure| figure.label.len()).max().unwrap_or(0);
        let mut table = String::new();
        for figure in &self.figures {
            table.push_str(&format!("{bold}{:width$}{plain}  {}\n", figure.label, figure.shown));
        }
        for fault in &self.faults {
            table.push_str(&format!("{red}{:width$}{plain}  {fault}\n", "FAULT"));
        }
        table
    }

    fn add(&mut self, key: &'static str, label: &'static str, value: Value, shown: String) {
        debug_assert!(self.figures.iter().all(|figure| figure.key != key), "{key} twice");
        self.figures.push(Figure { key, label, value, shown });
    }
}

/// `1234567` as `1,234,567`.
pub fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Microseconds in a unit that suits them.
pub fn duration(us: f64) -> String {
    match us {
        us if us < 1000.0 => format!("{} µs", readable(us)),
        us if us < 1_000_000.0 => format!("{} ms", readable(us / 1000.0)),
        us => format!("{} s", readable(us / 1_000_000.0)),
    }
}

/// A number with as many digits as mean something.
fn readable(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => {
            format!("{}{}", if value < 0.0 { "-" } else { "" }, grouped(size.round() as u64))
        }
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// For JSON: three decimals; null if it could not be measured.
fn rounded(value: f64) -> Value {
    if value.is_finite() { json!((value * 1000.0).round() / 1000.0) } else { Value::Null }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1000), "1,000");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(duration(12.34), "12.3 µs");
        assert_eq!(duration(12_340.0), "12.3 ms");
        assert_eq!(duration(2_000_000.0), "2.00 s");
        assert_eq!(readable(-1234.6), "-1,235");
    }

    #[test]
    fn table_and_json_say_the_same() {
        let mut report = Report::new("pairs");
        report.number("delivered_per_s", "delivered", 123_456.789, "msg/s");
        report.number("unknown", "unknown", f64::NAN, "µs");
        report.bytes("rss_bytes", "memory", 5.0 * 1024.0 * 1024.0);
        let mut histogram = Histogram::default();
        histogram.record(1000);
        report.latency("latency_us", "latency", &histogram);
        assert!(report.is_success());
        report.fault_count(0, "messages lost");
        report.fault_count(1200, "messages lost");
        assert!(!report.is_success());
        let json = report.json();
        assert_eq!(json["scenario"], "pairs");
        assert_eq!(json["delivered_per_s"], 123_456.789);
        assert!(json["unknown"].is_null());
        assert_eq!(json["latency_us"]["p50"], 1.0);
        assert_eq!(json["faults"][0], "1,200 messages lost");
        let table = report.table(false);
        assert!(table.contains("delivered  123,457 msg/s"), "{table}");
        assert!(table.contains("memory     5,120 KiB"), "{table}");
        assert!(!table.contains('\x1b'));
    }
}
