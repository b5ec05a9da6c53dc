//! Retained messages: stored, replaced, removed, and sent to new subscriptions.

use anyhow::{Result, ensure};

use crate::context::Context;
use crate::packet::Message;
use crate::peer::Peer;
use crate::wire::{id, p1, ppair, pstr};

super::tests! {
    a_retained_message_is_stored_and_replaced: ["3.3.1-5" "3.3.1-6" "3.3.1-7"] ["3.3.1-5"];
    an_empty_payload_removes_the_retained_message: ["3.3.1-10" "3.3.1-11"] ["3.3.1-6" "3.3.1-7"];
    an_empty_retained_message_is_passed_on: ["3.3.1-10"] ["3.3.1-6"];
    a_message_without_retain_leaves_the_retained_one: ["3.3.1-12"] ["3.3.1-8"];
    a_new_subscription_gets_the_retain_flag: ["3.3.1-8" "3.3.1-6"] ["3.3.1-9"];
    an_established_subscription_gets_no_retain_flag: ["3.3.1-9"] ["3.3.1-12"];
    retained_messages_outlive_sessions: ["3.1.2-7"] ["3.3.1-5"];
    every_matching_retained_message_is_sent: ["3.3.1-6"] ["3.3.1-9"];
    retain_handling_0_sends_each_time: ["3.8.4-3"] ["3.3.1-9" "3.8.4-4"];
    retain_handling_1_sends_to_a_new_subscription: [] ["3.3.1-10"];
    retain_handling_2_sends_nothing: [] ["3.3.1-11"];
    retain_as_published_keeps_the_flag: [] ["3.3.1-13" "3.3.1-12"];
    retained_messages_keep_their_properties: [] ["3.3.2-4" "3.3.2-15" "3.3.2-16" "3.3.2-17" "3.3.2-20"];
}

const RETAIN_AS_PUBLISHED: u8 = 0x08;
const HANDLING_1: u8 = 0x10;
const HANDLING_2: u8 = 0x20;

fn retain(ctx: &Context, topic: &str, qos: u8, payload: &str) -> Result<()> {
    let reason = ctx.join()?.deliver(ctx.publish(topic, payload).qos(qos).retained())?;
    ensure!(reason < 0x80, "a retained message was refused with 0x{reason:02x}");
    // QoS 0 is not acknowledged: what comes after it on another topic shows that it was processed.
    if qos == 0 {
        let mut peer = ctx.subscriber(topic, HANDLING_2 & if ctx.is_v5() { 0xff } else { 0 })?;
        let mut publisher = ctx.join()?;
        publisher.publish(topic, 0, "processed")?;
        peer.until("processed")?;
    }
    Ok(())
}

/// What a new subscriber gets at once.
fn retained(ctx: &Context, filter: &str, options: u8) -> Result<Vec<Message>> {
    let mut peer = ctx.subscriber(filter, options)?;
    at_once(ctx, &mut peer)
}

/// What has come so far, seen by a marker that follows it.
fn at_once(ctx: &Context, peer: &mut Peer) -> Result<Vec<Message>> {
    let marker = ctx.topic("marker");
    peer.subscribe(&marker, 0)?;
    peer.publish(&marker, 0, "marker")?;
    let mut messages = Vec::new();
    loop {
        let message = peer.message()?;
        if message.topic == marker {
            peer.unsubscribe(&[&marker])?;
            return Ok(messages);
        }
        messages.push(message);
    }
}

fn is(messages: &[Message], expected: &[&str]) -> Result<()> {
    let got: Vec<_> = messages.iter().map(|message| String::from_utf8_lossy(&message.payload)).collect();
    ensure!(got == expected, "got {got:?}, expected {expected:?}");
    Ok(())
}

fn a_retained_message_is_stored_and_replaced(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    for qos in 0..3 {
        let payload = format!("of qos {qos}");
        retain(ctx, &topic, qos, &payload)?;
        let got = retained(ctx, &topic, 2)?;
        is(&got, &[&payload])?;
        ensure!(got[0].retain && got[0].qos == qos, "{:?}", got[0]);
    }
    // QoS 0 replaces what was stored with QoS 2.
    retain(ctx, &topic, 0, "the last")?;
    is(&retained(ctx, &topic, 2)?, &["the last"])
}

fn an_empty_payload_removes_the_retained_message(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    for qos in 0..3 {
        retain(ctx, &topic, 1, "stored")?;
        is(&retained(ctx, &topic, 0)?, &["stored"])?;
        retain(ctx, &topic, qos, "")?;
        is(&retained(ctx, &topic, 0)?, &[])?;
    }
    // Nor is an empty one stored where there was none.
    retain(ctx, &ctx.topic("new"), 1, "")?;
    is(&retained(ctx, &ctx.topic("new"), 0)?, &[])
}

fn an_empty_retained_message_is_passed_on(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut peer = ctx.subscriber(&topic, 1)?;
    ctx.join()?.deliver(ctx.publish(&topic, "").qos(1).retained())?;
    let message = peer.message()?;
    ensure!(message.payload.is_empty() && !message.retain, "{message:?}");
    Ok(())
}

fn a_message_without_retain_leaves_the_retained_one(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut publisher = ctx.join()?;
    publisher.publish(&topic, 1, "passing")?;
    is(&retained(ctx, &topic, 0)?, &[])?;
    retain(ctx, &topic, 1, "stored")?;
    publisher.publish(&topic, 1, "passing")?;
    publisher.publish(&topic, 1, "")?;
    is(&retained(ctx, &topic, 0)?, &["stored"])
}

