//! Recordings and tools against a real node: the release binary, over TCP.

use crate::recorded::each;
use ravelin_attacks::node::{Node, Setup};
use ravelin_attacks::wire::{Connect, Publish, packet, subscribe_v311};
use ravelin_attacks::{Peer, wire};
use ravelin_replay::{Row, What};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long an alarm is waited for after the last row.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a node has said.
pub struct Said {
    /// Rows that were played, or 0.
    pub rows: usize,
    /// Alarms, by detector.
    pub alarms: BTreeMap<String, u64>,
    /// Seconds to the first.
    pub first_s: Option<f64>,
}

impl Said {
    /// One line of a table.
    pub fn line(&self, name: &str) -> String {
        let alarms: Vec<String> = self.alarms.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let first = self.first_s.map_or("-".into(), |seconds| format!("{seconds:.3}"));
        format!("{name:28} {:>6} {first:>10}  {}", self.rows, alarms.join(", "))
    }
}

/// The head of that table.
pub fn head() -> String {
    format!("{:28} {:>6} {:>10}  alarms", "what", "rows", "first s")
}

/// A node with an open listener and one that wants a password.
pub fn node() -> Node {
    Setup::default()
        .open_listener()
        .listener("transport = \"tcp\"\nbind_client_id = \"none\"\nauthentication = [\"password\"]")
        .passwords(&[("operator", "right")])
        .limits("connections_per_address_max = 5000")
        .start()
}

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// The alarms that a node has raised since then; `wait`: until there is one, or patience ends.
pub fn alarms(node: &Node, since_ms: u64, wait: bool) -> Said {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut said = Said { rows: 0, alarms: BTreeMap::new(), first_s: None };
        for line in node.lines() {
            let Ok(value) = serde_json::from_str::<serde_json::Value>(&line) else { continue };
            if value["id"] != "alarm.raised" {
                continue;
            }
            let detector = value["fields"]["detector"].as_str().unwrap_or_default().to_owned();
            *said.alarms.entry(detector).or_default() += 1;
            let after = value["at_ms"].as_u64().unwrap_or_default().saturating_sub(since_ms) as f64 / 1000.0;
            said.first_s = Some(said.first_s.map_or(after, |first| first.min(after)));
        }
        if !wait || said.first_s.is_some() || Instant::now() > deadline {
            return said;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Plays the first rows of a recording to a node. Pauses are at most `pause` long: where rhythm does not matter, a short one.
pub fn play(node: &Node, path: &Path, rows_max: usize, pause: Duration) -> Said {
    let mut refused = BTreeSet::new();
    each(path, &mut |row, _| {
        if row.what == What::ConnAck && row.code.unwrap_or(0) != 0 {
            refused.insert(row.connection);
        }
    });
    let mut stage = Stage {
        open: node.addresses[0],
        closed: node.addresses[1],
        refused,
        peers: BTreeMap::new(),
        hosts: BTreeMap::new(),
    };
    let since_ms = now_ms();
    let (mut rows, mut last_us) = (0, None);
    each(path, &mut |row, _| {
        if rows >= rows_max {
            return;
        }
        rows += 1;
        let gap = row.at_us.saturating_sub(last_us.unwrap_or(row.at_us));
        last_us = Some(row.at_us);
        if gap > 1_000 {
            std::thread::sleep(Duration::from_micros(gap).min(pause));
        }
        stage.row(row);
    });
    let mut said = alarms(node, since_ms, pause < Duration::from_secs(1));
    said.rows = rows;
    said
}

struct Stage {
    open: SocketAddr,
    closed: SocketAddr,
    /// Connections that the recorded broker refused.
    refused: BTreeSet<u64>,
    peers: BTreeMap<u64, Peer>,
    /// An address of the loopback network for each that was recorded.
    hosts: BTreeMap<IpAddr, Ipv4Addr>,
}

impl Stage {
    fn row(&mut self, row: &Row<'_>) {
        let number = row.connection;
        match row.what {
            What::Open => self.open(row),
            What::Connect => {
                let refused = self.refused.contains(&number);
                let Some(peer) = self.peers.get_mut(&number) else { return };
                let mut connect = Connect::v311(row.client_id).keep_alive(row.keep_alive_s);
                if refused {
                    let user = if row.user_name.is_empty() { "nobody" } else { row.user_name };
                    connect = connect.user(user, "wrong");
                }
                peer.greet(&connect);
            }
            What::Publish if row.from_client => {
                let publish = Publish::new(row.topic, vec![b'x'; row.payload_len as usize]);
                let publish = if row.qos > 0 { publish.qos(row.qos, row.packet_id.max(1)) } else { publish };
                self.send(number, &publish.to_bytes_v311());
            }
            What::Subscribe => {
                self.send(number, &subscribe_v311(row.packet_id.max(1), &[(row.topic, row.qos)]));
            }
            What::PubRel if row.from_client => self.send(number, &wire::ack(0x62, row.packet_id.max(1))),
            What::PingReq => self.send(number, &[0xC0, 0]),
            What::Disconnect if row.from_client => self.send(number, &[0xE0, 0]),
            What::Malformed if row.from_client => self.send(number, &packet(0xF0, b"?")),
            What::CloseRst if row.from_client => drop(self.peers.remove(&number).map(Peer::reset)),
            What::CloseFin if row.from_client => drop(self.peers.remove(&number)),
            _ => {}
        }
    }

    fn open(&mut self, row: &Row<'_>) {
        let next = self.hosts.len() as u8 + 2;
        let source = *self.hosts.entry(row.source.ip()).or_insert(Ipv4Addr::new(127, 0, 0, next));
        let node = if self.refused.contains(&row.connection) { self.closed } else { self.open };
        // A node that has enough of an address does not let it in.
        if let Ok(peer) = Peer::try_open(node, source, None) {
            self.peers.insert(row.connection, peer);
        }
    }

    /// A node that has closed meanwhile does not take it: that is its right.
    fn send(&mut self, number: u64, bytes: &[u8]) {
        if let Some(peer) = self.peers.get_mut(&number)
            && peer.try_send(bytes).is_err()
        {
            self.peers.remove(&number);
        }
    }
}
