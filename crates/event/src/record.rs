//! An event with its time, as it is logged.

use crate::Event;
use serde::{Serialize, Serializer};

/// How much an operator should care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// Per packet.
    Trace,
    /// For finding faults.
    Debug,
    /// A change that an operator would want to know of.
    Info,
    /// Worth waking someone.
    Warn,
}

/// An event and when it happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What happened.
    pub event: Event,
}

impl Record {
    /// A record of `event` at `at_ms` (milliseconds since the Unix epoch).
    pub fn new(at_ms: u64, event: Event) -> Record {
        Record { at_ms, event }
    }
}

/// `{"at_ms":..,"id":..,"level":..,"fields":{..}}`.
impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut record = serializer.serialize_struct("Record", 4)?;
        record.serialize_field("at_ms", &self.at_ms)?;
        record.serialize_field("id", self.event.id())?;
        record.serialize_field("level", &self.event.level())?;
        record.serialize_field("fields", &self.event)?;
        record.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Refusal;

    #[test]
    fn a_record_is_one_line_of_json_with_id_level_and_fields() {
        let event = Event::ConnectionRefused {
            address: "192.0.2.7:4711".parse().unwrap(),
            client_id: Some("meter\n1".into()),
            identity: None,
            why: Refusal::BadCredentials,
        };
        let line = serde_json::to_string(&Record::new(5, event)).unwrap();
        assert_eq!(
            line,
            r#"{"at_ms":5,"id":"connection.refused","level":"WARN","fields":{"address":"192.0.2.7:4711","client_id":"meter\n1","identity":null,"why":"bad_credentials"}}"#
        );
    }
}
