//! Topic aliases, in both directions.

use anyhow::{Result, bail, ensure};

use crate::context::Context;
use crate::peer::Peer;
use crate::wire::{Publish, id, p2};

super::tests! {
    the_server_keeps_to_the_alias_maximum: [] ["3.1.2-26" "3.3.2-11" "3.3.2-8"];
    without_an_alias_maximum_the_server_sends_none: [] ["3.1.2-27"];
    alias_0_is_refused: [] ["3.3.2-7" "3.3.2-8"];
    an_alias_beyond_the_maximum_is_refused: [] ["3.2.2-17" "3.2.2-18" "3.3.2-9"];
    an_alias_stands_for_its_topic_until_it_is_set_anew: [] ["3.3.2-12"];
    aliases_end_with_their_connection: [] ["3.3.2-10"];
    an_alias_without_a_topic_is_refused: [] ["4.13.1-1"];
}

fn alias(ctx: &Context, topic: &str, payload: &str, alias: u16) -> Publish {
    ctx.publish(topic, payload).property(p2(id::TOPIC_ALIAS, alias))
}

/// The server's maximum on a fresh connection.
fn maximum(peer: &Peer) -> u16 {
    peer.welcome.properties.number(id::TOPIC_ALIAS_MAXIMUM).unwrap_or(0) as u16
}

/// Publishes each of eight topics three times. The verifier watches every alias that comes.
fn eight_topics_thrice(ctx: &Context, peer: &mut Peer) -> Result<()> {
    peer.subscribe(ctx.topic("+"), 1)?;
    let mut publisher = ctx.join()?;
    for round in 0..24 {
        let topic = ctx.topic(&format!("t{}", round % 8));
        publisher.publish(&topic, 1, "x")?;
        let message = peer.message()?;
        ensure!(message.topic == topic, "{topic} came as {}", message.topic);
    }
    Ok(())
}

fn the_server_keeps_to_the_alias_maximum(ctx: &Context) -> Result<()> {
    for most in [1, 3] {
        let mut peer = Peer::join(ctx, &ctx.connect().alias_max(most))?;
        eight_topics_thrice(ctx, &mut peer)?;
    }
    Ok(())
}

fn without_an_alias_maximum_the_server_sends_none(ctx: &Context) -> Result<()> {
    for connect in [ctx.connect(), ctx.connect().alias_max(0)] {
        let mut peer = Peer::join(ctx, &connect)?;
        eight_topics_thrice(ctx, &mut peer)?;
    }
    Ok(())
}

fn alias_0_is_refused(ctx: &Context) -> Result<()> {
    ctx.refuses("alias 0", &alias(ctx, &ctx.topic("t"), "x", 0).bytes(), &[0x80, 0x81, 0x82, 0x94])
}

fn an_alias_beyond_the_maximum_is_refused(ctx: &Context) -> Result<()> {
    let most = maximum(&ctx.join()?);
    if most == u16::MAX {
        // No alias is beyond; the greatest must work.
        let topic = ctx.topic("t");
        let mut peer = ctx.subscriber(&topic, 0)?;
        peer.send(&alias(ctx, &topic, "x", most).bytes())?;
        peer.send(&alias(ctx, "", "y", most).bytes())?;
        ensure!(peer.message()?.payload == b"x" && peer.message()?.topic == topic, "alias {most}");
        return Ok(());
    }
    for beyond in [most + 1, u16::MAX] {
        let bytes = alias(ctx, &ctx.topic("t"), "x", beyond).bytes();
        ctx.refuses(&format!("alias {beyond} of {most}"), &bytes, &[0x80, 0x81, 0x82, 0x94])?;
    }
    Ok(())
}

fn an_alias_stands_for_its_topic_until_it_is_set_anew(ctx: &Context) -> Result<()> {
    let (one, two) = (ctx.topic("one"), ctx.topic("two"));
    let mut peer = ctx.subscriber(&ctx.topic("+"), 0)?;
    let mut publisher = ctx.join()?;
    let most = maximum(&publisher);
    if most == 0 {
        return ctx.refuses("an alias", &alias(ctx, &one, "x", 1).bytes(), &[0x80, 0x82, 0x94]);
    }
    let steps =
        [(one.as_str(), &one), ("", &one), ("", &one), (&two, &two), ("", &two), (&one, &one), ("", &one)];
    for (step, (topic, meant)) in steps.into_iter().enumerate() {
        for number in [1, most] {
            publisher.deliver(alias(ctx, topic, "x", number).qos(1))?;
            let message = peer.message()?;
            if message.topic != *meant {
                bail!("step {step}: alias {number} meant {meant}, came as {}", message.topic);
            }
        }
    }
    Ok(())
}

fn aliases_end_with_their_connection(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let connect = ctx.connect().persist();
    let mut peer = Peer::join(ctx, &connect)?;
    if maximum(&peer) > 0 {
        peer.deliver(alias(ctx, &topic, "x", 1).qos(1))?;
    }
    peer.leave()?;
    let mut peer = Peer::join(ctx, &connect)?;
    ensure!(peer.welcome.session_present, "the session is lost");
    peer.send(&alias(ctx, "", "y", 1).bytes())?;
    peer.closed(&[0x80, 0x81, 0x82, 0x94])
}

fn an_alias_without_a_topic_is_refused(ctx: &Context) -> Result<()> {
    ctx.refuses("an unknown alias", &alias(ctx, "", "x", 1).bytes(), &[0x80, 0x81, 0x82, 0x94])
}
