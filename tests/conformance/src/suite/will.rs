//! Wills: published when a connection fails, and only then.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::context::Context;
use crate::peer::Peer;
use crate::wire::{Will, disconnect, id, p1, p4, ppair, pstr};

super::tests! {
    a_will_is_published_when_the_connection_fails: ["3.1.2-8"] ["3.1.2-6"];
    a_will_is_published_after_an_error: ["3.1.2-8"] ["3.1.2-6"];
    a_disconnect_discards_the_will: ["3.1.2-10" "3.1.2-8" "3.14.4-2"] ["3.14.4-3"];
    a_will_is_published_once: ["3.1.2-10"] ["3.1.2-6"];
    without_will_flag_nothing_is_published: ["3.1.2-12"] ["3.1.2-10"];
    a_will_without_retain_is_not_retained: ["3.1.2-16"] ["3.1.2-14"];
    a_will_with_retain_is_retained: ["3.1.2-17"] ["3.1.2-15"];
    a_disconnect_with_will_publishes_it: [] ["3.14.4-3"];
    a_will_has_its_properties: [] ["3.1.3-10" "3.1.2-6"];
    a_delayed_will_is_cancelled_by_a_new_connection @Slow: [] ["3.1.3-9"];
    a_delayed_will_comes_after_its_delay @Slow: [] ["3.1.3-9"];
    a_delayed_will_comes_when_the_session_ends: [] ["3.1.2-4"];
}

fn will_topic(ctx: &Context) -> String {
    ctx.topic("will")
}

fn a_will_is_published_when_the_connection_fails(ctx: &Context) -> Result<()> {
    let mut observer = ctx.subscriber(&will_topic(ctx), 2)?;
    for qos in 0..3 {
        let payload = format!("of qos {qos}");
        let will = Will::new(will_topic(ctx), &payload).qos(qos);
        Peer::join(ctx, &ctx.connect().will(will))?.cut()?;
        let message = observer.message()?;
        ensure!(message.payload == payload.as_bytes() && message.qos == qos, "{message:?}");
        ensure!(!message.retain && !message.dup, "{message:?}");
    }
    // An empty will is one.
    Peer::join(ctx, &ctx.connect().will(Will::new(will_topic(ctx), "")))?.cut()?;
    ensure!(observer.message()?.payload.is_empty(), "an empty will came with a payload");
    Ok(())
}

fn a_will_is_published_after_an_error(ctx: &Context) -> Result<()> {
    let mut observer = ctx.subscriber(&will_topic(ctx), 0)?;
    let connect = ctx.connect().will(Will::new(will_topic(ctx), "x"));
    let mut peer = Peer::join(ctx, &connect)?;
    peer.send(&[0x36, 3, 0, 1, b'a'])?;
    peer.closed(&[])?;
    ensure!(observer.message()?.payload == b"x", "another will came");
    // And when another connection takes the client over.
    let old = Peer::join(ctx, &connect)?;
    let _new = Peer::join(ctx, &ctx.connect_as(std::str::from_utf8(&connect.client_id)?))?;
    ensure!(observer.message()?.payload == b"x", "another will came");
    drop(old);
    Ok(())
}

fn a_disconnect_discards_the_will(ctx: &Context) -> Result<()> {
    let mut observer = ctx.subscriber(&will_topic(ctx), 2)?;
    for qos in 0..3 {
        let will = Will::new(will_topic(ctx), "must not come").qos(qos);
        Peer::join(ctx, &ctx.connect().will(will))?.leave()?;
    }
    let mut publisher = ctx.join()?;
    ctx.only_marker_arrives(&mut observer, &mut publisher, &will_topic(ctx))
}

fn a_will_is_published_once(ctx: &Context) -> Result<()> {
    let mut observer = ctx.subscriber(&will_topic(ctx), 1)?;
    let connect = ctx.connect().persist();
    let with = connect.clone().will(Will::new(will_topic(ctx), "x").qos(1));
    Peer::join(ctx, &with)?.cut()?;
    ensure!(observer.message()?.payload == b"x", "another will came");
    // The session goes on without it.
    Peer::join(ctx, &connect)?.cut()?;
    Peer::join(ctx, &with)?.leave()?;
    Peer::join(ctx, &connect)?.cut()?;
    let mut publisher = ctx.join()?;
    ctx.only_marker_arrives(&mut observer, &mut publisher, &will_topic(ctx))
}

fn without_will_flag_nothing_is_published(ctx: &Context) -> Result<()> {
    // Everything that happens below this test's prefix is seen.
    let mut observer = ctx.subscriber(&ctx.topic("#"), 2)?;
    Peer::join(ctx, &ctx.connect())?.cut()?;
    Peer::join(ctx, &ctx.connect().persist())?.cut()?;
    let mut publisher = ctx.join()?;
    ctx.only_marker_arrives(&mut observer, &mut publisher, &will_topic(ctx))
}

