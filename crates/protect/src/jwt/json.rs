//! JSON that says nothing twice. RFC 7519, section 4, lets a reader take the last of two members or refuse; readers that
//! differ in this are told different things by one token, so here two are an error, at every depth.

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::cell::Cell;
use std::fmt;

/// Values in all, members and elements counted.
const VALUES_MAX: usize = 4096;
/// Arrays and objects within each other.
const DEPTH_MAX: usize = 8;
const DUPLICATE: &str = "a member twice";

/// Why it is not the JSON that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JsonError {
    /// It is not JSON, or too much of it.
    Malformed,
    /// It has a member twice.
    Duplicate,
}

/// Reads one object and nothing behind it.
pub(super) fn object(bytes: &[u8]) -> Result<Map<String, Value>, JsonError> {
    LEFT.set((VALUES_MAX, 0));
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let read = Strict::deserialize(&mut reader).and_then(|strict| reader.end().map(|()| strict.0));
    match read {
        Ok(Value::Object(map)) => Ok(map),
        Err(error) if error.to_string().starts_with(DUPLICATE) => Err(JsonError::Duplicate),
        _ => Err(JsonError::Malformed),
    }
}

thread_local! {
    /// Values that may still come, and the depth so far: `Deserialize` has no room for arguments.
    static LEFT: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Strict, D::Error> {
        let (left, depth) = LEFT.get();
        let left = left.checked_sub(1).ok_or_else(|| D::Error::custom("too much"))?;
        LEFT.set((left, depth));
        deserializer.deserialize_any(Read).map(Strict)
    }
}

struct Read;

/// Runs `read` one level deeper.
fn deeper<T, E: serde::de::Error>(read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let (left, depth) = LEFT.get();
    if depth >= DEPTH_MAX {
        return Err(E::custom("too deep"));
    }
    LEFT.set((left, depth + 1));
    let result = read();
    LEFT.set((LEFT.get().0, depth));
    result
}

impl<'de> Visitor<'de> for Read {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        deeper(|| {
            let mut list = Vec::new();
            while let Some(Strict(item)) = items.next_element()? {
                list.push(item);
            }
            Ok(Value::Array(list))
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        deeper(|| {
            let mut map = Map::new();
            while let Some(name) = members.next_key::<String>()? {
                if map.contains_key(&name) {
                    return Err(A::Error::custom(DUPLICATE));
                }
                let Strict(value) = members.next_value()?;
                map.insert(name, value);
            }
            Ok(Value::Object(map))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_twice_at_any_depth() {
        assert!(object(br#"{"a":1,"b":[1,{"c":null}],"d":1.5,"e":"x","f":-1,"g":true}"#).is_ok());
        for twice in [r#"{"a":1,"a":1}"#, r#"{"b":[{"c":1,"d":2,"c":3}]}"#, r#"{"a":1,"\u0061":2}"#] {
            assert_eq!(object(twice.as_bytes()), Err(JsonError::Duplicate), "{twice}");
        }
        for bad in ["", "[]", "1", "{", "{} {}", "{}x", r#"{"a":1e999}"#, "{\"a\":\"\u{1}\"}"] {
            assert_eq!(object(bad.as_bytes()), Err(JsonError::Malformed), "{bad}");
        }
        assert_eq!(object(b"{\"a\":\"\xFF\"}"), Err(JsonError::Malformed));
    }

    #[test]
    fn depth_and_number_are_bounded() {
        let deep = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
        assert!(object(deep(DEPTH_MAX - 1).as_bytes()).is_ok());
        assert_eq!(object(deep(DEPTH_MAX).as_bytes()), Err(JsonError::Malformed));
        assert_eq!(object(deep(100_000).as_bytes()), Err(JsonError::Malformed));
        let many = |n: usize| format!("{{\"a\":[{}]}}", vec!["1"; n].join(","));
        assert!(object(many(VALUES_MAX - 2).as_bytes()).is_ok());
        assert_eq!(object(many(VALUES_MAX).as_bytes()), Err(JsonError::Malformed));
        assert!(object(deep(1).as_bytes()).is_ok(), "an error leaves nothing behind");
    }
}
