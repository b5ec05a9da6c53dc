//! Order: of one publisher's messages on one topic, and of what is sent again.

use anyhow::{Result, ensure};

use crate::context::Context;
use crate::peer::Peer;

super::tests! {
    messages_keep_their_order: ["4.6.0-5" "4.6.0-6"] ["4.6.0-5" "4.6.0-6"];
    queued_messages_keep_their_order: ["4.6.0-6"] ["4.6.0-5"];
    messages_are_sent_again_in_their_order: ["4.6.0-6" "4.4.0-1"] ["4.6.0-5"];
}

fn messages_keep_their_order(ctx: &Context) -> Result<()> {
    for qos in 0..3 {
        let topic = ctx.topic(&format!("q{qos}"));
        let mut peers = [ctx.subscriber(&topic, qos)?, ctx.subscriber(&ctx.topic("+"), qos)?];
        let mut publisher = ctx.join()?;
        for index in 0..60_u8 {
            publisher.deliver(ctx.publish(&topic, &index.to_string()).qos(qos))?;
        }
        for peer in &mut peers {
            for index in 0..60_u8 {
                in_turn(&peer.message()?.payload, index)?;
            }
        }
    }
    Ok(())
}

fn in_turn(payload: &[u8], index: u8) -> Result<()> {
    let got = String::from_utf8_lossy(payload);
    ensure!(got == index.to_string(), "message {got} came in place of {index}");
    Ok(())
}

fn queued_messages_keep_their_order(ctx: &Context) -> Result<()> {
    for qos in 1..3 {
        let topic = ctx.topic(&format!("q{qos}"));
        let connect = ctx.connect().persist();
        let mut peer = Peer::join(ctx, &connect)?;
        peer.subscribe(&topic, qos)?;
        peer.leave()?;
        let mut publisher = ctx.join()?;
        for index in 0..40_u8 {
            publisher.publish(&topic, qos, index.to_string())?;
        }
        let mut peer = Peer::join(ctx, &connect)?;
        for index in 0..40_u8 {
            in_turn(&peer.message()?.payload, index)?;
        }
    }
    Ok(())
}

fn messages_are_sent_again_in_their_order(ctx: &Context) -> Result<()> {
    for qos in 1..3 {
        let topic = ctx.topic(&format!("q{qos}"));
        let connect = ctx.connect().persist();
        let mut peer = Peer::join(ctx, &connect)?;
        peer.subscribe(&topic, qos)?;
        let mut publisher = ctx.join()?;
        for index in 0..10_u8 {
            publisher.publish(&topic, qos, index.to_string())?;
        }
        let mut first = Vec::new();
        for index in 0..10_u8 {
            let message = peer.arrival()?;
            in_turn(&message.payload, index)?;
            first.push(message.packet_id);
        }
        peer.cut()?;
        publisher.publish(&topic, qos, "10")?;
        let mut peer = Peer::join(ctx, &connect)?;
        for index in 0..11_u8 {
            let message = peer.message()?;
            in_turn(&message.payload, index)?;
            let again =
                first.get(usize::from(index)).is_none_or(|old| *old == message.packet_id && message.dup);
            ensure!(again, "message {index} was not sent again as it was: {message:?}");
        }
    }
    Ok(())
}
