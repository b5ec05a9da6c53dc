//! DISCONNECT, from both sides.

use anyhow::{Result, bail, ensure};

use crate::context::Context;
use crate::packet::Packet;
use crate::peer::{Heard, PATIENCE, Peer};
use crate::wire::{DISCONNECT, disconnect, frame, id, p4};

super::tests! {
    disconnect_header_flags_must_be_zero: ["2.2.2-2"] ["3.14.1-1"];
    nothing_follows_the_servers_disconnect: [] ["3.14.4-1" "3.14.4-2" "3.14.2-1" "3.14.2-2"];
    a_malformed_disconnect_is_refused: [] ["4.13.1-1"];
    nothing_after_a_disconnect_is_processed: ["4.8.0-1"] ["4.13.1-1"];
}

fn disconnect_header_flags_must_be_zero(ctx: &Context) -> Result<()> {
    for flags in [1, 2, 4, 8] {
        let mut peer = ctx.join()?;
        peer.send(&frame(DISCONNECT << 4 | flags, &[]))?;
        peer.closed(&[0x80, 0x81, 0x82])?;
    }
    Ok(())
}

fn nothing_follows_the_servers_disconnect(ctx: &Context) -> Result<()> {
    // Several reasons for the server to end a connection that is busy; the verifier refuses anything after a
    // DISCONNECT, a reason out of place and a session expiry interval.
    let topic = ctx.topic("t");
    let busy = |ctx: &Context| -> Result<Peer> {
        let mut peer = ctx.subscriber(&topic, 1)?;
        let mut publisher = ctx.join()?;
        for _ in 0..5 {
            publisher.publish(&topic, 1, "x")?;
        }
        peer.arrival()?;
        Ok(peer)
    };
    let qos_3 = ctx.publish(&topic, "x").qos(3).packet_id(1).bytes();
    for (what, bytes) in
        [("packet type 0", &[0, 0][..]), ("QoS 3", &qos_3), ("CONNECT", &ctx.connect().bytes())]
    {
        let mut peer = busy(ctx)?;
        // What follows the error must not be answered.
        peer.send(&[bytes, &[0xc0, 0], &[0xc0, 0]].concat())?;
        loop {
            match peer.hear(PATIENCE)? {
                Heard::Closed => break,
                Heard::Packet(Packet::Publish(_) | Packet::Disconnect { reason: 0x80.., .. }) => {}
                other => bail!("{what}: after the error came {}", other.name()),
            }
        }
    }
    let connect = ctx.connect();
    let mut old = Peer::join(ctx, &connect)?;
    let _new = Peer::join(ctx, &connect)?;
    old.closed(&[0x8e])
}

fn a_malformed_disconnect_is_refused(ctx: &Context) -> Result<()> {
    let twice = [p4(id::SESSION_EXPIRY, 1), p4(id::SESSION_EXPIRY, 1)].concat();
    for (what, properties) in [
        ("session expiry twice", twice),
        ("a property of CONNACK", crate::wire::p1(id::SHARED_AVAILABLE, 1)),
        ("an unknown property", vec![0x7f, 0]),
    ] {
        // It is no good-bye: the will is published.
        let topic = ctx.topic("will");
        let mut observer = ctx.subscriber(&topic, 0)?;
        let will = crate::wire::Will::new(&topic, "x");
        let mut peer = Peer::join(ctx, &ctx.connect().will(will).session_expiry(1))?;
        peer.send(&disconnect(ctx.version, 0, &properties))?;
        peer.closed(&[0x80, 0x81, 0x82])?;
        let message = observer.message();
        ensure!(message.is_ok_and(|message| message.payload == b"x"), "{what}: it was taken for a good-bye");
    }
    Ok(())
}

fn nothing_after_a_disconnect_is_processed(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut observer = ctx.subscriber(&topic, 0)?;
    let mut peer = ctx.join()?;
    let after = ctx.publish(&topic, "after the good-bye").bytes();
    peer.send(&[disconnect(ctx.version, 0, &[]), after, vec![0xc0, 0]].concat())?;
    match peer.hear(PATIENCE)? {
        Heard::Closed => {}
        other => bail!("after a DISCONNECT came {}", other.name()),
    }
    let mut publisher = ctx.join()?;
    ctx.only_marker_arrives(&mut observer, &mut publisher, &topic)
}
