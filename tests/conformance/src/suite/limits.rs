//! Maximum Packet Size and problem information: what the server may put into its packets.
//!
//! The verifier compares the size of every packet with the maximum; the tests here make a server wish to say more
//! than fits, with a maximum as small as its own CONNACK.

use anyhow::{Result, bail, ensure};

use crate::context::Context;
use crate::packet::Packet;
use crate::peer::{Heard, PATIENCE, Peer};
use crate::wire::{Connect, PUBACK, PUBCOMP, PUBREC, PUBREL, frame, id, subscribe, unsubscribe};

super::tests! {
    a_message_too_large_is_left_out: [] ["3.1.2-24" "3.1.2-25"];
    a_message_too_large_counts_as_sent: [] ["3.1.2-25"];
    a_connack_keeps_to_the_maximum: [] ["3.2.2-16" "3.1.2-24"];
    a_refusing_connack_keeps_to_the_maximum: [] ["3.2.2-19" "3.2.2-20"];
    pubacks_keep_to_the_maximum: [] ["3.4.2-2" "3.4.2-3"];
    pubrecs_keep_to_the_maximum: [] ["3.5.2-2" "3.5.2-3"];
    pubrels_keep_to_the_maximum: [] ["3.6.2-2" "3.6.2-3" "3.6.2-1"];
    pubcomps_keep_to_the_maximum: [] ["3.7.2-2" "3.7.2-3"];
    subacks_keep_to_the_maximum: [] ["3.9.2-2"];
    unsubacks_keep_to_the_maximum: [] ["3.11.2-2"];
    disconnects_keep_to_the_maximum: [] ["3.14.2-3" "3.14.2-4"];
    without_problem_information_nothing_is_explained: [] ["3.1.2-29"];
    a_packet_beyond_the_servers_maximum_is_refused: [] ["3.2.2-15"];
}

/// A CONNECT whose maximum packet size is that of the CONNACK it gets.
fn tight(ctx: &Context) -> Result<Connect> {
    let probe = Peer::join(ctx, &ctx.connect().packet_max(65_536))?;
    let size = u32::try_from(probe.welcome.size)?;
    Ok(ctx.connect().packet_max(size))
}

fn a_message_too_large_is_left_out(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut peer = Peer::join(ctx, &ctx.connect().packet_max(200))?;
    peer.subscribe(&topic, 2)?;
    let mut other = ctx.subscriber(&topic, 2)?;
    let mut publisher = ctx.join()?;
    let large = "x".repeat(300);
    for qos in 0..3 {
        publisher.publish(&topic, qos, &large)?;
        publisher.publish(&topic, qos, "small")?;
        let first = peer.message()?;
        ensure!(
            first.payload == b"small" && first.qos == qos,
            "QoS {qos}: {} bytes came",
            first.payload.len()
        );
        // Others have no such limit.
        ensure!(other.message()?.payload == large.as_bytes(), "another subscriber did not get it");
        ensure!(other.message()?.payload == b"small", "another subscriber got something else");
    }
    peer.ping()
}

fn a_message_too_large_counts_as_sent(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let connect = ctx.connect().persist().packet_max(200).receive_max(2);
    let mut peer = Peer::join(ctx, &connect)?;
    peer.subscribe(&topic, 2)?;
    let mut publisher = ctx.join()?;
    // If they held the quota of two, nothing else would come.
    for index in 0..6 {
        publisher.publish(&topic, 1 + index % 2, "x".repeat(300))?;
    }
    publisher.publish(&topic, 1, "small")?;
    ensure!(peer.message()?.payload == b"small", "another message came");
    peer.leave()?;
    publisher.publish(&topic, 1, "x".repeat(300))?;
    publisher.publish(&topic, 1, "later")?;
    ensure!(Peer::join(ctx, &connect)?.message()?.payload == b"later", "another message came");
    Ok(())
}

fn a_connack_keeps_to_the_maximum(ctx: &Context) -> Result<()> {
    Peer::join(ctx, &tight(ctx)?)?.ping()?;
    // An assigned identifier may make it too large: then there is none at all.
    for most in [4, 5, 8, 20] {
        for name in [String::new(), ctx.name()] {
            let (mut peer, heard) = Peer::knock(ctx, &ctx.connect_as(&name).packet_max(most))?;
            match heard {
                Heard::Closed => {}
                Heard::Packet(Packet::ConnAck { reason: 0, .. }) => peer.ping()?,
                Heard::Packet(Packet::ConnAck { .. }) => peer.closed(&[])?,
                other => bail!("maximum {most}: {}", other.name()),
            }
        }
    }
    Ok(())
}

