//! SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK (sections 3.8 to 3.11).

use super::{DecodeLimits, Error, Property, Reader, Version, properties};
use crate::properties::{IdSet, id, id_set};
use crate::topic::SHARE_PREFIX;
use crate::{
    QoS, RetainHandling, SubAck, Subscribe, SubscribeOptions, Subscription, Unsubscribe, check_text,
};

const SUBSCRIBE: IdSet = id_set(&[id::SUBSCRIPTION_ID, id::USER_PROPERTY]);
const UNSUBSCRIBE: IdSet = id_set(&[id::USER_PROPERTY]);
const ACK: IdSet = id_set(&[id::REASON_STRING, id::USER_PROPERTY]);

pub(super) fn subscribe<'a>(
    mut reader: Reader<'a>,
    version: Version,
    limits: &DecodeLimits,
) -> Result<Subscribe<'a>, Error> {
    let packet_id = reader.packet_id()?;
    let mut subscription_id = None;
    let properties = properties(&mut reader, version, SUBSCRIBE, limits, |property| {
        if let Property::SubscriptionId(value) = property {
            subscription_id = Some(value);
        }
    })?;
    let payload = reader.rest;
    let mut filters = 0u16;
    while !reader.is_empty() {
        let filter = filter(&mut reader, &mut filters, limits)?;
        let options = reader.u8()?;
        let Some(options) = options_from(options, version) else {
            // MQTT-3.8.3-5 (3.1.1: MQTT-3.8.3-4): reserved bits; QoS 3; Retain Handling 3.
            return Err(match version {
                Version::V5 if options & 0x30 == 0x30 && options & 0xC0 == 0 && options & 0x03 != 3 => {
                    Error::ProtocolError("retain handling is 3 (section 3.8.3.1)")
                }
                Version::V5 if options & 0xC0 == 0 => {
                    Error::ProtocolError("subscription asks for QoS 3 (section 3.8.3.1)")
                }
                _ => Error::Malformed("reserved bits of the subscription options are set (MQTT-3.8.3-5)"),
            });
        };
        // MQTT-3.8.3-4: No Local on a shared subscription.
        if options.no_local && filter.starts_with(SHARE_PREFIX) {
            return Err(Error::ProtocolError("no local on a shared subscription (MQTT-3.8.3-4)"));
        }
    }
    // MQTT-3.8.3-2 (3.1.1: MQTT-3.8.3-3): at least one filter.
    if filters == 0 {
        return Err(Error::ProtocolError("SUBSCRIBE has no topic filter (MQTT-3.8.3-2)"));
    }
    Ok(Subscribe { packet_id, subscription_id, properties, payload })
}

pub(super) fn unsubscribe<'a>(
    mut reader: Reader<'a>,
    version: Version,
    limits: &DecodeLimits,
) -> Result<Unsubscribe<'a>, Error> {
    let packet_id = reader.packet_id()?;
    let properties = properties(&mut reader, version, UNSUBSCRIBE, limits, |_| {})?;
    let payload = reader.rest;
    let mut filters = 0u16;
    while !reader.is_empty() {
        filter(&mut reader, &mut filters, limits)?;
    }
    // MQTT-3.10.3-2: at least one filter.
    if filters == 0 {
        return Err(Error::ProtocolError("UNSUBSCRIBE has no topic filter (MQTT-3.10.3-2)"));
    }
    Ok(Unsubscribe { packet_id, properties, payload })
}

/// One filter: well-formed text within the limits (MQTT-3.8.3-1, MQTT-3.10.3-1). Whether it is a filter is judged by the
/// caller, filter by filter, so that one bad filter is refused with 0x8F and the others are granted.
fn filter<'a>(reader: &mut Reader<'a>, filters: &mut u16, limits: &DecodeLimits) -> Result<&'a str, Error> {
    let bytes = reader.binary()?;
    if *filters == limits.filters_max {
        return Err(Error::LimitExceeded("topic filters in one packet"));
    }
    *filters += 1;
    if bytes.len() > usize::from(limits.topic_bytes_max) {
        return Err(Error::LimitExceeded("bytes of a topic filter"));
    }
    check_text(bytes)
}

fn options_from(byte: u8, version: Version) -> Option<SubscribeOptions> {
    let reserved = match version {
        Version::V311 => 0b1111_1100,
        Version::V5 => 0b1100_0000,
    };
    if byte & reserved != 0 {
        return None;
    }
    Some(SubscribeOptions {
        qos: QoS::from_u8(byte & 0b11)?,
        no_local: byte & 0b100 != 0,
        retain_as_published: byte & 0b1000 != 0,
        retain_handling: match byte >> 4 & 0b11 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            2 => RetainHandling::DoNotSend,
            _ => return None,
        },
    })
}

impl<'a> Subscribe<'a> {
    /// The filters with their options, in order.
    pub fn filters(&self) -> impl Iterator<Item = Subscription<'a>> + use<'a> {
        let mut reader = Reader { rest: self.payload };
        // The payload was checked: the first error is the end. Options of 3.1.1 are those of 5.0 with zeros.
        std::iter::from_fn(move || {
            let filter = reader.text().ok()?;
            let options = options_from(reader.u8().ok()?, Version::V5)?;
            Some(Subscription { filter, options })
        })
    }
}

