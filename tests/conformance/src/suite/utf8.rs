//! Strings: ill-formed UTF-8 and U+0000 are refused wherever a string stands; U+FEFF is kept.

use anyhow::{Context as _, Result, bail, ensure};

use crate::context::Context;
use crate::packet::Packet;
use crate::peer::{Heard, PATIENCE, Peer};
use crate::wire::{Publish, Will, id, ppair, pstr, subscribe, unsubscribe};

super::tests! {
    ill_formed_topic_names_are_refused: ["1.5.3-1" "3.3.2-1"] ["1.5.4-1" "3.3.2-1"];
    ill_formed_client_identifiers_are_refused: ["1.5.3-1" "3.1.3-4"] ["1.5.4-1"];
    ill_formed_will_topics_are_refused: ["1.5.3-1" "3.1.3-10"] ["1.5.4-1" "3.1.3-11"];
    ill_formed_user_names_are_refused: ["1.5.3-1" "3.1.3-11"] ["1.5.4-1" "3.1.3-12"];
    ill_formed_filters_are_refused: ["1.5.3-1" "3.8.3-1"] ["1.5.4-1" "3.8.3-1"];
    ill_formed_filters_to_unsubscribe_are_refused: ["1.5.3-1" "3.10.3-1"] ["1.5.4-1" "3.10.3-1"];
    the_null_character_is_refused: ["1.5.3-2"] ["1.5.4-2" "4.7.3-2"];
    the_byte_order_mark_is_kept: ["1.5.3-3"] ["1.5.4-3"];
    ill_formed_user_properties_are_refused: [] ["1.5.7-1"];
    ill_formed_response_topics_are_refused: [] ["3.3.2-13"];
    ill_formed_content_types_are_refused: [] ["3.3.2-19"];
}

/// A surrogate, an overlong form, a stray continuation, a truncated sequence, a code point beyond the last, a byte that
/// no sequence has.
const ILL_FORMED: [&[u8]; 7] = [
    b"a\xed\xa0\x80",
    b"a\xed\xbf\xbf",
    b"a\xc0\xaf",
    b"a\x80",
    b"a\xe2\x82",
    b"a\xf4\x90\x80\x80",
    b"a\xff",
];

const MALFORMED: &[u8] = &[0x80, 0x81, 0x82, 0x90, 0x99];

fn below(ctx: &Context, bytes: &[u8]) -> Vec<u8> {
    [ctx.topic("").as_bytes(), bytes].concat()
}

fn ill_formed_topic_names_are_refused(ctx: &Context) -> Result<()> {
    for ill in ILL_FORMED {
        let publish = Publish::new(ctx.version, below(ctx, ill), "x");
        ctx.refuses(&format!("topic {ill:02x?}"), &publish.bytes(), MALFORMED)?;
    }
    Ok(())
}

fn ill_formed_client_identifiers_are_refused(ctx: &Context) -> Result<()> {
    for ill in ILL_FORMED {
        let mut connect = ctx.connect();
        connect.client_id.extend(ill);
        refuses_connect(ctx, &format!("client identifier {ill:02x?}"), &connect.bytes())?;
    }
    Ok(())
}

/// Closed, in 3.1.1 perhaps after a CONNACK that says "identifier rejected" or "bad user name".
fn refuses_connect(ctx: &Context, what: &str, bytes: &[u8]) -> Result<()> {
    let mut peer = Peer::dial(ctx)?;
    peer.send(bytes)?;
    let reasons: &[u8] = if ctx.is_v5() { &[] } else { &[2, 4] };
    peer.closed(reasons).with_context(|| what.to_owned())
}

fn ill_formed_will_topics_are_refused(ctx: &Context) -> Result<()> {
    for ill in ILL_FORMED {
        let connect = ctx.connect().will(Will::new(below(ctx, ill), "x"));
        refuses_connect(ctx, &format!("will topic {ill:02x?}"), &connect.bytes())?;
    }
    Ok(())
}

fn ill_formed_user_names_are_refused(ctx: &Context) -> Result<()> {
    for ill in ILL_FORMED {
        refuses_connect(ctx, &format!("user name {ill:02x?}"), &ctx.connect().user(ill).bytes())?;
    }
    Ok(())
}

fn ill_formed_filters_are_refused(ctx: &Context) -> Result<()> {
    for ill in ILL_FORMED {
        let bytes = subscribe(ctx.version, 1, &[], &[(below(ctx, ill), 0)]);
        ctx.refuses(&format!("filter {ill:02x?}"), &bytes, MALFORMED)?;
    }
    Ok(())
}

