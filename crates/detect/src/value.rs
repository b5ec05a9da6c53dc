//! Measured values and set-points: `[[value]]`. A limit that an engineer knows is certain; what is learned needs opt in.
//!
//! A value is the payload as a number, or what a JSON pointer finds in it. Limits (`min`, `max`, `step_max`, `rate_max`) alarm
//! at once. With `learn` the range and the usual step of each publisher's values are learned, and a log-likelihood CUSUM counts
//! what lies outside: single outliers are no alarm.

use crate::traffic::{Detector, check_topic};
use crate::{DetectorInfo, Raise};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use ravelin_event::{Severity, Subject};
use serde::{Deserialize, Serialize};
use std::hash::BuildHasher;
use std::sync::Arc;

/// What is expected of the values on topics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ValueRule {
    /// Its name, for alarms; empty: the filter.
    pub name: Arc<str>,
    /// Topics.
    pub topic: Arc<str>,
    /// Where the value is in a JSON payload (RFC 6901); none: the payload is the number.
    pub pointer: Option<Arc<str>>,
    /// What stands around the number in a text, which stands for itself: `{} V`, `volt-{}`; none: nothing.
    pub pattern: Option<Arc<str>>,
    /// The smallest that may be.
    pub min: Option<f64>,
    /// The largest that may be.
    pub max: Option<f64>,
    /// The largest difference between two values.
    pub step_max: Option<f64>,
    /// The largest difference a second.
    pub rate_max: Option<f64>,
    /// Whether to learn range and step.
    pub learn: bool,
    /// Whether a topic has one publisher, and another one is an alarm.
    pub single_publisher: bool,
    /// How bad it is.
    pub severity: Severity,
}

impl Default for ValueRule {
    fn default() -> Self {
        ValueRule {
            name: "".into(),
            topic: "".into(),
            pointer: None,
            pattern: None,
            min: None,
            max: None,
            step_max: None,
            rate_max: None,
            learn: false,
            single_publisher: false,
            severity: Severity::High,
        }
    }
}

impl ValueRule {
    /// Whether its parts make sense.
    ///
    /// # Errors
    /// What does not.
    pub fn check(&self) -> Result<(), String> {
        check_topic(&self.topic)?;
        if self.min.zip(self.max).is_some_and(|(min, max)| min > max) {
            return Err("min is above max".into());
        }
        let limits = [self.min, self.max, self.step_max, self.rate_max];
        if limits.iter().all(Option::is_none) && !self.learn && !self.single_publisher {
            return Err(
                "give a limit (min, max, step_max, rate_max), learn = true or single_publisher = true".into(),
            );
        }
        if self.pattern.as_deref().is_some_and(|pattern| pattern.matches("{}").count() != 1) {
            return Err("pattern has {} once, where the number is (\"{} V\")".into());
        }
        check_pointer(self.pointer.as_deref())
    }
}

/// A JSON pointer of a rule.
pub(crate) fn check_pointer(pointer: Option<&str>) -> Result<(), String> {
    match pointer {
        Some(pointer) if !pointer.is_empty() && !pointer.starts_with('/') => {
            Err(format!("pointer is `{pointer}`; a JSON pointer (RFC 6901) begins with /"))
        }
        _ => Ok(()),
    }
}

/// Values after which a learned range is used.
const LEARNED: u16 = 32;
/// And the time that they span.
const LEARNED_MS: u64 = 1_800_000;
/// A learned range is widened by this share of it on either side.
const MARGIN: f64 = 0.25;
/// A step is odd from so many mean steps on.
const STEPS: f64 = 12.0;
/// What an odd value adds: ln(0.5 / 0.02). Four in a row make an alarm.
const ODD: f32 = 3.219;
/// And one that is not: ln(0.5 / 0.98).
const NOT_ODD: f32 = -0.673;
/// From here on it is an alarm.
const THRESHOLD: f32 = 11.5;
/// Publishers and topics of which values are known.
const VALUES_MAX: usize = 65_536;
/// The longest payload that is read.
const PAYLOAD_MAX: usize = 64 * 1024;

/// What is documented of it.
pub static VALUE: Detector = Detector {
    info: DetectorInfo {
        name: "value",
        subcategory: "DE.ID-3",
        technique: Some("T0836"),
        entity: "client",
        statistic: "a value against its limits; learned: log-likelihood CUSUM of values outside range and step (t0 0.02, t1 0.5)",
        threshold: "the limits of [[value]]; learned: 11.5, 4 in a row",
        false_alarms: "limits are certain; learned: at most once in 100,000 values of a publisher with one outlier in fifty",
        description: "A measured value or a set-point is outside of what it may be.",
    },
    severity: Severity::High,
    confidence: 95,
};

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    last: f64,
    last_ms: u64,
    first_ms: u64,
    low: f64,
    high: f64,
    step: f64,
    cusum: f32,
    odd: u16,
    odd_ms: u64,
    count: u16,
}