impl<'a> Unsubscribe<'a> {
    /// The filters, in order.
    pub fn filters(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut reader = Reader { rest: self.payload };
        std::iter::from_fn(move || reader.text().ok())
    }
}

pub(super) fn suback<'a>(
    mut reader: Reader<'a>,
    version: Version,
    limits: &DecodeLimits,
) -> Result<SubAck<'a>, Error> {
    let suback = ack(&mut reader, version, limits)?;
    // MQTT-3.9.3-2 (3.1.1: MQTT-3.9.3-2): codes other than the listed ones are reserved.
    let legal = |code: &u8| match version {
        Version::V311 => matches!(code, 0..=2 | 0x80),
        Version::V5 => matches!(code, 0..=2 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91 | 0x97 | 0x9E | 0xA1 | 0xA2),
    };
    if suback.reasons.is_empty() || !suback.reasons.iter().all(legal) {
        return Err(Error::ProtocolError("SUBACK has no reason code or an undefined one (MQTT-3.9.3-2)"));
    }
    Ok(suback)
}

pub(super) fn unsuback<'a>(
    mut reader: Reader<'a>,
    version: Version,
    limits: &DecodeLimits,
) -> Result<SubAck<'a>, Error> {
    let unsuback = ack(&mut reader, version, limits)?;
    if version == Version::V311 {
        // The UNSUBACK Packet of 3.1.1 has no payload (section 3.11.3).
        reader.end()?;
        return Ok(unsuback);
    }
    // MQTT-3.11.3-2: one of the listed codes.
    let legal = |code: &u8| matches!(code, 0x00 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91);
    if unsuback.reasons.is_empty() || !unsuback.reasons.iter().all(legal) {
        return Err(Error::ProtocolError("UNSUBACK has no reason code or an undefined one (MQTT-3.11.3-2)"));
    }
    Ok(unsuback)
}

