//! UNSUBSCRIBE and UNSUBACK.

use anyhow::{Result, ensure};

use crate::context::Context;
use crate::packet::Packet;
use crate::peer::Peer;
use crate::wire::{UNSUBSCRIBE, unsubscribe};

super::tests! {
    unsubscribe_header_flags_must_be_0010: ["3.10.1-1"] ["3.10.1-1"];
    an_unsubscribe_without_filters_is_refused: ["3.10.3-2"] ["3.10.3-2"];
    unsubscribe_is_answered: ["3.10.4-1" "3.10.4-2"]
        ["3.10.4-4" "3.10.4-5" "3.11.2-1" "3.11.3-1" "3.11.3-2"];
    no_new_messages_after_unsubscribe: ["3.10.4-5"] ["3.10.4-1" "3.10.4-2"];
    filters_are_compared_character_by_character: ["3.10.4-4"] ["3.11.3-2"];
    several_filters_are_like_several_unsubscribes: ["3.10.4-3"] ["3.10.4-6" "3.11.3-1"];
    messages_under_way_are_completed_after_unsubscribe: ["3.10.4-5"] ["3.10.4-3"];
}

fn unsubscribe_header_flags_must_be_0010(ctx: &Context) -> Result<()> {
    let mut bytes = unsubscribe(ctx.version, 1, &[ctx.topic("t")]);
    for flags in [0, 1, 3, 6, 10] {
        bytes[0] = UNSUBSCRIBE << 4 | flags;
        ctx.refuses(&format!("header flags {flags:04b}"), &bytes, &[0x80, 0x81, 0x82])?;
    }
    Ok(())
}

fn an_unsubscribe_without_filters_is_refused(ctx: &Context) -> Result<()> {
    let none: [&str; 0] = [];
    ctx.refuses("no filters", &unsubscribe(ctx.version, 1, &none), &[0x80, 0x81, 0x82])
}

fn unsubscribe_is_answered(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut peer = ctx.subscriber(&topic, 0)?;
    for (wanted, code) in [(3, 0x00), (2, 0x11), (65_535, 0x11)] {
        peer.send(&unsubscribe(ctx.version, wanted, &[&topic]))?;
        let packet = peer.wait("an UNSUBACK", |packet| matches!(packet, Packet::UnsubAck { .. }))?;
        let Packet::UnsubAck { packet_id, reasons, .. } = &packet else { continue };
        let expected: &[u8] = if ctx.is_v5() { &[code] } else { &[] };
        ensure!(*packet_id == wanted && reasons == expected, "UNSUBSCRIBE {wanted} got {}", packet.name());
    }
    peer.ping()?;
    ensure!(peer.leftovers().is_empty(), "more than one answer to an UNSUBSCRIBE");
    Ok(())
}

fn no_new_messages_after_unsubscribe(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let marker = ctx.topic("marker");
    let mut peer = ctx.subscriber(&topic, 1)?;
    peer.subscribe(&marker, 0)?;
    let mut publisher = ctx.join()?;
    publisher.publish(&topic, 1, "before")?;
    ensure!(peer.message()?.payload == b"before", "the message before came not");
    peer.unsubscribe(&[&topic])?;
    for qos in 0..3 {
        publisher.publish(&topic, qos, "after")?;
    }
    ctx.only_marker_arrives(&mut peer, &mut publisher, &marker)
}

fn filters_are_compared_character_by_character(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("Level/a");
    let mut peer = ctx.subscriber(&ctx.topic("Level/+"), 1)?;
    // They match the same topic or look alike, and are other filters.
    for other in ["Level/#", "level/+", "Level/+/", "Level/a", "+/+", "Level/"] {
        let reasons = peer.unsubscribe(&[ctx.topic(other)])?;
        ensure!(!ctx.is_v5() || reasons == [0x11], "UNSUBSCRIBE {other} got {reasons:02x?}");
    }
    ctx.join()?.publish(&topic, 1, "x")?;
    ensure!(peer.message()?.topic == topic, "another topic came");
    let reasons = peer.unsubscribe(&[ctx.topic("Level/+")])?;
    ensure!(!ctx.is_v5() || reasons == [0x00], "the same filter got {reasons:02x?}");
    Ok(())
}

fn several_filters_are_like_several_unsubscribes(ctx: &Context) -> Result<()> {
    let topic = |rest: &str| ctx.topic(rest);
    let mut peer = ctx.join()?;
    peer.subscribe_all(&[], &[(topic("a"), 0), (topic("b"), 0), (topic("c"), 0)])?;
    let reasons = peer.unsubscribe(&[topic("a"), topic("none"), topic("b"), topic("a")])?;
    if ctx.is_v5() {
        ensure!(reasons == [0x00, 0x11, 0x00, 0x11], "reasons {reasons:02x?}");
    }
    peer.ping()?;
    ensure!(peer.leftovers().is_empty(), "more than one UNSUBACK");
    let mut publisher = ctx.join()?;
    publisher.publish(topic("a"), 0, "x")?;
    publisher.publish(topic("b"), 0, "x")?;
    ctx.only_marker_arrives(&mut peer, &mut publisher, &topic("c"))
}

fn messages_under_way_are_completed_after_unsubscribe(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let connect = ctx.connect().persist();
    let mut peer = Peer::join(ctx, &connect)?;
    peer.subscribe(&topic, 2)?;
    let mut publisher = ctx.join()?;
    publisher.publish(&topic, 1, "one")?;
    publisher.publish(&topic, 2, "two")?;
    let one = peer.arrival()?;
    let two = peer.arrival()?;
    peer.unsubscribe(&[&topic])?;
    peer.accept(&two)?;
    peer.cut()?;
    // Sent before the UNSUBSCRIBE and not acknowledged: it comes again.
    let mut peer = Peer::join(ctx, &connect)?;
    let again = peer.message()?;
    ensure!(again.packet_id == one.packet_id && again.payload == b"one", "{again:?} is not {one:?}");
    Ok(())
}
