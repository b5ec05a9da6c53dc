//! CONNECT: that it comes first and once, its header and flags, and what must be refused.

use anyhow::{Result, bail, ensure};

use crate::context::Context;
use crate::peer::{PATIENCE, Peer};
use crate::wire::{CONNECT, PINGREQ, Will, disconnect, frame, id, p1, p2, p4, subscribe};

super::tests! {
    the_first_packet_must_be_a_connect: ["3.1.0-1"] ["3.1.0-1" "3.14.0-1"];
    a_second_connect_is_refused: ["3.1.0-2"] ["3.1.0-2" "3.2.0-2"];
    a_wrong_protocol_name_is_refused: ["3.1.2-1"] ["3.1.2-1"];
    an_unsupported_protocol_level_is_refused: ["3.1.2-2"] ["3.1.2-2"];
    the_reserved_connect_flag_must_be_zero: ["3.1.2-3"] ["3.1.2-3"];
    connect_header_flags_must_be_zero: ["3.1.4-1"] ["3.1.2-12"];
    a_malformed_connect_is_refused: ["3.1.4-1" "3.2.2-6"] ["3.1.4-1"];
    a_valid_connect_is_acknowledged: ["3.1.4-4"] ["3.1.4-5" "3.2.2-8"];
    nothing_after_a_refused_connect_is_processed: ["3.1.4-5"] ["3.1.4-6"];
    will_qos_without_will_is_refused: ["3.1.2-11" "3.1.2-13"] ["3.1.2-7"];
    will_retain_without_will_is_refused: ["3.1.2-11" "3.1.2-15"] ["3.1.2-8" "3.1.2-13"];
    will_qos_3_is_refused: ["3.1.2-14"] ["3.1.4-1"];
    maximum_qos_is_no_property_of_connect: [] ["3.3.4-10"];
    connect_properties_are_valid_and_unique: [] ["3.1.4-1" "4.13.1-1"];
}

fn the_first_packet_must_be_a_connect(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let firsts: [(&str, Vec<u8>); 4] = [
        ("PINGREQ first", frame(PINGREQ << 4, &[])),
        ("PUBLISH first", ctx.publish(&topic, "x").retained().bytes()),
        ("SUBSCRIBE first", subscribe(ctx.version, 1, &[], &[(&topic, 0)])),
        ("DISCONNECT first", disconnect(ctx.version, 0, &[])),
    ];
    for (what, bytes) in firsts {
        ctx.refuses_first(what, &bytes)?;
    }
    // The PUBLISH among them had no effect.
    let mut peer = ctx.subscriber(&topic, 0)?;
    let mut publisher = ctx.join()?;
    ctx.only_marker_arrives(&mut peer, &mut publisher, &topic)
}

fn a_second_connect_is_refused(ctx: &Context) -> Result<()> {
    let connect = ctx.connect();
    let mut peer = Peer::join(ctx, &connect)?;
    peer.send(&connect.bytes())?;
    peer.closed(&[0x80, 0x82])?;
    ctx.refuses("a CONNECT of another client", &ctx.connect().bytes(), &[0x80, 0x82])
}

fn a_wrong_protocol_name_is_refused(ctx: &Context) -> Result<()> {
    for name in ["", "mqtt", "MQTX", "MQTTT", "HTTP"] {
        let mut connect = ctx.connect();
        connect.name = name.into();
        // The name is not that of this protocol, so the form of a refusal is the server's choice.
        let answer = RawAnswer::read(ctx, &connect.bytes())?.bytes;
        let refused = answer.first() == Some(&0x20) && answer.get(3).is_some_and(|reason| *reason != 0);
        ensure!(answer.is_empty() || refused, "protocol name {name:?} got {answer:02x?}");
    }
    Ok(())
}

fn an_unsupported_protocol_level_is_refused(ctx: &Context) -> Result<()> {
    for level in [0, 2, 6, 127] {
        let mut connect = ctx.connect();
        connect.level = level;
        // The level says neither 3.1.1 nor 5, so the answer may have the form of either.
        let mut raw = RawAnswer::read(ctx, &connect.bytes())?;
        let legal = [&[0x20, 2, 0, 1][..], &[0x20, 3, 0, 0x84, 0]];
        // MQTT 5 says that a server may send it; in 3.1.1 it must.
        let silent = ctx.is_v5() && raw.bytes.is_empty();
        if raw.bytes.starts_with(&[0x20]) && raw.bytes.get(3) == Some(&0x84) && raw.bytes.len() > 5 {
            // With properties, such as a reason string.
            raw.bytes = vec![0x20, 3, 0, 0x84, 0];
        }
        ensure!(silent || legal.contains(&&raw.bytes[..]), "level {level} got {:02x?}", raw.bytes);
    }
    Ok(())
}

/// The bytes that a server sends before it closes the connection.
struct RawAnswer {
    bytes: Vec<u8>,
}