fn ack<'a>(reader: &mut Reader<'a>, version: Version, limits: &DecodeLimits) -> Result<SubAck<'a>, Error> {
    let packet_id = reader.packet_id()?;
    let mut reason_string = None;
    let properties = properties(reader, version, ACK, limits, |property| {
        if let Property::ReasonString(text) = property {
            reason_string = Some(text);
        }
    })?;
    Ok(SubAck { packet_id, reason_string, properties, reasons: reader.rest })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{is_malformed, is_protocol_error, packet, read};
    use super::super::{Sender, decode};
    use super::*;
    use crate::Packet;
    use Sender::{Client, Server};
    use Version::{V5, V311};

    fn subscribed(bytes: &[u8], version: Version) -> Result<Vec<Subscription<'_>>, Error> {
        match read(bytes, version, Client)? {
            Packet::Subscribe(subscribe) => Ok(subscribe.filters().collect()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn filters_and_options_come_back_in_order() {
        let bytes = packet(0x82, &[&[0, 1, 0], b"\0\x03a/+", &[0x2E], b"\0\0", &[1]]);
        let options = SubscribeOptions {
            qos: QoS::ExactlyOnce,
            no_local: true,
            retain_as_published: true,
            retain_handling: RetainHandling::DoNotSend,
        };
        let second = SubscribeOptions { qos: QoS::AtLeastOnce, ..SubscribeOptions::default() };
        // The empty filter is left for `check_filter`, which refuses it alone.
        let expected =
            vec![Subscription { filter: "a/+", options }, Subscription { filter: "", options: second }];
        assert_eq!(subscribed(&bytes, V5), Ok(expected));
    }

    #[test]
    fn options_are_checked_bit_by_bit() {
        for options in 0..=255u8 {
            let v5 = packet(0x82, &[&[0, 1, 0], b"\0\x01a", &[options]]);
            let legal = options & 0xC0 == 0 && options & 3 != 3 && options >> 4 & 3 != 3;
            assert_eq!(subscribed(&v5, V5).is_ok(), legal, "{options:08b}");
            if options & 0xC0 != 0 {
                assert!(is_malformed(subscribed(&v5, V5)));
            } else if !legal {
                assert!(is_protocol_error(subscribed(&v5, V5)));
            }
            let v311 = packet(0x82, &[&[0, 1], b"\0\x01a", &[options]]);
            assert_eq!(subscribed(&v311, V311).is_ok(), options < 3, "{options:08b}");
            assert!(options < 3 || is_malformed(subscribed(&v311, V311)));
        }
    }

    #[test]
    fn no_local_does_not_go_with_a_shared_subscription() {
        let filter =
            |filter: &[u8], options| packet(0x82, &[&[0, 1, 0, 0, filter.len() as u8], filter, &[options]]);
        assert!(is_protocol_error(subscribed(&filter(b"$share/g/a", 4), V5)));
        assert!(subscribed(&filter(b"$share/g/a", 0), V5).is_ok());
        assert!(subscribed(&filter(b"$shared/g/a", 4), V5).is_ok());
    }

    #[test]
    fn a_filter_is_needed() {
        for (first, version, body) in
            [(0x82, V311, &[0, 1][..]), (0x82, V5, &[0, 1, 0]), (0xA2, V311, &[0, 1]), (0xA2, V5, &[0, 1, 0])]
        {
            assert!(is_protocol_error(read(&packet(first, &[body]), version, Client)));
        }
    }

    #[test]
    fn packet_identifier_zero_is_refused() {
        assert!(is_protocol_error(read(&packet(0x82, &[&[0, 0], b"\0\x01a\0"]), V311, Client)));
        assert!(is_protocol_error(read(&packet(0xA2, &[&[0, 0], b"\0\x01a"]), V311, Client)));
        assert!(is_protocol_error(read(&[0x90, 3, 0, 0, 0], V311, Server)));
    }

    #[test]
    fn what_is_cut_short_is_malformed() {
        let whole = packet(0x82, &[&[0, 1, 2, 0x0B, 5], b"\0\x03a/b\x01", b"\0\x01c\x02"]);
        for cut in 2..whole.len() {
            let bytes = packet(0x82, &[&whole[2..cut]]);
            // At 13 bytes the first filter and its options are whole, which is a packet.
            assert_eq!(read(&bytes, V5, Client).is_ok(), cut == 13, "{cut}");
        }
        assert!(is_malformed(read(&packet(0xA2, &[&[0, 1, 0, 0, 5], b"abc"]), V5, Client)));
    }

    #[test]
    fn subscription_identifier_comes_once_and_is_not_zero() {
        let with = |block: &[u8]| packet(0x82, &[&[0, 1, block.len() as u8], block, b"\0\x01a\0"]);
        let bytes = with(&[0x0B, 0xFF, 0x7F]);
        let Ok(Packet::Subscribe(subscribe)) = read(&bytes, V5, Client) else { panic!() };
        assert_eq!(subscribe.subscription_id, Some(16_383));
        assert!(is_protocol_error(read(&with(&[0x0B, 0]), V5, Client)));
        assert!(is_protocol_error(read(&with(&[0x0B, 1, 0x0B, 1]), V5, Client)));
        assert!(is_malformed(read(&with(&[0x0B, 0x80, 0]), V5, Client)));
    }

    #[test]
    fn filters_are_counted_and_measured() {
        let limits = DecodeLimits { filters_max: 2, topic_bytes_max: 3, ..DecodeLimits::default() };
        let subscribe = |filters: &[&[u8]]| decode(0x82, &filters.concat(), V311, Client, &limits).err();
        let exceeded = |error| matches!(error, Some(Error::LimitExceeded(_)));
        assert_eq!(subscribe(&[b"\0\x01", b"\0\x01a\0", b"\0\x03abc\0"]), None);
        assert!(exceeded(subscribe(&[b"\0\x01", b"\0\x01a\0", b"\0\x01a\0", b"\0\x01a\0"])));
        assert!(exceeded(subscribe(&[b"\0\x01", b"\0\x04abcd\0"])));
    }

    #[test]
    fn filters_are_text() {
        assert!(is_malformed(read(&packet(0x82, &[&[0, 1, 0, 1, 0xFF, 0]]), V311, Client)));
        assert!(is_malformed(read(&packet(0xA2, &[&[0, 1, 0, 1, 0]]), V311, Client)));
    }

    #[test]
    fn unsubscribe_filters_come_back() {
        let bytes = packet(0xA2, &[&[0, 1, 0], b"\0\x01a", b"\0\x02b/"]);
        let Ok(Packet::Unsubscribe(unsubscribe)) = read(&bytes, V5, Client) else { panic!() };
        assert_eq!(unsubscribe.filters().collect::<Vec<_>>(), ["a", "b/"]);
    }

    #[test]
    fn an_acknowledgement_has_defined_codes() {
        // Attack 16: a SUBACK without reason codes.
        assert!(is_protocol_error(read(&[0x90, 2, 0, 1], V311, Server)));
        assert!(is_protocol_error(read(&[0x90, 3, 0, 1, 0], V5, Server)));
        assert!(is_protocol_error(read(&[0xB0, 3, 0, 1, 0], V5, Server)));
        for code in 0..=255u8 {
            let v311 = [0, 1, 2, 0x80].contains(&code);
            assert_eq!(read(&[0x90, 3, 0, 1, code], V311, Server).is_ok(), v311, "0x{code:02X}");
            let v5 = [0, 1, 2, 0x80, 0x83, 0x87, 0x8F, 0x91, 0x97, 0x9E, 0xA1, 0xA2].contains(&code);
            assert_eq!(read(&[0x90, 4, 0, 1, 0, code], V5, Server).is_ok(), v5, "0x{code:02X}");
            let unsuback = [0, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91].contains(&code);
            assert_eq!(read(&[0xB0, 4, 0, 1, 0, code], V5, Server).is_ok(), unsuback, "0x{code:02X}");
        }
        assert!(is_malformed(read(&[0xB0, 3, 0, 1, 0], V311, Server)));
        assert!(read(&[0xB0, 2, 0, 1], V311, Server).is_ok());
    }
}
