//! The normative statements of both specifications, from the lists in `data/`, and those that no test of a server
//! can cover, each with the reason.

use crate::wire::Version;

const V311: &str = include_str!("../data/mqtt-3.1.1-normative.csv");
const V5: &str = include_str!("../data/mqtt-5.0-normative.csv");

/// One normative statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    pub(crate) version: Version,
    pub(crate) id: String,
    pub(crate) text: String,
}

/// Every statement of a version, in the order of its list.
pub(crate) fn all(version: Version) -> Vec<Statement> {
    let list = if version == Version::V311 { V311 } else { V5 };
    let mut lines = list.lines();
    let columns = record(lines.next().unwrap_or_default());
    let text_column = columns.iter().position(|name| name == "text").unwrap_or(0);
    lines
        .filter(|line| !line.is_empty())
        .map(|line| {
            let mut fields = record(line);
            let text = fields.swap_remove(text_column);
            Statement { version, id: fields.swap_remove(0), text }
        })
        .collect()
}

/// The fields of one line of comma-separated values; the lists have no line breaks within fields.
fn record(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        let Some(field) = fields.last_mut() else { break };
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => field.push(other),
        }
    }
    fields
}

/// Why a statement has no test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exemption {
    /// It binds clients only.
    Client(&'static str),
}

/// The exemption of a statement, if it has one.
pub(crate) fn exemption(version: Version, id: &str) -> Option<Exemption> {
    let list = if version == Version::V311 { CLIENT_V311 } else { CLIENT_V5 };
    let found = list.iter().find(|(other, _)| Some(*other) == id.strip_prefix("MQTT-"));
    found.map(|(_, reason)| Exemption::Client(reason))
}

/// Statements of 3.1.1 that bind clients only.
pub(crate) const CLIENT_V311: &[(&str, &str)] = &[
    (
        "2.3.1-2",
        "the client chooses identifiers that are unused among its own; the server cannot see which it regards as used",
    ),
    (
        "3.1.2-23",
        "sending PINGREQ in time is the client's duty; what the server does without it is MQTT-3.1.2-24",
    ),
    ("3.14.4-1", "says what a client does after it has sent DISCONNECT; a 3.1.1 server never sends one"),
    ("4.6.0-1", "order in which a client re-sends; the server's own order is MQTT-4.6.0-6"),
    ("4.6.0-2", "order of a client's PUBACKs"),
    ("4.6.0-3", "order of a client's PUBRECs"),
    ("4.6.0-4", "order of a client's PUBRELs"),
];

/// Statements of 5.0 that bind clients only.
pub(crate) const CLIENT_V5: &[(&str, &str)] = &[
    (
        "3.1.2-20",
        "sending PINGREQ in time is the client's duty; what the server does without it is MQTT-3.1.2-22",
    ),
    ("3.1.2-30", "what a client may send between a CONNECT with an authentication method and the CONNACK"),
    (
        "3.2.2-4",
        "what a client does on an unexpected Session Present; the flag itself is MQTT-3.2.2-2 and -3",
    ),
    ("3.2.2-5", "what a client without session state does on Session Present 1"),
    ("3.2.2-11", "a client's QoS is bounded by the server's Maximum QoS"),
    ("3.2.2-14", "a client must not retain when Retain Available is 0"),
    ("3.2.2-21", "a client must not use wildcards when Wildcard Subscription Available is 0"),
    ("4.5.0-2", "a client acknowledges what it receives; the server as receiver is MQTT-3.3.4-1"),
    ("4.6.0-1", "order in which a client re-sends; the server's own order is MQTT-4.6.0-5"),
    ("4.6.0-2", "order of a client's PUBACKs"),
    ("4.6.0-3", "order of a client's PUBRECs"),
    ("4.6.0-4", "order of a client's PUBRELs"),
    ("6.0.0-3", "the client offers the subprotocol; what the server answers is MQTT-6.0.0-4"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_read_whole() {
        assert_eq!(all(Version::V311).len(), 117);
        assert_eq!(all(Version::V5).len(), 251);
        for statement in all(Version::V311).iter().chain(&all(Version::V5)) {
            assert!(statement.id.starts_with("MQTT-"), "{statement:?}");
            assert!(statement.text.len() > 20, "{statement:?}");
        }
    }

    #[test]
    fn quotes_and_commas_within_fields_are_kept() {
        assert_eq!(record(r#"a,"b, ""c""",d"#), ["a", r#"b, "c""#, "d"]);
    }
}