fn a_refusing_connack_keeps_to_the_maximum(ctx: &Context) -> Result<()> {
    for most in [5, 10] {
        let connect = ctx.connect().packet_max(most).auth("no-such-method", Some(b"x"));
        let (mut peer, heard) = Peer::knock(ctx, &connect)?;
        match heard {
            Heard::Closed => {}
            Heard::Packet(Packet::ConnAck { reason: 0x80.., .. }) => peer.closed(&[])?,
            other => bail!("an unknown method got {}", other.name()),
        }
    }
    Ok(())
}

fn pubacks_keep_to_the_maximum(ctx: &Context) -> Result<()> {
    acknowledged_in_brief(ctx, 1)
}

fn pubrecs_keep_to_the_maximum(ctx: &Context) -> Result<()> {
    acknowledged_in_brief(ctx, 2)
}

/// Publishes what nobody receives and what might be refused.
fn acknowledged_in_brief(ctx: &Context, qos: u8) -> Result<()> {
    let connect = tight(ctx)?;
    let mut peer = Peer::join(ctx, &connect)?;
    peer.deliver(ctx.publish(&ctx.topic("nobody"), "x").qos(qos))?;
    peer.ping()?;
    let kind = if qos == 1 { PUBACK } else { PUBREC };
    for topic in ["$SYS/x", "$CONTROL/x/v1"] {
        let mut peer = Peer::join(ctx, &Connect { client_id: ctx.name().into(), ..connect.clone() })?;
        peer.send(&ctx.publish(topic, "x").qos(qos).packet_id(9).bytes())?;
        match peer.hear(PATIENCE)? {
            Heard::Packet(Packet::Ack { kind: answered, packet_id: 9, .. }) if answered == kind => {}
            Heard::Packet(Packet::Disconnect { .. }) | Heard::Closed => {}
            other => bail!("a PUBLISH on {topic} got {}", other.name()),
        }
    }
    Ok(())
}

fn pubrels_keep_to_the_maximum(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut peer = Peer::join(ctx, &ctx.connect().packet_max(200))?;
    peer.subscribe(&topic, 2)?;
    ctx.join()?.publish(&topic, 2, "x")?;
    let message = peer.message()?;
    // A PUBREC for what is done already, and for what never was: PUBREL 0x92, if any, and in brief.
    let mut peer = Peer::join(ctx, &tight(ctx)?)?;
    for packet_id in [message.packet_id, 4321] {
        peer.ack(PUBREC, packet_id, 0)?;
        match peer.hear(std::time::Duration::from_millis(300))? {
            Heard::Packet(Packet::Ack { kind: PUBREL, packet_id: same, .. }) if same == packet_id => {}
            // Not a word, or an end, is a server's right as well.
            Heard::Silence => {}
            Heard::Closed | Heard::Packet(Packet::Disconnect { .. }) => return ctx.is_alive(),
            other => bail!("a PUBREC of an unknown identifier got {}", other.name()),
        }
    }
    peer.ping()
}

fn pubcomps_keep_to_the_maximum(ctx: &Context) -> Result<()> {
    let mut peer = Peer::join(ctx, &tight(ctx)?)?;
    peer.ack(PUBREL, 77, 0)?;
    peer.expect_ack(PUBCOMP, 77)?;
    peer.deliver(ctx.publish(&ctx.topic("t"), "x").qos(2))?;
    peer.ping()
}

fn subacks_keep_to_the_maximum(ctx: &Context) -> Result<()> {
    let mut peer = Peer::join(ctx, &tight(ctx)?)?;
    peer.subscribe(ctx.topic("t"), 0)?;
    // One that may be refused.
    peer.send(&subscribe(ctx.version, 99, &[], &[("$share/g", 0)]))?;
    match peer.hear(PATIENCE)? {
        Heard::Packet(Packet::SubAck { packet_id: 99, .. } | Packet::Disconnect { .. }) | Heard::Closed => {
            Ok(())
        }
        other => bail!("a filter that may be refused got {}", other.name()),
    }
}