fn ill_formed_filters_to_unsubscribe_are_refused(ctx: &Context) -> Result<()> {
    for ill in ILL_FORMED {
        let bytes = unsubscribe(ctx.version, 1, &[below(ctx, ill)]);
        ctx.refuses(&format!("filter {ill:02x?}"), &bytes, MALFORMED)?;
    }
    Ok(())
}

fn the_null_character_is_refused(ctx: &Context) -> Result<()> {
    let topic = below(ctx, b"a\0b");
    ctx.refuses("U+0000 in a topic name", &Publish::new(ctx.version, &topic, "x").bytes(), MALFORMED)?;
    ctx.refuses("U+0000 in a filter", &subscribe(ctx.version, 1, &[], &[(&topic, 0)]), MALFORMED)?;
    ctx.refuses("U+0000 in a filter", &unsubscribe(ctx.version, 1, &[&topic]), MALFORMED)?;
    let mut connect = ctx.connect();
    connect.client_id.push(0);
    refuses_connect(ctx, "U+0000 in a client identifier", &connect.bytes())?;
    let will = Will::new(&topic, "x");
    refuses_connect(ctx, "U+0000 in a will topic", &ctx.connect().will(will).bytes())?;
    refuses_connect(ctx, "U+0000 in a user name", &ctx.connect().user("a\0").bytes())
}

fn the_byte_order_mark_is_kept(ctx: &Context) -> Result<()> {
    let marked = ctx.topic("\u{feff}t");
    let mut with = ctx.subscriber(&marked, 0)?;
    let mut without = ctx.subscriber(&ctx.topic("t"), 0)?;
    let mut publisher = ctx.join()?;
    publisher.publish(&marked, 0, "x")?;
    let message = with.message()?;
    ensure!(message.topic == marked, "the topic came as {:?}", message.topic);
    ctx.only_marker_arrives(&mut without, &mut publisher, &ctx.topic("t"))?;
    // At the very beginning of a string, where a reader may take it for a mark.
    let first = format!("\u{feff}{}", ctx.topic("first"));
    let mut peer = ctx.subscriber(&first, 0)?;
    peer.publish(&first, 0, "x")?;
    let message = peer.message()?;
    ensure!(message.topic == first, "the topic came as {:?}", message.topic);
    Ok(())
}

fn ill_formed_user_properties_are_refused(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    for ill in ILL_FORMED.into_iter().chain([&b"a\0"[..]]) {
        for pair in [ppair(ill, "value"), ppair("name", ill)] {
            let publish = ctx.publish(&topic, "x").property(pair.clone());
            ctx.refuses(&format!("user property {ill:02x?}"), &publish.bytes(), MALFORMED)?;
            let bytes = subscribe(ctx.version, 1, &pair, &[(&topic, 0)]);
            ctx.refuses(&format!("user property {ill:02x?}"), &bytes, MALFORMED)?;
        }
    }
    refuses_connect(ctx, "user property", &ctx.connect().property(ppair("a", b"\xff")).bytes())
}

/// The connection ends, or the acknowledgement says what is wrong.
fn refuses_publish(ctx: &Context, property: Vec<u8>, reasons: &[u8]) -> Result<()> {
    let mut peer = ctx.join()?;
    let publish = ctx.publish(&ctx.topic("t"), "x").qos(1).packet_id(1).property(property.clone());
    peer.send(&publish.bytes())?;
    match peer.hear(PATIENCE)? {
        Heard::Closed => Ok(()),
        Heard::Packet(Packet::Disconnect { reason, .. }) if reasons.contains(&reason) => peer.closed(&[]),
        Heard::Packet(Packet::Ack { packet_id: 1, reason: 0x90 | 0x99, .. }) => Ok(()),
        other => bail!("property {property:02x?} got {}", other.name()),
    }
}

fn ill_formed_response_topics_are_refused(ctx: &Context) -> Result<()> {
    for ill in ILL_FORMED.into_iter().chain([&b"a\0"[..]]) {
        refuses_publish(ctx, pstr(id::RESPONSE_TOPIC, ill), MALFORMED)?;
    }
    Ok(())
}

fn ill_formed_content_types_are_refused(ctx: &Context) -> Result<()> {
    for ill in ILL_FORMED.into_iter().chain([&b"a\0"[..]]) {
        refuses_publish(ctx, pstr(id::CONTENT_TYPE, ill), MALFORMED)?;
    }
    Ok(())
}
