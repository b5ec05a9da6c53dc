//! The properties of MQTT 5.0 (section 2.2.2): a checked block of bytes and what is in it.

use crate::{Error, check_text, check_topic, reader::Reader, varint};

/// A block of properties that was checked when it was decoded, without its length.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Properties<'a> {
    raw: &'a [u8],
    /// Something in `raw` is not for passing on.
    hop: bool,
}

/// One property.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Property<'a> {
    /// Payload Format Indicator: 0 bytes, 1 UTF-8 text.
    PayloadFormat(u8),
    /// Message Expiry Interval in seconds.
    MessageExpiry(u32),
    /// Content Type.
    ContentType(&'a str),
    /// Response Topic.
    ResponseTopic(&'a str),
    /// Correlation Data.
    CorrelationData(&'a [u8]),
    /// Subscription Identifier.
    SubscriptionId(u32),
    /// Session Expiry Interval in seconds.
    SessionExpiry(u32),
    /// Assigned Client Identifier.
    AssignedClientId(&'a str),
    /// Server Keep Alive in seconds.
    ServerKeepAlive(u16),
    /// Authentication Method.
    AuthMethod(&'a str),
    /// Authentication Data.
    AuthData(&'a [u8]),
    /// Request Problem Information.
    RequestProblemInfo(bool),
    /// Will Delay Interval in seconds.
    WillDelay(u32),
    /// Request Response Information.
    RequestResponseInfo(bool),
    /// Response Information.
    ResponseInfo(&'a str),
    /// Server Reference.
    ServerReference(&'a str),
    /// Reason String.
    ReasonString(&'a str),
    /// Receive Maximum.
    ReceiveMax(u16),
    /// Topic Alias Maximum.
    TopicAliasMax(u16),
    /// Topic Alias.
    TopicAlias(u16),
    /// Maximum QoS.
    QosMax(u8),
    /// Retain Available.
    RetainAvailable(bool),
    /// User Property.
    UserProperty(&'a str, &'a str),
    /// Maximum Packet Size.
    PacketBytesMax(u32),
    /// Wildcard Subscription Available.
    WildcardAvailable(bool),
    /// Subscription Identifier Available.
    SubscriptionIdsAvailable(bool),
    /// Shared Subscription Available.
    SharedAvailable(bool),
}

/// Property identifiers (section 2.2.2.2).
pub(crate) mod id {
    pub(crate) const PAYLOAD_FORMAT: u8 = 0x01;
    pub(crate) const MESSAGE_EXPIRY: u8 = 0x02;
    pub(crate) const CONTENT_TYPE: u8 = 0x03;
    pub(crate) const RESPONSE_TOPIC: u8 = 0x08;
    pub(crate) const CORRELATION_DATA: u8 = 0x09;
    pub(crate) const SUBSCRIPTION_ID: u8 = 0x0B;
    pub(crate) const SESSION_EXPIRY: u8 = 0x11;
    pub(crate) const ASSIGNED_CLIENT_ID: u8 = 0x12;
    pub(crate) const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub(crate) const AUTH_METHOD: u8 = 0x15;
    pub(crate) const AUTH_DATA: u8 = 0x16;
    pub(crate) const REQUEST_PROBLEM_INFO: u8 = 0x17;
    pub(crate) const WILL_DELAY: u8 = 0x18;
    pub(crate) const REQUEST_RESPONSE_INFO: u8 = 0x19;
    pub(crate) const RESPONSE_INFO: u8 = 0x1A;
    pub(crate) const SERVER_REFERENCE: u8 = 0x1C;
    pub(crate) const REASON_STRING: u8 = 0x1F;
    pub(crate) const RECEIVE_MAX: u8 = 0x21;
    pub(crate) const TOPIC_ALIAS_MAX: u8 = 0x22;
    pub(crate) const TOPIC_ALIAS: u8 = 0x23;
    pub(crate) const QOS_MAX: u8 = 0x24;
    pub(crate) const RETAIN_AVAILABLE: u8 = 0x25;
    pub(crate) const USER_PROPERTY: u8 = 0x26;
    pub(crate) const PACKET_BYTES_MAX: u8 = 0x27;
    pub(crate) const WILDCARD_AVAILABLE: u8 = 0x28;
    pub(crate) const SUBSCRIPTION_IDS_AVAILABLE: u8 = 0x29;
    pub(crate) const SHARED_AVAILABLE: u8 = 0x2A;
}

/// A set of property identifiers: bit `n` stands for identifier `n`.
pub(crate) type IdSet = u64;

/// The set of the identifiers in `ids`.
pub(crate) const fn id_set(ids: &[u8]) -> IdSet {
    let mut set = 0;
    let mut index = 0;
    while index < ids.len() {
        set |= 1 << ids[index];
        index += 1;
    }
    set
}

/// What a server passes on with a message (MQTT-3.3.2-4, -15, -16, -17, -18, -20).
const FORWARD: IdSet = id_set(&[
    id::PAYLOAD_FORMAT,
    id::CONTENT_TYPE,
    id::RESPONSE_TOPIC,
    id::CORRELATION_DATA,
    id::USER_PROPERTY,
]);

const USER: IdSet = id_set(&[id::USER_PROPERTY]);

/// What bounds a block.
#[derive(Clone, Copy)]
pub(crate) struct BlockLimits {
    pub(crate) bytes_max: u32,
    pub(crate) user_properties_max: u16,
    pub(crate) topic_bytes_max: u16,
    pub(crate) topic_levels_max: u16,
}

impl<'a> Properties<'a> {
    /// No properties.
    pub const EMPTY: Properties<'static> = Properties { raw: &[], hop: false };

    /// Checks bytes that [`Properties::forward_into`] or [`PropertiesBuilder`] made, after they were stored or came
    /// from another node.
    pub fn parse_forwarded(raw: &'a [u8]) -> Result<Properties<'a>, Error> {
        let limits = BlockLimits {
            bytes_max: varint::MAX,
            user_properties_max: u16::MAX,
            topic_bytes_max: u16::MAX,
            topic_levels_max: u16::MAX,
        };
        Properties::check(raw, FORWARD, 0, &limits, |_| {})
    }

    /// The bytes, without the length in front.
    #[inline]
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// All properties in their order.
    pub fn iter(&self) -> impl Iterator<Item = Property<'a>> + use<'a> {
        let mut reader = Reader { rest: self.raw };
        // The bytes were checked: the first error is the end.
        std::iter::from_fn(move || if reader.is_empty() { None } else { read_property(&mut reader).ok() })
    }

    /// The User Properties in their order (MQTT-3.1.3-10, MQTT-3.3.2-18).
    pub fn user_properties(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.iter().filter_map(|property| match property {
            Property::UserProperty(key, value) => Some((key, value)),
            _ => None,
        })
    }

    /// Appends what a server passes on with a message, in the original order: Payload Format Indicator, Content Type,
    /// Response Topic, Correlation Data and User Properties.
    pub fn forward_into(&self, out: &mut Vec<u8>) {
        if self.forward_is_whole() {
            out.extend_from_slice(self.raw);
        } else {
            self.copy_into(FORWARD, out);
        }
    }

    /// Whether [`Properties::forward_into`] would append [`Properties::raw`] as it is. Costs nothing.
    #[inline]
    pub fn forward_is_whole(&self) -> bool {
        !self.hop
    }

    /// Appends the User Properties as bytes.
    pub(crate) fn user_into(&self, out: &mut Vec<u8>) {
        self.copy_into(USER, out);
    }

    fn copy_into(&self, wanted: IdSet, out: &mut Vec<u8>) {
        let mut reader = Reader { rest: self.raw };
        while let Some(&identifier) = reader.rest.first() {
            let before = reader.rest;
            if read_property(&mut reader).is_err() {
                return;
            }
            if contains(wanted, identifier) {
                out.extend_from_slice(&before[..before.len() - reader.rest.len()]);
            }
        }
    }

    /// Checks a whole block: only `allowed` properties, each but those in `repeatable` (and User Properties) at most
    /// once, each value legal, and hands each one to `each`. One pass.
    pub(crate) fn check(
        raw: &'a [u8],
        allowed: IdSet,
        repeatable: IdSet,
        limits: &BlockLimits,
        mut each: impl FnMut(Property<'a>),
    ) -> Result<Properties<'a>, Error> {
        if raw.len() > limits.bytes_max as usize {
            return Err(Error::LimitExceeded("bytes of properties in one packet"));
        }
        let mut reader = Reader { rest: raw };
        let mut seen: IdSet = 0;
        let mut user_properties = 0u16;
        while let Some(&identifier) = reader.rest.first() {
            // Identifiers are variable byte integers, but every defined one takes one byte (MQTT-1.5.5-1).
            if !contains(allowed, identifier) {
                return Err(Error::Malformed("property is not defined for this packet (section 2.2.2.2)"));
            }
            let property = read_property(&mut reader)?;
            if identifier == id::USER_PROPERTY {
                if user_properties == limits.user_properties_max {
                    return Err(Error::LimitExceeded("user properties in one packet"));
                }
                user_properties += 1;
            } else if contains(seen & !repeatable, identifier) {
                return Err(Error::ProtocolError("property is included more than once (section 2.2.2.2)"));
            }
            if let Property::ResponseTopic(topic) = property {
                check_response_topic(topic, limits)?;
            }
            seen |= 1 << identifier;
            each(property);
        }
        Ok(Properties { raw, hop: seen & !FORWARD != 0 })
    }
}

/// MQTT-3.3.2-14: a Response Topic has no wildcards; and as it will be used as a Topic Name it must be one.
fn check_response_topic(topic: &str, limits: &BlockLimits) -> Result<(), Error> {
    if topic.len() > usize::from(limits.topic_bytes_max) {
        return Err(Error::LimitExceeded("bytes of a response topic"));
    }
    check_topic(topic, limits.topic_levels_max)
        .map_err(|_| Error::ProtocolError("response topic is not a valid topic name (MQTT-3.3.2-14)"))
}

fn contains(set: IdSet, identifier: u8) -> bool {
    identifier < 64 && set >> identifier & 1 == 1
}

/// Reads one property, with the rules for its value.
fn read_property<'a>(reader: &mut Reader<'a>) -> Result<Property<'a>, Error> {
    let property = match reader.u8()? {
        id::PAYLOAD_FORMAT => match reader.u8()? {
            value @ (0 | 1) => Property::PayloadFormat(value),
            _ => {
                return Err(Error::ProtocolError(
                    "payload format indicator is neither 0 nor 1 (section 3.3.2.3.2)",
                ));
            }
        },
        id::MESSAGE_EXPIRY => Property::MessageExpiry(reader.u32()?),
        id::CONTENT_TYPE => Property::ContentType(reader.text()?),
        id::RESPONSE_TOPIC => Property::ResponseTopic(reader.text()?),
        id::CORRELATION_DATA => Property::CorrelationData(reader.binary()?),
        id::SUBSCRIPTION_ID => match reader.varint()? {
            0 => return Err(Error::ProtocolError("subscription identifier is 0 (section 3.8.2.1.2)")),
            value => Property::SubscriptionId(value),
        },
        id::SESSION_EXPIRY => Property::SessionExpiry(reader.u32()?),
        id::ASSIGNED_CLIENT_ID => Property::AssignedClientId(reader.text()?),
        id::SERVER_KEEP_ALIVE => Property::ServerKeepAlive(reader.u16()?),
        id::AUTH_METHOD => Property::AuthMethod(reader.text()?),
        id::AUTH_DATA => Property::AuthData(reader.binary()?),
        id::REQUEST_PROBLEM_INFO => Property::RequestProblemInfo(read_bool(reader)?),
        id::WILL_DELAY => Property::WillDelay(reader.u32()?),
        id::REQUEST_RESPONSE_INFO => Property::RequestResponseInfo(read_bool(reader)?),
        id::RESPONSE_INFO => Property::ResponseInfo(reader.text()?),
        id::SERVER_REFERENCE => Property::ServerReference(reader.text()?),
        id::REASON_STRING => Property::ReasonString(reader.text()?),
        id::RECEIVE_MAX => match reader.u16()? {
            0 => return Err(Error::ProtocolError("receive maximum is 0 (section 3.1.2.11.3)")),
            value => Property::ReceiveMax(value),
        },
        id::TOPIC_ALIAS_MAX => Property::TopicAliasMax(reader.u16()?),
        id::TOPIC_ALIAS => match reader.u16()? {
            // MQTT-3.3.2-8: a sender must not send a Topic Alias of 0.
            0 => return Err(Error::InvalidTopicAlias),
            value => Property::TopicAlias(value),
        },
        id::QOS_MAX => match reader.u8()? {
            value @ (0 | 1) => Property::QosMax(value),
            _ => return Err(Error::ProtocolError("maximum QoS is neither 0 nor 1 (section 3.2.2.3.4)")),
        },
        id::RETAIN_AVAILABLE => Property::RetainAvailable(read_bool(reader)?),
        id::USER_PROPERTY => Property::UserProperty(reader.text()?, reader.text()?),
        id::PACKET_BYTES_MAX => match reader.u32()? {
            0 => return Err(Error::ProtocolError("maximum packet size is 0 (section 3.1.2.11.4)")),
            value => Property::PacketBytesMax(value),
        },
        id::WILDCARD_AVAILABLE => Property::WildcardAvailable(read_bool(reader)?),
        id::SUBSCRIPTION_IDS_AVAILABLE => Property::SubscriptionIdsAvailable(read_bool(reader)?),
        id::SHARED_AVAILABLE => Property::SharedAvailable(read_bool(reader)?),
        _ => return Err(Error::Malformed("unknown property identifier (section 2.2.2.2)")),
    };
    Ok(property)
}

fn read_bool(reader: &mut Reader<'_>) -> Result<bool, Error> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Error::ProtocolError("a property that is 0 or 1 has another value (section 2.2.2.2)")),
    }
}

/// Makes properties to send: User Properties, and what goes with a message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PropertiesBuilder {
    raw: Vec<u8>,
}

impl PropertiesBuilder {
    /// Nothing yet.
    pub fn new() -> PropertiesBuilder {
        PropertiesBuilder::default()
    }

    /// Adds a User Property. Text that cannot be sent (over 65,535 bytes, or with U+0000) adds nothing.
    pub fn user_property(mut self, key: &str, value: &str) -> PropertiesBuilder {
        if is_sendable(key) && is_sendable(value) {
            self.raw.push(id::USER_PROPERTY);
            self.binary(key.as_bytes());
            self.binary(value.as_bytes());
        }
        self
    }

    /// Adds the Payload Format Indicator that says "UTF-8 text".
    pub fn payload_is_text(mut self) -> PropertiesBuilder {
        self.raw.extend_from_slice(&[id::PAYLOAD_FORMAT, 1]);
        self
    }

    /// Adds a Content Type. Text that cannot be sent adds nothing.
    pub fn content_type(self, content_type: &str) -> PropertiesBuilder {
        if is_sendable(content_type) { self.text(id::CONTENT_TYPE, content_type) } else { self }
    }

    /// Adds a Response Topic. What is not a valid Topic Name adds nothing.
    pub fn response_topic(self, topic: &str) -> PropertiesBuilder {
        if check_topic(topic, u16::MAX).is_ok() { self.text(id::RESPONSE_TOPIC, topic) } else { self }
    }

    /// Adds Correlation Data. More than 65,535 bytes add nothing.
    pub fn correlation_data(mut self, data: &[u8]) -> PropertiesBuilder {
        if data.len() <= usize::from(u16::MAX) {
            self.raw.push(id::CORRELATION_DATA);
            self.binary(data);
        }
        self
    }

    /// The properties so far. Adding one other than a User Property twice is the caller's mistake, and the peer's
    /// decoder will say so.
    pub fn properties(&self) -> Properties<'_> {
        Properties { raw: &self.raw, hop: false }
    }

    /// The bytes, for [`crate::PublishOut::forward`].
    pub fn into_raw(self) -> Vec<u8> {
        self.raw
    }

    fn text(mut self, identifier: u8, text: &str) -> PropertiesBuilder {
        self.raw.push(identifier);
        self.binary(text.as_bytes());
        self
    }

    fn binary(&mut self, bytes: &[u8]) {
        self.raw.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
        self.raw.extend_from_slice(bytes);
    }
}

fn is_sendable(text: &str) -> bool {
    text.len() <= usize::from(u16::MAX) && check_text(text.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANY: IdSet = IdSet::MAX;
    const LIMITS: BlockLimits =
        BlockLimits { bytes_max: 1000, user_properties_max: 9, topic_bytes_max: 20, topic_levels_max: 3 };

    fn check(raw: &[u8]) -> Result<Properties<'_>, Error> {
        Properties::check(raw, ANY, 0, &LIMITS, |_| {})
    }

    /// One legal encoding of each of the 27 properties.
    fn samples() -> Vec<&'static [u8]> {
        vec![
            b"\x01\x01",
            b"\x02\0\0\0\x01",
            b"\x03\0\x01c",
            b"\x08\0\x01t",
            b"\x09\0\x01\0",
            b"\x0B\x80\x01",
            b"\x11\0\0\0\0",
            b"\x12\0\x01i",
            b"\x13\0\0",
            b"\x15\0\x01m",
            b"\x16\0\x01\0",
            b"\x17\x01",
            b"\x18\0\0\0\0",
            b"\x19\0",
            b"\x1A\0\x01r",
            b"\x1C\0\x01s",
            b"\x1F\0\x01r",
            b"\x21\0\x01",
            b"\x22\0\0",
            b"\x23\0\x01",
            b"\x24\x01",
            b"\x25\x01",
            b"\x26\0\x01k\0\x01v",
            b"\x27\0\0\0\x01",
            b"\x28\0",
            b"\x29\0",
            b"\x2A\0",
        ]
    }

    #[test]
    fn each_property_is_read_alone_and_together() {
        for sample in samples() {
            assert_eq!(check(sample).map(|properties| properties.iter().count()), Ok(1), "{sample:?}");
        }
        let all = samples().concat();
        assert_eq!(check(&all).map(|properties| properties.iter().count()), Ok(27));
    }

    #[test]
    fn each_property_is_refused_twice_and_cut() {
        for sample in samples() {
            let repeats = check(&sample.repeat(2)).is_ok();
            assert_eq!(repeats, sample[0] == id::USER_PROPERTY, "{sample:?}");
            for cut in 1..sample.len() {
                assert!(matches!(check(&sample[..cut]), Err(Error::Malformed(_))), "{sample:?} {cut}");
            }
        }
    }

    #[test]
    fn identifiers_that_do_not_exist_are_malformed() {
        let known: Vec<u8> = samples().iter().map(|sample| sample[0]).collect();
        for identifier in (0..=255u8).filter(|identifier| !known.contains(identifier)) {
            let raw = [identifier, 0, 0, 0, 0, 0, 0];
            assert!(matches!(check(&raw), Err(Error::Malformed(_))), "{identifier}");
        }
    }

    #[test]
    fn only_what_belongs_to_the_message_is_passed_on() {
        for sample in samples() {
            let properties = check(sample).unwrap();
            let passed_on = [0x01, 0x03, 0x08, 0x09, 0x26].contains(&sample[0]);
            assert_eq!(properties.forward_is_whole(), passed_on);
            let mut out = Vec::new();
            properties.forward_into(&mut out);
            assert_eq!(out, if passed_on { sample } else { b"" });
            assert_eq!(Properties::parse_forwarded(sample).is_ok(), passed_on);
        }
    }

    #[test]
    fn builder_makes_what_the_parser_accepts() {
        let builder = PropertiesBuilder::new()
            .payload_is_text()
            .content_type("text/plain")
            .response_topic("reply/1")
            .correlation_data(&[0, 1])
            .user_property("k", "v");
        let properties = Properties::parse_forwarded(builder.properties().raw()).unwrap();
        assert_eq!(properties, builder.properties());
        let expected = [
            Property::PayloadFormat(1),
            Property::ContentType("text/plain"),
            Property::ResponseTopic("reply/1"),
            Property::CorrelationData(&[0, 1]),
            Property::UserProperty("k", "v"),
        ];
        assert_eq!(properties.iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn builder_leaves_out_what_cannot_be_sent() {
        let long = "x".repeat(65_536);
        let builder = PropertiesBuilder::new()
            .user_property(&long, "v")
            .user_property("k", "a\0")
            .content_type(&long)
            .response_topic("a/#")
            .correlation_data(long.as_bytes());
        assert!(builder.into_raw().is_empty());
    }
}
