//! The server as receiver of QoS 1 and 2: acknowledges, passes on once, reuses identifiers.

use anyhow::{Result, bail, ensure};

use crate::context::Context;
use crate::packet::Packet;
use crate::peer::{Heard, PATIENCE, Peer};
use crate::wire::{PUBACK, PUBCOMP, PUBREC, PUBREL, id, p1, p4};

super::tests! {
    a_puback_has_the_identifier_of_its_publish: ["2.3.1-6"] ["4.3.2-4"];
    after_puback_the_identifier_means_a_new_message: ["3.3.4-1"] ["4.3.2-5"];
    a_pubrec_has_the_identifier_of_its_publish: ["2.3.1-6"] ["4.3.3-8"];
    a_repeated_qos_2_publish_is_passed_on_once: ["3.3.4-1"] ["4.3.3-10"];
    a_repeated_qos_2_publish_is_passed_on_once_across_connections: ["3.1.2-4"] ["4.3.3-10" "3.1.2-5"];
    pubrel_is_answered_with_pubcomp: ["3.3.4-1"] ["4.3.3-11" "3.7.2-1"];
    after_pubcomp_the_identifier_means_a_new_message: ["3.3.4-1"] ["4.3.3-12"];
    after_a_refusing_pubrec_the_identifier_means_a_new_message: [] ["4.3.3-9"];
    pubrel_of_an_unknown_identifier_is_answered: [] ["3.7.2-1" "4.3.3-11"];
    pubrel_header_flags_must_be_0010: ["3.6.1-1"] ["3.6.1-1"];
    the_qos_2_sequence_goes_on_after_expiry @Slow: [] ["4.3.3-13"];
}

fn a_puback_has_the_identifier_of_its_publish(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut peer = ctx.subscriber(&topic, 1)?;
    let mut publisher = ctx.join()?;
    for packet_id in [77, 3, 65_535] {
        publisher.send(&ctx.publish(&topic, "x").qos(1).packet_id(packet_id).bytes())?;
    }
    // Accepted means passed on, also to somebody who was away in the meantime.
    for packet_id in [77, 3, 65_535] {
        ensure!(publisher.expect_ack(PUBACK, packet_id)? < 0x80, "PUBLISH {packet_id} was refused");
        ensure!(peer.message()?.qos == 1, "not QoS 1");
    }
    Ok(())
}

fn after_puback_the_identifier_means_a_new_message(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut peer = ctx.subscriber(&topic, 0)?;
    let mut publisher = ctx.join()?;
    publisher.deliver(ctx.publish(&topic, "one").qos(1).packet_id(9))?;
    publisher.deliver(ctx.publish(&topic, "two").qos(1).packet_id(9).dup())?;
    publisher.deliver(ctx.publish(&topic, "two").qos(1).packet_id(9))?;
    publisher.publish(&topic, 0, "end")?;
    payloads(&mut peer, &["one", "two", "two"])
}

fn payloads(peer: &mut Peer, expected: &[&str]) -> Result<()> {
    let got: Vec<Vec<u8>> = peer.until("end")?.into_iter().map(|message| message.payload).collect();
    let got: Vec<_> = got.iter().map(|payload| String::from_utf8_lossy(payload)).collect();
    ensure!(got == expected, "got {got:?}, expected {expected:?}");
    Ok(())
}

fn a_pubrec_has_the_identifier_of_its_publish(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut publisher = ctx.join()?;
    for packet_id in [4, 2, 65_535] {
        publisher.send(&ctx.publish(&topic, "x").qos(2).packet_id(packet_id).bytes())?;
    }
    for packet_id in [4, 2, 65_535] {
        ensure!(publisher.expect_ack(PUBREC, packet_id)? < 0x80, "PUBLISH {packet_id} was refused");
    }
    for packet_id in [2, 65_535, 4] {
        publisher.ack(PUBREL, packet_id, 0)?;
        publisher.expect_ack(PUBCOMP, packet_id)?;
    }
    Ok(())
}

fn a_repeated_qos_2_publish_is_passed_on_once(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut peer = ctx.subscriber(&topic, 0)?;
    let mut publisher = ctx.join()?;
    let publish = ctx.publish(&topic, "once").qos(2).packet_id(6);
    publisher.send(&publish.bytes())?;
    publisher.expect_ack(PUBREC, 6)?;
    publisher.send(&publish.dup().bytes())?;
    // A client does not send again on the same connection, so the server may take it for an error; but never for
    // another message.
    match publisher.hear(PATIENCE)? {
        Heard::Packet(Packet::Ack { kind: PUBREC, packet_id: 6, .. }) => {
            publisher.ack(PUBREL, 6, 0)?;
            publisher.expect_ack(PUBCOMP, 6)?;
            publisher.publish(&topic, 0, "end")?;
            return payloads(&mut peer, &["once"]);
        }
        Heard::Packet(Packet::Disconnect { reason: 0x80.., .. }) | Heard::Closed => {}
        other => bail!("the repeated PUBLISH got {}", other.name()),
    }
    ctx.join()?.publish(&topic, 0, "end")?;
    let got = peer.until("end")?;
    ensure!(got.len() <= 1, "the message came {} times", got.len());
    Ok(())
}

