//! CONNECT, CONNACK, and subscribing.

use super::{
    binary, binary_property, bool_property, packet, properties, reason_and_user, text, text_property,
    u8_property, u16, u16_property, u32_property,
};
use crate::{
    ConnAck, Connect, Properties, ReasonCode, SubAck, SubscribeOptions, Subscription, Version, Will,
    properties::id, varint,
};

/// Appends a CONNECT. Of `connect.properties` the User Properties are written; the rest comes from the fields. For 3.1.1 a
/// password without a user name is left out (MQTT-3.1.2-22 there).
pub fn encode_connect(out: &mut Vec<u8>, connect: &Connect<'_>) {
    let v5 = connect.version == Version::V5;
    let password = connect.password.filter(|_| v5 || connect.username.is_some());
    packet(out, 0x10, |out| {
        text(out, "MQTT");
        out.push(if v5 { 5 } else { 4 });
        let mut flags = u8::from(connect.clean_start) << 1;
        if let Some(will) = &connect.will {
            flags |= 0x04 | (will.qos as u8) << 3 | u8::from(will.retain) << 5;
        }
        flags |= u8::from(password.is_some()) << 6 | u8::from(connect.username.is_some()) << 7;
        out.push(flags);
        u16(out, connect.keep_alive_s);
        if v5 {
            properties(out, |out| connect_properties(out, connect));
        }
        text(out, connect.client_id);
        if let Some(will) = &connect.will {
            if v5 {
                properties(out, |out| will_properties(out, will));
            }
            text(out, will.topic);
            binary(out, will.payload);
        }
        if let Some(username) = connect.username {
            text(out, username);
        }
        if let Some(password) = password {
            binary(out, password);
        }
    });
}

fn connect_properties(out: &mut Vec<u8>, connect: &Connect<'_>) {
    u32_property(out, id::SESSION_EXPIRY, connect.session_expiry_s);
    u16_property(out, id::RECEIVE_MAX, connect.receive_max);
    u32_property(out, id::PACKET_BYTES_MAX, connect.packet_bytes_max);
    u16_property(out, id::TOPIC_ALIAS_MAX, Some(connect.topic_alias_max).filter(|&max| max != 0));
    bool_property(out, id::REQUEST_RESPONSE_INFO, Some(true).filter(|_| connect.request_response_info));
    bool_property(out, id::REQUEST_PROBLEM_INFO, Some(false).filter(|_| !connect.request_problem_info));
    text_property(out, id::AUTH_METHOD, connect.auth_method);
    binary_property(out, id::AUTH_DATA, connect.auth_data);
    connect.properties.user_into(out);
}

fn will_properties(out: &mut Vec<u8>, will: &Will<'_>) {
    u32_property(out, id::WILL_DELAY, Some(will.delay_s).filter(|&seconds| seconds != 0));
    u32_property(out, id::MESSAGE_EXPIRY, will.expiry_s);
    will.properties.forward_into(out);
}

/// Appends a CONNACK. For 3.1.1 the reason becomes the return code that comes closest.
pub fn encode_connack(out: &mut Vec<u8>, version: Version, connack: &ConnAck<'_>) {
    // MQTT-3.2.2-6 (3.1.1: MQTT-3.2.2-4): no session with a refusal.
    let session_present = connack.session_present && connack.reason == ReasonCode::SUCCESS;
    if version == Version::V311 {
        out.extend_from_slice(&[0x20, 2, u8::from(session_present), connack.reason.to_return_code()]);
        return;
    }
    packet(out, 0x20, |out| {
        out.extend_from_slice(&[u8::from(session_present), connack.reason.0]);
        properties(out, |out| connack_properties(out, connack));
    });
}