fn a_new_subscription_gets_the_retain_flag(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    retain(ctx, &topic, 1, "stored")?;
    for filter in [topic.as_str(), &ctx.topic("+"), &ctx.topic("#")] {
        let got = retained(ctx, filter, 1)?;
        is(&got, &["stored"])?;
        ensure!(got[0].retain, "no RETAIN flag for a new subscription to {filter}");
    }
    Ok(())
}

fn an_established_subscription_gets_no_retain_flag(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut peer = ctx.subscriber(&topic, 2)?;
    for qos in 0..3 {
        ctx.join()?.deliver(ctx.publish(&topic, "x").qos(qos).retained())?;
        let message = peer.message()?;
        ensure!(!message.retain, "RETAIN to an established subscription, QoS {qos}");
    }
    Ok(())
}

fn retained_messages_outlive_sessions(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let connect = ctx.connect();
    let mut publisher = Peer::join(ctx, &connect)?;
    publisher.deliver(ctx.publish(&topic, "stored").qos(1).retained())?;
    publisher.leave()?;
    Peer::join(ctx, &connect)?.leave()?;
    is(&retained(ctx, &topic, 0)?, &["stored"])
}

fn every_matching_retained_message_is_sent(ctx: &Context) -> Result<()> {
    for rest in ["a", "a/b", "a/b/c", "d/b"] {
        retain(ctx, &ctx.topic(rest), 1, rest)?;
    }
    let got = |filter: &str| -> Result<Vec<String>> {
        let messages = retained(ctx, &ctx.topic(filter), 0)?;
        let payloads =
            messages.into_iter().map(|message| String::from_utf8_lossy(&message.payload).into_owned());
        let mut payloads: Vec<String> = payloads.collect();
        payloads.sort();
        Ok(payloads)
    };
    ensure!(got("#")? == ["a", "a/b", "a/b/c", "d/b"], "of # came {:?}", got("#")?);
    ensure!(got("a/#")? == ["a", "a/b", "a/b/c"], "of a/# came {:?}", got("a/#")?);
    ensure!(got("+/b")? == ["a/b", "d/b"], "of +/b came {:?}", got("+/b")?);
    Ok(())
}

fn retain_handling_0_sends_each_time(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    retain(ctx, &topic, 1, "stored")?;
    let mut peer = ctx.join()?;
    for _ in 0..3 {
        peer.subscribe(&topic, 1)?;
        let got = at_once(ctx, &mut peer)?;
        is(&got, &["stored"])?;
        ensure!(got[0].retain, "no RETAIN flag");
    }
    Ok(())
}

fn retain_handling_1_sends_to_a_new_subscription(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    retain(ctx, &topic, 1, "stored")?;
    let mut peer = ctx.join()?;
    peer.subscribe(&topic, HANDLING_1)?;
    is(&at_once(ctx, &mut peer)?, &["stored"])?;
    peer.subscribe(&topic, HANDLING_1 | 1)?;
    is(&at_once(ctx, &mut peer)?, &[])?;
    peer.unsubscribe(&[&topic])?;
    peer.subscribe(&topic, HANDLING_1)?;
    is(&at_once(ctx, &mut peer)?, &["stored"])
}

fn retain_handling_2_sends_nothing(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    retain(ctx, &topic, 1, "stored")?;
    let mut peer = ctx.join()?;
    for _ in 0..2 {
        peer.subscribe(&topic, HANDLING_2)?;
        is(&at_once(ctx, &mut peer)?, &[])?;
    }
    // It is there all the same.
    is(&retained(ctx, &topic, 0)?, &["stored"])
}

fn retain_as_published_keeps_the_flag(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut keeps = ctx.subscriber(&topic, RETAIN_AS_PUBLISHED | 1)?;
    let mut clears = ctx.subscriber(&topic, 1)?;
    let mut publisher = ctx.join()?;
    for qos in 0..2 {
        publisher.deliver(ctx.publish(&topic, "x").qos(qos).retained())?;
        ensure!(keeps.message()?.retain, "Retain As Published 1 lost the flag");
        ensure!(!clears.message()?.retain, "Retain As Published 0 kept the flag");
        publisher.deliver(ctx.publish(&topic, "y").qos(qos))?;
        ensure!(!keeps.message()?.retain, "Retain As Published 1 invented the flag");
        ensure!(!clears.message()?.retain, "Retain As Published 0 invented the flag");
    }
    Ok(())
}

fn retained_messages_keep_their_properties(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let publish = ctx
        .publish(&topic, "stored")
        .qos(1)
        .retained()
        .property(p1(id::PAYLOAD_FORMAT, 1))
        .property(pstr(id::CONTENT_TYPE, "text/plain"))
        .property(pstr(id::RESPONSE_TOPIC, "answer/here"))
        .property(pstr(id::CORRELATION_DATA, [0, 255]))
        .property(ppair("b", "2"))
        .property(ppair("a", "1"));
    ctx.join()?.deliver(publish)?;
    let got = retained(ctx, &topic, 0)?;
    is(&got, &["stored"])?;
    let properties = &got[0].properties;
    ensure!(properties.number(id::PAYLOAD_FORMAT) == Some(1), "{properties:?}");
    ensure!(properties.text(id::CONTENT_TYPE) == Some("text/plain"), "{properties:?}");
    ensure!(properties.text(id::RESPONSE_TOPIC) == Some("answer/here"), "{properties:?}");
    ensure!(properties.binary(id::CORRELATION_DATA) == Some(&[0, 255][..]), "{properties:?}");
    ensure!(properties.pairs() == [("b", "2"), ("a", "1")], "{properties:?}");
    Ok(())
}