fn unsubacks_keep_to_the_maximum(ctx: &Context) -> Result<()> {
    let mut peer = Peer::join(ctx, &tight(ctx)?)?;
    let reasons = peer.unsubscribe(&[ctx.topic("none")])?;
    ensure!(reasons == [0x11], "reasons {reasons:02x?} for a subscription that does not exist");
    peer.send(&unsubscribe(ctx.version, 99, &["$share/g"]))?;
    match peer.hear(PATIENCE)? {
        Heard::Packet(Packet::UnsubAck { packet_id: 99, .. } | Packet::Disconnect { .. }) | Heard::Closed => {
            Ok(())
        }
        other => bail!("a filter that may be refused got {}", other.name()),
    }
}

fn disconnects_keep_to_the_maximum(ctx: &Context) -> Result<()> {
    let connect = tight(ctx)?;
    for (what, bytes) in [
        ("QoS 3", ctx.publish("t", "x").qos(3).packet_id(1).bytes()),
        ("CONNECT twice", connect.bytes()),
        ("packet type 0", vec![0, 0]),
    ] {
        let mut peer = Peer::join(ctx, &connect)?;
        peer.send(&bytes)?;
        anyhow::Context::with_context(peer.closed(&[0x80, 0x81, 0x82, 0x9b]), || what)?;
    }
    let mut old = Peer::join(ctx, &connect)?;
    let _new = Peer::join(ctx, &connect)?;
    old.closed(&[0x8e])
}

fn without_problem_information_nothing_is_explained(ctx: &Context) -> Result<()> {
    let mut peer = Peer::join(ctx, &ctx.connect().no_problem_info())?;
    peer.deliver(ctx.publish(&ctx.topic("nobody"), "x").qos(1))?;
    peer.deliver(ctx.publish(&ctx.topic("nobody"), "x").qos(2))?;
    peer.unsubscribe(&[ctx.topic("none")])?;
    peer.ack(PUBREL, 99, 0)?;
    peer.expect_ack(PUBCOMP, 99)?;
    peer.subscribe(ctx.topic("t"), 0)?;
    // What is not forbidden: user properties of a PUBLISH still come.
    let pair = crate::wire::ppair("name", "value");
    peer.deliver(ctx.publish(&ctx.topic("t"), "x").property(pair))?;
    let message = peer.message()?;
    ensure!(message.properties.pairs() == [("name", "value")], "{message:?}");
    for topic in ["$SYS/x", "$CONTROL/x/v1"] {
        let mut peer = Peer::join(ctx, &ctx.connect().no_problem_info())?;
        peer.send(&ctx.publish(topic, "x").qos(1).packet_id(9).bytes())?;
        let heard = peer.hear(PATIENCE)?;
        ensure!(!matches!(heard, Heard::Silence), "a PUBLISH on {topic} got nothing");
    }
    Ok(())
}

fn a_packet_beyond_the_servers_maximum_is_refused(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut peer = ctx.join()?;
    let most = peer.welcome.properties.number(id::MAXIMUM_PACKET_SIZE);
    let Some(most) = most.filter(|most| *most < 64 * 1024 * 1024) else {
        // Whatever the protocol can carry is welcome.
        peer.subscribe(&topic, 0)?;
        let payload = "x".repeat(1024 * 1024);
        peer.publish(&topic, 0, &payload)?;
        ensure!(peer.message()?.payload == payload.as_bytes(), "a packet of 1 MiB changed");
        return Ok(());
    };
    // Exactly the maximum is welcome, one byte more is not.
    let whole = |size: usize| {
        let overhead = (7..=10)
            .map(|fixed| fixed + topic.len())
            .find(|overhead| {
                ctx.publish(&topic, &"x".repeat(size - overhead)).qos(1).packet_id(1).bytes().len() == size
            })
            .unwrap_or(8 + topic.len());
        ctx.publish(&topic, &"x".repeat(size - overhead)).qos(1).packet_id(1).bytes()
    };
    let allowed = whole(most as usize);
    ensure!(allowed.len() <= most as usize, "the test's own packet is too large");
    peer.send(&allowed)?;
    peer.expect_ack(PUBACK, 1)?;
    let beyond = frame(Peer::PUBLISH_FIRST, &vec![0; most as usize]);
    ctx.refuses("a packet beyond the maximum", &beyond, &[0x80, 0x81, 0x95, 0x97])
}
