//! Session state: kept, resumed, discarded, taken over.

use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::context::Context;
use crate::packet::Packet;
use crate::peer::{Heard, PATIENCE, Peer};
use crate::wire::{id, p4};

super::tests! {
    a_session_is_resumed: ["3.1.2-4"] ["3.1.2-5" "3.1.2-23"];
    a_session_is_created_if_there_is_none: ["3.1.2-4"] ["3.1.2-5"];
    messages_are_kept_for_a_session: ["3.1.2-5"] ["3.1.2-23" "4.5.0-1"];
    a_clean_start_discards_the_session: ["3.1.2-6" "3.1.4-3"] ["3.1.2-4" "3.1.4-4"];
    a_clean_session_is_not_reused: ["3.1.2-6"] ["3.1.2-23"];
    client_identifiers_tell_sessions_apart: ["3.1.3-2"] ["3.1.3-2"];
    a_client_is_taken_over: ["3.1.4-2"] ["3.1.4-3" "3.14.2-1"];
    a_takeover_resumes_the_session: ["3.1.4-2" "3.1.2-4"] ["3.1.4-3" "3.1.2-5"];
    a_session_is_kept_while_connected @Slow: ["3.1.2-4"] ["4.1.0-1"];
    a_session_ends_with_its_expiry @Slow: [] ["4.1.0-2"];
    a_session_without_expiry_ends_with_its_connection: [] ["4.1.0-2"];
    a_disconnect_can_change_the_expiry: [] ["4.1.0-2" "3.1.2-23"];
    a_disconnect_cannot_start_an_expiry: [] ["4.13.1-1"];
}

fn a_session_is_resumed(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let connect = ctx.connect().persist();
    let mut peer = Peer::join(ctx, &connect)?;
    peer.subscribe(&topic, 1)?;
    peer.leave()?;
    for _ in 0..2 {
        let mut peer = Peer::join(ctx, &connect)?;
        ensure!(peer.welcome.session_present, "the session is lost");
        ctx.join()?.publish(&topic, 1, "x")?;
        ensure!(peer.message()?.qos == 1, "the subscription of the session changed");
        peer.cut()?;
    }
    Ok(())
}

fn a_session_is_created_if_there_is_none(ctx: &Context) -> Result<()> {
    let connect = ctx.connect().persist();
    let mut peer = Peer::join(ctx, &connect)?;
    ensure!(!peer.welcome.session_present, "a new client has a session");
    peer.ping()?;
    peer.leave()?;
    ensure!(Peer::join(ctx, &connect)?.welcome.session_present, "no session was created");
    Ok(())
}

fn messages_are_kept_for_a_session(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let connect = ctx.connect().persist();
    let mut peer = Peer::join(ctx, &connect)?;
    peer.subscribe(&topic, 2)?;
    peer.leave()?;
    let mut publisher = ctx.join()?;
    for index in 0..10 {
        publisher.publish(&topic, 1 + index % 2, index.to_string())?;
    }
    let mut peer = Peer::join(ctx, &connect)?;
    for index in 0..10_u8 {
        let message = peer.message()?;
        let expected = index.to_string().into_bytes();
        ensure!(message.payload == expected && message.qos == 1 + index % 2, "{index}: {message:?}");
        ensure!(!message.dup, "the first delivery of {index} has DUP");
    }
    Ok(())
}

fn a_clean_start_discards_the_session(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let name = ctx.name();
    let persistent = ctx.connect_as(&name).persist();
    let mut peer = Peer::join(ctx, &persistent)?;
    peer.subscribe(&topic, 1)?;
    peer.leave()?;
    let mut publisher = ctx.join()?;
    publisher.publish(&topic, 1, "kept for the old session")?;
    let mut clean = ctx.connect_as(&name).session_expiry(300);
    clean.clean = true;
    let mut peer = Peer::join(ctx, &clean)?;
    publisher.publish(&topic, 1, "for nobody")?;
    let marker = ctx.topic("marker");
    peer.subscribe(&marker, 0)?;
    ctx.only_marker_arrives(&mut peer, &mut publisher, &marker)?;
    peer.leave()?;
    if !ctx.is_v5() {
        // In 3.1.1 the clean session has ended with its connection.
        let after = Peer::join(ctx, &persistent)?;
        ensure!(!after.welcome.session_present, "a clean session was reused");
    }
    Ok(())
}

fn a_clean_session_is_not_reused(ctx: &Context) -> Result<()> {
    let name = ctx.name();
    let topic = ctx.topic("t");
    let mut peer = Peer::join(ctx, &ctx.connect_as(&name))?;
    peer.subscribe(&topic, 1)?;
    peer.leave()?;
    let mut peer = Peer::join(ctx, &ctx.connect_as(&name).persist())?;
    ensure!(!peer.welcome.session_present, "a session that was not to be kept is present");
    let mut publisher = ctx.join()?;
    publisher.publish(&topic, 1, "for nobody")?;
    let marker = ctx.topic("marker");
    peer.subscribe(&marker, 0)?;
    ctx.only_marker_arrives(&mut peer, &mut publisher, &marker)
}

