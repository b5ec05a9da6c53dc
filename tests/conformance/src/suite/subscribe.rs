//! SUBSCRIBE and SUBACK as packets: form, options, reason codes.

use anyhow::{Result, ensure};

use crate::context::Context;
use crate::packet::Packet;
use crate::wire::{SUBSCRIBE, frame, id, pvar, subscribe};

super::tests! {
    subscribe_header_flags_must_be_0010: ["3.8.1-1"] ["3.8.1-1"];
    a_subscribe_without_filters_is_refused: ["3.8.3-3"] ["3.8.3-2" "3.8.3-3"];
    reserved_subscription_options_are_refused: ["3.8.3-4"] ["3.8.3-5"];
    subscription_qos_3_is_refused: ["3.8.3-4"] ["3.8.3-5"];
    a_filter_without_options_is_refused: ["3.8.3-3"] ["3.8.3-3"];
    subscribe_is_answered: ["3.8.4-1" "3.8.4-2"] ["3.8.4-1" "3.8.4-2" "3.9.2-1"];
    every_filter_gets_a_reason: ["3.8.4-5"] ["3.8.4-6" "3.9.3-1" "3.8.4-7" "3.9.3-2"];
    subscription_identifier_0_is_refused: [] ["4.13.1-1"];
    a_subscription_identifier_twice_is_refused: [] ["4.13.1-1"];
}

const MALFORMED: &[u8] = &[0x80, 0x81, 0x82];

fn subscribe_header_flags_must_be_0010(ctx: &Context) -> Result<()> {
    let mut bytes = subscribe(ctx.version, 1, &[], &[(ctx.topic("t"), 0)]);
    for flags in [0, 1, 3, 4, 10, 15] {
        bytes[0] = SUBSCRIBE << 4 | flags;
        ctx.refuses(&format!("SUBSCRIBE with header flags {flags:04b}"), &bytes, MALFORMED)?;
    }
    Ok(())
}

fn a_subscribe_without_filters_is_refused(ctx: &Context) -> Result<()> {
    let none: [(&str, u8); 0] = [];
    ctx.refuses("no filters", &subscribe(ctx.version, 1, &[], &none), MALFORMED)
}

fn reserved_subscription_options_are_refused(ctx: &Context) -> Result<()> {
    let reserved: &[u8] = if ctx.is_v5() { &[0x40, 0x80, 0xc0, 0x30] } else { &[0x04, 0x08, 0x40, 0x80] };
    for options in reserved {
        let bytes = subscribe(ctx.version, 1, &[], &[(ctx.topic("t"), *options)]);
        ctx.refuses(&format!("options {options:08b}"), &bytes, MALFORMED)?;
    }
    Ok(())
}

fn subscription_qos_3_is_refused(ctx: &Context) -> Result<()> {
    ctx.refuses("QoS 3", &subscribe(ctx.version, 1, &[], &[(ctx.topic("t"), 3)]), MALFORMED)?;
    let second = [(ctx.topic("t"), 1), (ctx.topic("u"), 3)];
    ctx.refuses("QoS 3 in the second filter", &subscribe(ctx.version, 1, &[], &second), MALFORMED)
}

fn a_filter_without_options_is_refused(ctx: &Context) -> Result<()> {
    let bytes = subscribe(ctx.version, 1, &[], &[(ctx.topic("t"), 0)]);
    let header = 2;
    let body = &bytes[header..bytes.len() - 1];
    ctx.refuses("a filter without options", &frame(bytes[0], body), MALFORMED)
}

fn subscribe_is_answered(ctx: &Context) -> Result<()> {
    let mut peer = ctx.join()?;
    for wanted in [1, 500, 65_535] {
        peer.send(&subscribe(ctx.version, wanted, &[], &[(ctx.topic("t"), 1)]))?;
        let packet = peer.wait("a SUBACK", |packet| matches!(packet, Packet::SubAck { .. }))?;
        let Packet::SubAck { packet_id, reasons, .. } = &packet else { continue };
        ensure!(*packet_id == wanted && reasons[..] == [1], "SUBSCRIBE {wanted} got {}", packet.name());
    }
    peer.ping()?;
    ensure!(peer.leftovers().is_empty(), "more than one answer to a SUBSCRIBE");
    Ok(())
}

fn every_filter_gets_a_reason(ctx: &Context) -> Result<()> {
    let mut peer = ctx.join()?;
    let topic = |rest: &str| ctx.topic(rest);
    let filters = [(topic("a"), 2), (topic("+/b"), 0), (topic("c/#"), 1), (topic("a"), 1), (topic("#"), 2)];
    let reasons = peer.subscribe_all(&[], &filters)?;
    ensure!(reasons == [2, 0, 1, 1, 2], "reasons {reasons:02x?} for QoS 2, 0, 1, 1, 2");
    let many: Vec<(String, u8)> = (0..20).map(|index| (topic(&format!("m{index}")), index % 3)).collect();
    let reasons = peer.subscribe_all(&[], &many)?;
    ensure!(reasons.len() == 20, "{} reasons for 20 filters", reasons.len());
    for (reason, (_, requested)) in reasons.iter().zip(&many) {
        ensure!(reason == requested || *reason >= 0x80, "QoS {requested} got 0x{reason:02x}");
    }
    Ok(())
}

fn subscription_identifier_0_is_refused(ctx: &Context) -> Result<()> {
    let bytes = subscribe(ctx.version, 1, &pvar(id::SUBSCRIPTION_ID, 0), &[(ctx.topic("t"), 0)]);
    ctx.refuses("subscription identifier 0", &bytes, MALFORMED)
}

fn a_subscription_identifier_twice_is_refused(ctx: &Context) -> Result<()> {
    let properties = [pvar(id::SUBSCRIPTION_ID, 1), pvar(id::SUBSCRIPTION_ID, 2)].concat();
    let bytes = subscribe(ctx.version, 1, &properties, &[(ctx.topic("t"), 0)]);
    ctx.refuses("two subscription identifiers", &bytes, MALFORMED)
}
