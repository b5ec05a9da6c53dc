//! Shared subscriptions.

use anyhow::{Result, bail, ensure};

use crate::context::Context;
use crate::packet::Packet;
use crate::peer::{Heard, PATIENCE, Peer};
use crate::wire::{PUBACK, PUBREC, id, subscribe};

super::tests! {
    a_shared_subscription_has_a_name_and_a_filter: [] ["4.8.2-1" "4.8.2-2"];
    each_message_goes_to_one_of_a_share: [] ["4.8.2-1"];
    a_shared_subscription_respects_its_qos: [] ["4.8.2-3"];
    a_qos_2_message_under_way_is_completed: [] ["4.8.2-4"];
    a_message_under_way_goes_to_no_other_when_the_session_ends: [] ["4.8.2-5"];
    a_refused_message_goes_to_no_other: [] ["4.8.2-6"];
}

/// Whether the server has shared subscriptions; one that has not must say so.
fn available(ctx: &Context) -> Result<bool> {
    let mut peer = ctx.join()?;
    if peer.welcome.properties.number(id::SHARED_AVAILABLE) != Some(0) {
        return Ok(true);
    }
    peer.send(&subscribe(ctx.version, 1, &[], &[(share(ctx, "g"), 0)]))?;
    match peer.hear(PATIENCE)? {
        Heard::Closed | Heard::Packet(Packet::Disconnect { reason: 0x9e, .. }) => Ok(false),
        Heard::Packet(Packet::SubAck { reasons, .. }) if reasons[..] == [0x9e] => Ok(false),
        other => bail!("not available, but a shared subscription got {}", other.name()),
    }
}

fn share(ctx: &Context, name: &str) -> String {
    format!("$share/{name}/{}", ctx.topic("t"))
}

fn a_shared_subscription_has_a_name_and_a_filter(ctx: &Context) -> Result<()> {
    if !available(ctx)? {
        return Ok(());
    }
    let topic = ctx.topic("t");
    for filter in [
        format!("$share//{topic}"),
        format!("$share/a+/{topic}"),
        format!("$share/#/{topic}"),
        "$share/name".into(),
        "$share/name/".into(),
    ] {
        let mut peer = ctx.join()?;
        peer.send(&subscribe(ctx.version, 1, &[], &[(&filter, 0)]))?;
        match peer.hear(PATIENCE)? {
            Heard::Closed => {}
            Heard::Packet(Packet::Disconnect { reason: 0x80 | 0x81 | 0x82 | 0x8f, .. }) => peer.closed(&[])?,
            Heard::Packet(Packet::SubAck { reasons, .. }) if reasons.iter().all(|reason| *reason >= 0x80) => {
            }
            other => bail!("{filter} got {}", other.name()),
        }
    }
    // The filter is the rest, with its wildcards and slashes.
    let mut publisher = ctx.join()?;
    for (rest, published) in [("x/+", "x/y"), ("/x", "/x"), ("x/#", "x/y/z")] {
        let mut peer = ctx.join()?;
        peer.subscribe(format!("$share/a b.c/{}", ctx.topic(rest)), 0)?;
        publisher.publish(ctx.topic(published), 0, "x")?;
        ensure!(peer.message()?.topic == ctx.topic(published), "another topic came");
        peer.leave()?;
    }
    Ok(())
}

fn each_message_goes_to_one_of_a_share(ctx: &Context) -> Result<()> {
    if !available(ctx)? {
        return Ok(());
    }
    let topic = ctx.topic("t");
    let mut shares = Vec::new();
    for _ in 0..3 {
        shares.push(ctx.subscriber(&share(ctx, "one"), 1)?);
    }
    let mut other_share = ctx.subscriber(&share(ctx, "two"), 1)?;
    let mut alone = ctx.subscriber(&topic, 1)?;
    let mut publisher = ctx.join()?;
    for index in 0..30 {
        publisher.publish(&topic, 1, index.to_string())?;
    }
    // A marker to each of the share's members by a way of its own, once everything was sent.
    let mut count = 0;
    let mut seen = std::collections::BTreeSet::new();
    for (index, peer) in shares.iter_mut().enumerate() {
        let marker = ctx.topic(&format!("marker{index}"));
        peer.subscribe(&marker, 1)?;
        publisher.publish(&marker, 1, "end")?;
        for message in peer.until("end")? {
            seen.insert(message.payload);
            count += 1;
        }
    }
    ensure!(
        count == 30 && seen.len() == 30,
        "of 30 messages the share got {count}, {} different",
        seen.len()
    );
    for peer in [&mut other_share, &mut alone] {
        for index in 0..30 {
            let payload = peer.message()?.payload;
            ensure!(payload == index.to_string().as_bytes(), "message {index} came as {payload:?}");
        }
    }
    Ok(())
}

