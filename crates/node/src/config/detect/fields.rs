//! Reads settings that have a default into the place where it stands.

use super::super::read::{Table, Typed};
use std::time::Duration;
use toml::de::DeValue;

/// A number, with or without a fraction.
struct Number(f64);

impl Typed for Number {
    fn read(value: &DeValue<'_>) -> Result<Number, String> {
        let number = match value {
            DeValue::Float(float) => float.as_str().replace('_', "").parse::<f64>().ok(),
            DeValue::Integer(integer) => integer.as_str().replace('_', "").parse::<f64>().ok(),
            _ => None,
        };
        number.filter(|number| number.is_finite()).map(Number).ok_or_else(|| "a number (0.5, 12)".into())
    }
}

/// A number within bounds, if it is written.
pub(super) fn number(table: &mut Table<'_, '_>, name: &'static str, min: f64, max: f64) -> Option<f64> {
    let Number(value) = table.take::<Number>(name)?;
    if (min..=max).contains(&value) {
        return Some(value);
    }
    wrong(table, name, format!("`{name}` is not within {min} and {max}"), "");
    None
}

/// Says what is wrong with a key.
pub(super) fn wrong(table: &mut Table<'_, '_>, key: &str, what: String, help: &str) {
    let place = format!("{}.{key}", table.path);
    table.reader.error_at(&place, what, help);
}

/// Settings whose places hold their defaults.
pub(super) struct Fields<'t, 'r, 's>(pub &'t mut Table<'r, 's>);

impl Fields<'_, '_, '_> {
    /// A count or a size, from `min` to `max`.
    pub fn count<T>(&mut self, name: &'static str, place: &mut T, min: u64, max: u64)
    where
        T: TryFrom<u64>,
    {
        let read = self.0.take_between::<u64>(name, min, max);
        if let Some(count) = read.and_then(|count| T::try_from(count).ok()) {
            *place = count;
        }
    }

    /// A number with a fraction, from `min` to `max`.
    pub fn number(&mut self, name: &'static str, place: &mut f32, min: f64, max: f64) {
        if let Some(value) = number(self.0, name, min, max) {
            *place = value as f32;
        }
    }

    /// A duration in a unit of so many milliseconds, from one of them to `max`.
    pub fn time<T>(&mut self, name: &'static str, place: &mut T, unit_ms: u64, max: Duration)
    where
        T: TryFrom<u64>,
    {
        let read = self.0.take_between(name, Duration::from_millis(unit_ms), max);
        let units = read.and_then(|time| u64::try_from(time.as_millis()).ok()).map(|ms| ms / unit_ms);
        if let Some(value) = units.and_then(|units| T::try_from(units).ok()) {
            *place = value;
        }
    }

    /// A duration as hours with a fraction, from a minute to `max`.
    pub fn hours(&mut self, name: &'static str, place: &mut f32, max: Duration) {
        if let Some(time) = self.0.take_between(name, Duration::from_secs(60), max) {
            *place = time.as_secs_f32() / 3_600.0;
        }
    }
}
