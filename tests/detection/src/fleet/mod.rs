//! A fleet in code: meters, sensors, controllers, event devices, sleepers and roaming clients over virtual days, on a broker
//! that does what brokers do, and attacks on it at times that are known. The same seed is the same story.
//!
//! What is benign and looks odd is the point of it: devices reboot without a word, roam behind addresses that many share,
//! lose their network for minutes, all come back at once, get new firmware in waves and another rhythm with it, sleep at
//! night, tell a lot at shift changes; engineers mistype their password.

mod attack;
mod device;

use attack::Attack;
pub use attack::CLASSES;
use device::{Device, Kind};
use ravelin_replay::{Row, What};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{Ipv4Addr, SocketAddr};

const SECOND: u64 = 1_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// 2026-01-05 00:00 UTC, a Monday.
const START_US: u64 = 1_767_571_200 * SECOND;

/// How large, how long, how bad.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Devices.
    pub clients: usize,
    /// Virtual days.
    pub days: u64,
    /// Attacks of each class.
    pub attacks: usize,
    /// The seed.
    pub seed: u64,
}

/// Plays the story: each row with its label.
pub fn run(plan: Plan, see: &mut dyn FnMut(&Row<'_>, &str)) {
    let mut world = World::new(plan, see);
    world.schedule();
    while let Some(Reverse((at_us, _, deed))) = world.deeds.pop() {
        if at_us >= START_US + plan.days * DAY {
            break;
        }
        world.now_us = at_us;
        world.act(deed);
    }
}

/// Something that is going to happen. Ordered only so that it can lie in a heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    Connect(usize),
    /// A message in its rhythm; of an earlier connection it is void.
    Publish(usize, u64),
    Burst(usize, u32),
    GoodBye(usize, u64),
    Reboot(usize),
    Roam(usize),
    Update(usize),
    LoseNetwork(usize),
    BrokerRestart,
    /// The broker gives a connection up.
    Expire(usize, u64),
    Mistype(usize),
    Attack(usize, u32),
}

struct World<'a> {
    plan: Plan,
    see: &'a mut dyn FnMut(&Row<'_>, &str),
    deeds: BinaryHeap<Reverse<(u64, u64, Deed)>>,
    order: u64,
    random: Random,
    now_us: u64,
    /// The time of the last row: rows have different times.
    clock_us: u64,
    connections: u64,
    /// Losses of the network so far.
    outages: u64,
    devices: Vec<Device>,
    attacks: Vec<Attack>,
    label: String,
}

