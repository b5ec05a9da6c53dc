//! What the engine costs: ten thousand clients, each read once a second, and the worst that an attacker can make of it.
//!
//! `cargo run --release -p ravelin-detect --example cost`

#![expect(clippy::disallowed_methods, reason = "an example that measures reads clocks")]

use ravelin_detect::{Arrived, Engine, Metered, Settings, Sight, TopicMeter};
use ravelin_event::Refusal;
use std::sync::Arc;
use std::time::Instant;

/// Seconds of processor time that this thread has had; where the system does not say so, of the clock.
fn spent_s(begun: Instant) -> f64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = told.and_then(|told| told.split(' ').next()?.parse::<f64>().ok());
    nanoseconds.map_or_else(|| begun.elapsed().as_secs_f64(), |nanoseconds| nanoseconds / 1e9)
}

const CLIENTS: u64 = 10_000;
const SECONDS: u64 = 120;
const START_MS: u64 = 1_790_000_000_000;

fn main() {
    let mut engine = Engine::new(Settings::default(), 7);
    let ids: Vec<Arc<str>> = (0..CLIENTS).map(|i| format!("meter-{i:05}").into()).collect();
    for (i, id) in ids.iter().enumerate() {
        engine.handle(START_MS + i as u64, &arrived(i, id));
    }
    let topics: Vec<[Arc<str>; 2]> = (0..CLIENTS)
        .map(|i| [format!("plant/{i:05}/voltage").into(), format!("plant/{i:05}/current").into()])
        .collect();

    let clock = Instant::now();
    let (mut spent, mut ticks) = (0.0, 0.0);
    for second in 0..SECONDS {
        let at_ms = START_MS + 20_000 + second * 1_000;
        // Made beforehand: what a node's watch thread takes to make a sight is not the engine's cost.
        let sights: Vec<Sight> = (0..CLIENTS as usize).map(|i| metered(&ids[i], &topics[i], at_ms)).collect();
        let begun = spent_s(clock);
        for (i, sight) in sights.iter().enumerate() {
            engine.handle(at_ms + i as u64 / 10, sight);
        }
        let handled = spent_s(clock) - begun;
        let begun = spent_s(clock);
        engine.handle_tick(at_ms + 1_000);
        drain(&mut engine);
        // The first half warms up.
        if second >= SECONDS / 2 {
            spent += handled;
            ticks += spent_s(clock) - begun;
        }
    }
    let seconds = (SECONDS - SECONDS / 2) as f64;
    println!("{CLIENTS} clients, one sight a second each, two topics:");
    println!("  a sight           {:9.0} ns", spent / seconds / CLIENTS as f64 * 1e9);
    println!("  a tick            {:9.0} us", ticks / seconds * 1e6);
    println!("  of one core       {:9.2} %", (spent + ticks) / seconds * 100.0);

    let address = |i: u32| (std::net::Ipv4Addr::from(0x0a00_0000 + i), 4_711).into();
    let floods: [(&str, u32); 2] = [("one address", 1), ("100,000 addresses", 100_000)];
    for (what, addresses) in floods {
        let begun = spent_s(clock);
        for i in 0..200_000u32 {
            engine.handle(
                START_MS + 200_000 + u64::from(i) / 100,
                &Sight::Refused {
                    address: address(i % addresses),
                    client_id: None,
                    identity: Some(format!("user-{}", i % 5_000).into()),
                    why: Refusal::BadCredentials,
                    count: 1,
                },
            );
            drain(&mut engine);
        }
        println!("  a refused log-in  {:9.0} ns, from {what}", (spent_s(clock) - begun) / 200_000.0 * 1e9);
    }
    println!("{}", serde_json::to_string(&engine.figures()).expect("figures are JSON"));
}

fn drain(engine: &mut Engine) {
    while engine.poll_notice().is_some() {}
    while engine.poll_write().is_some() {}
    while engine.poll_trust().is_some() {}
}

fn arrived(i: usize, id: &Arc<str>) -> Sight {
    Sight::Arrived(Arc::new(Arrived {
        client_id: Arc::clone(id),
        identity: Some(Arc::clone(id)),
        class: Some("meter".into()),
        certificate: None,
        address: (std::net::Ipv4Addr::from(0xc0a8_0000 + i as u32), 4_711).into(),
        keep_alive_s: 60,
        clean_start: true,
        will: false,
        declared: true,
    }))
}

fn metered(id: &Arc<str>, topics: &[Arc<str>; 2], at_ms: u64) -> Sight {
    let topic = |topic: &Arc<str>| TopicMeter {
        topic: Arc::clone(topic),
        messages: 1,
        bytes: 12,
        first_ms: at_ms - 500,
        last_ms: at_ms - 500,
        ..TopicMeter::default()
    };
    Sight::Metered(Arc::new(Metered {
        client_id: Arc::clone(id),
        from_ms: at_ms - 1_000,
        to_ms: at_ms,
        messages: 2,
        bytes: 24,
        largest: 12,
        qos: [0, 2, 0],
        packets: 2,
        topics: topics.iter().map(topic).collect(),
        ..Metered::default()
    }))
}