fn a_repeated_qos_2_publish_is_passed_on_once_across_connections(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut peer = ctx.subscriber(&topic, 0)?;
    let connect = ctx.connect().persist();
    let mut publisher = Peer::join(ctx, &connect)?;
    let publish = ctx.publish(&topic, "once").qos(2).packet_id(6);
    publisher.send(&publish.bytes())?;
    publisher.expect_ack(PUBREC, 6)?;
    publisher.cut()?;
    let mut publisher = Peer::join(ctx, &connect)?;
    ensure!(publisher.welcome.session_present, "the session is lost");
    publisher.send(&publish.dup().bytes())?;
    publisher.expect_ack(PUBREC, 6)?;
    publisher.ack(PUBREL, 6, 0)?;
    publisher.expect_ack(PUBCOMP, 6)?;
    publisher.publish(&topic, 0, "end")?;
    payloads(&mut peer, &["once"])
}

fn pubrel_is_answered_with_pubcomp(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut publisher = ctx.join()?;
    publisher.send(&ctx.publish(&topic, "x").qos(2).packet_id(8).bytes())?;
    publisher.expect_ack(PUBREC, 8)?;
    publisher.ack(PUBREL, 8, 0)?;
    let reason = publisher.expect_ack(PUBCOMP, 8)?;
    ensure!(reason == 0, "PUBCOMP with 0x{reason:02x} for an identifier in use");
    Ok(())
}

fn after_pubcomp_the_identifier_means_a_new_message(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut peer = ctx.subscriber(&topic, 0)?;
    let mut publisher = ctx.join()?;
    publisher.deliver(ctx.publish(&topic, "one").qos(2).packet_id(5))?;
    publisher.deliver(ctx.publish(&topic, "two").qos(2).packet_id(5).dup())?;
    publisher.deliver(ctx.publish(&topic, "two").qos(2).packet_id(5))?;
    publisher.publish(&topic, 0, "end")?;
    payloads(&mut peer, &["one", "two", "two"])
}

fn after_a_refusing_pubrec_the_identifier_means_a_new_message(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut peer = ctx.subscriber(&topic, 0)?;
    // What a server is likeliest to refuse with a PUBREC; one that takes it all must still tell messages apart.
    let ill = ctx.publish(&topic, [0xff, 0xfe].map(char::from).iter().collect::<String>().as_str());
    let mut ill = ill.qos(2).packet_id(3).property(p1(id::PAYLOAD_FORMAT, 1));
    ill.payload = vec![0xff, 0xfe];
    let control = ctx.publish("$CONTROL/none/v1", "x").qos(2).packet_id(3);
    let wildcard = ctx.publish(&ctx.topic("+"), "x").qos(2).packet_id(3);
    for candidate in [ill, control, wildcard] {
        let mut publisher = ctx.join()?;
        publisher.send(&candidate.bytes())?;
        let answer = publisher.wait("an answer", |_| true);
        let refused = match answer {
            Ok(Packet::Ack { kind: PUBREC, packet_id: 3, reason, .. }) => reason >= 0x80,
            _ => continue,
        };
        if !refused {
            publisher.ack(PUBREL, 3, 0)?;
            publisher.expect_ack(PUBCOMP, 3)?;
        }
        let reason = publisher.deliver(ctx.publish(&topic, "new").qos(2).packet_id(3))?;
        ensure!(reason < 0x80, "the new message was refused with 0x{reason:02x}");
        let mut got = peer.message()?;
        if !refused && got.payload != b"new" {
            got = peer.message()?;
        }
        ensure!(got.payload == b"new", "the new message did not arrive: {got:?}");
    }
    let mut publisher = ctx.join()?;
    ctx.only_marker_arrives(&mut peer, &mut publisher, &topic)
}

fn pubrel_of_an_unknown_identifier_is_answered(ctx: &Context) -> Result<()> {
    let mut peer = ctx.join()?;
    peer.ack(PUBREL, 4321, 0)?;
    let reason = peer.expect_ack(PUBCOMP, 4321)?;
    ensure!([0x00, 0x92].contains(&reason), "PUBCOMP 0x{reason:02x}");
    peer.ping()
}

fn pubrel_header_flags_must_be_0010(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    for flags in [0, 1, 3, 6, 10] {
        let mut peer = ctx.join()?;
        peer.send(&ctx.publish(&topic, "x").qos(2).packet_id(1).bytes())?;
        peer.expect_ack(PUBREC, 1)?;
        peer.send(&[PUBREL << 4 | flags, 2, 0, 1])?;
        peer.closed(&[0x80, 0x81, 0x82])?;
    }
    Ok(())
}

fn the_qos_2_sequence_goes_on_after_expiry(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut peer = ctx.subscriber(&topic, 2)?;
    let mut publisher = ctx.join()?;
    let publish = ctx.publish(&topic, "x").qos(2).packet_id(1).property(p4(id::MESSAGE_EXPIRY, 1));
    publisher.send(&publish.bytes())?;
    publisher.expect_ack(PUBREC, 1)?;
    std::thread::sleep(std::time::Duration::from_millis(1500));
    publisher.ack(PUBREL, 1, 0)?;
    publisher.expect_ack(PUBCOMP, 1)?;
    // The server as sender: a message that has begun is brought to its end.
    publisher.deliver(ctx.publish(&topic, "y").qos(2).packet_id(2).property(p4(id::MESSAGE_EXPIRY, 1)))?;
    let mut message = peer.arrival()?;
    if message.payload == b"x" {
        peer.accept(&message)?;
        message = peer.arrival()?;
    }
    std::thread::sleep(std::time::Duration::from_millis(1500));
    peer.ack(PUBREC, message.packet_id, 0)?;
    peer.expect_ack(PUBREL, message.packet_id)?;
    peer.ack(PUBCOMP, message.packet_id, 0)
}
