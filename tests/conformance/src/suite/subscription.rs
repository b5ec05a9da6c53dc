//! Subscriptions in effect: replaced, several in one packet, granted QoS, No Local, wildcards.

use anyhow::{Result, bail, ensure};

use crate::context::Context;
use crate::packet::Packet;
use crate::peer::{Heard, PATIENCE};
use crate::wire::{id, pvar, subscribe};

super::tests! {
    an_identical_subscription_replaces_the_old: ["3.8.4-3"] ["3.8.4-3"];
    replacing_a_subscription_loses_nothing: ["3.8.4-3"] ["3.8.4-4"];
    several_filters_are_like_several_subscribes: ["3.8.4-4"] ["3.8.4-5"];
    messages_come_with_the_lower_qos: ["3.8.4-5"] ["3.8.4-8"];
    wildcards_work_or_are_refused: ["3.8.3-2"] ["3.8.4-7"];
    no_local_keeps_ones_own_messages_away: [] ["3.8.4-3"];
    messages_go_to_every_session_that_matches: ["4.5.0-1"] ["4.5.0-1"];
    no_local_on_a_shared_subscription_is_refused: [] ["3.8.3-4"];
}

fn an_identical_subscription_replaces_the_old(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut peer = ctx.join()?;
    let mut publisher = ctx.join()?;
    for granted in [2, 0, 1] {
        peer.subscribe(&topic, granted)?;
        publisher.publish(&topic, 2, "x")?;
        publisher.publish(&topic, 2, "end")?;
        let got = peer.until("end")?;
        ensure!(got.len() == 1, "{} copies after the subscription was replaced", got.len());
        ensure!(got[0].qos == granted, "QoS {} after it was replaced with {granted}", got[0].qos);
    }
    if ctx.is_v5() && peer.welcome.properties.number(id::SUBSCRIPTION_ID_AVAILABLE) != Some(0) {
        for number in [5, 6] {
            peer.subscribe_all(&pvar(id::SUBSCRIPTION_ID, number), &[(&topic, 0)])?;
        }
        publisher.publish(&topic, 0, "x")?;
        let ids = peer.message()?.properties.subscription_ids();
        ensure!(ids == [6], "subscription identifiers {ids:?} after 5 was replaced with 6");
    }
    Ok(())
}

fn replacing_a_subscription_loses_nothing(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut peer = ctx.subscriber(&topic, 1)?;
    let mut publisher = ctx.join()?;
    for round in 0..20_u8 {
        publisher.send(&ctx.publish(&topic, "x").qos(1).packet_id(u16::from(round) * 2 + 1).bytes())?;
        let again = 1000 + u16::from(round);
        peer.send(&subscribe(ctx.version, again, &[], &[(&topic, 1)]))?;
        publisher.send(&ctx.publish(&topic, "y").qos(1).packet_id(u16::from(round) * 2 + 2).bytes())?;
    }
    for index in 0..40 {
        let payload = peer.message()?.payload;
        let expected: &[u8] = if index % 2 == 0 { b"x" } else { b"y" };
        ensure!(payload == expected, "message {index} is {:?}", String::from_utf8_lossy(&payload));
    }
    Ok(())
}

fn several_filters_are_like_several_subscribes(ctx: &Context) -> Result<()> {
    let topic = |rest: &str| ctx.topic(rest);
    let mut peer = ctx.join()?;
    let mut publisher = ctx.join()?;
    // The last of two equal filters is the one in force.
    let filters = [(topic("a"), 0), (topic("b"), 1), (topic("c"), 2), (topic("a"), 2)];
    let reasons = peer.subscribe_all(&[], &filters)?;
    ensure!(reasons == [0, 1, 2, 2], "{reasons:?}");
    for (rest, qos) in [("a", 2), ("b", 1), ("c", 2)] {
        publisher.publish(topic(rest), 2, "x")?;
        let message = peer.message()?;
        ensure!(message.topic == topic(rest) && message.qos == qos, "{message:?}");
    }
    ctx.only_marker_arrives(&mut peer, &mut publisher, &topic("a"))
}

