//! Flow control: Receive Maximum, in both directions.

use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::context::Context;
use crate::packet::Packet;
use crate::peer::{Heard, PATIENCE, Peer};
use crate::wire::{PUBACK, PUBCOMP, PUBREC, PUBREL, id};

super::tests! {
    the_server_keeps_to_the_receive_maximum: [] ["3.3.4-7" "4.9.0-1" "4.9.0-2"];
    acknowledgements_give_quota_back: [] ["3.3.4-7" "4.9.0-1"];
    without_quota_other_packets_go_on: [] ["4.9.0-3" "3.3.4-9"];
    more_than_the_servers_receive_maximum_is_refused: [] ["3.3.4-8"];
    the_quota_is_new_on_a_new_connection: [] ["4.9.0-1"];
}

/// A subscriber with this quota, for whom this many messages are on their way.
fn subscriber(ctx: &Context, quota: u16, qos: u8, count: u8) -> Result<(crate::wire::Connect, Peer)> {
    let topic = ctx.topic("t");
    let connect = ctx.connect().persist().receive_max(quota);
    let mut peer = Peer::join(ctx, &connect)?;
    peer.subscribe(&topic, qos)?;
    let mut publisher = ctx.join()?;
    for index in 0..count {
        publisher.publish(&topic, qos, index.to_string())?;
    }
    Ok((connect, peer))
}

/// No PUBLISH comes before the answer to a ping, nor shortly after.
fn nothing_more(peer: &mut Peer) -> Result<()> {
    peer.ping()?;
    let heard = peer.hear(Duration::from_millis(150))?;
    let came = peer.leftovers();
    ensure!(came.is_empty(), "beyond the quota came {}", came[0].name());
    ensure!(matches!(heard, Heard::Silence), "beyond the quota came {}", heard.name());
    Ok(())
}

fn the_server_keeps_to_the_receive_maximum(ctx: &Context) -> Result<()> {
    for (quota, qos) in [(1, 1), (3, 2), (2, 1)] {
        let (_, mut peer) = subscriber(ctx, quota, qos, 8)?;
        for _ in 0..quota {
            peer.arrival()?;
        }
        nothing_more(&mut peer)?;
        peer.leave()?;
    }
    Ok(())
}

fn acknowledgements_give_quota_back(ctx: &Context) -> Result<()> {
    let (_, mut peer) = subscriber(ctx, 2, 2, 6)?;
    let one = peer.arrival()?;
    let two = peer.arrival()?;
    // A PUBREC gives nothing back, unless it refuses; a PUBCOMP does.
    peer.ack(PUBREC, one.packet_id, 0)?;
    peer.expect_ack(PUBREL, one.packet_id)?;
    nothing_more(&mut peer)?;
    peer.ack(PUBCOMP, one.packet_id, 0)?;
    let three = peer.arrival()?;
    ensure!(three.payload == b"2", "{three:?}");
    nothing_more(&mut peer)?;
    peer.ack(PUBREC, two.packet_id, 0x80)?;
    ensure!(peer.arrival()?.payload == b"3", "another message came");
    nothing_more(&mut peer)?;
    peer.leave()?;
    let (_, mut peer) = subscriber(ctx, 1, 1, 4)?;
    for index in 0..4_u8 {
        let message = peer.arrival()?;
        ensure!(message.payload == index.to_string().as_bytes(), "{message:?}");
        nothing_more(&mut peer)?;
        let reason = if index % 2 == 0 { 0x00 } else { 0x80 };
        peer.ack(PUBACK, message.packet_id, reason)?;
    }
    Ok(())
}

fn without_quota_other_packets_go_on(ctx: &Context) -> Result<()> {
    let (_, mut peer) = subscriber(ctx, 1, 1, 3)?;
    peer.arrival()?;
    peer.ping()?;
    peer.subscribe(ctx.topic("u"), 0)?;
    peer.unsubscribe(&[ctx.topic("u")])?;
    // The server as receiver has a quota of its own.
    peer.publish(ctx.topic("v"), 1, "x")?;
    peer.publish(ctx.topic("v"), 2, "x")?;
    nothing_more(&mut peer)
}

fn more_than_the_servers_receive_maximum_is_refused(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut peer = ctx.join()?;
    let most = peer.welcome.properties.number(id::RECEIVE_MAXIMUM).unwrap_or(65_535) as u16;
    // Not released, so every one of them counts.
    let count = most.min(2000);
    for packet_id in 1..=count {
        peer.send(&ctx.publish(&topic, "x").qos(2).packet_id(packet_id).bytes())?;
        if packet_id % 50 == 0 || packet_id == count {
            for earlier in (packet_id - 1) / 50 * 50 + 1..=packet_id {
                peer.expect_ack(PUBREC, earlier)?;
            }
        }
    }
    if count < most {
        // More are allowed than this test sends: all must have been taken.
        return peer.ping();
    }
    peer.send(&ctx.publish(&topic, "x").qos(2).packet_id(count + 1).bytes())?;
    match peer.hear(PATIENCE)? {
        Heard::Packet(Packet::Disconnect { reason: 0x93, .. }) => peer.closed(&[]),
        Heard::Closed => Ok(()),
        other => bail!("message {} of {most} got {}", count + 1, other.name()),
    }
}

fn the_quota_is_new_on_a_new_connection(ctx: &Context) -> Result<()> {
    let (connect, mut peer) = subscriber(ctx, 2, 1, 5)?;
    peer.arrival()?;
    peer.arrival()?;
    peer.cut()?;
    let mut more = connect.clone();
    more.properties.clear();
    let mut peer = Peer::join(ctx, &more.session_expiry(300).receive_max(4))?;
    for index in 0..4_u8 {
        let message = peer.arrival()?;
        ensure!(message.payload == index.to_string().as_bytes(), "{message:?}");
    }
    nothing_more(&mut peer)
}
