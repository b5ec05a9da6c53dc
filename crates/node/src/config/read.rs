//! Reads a TOML table key by key: the type of each value, the keys that nobody knows, and where everything stands.

use super::diagnostic::{Diagnostic, Place, Severity, Source};
use ravelin_protect::units::{Rate, format_bytes, format_duration, parse_bytes, parse_duration, parse_rate};
use serde::de::{DeserializeOwned, IntoDeserializer};
use std::collections::BTreeMap;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Collects what is wrong, and where each key stands.
pub(super) struct Reader<'s> {
    pub source: &'s Source,
    pub found: Vec<Diagnostic>,
    pub places: BTreeMap<String, Place>,
}

impl Reader<'_> {
    pub fn error(&mut self, place: Option<&Place>, what: String, help: &str) {
        self.found.push(self.source.diagnostic(Severity::Error, place, what, help));
    }

    pub fn warning(&mut self, place: Option<&Place>, what: String, help: &str) {
        self.found.push(self.source.diagnostic(Severity::Warning, place, what, help));
    }

    /// An error at a key, if it is written, else at the table that it belongs to.
    pub fn error_at(&mut self, key: &str, what: String, help: &str) {
        let place = self.place(key);
        self.error(place.as_ref(), what, help);
    }

    pub fn warning_at(&mut self, key: &str, what: String, help: &str) {
        let place = self.place(key);
        self.warning(place.as_ref(), what, help);
    }

    pub fn place(&self, key: &str) -> Option<Place> {
        let table = key.rsplit_once('.').map(|(table, _)| table);
        self.places.get(key).or_else(|| self.places.get(table?)).cloned()
    }
}

/// A table that is being read.
pub(super) struct Table<'r, 's> {
    pub reader: &'r mut Reader<'s>,
    entries: Option<&'r DeTable<'s>>,
    /// `limits`, `listener.0`; empty for the file.
    pub path: String,
    known: Vec<&'static str>,
}

/// What a value can be read as.
pub(super) trait Typed: Sized {
    fn read(value: &DeValue<'_>) -> Result<Self, String>;

    /// A measure, to compare with bounds.
    fn measure(&self) -> u128 {
        0
    }

    fn show_bound(&self, _bytes: bool) -> String {
        String::new()
    }
}

impl<'r, 's> Table<'r, 's> {
    pub fn new(reader: &'r mut Reader<'s>, entries: Option<&'r DeTable<'s>>, path: &str) -> Table<'r, 's> {
        Table { reader, entries, path: path.into(), known: Vec::new() }
    }

    fn key(&self, name: &str) -> String {
        if self.path.is_empty() { name.into() } else { format!("{}.{name}", self.path) }
    }

    /// The raw value of a key; from now on the key is known.
    pub fn raw(&mut self, name: &'static str) -> Option<&'r Spanned<DeValue<'s>>> {
        self.known.push(name);
        let (key, value) = self.entries?.iter().find(|(key, _)| key.get_ref().as_ref() == name)?;
        let place = match value.get_ref() {
            // A table spans all its lines; its header is meant.
            DeValue::Table(_) | DeValue::Array(_) => key.span(),
            _ => value.span(),
        };
        self.reader.places.insert(self.key(name), place);
        Some(value)
    }

    /// The value of a key, if it is written and of the right type.
    pub fn take<T: Typed>(&mut self, name: &'static str) -> Option<T> {
        let value = self.raw(name)?;
        match T::read(value.get_ref()) {
            Ok(read) => Some(read),
            Err(wanted) => {
                let what = format!("`{name}` is {}, but is a {}", wanted, describe(value.get_ref()));
                self.reader.error(Some(&value.span()), what, "");
                None
            }
        }
    }

    /// The value of a key within bounds.
    pub fn take_between<T: Typed>(&mut self, name: &'static str, min: T, max: T) -> Option<T> {
        let value = self.take::<T>(name)?;
        if (min.measure()..=max.measure()).contains(&value.measure()) {
            return Some(value);
        }
        let bytes = name.contains("bytes");
        let what = format!("`{name}` is not within {} and {}", min.show_bound(bytes), max.show_bound(bytes));
        self.reader.error_at(&self.key(name), what, "");
        None
    }