/// What is known of values.
pub struct Values {
    known: HashMap<u64, Known, FixedState>,
    publishers: HashMap<u64, Arc<str>, FixedState>,
    hasher: FixedState,
    /// Values that found no place.
    pub evictions: u64,
}

impl Values {
    /// One that knows nothing.
    pub fn new(seed: u64) -> Values {
        let map = || FixedState::with_seed(seed ^ 4);
        Values {
            known: HashMap::with_hasher(map()),
            publishers: HashMap::with_hasher(map()),
            hasher: FixedState::with_seed(seed ^ 5),
            evictions: 0,
        }
    }

    /// `client_id` published `payload` to `topic` at `at_ms`.
    pub fn handle(
        &mut self,
        rules: &[ValueRule],
        at_ms: u64,
        (client_id, topic): (&Arc<str>, &Arc<str>),
        payload: &[u8],
        out: &mut Vec<Raise>,
    ) {
        for (nth, rule) in rules.iter().enumerate() {
            if !ravelin_mqtt::matches(&rule.topic, topic) {
                continue;
            }
            let about = About { rule, client_id, topic, at_ms };
            if rule.single_publisher {
                self.judge_publisher(nth, &about, out);
            }
            if let Some(value) = read(payload, rule.pointer.as_deref(), rule.pattern.as_deref()) {
                self.judge(nth, &about, value, out);
            }
        }
    }

    fn judge_publisher(&mut self, nth: usize, about: &About<'_>, out: &mut Vec<Raise>) {
        let key = self.hasher.hash_one((nth, &**about.topic));
        let Some(first) = self.publishers.get(&key) else {
            if self.publishers.len() < VALUES_MAX {
                self.publishers.insert(key, about.client_id.clone());
            } else {
                self.evictions += 1;
            }
            return;
        };
        if first != about.client_id {
            let (other, topic) = (about.client_id, about.topic);
            let says = format!("{other} published to {topic}, which belongs to {first}");
            out.push(about.verdict("publishers of the topic", 2.0, 1.0, says));
        }
    }

    fn judge(&mut self, nth: usize, about: &About<'_>, value: f64, out: &mut Vec<Raise>) {
        let key = self.hasher.hash_one((nth, &**about.topic, &**about.client_id));
        if !self.known.contains_key(&key) && self.known.len() >= VALUES_MAX {
            self.evictions += 1;
            out.extend(judge_limits(about, value, None));
            return;
        }
        let known = self.known.entry(key).or_default();
        let limit = judge_limits(about, value, (known.last_ms > 0).then_some(known));
        let outside = limit.is_some();
        out.extend(limit);
        if about.rule.learn && !outside {
            out.extend(known.judge(about, value));
        }
        if known.first_ms == 0 {
            (known.first_ms, known.low, known.high) = (about.at_ms, value, value);
        }
        (known.last, known.last_ms) = (value, about.at_ms);
    }
}

impl Known {
    /// Judges a value by what was learned, and learns from it unless it is odd.
    fn judge(&mut self, about: &About<'_>, value: f64) -> Option<Raise> {
        let margin = (self.high - self.low) * MARGIN;
        let (low, high) = (self.low - margin, self.high + margin);
        let step = if self.last_ms > 0 { (value - self.last).abs() } else { 0.0 };
        let learned = self.count >= LEARNED && about.at_ms.saturating_sub(self.first_ms) >= LEARNED_MS;
        let outside = learned && (value < low || value > high);
        let jump = learned && self.step > 0.0 && step > self.step * STEPS;
        if outside || jump {
            if self.cusum == 0.0 {
                (self.odd, self.odd_ms) = (0, about.at_ms);
            }
            self.odd = self.odd.saturating_add(1);
            self.cusum = (self.cusum + ODD).min(2.0 * THRESHOLD);
        } else {
            self.cusum = (self.cusum + NOT_ODD).max(0.0);
        }
        let calm = self.cusum < THRESHOLD * 0.5;
        if !outside && calm {
            self.count = self.count.saturating_add(1);
            (self.low, self.high) = match self.last_ms {
                0 => (value, value),
                _ => (self.low.min(value), self.high.max(value)),
            };
            // A jump counts as the largest step that is not one, so that a device that jumps now and then is learned.
            let most = if learned && self.step > 0.0 { self.step * STEPS } else { f64::MAX };
            self.step += (step.min(most) - self.step) / f64::from(self.count.min(32));
        }
        if self.cusum < THRESHOLD || !(outside || jump) {
            return None;
        }
        let (client, topic, odd) = (about.client_id, about.topic, self.odd);
        let says = format!(
            "{odd} values of {client} on {topic} are outside of {low:.2} to {high:.2} or more than {:.2} apart; now {value}",
            self.step * STEPS
        );
        let mut verdict = about.verdict("", self.cusum.into(), THRESHOLD.into(), says);
        (verdict.events, verdict.first_ms) = (odd.into(), self.odd_ms);
        verdict.window_ms = about.at_ms.saturating_sub(self.odd_ms);
        verdict.confidence = 75;
        verdict.severity = about.rule.severity.min(Severity::Medium);
        Some(verdict.with("low", low as f32, "").with("high", high as f32, "").with(
            "value",
            value as f32,
            "",
        ))
    }
}

