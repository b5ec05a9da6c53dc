//! A message as one JSON object on one line, with the member names of `mosquitto_sub`.

use super::calendar::Moment;
use super::message::Message;
use base64::Engine as _;
use std::fmt::Write as _;

/// The message as a JSON object.
///
/// With `raw_payload` the payload itself must be JSON and becomes part of the object; the error names the topic if it is not.
/// Otherwise it is a JSON string, or, where it is not UTF-8, base64 in `payload_base64`.
pub fn object(message: &Message, at: Moment, raw_payload: bool) -> Result<String, String> {
    let payload = if raw_payload { raw(message)? } else { quoted(&message.payload) };
    let mut out = String::with_capacity(128 + payload.len());
    let _ = write!(
        out,
        "{{\"tst\":\"{}\",\"topic\":{},\"qos\":{},\"retain\":{},\"payloadlen\":{}",
        at.rfc3339_us(),
        string(&message.topic),
        message.qos as u8,
        u8::from(message.retain),
        message.payload.len()
    );
    if message.packet_id != 0 {
        let _ = write!(out, ",\"mid\":{}", message.packet_id);
    }
    let properties = properties(message);
    if !properties.is_empty() {
        let _ = write!(out, ",\"properties\":{{{}}}", properties.join(","));
    }
    out.push_str(&payload);
    out.push('}');
    Ok(out)
}

fn raw(message: &Message) -> Result<String, String> {
    let wrong = || format!("the payload on topic {} is not valid JSON", message.topic);
    let text = std::str::from_utf8(&message.payload).map_err(|_| wrong())?;
    serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(|_| wrong())?;
    // One message is one line. In JSON a line break is white space: strings cannot have one.
    let compact = text.replace(['\n', '\r'], " ");
    Ok(format!(",\"payload\":{compact}"))
}

fn quoted(payload: &[u8]) -> String {
    match std::str::from_utf8(payload) {
        Ok(text) => format!(",\"payload\":{}", string(text)),
        Err(_) => {
            format!(",\"payload_base64\":\"{}\"", base64::engine::general_purpose::STANDARD.encode(payload))
        }
    }
}

fn properties(message: &Message) -> Vec<String> {
    let mut members = Vec::new();
    let mut text = |name: &str, value: &Option<String>| {
        if let Some(value) = value {
            members.push(format!("\"{name}\":{}", string(value)));
        }
    };
    text("content-type", &message.content_type);
    text("response-topic", &message.response_topic);
    if let Some(data) = &message.correlation_data {
        members.push(match std::str::from_utf8(data) {
            Ok(text) => format!("\"correlation-data\":{}", string(text)),
            Err(_) => format!(
                "\"correlation-data-base64\":\"{}\"",
                base64::engine::general_purpose::STANDARD.encode(data)
            ),
        });
    }
    if let Some(value) = message.payload_format {
        members.push(format!("\"payload-format-indicator\":{value}"));
    }
    if let Some(value) = message.expiry_s {
        members.push(format!("\"message-expiry-interval\":{value}"));
    }
    if let Some(value) = message.topic_alias {
        members.push(format!("\"topic-alias\":{value}"));
    }
    match message.subscription_ids.as_slice() {
        [] => {}
        [one] => members.push(format!("\"subscription-identifier\":{one}")),
        many => members.push(format!("\"subscription-identifiers\":{many:?}")),
    }
    if !message.user_properties.is_empty() {
        // An array keeps order and repeated keys, which an object may not.
        let pairs: Vec<String> = message
            .user_properties
            .iter()
            .map(|(key, value)| format!("{{{}:{}}}", string(key), string(value)))
            .collect();
        members.push(format!("\"user-properties\":[{}]", pairs.join(",")));
    }
    members
}

fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ravelin_mqtt::QoS;

    fn message(payload: &[u8]) -> Message {
        Message { topic: "a/\"b".into(), payload: payload.into(), ..Message::default() }
    }

    #[test]
    fn is_valid_json_on_one_line() {
        let mut message = message(b"line\nbreak");
        message.qos = QoS::AtLeastOnce;
        message.packet_id = 7;
        message.user_properties = vec![("k".into(), "v".into()), ("k".into(), "w".into())];
        message.correlation_data = Some(vec![0xFF]);
        message.subscription_ids = vec![3, 4];
        let line = object(&message, Moment::from_unix(0, 0), false).unwrap();
        assert!(!line.contains('\n'));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["topic"], "a/\"b");
        assert_eq!(value["payload"], "line\nbreak");
        assert_eq!(value["mid"], 7);
        assert_eq!(value["properties"]["user-properties"][1]["k"], "w");
        assert_eq!(value["properties"]["correlation-data-base64"], "/w==");
        assert_eq!(value["properties"]["subscription-identifiers"][1], 4);
    }

    #[test]
    fn binary_payload_is_base64() {
        let line = object(&message(&[0, 0xFF]), Moment::from_unix(0, 0), false).unwrap();
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["payload_base64"], "AP8=");
        assert!(value.get("payload").is_none());
    }

    #[test]
    fn raw_payload_is_part_of_the_object_or_an_error() {
        let line = object(&message(b"{\"t\":\n27.0}"), Moment::from_unix(0, 0), true).unwrap();
        assert!(line.ends_with(",\"payload\":{\"t\": 27.0}}"), "{line}");
        let error = object(&message(b"{"), Moment::from_unix(0, 0), true).unwrap_err();
        assert_eq!(error, "the payload on topic a/\"b is not valid JSON");
    }
}
