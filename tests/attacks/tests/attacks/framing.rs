//! Items 1 to 8: bytes that are no packets, before and after CONNECT.

use crate::support::{refused_after, refused_before, source};
use ravelin_attacks::wire::{PINGREQ, binary, packet, properties, varint};
use ravelin_attacks::{Connect, MIB, Node, Peer, Trial, hex};
use std::time::{Duration, Instant};

const MALFORMED: u8 = 0x81;
const PROTOCOL_ERROR: u8 = 0x82;
const TOO_LARGE: u8 = 0x95;

/// CVE-2017-7651, CVE-2026-58210. A claimed length costs nothing; what is kept of a CONNECT is capped and has a deadline.
#[test]
fn a01_huge_remaining_length_with_a_dribbled_body() {
    let mut node = Node::open("connect_deadline = \"1s\"");
    let trial = Trial::begin(&node, 16 * MIB);
    for (number, header) in ["10ffffff7f", "10ffff7f", "10818001"].iter().enumerate() {
        refused_before(&node, number, &hex(header), &["too_large"], &[TOO_LARGE]);
    }
    // 100 clients claim a CONNECT of 15 KiB and 100 accepted ones a PUBLISH of 1 MiB; all send a few bytes of it.
    let mut dribbling: Vec<Peer> =
        (0..200).map(|number| Peer::open_from(node.address(), source(100 + number))).collect();
    for (number, peer) in dribbling.iter_mut().enumerate() {
        if number < 100 {
            peer.send(&hex("10807800044d51545405"));
        } else {
            assert_eq!(
                peer.greet(&Connect::v5(format!("c{number}"))).map(|connack| connack.reason()),
                Some(0)
            );
            peer.send(&hex("30f0ff3f000161"));
        }
    }
    let started = Instant::now();
    while started.elapsed() < Duration::from_millis(600) {
        for peer in &mut dribbling {
            // Those whose deadline has passed are closed meanwhile.
            let _ = peer.try_send(b"x");
        }
    }
    for peer in &mut dribbling[..100] {
        assert_eq!(peer.read_to_close(), [], "a CONNECT that is late is not answered");
        node.expect_refused(peer.address, &["connect_deadline"]);
    }
    assert!(started.elapsed() < Duration::from_secs(5), "a deadline is not put off by single bytes");
    // A packet larger than announced is refused by its header.
    refused_after(&node, 400, 5, &hex("30ffffff7f"), &[TOO_LARGE]);
    refused_after(&node, 401, 4, &hex("30ffffff7f"), &[]);
    trial.finish(&mut node);
}

