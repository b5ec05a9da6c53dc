//! What detectors are told by a shard beside events: connections that were opened and came to nothing, and what clients
//! did, some times a second.

use super::Shard;
use super::slab::Key;
use crate::control::Watched;
use std::net::SocketAddr;

/// Flows that are handed over at once; what is left comes with the next harvest.
const FLOWS_MAX: usize = 4_096;
/// Between two harvests, at least: what a flood does is known within so many milliseconds.
const HARVEST_MIN_MS: u64 = 250;
/// And at most: where many clients are active, each is told of once a second.
const HARVEST_MAX_MS: u64 = 1000;
/// A millisecond more for so many rows of the last harvest.
const ROWS_PER_MS: u64 = 4;

impl Shard {
    /// A connection was accepted, or refused by the first rungs.
    pub(super) fn opened(&mut self, address: SocketAddr) {
        let wall_ms = self.now.wall_ms;
        if let Some(Watched::Opened { address: last, count, .. }) = self.seen.last_mut()
            && last.ip() == address.ip()
        {
            *count += 1;
            return;
        }
        self.seen.push(Watched::Opened { wall_ms, address, count: 1 });
    }

    /// A connection was closed by its peer, or failed, before it had a session.
    pub(super) fn abandoned(&mut self, key: Key) {
        let now = self.now;
        let Some(conn) = self.conns.get(key) else { return };
        let (address, opened_ms, bytes) = (conn.address, conn.opened_ms(), conn.partial.len() as u64);
        self.seen.push(Watched::Abandoned {
            wall_ms: now.wall_ms,
            address,
            open_ms: now.mono_ms.saturating_sub(opened_ms),
            bytes,
        });
    }

    /// Whether there is something to harvest.
    pub(super) fn has_sights(&self) -> bool {
        self.broker.has_flows() || !self.unlogged.is_empty()
    }

    /// Tells who published how much to what, and what else clients did, when it is time for that or `now`.
    pub(super) fn harvest(&mut self, at_once: bool) {
        if !at_once && (self.now.mono_ms < self.next_harvest_ms || !self.has_sights()) {
            return;
        }
        self.unlogged.flush(&mut self.seen);
        let flows = self.broker.take_flows(self.now, FLOWS_MAX);
        let readings = self.broker.take_readings();
        let rows = (flows.len() + readings.len()) as u64;
        let rest_ms = (rows / ROWS_PER_MS).clamp(HARVEST_MIN_MS, HARVEST_MAX_MS);
        self.next_harvest_ms = self.now.mono_ms + rest_ms;
        if !flows.is_empty() {
            self.seen.push(Watched::Flows(self.now.wall_ms, flows.into()));
        }
        if !readings.is_empty() {
            self.seen.push(Watched::Readings(self.now.wall_ms, readings.into()));
        }
    }
}
