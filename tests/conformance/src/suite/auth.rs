//! Enhanced authentication, as far as it shows without a credential.

use anyhow::{Result, bail, ensure};

use crate::context::Context;
use crate::packet::Packet;
use crate::peer::{Heard, Peer};
use crate::wire::{AUTH, auth, frame, id};

super::tests! {
    an_unknown_method_is_refused: [] ["4.12.0-1" "4.12.0-4" "3.1.4-2"];
    without_a_method_the_server_sends_no_auth: [] ["4.12.0-6"];
    auth_without_a_method_is_refused: [] ["4.12.0-7"];
    auth_header_flags_must_be_zero: [] ["3.15.1-1"];
    auth_with_an_unknown_reason_is_refused: [] ["3.15.2-1"];
}

fn an_unknown_method_is_refused(ctx: &Context) -> Result<()> {
    for data in [None, Some(&b"n,,n=user,r=nonce"[..])] {
        let (mut peer, heard) = Peer::knock(ctx, &ctx.connect().auth("NO-SUCH-METHOD", data))?;
        match heard {
            Heard::Packet(Packet::ConnAck { reason: 0x8c | 0x87, .. }) => peer.closed(&[])?,
            Heard::Closed => {}
            other => bail!("an unknown method got {}", other.name()),
        }
    }
    ctx.is_alive()
}

fn without_a_method_the_server_sends_no_auth(ctx: &Context) -> Result<()> {
    // The verifier refuses an AUTH and an authentication method on every connection of the suite without a method.
    for connect in [ctx.connect(), ctx.connect().user("user").password("password")] {
        let (_, heard) = Peer::knock(ctx, &connect)?;
        match heard {
            Heard::Packet(Packet::ConnAck { properties, .. }) => {
                ensure!(!properties.has(id::AUTH_METHOD) && !properties.has(id::AUTH_DATA), "{properties:?}");
            }
            Heard::Closed => {}
            other => bail!("a CONNECT without a method got {}", other.name()),
        }
    }
    Ok(())
}

fn auth_without_a_method_is_refused(ctx: &Context) -> Result<()> {
    let reasons = &[0x80, 0x81, 0x82, 0x83, 0x87];
    ctx.refuses("AUTH 0x19 on a plain connection", &auth(0x19, "SCRAM-SHA-256", None), reasons)?;
    ctx.refuses("AUTH 0x18 on a plain connection", &auth(0x18, "SCRAM-SHA-256", Some(b"x")), reasons)?;
    ctx.refuses_first("AUTH before CONNECT", &auth(0x18, "SCRAM-SHA-256", Some(b"x")))
}

fn auth_header_flags_must_be_zero(ctx: &Context) -> Result<()> {
    for flags in [1, 2, 4, 8] {
        let mut bytes = auth(0x19, "SCRAM-SHA-256", None);
        bytes[0] |= flags;
        ctx.refuses("AUTH with flags", &bytes, &[0x80, 0x81, 0x82])?;
    }
    Ok(())
}

fn auth_with_an_unknown_reason_is_refused(ctx: &Context) -> Result<()> {
    let reasons = &[0x80, 0x81, 0x82, 0x83, 0x87];
    for reason in [0x01, 0x1a, 0x80] {
        ctx.refuses("AUTH reason", &auth(reason, "SCRAM-SHA-256", None), reasons)?;
    }
    // The short form means success, which is not a client's to say.
    ctx.refuses("AUTH without a reason", &frame(AUTH << 4, &[]), reasons)
}
