//! Message expiry: deleted when it has passed, counted down while it waits.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::context::Context;
use crate::packet::Message;
use crate::peer::Peer;
use crate::wire::{id, p4};

super::tests! {
    an_expired_message_is_not_delivered @Slow: [] ["3.3.2-5"];
    the_expiry_interval_is_what_remains @Slow: [] ["3.3.2-6"];
    an_expired_retained_message_is_not_delivered @Slow: [] ["3.3.2-5"];
    the_expiry_interval_is_passed_on_at_once: [] ["3.3.2-6"];
}

fn interval(message: &Message) -> Option<u32> {
    message.properties.number(id::MESSAGE_EXPIRY)
}

fn away(ctx: &Context) -> Result<crate::wire::Connect> {
    let connect = ctx.connect().persist();
    let mut peer = Peer::join(ctx, &connect)?;
    peer.subscribe(ctx.topic("t"), 2)?;
    peer.leave()?;
    Ok(connect)
}

fn an_expired_message_is_not_delivered(ctx: &Context) -> Result<()> {
    let connect = away(ctx)?;
    let topic = ctx.topic("t");
    let mut publisher = ctx.join()?;
    for qos in 1..3 {
        publisher.deliver(ctx.publish(&topic, "expires").qos(qos).property(p4(id::MESSAGE_EXPIRY, 1)))?;
    }
    publisher.publish(&topic, 1, "end")?;
    std::thread::sleep(Duration::from_millis(2200));
    let before = Peer::join(ctx, &connect)?.until("end")?;
    ensure!(before.is_empty(), "{} messages came after they had expired", before.len());
    Ok(())
}

fn the_expiry_interval_is_what_remains(ctx: &Context) -> Result<()> {
    let connect = away(ctx)?;
    let topic = ctx.topic("t");
    let mut publisher = ctx.join()?;
    publisher.deliver(ctx.publish(&topic, "x").qos(1).property(p4(id::MESSAGE_EXPIRY, 100)))?;
    let kept = ctx.publish(&ctx.topic("kept"), "x").qos(1).retained();
    publisher.deliver(kept.property(p4(id::MESSAGE_EXPIRY, 100)))?;
    std::thread::sleep(Duration::from_millis(2200));
    let queued = interval(&Peer::join(ctx, &connect)?.message()?);
    let retained = interval(&ctx.subscriber(&ctx.topic("kept"), 0)?.message()?);
    for (what, left) in [("a queued", queued), ("a retained", retained)] {
        let fine = left.is_some_and(|left| (90..=98).contains(&left));
        ensure!(fine, "after two seconds {what} message of 100 has {left:?}");
    }
    Ok(())
}

fn an_expired_retained_message_is_not_delivered(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut publisher = ctx.join()?;
    publisher.deliver(ctx.publish(&topic, "x").qos(1).retained().property(p4(id::MESSAGE_EXPIRY, 1)))?;
    std::thread::sleep(Duration::from_millis(2200));
    let mut peer = ctx.subscriber(&topic, 0)?;
    ctx.only_marker_arrives(&mut peer, &mut publisher, &topic)
}

fn the_expiry_interval_is_passed_on_at_once(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let mut peer = ctx.subscriber(&topic, 1)?;
    for seconds in [None, Some(60), Some(u32::MAX)] {
        let mut publish = ctx.publish(&topic, "x").qos(1);
        if let Some(seconds) = seconds {
            publish = publish.property(p4(id::MESSAGE_EXPIRY, seconds));
        }
        peer.deliver(publish)?;
        let left = interval(&peer.message()?);
        let fine = match (seconds, left) {
            (None, None) => true,
            (Some(seconds), Some(left)) => left <= seconds && left >= seconds - 5,
            _ => false,
        };
        ensure!(fine, "expiry {seconds:?} came as {left:?}");
    }
    Ok(())
}
