//! Properties of a PUBLISH: passed on as they are, refused if they are wrong.

use anyhow::{Result, ensure};

use crate::context::Context;
use crate::wire::{id, p1, p2, p4, ppair, pstr};

super::tests! {
    the_payload_format_is_passed_on: [] ["3.3.2-4"];
    the_response_topic_is_passed_on: [] ["3.3.2-15"];
    a_response_topic_with_wildcards_is_refused: [] ["3.3.2-14"];
    the_correlation_data_is_passed_on: [] ["3.3.2-16"];
    user_properties_are_passed_on_in_order: [] ["3.3.2-17" "3.3.2-18"];
    the_content_type_is_passed_on: [] ["3.3.2-20"];
    properties_survive_a_queue: [] ["3.3.2-4" "3.3.2-15" "3.3.2-16" "3.3.2-17" "3.3.2-18" "3.3.2-20"];
    publish_properties_are_valid_and_unique: [] ["4.13.1-1"];
}

fn the_payload_format_is_passed_on(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut peer = ctx.subscriber(&topic, 2)?;
    let mut publisher = ctx.join()?;
    for (qos, format) in [(0, Some(1)), (1, Some(0)), (2, Some(1)), (0, None)] {
        let mut publish = ctx.publish(&topic, "text").qos(qos);
        if let Some(format) = format {
            publish = publish.property(p1(id::PAYLOAD_FORMAT, format));
        }
        publisher.deliver(publish)?;
        let got = peer.message()?.properties.number(id::PAYLOAD_FORMAT);
        ensure!(got == format.map(u32::from), "payload format {format:?} came as {got:?}");
    }
    Ok(())
}

fn the_response_topic_is_passed_on(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut one = ctx.subscriber(&topic, 0)?;
    let mut two = ctx.subscriber(&ctx.topic("+"), 1)?;
    for response in ["a", "answer//to/", "\u{20ac}/\u{feff}", "$SYS/x"] {
        ctx.join()?.deliver(ctx.publish(&topic, "x").qos(1).property(pstr(id::RESPONSE_TOPIC, response)))?;
        for peer in [&mut one, &mut two] {
            let message = peer.message()?;
            let got = message.properties.text(id::RESPONSE_TOPIC);
            ensure!(got == Some(response), "response topic {response:?} came as {got:?}");
        }
    }
    Ok(())
}

fn a_response_topic_with_wildcards_is_refused(ctx: &Context) -> Result<()> {
    for response in ["#", "a/+", "a/#", "+"] {
        let publish = ctx.publish(&ctx.topic("t"), "x").property(pstr(id::RESPONSE_TOPIC, response));
        ctx.refuses(&format!("response topic {response}"), &publish.bytes(), &[0x80, 0x81, 0x82, 0x90])?;
    }
    Ok(())
}

fn the_correlation_data_is_passed_on(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut peer = ctx.subscriber(&topic, 0)?;
    for data in [vec![], vec![0], vec![0xff, 0, 0xc0, 0x80], (0..=255).collect()] {
        peer.deliver(ctx.publish(&topic, "x").property(pstr(id::CORRELATION_DATA, &data)))?;
        let message = peer.message()?;
        let got = message.properties.binary(id::CORRELATION_DATA);
        ensure!(got == Some(&data[..]), "correlation data {data:02x?} came as {got:02x?}");
    }
    Ok(())
}

fn user_properties_are_passed_on_in_order(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut peer = ctx.subscriber(&topic, 2)?;
    let pairs = [("z", "1"), ("a", "2"), ("z", "1"), ("", ""), ("a", "0"), ("\u{e9}", "\u{1f600}")];
    for qos in 0..3 {
        let properties: Vec<u8> = pairs.iter().flat_map(|(name, value)| ppair(name, value)).collect();
        ctx.join()?.deliver(ctx.publish(&topic, "x").qos(qos).property(properties))?;
        let message = peer.message()?;
        ensure!(message.properties.pairs() == pairs, "came as {:?}", message.properties.pairs());
    }
    Ok(())
}

fn the_content_type_is_passed_on(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut peer = ctx.subscriber(&topic, 0)?;
    for kind in ["", "text/plain; charset=utf-8", "no such type", "\u{20ac}"] {
        peer.deliver(ctx.publish(&topic, "x").property(pstr(id::CONTENT_TYPE, kind)))?;
        let message = peer.message()?;
        let got = message.properties.text(id::CONTENT_TYPE);
        ensure!(got == Some(kind), "content type {kind:?} came as {got:?}");
    }
    Ok(())
}

fn properties_survive_a_queue(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let connect = ctx.connect().persist();
    let mut peer = crate::peer::Peer::join(ctx, &connect)?;
    peer.subscribe(&topic, 1)?;
    peer.leave()?;
    let publish = ctx
        .publish(&topic, "x")
        .qos(1)
        .property(ppair("second", "2"))
        .property(p1(id::PAYLOAD_FORMAT, 1))
        .property(pstr(id::CORRELATION_DATA, [1, 0, 2]))
        .property(pstr(id::CONTENT_TYPE, "t"))
        .property(pstr(id::RESPONSE_TOPIC, "r"))
        .property(ppair("first", "1"));
    ctx.join()?.deliver(publish)?;
    let message = crate::peer::Peer::join(ctx, &connect)?.message()?;
    let properties = &message.properties;
    ensure!(properties.pairs() == [("second", "2"), ("first", "1")], "{properties:?}");
    ensure!(properties.number(id::PAYLOAD_FORMAT) == Some(1), "{properties:?}");
    ensure!(properties.binary(id::CORRELATION_DATA) == Some(&[1, 0, 2][..]), "{properties:?}");
    ensure!(properties.text(id::CONTENT_TYPE) == Some("t"), "{properties:?}");
    ensure!(properties.text(id::RESPONSE_TOPIC) == Some("r"), "{properties:?}");
    Ok(())
}

fn publish_properties_are_valid_and_unique(ctx: &Context) -> Result<()> {
    let twice = |bytes: Vec<u8>| [bytes.clone(), bytes].concat();
    let cases = [
        ("payload format 2", p1(id::PAYLOAD_FORMAT, 2)),
        ("payload format twice", twice(p1(id::PAYLOAD_FORMAT, 0))),
        ("message expiry twice", twice(p4(id::MESSAGE_EXPIRY, 9))),
        ("content type twice", twice(pstr(id::CONTENT_TYPE, "x"))),
        ("response topic twice", twice(pstr(id::RESPONSE_TOPIC, "x"))),
        ("correlation data twice", twice(pstr(id::CORRELATION_DATA, "x"))),
        ("topic alias twice", twice(p2(id::TOPIC_ALIAS, 1))),
        ("a property of CONNECT", p4(id::SESSION_EXPIRY, 1)),
        ("an unknown property", vec![0x7f, 0]),
        ("half a property", vec![id::MESSAGE_EXPIRY, 0]),
    ];
    for (what, bytes) in cases {
        let publish = ctx.publish(&ctx.topic("t"), "x").property(bytes);
        ctx.refuses(what, &publish.bytes(), &[0x80, 0x81, 0x82, 0x94, 0x99])?;
    }
    ctx.is_alive()
}
