//! The payload of CONNECT: client identifier, will fields, credentials.

use anyhow::{Context as _, Result, bail, ensure};

use crate::context::Context;
use crate::packet::Packet;
use crate::peer::{Heard, Peer};
use crate::wire::{CONNECT, Connect, Will, field, frame, id};

super::tests! {
    the_fields_are_read_in_their_order: ["3.1.3-1" "3.1.2-9"] ["3.1.3-1" "3.1.2-6" "3.1.2-9"];
    absent_will_fields_are_refused: ["3.1.2-9"] ["3.1.2-6" "3.1.2-9"];
    credentials_follow_their_flags: ["3.1.2-18" "3.1.2-19" "3.1.2-20" "3.1.2-21"]
        ["3.1.2-16" "3.1.2-17" "3.1.2-18" "3.1.2-19"];
    a_password_without_user_name_is_refused: ["3.1.2-22"] [];
    a_client_identifier_must_be_there: ["3.1.3-3"] ["3.1.4-1"];
    ordinary_client_identifiers_are_allowed: ["3.1.3-5"] ["3.1.3-3"];
    an_empty_client_identifier_gets_another: ["3.1.3-6" "3.1.3-7"] ["3.1.3-4" "3.1.3-6" "3.1.3-7"];
    an_empty_client_identifier_of_a_session_is_refused: ["3.1.3-8" "3.1.3-7" "3.2.2-5"] [];
    odd_client_identifiers_are_accepted_or_refused_in_form: ["3.1.3-9"] ["3.1.3-5" "3.1.3-8"];
}

fn the_fields_are_read_in_their_order(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("will");
    let mut observer = ctx.subscriber(&topic, 2)?;
    let will = Will::new(&topic, "last words").qos(1);
    Peer::join(ctx, &ctx.connect().will(will.clone()))?.cut()?;
    let message = observer.message()?;
    ensure!(message.topic == topic && message.payload == b"last words", "{message:?}");
    ensure!(message.qos == 1, "the will came with QoS {}", message.qos);
    // All fields at once: whether these credentials are good is not the question.
    let full = ctx.connect().will(will).user("user").password("password");
    if let Some(peer) = with_credentials(ctx, &full)? {
        peer.cut()?;
        let message = observer.message()?;
        ensure!(message.topic == topic && message.payload == b"last words", "{message:?}");
    }
    Ok(())
}

/// A connection, or nothing if the server refused the credentials; any other answer is a failure.
fn with_credentials(ctx: &Context, connect: &Connect) -> Result<Option<Peer>> {
    let (mut peer, heard) = Peer::knock(ctx, connect)?;
    match heard {
        Heard::Packet(Packet::ConnAck { reason: 0, .. }) => Ok(Some(peer)),
        Heard::Packet(Packet::ConnAck { reason: 4 | 5 | 0x86 | 0x87, .. }) => {
            peer.closed(&[])?;
            Ok(None)
        }
        other => bail!("well-formed credentials got {}", other.name()),
    }
}

fn absent_will_fields_are_refused(ctx: &Context) -> Result<()> {
    // Will flag without any field.
    ctx.refuses_first("no will at all", &ctx.connect().flip(0x04).bytes())?;
    let whole = ctx.connect().will(Will::new(ctx.topic("w"), "payload")).body();
    // Neither the payload nor, in the shorter one, the topic.
    let payload = field("payload").len();
    let topic = field(ctx.topic("w")).len();
    for missing in [payload, payload + topic] {
        let short = &whole[..whole.len() - missing];
        ctx.refuses_first("will fields are missing", &frame(CONNECT << 4, short))?;
    }
    Ok(())
}

fn credentials_follow_their_flags(ctx: &Context) -> Result<()> {
    let plain = ctx.connect().body();
    let user_there = [&plain[..], &field("user")].concat();
    ctx.refuses_first("a user name without its flag", &frame(CONNECT << 4, &user_there))?;
    ctx.refuses_first("a user name flag without the field", &ctx.connect().flip(0x80).bytes())?;
    let password_there = [ctx.connect().user("user").body(), field("password")].concat();
    ctx.refuses_first("a password without its flag", &frame(CONNECT << 4, &password_there))?;
    let no_password = ctx.connect().user("user").flip(0x40).bytes();
    ctx.refuses_first("a password flag without the field", &no_password)?;
    for connect in [ctx.connect().user("user"), ctx.connect().user("user").password("")] {
        if let Some(mut peer) = with_credentials(ctx, &connect)? {
            peer.ping()?;
        }
    }
    if ctx.is_v5() {
        // New in MQTT 5: a password without a user name.
        with_credentials(ctx, &ctx.connect().password("token"))?;
    }
    Ok(())
}