    /// A word out of a list.
    pub fn choice<T: Copy>(&mut self, name: &'static str, choices: &[(&str, T)]) -> Option<T> {
        let word: String = self.take(name)?;
        if let Some((_, value)) = choices.iter().find(|(choice, _)| *choice == word) {
            return Some(*value);
        }
        let list: Vec<_> = choices.iter().map(|(choice, _)| format!("\"{choice}\"")).collect();
        let near = nearest(&word, choices.iter().map(|(choice, _)| *choice));
        let help = near.map(|near| format!("did you mean \"{near}\"?")).unwrap_or_default();
        self.reader.error_at(&self.key(name), format!("`{name}` is one of {}", list.join(", ")), &help);
        None
    }

    /// A table within this one; a missing one is empty.
    pub fn table<R>(&mut self, name: &'static str, read: impl FnOnce(&mut Table<'_, 's>) -> R) -> R {
        let entries = match self.raw(name).map(|value| (value, value.get_ref())) {
            Some((_, DeValue::Table(table))) => Some(table),
            Some((value, other)) => {
                let what = format!("`{name}` is a table, but is a {}", describe(other));
                self.reader.error(
                    Some(&value.span()),
                    what,
                    &format!("write `[{name}]` and its keys below it"),
                );
                None
            }
            None => None,
        };
        let path = self.key(name);
        let mut table = Table::new(self.reader, entries, &path);
        let result = read(&mut table);
        table.finish();
        result
    }

    /// An array of tables; each is read.
    pub fn tables<R>(
        &mut self,
        name: &'static str,
        mut read: impl FnMut(&mut Table<'_, 's>, usize) -> R,
    ) -> Vec<R> {
        let Some(value) = self.raw(name) else { return Vec::new() };
        let wrong = format!("`{name}` is an array of tables");
        let help = format!("write `[[{name}]]`, with two brackets, and its keys below it");
        let DeValue::Array(items) = value.get_ref() else {
            self.reader.error(Some(&value.span()), wrong, &help);
            return Vec::new();
        };
        let mut results = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let DeValue::Table(entries) = item.get_ref() else {
                self.reader.error(Some(&item.span()), wrong.clone(), &help);
                continue;
            };
            let path = format!("{}.{index}", self.key(name));
            self.reader.places.insert(path.clone(), header(self.reader.source, item.span()));
            let mut table = Table::new(self.reader, Some(entries), &path);
            results.push(read(&mut table, index));
            table.finish();
        }
        results
    }

    /// A table whose type knows its keys; a missing one is its default.
    pub fn typed<T: DeserializeOwned + Default>(&mut self, name: &'static str) -> T {
        let Some(value) = self.raw(name) else { return T::default() };
        self.deserialized(value).unwrap_or_default()
    }

    /// An array of tables whose type knows their keys, and where each stands: `behaviour.0`.
    pub fn typed_tables<T: DeserializeOwned>(&mut self, name: &'static str) -> Vec<(String, T)> {
        let Some(value) = self.raw(name) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            let what = format!("`{name}` is an array of tables");
            let help = format!("write `[[{name}]]`, with two brackets, and its keys below it");
            self.reader.error(Some(&value.span()), what, &help);
            return Vec::new();
        };
        let mut read = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = format!("{}.{index}", self.key(name));
            self.reader.places.insert(path.clone(), header(self.reader.source, item.span()));
            read.extend(self.deserialized(item).map(|value| (path, value)));
        }
        read
    }

    fn deserialized<T: DeserializeOwned>(&mut self, value: &Spanned<DeValue<'s>>) -> Option<T> {
        if let Some(place) = no_measure(value) {
            let what = "a number is finite".to_owned();
            self.reader.error(Some(&place), what, "");
            return None;
        }
        match T::deserialize(value.clone().into_deserializer()) {
            Ok(read) => Some(read),
            Err(error) => {
                let place =
                    error.span().map_or_else(|| value.span(), |span| header(self.reader.source, span));
                self.reader.error(Some(&place), error.message().to_owned(), "");
                None
            }
        }
    }

    /// Reports the keys that were not asked for.
    pub fn finish(&mut self) {
        let Some(entries) = self.entries else { return };
        for (key, _) in entries {
            let name = key.get_ref().as_ref();
            if self.known.contains(&name) {
                continue;
            }
            let place = key.span();
            let section =
                if self.path.is_empty() { "the file".into() } else { format!("`[{}]`", section(&self.path)) };
            let help = match nearest(name, self.known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("{section} has: {}", self.known.join(", ")),
            };
            self.reader.error(Some(&place), format!("{section} has no key `{}`", name.escape_debug()), &help);
        }
    }
}

/// `listener.0` is written `[listener]`.
fn section(path: &str) -> &str {
    path.split('.').next().unwrap_or(path)
}

