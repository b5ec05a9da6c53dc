//! From events on connections to what a running node would have told its detectors.
//!
//! The rules, and where a recording says less than a node knows:
//!
//! * who publishes is metered, and told every [`METER_MS`] of the recording's time;
//! * a message is undelivered if no filter that was granted matches; while a connection is open that began before the
//!   recording, nobody knows what it had subscribed to, and no message counts as undelivered. Somebody who is sent a message
//!   had a filter for it, whether or not the recording has the SUBSCRIBE;
//! * a node ends a connection at the first malformed packet. Where the recorded broker went on, each further one counts as
//!   refused;
//! * a connection without CONNECT is refused when its time is over, as [`CONNECT_DEADLINE_MS`] has it, even if the recorded
//!   broker waited for longer;
//! * a broker that closes a connection does not say why in MQTT 3.1.1: after 1.5 times Keep Alive without a packet it is
//!   that; while another connection asks for the same Client Identifier it is a take-over; right after a packet it is a
//!   protocol error; otherwise an order;
//! * where the recording ends, nothing ends: no conclusion is drawn from it.

mod connection;
mod meter;
mod names;
mod session;

use crate::{Row, What};
use connection::{Connection, State};
use foldhash::fast::FixedState;
use hashbrown::HashMap;
use meter::Meters;
use names::{Names, Subscriptions};
use ravelin_detect::Sight;
use ravelin_event::{DisconnectCause, Refusal};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

/// Meters are told so often, as a node does.
pub(crate) const METER_MS: u64 = 250;
/// A node waits so long for CONNECT.
const CONNECT_DEADLINE_MS: u64 = 10_000;
/// A client that has closed before its CONNACK has come is waited for so long: both may be under way at once.
const CLOSING_MS: u64 = 2_000;
/// Connections that are followed at once; more are not looked at.
const CONNECTIONS_MAX: usize = 1 << 20;

type Table<K, V> = HashMap<K, V, FixedState>;

/// Turns rows into sights.
pub struct Translator {
    connections: Table<u64, Connection>,
    /// The connection of each client that is connected.
    live: Table<Arc<str>, u64>,
    /// How many connections wait for a CONNACK, by Client Identifier.
    awaited: Table<Arc<str>, u32>,
    subscriptions: Subscriptions,
    names: Names,
    meters: Meters,
    /// Filters of topics whose payload is told.
    watched: Vec<String>,
    /// Connections to look at again: when, and which.
    deadlines: BinaryHeap<Reverse<(u64, u64)>>,
    /// Connections that began before the recording, and are open.
    midstream: usize,
    now_ms: u64,
    out: VecDeque<(u64, Sight)>,
    overflowed: u64,
}

impl Translator {
    /// One that tells the payload of messages to topics that one of the filters in `watched` matches.
    pub fn new(watched: Vec<String>) -> Translator {
        Translator {
            connections: Table::default(),
            live: Table::default(),
            awaited: Table::default(),
            subscriptions: Subscriptions::default(),
            names: Names::default(),
            meters: Meters::default(),
            watched,
            deadlines: BinaryHeap::new(),
            midstream: 0,
            now_ms: 0,
            out: VecDeque::new(),
            overflowed: 0,
        }
    }

    /// The next thing that a node would have told, and when.
    pub fn poll_sight(&mut self) -> Option<(u64, Sight)> {
        self.out.pop_front()
    }

    /// Rows that were left out because too many connections were open.
    pub fn overflowed(&self) -> u64 {
        self.overflowed
    }

    /// Whether a client has done something that was not told yet.
    pub fn is_metering(&self) -> bool {
        !self.meters.is_empty()
    }

    /// Time has passed, in milliseconds since the Unix epoch.
    pub fn handle_time(&mut self, at_ms: u64) {
        if at_ms <= self.now_ms {
            return;
        }
        if !self.meters.is_empty() {
            let end = self.meters.from_ms + METER_MS;
            if at_ms >= end {
                self.now_ms = self.now_ms.max(end);
                self.meters.take(end, &mut self.out);
            }
        }
        while self.deadlines.peek().is_some_and(|Reverse((due, _))| *due <= at_ms) {
            let Some(Reverse((due, number))) = self.deadlines.pop() else { break };
            self.now_ms = self.now_ms.max(due);
            self.handle_deadline(number);
        }
        self.now_ms = at_ms;
    }