fn client_identifiers_tell_sessions_apart(ctx: &Context) -> Result<()> {
    let name = ctx.name();
    let names = [name.clone(), name.to_uppercase(), format!("{name}0")];
    for (index, name) in names.iter().enumerate() {
        let mut peer = Peer::join(ctx, &ctx.connect_as(name).persist())?;
        ensure!(!peer.welcome.session_present, "{name} has the session of another");
        peer.subscribe(ctx.topic(&index.to_string()), 1)?;
        peer.leave()?;
    }
    let mut publisher = ctx.join()?;
    for index in 0..names.len() {
        publisher.publish(ctx.topic(&index.to_string()), 1, index.to_string())?;
    }
    for (index, name) in names.iter().enumerate() {
        let mut peer = Peer::join(ctx, &ctx.connect_as(name).persist())?;
        ensure!(peer.welcome.session_present, "{name} has lost its session");
        ensure!(peer.message()?.payload == index.to_string().into_bytes(), "{name} got another's message");
    }
    Ok(())
}

fn a_client_is_taken_over(ctx: &Context) -> Result<()> {
    let connect = ctx.connect();
    let mut old = Peer::join(ctx, &connect)?;
    let mut new = Peer::join(ctx, &connect)?;
    match old.hear(PATIENCE)? {
        Heard::Packet(Packet::Disconnect { reason: 0x8e, .. }) => old.closed(&[])?,
        Heard::Closed if !ctx.is_v5() => {}
        other => bail!("the old connection got {}, not DISCONNECT 0x8e and its end", other.name()),
    }
    new.ping()
}

fn a_takeover_resumes_the_session(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let connect = ctx.connect().persist();
    let mut old = Peer::join(ctx, &connect)?;
    old.subscribe(&topic, 1)?;
    let mut publisher = ctx.join()?;
    publisher.publish(&topic, 1, "under way")?;
    let first = old.arrival()?;
    let mut new = Peer::join(ctx, &connect)?;
    ensure!(new.welcome.session_present, "the session was lost when it was taken over");
    let again = new.message()?;
    ensure!(again.packet_id == first.packet_id && again.dup, "{again:?} is not {first:?} again");
    old.closed(&[0x8e])?;
    publisher.publish(&topic, 1, "x")?;
    ensure!(new.message()?.payload == b"x", "another message came");
    Ok(())
}

fn a_session_is_kept_while_connected(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    // In MQTT 5 the session may live for a second after its connection, which has not ended.
    let mut short = Peer::join(ctx, &ctx.connect().resume().session_expiry(1))?;
    let mut none = ctx.subscriber(&topic, 2)?;
    short.subscribe(&topic, 2)?;
    std::thread::sleep(Duration::from_millis(2500));
    ctx.join()?.publish(&topic, 2, "x")?;
    for peer in [&mut short, &mut none] {
        ensure!(peer.message()?.qos == 2, "the subscription changed");
    }
    Ok(())
}

fn a_session_ends_with_its_expiry(ctx: &Context) -> Result<()> {
    let connect = ctx.connect().resume().session_expiry(1);
    let topic = ctx.topic("t");
    let mut peer = Peer::join(ctx, &connect)?;
    peer.subscribe(&topic, 1)?;
    peer.leave()?;
    let again = Peer::join(ctx, &connect)?;
    ensure!(again.welcome.session_present, "the session ended before its second was over");
    again.leave()?;
    std::thread::sleep(Duration::from_millis(3200));
    let after = Peer::join(ctx, &connect)?;
    ensure!(!after.welcome.session_present, "a session of one second lives after three");
    Ok(())
}

fn a_session_without_expiry_ends_with_its_connection(ctx: &Context) -> Result<()> {
    for connect in [ctx.connect().resume(), ctx.connect().resume().session_expiry(0)] {
        let mut peer = Peer::join(ctx, &connect)?;
        peer.subscribe(ctx.topic("t"), 1)?;
        peer.leave()?;
        let again = Peer::join(ctx, &connect)?;
        ensure!(!again.welcome.session_present, "a session without expiry outlived its connection");
        again.leave()?;
    }
    Ok(())
}

fn a_disconnect_can_change_the_expiry(ctx: &Context) -> Result<()> {
    let connect = ctx.connect().persist();
    Peer::join(ctx, &connect)?.leave_with(0, &p4(id::SESSION_EXPIRY, 0))?;
    let again = Peer::join(ctx, &connect)?;
    ensure!(!again.welcome.session_present, "the session outlived a DISCONNECT with expiry 0");
    again.leave_with(0, &p4(id::SESSION_EXPIRY, 60))?;
    ensure!(Peer::join(ctx, &connect)?.welcome.session_present, "the session is lost");
    Ok(())
}

fn a_disconnect_cannot_start_an_expiry(ctx: &Context) -> Result<()> {
    let connect = ctx.connect().resume().session_expiry(0);
    let mut peer = Peer::join(ctx, &connect)?;
    peer.send(&crate::wire::disconnect(ctx.version, 0, &p4(id::SESSION_EXPIRY, 60)))?;
    peer.closed(&[0x80, 0x82])?;
    ensure!(!Peer::join(ctx, &connect)?.welcome.session_present, "a DISCONNECT made the session last");
    Ok(())
}
