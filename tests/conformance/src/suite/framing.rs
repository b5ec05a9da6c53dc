//! Packets as such: fixed header, lengths, packet identifiers, and a stream that is cut anywhere.

use anyhow::{Result, ensure};

use crate::context::Context;
use crate::peer::Peer;
use crate::wire::{
    AUTH, CONNACK, PINGREQ, PINGRESP, PUBACK, PUBCOMP, PUBREC, PUBREL, Publish, SUBACK, UNSUBACK, frame, p1,
    ppair, subscribe, unsubscribe,
};

super::tests! {
    reserved_header_flags_are_refused: ["2.2.2-1" "2.2.2-2"] ["2.1.3-1"];
    packets_of_the_wrong_type_are_refused: ["4.8.0-1"] ["4.13.1-1"];
    a_length_of_five_bytes_is_refused: ["4.8.0-1"] ["4.13.1-1"];
    a_packet_shorter_than_its_fields_is_refused: ["4.8.0-1"] ["4.13.1-1"];
    an_error_ends_only_its_own_connection: ["4.8.0-1"] ["4.13.2-1"];
    lengths_are_minimal: [] ["1.5.5-1"];
    absent_properties_are_a_zero_length: [] ["2.2.2-1"];
    a_stream_may_be_cut_anywhere: [] ["4.2-1"];
    packet_identifier_zero_is_refused: ["2.3.1-1"] ["2.2.1-3"];
    qos_0_has_no_packet_identifier: ["2.3.1-5"] ["2.2.1-2"];
    acknowledgements_carry_the_packet_identifier: ["2.3.1-6" "2.3.1-7"] ["2.2.1-5" "2.2.1-6"];
    ping_is_answered: ["3.12.4-1"] ["3.12.4-1"];
}

const MALFORMED: &[u8] = &[0x80, 0x81, 0x82];

fn reserved_header_flags_are_refused(ctx: &Context) -> Result<()> {
    ctx.refuses("PINGREQ with flags 0001", &[PINGREQ << 4 | 1, 0], MALFORMED)?;
    ctx.refuses("PUBACK with flags 0010", &[PUBACK << 4 | 2, 2, 0, 1], MALFORMED)?;
    ctx.refuses("PUBREC with flags 1000", &[PUBREC << 4 | 8, 2, 0, 1], MALFORMED)?;
    ctx.refuses("PUBCOMP with flags 0010", &[PUBCOMP << 4 | 2, 2, 0, 1], MALFORMED)
}

fn packets_of_the_wrong_type_are_refused(ctx: &Context) -> Result<()> {
    ctx.refuses("packet type 0", &[0, 0], MALFORMED)?;
    ctx.refuses("CONNACK from a client", &[CONNACK << 4, 3, 0, 0, 0], MALFORMED)?;
    ctx.refuses("SUBACK from a client", &[SUBACK << 4, 4, 0, 1, 0, 0], MALFORMED)?;
    ctx.refuses("UNSUBACK from a client", &[UNSUBACK << 4, 4, 0, 1, 0, 0], MALFORMED)?;
    ctx.refuses("PINGRESP from a client", &[PINGRESP << 4, 0], MALFORMED)?;
    if !ctx.is_v5() {
        ctx.refuses("packet type 15 in 3.1.1", &[AUTH << 4, 0], MALFORMED)?;
    }
    ctx.is_alive()
}

fn a_length_of_five_bytes_is_refused(ctx: &Context) -> Result<()> {
    ctx.refuses("remaining length", &[0x30, 0x80, 0x80, 0x80, 0x80, 0x01], &[0x80, 0x81, 0x82, 0x95])
}

fn a_packet_shorter_than_its_fields_is_refused(ctx: &Context) -> Result<()> {
    ctx.refuses("PUBLISH that ends in its topic", &[0x30, 4, 0, 9, b'a', b'b'], MALFORMED)?;
    ctx.refuses("PUBLISH without a packet identifier", &[0x32, 3, 0, 1, b'a'], MALFORMED)?;
    ctx.refuses("PUBACK without a packet identifier", &[PUBACK << 4, 0], MALFORMED)?;
    ctx.refuses("PUBREL of one byte", &[PUBREL << 4 | 2, 1, 0], MALFORMED)?;
    ctx.refuses("SUBSCRIBE that ends in its filter", &[0x82, 5, 0, 1, 0, 0, 9], MALFORMED)?;
    ctx.is_alive()
}

fn an_error_ends_only_its_own_connection(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut bystander = ctx.subscriber(&topic, 1)?;
    ctx.refuses("QoS 3", &frame(0x36, b"\0\x01a\0\x01\0"), &[])?;
    ctx.refuses("no CONNECT twice", &ctx.connect().bytes(), &[])?;
    ctx.join()?.publish(&topic, 1, "still here")?;
    ensure!(bystander.message()?.payload == b"still here", "the bystander got something else");
    bystander.ping()
}