impl<'a> World<'a> {
    fn new(plan: Plan, see: &'a mut dyn FnMut(&Row<'_>, &str)) -> World<'a> {
        let mut random = Random(plan.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let devices = (0..plan.clients).map(|number| Device::new(number, &mut random)).collect();
        World {
            plan,
            see,
            deeds: BinaryHeap::new(),
            order: 0,
            random,
            now_us: START_US,
            clock_us: START_US,
            connections: 0,
            outages: 0,
            devices,
            attacks: Vec::new(),
            label: "benign".into(),
        }
    }

    fn later(&mut self, at_us: u64, deed: Deed) {
        self.order += 1;
        self.deeds.push(Reverse((at_us, self.order, deed)));
    }

    /// What happens whatever else happens.
    fn schedule(&mut self) {
        let end_us = self.plan.days * DAY;
        for device in 0..self.devices.len() {
            let at_us = START_US + self.random.below(2 * MINUTE);
            self.later(at_us, Deed::Connect(device));
            let kind = self.devices[device].kind;
            let mut at_us = self.random.below(20 * DAY);
            while at_us < end_us {
                self.later(START_US + at_us, Deed::Reboot(device));
                at_us += HOUR + self.random.below(20 * DAY);
            }
            for day in 0..self.plan.days {
                let midnight = START_US + day * DAY;
                if kind == Kind::Roamer {
                    for hour in [3, 9, 12, 17, 21] {
                        let at_us = midnight + hour * HOUR + self.random.below(2 * HOUR);
                        self.later(at_us, Deed::Roam(device));
                    }
                }
                if kind == Kind::Events {
                    for hour in [6, 14, 22] {
                        let at_us = midnight + hour * HOUR + self.random.below(5 * MINUTE);
                        self.later(at_us, Deed::Burst(device, 20));
                    }
                }
            }
        }
        // A wave of new firmware: twenty devices every ten minutes.
        for device in 0..self.devices.len() {
            let at_us = DAY + 10 * HOUR + (device / 20) as u64 * 10 * MINUTE + self.random.below(MINUTE);
            self.later(START_US + at_us, Deed::Update(device));
        }
        for day in 0..self.plan.days {
            let at_us = START_US + day * DAY + self.random.below(DAY);
            let area = self.random.below(8) as usize;
            self.later(at_us, Deed::LoseNetwork(area));
            for _ in 0..3 {
                let at_us = START_US + day * DAY + 7 * HOUR + self.random.below(10 * HOUR);
                let engineer = self.random.below(5) as usize;
                self.later(at_us, Deed::Mistype(engineer));
            }
        }
        let at_us = START_US + DAY + 3 * HOUR + self.random.below(HOUR);
        self.later(at_us, Deed::BrokerRestart);
        attack::schedule(self);
    }

    fn act(&mut self, deed: Deed) {
        match deed {
            Deed::Connect(device) => self.connect(device),
            Deed::Publish(device, connection) => self.publish_in_rhythm(device, connection),
            Deed::Burst(device, left) => self.burst(device, left),
            Deed::GoodBye(device, connection) => self.good_bye(device, connection),
            Deed::Reboot(device) => {
                if self.lose(device, What::CloseFin, true) {
                    let back = self.now_us + 20 * SECOND + self.random.below(MINUTE);
                    self.later(back, Deed::Connect(device));
                }
            }
            Deed::Roam(device) => self.roam(device),
            Deed::Update(device) => self.update(device),
            Deed::LoseNetwork(area) => self.lose_network(area),
            Deed::BrokerRestart => {
                for device in 0..self.devices.len() {
                    if self.lose(device, What::CloseFin, false) {
                        let back = self.now_us + 2 * SECOND + self.random.below(40 * SECOND);
                        self.later(back, Deed::Connect(device));
                    }
                }
            }
            Deed::Expire(device, connection) => {
                if self.devices[device].connection == Some(connection) && self.devices[device].is_cut_off {
                    self.lose(device, What::CloseFin, false);
                }
            }
            Deed::Mistype(engineer) => self.mistype(engineer),
            Deed::Attack(number, step) => attack::step(self, number, step),
        }
    }

    /// Emits a row of a connection.
    fn row<'r>(
        &mut self,
        connection: u64,
        source: SocketAddr,
        what: What,
        from_client: bool,
        fill: impl FnOnce(&mut Row<'r>),
    ) {
        self.clock_us = self.now_us.max(self.clock_us + 20);
        let mut row = Row::new(self.clock_us, connection, source, what, from_client);
        fill(&mut row);
        (self.see)(&row, &self.label);
    }

    /// Opens a connection, says CONNECT, and is answered with this code.
    fn log_in(
        &mut self,
        source: SocketAddr,
        client_id: &str,
        user: &str,
        keep_alive_s: u16,
        code: u8,
    ) -> u64 {
        self.connections += 1;
        let connection = self.connections;
        self.row(connection, source, What::Open, true, |_| {});
        self.row(connection, source, What::Connect, true, |row| {
            row.client_id = client_id;
            row.user_name = user;
            row.keep_alive_s = keep_alive_s;
        });
        self.row(connection, source, What::ConnAck, false, |row| row.code = Some(code));
        if code != 0 {
            self.row(connection, source, What::CloseFin, false, |_| {});
        }
        connection
    }

    /// An engineer gets it right the third time, sets something, and goes.
    fn mistype(&mut self, engineer: usize) {
        let source = SocketAddr::from((Ipv4Addr::new(10, 9, 0, 1 + engineer as u8), 50_000));
        let name = format!("engineer-{engineer}");
        let wrong = self.random.below(3);
        for _ in 0..wrong {
            self.log_in(source, &name, &name, 60, 0x86);
            self.now_us += 4 * SECOND;
        }
        let connection = self.log_in(source, &name, &name, 60, 0);
        self.now_us += 2 * SECOND;
        self.row(connection, source, What::Subscribe, true, |row| {
            row.topic = "plant/+/state";
            row.packet_id = 1;
        });
        self.row(connection, source, What::SubAck, false, |row| {
            row.packet_id = 1;
            row.code = Some(0);
        });
        self.now_us += 30 * SECOND;
        self.row(connection, source, What::Publish, true, |row| {
            row.topic = "plant/set";
            row.payload_len = 40;
        });
        self.row(connection, source, What::Disconnect, true, |_| {});
        self.row(connection, source, What::CloseFin, true, |_| {});
    }
}

/// xorshift64*: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) % bound.max(1)
    }

    /// About `value`, `percent` more or less.
    fn about(&mut self, value: u64, percent: u64) -> u64 {
        let spread = value * percent / 100;
        value - spread + self.below(2 * spread + 1)
    }
}
