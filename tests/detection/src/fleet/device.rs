//! What a device does all day.

use super::{DAY, Deed, HOUR, MINUTE, Random, SECOND, START_US, World};
use ravelin_replay::What;
use std::net::{Ipv4Addr, SocketAddr};

/// What a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Every quarter of an hour.
    Meter,
    /// Every ten seconds.
    Sensor,
    /// Every minute, two topics, and takes orders.
    Controller,
    /// When something happens, and a lot at shift changes.
    Events,
    /// Comes once an hour, says something, and goes.
    Sleeper,
    /// As a controller, by day only.
    DayWorker,
    /// Every five minutes, from wherever it is.
    Roamer,
    /// Takes all that the others say.
    Archive,
}

pub(super) struct Device {
    pub kind: Kind,
    pub client_id: String,
    pub source: SocketAddr,
    pub topics: [String; 2],
    pub period_us: u64,
    pub payload_len: u32,
    pub connection: Option<u64>,
    /// Nothing that it sends arrives.
    pub is_cut_off: bool,
    /// It was cut off in this outage, and has not come back since.
    pub is_missed: Option<u64>,
    /// It says nothing until then: an attack.
    pub silent_until_us: u64,
    packets: u16,
}

impl Device {
    pub fn new(number: usize, random: &mut Random) -> Device {
        let kind = match number {
            0 | 1 => Kind::Archive,
            _ => match number % 10 {
                0..=2 => Kind::Meter,
                3 => Kind::Sensor,
                4 | 5 => Kind::Controller,
                6 => Kind::Events,
                7 => Kind::Sleeper,
                8 => Kind::DayWorker,
                _ => Kind::Roamer,
            },
        };
        let period_us = match kind {
            Kind::Meter => 15 * MINUTE,
            Kind::Sensor => 10 * SECOND,
            Kind::Controller | Kind::DayWorker => MINUTE,
            Kind::Events => 12 * MINUTE,
            Kind::Sleeper => HOUR,
            Kind::Roamer => 5 * MINUTE,
            Kind::Archive => 0,
        };
        let word = format!("{kind:?}").to_lowercase();
        let topic = |what: &str| format!("plant/{}/{word}/{number}/{what}", number % 8);
        let mut device = Device {
            kind,
            client_id: format!("{word}-{number}"),
            source: SocketAddr::from((
                Ipv4Addr::new(10, 1, (number / 200) as u8, (number % 200) as u8 + 1),
                40_000,
            )),
            topics: [topic("value"), topic("state")],
            period_us,
            payload_len: 20 + random.below(60) as u32,
            connection: None,
            is_cut_off: false,
            is_missed: None,
            silent_until_us: 0,
            packets: 0,
        };
        if kind == Kind::Roamer {
            device.source = nat(random);
        }
        device
    }

    fn keep_alive_s(&self) -> u16 {
        (self.period_us / SECOND * 2).clamp(60, 3_600) as u16
    }
}

/// One of a few addresses behind which many are.
fn nat(random: &mut Random) -> SocketAddr {
    let port = 1024 + random.below(60_000) as u16;
    SocketAddr::from((Ipv4Addr::new(203, 0, 113, 1 + random.below(6) as u8), port))
}

