//! The event log of a node, `{"at_ms":..,"id":..,"level":..,"fields":{..}}`, one record a line: what its watch thread makes
//! of the same events.
//!
//! A log has no meters: what needs counts of messages says nothing here. A record that was made by a later version is left
//! out if it is not understood.

use crate::{Error, Place, Sink, Warning};
use ravelin_detect::{Arrived, Operation, Sight};
use ravelin_event::{DisconnectCause, Refusal};
use serde::Deserialize;
use serde_json::Value;
use std::io::BufRead;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// A record may be so long, in bytes.
const LINE_BYTES_MAX: usize = 1 << 20;

#[derive(Deserialize)]
struct Line {
    at_ms: u64,
    id: String,
    #[serde(default)]
    fields: Value,
}

/// Reads a log to its end.
pub(crate) fn read(mut input: impl BufRead, sink: &mut impl Sink) -> Result<(), Error> {
    let (mut bytes, mut line) = (Vec::new(), 0);
    // Records that were understood, and others.
    let (mut read, mut odd) = (0, 0);
    loop {
        bytes.clear();
        let mut limited = std::io::Read::take(&mut input, LINE_BYTES_MAX as u64);
        let count = limited
            .read_until(b'\n', &mut bytes)
            .map_err(|source| Error::Read { what: format!("the log after line {line}"), source })?;
        if count == 0 {
            return if read == 0 && odd > 0 { Err(not_one(line, odd)) } else { Ok(()) };
        }
        line += 1;
        // Other programs may write to the same stream.
        if !bytes.starts_with(b"{") {
            continue;
        }
        let warning = |what: String| Warning { place: Place::Line(line), column: "", what };
        let what = match serde_json::from_slice::<Line>(&bytes) {
            Ok(record) => match sight(&record.id, &record.fields) {
                Ok(sight) => {
                    read += 1;
                    if let Some(sight) = sight {
                        sink.sight(record.at_ms, sight);
                    }
                    continue;
                }
                Err(field) => format!("{} without a {field} that can be read", record.id),
            },
            Err(error) => format!("no record of an event: {error}"),
        };
        odd += 1;
        sink.warn(warning(what));
    }
}

fn not_one(line: u64, odd: u64) -> Error {
    Error::Unknown(format!(
        "line {line}: the log ends, and not one of {odd} records in it could be understood"
    ))
}

/// What a record tells the detectors; an error names the field that is missing.
fn sight(id: &str, fields: &Value) -> Result<Option<Sight>, &'static str> {
    let fields = Fields(fields);
    let denied = |operation, name| -> Result<Option<Sight>, &'static str> {
        let (client_id, name, why) = (fields.text("client_id")?, fields.text(name)?, fields.refusal()?);
        Ok(Some(Sight::Denied { client_id, operation, name, why, count: 1 }))
    };
    Ok(Some(match id {
        "node.listening" => Sight::Started,
        "connection.refused" | "login.failed" => Sight::Refused {
            address: fields.address()?,
            client_id: fields.text("client_id").ok(),
            identity: fields.text("identity").ok(),
            why: fields.refusal()?,
            count: 1,
        },
        "log.suppressed" => match suppressed(&fields) {
            Some(sight) => sight,
            None => return Ok(None),
        },
        "client.connected" => Sight::Arrived(Arc::new(arrived(&fields)?)),
        "client.disconnected" => Sight::Left {
            client_id: fields.text("client_id")?,
            address: fields.address().ok(),
            cause: cause(fields.0["cause"].clone()).ok_or("cause")?,
        },
        "client.subscribed" => {
            Sight::Subscribed { client_id: fields.text("client_id")?, filter: fields.text("filter")? }
        }
        "publish.refused" => return denied(Operation::Publish, "topic"),
        "subscribe.refused" => return denied(Operation::Subscribe, "filter"),
        "unsubscribe.refused" => return denied(Operation::Unsubscribe, "filter"),
        "will.refused" => return denied(Operation::Will, "topic"),
        "will.published" => {
            Sight::WillPublished { client_id: fields.text("client_id")?, topic: fields.text("topic")? }
        }
        "queue.full" => {
            Sight::Dropped { client_id: fields.text("client_id")?, count: fields.number("dropped") }
        }
        "inventory.duplicate_client" => Sight::Cloned {
            client_id: fields.text("client_id")?,
            addresses: fields.addresses(),
            why: fields.text("why")?,
        },
        "inventory.cloned_certificate" => Sight::Cloned {
            client_id: fields.text("certificate")?,
            addresses: fields.addresses(),
            why: fields.text("why")?,
        },
        _ => return Ok(None),
    }))
}

