//! The server as sender of QoS 1 and 2: identifiers, re-delivery after a reconnect and at no other time.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::context::Context;
use crate::packet::Packet;
use crate::peer::{Heard, PATIENCE, Peer};
use crate::wire::{Connect, PUBACK, PUBCOMP, PUBREC, PUBREL, id, p4};

super::tests! {
    packet_identifiers_are_unused_and_not_zero: ["2.3.1-1" "2.3.1-4"] ["2.2.1-4" "4.3.2-1" "4.3.3-1"];
    first_deliveries_have_no_dup: ["3.3.1-1" "3.3.1-2"] ["4.3.1-1" "4.3.2-2" "4.3.3-2"];
    an_unacknowledged_qos_1_message_comes_again: ["4.4.0-1" "3.3.1-1" "2.3.1-3" "2.3.1-4"]
        ["4.3.2-3" "3.3.1-1"];
    an_unreceived_qos_2_message_comes_again: ["4.4.0-1" "3.3.1-1" "2.3.1-3" "2.3.1-4"] ["4.3.3-3" "3.3.1-1"];
    an_uncompleted_pubrel_comes_again: ["4.4.0-1" "2.3.1-3" "2.3.1-6"]
        ["4.3.3-5" "4.3.3-6" "4.3.3-4" "3.6.2-1" "2.2.1-5"];
    acknowledged_messages_do_not_come_again: ["4.4.0-1"] ["4.3.2-3" "4.4.0-1"];
    nothing_is_sent_again_while_connected @Slow: ["4.4.0-1"] ["4.4.0-1"];
    a_refusing_puback_ends_the_message: [] ["4.4.0-2"];
    a_refusing_pubrec_ends_the_message: [] ["4.4.0-2" "4.3.3-1"];
    a_message_that_was_sent_does_not_expire @Slow: [] ["4.3.3-7"];
}

/// A persistent subscriber with one message on its way to it.
fn under_way(ctx: &Context, qos: u8) -> Result<(Connect, Peer, crate::packet::Message)> {
    let topic = ctx.topic("t");
    let connect = ctx.connect().persist();
    let mut peer = Peer::join(ctx, &connect)?;
    peer.subscribe(&topic, qos)?;
    ctx.join()?.publish(&topic, qos, "precious")?;
    let message = peer.arrival()?;
    ensure!(message.qos == qos && !message.dup, "the first delivery was {message:?}");
    Ok((connect, peer, message))
}

fn packet_identifiers_are_unused_and_not_zero(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut peer = ctx.subscriber(&topic, 2)?;
    let mut publisher = ctx.join()?;
    // Mosquitto and others send no more than 20 at a time by default.
    for index in 0..16 {
        publisher.publish(&topic, 1 + index % 2, "x")?;
    }
    let mut messages = Vec::new();
    for _ in 0..16 {
        // The verifier refuses an identifier that is in use.
        messages.push(peer.arrival()?);
    }
    for message in messages {
        peer.accept(&message)?;
    }
    peer.ping()
}

fn first_deliveries_have_no_dup(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut peer = ctx.subscriber(&topic, 2)?;
    let mut publisher = ctx.join()?;
    for qos in 0..3 {
        publisher.deliver(ctx.publish(&topic, "x").qos(qos))?;
        let message = peer.message()?;
        ensure!(message.qos == qos && !message.dup, "{message:?}");
        ensure!((message.packet_id > 0) == (qos > 0), "{message:?}");
    }
    Ok(())
}

fn an_unacknowledged_qos_1_message_comes_again(ctx: &Context) -> Result<()> {
    comes_again(ctx, 1)
}

fn an_unreceived_qos_2_message_comes_again(ctx: &Context) -> Result<()> {
    comes_again(ctx, 2)
}

fn comes_again(ctx: &Context, qos: u8) -> Result<()> {
    let (connect, peer, first) = under_way(ctx, qos)?;
    peer.cut()?;
    for _ in 0..2 {
        let mut peer = Peer::join(ctx, &connect)?;
        let again = peer.arrival()?;
        ensure!(again.dup, "the message came again without DUP");
        let same = again.packet_id == first.packet_id && again.payload == first.payload && again.qos == qos;
        ensure!(same, "{again:?} is not {first:?}");
        peer.cut()?;
    }
    let mut peer = Peer::join(ctx, &connect)?;
    peer.message()?;
    Ok(())
}