impl RawAnswer {
    fn read(ctx: &Context, request: &[u8]) -> Result<Self> {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(&ctx.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(request)?;
        let mut bytes = Vec::new();
        let mut chunk = [0; 512];
        loop {
            match stream.read(&mut chunk) {
                Ok(0) => return Ok(Self { bytes }),
                Ok(count) => bytes.extend(&chunk[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                    return Ok(Self { bytes });
                }
                Err(error) => bail!("the server did not close the connection: {error}"),
            }
        }
    }
}

fn the_reserved_connect_flag_must_be_zero(ctx: &Context) -> Result<()> {
    ctx.refuses_first("reserved flag", &ctx.connect().flip(0x01).bytes())
}

fn connect_header_flags_must_be_zero(ctx: &Context) -> Result<()> {
    for flags in [1, 2, 4, 8, 15] {
        let mut connect = ctx.connect();
        connect.first = CONNECT << 4 | flags;
        ctx.refuses_first(&format!("CONNECT with header flags {flags:04b}"), &connect.bytes())?;
    }
    Ok(())
}

fn a_malformed_connect_is_refused(ctx: &Context) -> Result<()> {
    let whole = ctx.connect().body();
    for length in [0, 1, 6, 7, 8, 9, 10, whole.len() - 1] {
        ctx.refuses_first(&format!("CONNECT of {length} bytes"), &frame(CONNECT << 4, &whole[..length]))?;
    }
    let longer = [&whole[..], b"xx"].concat();
    ctx.refuses_first("CONNECT with bytes after its last field", &frame(CONNECT << 4, &longer))?;
    ctx.is_alive()
}

fn a_valid_connect_is_acknowledged(ctx: &Context) -> Result<()> {
    ctx.join()?.ping()?;
    let mut peer = Peer::join(ctx, &ctx.connect().keep_alive(0))?;
    peer.ping()?;
    let will = Will::new(ctx.topic("w"), "x").qos(1);
    Peer::join(ctx, &ctx.connect().persist().will(will))?.leave()
}

fn nothing_after_a_refused_connect_is_processed(ctx: &Context) -> Result<()> {
    let topic = ctx.topic("t");
    let publish = ctx.publish(&topic, "must not be processed").retained().bytes();
    for connect in [ctx.connect().flip(0x01), ctx.connect().flip(0x08)] {
        let mut peer = Peer::dial(ctx)?;
        peer.send(&[connect.bytes(), publish.clone()].concat())?;
        peer.closed(&[])?;
    }
    let mut peer = ctx.subscriber(&topic, 0)?;
    let mut publisher = ctx.join()?;
    ctx.only_marker_arrives(&mut peer, &mut publisher, &topic)
}

fn will_qos_without_will_is_refused(ctx: &Context) -> Result<()> {
    for bits in [0x08, 0x10] {
        ctx.refuses_first(&format!("connect flags {bits:02x}"), &ctx.connect().flip(bits).bytes())?;
    }
    Ok(())
}

fn will_retain_without_will_is_refused(ctx: &Context) -> Result<()> {
    ctx.refuses_first("will retain without will", &ctx.connect().flip(0x20).bytes())
}

fn will_qos_3_is_refused(ctx: &Context) -> Result<()> {
    let connect = ctx.connect().will(Will::new(ctx.topic("w"), "x").qos(3));
    ctx.refuses_first("will QoS 3", &connect.bytes())
}

fn maximum_qos_is_no_property_of_connect(ctx: &Context) -> Result<()> {
    // The standard gives clients no such property; a client bounds QoS by what it subscribes with.
    let connect = ctx.connect().property(p1(id::MAXIMUM_QOS, 0));
    ctx.refuses_first("Maximum QoS in a CONNECT", &connect.bytes())?;
    let topic = ctx.topic("t");
    for granted in 0..3 {
        let mut peer = ctx.subscriber(&topic, granted)?;
        let mut publisher = ctx.join()?;
        publisher.publish(&topic, 2, "x")?;
        let qos = peer.message()?.qos;
        ensure!(qos <= granted, "QoS {qos} to a client that subscribed with {granted}");
    }
    Ok(())
}

fn connect_properties_are_valid_and_unique(ctx: &Context) -> Result<()> {
    let twice = |bytes: Vec<u8>| [bytes.clone(), bytes].concat();
    let cases: [(&str, Vec<u8>); 13] = [
        ("Receive Maximum 0", p2(id::RECEIVE_MAXIMUM, 0)),
        ("Maximum Packet Size 0", p4(id::MAXIMUM_PACKET_SIZE, 0)),
        ("Request Problem Information 2", p1(id::REQUEST_PROBLEM_INFO, 2)),
        ("Request Response Information 2", p1(id::REQUEST_RESPONSE_INFO, 2)),
        ("Session Expiry twice", twice(p4(id::SESSION_EXPIRY, 1))),
        ("Receive Maximum twice", twice(p2(id::RECEIVE_MAXIMUM, 10))),
        ("Maximum Packet Size twice", twice(p4(id::MAXIMUM_PACKET_SIZE, 1000))),
        ("Topic Alias Maximum twice", twice(p2(id::TOPIC_ALIAS_MAXIMUM, 1))),
        ("Request Problem Information twice", twice(p1(id::REQUEST_PROBLEM_INFO, 1))),
        ("a property of PUBLISH", p2(id::TOPIC_ALIAS, 1)),
        ("a property of CONNACK", p1(id::SHARED_AVAILABLE, 1)),
        ("an unknown property", vec![0x7f, 0]),
        ("half a property", vec![id::SESSION_EXPIRY, 0]),
    ];
    for (what, bytes) in cases {
        ctx.refuses_first(what, &ctx.connect().property(bytes).bytes())?;
    }
    let data_alone = ctx.connect().property(crate::wire::pstr(id::AUTH_DATA, "x"));
    ctx.refuses_first("authentication data without a method", &data_alone.bytes())
}
