//! An attack under observation.

use crate::node::Node;
use crate::peer::Peer;
use crate::witness::{Service, Witness};
use std::net::SocketAddr;
use std::time::Duration;

/// What 99 of 100 messages of the witnesses may take, on a machine that does other work too.
const P99_MAX: Duration = Duration::from_millis(500);
/// What none of them may take.
const LATENCY_MAX: Duration = Duration::from_secs(1);

/// From the beginning of an attack to its end.
pub struct Trial {
    witness: Witness,
    memory: u64,
    growth_max: u64,
}

impl Trial {
    /// Begins: the witnesses exchange messages over the node's first listener, without credentials. Memory may grow by
    /// `growth_max` bytes at any time until the end.
    pub fn begin(node: &Node, growth_max: u64) -> Trial {
        let witness = Witness::plain(node.address());
        Trial::begin_with(node, growth_max, witness)
    }

    /// The same with witnesses that connect in a way of their own.
    pub fn begin_with(node: &Node, growth_max: u64, witness: Witness) -> Trial {
        node.forget_memory_peak();
        Trial { witness, memory: node.memory(), growth_max }
    }

    /// The same over another listener.
    pub fn begin_at(node: &Node, growth_max: u64, address: SocketAddr) -> Trial {
        Trial::begin_with(node, growth_max, Witness::plain(address))
    }

    /// The same with an `open` for connections of the witnesses.
    pub fn begin_over(node: &Node, growth_max: u64, open: impl FnMut(&str) -> Peer) -> Trial {
        Trial::begin_with(node, growth_max, Witness::start(open))
    }

    /// Ends: the node lives, others kept their service, memory stayed within its bound.
    pub fn finish(self, node: &mut Node) -> Service {
        let service = self.witness.finish();
        let growth = node.memory_peak().saturating_sub(self.memory);
        println!("{service:?}, memory grew by {} KiB", growth >> 10);
        node.assert_healthy();
        let served = service.p99 < P99_MAX && service.max < LATENCY_MAX;
        assert!(served, "others were kept waiting: {service:?}");
        assert!(
            growth <= self.growth_max,
            "memory grew by {} KiB, {} were allowed",
            growth >> 10,
            self.growth_max >> 10
        );
        service
    }
}