fn a_shared_subscription_respects_its_qos(ctx: &Context) -> Result<()> {
    if !available(ctx)? {
        return Ok(());
    }
    let mut publisher = ctx.join()?;
    for granted in 0..3 {
        let mut peer = ctx.subscriber(&share(ctx, "g"), granted)?;
        for published in 0..3 {
            publisher.publish(ctx.topic("t"), published, "x")?;
            let qos = peer.message()?.qos;
            ensure!(
                qos == granted.min(published),
                "published {published}, granted {granted}, received {qos}"
            );
        }
        peer.leave()?;
    }
    Ok(())
}

/// Two members of a share, of which one has just got a message that it has not acknowledged.
fn chosen(ctx: &Context, qos: u8) -> Result<(crate::wire::Connect, Peer, Peer, crate::packet::Message)> {
    let connect = ctx.connect().persist();
    let mut chosen = Peer::join(ctx, &connect)?;
    chosen.subscribe(share(ctx, &format!("g{qos}")), qos)?;
    // Alone in the share, it is the one; the other comes when the message is on its way.
    ctx.join()?.publish(ctx.topic("t"), qos, "precious")?;
    let message = chosen.arrival()?;
    let mut other = ctx.subscriber(&share(ctx, &format!("g{qos}")), qos)?;
    other.subscribe(ctx.topic("marker"), 0)?;
    Ok((connect, chosen, other, message))
}

fn a_qos_2_message_under_way_is_completed(ctx: &Context) -> Result<()> {
    if !available(ctx)? {
        return Ok(());
    }
    let (connect, peer, mut other, message) = chosen(ctx, 2)?;
    peer.cut()?;
    let mut publisher = ctx.join()?;
    ctx.only_marker_arrives(&mut other, &mut publisher, &ctx.topic("marker"))?;
    let mut peer = Peer::join(ctx, &connect)?;
    let again = peer.message()?;
    ensure!(again.packet_id == message.packet_id && again.dup, "{again:?} is not {message:?} again");
    ctx.only_marker_arrives(&mut other, &mut publisher, &ctx.topic("marker"))
}

fn a_message_under_way_goes_to_no_other_when_the_session_ends(ctx: &Context) -> Result<()> {
    if !available(ctx)? {
        return Ok(());
    }
    // Stated of QoS 2; a QoS 1 message may go to another.
    let (mut connect, peer, mut other, _) = chosen(ctx, 2)?;
    peer.cut()?;
    connect.clean = true;
    let mut publisher = ctx.join()?;
    Peer::join(ctx, &connect)?.leave()?;
    ctx.only_marker_arrives(&mut other, &mut publisher, &ctx.topic("marker"))
}

fn a_refused_message_goes_to_no_other(ctx: &Context) -> Result<()> {
    if !available(ctx)? {
        return Ok(());
    }
    for (qos, kind) in [(1, PUBACK), (2, PUBREC)] {
        let (_, mut peer, mut other, message) = chosen(ctx, qos)?;
        peer.ack(kind, message.packet_id, 0x80)?;
        peer.ping()?;
        let mut publisher = ctx.join()?;
        ctx.only_marker_arrives(&mut other, &mut publisher, &ctx.topic("marker"))?;
        // Its session must not take part in the next round.
        peer.unsubscribe(&[share(ctx, &format!("g{qos}"))])?;
        peer.leave()?;
        other.leave()?;
    }
    Ok(())
}