struct About<'a> {
    rule: &'a ValueRule,
    client_id: &'a Arc<str>,
    topic: &'a Arc<str>,
    at_ms: u64,
}

impl About<'_> {
    fn verdict(&self, unit: &'static str, value: f64, threshold: f64, says: String) -> Raise {
        let subject = Subject::Client(self.client_id.clone());
        let mut verdict =
            Raise::of(&VALUE, subject, self.at_ms).on(self.topic).severity(self.rule.severity).says(says);
        verdict.name = (!self.rule.name.is_empty()).then(|| self.rule.name.clone());
        (verdict.value, verdict.threshold, verdict.unit) = (value, threshold, unit);
        verdict
    }
}

fn judge_limits(about: &About<'_>, value: f64, before: Option<&Known>) -> Option<Raise> {
    let (rule, client, topic) = (about.rule, about.client_id, about.topic);
    if let Some(min) = rule.min.filter(|min| value < *min) {
        let says = format!("{client} published {value} to {topic}; at least {min} may be");
        return Some(about.verdict("value", value, min, says));
    }
    if let Some(max) = rule.max.filter(|max| value > *max) {
        let says = format!("{client} published {value} to {topic}; at most {max} may be");
        return Some(about.verdict("value", value, max, says));
    }
    let before = before?;
    let step = (value - before.last).abs();
    if let Some(most) = rule.step_max.filter(|most| step > *most) {
        let says = format!(
            "{topic} went from {} to {value} by {client}; at most {most} at once may be",
            before.last
        );
        return Some(about.verdict("step", step, most, says).usual(before.last as f32));
    }
    let seconds = (about.at_ms.saturating_sub(before.last_ms) as f64 / 1_000.0).max(0.001);
    let most = rule.rate_max.filter(|most| step / seconds > *most)?;
    let rate = step / seconds;
    let says = format!(
        "{topic} went from {} to {value} by {client}: {rate:.3} a second; at most {most} may be",
        before.last
    );
    Some(about.verdict("1/s", rate, most, says).usual(before.last as f32))
}

/// The number in a payload.
pub(crate) fn read(payload: &[u8], pointer: Option<&str>, pattern: Option<&str>) -> Option<f64> {
    let (before, after) = pattern.and_then(|pattern| pattern.split_once("{}")).unwrap_or_default();
    let number = |text: &str| {
        let number = text.trim().strip_prefix(before)?.strip_suffix(after)?;
        number.trim().parse().ok()
    };
    let number = match field(payload, pointer)? {
        Field::Text(text) => number(text)?,
        Field::Json(value) => match value {
            serde_json::Value::Number(number) => number.as_f64()?,
            serde_json::Value::Bool(yes) => f64::from(u8::from(yes)),
            serde_json::Value::String(text) => number(&text)?,
            _ => return None,
        },
    };
    Some(number).filter(|number: &f64| number.is_finite())
}

/// What a payload says: all of it as text, or what a JSON pointer finds.
pub(crate) enum Field<'a> {
    Text(&'a str),
    Json(serde_json::Value),
}