fn connack_properties(out: &mut Vec<u8>, connack: &ConnAck<'_>) {
    u32_property(out, id::SESSION_EXPIRY, connack.session_expiry_s);
    u16_property(out, id::RECEIVE_MAX, connack.receive_max);
    u8_property(out, id::QOS_MAX, connack.qos_max);
    bool_property(out, id::RETAIN_AVAILABLE, connack.retain_available);
    u32_property(out, id::PACKET_BYTES_MAX, connack.packet_bytes_max);
    text_property(out, id::ASSIGNED_CLIENT_ID, connack.assigned_client_id);
    u16_property(out, id::TOPIC_ALIAS_MAX, connack.topic_alias_max);
    bool_property(out, id::WILDCARD_AVAILABLE, connack.wildcard_available);
    bool_property(out, id::SUBSCRIPTION_IDS_AVAILABLE, connack.subscription_ids_available);
    bool_property(out, id::SHARED_AVAILABLE, connack.shared_available);
    u16_property(out, id::SERVER_KEEP_ALIVE, connack.server_keep_alive_s);
    text_property(out, id::RESPONSE_INFO, connack.response_info);
    text_property(out, id::SERVER_REFERENCE, connack.server_reference);
    text_property(out, id::AUTH_METHOD, connack.auth_method);
    binary_property(out, id::AUTH_DATA, connack.auth_data);
    reason_and_user(out, connack.reason_string, &connack.properties);
}

/// Appends a SUBSCRIBE. `user` gives the User Properties; they and the identifier are for MQTT 5.0 only.
pub fn encode_subscribe(
    out: &mut Vec<u8>,
    version: Version,
    packet_id: u16,
    subscription_id: Option<u32>,
    subscriptions: &[Subscription<'_>],
    user: Properties<'_>,
) {
    debug_assert!(packet_id != 0 && !subscriptions.is_empty());
    packet(out, 0x82, |out| {
        u16(out, packet_id);
        if version == Version::V5 {
            properties(out, |out| {
                if let Some(value) = subscription_id {
                    out.push(id::SUBSCRIPTION_ID);
                    varint::write(out, value);
                }
                user.user_into(out);
            });
        }
        for subscription in subscriptions {
            text(out, subscription.filter);
            out.push(options_byte(subscription.options, version));
        }
    });
}

fn options_byte(options: SubscribeOptions, version: Version) -> u8 {
    let qos = options.qos as u8;
    if version == Version::V311 {
        return qos;
    }
    qos | u8::from(options.no_local) << 2
        | u8::from(options.retain_as_published) << 3
        | (options.retain_handling as u8) << 4
}

/// Appends an UNSUBSCRIBE. `user` gives the User Properties, for MQTT 5.0 only.
pub fn encode_unsubscribe(
    out: &mut Vec<u8>,
    version: Version,
    packet_id: u16,
    filters: &[&str],
    user: Properties<'_>,
) {
    debug_assert!(packet_id != 0 && !filters.is_empty());
    packet(out, 0xA2, |out| {
        u16(out, packet_id);
        if version == Version::V5 {
            properties(out, |out| user.user_into(out));
        }
        for filter in filters {
            text(out, filter);
        }
    });
}

/// Appends a SUBACK. For 3.1.1 every failure becomes 0x80.
pub fn encode_suback(out: &mut Vec<u8>, version: Version, suback: &SubAck<'_>) {
    packet(out, 0x90, |out| {
        u16(out, suback.packet_id);
        if version == Version::V5 {
            properties(out, |out| reason_and_user(out, suback.reason_string, &suback.properties));
            out.extend_from_slice(suback.reasons);
        } else {
            out.extend(suback.reasons.iter().map(|&reason| reason.min(0x80)));
        }
    });
}

/// Appends an UNSUBACK. For 3.1.1 it has no reason codes.
pub fn encode_unsuback(out: &mut Vec<u8>, version: Version, unsuback: &SubAck<'_>) {
    packet(out, 0xB0, |out| {
        u16(out, unsuback.packet_id);
        if version == Version::V5 {
            properties(out, |out| reason_and_user(out, unsuback.reason_string, &unsuback.properties));
            out.extend_from_slice(unsuback.reasons);
        }
    });
}