    /// Something happened. Rows come in the order of time; what is late counts as now.
    pub fn handle_row(&mut self, row: &Row<'_>) {
        self.handle_time(row.at_us / 1000);
        if !self.connections.contains_key(&row.connection) && !self.begin(row) {
            return;
        }
        match row.what {
            What::Open => self.opened(row),
            What::Midstream => {}
            What::Connect => self.connect(row),
            What::ConnAck => self.connack(row),
            What::Publish if row.from_client => self.publish(row),
            What::Publish => self.sent(row),
            What::Subscribe => self.subscribe(row),
            What::SubAck => self.suback(row),
            What::Unsubscribe => self.unsubscribe(row),
            What::Malformed if row.from_client => self.malformed(row.connection),
            What::Disconnect => self.disconnect(row),
            What::CloseFin | What::CloseRst => self.closed(row),
            What::End => self.forget(row.connection),
            _ => self.acknowledged(row),
        }
    }

    /// A connection of which this is the first row; false: it is not followed.
    fn begin(&mut self, row: &Row<'_>) -> bool {
        // What comes after the end of a connection begins none.
        let late = matches!(row.what, What::CloseFin | What::CloseRst | What::End | What::Malformed);
        if late {
            return false;
        }
        if self.connections.len() >= CONNECTIONS_MAX {
            self.overflowed += 1;
            return false;
        }
        let mut connection = Connection::new(row.source, self.now_ms);
        if !matches!(row.what, What::Open | What::Connect) {
            let name = if row.client_id.is_empty() {
                self.names.keep(&format!("unknown-{}", row.source))
            } else {
                self.names.keep(row.client_id)
            };
            connection.client_id = name;
            connection.state = State::Midstream;
            self.midstream += 1;
        } else if row.what == What::Connect {
            self.tell(Sight::Opened { address: row.source, count: 1 });
        }
        self.connections.insert(row.connection, connection);
        true
    }

    fn opened(&mut self, row: &Row<'_>) {
        // A number that is used again is another connection: what became of the first is not known.
        if self.connections.get(&row.connection).is_some_and(|connection| connection.state != State::Open) {
            self.forget(row.connection);
            self.connections.insert(row.connection, Connection::new(row.source, self.now_ms));
        }
        self.tell(Sight::Opened { address: row.source, count: 1 });
        self.deadlines.push(Reverse((self.now_ms + CONNECT_DEADLINE_MS, row.connection)));
    }

    fn handle_deadline(&mut self, number: u64) {
        let now_ms = self.now_ms;
        let Some(connection) = self.connections.get_mut(&number) else { return };
        if connection.state == State::Open && now_ms >= connection.opened_ms + CONNECT_DEADLINE_MS {
            connection.state = State::Over;
            let address = connection.address;
            self.refused(address, None, None, Refusal::ConnectDeadline);
        } else if connection.state == State::Connecting && connection.closed.is_some() {
            self.abandoned(number);
        }
    }

    fn refused(
        &mut self,
        address: SocketAddr,
        client_id: Option<Arc<str>>,
        identity: Option<Arc<str>>,
        why: Refusal,
    ) {
        self.tell(Sight::Refused { address, client_id, identity, why, count: 1 });
    }

    /// It ended before there was an answer to its CONNECT.
    fn abandoned(&mut self, number: u64) {
        let Some(connection) = self.connections.get(&number) else { return };
        let open_ms = self.now_ms - connection.opened_ms;
        let sight = Sight::Abandoned { address: connection.address, open_ms, bytes: connection.bytes };
        self.tell(sight);
        self.forget(number);
    }

    /// Its session is over for this cause: tells it, and its will.
    fn left(&mut self, number: u64, cause: DisconnectCause) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        connection.state = State::Over;
        let (client_id, address) = (Arc::clone(&connection.client_id), connection.address);
        let will = connection.will.take();
        let clean = connection.clean_start;
        if self.live.get(&client_id) == Some(&number) {
            self.live.remove(&client_id);
            if clean && cause != DisconnectCause::TakenOver {
                self.subscriptions.end(&client_id);
            }
        }
        self.tell(Sight::Left { client_id: Arc::clone(&client_id), address: Some(address), cause });
        // MQTT-3.1.2-8: the will is published unless the client has said that it goes.
        if let Some(topic) = will.filter(|_| cause != DisconnectCause::Normal) {
            self.tell(Sight::WillPublished { client_id, topic });
        }
    }

    /// Drops a connection; whatever it was about to become is not known.
    fn forget(&mut self, number: u64) {
        let Some(connection) = self.connections.remove(&number) else { return };
        match connection.state {
            State::Connecting => self.no_longer_awaited(&connection.client_id),
            State::Midstream => self.midstream -= 1,
            State::In if self.live.get(&connection.client_id) == Some(&number) => {
                self.live.remove(&connection.client_id);
            }
            _ => {}
        }
    }

    fn no_longer_awaited(&mut self, client_id: &Arc<str>) {
        if let Some(count) = self.awaited.get_mut(client_id) {
            *count -= 1;
            if *count == 0 {
                self.awaited.remove(client_id);
            }
        }
    }

    fn tell(&mut self, sight: Sight) {
        self.out.push_back((self.now_ms, sight));
    }
}

#[cfg(test)]
mod tests;
