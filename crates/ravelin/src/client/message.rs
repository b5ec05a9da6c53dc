//! A received message that owns its bytes.

use ravelin_mqtt::{Property, Publish, QoS};

/// A received message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The topic name; that of the alias where the packet had none.
    pub topic: String,
    /// The application message.
    pub payload: Vec<u8>,
    /// The quality of service of this delivery.
    pub qos: QoS,
    /// The RETAIN flag.
    pub retain: bool,
    /// The DUP flag.
    pub dup: bool,
    /// The packet identifier; 0 at QoS 0.
    pub packet_id: u16,
    /// Payload Format Indicator.
    pub payload_format: Option<u8>,
    /// Message Expiry Interval in seconds.
    pub expiry_s: Option<u32>,
    /// Content Type.
    pub content_type: Option<String>,
    /// Response Topic.
    pub response_topic: Option<String>,
    /// Correlation Data.
    pub correlation_data: Option<Vec<u8>>,
    /// Topic Alias.
    pub topic_alias: Option<u16>,
    /// Subscription Identifiers.
    pub subscription_ids: Vec<u32>,
    /// User Properties in their order.
    pub user_properties: Vec<(String, String)>,
}

impl Message {
    /// Copies a PUBLISH; `topic` is its topic name after aliases.
    pub fn from_publish(publish: &Publish<'_>, topic: &str) -> Message {
        let mut message = Message {
            topic: topic.to_owned(),
            payload: publish.payload.to_vec(),
            qos: publish.qos,
            retain: publish.retain,
            dup: publish.dup,
            packet_id: publish.packet_id,
            expiry_s: publish.expiry_s,
            topic_alias: publish.topic_alias,
            ..Message::default()
        };
        for property in publish.properties.iter() {
            match property {
                Property::PayloadFormat(value) => message.payload_format = Some(value),
                Property::ContentType(text) => message.content_type = Some(text.to_owned()),
                Property::ResponseTopic(text) => message.response_topic = Some(text.to_owned()),
                Property::CorrelationData(data) => message.correlation_data = Some(data.to_vec()),
                Property::SubscriptionId(id) => message.subscription_ids.push(id),
                Property::UserProperty(key, value) => {
                    message.user_properties.push((key.to_owned(), value.to_owned()));
                }
                _ => {}
            }
        }
        message
    }
}