fn lengths_are_minimal(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut peer = ctx.subscriber(&topic, 0)?;
    // The reader refuses a length that is longer than it must be; here are the ones around each step.
    let header = 2 + topic.len() + 1;
    for remaining in [126, 127, 128, 129, 16_382, 16_383, 16_384, 16_385] {
        let payload = vec![b'x'; remaining - header];
        peer.publish(&topic, 0, &payload)?;
        ensure!(peer.message()?.payload == payload, "payload for remaining length {remaining} changed");
    }
    for properties in [126, 127, 128, 129, 16_383, 16_384] {
        let pair = ppair("", vec![b'p'; properties - 5]);
        peer.deliver(ctx.publish(&topic, "x").property(pair))?;
        let message = peer.message()?;
        let expected = "p".repeat(properties - 5);
        ensure!(message.properties.pairs() == [("", expected.as_str())], "property length {properties}");
    }
    Ok(())
}

fn absent_properties_are_a_zero_length(ctx: &Context) -> Result<()> {
    // The reader demands a property length wherever the packet has the field.
    let topic = ctx.topic("t");
    let mut peer = ctx.subscriber(&topic, 2)?;
    for qos in 0..3 {
        peer.publish(&topic, qos, "x")?;
        let message = peer.message()?;
        ensure!(message.properties.0.is_empty() && message.payload == b"x", "{message:?}");
    }
    ensure!(peer.unsubscribe(&[&topic])?.len() == 1, "UNSUBACK without a reason");
    Ok(())
}

fn a_stream_may_be_cut_anywhere(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut peer = Peer::dial(ctx)?;
    let connect = ctx.connect();
    for byte in connect.bytes() {
        peer.send(&[byte])?;
    }
    peer.accepted()?;
    for byte in subscribe(ctx.version, 1, &[], &[(&topic, 0)]) {
        peer.send(&[byte])?;
    }
    // Several packets and a half in one piece, then the rest.
    let mut stream = Vec::new();
    for index in 0..50_u8 {
        stream.extend(Publish::new(ctx.version, &topic, [index]).bytes());
    }
    let (head, tail) = stream.split_at(stream.len() - 7);
    peer.send(head)?;
    peer.send(tail)?;
    for index in 0..50_u8 {
        let payload = peer.message()?.payload;
        ensure!(payload == [index], "message {index} came as {payload:?}");
    }
    Ok(())
}

fn packet_identifier_zero_is_refused(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    ctx.refuses("SUBSCRIBE 0", &subscribe(ctx.version, 0, &[], &[(&topic, 0)]), MALFORMED)?;
    ctx.refuses("UNSUBSCRIBE 0", &unsubscribe(ctx.version, 0, &[&topic]), MALFORMED)?;
    ctx.refuses("PUBLISH 0, QoS 1", &ctx.publish(&topic, "x").qos(1).bytes(), MALFORMED)?;
    ctx.refuses("PUBLISH 0, QoS 2", &ctx.publish(&topic, "x").qos(2).bytes(), MALFORMED)
}

fn qos_0_has_no_packet_identifier(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut peer = ctx.subscriber(&topic, 0)?;
    for qos in 0..3 {
        let publish = ctx.publish(&topic, "payload").qos(qos).property(p1(1, 1));
        peer.deliver(publish)?;
        let message = peer.message()?;
        // A stray identifier would be read as the beginning of the payload or the properties.
        ensure!(message.qos == 0 && message.payload == b"payload", "{message:?}");
    }
    Ok(())
}

fn acknowledgements_carry_the_packet_identifier(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut peer = ctx.join()?;
    for packet_id in [1, 2, 255, 256, 32_767, 65_535] {
        peer.deliver(ctx.publish(&topic, "x").qos(1).packet_id(packet_id))?;
        peer.deliver(ctx.publish(&topic, "x").qos(2).packet_id(packet_id))?;
        peer.send(&subscribe(ctx.version, packet_id, &[], &[(&topic, 0)]))?;
        peer.wait("a SUBACK with the packet identifier", |packet| {
            matches!(packet, crate::packet::Packet::SubAck { packet_id: id, .. } if *id == packet_id)
        })?;
        peer.send(&unsubscribe(ctx.version, packet_id, &[&topic]))?;
        peer.wait("an UNSUBACK with the packet identifier", |packet| {
            matches!(packet, crate::packet::Packet::UnsubAck { packet_id: id, .. } if *id == packet_id)
        })?;
    }
    let strays = peer.leftovers();
    ensure!(strays.is_empty(), "more than was asked for: {}", strays[0].name());
    Ok(())
}

fn ping_is_answered(ctx: &Context) -> Result<()> {
    let mut peer = ctx.join()?;
    for _ in 0..3 {
        peer.ping()?;
    }
    ensure!(peer.leftovers().is_empty(), "more answers than pings");
    Ok(())
}
