//! PUBLISH (section 3.3), the hot path.

use super::{DecodeLimits, Sender};
use crate::properties::{IdSet, id, id_set};
use crate::reader::Reader;
use crate::{Error, Properties, Property, Publish, QoS, Version, check_text, check_topic};

const ALLOWED: IdSet = id_set(&[
    id::PAYLOAD_FORMAT,
    id::MESSAGE_EXPIRY,
    id::TOPIC_ALIAS,
    id::RESPONSE_TOPIC,
    id::CORRELATION_DATA,
    id::USER_PROPERTY,
    id::SUBSCRIPTION_ID,
    id::CONTENT_TYPE,
]);

/// Decodes a PUBLISH; `first` and `body` as for [`crate::decode`].
///
/// `known_topic` is a topic name that this connection has published to before under the same limits, or "". A PUBLISH to
/// that topic is spared the checks of the name.
#[inline]
pub fn decode_publish<'a>(
    first: u8,
    body: &'a [u8],
    version: Version,
    sender: Sender,
    limits: &DecodeLimits,
    known_topic: &str,
) -> Result<Publish<'a>, Error> {
    debug_assert_eq!(first >> 4, 3);
    publish(first, body, version, sender, limits, known_topic)
}

#[inline]
pub(super) fn publish<'a>(
    first: u8,
    body: &'a [u8],
    version: Version,
    sender: Sender,
    limits: &DecodeLimits,
    known_topic: &str,
) -> Result<Publish<'a>, Error> {
    let dup = first & 0b1000 != 0;
    let retain = first & 0b0001 != 0;
    let qos = match first >> 1 & 0b11 {
        // MQTT-3.3.1-2: DUP is 0 for QoS 0.
        0 if dup => return Err(Error::Malformed("DUP with QoS 0 (MQTT-3.3.1-2)")),
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        2 => QoS::ExactlyOnce,
        // MQTT-3.3.1-4: both QoS bits set.
        _ => return Err(Error::Malformed("QoS 3 (MQTT-3.3.1-4)")),
    };
    let mut reader = Reader { rest: body };
    let topic_bytes = reader.binary()?;
    let topic = if topic_bytes == known_topic.as_bytes() {
        // Safe code has to look at the bytes once more to make text of them; for ASCII that costs next to nothing.
        std::str::from_utf8(topic_bytes).unwrap_or_default()
    } else {
        new_topic(topic_bytes, limits)?
    };
    // MQTT-2.2.1-2: a PUBLISH has a Packet Identifier if, and only if, its QoS is above 0.
    let packet_id = if qos == QoS::AtMostOnce { 0 } else { reader.packet_id()? };
    let mut publish = Publish {
        dup,
        qos,
        retain,
        topic,
        packet_id,
        expiry_s: None,
        topic_alias: None,
        properties: Properties::EMPTY,
        payload: &[],
    };
    if version == Version::V5 {
        if let Some((0, rest)) = reader.rest.split_first() {
            reader.rest = rest;
        } else {
            properties(&mut reader, sender, limits, &mut publish)?;
        }
    }
    if topic.is_empty() && publish.topic_alias.is_none() {
        return Err(match version {
            // MQTT-4.7.3-1: a topic name has at least one character.
            Version::V311 => Error::InvalidTopic(crate::TopicError::Empty),
            Version::V5 => {
                Error::ProtocolError("topic name is empty and there is no topic alias (section 3.3.2.1)")
            }
        });
    }
    publish.payload = reader.rest;
    Ok(publish)
}

fn new_topic<'a>(bytes: &'a [u8], limits: &DecodeLimits) -> Result<&'a str, Error> {
    if bytes.is_empty() {
        return Ok("");
    }
    if bytes.len() > usize::from(limits.topic_bytes_max) {
        return Err(Error::InvalidTopic(crate::TopicError::TooLong));
    }
    // MQTT-3.3.2-1: UTF-8; MQTT-3.3.2-2: no wildcard characters.
    let topic = check_text(bytes)?;
    check_topic(topic, limits.topic_levels_max).map_err(Error::InvalidTopic)?;
    Ok(topic)
}

fn properties<'a>(
    reader: &mut Reader<'a>,
    sender: Sender,
    limits: &DecodeLimits,
    publish: &mut Publish<'a>,
) -> Result<(), Error> {
    let length = reader.varint()?;
    let raw = reader.take(length as usize)?;
    // A message that matched several subscriptions carries the identifier of each (section 3.3.2.3.8).
    let repeatable = id_set(&[id::SUBSCRIPTION_ID]);
    let mut subscription_id = false;
    publish.properties =
        Properties::check(raw, ALLOWED, repeatable, &limits.block(), |property| match property {
            Property::MessageExpiry(seconds) => publish.expiry_s = Some(seconds),
            Property::TopicAlias(alias) => publish.topic_alias = Some(alias),
            Property::SubscriptionId(_) => subscription_id = true,
            _ => {}
        })?;
    // MQTT-3.3.4-6: a client does not send Subscription Identifiers.
    if subscription_id && sender == Sender::Client {
        return Err(Error::ProtocolError("PUBLISH of a client has a subscription identifier (MQTT-3.3.4-6)"));
    }
    Ok(())
}