pub(crate) fn field<'a>(payload: &'a [u8], pointer: Option<&str>) -> Option<Field<'a>> {
    if payload.len() > PAYLOAD_MAX {
        return None;
    }
    let Some(pointer) = pointer else { return std::str::from_utf8(payload).ok().map(Field::Text) };
    let mut value: serde_json::Value = serde_json::from_slice(payload).ok()?;
    value.pointer_mut(pointer).map(|found| Field::Json(found.take()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rule: &ValueRule, values: impl IntoIterator<Item = (u64, f64)>) -> Vec<Raise> {
        let (mut known, mut out) = (Values::new(7), Vec::new());
        let (client, topic): (Arc<str>, Arc<str>) = ("meter".into(), rule.topic.clone());
        for (at_s, value) in values {
            let payload = value.to_string();
            known.handle(
                std::slice::from_ref(rule),
                at_s * 1_000,
                (&client, &topic),
                payload.as_bytes(),
                &mut out,
            );
        }
        out
    }

    fn rule() -> ValueRule {
        ValueRule { topic: "grid/voltage".into(), ..ValueRule::default() }
    }

    #[test]
    fn limits_are_certain_at_the_first_value() {
        let limits = ValueRule { min: Some(110.0), max: Some(125.0), step_max: Some(5.0), ..rule() };
        assert!(run(&limits, [(1, 114.0), (2, 116.0), (3, 120.0)]).is_empty());
        assert_eq!(run(&limits, [(1, 400.0)]).len(), 1);
        assert_eq!(run(&limits, [(1, 100.0)]).len(), 1);
        assert_eq!(run(&limits, [(1, 112.0), (2, 120.0)]).len(), 1);
        let rate = ValueRule { rate_max: Some(0.1), ..rule() };
        assert!(run(&rate, [(1, 110.0), (101, 119.0)]).is_empty());
        let found = run(&rate, [(1, 110.0), (2, 119.0)]);
        assert_eq!((found[0].value, found[0].threshold), (9.0, 0.1));
    }

    #[test]
    fn a_learned_range_tells_values_that_were_shifted() {
        let learn = ValueRule { learn: true, ..rule() };
        let usual = |nth: u64| 12.0 + (nth as f64 * 0.7).sin();
        let values = (1..100u64).map(|nth| (nth * 300, usual(nth)));
        assert!(run(&learn, values.clone()).is_empty());
        let attack = (100..126u64).map(|nth| (nth * 300, usual(nth) - 3.0));
        let found = run(&learn, values.clone().chain(attack));
        assert!(!found.is_empty());
        assert_eq!(found[0].first_ms, 30_000_000);
        let once = [(30_000, 40.0), (30_300, 12.0)];
        assert!(run(&learn, values.chain(once)).is_empty(), "one outlier is no alarm");
    }

    #[test]
    fn numbers_are_found_in_text_and_json() {
        assert_eq!(read(b" 21.5\n", None, None), Some(21.5));
        assert_eq!(read(br#"{"v":[{"u":114}]}"#, Some("/v/0/u"), None), Some(114.0));
        assert_eq!(read(br#"{"on":true,"t":"7"}"#, Some("/on"), None), Some(1.0));
        assert_eq!(read(br#"{"on":true,"t":"7"}"#, Some("/t"), None), Some(7.0));
        for (payload, pointer) in
            [(&b"NaN"[..], None), (b"x", None), (b"{", Some("/a")), (b"{}", Some("/a")), (b"\xff", None)]
        {
            assert_eq!(read(payload, pointer, None), None);
        }
    }

    #[test]
    fn a_unit_or_a_command_may_stand_around_the_number() {
        assert_eq!(read(b"120 V", None, Some("{} V")), Some(120.0));
        assert_eq!(read(b"volt-114", None, Some("volt-{}")), Some(114.0));
        assert_eq!(read(br#"{"u":"21.5 C"}"#, Some("/u"), Some("{} C")), Some(21.5));
        for (payload, pattern) in [(&b"120 A"[..], "{} V"), (b"V", "{} V"), (b"volt--", "volt-{}")] {
            assert_eq!(read(payload, None, Some(pattern)), None);
        }
        assert!(ValueRule { learn: true, pattern: Some("V".into()), ..rule() }.check().is_err());
    }

    #[test]
    fn rules_that_make_no_sense_are_told() {
        assert!(rule().check().is_err(), "no limit");
        assert!(ValueRule { learn: true, ..rule() }.check().is_ok());
        assert!(ValueRule { min: Some(2.0), max: Some(1.0), ..rule() }.check().is_err());
        assert!(ValueRule { learn: true, topic: "a#".into(), ..rule() }.check().is_err());
        assert!(ValueRule { learn: true, pointer: Some("v".into()), ..rule() }.check().is_err());
    }

    #[test]
    fn a_topic_with_one_publisher_tells_another() {
        let single = ValueRule { single_publisher: true, ..rule() };
        let (mut known, mut out) = (Values::new(7), Vec::new());
        for client in ["meter", "meter", "spoofer"] {
            let client = client.into();
            known.handle(
                std::slice::from_ref(&single),
                1,
                (&client, &single.topic.clone()),
                b"120",
                &mut out,
            );
        }
        assert_eq!(out.len(), 1);
        assert_eq!(out[0].subject, Subject::Client("spoofer".into()));
    }
}