/// CVE-2023-0809, EMQX fix-16779. The first byte decides; nothing of the rest is kept.
#[test]
fn a02_large_first_packet_that_is_not_connect() {
    let mut node = Node::open("");
    let trial = Trial::begin(&node, 16 * MIB);
    let body = vec![b'a'; 900_000];
    let mut number = 0;
    for first in (0u8..=15).filter(|kind| *kind != 1).map(|kind| kind << 4 | 2) {
        refused_before(&node, number, &packet(first, &body), &["malformed", "protocol"], &[]);
        number += 1;
    }
    for bytes in
        [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".as_slice(), b"SSH-2.0-x\r\n", &hex("16030100f4010000f00303")]
    {
        refused_before(&node, number, bytes, &["malformed", "protocol"], &[]);
        number += 1;
    }
    trial.finish(&mut node);
}

/// CVE-2026-21888: a Variable Byte Integer has at most four bytes, and no more than it needs.
#[test]
fn a03_variable_integers_of_five_bytes_or_not_minimal() {
    let mut node = Node::open("");
    let trial = Trial::begin(&node, 16 * MIB);
    let before = ["10ffffffff01", "108080808000", "10ffffffffff", "1080808080 80"];
    for (number, bytes) in before.iter().enumerate() {
        refused_before(&node, number, &hex(bytes), &["malformed", "too_large"], &[MALFORMED, TOO_LARGE]);
    }
    let after = [
        "30ffffffff7f",                      // Remaining Length of five bytes
        "c08000",                            // 0 in two bytes
        "c0808000",                          // 0 in three bytes
        "3080808080 01",                     // a fifth byte
        "3009000161 ffffffff7f 78",          // Property Length of five bytes
        "3007000161 808000 78",              // Property Length that is not minimal
        "820c 0001 05 0bffffffff 000161 00", // Subscription Identifier of five bytes
        "820a 0001 03 0b8000 000161 00",     // Subscription Identifier that is not minimal
    ];
    for (number, bytes) in after.iter().enumerate() {
        refused_after(&node, 20 + number, 5, &hex(bytes), &[MALFORMED, PROTOCOL_ERROR]);
    }
    trial.finish(&mut node);
}

/// mosquitto#2325, FlashMQ 1.27.1, EMQX #17185.
#[test]
fn a04_reserved_types_and_flags() {
    let mut node = Node::open("");
    let trial = Trial::begin(&node, 16 * MIB);
    let mut number = 0;
    for first in [0x00, 0x0F, 0xF0, 0xF1, 0x11, 0x12, 0x1F] {
        refused_before(
            &node,
            number,
            &packet(first, b"\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x00"),
            &["malformed", "protocol"],
            &[],
        );
        number += 1;
    }
    // Type 0; 15 with and without content; flags that are not those of the type; QoS 3; DUP with QoS 0.
    for bytes in [
        "0000",
        "f000",
        "f10118",
        "f200",
        "20020000",
        "11020000",
        "4102 0001",
        "420200 01",
        "5202 0001",
        "6002 0001",
        "6302 0001",
        "7102 0001",
        "8006 0001 000161 00",
        "8306 0001 000161 00",
        "a005 0001 000161",
        "c100",
        "cf00",
        "e100",
        "e20100",
        "3605 000161 0001",
        "3e05 000161 0001",
        "3804 000161 00",
    ] {
        for level in [4, 5] {
            refused_after(&node, number, level, &hex(bytes), &[MALFORMED, PROTOCOL_ERROR]);
            number += 1;
        }
    }
    trial.finish(&mut node);
}

/// nanomq#2270, a heap overflow.
#[test]
fn a05_truncated_publish_without_packet_id() {
    let mut node = Node::open("");
    let trial = Trial::begin(&node, 16 * MIB);
    for (number, bytes) in [
        "3203 000161",      // QoS 1, no Packet Identifier
        "3403 000161",      // QoS 2
        "3404 000161 00",   // half of one
        "3205 000161 0000", // it is 0
        "3b03 000161",      // DUP and retained
        "3200",             // nothing at all
        "3400",
        "300100", // half of a topic's length
    ]
    .iter()
    .enumerate()
    {
        refused_after(&node, 2 * number, 5, &hex(bytes), &[MALFORMED, PROTOCOL_ERROR]);
        refused_after(&node, 2 * number + 1, 4, &hex(bytes), &[]);
    }
    trial.finish(&mut node);
}

/// nanomq#1042 and its like, CVE-2025-59947, CVE-2024-42646.
#[test]
fn a06_strings_that_end_after_their_packet() {
    let mut node = Node::open("");
    let trial = Trial::begin(&node, 16 * MIB);
    let head = |flags: u8| [&binary("MQTT")[..], &[5, flags, 0, 60]].concat();
    let mut number = 0;
    for body in [
        hex("ffff4d515454"),                                 // protocol name
        hex("00044d5154"),                                   // cut within it
        [head(2), hex("00ffff61")].concat(),                 // Client Identifier
        [head(2), hex("00")].concat(),                       // none
        [head(6), hex("00 000163 00 ffff61")].concat(),      // will topic
        [head(6), hex("00 000163 00 000174 fff0")].concat(), // will payload
        [head(0x82), hex("00 000163 7fff")].concat(),        // User Name
        [head(0xC2), hex("00 000163 000175 ffff")].concat(), // Password
        [head(2), hex("05 15ffff4141 000163")].concat(),     // Authentication Method
        [head(2), hex("06 26000161ffff 000163")].concat(),   // User Property
    ] {
        refused_before(
            &node,
            number,
            &packet(0x10, &body),
            &["malformed", "protocol"],
            &[MALFORMED, PROTOCOL_ERROR],
        );
        number += 1;
    }
    for (first, body) in [
        (0x30, "ffff61"),
        (0x30, "000561"),
        (0x30, "000161 05 08ffff6161"), // Response Topic
        (0x30, "000161 05 09ffff6161"), // Correlation Data
        (0x30, "000161 05 03ffff6161"), // Content Type
        (0x82, "0001 00 ffff6100"),     // filter
        (0x82, "0001 00 000161"),       // no options
        (0x82, "0001 00"),              // no filter
        (0x82, "00"),
        (0xA2, "0001 00 000561"),
        (0xA2, "0001 00"),
        (0x40, "00"),
        (0x62, "0001 00 05 1fffff6161"), // Reason String
        (0xE0, "00 05 1fffff6161"),
        (0xF0, "18 05 15ffff6161"), // AUTH
    ] {
        refused_after(&node, number, 5, &packet(first, &hex(body)), &[MALFORMED, PROTOCOL_ERROR]);
        number += 1;
    }
    trial.finish(&mut node);
}

/// emqx#15361, NanoNNG fa8d859.
#[test]
fn a07_property_lengths_that_lie() {
    let mut node = Node::open("");
    let trial = Trial::begin(&node, 16 * MIB);
    let mut number = 0;
    for block in [
        "7f",
        "0a 11000000",
        "ffff7f",
        "05 1100000000 11",
        "03 26 0001",
        "01 26",
        "02 2600",
        "05 11 00000000 ff",
    ] {
        let body = [&binary("MQTT")[..], &[5, 2, 0, 60], &hex(block)].concat();
        refused_before(
            &node,
            number,
            &packet(0x10, &body),
            &["malformed", "protocol"],
            &[MALFORMED, PROTOCOL_ERROR],
        );
        number += 1;
    }
    for (first, body) in [
        (0x30, "000161 7f"),
        (0x30, "000161 ffff03"),
        (0x30, "000161 03 260001"),     // User Property: no value
        (0x30, "000161 05 2600016100"), // half of a value's length
        (0x30, "000161 02 2300"),       // half of a Topic Alias
        (0x30, "000161 03 020000"),     // three bytes of four
        (0x30, "000161 02 0102"),       // Payload Format Indicator of 2
        (0x30, "000161 04 0100 0100"),  // twice
        (0x30, "000161 01 7f"),         // no such property
        (0x30, "000161 05 1100000001"), // a property of CONNECT
        (0x82, "0001 7f 000161 00"),
        (0x82, "0001 02 0b00 000161 00"), // Subscription Identifier of 0
        (0x62, "0001 00 7f"),
        (0xE0, "00 06 1100000000"),
        (0xE0, "00 7f"),
    ] {
        refused_after(&node, number, 5, &packet(first, &hex(body)), &[MALFORMED, PROTOCOL_ERROR]);
        number += 1;
    }
    trial.finish(&mut node);
}

/// CVE-2021-28166, with the bytes of mosquitto#2163.
#[test]
fn a08_packets_that_only_a_server_sends() {
    let mut node = Node::open("");
    let trial = Trial::begin(&node, 16 * MIB);
    let mut peer = Peer::open_from(node.address(), source(0));
    peer.send(&hex("101000044d5154540502003c03210014000029020001e000"));
    assert_eq!(peer.expect(2).reason(), 0);
    peer.is_ended_with_one_of(&[MALFORMED, PROTOCOL_ERROR]);
    node.expect_disconnected(peer.address, "protocol_error");
    let mut number = 1;
    for bytes in
        ["20020000", "2003000000", "90030001 00", "9004000100 00", "b0020001", "b0040001 0000", "d000"]
    {
        for level in [4, 5] {
            refused_after(&node, number, level, &hex(bytes), &[MALFORMED, PROTOCOL_ERROR]);
            number += 1;
        }
        refused_before(&node, number, &hex(bytes), &["malformed", "protocol"], &[]);
        number += 1;
    }
    // In one write with what comes before, it ends the connection at its place.
    let mut peer = Peer::connect(node.address(), &Connect::v5("between"));
    peer.send(&[PINGREQ, &hex("20020000"), PINGREQ].concat());
    assert_eq!(peer.read().map(|packet| packet.kind()), Some(13));
    peer.is_ended_with(PROTOCOL_ERROR);
    // A length that lies about what follows takes the next packet's bytes, never more.
    let mut peer = Peer::connect(node.address(), &Connect::v5("swallow"));
    peer.send(
        &[packet(0x30, &[binary("t"), properties(&[]), varint(0)].concat()), PINGREQ.to_vec()].concat(),
    );
    peer.ping();
    trial.finish(&mut node);
}