fn an_uncompleted_pubrel_comes_again(ctx: &Context) -> Result<()> {
    let (connect, mut peer, message) = under_way(ctx, 2)?;
    peer.ack(PUBREC, message.packet_id, 0)?;
    peer.expect_ack(PUBREL, message.packet_id)?;
    peer.cut()?;
    let mut peer = Peer::join(ctx, &connect)?;
    match peer.hear(PATIENCE)? {
        Heard::Packet(Packet::Ack { kind: PUBREL, packet_id, .. }) if packet_id == message.packet_id => {}
        other => anyhow::bail!("expected the PUBREL again, got {}", other.name()),
    }
    peer.ack(PUBCOMP, message.packet_id, 0)?;
    peer.ping()?;
    let more = peer.leftovers();
    ensure!(more.is_empty(), "after PUBCOMP came {}", more[0].name());
    Ok(())
}

fn acknowledged_messages_do_not_come_again(ctx: &Context) -> Result<()> {
    for qos in 1..3 {
        let (connect, mut peer, message) = under_way(ctx, qos)?;
        peer.accept(&message)?;
        peer.ping()?;
        peer.cut()?;
        nothing_waits(ctx, &connect)?;
    }
    Ok(())
}

/// Resumes the session: nothing but what is published now arrives.
fn nothing_waits(ctx: &Context, connect: &Connect) -> Result<()> {
    let mut peer = Peer::join(ctx, connect)?;
    ensure!(peer.welcome.session_present, "the session is lost");
    let mut publisher = ctx.join()?;
    publisher.publish(ctx.topic("t"), 1, "end")?;
    let before = peer.until("end")?;
    ensure!(before.is_empty(), "{} came again", Packet::Publish(before[0].clone()).name());
    let more = peer.leftovers();
    ensure!(more.is_empty(), "{} came again", more[0].name());
    peer.leave()
}

fn nothing_is_sent_again_while_connected(ctx: &Context) -> Result<()> {
    let (_, mut one, _) = under_way(ctx, 1)?;
    let (_, mut two, _) = under_way(ctx, 2)?;
    one.ping()?;
    one.leftovers();
    for peer in [&mut one, &mut two] {
        let heard = peer.hear(Duration::from_millis(1500))?;
        ensure!(matches!(heard, Heard::Silence), "without a reconnect came {}", heard.name());
        peer.ping()?;
    }
    Ok(())
}

fn a_refusing_puback_ends_the_message(ctx: &Context) -> Result<()> {
    let (connect, mut peer, message) = under_way(ctx, 1)?;
    peer.ack(PUBACK, message.packet_id, 0x83)?;
    peer.ping()?;
    peer.cut()?;
    nothing_waits(ctx, &connect)
}

fn a_refusing_pubrec_ends_the_message(ctx: &Context) -> Result<()> {
    let (connect, mut peer, message) = under_way(ctx, 2)?;
    peer.ack(PUBREC, message.packet_id, 0x97)?;
    peer.ping()?;
    let more = peer.leftovers();
    ensure!(more.is_empty(), "a refusing PUBREC got {}", more[0].name());
    peer.cut()?;
    nothing_waits(ctx, &connect)
}

fn a_message_that_was_sent_does_not_expire(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let connect = ctx.connect().persist();
    let mut peer = Peer::join(ctx, &connect)?;
    peer.subscribe(&topic, 2)?;
    ctx.join()?.deliver(ctx.publish(&topic, "x").qos(2).property(p4(id::MESSAGE_EXPIRY, 1)))?;
    let first = peer.arrival()?;
    peer.cut()?;
    std::thread::sleep(Duration::from_millis(2200));
    let mut peer = Peer::join(ctx, &connect)?;
    let again = peer.message()?;
    ensure!(again.packet_id == first.packet_id && again.dup, "{again:?} is not {first:?} again");
    Ok(())
}