impl World<'_> {
    pub(super) fn connect(&mut self, number: usize) {
        let device = &mut self.devices[number];
        device.is_cut_off = false;
        let (client_id, source, keep_alive_s) =
            (device.client_id.clone(), device.source, device.keep_alive_s());
        let (kind, old) = (device.kind, device.connection.take());
        let source = SocketAddr::new(source.ip(), source.port().wrapping_add(1).max(1024));
        if let Some(outage) = self.devices[number].is_missed.take() {
            let label = format!("network_loss#{outage}");
            let before = std::mem::replace(&mut self.label, label);
            self.connections += 1;
            let connection = self.connections;
            self.row(connection, source, What::Open, true, |row| row.client_id = &client_id);
            self.row(connection, source, What::CloseFin, true, |_| {});
            self.label = before;
        }
        let connection = self.log_in(source, &client_id, &client_id, keep_alive_s, 0);
        if let Some(old) = old {
            self.row(old, source, What::CloseFin, false, |_| {});
        }
        self.devices[number].source = source;
        self.devices[number].connection = Some(connection);
        match kind {
            Kind::Archive => self.subscribe(number, "plant/#"),
            Kind::Controller | Kind::DayWorker => {
                let orders = format!("orders/{client_id}");
                self.subscribe(number, &orders);
            }
            _ => {}
        }
        let first = self.random.below(self.devices[number].period_us.min(MINUTE));
        if kind != Kind::Archive {
            self.later(self.now_us + SECOND + first, Deed::Publish(number, connection));
        }
        if kind == Kind::Sleeper {
            self.later(self.now_us + 2 * MINUTE, Deed::GoodBye(number, connection));
        }
        if kind == Kind::DayWorker {
            let of_day = (self.now_us - START_US) % DAY;
            let evening = if of_day < 22 * HOUR { 22 * HOUR - of_day } else { DAY - of_day };
            let at_us = self.now_us + evening + self.random.below(10 * MINUTE);
            self.later(at_us, Deed::GoodBye(number, connection));
        }
    }

    fn subscribe(&mut self, number: usize, filter: &str) {
        let (Some(connection), source) = (self.devices[number].connection, self.devices[number].source)
        else {
            return;
        };
        self.row(connection, source, What::Subscribe, true, |row| {
            row.topic = filter;
            row.packet_id = 1;
        });
        self.row(connection, source, What::SubAck, false, |row| {
            row.packet_id = 1;
            row.code = Some(1);
        });
    }

    /// Says one thing on one of its topics, if it can.
    pub(super) fn publish(&mut self, number: usize, which: usize) {
        let device = &mut self.devices[number];
        let Some(connection) = device.connection.filter(|_| !device.is_cut_off) else { return };
        device.packets = device.packets.checked_add(1).unwrap_or(1);
        let (topic, packet_id, source) = (device.topics[which].clone(), device.packets, device.source);
        let length = self.random.about(u64::from(self.devices[number].payload_len), 10) as u32;
        self.row(connection, source, What::Publish, true, |row| {
            row.topic = &topic;
            row.qos = 1;
            row.packet_id = packet_id;
            row.payload_len = length;
        });
        self.row(connection, source, What::PubAck, false, |row| row.packet_id = packet_id);
    }

    pub(super) fn publish_in_rhythm(&mut self, number: usize, connection: u64) {
        let device = &self.devices[number];
        if device.connection != Some(connection) {
            return;
        }
        let (kind, silent) = (device.kind, self.now_us < device.silent_until_us);
        if !silent {
            self.publish(number, 0);
            if kind == Kind::Controller || self.random.below(50) == 0 {
                self.publish(number, 1);
            }
        }
        let period_us = self.devices[number].period_us;
        let next = match kind {
            // Things happen when they happen.
            Kind::Events => period_us / 10 + self.random.below(period_us * 2),
            Kind::Roamer => self.random.about(period_us, 20),
            _ => self.random.about(period_us, 2),
        };
        self.later(self.now_us + next, Deed::Publish(number, connection));
    }

    pub(super) fn burst(&mut self, number: usize, left: u32) {
        self.publish(number, (left % 2) as usize);
        if left > 1 {
            let at_us = self.now_us + self.random.below(3 * SECOND);
            self.later(at_us, Deed::Burst(number, left - 1));
        }
    }

    pub(super) fn good_bye(&mut self, number: usize, connection: u64) {
        let device = &mut self.devices[number];
        if device.connection != Some(connection) || device.is_cut_off {
            return;
        }
        device.connection = None;
        let (source, kind) = (device.source, device.kind);
        self.row(connection, source, What::Disconnect, true, |_| {});
        self.row(connection, source, What::CloseFin, true, |_| {});
        let away = match kind {
            Kind::DayWorker => 8 * HOUR,
            _ => self.random.about(HOUR, 2),
        };
        let back = self.now_us + away + self.random.below(30 * SECOND);
        self.later(back, Deed::Connect(number));
    }

    /// Its connection ends without a word; false: it had none.
    pub(super) fn lose(&mut self, number: usize, what: What, by_client: bool) -> bool {
        let device = &mut self.devices[number];
        if by_client && device.is_cut_off {
            return false;
        }
        let source = device.source;
        let Some(connection) = device.connection.take() else { return false };
        self.row(connection, source, what, by_client, |_| {});
        true
    }

    /// It is elsewhere now. Mostly nobody tells the broker, which learns it by the take-over.
    pub(super) fn roam(&mut self, number: usize) {
        if self.random.below(3) == 0 && !self.lose(number, What::CloseRst, true) {
            return;
        }
        self.devices[number].source = nat(&mut self.random);
        let back = self.now_us + SECOND + self.random.below(20 * SECOND);
        self.devices[number].is_cut_off = true;
        self.later(back, Deed::Connect(number));
    }

    /// New firmware: it goes, comes back, tells its version, and is a little different.
    pub(super) fn update(&mut self, number: usize) {
        let device = &mut self.devices[number];
        let Some(connection) = device.connection.filter(|_| !device.is_cut_off) else { return };
        device.connection = None;
        device.payload_len += 12;
        device.period_us = device.period_us * 4 / 5;
        device.topics[1] = device.topics[1].replace("/state", "/version");
        let source = device.source;
        self.row(connection, source, What::Disconnect, true, |_| {});
        self.row(connection, source, What::CloseFin, true, |_| {});
        let back = self.now_us + MINUTE + self.random.below(MINUTE);
        self.later(back, Deed::Connect(number));
        self.later(back + SECOND, Deed::Burst(number, 1));
    }

    /// A part of the network is gone for twenty minutes.
    pub(super) fn lose_network(&mut self, area: usize) {
        self.outages += 1;
        for number in (0..self.devices.len()).filter(|number| number % 8 == area) {
            let device = &mut self.devices[number];
            let Some(connection) = device.connection.filter(|_| !device.is_cut_off) else { continue };
            device.is_cut_off = true;
            device.is_missed = Some(self.outages);
            let (source, client_id) = (device.source, device.client_id.clone());
            let patience = u64::from(device.keep_alive_s()) * SECOND * 3 / 2;
            // The last sign of it. That it is missed then is true, though nobody attacks.
            self.label = format!("network_loss#{}", self.outages);
            self.row(connection, source, What::PingReq, true, |row| row.client_id = &client_id);
            self.label = "benign".into();
            if patience < 20 * MINUTE {
                self.later(self.now_us + patience, Deed::Expire(number, connection));
            }
            let back = self.now_us + 20 * MINUTE + self.random.below(MINUTE);
            self.later(back, Deed::Connect(number));
        }
    }
}