/// Where a number stands that measures nothing: one that is infinite or not a number.
fn no_measure(value: &Spanned<DeValue<'_>>) -> Option<Place> {
    match value.get_ref() {
        DeValue::Float(float) => {
            let number = float.as_str().replace('_', "").parse::<f64>();
            number.map_or(true, |number| !number.is_finite()).then(|| value.span())
        }
        DeValue::Array(items) => items.iter().find_map(no_measure),
        DeValue::Table(table) => table.iter().find_map(|(_, value)| no_measure(value)),
        _ => None,
    }
}

/// The first line of a table.
fn header(source: &Source, span: Place) -> Place {
    let end = source.text.get(span.clone()).and_then(|text| text.find('\n'));
    span.start..end.map_or(span.end, |at| span.start + at)
}

fn describe(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "string",
        DeValue::Integer(_) => "number",
        DeValue::Float(_) => "number with a fraction",
        DeValue::Boolean(_) => "boolean",
        DeValue::Datetime(_) => "date",
        DeValue::Array(_) => "list",
        DeValue::Table(_) => "table",
    }
}

/// The known word that was probably meant.
fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    if word.len() > 64 {
        return None;
    }
    let distance = |candidate: &str| {
        let (a, b): (Vec<char>, Vec<char>) = (word.chars().collect(), candidate.chars().collect());
        // Letters left out, added, replaced, or two of them swapped, each counts once.
        let (mut older, mut row): (Vec<usize>, Vec<usize>) = (Vec::new(), (0..=b.len()).collect());
        for (i, x) in a.iter().enumerate() {
            let mut next = vec![i + 1];
            for (j, y) in b.iter().enumerate() {
                let substituted = row[j] + usize::from(!x.eq_ignore_ascii_case(y));
                let mut best = substituted.min(row[j + 1] + 1).min(next[j] + 1);
                if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                    best = best.min(older[j - 1] + 1);
                }
                next.push(best);
            }
            older = std::mem::replace(&mut row, next);
        }
        row[b.len()]
    };
    let (best, candidate) = known.map(|candidate| (distance(candidate), candidate)).min()?;
    let close = best <= 2.max(candidate.len() / 3);
    close.then_some(candidate)
}

fn integer(value: &DeValue<'_>) -> Option<u64> {
    let integer = value.as_integer()?;
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

impl Typed for u64 {
    fn read(value: &DeValue<'_>) -> Result<u64, String> {
        let read = match value {
            DeValue::String(text) => parse_bytes(text),
            value => integer(value),
        };
        read.ok_or_else(|| "a count (1000) or a size (\"64KiB\")".into())
    }

    fn measure(&self) -> u128 {
        u128::from(*self)
    }

    fn show_bound(&self, bytes: bool) -> String {
        if bytes { format_bytes(*self) } else { self.to_string() }
    }
}

impl Typed for Duration {
    fn read(value: &DeValue<'_>) -> Result<Duration, String> {
        value.as_str().and_then(parse_duration).ok_or_else(|| "a duration (\"10s\", \"5m\", \"7d\")".into())
    }

    fn measure(&self) -> u128 {
        self.as_millis()
    }

    fn show_bound(&self, _: bool) -> String {
        format_duration(*self)
    }
}

impl Typed for Rate {
    fn read(value: &DeValue<'_>) -> Result<Rate, String> {
        value.as_str().and_then(parse_rate).ok_or_else(|| "a rate (\"1000/s\", \"50/10s\")".into())
    }

    fn measure(&self) -> u128 {
        u128::from(self.events) * 1_000_000_000 / self.per.as_millis().max(1)
    }

    fn show_bound(&self, _: bool) -> String {
        self.to_string()
    }
}

impl Typed for bool {
    fn read(value: &DeValue<'_>) -> Result<bool, String> {
        value.as_bool().ok_or_else(|| "true or false".into())
    }

    fn measure(&self) -> u128 {
        u128::from(*self)
    }
}

impl Typed for String {
    fn read(value: &DeValue<'_>) -> Result<String, String> {
        let text = value.as_str().ok_or("a string")?;
        if text.contains('\0') { Err("a string without a NUL".into()) } else { Ok(text.into()) }
    }
}

impl Typed for Vec<String> {
    fn read(value: &DeValue<'_>) -> Result<Vec<String>, String> {
        let wanted = || "a list of strings ([\"a\", \"b\"])".to_string();
        let items = value.as_array().ok_or_else(wanted)?;
        items.iter().map(|item| item.get_ref().as_str().map(str::to_owned).ok_or_else(wanted)).collect()
    }
}