fn a_will_without_retain_is_not_retained(ctx: &Context) -> Result<()> {
    let mut observer = ctx.subscriber(&will_topic(ctx), 1)?;
    Peer::join(ctx, &ctx.connect().will(Will::new(will_topic(ctx), "x").qos(1)))?.cut()?;
    ensure!(!observer.message()?.retain, "the will came with RETAIN");
    let mut late = ctx.subscriber(&will_topic(ctx), 1)?;
    let mut publisher = ctx.join()?;
    ctx.only_marker_arrives(&mut late, &mut publisher, &will_topic(ctx))
}

fn a_will_with_retain_is_retained(ctx: &Context) -> Result<()> {
    let mut observer = ctx.subscriber(&will_topic(ctx), 1)?;
    Peer::join(ctx, &ctx.connect().will(Will::new(will_topic(ctx), "x").qos(1).retained()))?.cut()?;
    ensure!(!observer.message()?.retain, "an established subscription got RETAIN");
    let mut late = ctx.subscriber(&will_topic(ctx), 1)?;
    let message = late.message()?;
    ensure!(message.retain && message.payload == b"x" && message.qos == 1, "{message:?}");
    Ok(())
}

fn a_disconnect_with_will_publishes_it(ctx: &Context) -> Result<()> {
    let mut observer = ctx.subscriber(&will_topic(ctx), 0)?;
    let connect = ctx.connect().will(Will::new(will_topic(ctx), "x"));
    for reason in [0x04, 0x80] {
        let mut peer = Peer::join(ctx, &connect)?;
        peer.send(&disconnect(ctx.version, reason, &[]))?;
        peer.closed(&[])?;
        ensure!(observer.message()?.payload == b"x", "another will came");
    }
    Ok(())
}

fn a_will_has_its_properties(ctx: &Context) -> Result<()> {
    let mut observer = ctx.subscriber(&will_topic(ctx), 1)?;
    let will = Will::new(will_topic(ctx), "x")
        .qos(1)
        .property(ppair("z", "1"))
        .property(p1(id::PAYLOAD_FORMAT, 1))
        .property(ppair("a", "2"))
        .property(pstr(id::CONTENT_TYPE, "text/plain"))
        .property(pstr(id::RESPONSE_TOPIC, "r"))
        .property(pstr(id::CORRELATION_DATA, [0, 1]))
        .property(p4(id::MESSAGE_EXPIRY, 600))
        .property(ppair("z", "1"));
    Peer::join(ctx, &ctx.connect().will(will))?.cut()?;
    let properties = observer.message()?.properties;
    ensure!(properties.pairs() == [("z", "1"), ("a", "2"), ("z", "1")], "{properties:?}");
    ensure!(properties.number(id::PAYLOAD_FORMAT) == Some(1), "{properties:?}");
    ensure!(properties.text(id::CONTENT_TYPE) == Some("text/plain"), "{properties:?}");
    ensure!(properties.text(id::RESPONSE_TOPIC) == Some("r"), "{properties:?}");
    ensure!(properties.binary(id::CORRELATION_DATA) == Some(&[0, 1][..]), "{properties:?}");
    let expiry = properties.number(id::MESSAGE_EXPIRY);
    ensure!(expiry.is_some_and(|left| (590..=600).contains(&left)), "{properties:?}");
    Ok(())
}

fn delayed(ctx: &Context, seconds: u32) -> crate::wire::Connect {
    let will = Will::new(will_topic(ctx), "delayed").property(p4(id::WILL_DELAY, seconds));
    ctx.connect().persist().will(will)
}

fn a_delayed_will_is_cancelled_by_a_new_connection(ctx: &Context) -> Result<()> {
    let mut observer = ctx.subscriber(&will_topic(ctx), 0)?;
    let connect = delayed(ctx, 1);
    Peer::join(ctx, &connect)?.cut()?;
    let back = Peer::join(ctx, &connect)?;
    ensure!(back.welcome.session_present, "the session is lost");
    std::thread::sleep(Duration::from_millis(2500));
    let mut publisher = ctx.join()?;
    ctx.only_marker_arrives(&mut observer, &mut publisher, &will_topic(ctx))?;
    back.leave()
}

fn a_delayed_will_comes_after_its_delay(ctx: &Context) -> Result<()> {
    let mut observer = ctx.subscriber(&will_topic(ctx), 0)?;
    Peer::join(ctx, &delayed(ctx, 2))?.cut()?;
    let start = Instant::now();
    ensure!(observer.message()?.payload == b"delayed", "another will came");
    let delay = start.elapsed();
    // A broker whose clock counts whole seconds may be almost one early.
    ensure!(delay >= Duration::from_millis(950), "a will delayed by 2 s came after {delay:?}");
    Ok(())
}

fn a_delayed_will_comes_when_the_session_ends(ctx: &Context) -> Result<()> {
    let mut observer = ctx.subscriber(&will_topic(ctx), 0)?;
    let connect = delayed(ctx, 300);
    Peer::join(ctx, &connect)?.cut()?;
    let mut clean = connect.clone();
    clean.clean = true;
    clean.will = None;
    Peer::join(ctx, &clean)?.leave()?;
    ensure!(observer.message()?.payload == b"delayed", "another will came");
    Ok(())
}
