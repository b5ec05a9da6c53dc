//! How much memory a client takes: `cargo run --release -p ravelin-identify --example resident [clients]`.
//!
//! Every client has all that is usual: an identity, a certificate of its own, a declaration, an address, what it tells of itself, two topics
//! and a subscription. The resident size of the process is read from `/proc` before and after.

#![allow(clippy::disallowed_methods, reason = "it measures a process from outside of the crate")]

use ravelin_identify::seen::{FlowSeen, Seen};
use ravelin_identify::{CertificateFacts, Declared, Inventory, KeyKind, Places, Settings, Traffic};

const START_MS: u64 = 1_795_478_400_000;

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap_or(0) * 1024
}

fn add(inventory: &mut Inventory, number: u32) {
    let name = format!("meter-{number:06}");
    let client_id = format!("{name}-modem");
    let facts = CertificateFacts {
        fingerprint: format!("{number:064x}"),
        subject: format!("CN={name},O=Example Grid,C=AT"),
        issuer: "CN=Example Grid Device CA 2026,O=Example Grid,C=AT".into(),
        serial: format!("4f{number:030x}"),
        not_before_s: 1_790_000_000,
        not_after_s: 1_800_000_000,
        key: KeyKind::EcP256,
        key_bits: 256,
        signature: "ecdsa-with-SHA256".into(),
    };
    let declared = Declared {
        identity: Some(name.as_str().into()),
        owner: Some("metering".into()),
        model: Some("EM-340".into()),
        site: Some("north".into()),
        networks: vec!["10.0.0.0/8".parse().expect("a network")],
        publishes: vec!["meters/%u/#".into()],
        ..Declared::named(&name)
    };
    inventory.declare(vec![declared], START_MS).expect("declared");
    let [_, b, c, d] = number.to_be_bytes();
    inventory.handle_seen(&Seen {
        at_ms: START_MS,
        client_id: &client_id,
        identity: Some(&name),
        address: Some(std::net::Ipv4Addr::new(10, b, c, d).into()),
        listener: Some("field"),
        class: Some("meter"),
        version: "5",
        keep_alive_s: 60,
        certificate: Some(&facts),
        properties: &[("library", "esp-mqtt 1.0"), ("firmware", "2.4.1")],
    });
    inventory.handle_subscribed(START_MS, &client_id, &format!("meters/{name}/command"));
    for topic in ["voltage", "energy"] {
        let topic = format!("meters/{name}/{topic}");
        let traffic = Traffic { messages: 1, bytes: 40, qos: [0, 1, 0], retained: 0 };
        inventory.handle_flow(&FlowSeen {
            at_ms: START_MS,
            client_id: &client_id,
            identity: Some(&name),
            topic: &topic,
            traffic,
        });
    }
    // As the shell does: what is to be written is taken out.
    inventory.poll_writes(1_795_478_400, 16);
    while inventory.poll_event().is_some() {}
}

fn main() {
    let clients: u32 = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(100_000);
    let mut inventory = Inventory::new(Settings::default(), Places::default(), 7, START_MS);
    let before = resident_bytes();
    (0..clients).for_each(|number| add(&mut inventory, number));
    let bytes = resident_bytes().saturating_sub(before);
    let each = bytes / u64::from(clients.max(1));
    println!("{clients} clients, {} devices: {bytes} bytes resident, {each} bytes a client", inventory.len());
    let timed = |what: &str, work: &mut dyn FnMut()| {
        let began = std::time::Instant::now();
        work();
        println!("{what}: {} ms", began.elapsed().as_millis());
    };
    let flows = inventory.flows(&Default::default(), START_MS);
    timed("the matrix of flows", &mut || drop(inventory.flows(&Default::default(), START_MS)));
    timed("what of it is authorised", &mut || {
        drop(inventory.authorised(&flows, |_| ravelin_identify::flows::Permission::NotAsked));
    });
    timed("the map", &mut || drop(inventory.map(&Default::default(), START_MS)));
    timed("the bill of cryptography", &mut || drop(inventory.cbom("0", START_MS)));
    timed("the difference", &mut || drop(inventory.difference(1_000)));
}
