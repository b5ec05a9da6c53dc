//! Nanoseconds for each packet, decoded and encoded: `cargo run --release -p ravelin-mqtt --example codec_bench`.
//!
//! Each figure is the best of many batches, so that what else the machine does falls out.

#![allow(clippy::disallowed_methods, reason = "it measures: it is no part of the pure crate")]

use std::{hint::black_box, time::Instant};

use ravelin_mqtt::{
    Ack, AckKind, DecodeLimits, Frame, Properties, PropertiesBuilder, PublishOut, QoS, ReasonCode, Sender,
    Version, check_filter, check_topic, decode, decode_publish, encode_ack, encode_publish, matches, peek,
};

const BATCHES: usize = 200;
const CALLS: u32 = 20_000;
const TOPIC: &str = "plant/7/feeder/12/meter/4711/power";

fn main() {
    let user = PropertiesBuilder::new().user_property("unit", "kW").content_type("text/plain");
    for (version, name) in [(Version::V311, "3.1.1"), (Version::V5, "5.0")] {
        for payload_bytes in [64, 1024] {
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
                bench_publish(
                    &format!("{name} {payload_bytes} B QoS {}", qos as u8),
                    version,
                    qos,
                    payload_bytes,
                    &[],
                );
            }
        }
    }
    bench_publish("5.0 64 B QoS 1, 2 properties", Version::V5, QoS::AtLeastOnce, 64, user.properties().raw());
    bench_acks();
    println!(
        "{:<48}{:>8.1} ns",
        "check_topic",
        best(|| {
            let _ = black_box(check_topic(black_box(TOPIC), 128));
        })
    );
    println!(
        "{:<48}{:>8.1} ns",
        "check_filter",
        best(|| {
            let _ = black_box(check_filter(black_box("plant/+/feeder/+/meter/#"), 128));
        })
    );
    println!(
        "{:<48}{:>8.1} ns",
        "matches",
        best(|| {
            black_box(matches(black_box("plant/+/feeder/+/meter/#"), black_box(TOPIC)));
        })
    );
}

fn bench_publish(name: &str, version: Version, qos: QoS, payload_bytes: usize, forward: &[u8]) {
    let payload = vec![b'x'; payload_bytes];
    let publish = PublishOut {
        dup: false,
        qos,
        retain: false,
        topic: TOPIC,
        packet_id: 77,
        topic_alias: None,
        expiry_s: None,
        subscription_ids: &[],
        forward,
        payload: &payload,
    };
    let mut packet = Vec::new();
    encode_publish(&mut packet, version, &publish);
    let limits = DecodeLimits::default();
    let framed = |packet: &[u8]| -> Frame { peek(packet, 1 << 20).unwrap().unwrap() };
    let frame = framed(&packet);
    let body = &packet[frame.header_len..];
    println!(
        "{:<48}{:>8.1} ns",
        format!("peek {name}"),
        best(|| drop(black_box(peek(black_box(&packet), 1 << 20))))
    );
    for (label, known) in [("known topic", TOPIC), ("new topic", "")] {
        let time = best(|| {
            let first = black_box(frame.first);
            let decoded =
                decode_publish(first, black_box(body), version, Sender::Client, &limits, black_box(known));
            drop(black_box(decoded));
        });
        println!("{:<48}{time:>8.1} ns", format!("decode_publish {name}, {label}"));
    }
    let mut out = Vec::with_capacity(1 << 20);
    let time = best(|| {
        if out.len() > (1 << 16) {
            out.clear();
        }
        encode_publish(&mut out, black_box(version), black_box(&publish));
    });
    println!("{:<48}{time:>8.1} ns", format!("encode_publish {name}"));
}

fn bench_acks() {
    let ack = Ack {
        kind: AckKind::PubAck,
        packet_id: 77,
        reason: ReasonCode::SUCCESS,
        reason_string: None,
        properties: Properties::EMPTY,
    };
    let mut out = Vec::with_capacity(1 << 17);
    let limits = DecodeLimits::default();
    println!(
        "{:<48}{:>8.1} ns",
        "decode PUBACK 5.0",
        best(|| {
            drop(black_box(decode(
                black_box(0x40),
                black_box(&[0, 77]),
                Version::V5,
                Sender::Client,
                &limits,
            )));
        })
    );
    println!(
        "{:<48}{:>8.1} ns",
        "encode_ack 5.0",
        best(|| {
            if out.len() > (1 << 16) {
                out.clear();
            }
            encode_ack(&mut out, black_box(Version::V5), black_box(&ack));
        })
    );
}

fn best(mut call: impl FnMut()) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..BATCHES {
        let start = Instant::now();
        for _ in 0..CALLS {
            call();
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS));
    }
    best
}