fn a_password_without_user_name_is_refused(ctx: &Context) -> Result<()> {
    ctx.refuses_first("password flag without user name flag", &ctx.connect().password("password").bytes())
}

fn a_client_identifier_must_be_there(ctx: &Context) -> Result<()> {
    let whole = ctx.connect_as("").body();
    ctx.refuses_first("no payload", &frame(CONNECT << 4, &whole[..whole.len() - 2]))
}

fn ordinary_client_identifiers_are_allowed(ctx: &Context) -> Result<()> {
    let mut longest = ctx.name();
    longest.push_str("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
    longest.truncate(23);
    for name in ["Z", "7", &ctx.name(), &longest, "abcdefghijklmnopqrstuvw", "0123456789ABCDEFGHIJKLM"] {
        Peer::join(ctx, &ctx.connect_as(name)).with_context(|| format!("client identifier {name}"))?;
    }
    Ok(())
}

fn an_empty_client_identifier_gets_another(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    if !ctx.is_v5() {
        // Both stay, so each has an identity of its own.
        let mut one = Peer::join(ctx, &ctx.connect_as(""))?;
        let mut two = Peer::join(ctx, &ctx.connect_as(""))?;
        one.subscribe(&topic, 0)?;
        two.publish(&topic, 0, "x")?;
        ensure!(one.message()?.payload == b"x", "a client without a name got something else");
        return two.ping();
    }
    let assigned = |peer: &Peer| {
        let name = peer.welcome.properties.text(id::ASSIGNED_CLIENT_ID).map(str::to_owned);
        name.filter(|name| !name.is_empty()).context("no Assigned Client Identifier")
    };
    let one = Peer::join(ctx, &ctx.connect_as(""))?;
    let mut two = Peer::join(ctx, &ctx.connect_as("").persist())?;
    let (first, second) = (assigned(&one)?, assigned(&two)?);
    ensure!(first != second, "the same identifier {first:?} was assigned twice");
    ensure!(!two.welcome.session_present, "a new client has a session");
    two.subscribe(&topic, 1)?;
    two.leave()?;
    // The assigned name is the name of the session.
    let again = Peer::join(ctx, &ctx.connect_as(&second).persist())?;
    ensure!(again.welcome.session_present, "the session of the assigned identifier is lost");
    let named = again.welcome.properties.has(id::ASSIGNED_CLIENT_ID);
    ensure!(!named, "an identifier was assigned to a client that has one");
    Ok(())
}

fn an_empty_client_identifier_of_a_session_is_refused(ctx: &Context) -> Result<()> {
    let (mut peer, heard) = Peer::knock(ctx, &ctx.connect_as("").resume())?;
    let Heard::Packet(Packet::ConnAck { reason: 2, session_present: false, .. }) = heard else {
        bail!("expected CONNACK 0x02, got {}", heard.name());
    };
    peer.closed(&[])
}

fn odd_client_identifiers_are_accepted_or_refused_in_form(ctx: &Context) -> Result<()> {
    let tag = ctx.name();
    let long = format!("{tag}{}", "x".repeat(1000));
    let longest = format!("{tag}{}", "x".repeat(65_535 - tag.len()));
    let names =
        [format!("{tag}/+#"), format!("{tag} with spaces"), format!("{tag}\u{e9}\u{1f600}"), long, longest];
    let legal: &[u8] = if ctx.is_v5() { &[0x85, 0x90, 0x95, 0x97] } else { &[2] };
    for name in names {
        let (mut peer, heard) = Peer::knock(ctx, &ctx.connect_as(&name))?;
        let short: String = name.chars().take(30).collect();
        match heard {
            Heard::Packet(Packet::ConnAck { reason: 0, .. }) => peer.ping()?,
            Heard::Packet(Packet::ConnAck { reason, .. }) if legal.contains(&reason) => peer.closed(&[])?,
            // A packet beyond what the server reads before it knows the client is no matter of the identifier.
            Heard::Closed if name.len() > 256 => {}
            other => bail!("client identifier {short:?}: {}", other.name()),
        }
    }
    Ok(())
}