/// Refusals that the log has summed up.
fn suppressed(fields: &Fields<'_>) -> Option<Sight> {
    let why = match fields.0["id"].as_str()? {
        "login.failed" => Refusal::BadCredentials,
        "connection.refused" => Refusal::ConnectionRate,
        _ => return None,
    };
    let count = u32::try_from(fields.number("count")).unwrap_or(u32::MAX);
    let address = fields.address().ok()?;
    Some(Sight::Refused { address, client_id: None, identity: None, why, count })
}

fn arrived(fields: &Fields<'_>) -> Result<Arrived, &'static str> {
    Ok(Arrived {
        client_id: fields.text("client_id")?,
        identity: fields.text("identity").ok(),
        class: None,
        certificate: None,
        address: fields.address()?,
        keep_alive_s: u16::try_from(fields.number("keep_alive_s")).unwrap_or(u16::MAX),
        clean_start: fields.0["clean_start"].as_bool().unwrap_or(true),
        will: false,
        declared: false,
    })
}

fn cause(value: Value) -> Option<DisconnectCause> {
    serde_json::from_value(value).ok()
}

struct Fields<'a>(&'a Value);

impl Fields<'_> {
    fn text(&self, name: &'static str) -> Result<Arc<str>, &'static str> {
        self.0[name].as_str().map(Into::into).ok_or(name)
    }

    fn number(&self, name: &str) -> u64 {
        self.0[name].as_u64().unwrap_or_default()
    }

    fn address(&self) -> Result<SocketAddr, &'static str> {
        self.0["address"].as_str().and_then(|text| text.parse().ok()).ok_or("address")
    }

    fn addresses(&self) -> Vec<IpAddr> {
        let parse = |text: &Value| {
            let text = text.as_str()?;
            text.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
        };
        self.0["addresses"].as_array().map(|all| all.iter().filter_map(parse).collect()).unwrap_or_default()
    }

    fn refusal(&self) -> Result<Refusal, &'static str> {
        serde_json::from_value(self.0["why"].clone()).map_err(|_| "why")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Row;
    use ravelin_event::{Event, Record};

    #[derive(Default)]
    struct Kept(Vec<(u64, Sight)>, Vec<Warning>);

    impl Sink for Kept {
        fn row(&mut self, _: &Row<'_>, _: Option<&str>) {}
        fn sight(&mut self, at_ms: u64, sight: Sight) {
            self.0.push((at_ms, sight));
        }
        fn warn(&mut self, warning: Warning) {
            self.1.push(warning);
        }
    }

    #[test]
    fn what_a_node_logs_is_what_its_detectors_saw() {
        let address: SocketAddr = "192.0.2.7:4711".parse().unwrap();
        let events = [
            Event::LoginFailed {
                address,
                client_id: "meter".into(),
                identity: Some("root".into()),
                why: Refusal::BadCredentials,
            },
            Event::Disconnected {
                client_id: "meter".into(),
                identity: None,
                address: Some(address),
                cause: DisconnectCause::KeepAlive,
                detail: None,
            },
            Event::Stopped { sessions: 3 },
            Event::SubscribeRefused {
                client_id: "meter".into(),
                identity: None,
                address: None,
                filter: "#".into(),
                why: Refusal::AccessRule,
            },
        ];
        let mut text = String::from("ravelin: a line of something else\n");
        for (at, event) in events.into_iter().enumerate() {
            text += &serde_json::to_string(&Record::new(at as u64, event)).unwrap();
            text.push('\n');
        }
        text += "{\"at_ms\":9,\"id\":\"client.connected\",\"fields\":{}}\n{broken\n";
        let mut kept = Kept::default();
        read(text.as_bytes(), &mut kept).unwrap();
        assert_eq!(
            kept.0,
            [
                (
                    0,
                    Sight::Refused {
                        address,
                        client_id: Some("meter".into()),
                        identity: Some("root".into()),
                        why: Refusal::BadCredentials,
                        count: 1
                    }
                ),
                (
                    1,
                    Sight::Left {
                        client_id: "meter".into(),
                        address: Some(address),
                        cause: DisconnectCause::KeepAlive
                    }
                ),
                (
                    3,
                    Sight::Denied {
                        client_id: "meter".into(),
                        operation: Operation::Subscribe,
                        name: "#".into(),
                        why: Refusal::AccessRule,
                        count: 1
                    }
                ),
            ]
        );
        assert_eq!(
            kept.1.iter().map(|warning| warning.place).collect::<Vec<_>>(),
            [Place::Line(6), Place::Line(7)]
        );
    }
}
