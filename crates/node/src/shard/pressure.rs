//! What a shard gives up when memory is short: see [`crate::memory`].

use super::Shard;
use super::meter::RateMeter;
use super::slab::Key;
use crate::memory::MemoryStage;
use ravelin_event::DisconnectCause;
use std::cmp::Reverse;

/// A buffer no longer than this is not what memory is short of.
const BUFFER_BYTES_MIN: usize = 64 << 10;

impl Shard {
    /// Looks whether there is something to give up. One load when there is not.
    #[inline]
    pub(super) fn look_at_memory(&mut self) {
        let epoch = self.pressure.epoch();
        if epoch != self.pressure_epoch {
            self.pressure_epoch = epoch;
            self.give_up();
        }
    }

    /// The limits of the policy, or what is left of them.
    pub(super) fn apply_limits(&mut self) {
        let mut limits = self.policy.core.clone();
        if self.stage >= MemoryStage::Shedding {
            // Beyond this each connection may still hold 64 KiB.
            limits.outbound_bytes_total_max = 0;
        }
        self.broker.set_limits(limits);
    }

    fn give_up(&mut self) {
        let before = std::mem::replace(&mut self.stage, self.pressure.stage());
        if self.stage != before {
            self.apply_limits();
            self.set_rates();
            RateMeter::set_stage(self.meter.as_deref(), self.stage);
        }
        if self.stage >= MemoryStage::Refusing {
            self.broker.forget_routes();
        }
        if self.stage >= MemoryStage::Shedding {
            self.counters.shed_messages += self.broker.drop_waiting_qos0() as u64;
        }
        if self.stage >= MemoryStage::Cutting {
            self.cut_slow_readers();
        }
    }

    /// Disconnects who takes too little of too much, until as much is freed as is asked of this shard.
    fn cut_slow_readers(&mut self) {
        let mut slow: Vec<(Reverse<usize>, Key)> = Vec::new();
        for &key in &self.blocked {
            let Some(conn) = self.conns.get(key) else { continue };
            let waiting = conn.waiting_bytes as usize;
            let Some(link) = conn.link().filter(|_| conn.flags.blocked && waiting > BUFFER_BYTES_MIN) else {
                continue;
            };
            let class = self.broker.principal(link).and_then(|who| who.class.as_deref());
            let class = class.and_then(|name| self.policy.programme.directory.class(name));
            if !class.is_some_and(|class| class.never_cut) {
                slow.push((Reverse(waiting), key));
            }
        }
        slow.sort_unstable();
        let mut excess = self.pressure.share_of_excess().max(1);
        for (Reverse(waiting), key) in slow {
            let Some(link) = self.conns.get(key).and_then(|conn| conn.link()) else { continue };
            let detail = Some("memory is short, and the client takes too little of what waits for it".into());
            // At once and with all that waits: a DISCONNECT behind it would be taken no sooner than the rest.
            self.broker.handle_closed(self.now, link, DisconnectCause::SlowReader, detail);
            self.remove(key);
            self.counters.slow_readers += 1;
            self.counters.shed_connections += 1;
            excess = excess.saturating_sub(waiting as u64);
            if excess == 0 {
                return;
            }
        }
    }
}
