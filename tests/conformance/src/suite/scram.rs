//! Enhanced authentication with SCRAM-SHA-256 (RFC 5802 and 7677), for brokers that have it.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::context::{Context, ScramCredential};
use crate::packet::{Packet, Properties};
use crate::peer::{Heard, PATIENCE, Peer};
use crate::sha256::{base64, hmac, pbkdf2, sha256, unbase64};
use crate::wire::{Connect, auth, frame, id};

super::tests! {
    scram_lets_the_user_in @Scram: [] ["4.12.0-2" "4.12.0-3" "4.12.0-5" "3.15.2-1"];
    scram_with_a_wrong_password_is_refused @Scram: [] ["4.12.0-4"];
    scram_with_an_unknown_user_is_refused @Scram: [] ["4.12.0-4"];
    another_method_during_the_exchange_is_refused @Scram: [] ["4.12.0-5" "4.12.0-4"];
    auth_packets_keep_to_the_maximum @Scram: [] ["3.15.2-2" "3.15.2-3"];
    a_client_authenticates_again @Scram: [] ["4.12.1-1" "4.12.0-5" "3.15.2-1"];
    another_method_on_authenticating_again_is_refused @Scram: [] ["4.12.1-1"];
    failing_to_authenticate_again_ends_the_connection @Scram: [] ["4.12.1-2"];
    authenticating_again_is_a_sign_of_life @Scram: [] ["3.1.2-22"];
}

const METHOD: &str = "SCRAM-SHA-256";

/// The client's part of one exchange.
struct Exchange {
    password: String,
    first: String,
    nonce: String,
    server_signature: Vec<u8>,
}

impl Exchange {
    fn new(ctx: &Context, user: &str, password: &str) -> Self {
        let nonce = base64(ctx.name().as_bytes());
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let first = format!("n={user},r={nonce}");
        Self { password: password.to_owned(), first, nonce, server_signature: Vec::new() }
    }

    fn client_first(&self) -> Vec<u8> {
        format!("n,,{}", self.first).into_bytes()
    }

