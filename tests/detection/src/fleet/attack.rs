//! Attacks, each a series of steps at a pace of its own. All rows of one carry its label, such as `flood#3`.

use super::device::Kind;
use super::{DAY, Deed, HOUR, MINUTE, SECOND, START_US, World};
use ravelin_replay::What;
use std::net::{Ipv4Addr, SocketAddr};

/// The classes: a name, how many steps, the pace.
pub const CLASSES: [(&str, u32, u64); 14] = [
    ("guess_fast", 60, SECOND / 5),
    ("guess_slow", 60, 7 * MINUTE),
    ("spray", 40, 20 * SECOND),
    ("scan_subscribe", 40, SECOND / 2),
    ("scan_publish", 60, SECOND / 2),
    ("probe", 6, SECOND),
    ("slowite", 300, SECOND / 30),
    ("half_open", 60, SECOND / 10),
    ("flood", 5_000, SECOND / 500),
    ("clone", 12, 5 * SECOND),
    ("silent", 30, 30 * SECOND),
    ("undeliverable", 300, SECOND / 2),
    ("malformed", 10, 2 * SECOND),
    ("off_rhythm", 40, 7 * SECOND),
];

pub(super) struct Attack {
    class: usize,
    label: String,
    source: SocketAddr,
    /// The connection of the attacker, once there is one.
    connection: Option<u64>,
    /// The device that is attacked or has been taken over.
    victim: usize,
}

/// Attacks at random times, after some hours in which nobody knew anybody.
pub(super) fn schedule(world: &mut World<'_>) {
    for (class, (name, ..)) in CLASSES.iter().enumerate() {
        for number in 0..world.plan.attacks {
            let span = (world.plan.days * DAY).saturating_sub(12 * HOUR);
            let at_us = START_US + 6 * HOUR + world.random.below(span.saturating_sub(HOUR));
            let count = world.attacks.len();
            let host = [198, 51, 100 + (count / 250) as u8, (count % 250) as u8 + 1];
            world.attacks.push(Attack {
                class,
                label: format!("{name}#{number}"),
                source: SocketAddr::from((Ipv4Addr::from(host), 45_000)),
                connection: None,
                victim: 0,
            });
            world.later(at_us, Deed::Attack(count, 0));
        }
    }
}

/// Does one step of an attack, and schedules the next.
pub(super) fn step(world: &mut World<'_>, number: usize, step: u32) {
    let (name, steps, pace) = CLASSES[world.attacks[number].class];
    if step == 0 && !begin(world, number, name) {
        // There is no device for it now.
        return world.later(world.now_us + 10 * MINUTE, Deed::Attack(number, 0));
    }
    let label = world.attacks[number].label.clone();
    let before = std::mem::replace(&mut world.label, label);
    act(world, number, name, step);
    world.label = before;
    if step + 1 < steps {
        world.later(world.now_us + pace, Deed::Attack(number, step + 1));
    } else if name == "slowite" || name == "half_open" {
        world.attacks[number].connection = None;
    }
}

/// Chooses a device where one is needed.
fn begin(world: &mut World<'_>, number: usize, name: &str) -> bool {
    let wanted: &[Kind] = match name {
        "flood" | "clone" | "scan_publish" | "undeliverable" => {
            &[Kind::Sensor, Kind::Controller, Kind::Meter]
        }
        "silent" => &[Kind::Sensor],
        "off_rhythm" => &[Kind::Controller],
        _ => return true,
    };
    let now_us = world.now_us;
    let start = world.random.below(world.devices.len() as u64) as usize;
    let found = (0..world.devices.len()).map(|at| (start + at) % world.devices.len()).find(|&at| {
        let device = &world.devices[at];
        let fits = wanted.contains(&device.kind) && device.connection.is_some();
        fits && !device.is_cut_off && device.silent_until_us < now_us
    });
    if let Some(victim) = found {
        world.attacks[number].victim = victim;
    }
    found.is_some()
}