fn messages_come_with_the_lower_qos(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut publisher = ctx.join()?;
    for granted in 0..3 {
        let mut peer = ctx.subscriber(&topic, granted)?;
        for published in 0..3 {
            publisher.publish(&topic, published, "x")?;
            let qos = peer.message()?.qos;
            let least = granted.min(published);
            ensure!(qos == least, "published {published}, granted {granted}, received {qos}");
        }
    }
    Ok(())
}

fn wildcards_work_or_are_refused(ctx: &Context) -> Result<()> {
    let mut peer = ctx.join()?;
    let mut publisher = ctx.join()?;
    for (filter, rest) in [("+/x", "a/x"), ("y/#", "y/1/2")] {
        let filter = ctx.topic(filter);
        let reasons = peer.subscribe_all(&[], &[(&filter, 0)])?;
        ensure!(reasons.len() == 1, "{reasons:?}");
        if reasons[0] >= 0x80 {
            ensure!(!ctx.is_v5() || reasons[0] == 0xa2, "wildcard refused with 0x{:02x}", reasons[0]);
            continue;
        }
        publisher.publish(ctx.topic(rest), 0, "x")?;
        ensure!(peer.message()?.topic == ctx.topic(rest), "another topic came");
    }
    Ok(())
}

fn no_local_keeps_ones_own_messages_away(ctx: &Context) -> Result<()> {
    const NO_LOCAL: u8 = 0x04;
    let topic = ctx.topic("t");
    let mut peer = ctx.subscriber(&topic, NO_LOCAL | 1)?;
    peer.publish(&topic, 1, "own")?;
    ctx.join()?.publish(&topic, 1, "other's")?;
    let first = peer.message()?;
    ensure!(first.payload == b"other's", "No Local let through {first:?}");
    // Without the option, after the subscription was replaced, they come.
    peer.subscribe(&topic, 1)?;
    peer.publish(&topic, 1, "own")?;
    ensure!(peer.message()?.payload == b"own", "another message came");
    Ok(())
}

fn messages_go_to_every_session_that_matches(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("a/b");
    let away = ctx.connect().persist();
    let mut gone = crate::peer::Peer::join(ctx, &away)?;
    gone.subscribe(ctx.topic("a/+"), 2)?;
    gone.leave()?;
    let mut here = ctx.subscriber(&ctx.topic("#"), 2)?;
    let mut publisher = ctx.join()?;
    for qos in 1..3 {
        publisher.publish(&topic, qos, format!("of qos {qos}"))?;
    }
    let mut back = crate::peer::Peer::join(ctx, &away)?;
    for peer in [&mut here, &mut back] {
        for qos in 1..3 {
            let message = peer.message()?;
            let expected = format!("of qos {qos}").into_bytes();
            ensure!(message.payload == expected && message.qos == qos, "{message:?}");
        }
    }
    Ok(())
}

fn no_local_on_a_shared_subscription_is_refused(ctx: &Context) -> Result<()> {
    let mut peer = ctx.join()?;
    let shared = peer.welcome.properties.number(id::SHARED_AVAILABLE) != Some(0);
    let filter = format!("$share/g/{}", ctx.topic("t"));
    peer.send(&subscribe(ctx.version, 1, &[], &[(filter, 0x04)]))?;
    match peer.hear(PATIENCE)? {
        Heard::Closed => Ok(()),
        Heard::Packet(Packet::Disconnect { reason: 0x80 | 0x81 | 0x82 | 0x9e, .. }) => peer.closed(&[]),
        Heard::Packet(Packet::SubAck { reasons, .. }) if !shared && reasons[..] == [0x9e] => Ok(()),
        other => bail!("No Local on a shared subscription got {}", other.name()),
    }
}