    fn client_final(&mut self, server_first: &[u8]) -> Result<Vec<u8>> {
        let server_first = std::str::from_utf8(server_first).context("server-first-message")?;
        let field = |name: &str| {
            let found = server_first.split(',').find_map(|part| part.strip_prefix(name));
            found.with_context(|| format!("{name} in {server_first:?}"))
        };
        let nonce = field("r=")?;
        let longer = nonce.starts_with(&self.nonce) && nonce.len() > self.nonce.len();
        ensure!(longer, "the server's nonce {nonce:?} does not extend {:?}", self.nonce);
        let salt = unbase64(field("s=")?).context("the salt")?;
        let rounds: u32 = field("i=")?.parse().context("the iteration count")?;
        ensure!(rounds >= 4096, "{rounds} iterations, RFC 7677 demands 4096");
        let bare = format!("c=biws,r={nonce}");
        let message = format!("{},{server_first},{bare}", self.first);
        let salted = pbkdf2(self.password.as_bytes(), &salt, rounds);
        let client_key = hmac(&salted, b"Client Key");
        let signature = hmac(&sha256(&client_key), message.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(signature).map(|(key, other)| key ^ other).collect();
        self.server_signature = hmac(&hmac(&salted, b"Server Key"), message.as_bytes()).to_vec();
        Ok(format!("{bare},p={}", base64(&proof)).into_bytes())
    }

    fn check_server_final(&self, properties: &Properties) -> Result<()> {
        let data = properties.binary(id::AUTH_DATA).context("no server-final-message")?;
        let expected = format!("v={}", base64(&self.server_signature));
        ensure!(data == expected.as_bytes(), "the server does not prove that it knows the password");
        Ok(())
    }
}

fn credential(ctx: &Context) -> Result<&ScramCredential> {
    ctx.scram.as_ref().context("no credential was given")
}

/// The authentication data of an AUTH 0x18.
fn challenge(peer: &mut Peer) -> Result<Vec<u8>> {
    match peer.hear(PATIENCE)? {
        Heard::Packet(Packet::Auth { reason: 0x18, properties }) => {
            Ok(properties.binary(id::AUTH_DATA).context("AUTH without data")?.to_vec())
        }
        other => bail!("expected AUTH 0x18, got {}", other.name()),
    }
}

/// A connection that is about to be accepted or refused.
fn begin(ctx: &Context, user: &str, password: &str, connect: Connect) -> Result<(Peer, Exchange)> {
    let mut exchange = Exchange::new(ctx, user, password);
    let mut peer = Peer::dial(ctx)?;
    peer.introduce(ctx, &connect.auth(METHOD, Some(&exchange.client_first())))?;
    let server_first = challenge(&mut peer)?;
    let answer = exchange.client_final(&server_first)?;
    peer.send(&auth(0x18, METHOD, Some(&answer)))?;
    Ok((peer, exchange))
}

fn authenticated(ctx: &Context) -> Result<Peer> {
    let ScramCredential { user, password } = credential(ctx)?;
    let (mut peer, exchange) = begin(ctx, user, password, ctx.connect())?;
    peer.accepted()?;
    exchange.check_server_final(&peer.welcome.properties)?;
    Ok(peer)
}

fn scram_lets_the_user_in(ctx: &Context) -> Result<()> {
    // The verifier compares the method of every AUTH and of the CONNACK.
    let mut peer = authenticated(ctx)?;
    let topic = ctx.topic("t");
    peer.subscribe(&topic, 1)?;
    peer.publish(&topic, 1, "x")?;
    ensure!(peer.message()?.payload == b"x", "another message came");
    peer.leave()
}

/// Refused with a CONNACK of one of the reasons, or without.
fn refused(peer: &mut Peer) -> Result<()> {
    match peer.hear(PATIENCE)? {
        Heard::Packet(Packet::ConnAck {
            reason: 0x80 | 0x81 | 0x82 | 0x83 | 0x86 | 0x87 | 0x8a | 0x8c,
            ..
        }) => peer.closed(&[]),
        Heard::Closed => Ok(()),
        other => bail!("expected a refusal, got {}", other.name()),
    }
}

fn scram_with_a_wrong_password_is_refused(ctx: &Context) -> Result<()> {
    let ScramCredential { user, password } = credential(ctx)?;
    let (mut peer, _) = begin(ctx, user, &format!("{password}x"), ctx.connect())?;
    refused(&mut peer)?;
    authenticated(ctx)?.leave()
}

fn scram_with_an_unknown_user_is_refused(ctx: &Context) -> Result<()> {
    let exchange = Exchange::new(ctx, &ctx.name(), "password");
    let connect = ctx.connect().auth(METHOD, Some(&exchange.client_first()));
    let (mut peer, heard) = Peer::knock(ctx, &connect)?;
    // A server may go on as if it knew the user, so as not to tell who is one.
    match heard {
        Heard::Packet(Packet::Auth { reason: 0x18, properties }) => {
            let server_first = properties.binary(id::AUTH_DATA).context("AUTH without data")?;
            let mut exchange = exchange;
            let answer = exchange.client_final(server_first)?;
            peer.send(&auth(0x18, METHOD, Some(&answer)))?;
            refused(&mut peer)
        }
        Heard::Packet(Packet::ConnAck { reason: 0x80.., .. }) => peer.closed(&[]),
        Heard::Closed => Ok(()),
        other => bail!("an unknown user got {}", other.name()),
    }
}

fn another_method_during_the_exchange_is_refused(ctx: &Context) -> Result<()> {
    let ScramCredential { user, password } = credential(ctx)?;
    let mut exchange = Exchange::new(ctx, user, password);
    let mut peer = Peer::dial(ctx)?;
    peer.introduce(ctx, &ctx.connect().auth(METHOD, Some(&exchange.client_first())))?;
    let server_first = challenge(&mut peer)?;
    let answer = exchange.client_final(&server_first)?;
    peer.send(&auth(0x18, "SCRAM-SHA-1", Some(&answer)))?;
    refused(&mut peer)
}

fn auth_packets_keep_to_the_maximum(ctx: &Context) -> Result<()> {
    let ScramCredential { user, password } = credential(ctx)?;
    // Little more than the server has to say: a reason string that does not fit must be left out.
    let exchange = Exchange::new(ctx, user, password);
    let mut probe = Peer::dial(ctx)?;
    probe.introduce(ctx, &ctx.connect().auth(METHOD, Some(&exchange.client_first())))?;
    let data = challenge(&mut probe)?;
    let least = u32::try_from(auth(0x18, METHOD, Some(&data)).len())?;
    let (mut peer, exchange) = begin(ctx, user, password, ctx.connect().packet_max(least.max(200)))?;
    peer.accepted()?;
    exchange.check_server_final(&peer.welcome.properties)?;
    // Too small even for that: nothing larger than the maximum may come.
    let exchange = Exchange::new(ctx, user, password);
    let connect = ctx.connect().packet_max(16).auth(METHOD, Some(&exchange.client_first()));
    let (mut peer, heard) = Peer::knock(ctx, &connect)?;
    match heard {
        Heard::Closed => Ok(()),
        Heard::Packet(Packet::ConnAck { reason: 0x80.., .. }) => peer.closed(&[]),
        other => bail!("a maximum of 16 bytes got {}", other.name()),
    }
}

fn a_client_authenticates_again(ctx: &Context) -> Result<()> {
    let mut peer = authenticated(ctx)?;
    for _ in 0..2 {
        // Other packets may pass meanwhile.
        authenticate_again(ctx, &mut peer, Peer::ping)?;
    }
    peer.ping()
}

fn authenticate_again(
    ctx: &Context,
    peer: &mut Peer,
    meanwhile: impl Fn(&mut Peer) -> Result<()>,
) -> Result<()> {
    let ScramCredential { user, password } = credential(ctx)?;
    let mut exchange = Exchange::new(ctx, user, password);
    peer.send(&auth(0x19, METHOD, Some(&exchange.client_first())))?;
    let server_first = challenge(peer)?;
    meanwhile(peer)?;
    let answer = exchange.client_final(&server_first)?;
    peer.send(&auth(0x18, METHOD, Some(&answer)))?;
    match peer.hear(PATIENCE)? {
        Heard::Packet(Packet::Auth { reason: 0, properties }) => exchange.check_server_final(&properties),
        other => bail!("expected AUTH 0x00, got {}", other.name()),
    }
}

fn another_method_on_authenticating_again_is_refused(ctx: &Context) -> Result<()> {
    let mut peer = authenticated(ctx)?;
    peer.send(&auth(0x19, "SCRAM-SHA-1", Some(b"n,,n=user,r=nonce")))?;
    peer.closed(&[0x80, 0x82, 0x83, 0x87])?;
    let mut peer = authenticated(ctx)?;
    peer.send(&frame(0xf0, &[0x19, 0]))?;
    peer.closed(&[0x80, 0x81, 0x82, 0x83, 0x87])
}

fn failing_to_authenticate_again_ends_the_connection(ctx: &Context) -> Result<()> {
    let ScramCredential { user, password } = credential(ctx)?;
    let mut peer = authenticated(ctx)?;
    let mut exchange = Exchange::new(ctx, user, &format!("{password}x"));
    peer.send(&auth(0x19, METHOD, Some(&exchange.client_first())))?;
    let server_first = challenge(&mut peer)?;
    let answer = exchange.client_final(&server_first)?;
    peer.send(&auth(0x18, METHOD, Some(&answer)))?;
    peer.closed(&[0x80, 0x82, 0x83, 0x87])
}

fn authenticating_again_is_a_sign_of_life(ctx: &Context) -> Result<()> {
    let ScramCredential { user, password } = credential(ctx)?;
    let (mut peer, _) = begin(ctx, user, password, ctx.connect().keep_alive(2))?;
    peer.accepted()?;
    // Each pause is shorter than the keep alive, all of them are longer than one and a half.
    for _ in 0..4 {
        std::thread::sleep(Duration::from_secs(1));
        authenticate_again(ctx, &mut peer, |_| Ok(()))?;
    }
    peer.ping()
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn the_exchange_of_rfc_7677_comes_out() {
        let mut exchange = Exchange {
            password: "pencil".into(),
            first: "n=user,r=rOprNGfwEbeRWgbNEkqO".into(),
            nonce: "rOprNGfwEbeRWgbNEkqO".into(),
            server_signature: Vec::new(),
        };
        let server_first =
            b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let answer = exchange.client_final(server_first).unwrap();
        let expected = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(String::from_utf8(answer).unwrap(), expected);
        assert_eq!(base64(&exchange.server_signature), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert!(exchange.client_final(b"r=other,s=AAAA,i=4096").is_err());
    }
}