fn act(world: &mut World<'_>, number: usize, name: &str, step: u32) {
    let source = SocketAddr::new(world.attacks[number].source.ip(), 45_000 + (step % 15_000) as u16);
    match name {
        "guess_fast" | "guess_slow" => {
            world.log_in(source, "mqtt-explorer", "admin", 60, 0x86);
        }
        "spray" => {
            let host = [192, 0, 2, (number % 10 * 20) as u8 + (step % 20) as u8 + 1];
            let source = SocketAddr::from((Ipv4Addr::from(host), 45_000));
            let user = format!("user-{step}");
            world.log_in(source, &format!("c{step}"), &user, 60, 0x86);
        }
        "scan_subscribe" | "probe" => probe(world, number, source, name, step),
        "scan_publish" => {
            let topic = format!("factory/line{}/valve{step}", step % 7);
            publish(world, number, &topic, 10);
        }
        "slowite" => {
            world.log_in(source, &format!("slow{number}-{step}"), "", 65_535, 0);
        }
        "half_open" => {
            world.connections += 1;
            let connection = world.connections;
            world.row(connection, source, What::Open, true, |_| {});
        }
        "flood" => {
            let topic = world.devices[world.attacks[number].victim].topics[0].clone();
            publish(world, number, &topic, 900);
        }
        "undeliverable" => publish(world, number, "nobody/listens", 30),
        "clone" => clone(world, number, source, step),
        "silent" => {
            let victim = world.attacks[number].victim;
            world.devices[victim].silent_until_us = world.now_us + MINUTE;
            if let Some(connection) = world.devices[victim].connection {
                let source = world.devices[victim].source;
                let client_id = world.devices[victim].client_id.clone();
                world.row(connection, source, What::PingReq, true, |row| row.client_id = &client_id);
            }
        }
        "malformed" => {
            let client = format!("fuzz-{number}");
            let connection = world.log_in(source, &client, "", 60, 0);
            world.row(connection, source, What::Malformed, true, |_| {});
            world.row(connection, source, What::CloseFin, false, |_| {});
        }
        _ => {
            let topic = world.devices[world.attacks[number].victim].topics[0].clone();
            let length = world.devices[world.attacks[number].victim].payload_len;
            publish(world, number, &topic, length);
        }
    }
}

/// A device that was taken over says something.
fn publish(world: &mut World<'_>, number: usize, topic: &str, length: u32) {
    let device = &world.devices[world.attacks[number].victim];
    let Some(connection) = device.connection.filter(|_| !device.is_cut_off) else { return };
    let (source, client_id) = (device.source, device.client_id.clone());
    world.row(connection, source, What::Publish, true, |row| {
        row.client_id = &client_id;
        row.topic = topic;
        row.payload_len = length;
    });
}

/// Asks for filters: of things that are not there or not for it, or of everything.
fn probe(world: &mut World<'_>, number: usize, source: SocketAddr, name: &str, step: u32) {
    let client = format!("visitor-{number}");
    let connection = match world.attacks[number].connection {
        Some(connection) => connection,
        None => world.log_in(source, &client, "visitor", 60, 0),
    };
    world.attacks[number].connection = Some(connection);
    let (filter, code) = match name {
        "probe" => (
            ["#", "$SYS/#", "+/+/#", "/#", "$SYS/broker/#", "$CONTROL/#"][step as usize % 6].to_owned(),
            0x87,
        ),
        _ => (format!("building/{step}/door"), if step.is_multiple_of(3) { 0x87 } else { 0 }),
    };
    world.row(connection, source, What::Subscribe, true, |row| {
        row.client_id = &client;
        row.topic = &filter;
        row.packet_id = step as u16 + 1;
    });
    world.row(connection, source, What::SubAck, false, |row| {
        row.packet_id = step as u16 + 1;
        row.code = Some(code);
    });
}

/// Somebody with the same Client Identifier comes, the device throws him out, and so on.
fn clone(world: &mut World<'_>, number: usize, source: SocketAddr, step: u32) {
    let victim = world.attacks[number].victim;
    let client_id = world.devices[victim].client_id.clone();
    let user = client_id.clone();
    if step.is_multiple_of(2) {
        let Some(old) = world.devices[victim].connection else { return };
        let connection = world.log_in(source, &client_id, &user, 60, 0);
        let at = world.devices[victim].source;
        world.row(old, at, What::CloseFin, false, |_| {});
        world.devices[victim].connection = None;
        world.attacks[number].connection = Some(connection);
    } else {
        world.connect(victim);
        if let Some(old) = world.attacks[number].connection.take() {
            world.row(old, source, What::CloseFin, false, |_| {});
        }
    }
}
