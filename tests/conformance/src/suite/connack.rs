//! CONNACK: that it is first and alone, its flags, session present, and what it promises.

use anyhow::{Result, bail, ensure};

use crate::context::Context;
use crate::packet::Packet;
use crate::peer::{Heard, Peer};
use crate::wire::{Will, id, p1, subscribe};

super::tests! {
    connack_comes_first: ["3.2.0-1"] ["3.2.0-1" "3.2.0-2"];
    connack_flags_are_zero_or_one: ["3.2.2-1"] ["3.2.2-1"];
    session_present_after_a_clean_start_is_zero: ["3.2.2-1" "3.1.4-3"] ["3.2.2-2" "3.1.4-4"];
    session_present_tells_whether_there_is_a_session: ["3.2.2-2" "3.2.2-3"] ["3.2.2-3"];
    a_refusal_has_no_session_present_and_closes: ["3.2.2-4" "3.2.2-5"]
        ["3.2.2-6" "3.2.2-7" "3.2.2-8" "3.1.4-2"];
    every_requested_qos_is_answered: [] ["3.2.2-9" "3.2.2-10"];
    will_qos_within_capability: [] ["3.2.2-12"];
    will_retain_within_capability: [] ["3.2.2-13"];
    response_information_is_not_sent_unasked: [] ["3.1.2-28"];
}

fn connack_comes_first(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let connect = ctx.connect().persist();
    let mut peer = Peer::join(ctx, &connect)?;
    peer.subscribe(&topic, 1)?;
    peer.leave()?;
    ctx.join()?.publish(&topic, 1, "waiting")?;
    // A message waits in the session and more requests come in the same piece as the CONNECT.
    let mut peer = Peer::dial(ctx)?;
    let more = subscribe(ctx.version, 9, &[], &[(ctx.topic("u"), 0)]);
    peer.send(&[connect.bytes(), more, vec![0xc0, 0]].concat())?;
    peer.accepted()?;
    ensure!(peer.message()?.payload == b"waiting", "the message of the session did not come");
    peer.ping()?;
    peer.ping()
}

fn connack_flags_are_zero_or_one(ctx: &Context) -> Result<()> {
    // The reader refuses any other bit; here are an acceptance of each kind and a refusal.
    let connect = ctx.connect().persist();
    Peer::join(ctx, &connect)?.leave()?;
    ensure!(Peer::join(ctx, &connect)?.welcome.session_present, "the session is lost");
    let clean = Peer::join(ctx, &ctx.connect())?;
    ensure!(!clean.welcome.session_present, "a new client has a session");
    let (_, heard) = Peer::knock(ctx, &refused(ctx))?;
    ensure!(matches!(heard, Heard::Closed | Heard::Packet(Packet::ConnAck { .. })), "{}", heard.name());
    Ok(())
}

/// A CONNECT that is well-formed and must be refused.
fn refused(ctx: &Context) -> crate::wire::Connect {
    if ctx.is_v5() { ctx.connect().auth("no-such-method", Some(b"x")) } else { ctx.connect_as("").resume() }
}

fn session_present_after_a_clean_start_is_zero(ctx: &Context) -> Result<()> {
    let name = ctx.name();
    let persistent = ctx.connect_as(&name).persist();
    Peer::join(ctx, &persistent)?.leave()?;
    let clean = Peer::join(ctx, &ctx.connect_as(&name))?;
    ensure!(!clean.welcome.session_present, "Session Present after a clean start");
    clean.leave()?;
    let after = Peer::join(ctx, &persistent)?;
    ensure!(!after.welcome.session_present, "the session outlived a clean start");
    Ok(())
}

fn session_present_tells_whether_there_is_a_session(ctx: &Context) -> Result<()> {
    let connect = ctx.connect().persist();
    let first = Peer::join(ctx, &connect)?;
    ensure!(!first.welcome.session_present, "Session Present for a client never seen");
    first.leave()?;
    for _ in 0..2 {
        let again = Peer::join(ctx, &connect)?;
        ensure!(again.welcome.session_present, "no Session Present though there is a session");
        again.leave()?;
    }
    Ok(())
}

fn a_refusal_has_no_session_present_and_closes(ctx: &Context) -> Result<()> {
    let mut connect = refused(ctx);
    if ctx.is_v5() {
        // With a session in store, which the refusal must not mention.
        let persistent = ctx.connect().persist();
        Peer::join(ctx, &persistent)?.leave()?;
        connect.client_id = persistent.client_id;
        connect.clean = false;
    }
    let (mut peer, heard) = Peer::knock(ctx, &connect)?;
    match heard {
        Heard::Packet(Packet::ConnAck { session_present: false, reason: 1.., .. }) => peer.closed(&[]),
        Heard::Closed if ctx.is_v5() => Ok(()),
        other => bail!("expected a refusal, got {}", other.name()),
    }
}

fn every_requested_qos_is_answered(ctx: &Context) -> Result<()> {
    let mut peer = ctx.join()?;
    let most = peer.welcome.properties.number(id::MAXIMUM_QOS).unwrap_or(2) as u8;
    for requested in 0..3 {
        let granted = peer.subscribe(ctx.topic(&format!("q{requested}")), requested)?;
        ensure!(granted == requested.min(most), "granted {granted} of {requested}, maximum {most}");
    }
    Ok(())
}

fn will_qos_within_capability(ctx: &Context) -> Result<()> {
    let mut observer = ctx.join()?;
    let most = observer.welcome.properties.number(id::MAXIMUM_QOS).unwrap_or(2) as u8;
    for qos in 0..3 {
        let topic = ctx.topic(&format!("w{qos}"));
        observer.subscribe(&topic, qos)?;
        let connect = ctx.connect().will(Will::new(&topic, "x").qos(qos));
        if qos > most {
            let (mut peer, heard) = Peer::knock(ctx, &connect)?;
            ensure!(
                !matches!(heard, Heard::Packet(Packet::ConnAck { reason: 0, .. })),
                "will QoS {qos} accepted"
            );
            peer.closed(&[0x9b, 0x80])?;
            continue;
        }
        Peer::join(ctx, &connect)?.cut()?;
        let message = observer.message()?;
        ensure!(message.topic == topic && message.qos == qos, "a will of QoS {qos} came as {message:?}");
    }
    Ok(())
}

fn will_retain_within_capability(ctx: &Context) -> Result<()> {
    let probe = ctx.join()?;
    let available = probe.welcome.properties.number(id::RETAIN_AVAILABLE) != Some(0);
    let connect = ctx.connect().will(Will::new(ctx.topic("w"), "x").retained());
    let (mut peer, heard) = Peer::knock(ctx, &connect)?;
    match heard {
        Heard::Packet(Packet::ConnAck { reason: 0, .. }) if available => peer.leave(),
        Heard::Packet(Packet::ConnAck { reason: 0x80.., .. }) if !available => peer.closed(&[]),
        Heard::Closed if !available => Ok(()),
        other => bail!("a retained will got {}, retain available: {available}", other.name()),
    }
}

fn response_information_is_not_sent_unasked(ctx: &Context) -> Result<()> {
    // The verifier refuses it in every other CONNACK of the suite as well.
    for connect in [ctx.connect(), ctx.connect().property(p1(id::REQUEST_RESPONSE_INFO, 0))] {
        let peer = Peer::join(ctx, &connect)?;
        ensure!(!peer.welcome.properties.has(id::RESPONSE_INFO), "response information unasked");
    }
    let mut asking = ctx.connect().property(p1(id::REQUEST_RESPONSE_INFO, 1));
    asking.promise.response_info = true;
    Peer::join(ctx, &asking)?.ping()
}
