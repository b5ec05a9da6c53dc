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

#[cfg(test)]
mod tests {
    use super::super::tests::{is_malformed, is_protocol_error, packet, read};
    use super::*;
    use crate::{Packet, TopicError};
    use Sender::{Client, Server};
    use Version::{V5, V311};

    fn published(bytes: &[u8], version: Version, sender: Sender) -> Result<Publish<'_>, Error> {
        match read(bytes, version, sender)? {
            Packet::Publish(publish) => Ok(publish),
            other => panic!("{other:?}"),
        }
    }

    /// A QoS 0 PUBLISH of 5.0 to "t" with a block of properties.
    fn with(block: &[u8]) -> Vec<u8> {
        packet(0x30, &[b"\0\x01t", &[block.len() as u8], block, b"p"])
    }

    #[test]
    fn flags_are_read_and_checked() {
        for flags in 0..16u8 {
            let bytes =
                packet(0x30 | flags, &[b"\0\x01t", if flags & 6 == 0 { &[] } else { &[0, 7] }, b"payload"]);
            let result = published(&bytes, V311, Client);
            // MQTT-3.3.1-4: no QoS 3; MQTT-3.3.1-2: no DUP with QoS 0.
            if flags & 6 == 6 || flags & 0xE == 8 {
                assert!(is_malformed(result), "{flags:04b}");
                continue;
            }
            let publish = result.unwrap();
            assert_eq!((publish.dup, publish.retain), (flags & 8 != 0, flags & 1 != 0));
            assert_eq!(publish.qos as u8, flags >> 1 & 3);
            assert_eq!(publish.packet_id, if flags & 6 == 0 { 0 } else { 7 });
            assert_eq!((publish.topic, publish.payload), ("t", &b"payload"[..]));
        }
    }

    #[test]
    fn an_empty_payload_is_legal() {
        assert_eq!(published(&[0x30, 3, 0, 1, b't'], V311, Client).unwrap().payload, b"");
        assert_eq!(published(&[0x30, 4, 0, 1, b't', 0], V5, Client).unwrap().payload, b"");
    }

    #[test]
    fn packet_identifier_is_there_and_not_zero() {
        assert!(is_protocol_error(published(&[0x32, 5, 0, 1, b't', 0, 0], V311, Client)));
        // Attack 5: truncated before the identifier.
        assert!(is_malformed(published(&[0x32, 3, 0, 1, b't'], V311, Client)));
        assert!(is_malformed(published(&[0x32, 4, 0, 1, b't', 1], V311, Client)));
        assert!(is_malformed(published(&[0x32, 5, 0, 1, b't', 0, 1], V5, Client)));
    }

    #[test]
    fn topic_is_a_topic_name() {
        for (topic, error) in [
            (&b"a/+"[..], TopicError::WildcardInName),
            (b"#", TopicError::WildcardInName),
            (b"a\x07", TopicError::Unprintable),
        ] {
            let bytes = packet(0x30, &[&[0, topic.len() as u8], topic]);
            assert_eq!(published(&bytes, V311, Client), Err(Error::InvalidTopic(error)));
        }
        assert!(is_malformed(published(&[0x30, 3, 0, 1, 0], V311, Client)));
        assert!(is_malformed(published(&[0x30, 3, 0, 1, 0x80], V311, Client)));
        assert!(is_malformed(published(&[0x30, 4, 0, 9, b'a', b'b'], V311, Client)));
        // Attack 13: topic of no characters.
        assert_eq!(published(&[0x30, 2, 0, 0], V311, Client), Err(Error::InvalidTopic(TopicError::Empty)));
    }

    #[test]
    fn topic_limits_hold() {
        let limits = DecodeLimits { topic_bytes_max: 5, topic_levels_max: 2, ..DecodeLimits::default() };
        let topic = |topic: &[u8]| {
            let body = [&[0, topic.len() as u8], topic].concat();
            decode_publish(0x30, &body, V311, Client, &limits, "").err()
        };
        assert_eq!(topic(b"aa/bb"), None);
        assert_eq!(topic(b"aa/bbb"), Some(Error::InvalidTopic(TopicError::TooLong)));
        assert_eq!(topic(b"a/b/c"), Some(Error::InvalidTopic(TopicError::TooManyLevels)));
    }

    #[test]
    fn sixty_five_thousand_levels_are_refused() {
        // Attack 18.
        let limits = DecodeLimits { topic_bytes_max: u16::MAX, ..DecodeLimits::default() };
        let body = [&[0xFF, 0xFF][..], &[b'/'; 65_535]].concat();
        let result = decode_publish(0x30, &body, V311, Client, &limits, "");
        assert_eq!(result, Err(Error::InvalidTopic(TopicError::TooManyLevels)));
    }

    #[test]
    fn a_known_topic_decodes_as_any_other() {
        let limits = DecodeLimits::default();
        for (version, sender) in [(V311, Client), (V5, Server)] {
            for topic in ["a/b", "é/ü", "", "a"] {
                let text = topic.as_bytes();
                let body = [&[0, text.len() as u8], text, &[0, 0]].concat();
                for known in ["a/b", "é/ü", "", "a/c"] {
                    let known = decode_publish(0x30, &body, version, sender, &limits, known);
                    assert_eq!(known, decode_publish(0x30, &body, version, sender, &limits, "x"));
                }
            }
        }
    }

    #[test]
    fn empty_topic_needs_an_alias() {
        let bytes = packet(0x30, &[&[0, 0, 3, 0x23, 0, 9], b"p"]);
        let publish = published(&bytes, V5, Client).unwrap();
        assert_eq!((publish.topic, publish.topic_alias, publish.payload), ("", Some(9), &b"p"[..]));
        assert!(is_protocol_error(published(&[0x30, 3, 0, 0, 0], V5, Client)));
    }

    #[test]
    fn topic_alias_zero_has_a_reason_of_its_own() {
        assert_eq!(published(&with(&[0x23, 0, 0]), V5, Client), Err(Error::InvalidTopicAlias));
    }

    #[test]
    fn subscription_identifiers_come_from_servers_only() {
        let bytes = with(&[0x0B, 1, 0x0B, 2]);
        assert!(is_protocol_error(published(&bytes, V5, Client)));
        let publish = published(&bytes, V5, Server).unwrap();
        let ids: Vec<_> = publish.properties.iter().collect();
        assert_eq!(ids, [Property::SubscriptionId(1), Property::SubscriptionId(2)]);
        assert!(!publish.properties.forward_is_whole());
    }

    #[test]
    fn what_goes_with_the_message_is_passed_on_in_order() {
        let block = b"\x26\0\x01b\0\x012\x02\0\0\0\x09\x01\x01\x23\0\x05\x26\0\x01a\0\x011\x03\0\x01c";
        let bytes = with(block);
        let publish = published(&bytes, V5, Client).unwrap();
        assert_eq!((publish.expiry_s, publish.topic_alias), (Some(9), Some(5)));
        assert!(!publish.properties.forward_is_whole());
        let mut forward = Vec::new();
        publish.properties.forward_into(&mut forward);
        assert_eq!(forward, b"\x26\0\x01b\0\x012\x01\x01\x26\0\x01a\0\x011\x03\0\x01c");
        let bytes = with(&forward);
        let whole = published(&bytes, V5, Client).unwrap().properties;
        assert!(whole.forward_is_whole());
        assert_eq!(whole.raw(), forward);
        assert_eq!(Properties::parse_forwarded(&forward), Ok(whole));
        assert_eq!(whole.user_properties().collect::<Vec<_>>(), [("b", "2"), ("a", "1")]);
    }

    #[test]
    fn response_topic_is_a_topic_name() {
        // Attack 17.
        for topic in [&b"a/#"[..], b"+", b"", b"a\x01"] {
            let block = [&[0x08, 0, topic.len() as u8], topic].concat();
            assert!(is_protocol_error(published(&with(&block), V5, Client)), "{topic:?}");
        }
        assert!(published(&with(b"\x08\0\x03a/b"), V5, Client).is_ok());
    }
}
