//! Networks by longest prefix: a path-compressed binary tree in one allocation.
//!
//! A node is 32 bytes; so many networks have at most twice as many nodes. Looking an address up walks at most as many
//! nodes as there are networks of different length above it, whatever else is in the tree.

use crate::Network;
use std::net::IpAddr;

const NONE: u32 = u32::MAX;

/// An address, its bits from the top: 32 of IPv4, 64 of IPv6.
#[derive(Clone, Copy)]
struct Bits {
    bits: u64,
    len: u8,
}

struct Node {
    bits: u64,
    len: u8,
    /// Whether a network ends here; else the node only forks.
    taken: bool,
    /// Second since the Unix epoch until which the network counts.
    until_s: u64,
    children: [u32; 2],
}

/// A set of networks with an end each. Networks are in canonical form ([`Network::to_canonical`]).
pub(super) struct Prefixes {
    nodes: Vec<Node>,
    free: Vec<u32>,
    /// Of IPv4 and of IPv6.
    roots: [u32; 2],
}

impl Prefixes {
    pub fn new() -> Prefixes {
        Prefixes { nodes: Vec::new(), free: Vec::new(), roots: [NONE; 2] }
    }

    /// Adds a network, or changes its end.
    pub fn insert(&mut self, network: Network, until_s: u64) {
        let (family, wanted) = split(network.address(), network.prefix());
        // Where the link to the current node stands: in a root, or in a node's child.
        let mut place = Place::Root(family);
        loop {
            let at = self.link(place);
            if at == NONE {
                let leaf = self.make(wanted, Some(until_s));
                return self.set_link(place, leaf);
            }
            let node = &self.nodes[at as usize];
            let common = common(wanted, Bits { bits: node.bits, len: node.len });
            if common < node.len {
                return self.fork(place, at, wanted, common, until_s);
            }
            if common == wanted.len {
                let node = &mut self.nodes[at as usize];
                (node.taken, node.until_s) = (true, until_s);
                return;
            }
            place = Place::Child(at, bit(wanted.bits, common));
        }
    }

    /// Takes a network out.
    pub fn remove(&mut self, network: Network) {
        let (family, wanted) = split(network.address(), network.prefix());
        let mut path = vec![Place::Root(family)];
        loop {
            let at = self.link(path[path.len() - 1]);
            if at == NONE {
                return;
            }
            let node = &mut self.nodes[at as usize];
            let common = common(wanted, Bits { bits: node.bits, len: node.len });
            if common < node.len {
                return;
            }
            if common == wanted.len {
                node.taken = false;
                break;
            }
            path.push(Place::Child(at, bit(wanted.bits, common)));
        }
        // A node that neither ends a network nor forks has no use; its parent may have lost its own by that.
        while let Some(place) = path.pop() {
            let at = self.link(place);
            let node = &self.nodes[at as usize];
            let only = match node.children {
                [NONE, NONE] => NONE,
                [child, NONE] | [NONE, child] => child,
                _ => return,
            };
            if node.taken {
                return;
            }
            self.set_link(place, only);
            self.free.push(at);
        }
    }

    /// The longest network that the address is in and that still counts.
    pub fn find(&self, address: IpAddr, now_s: u64) -> Option<Network> {
        let canonical = Network::new(address, 128).to_canonical();
        let (family, wanted) = split(canonical.address(), canonical.prefix());
        let mut at = self.roots[family];
        let mut found = None;
        while at != NONE {
            let node = &self.nodes[at as usize];
            if common(wanted, Bits { bits: node.bits, len: node.len }) < node.len {
                break;
            }
            if node.taken && node.until_s > now_s {
                found = Some(node.len);
            }
            if node.len >= wanted.len {
                break;
            }
            at = node.children[bit(wanted.bits, node.len)];
        }
        found.map(|len| Network::new(canonical.address(), len).to_canonical())
    }

    /// Puts a node above the one at `at`, from which `wanted` differs after `common` bits.
    fn fork(&mut self, place: Place, at: u32, wanted: Bits, common: u8, until_s: u64) {
        let below = bit(self.nodes[at as usize].bits, common);
        let ends_here = common == wanted.len;
        let above = Bits { bits: mask(wanted.bits, common), len: common };
        let parent = self.make(above, ends_here.then_some(until_s));
        self.nodes[parent as usize].children[below] = at;
        if !ends_here {
            let leaf = self.make(wanted, Some(until_s));
            self.nodes[parent as usize].children[1 - below] = leaf;
        }
        self.set_link(place, parent);
    }

    fn make(&mut self, Bits { bits, len }: Bits, until_s: Option<u64>) -> u32 {
        let node =
            Node { bits, len, taken: until_s.is_some(), until_s: until_s.unwrap_or(0), children: [NONE; 2] };
        if let Some(at) = self.free.pop() {
            self.nodes[at as usize] = node;
            return at;
        }
        self.nodes.push(node);
        (self.nodes.len() - 1) as u32
    }

    fn link(&self, place: Place) -> u32 {
        match place {
            Place::Root(family) => self.roots[family],
            Place::Child(at, side) => self.nodes[at as usize].children[side],
        }
    }

    fn set_link(&mut self, place: Place, to: u32) {
        match place {
            Place::Root(family) => self.roots[family] = to,
            Place::Child(at, side) => self.nodes[at as usize].children[side] = to,
        }
    }
}

#[derive(Clone, Copy)]
enum Place {
    Root(usize),
    Child(u32, usize),
}

fn split(address: IpAddr, prefix: u8) -> (usize, Bits) {
    match address {
        IpAddr::V4(v4) => (0, Bits { bits: u64::from(v4.to_bits()) << 32, len: prefix.min(32) }),
        IpAddr::V6(v6) => (1, Bits { bits: (v6.to_bits() >> 64) as u64, len: prefix.min(64) }),
    }
}

fn bit(bits: u64, at: u8) -> usize {
    (bits >> (63 - at)) as usize & 1
}

fn mask(bits: u64, len: u8) -> u64 {
    bits & u64::MAX.checked_shl(64 - u32::from(len)).unwrap_or(0)
}

/// How many bits both begin with.
fn common(a: Bits, b: Bits) -> u8 {
    ((a.bits ^ b.bits).leading_zeros() as u8).min(a.len).min(b.len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_node_is_small() {
        assert!(size_of::<Node>() <= 32, "{}", size_of::<Node>());
    }

    fn network() -> impl Strategy<Value = Network> {
        // Few different bits, so that networks lie within each other.
        let v4 = (0u32..64, 0u8..=32).prop_map(|(bits, prefix)| {
            Network::new(std::net::Ipv4Addr::from(bits << 26 | bits).into(), prefix)
        });
        let v6 = (0u128..64, 0u8..=64).prop_map(|(bits, prefix)| {
            Network::new(std::net::Ipv6Addr::from(bits << 122 | bits << 64).into(), prefix)
        });
        prop_oneof![v4, v6].prop_map(Network::to_canonical)
    }

    proptest! {
        #[test]
        fn it_finds_what_a_list_finds(
            steps in proptest::collection::vec((network(), 0u64..4), 1..80),
            asked in proptest::collection::vec((network(), 0u64..3), 1..40),
        ) {
            let mut tree = Prefixes::new();
            let mut list = BTreeMap::new();
            for (network, until_s) in steps {
                if until_s == 0 {
                    tree.remove(network);
                    list.remove(&network);
                } else {
                    tree.insert(network, until_s);
                    list.insert(network, until_s);
                }
                prop_assert!(tree.nodes.len() - tree.free.len() <= 2 * list.len());
            }
            for (network, now_s) in asked {
                let address = network.address();
                let naive = list
                    .iter()
                    .filter(|(one, until_s)| one.contains(address) && **until_s > now_s)
                    .map(|(one, _)| *one)
                    .max_by_key(|one| one.prefix());
                prop_assert_eq!(tree.find(address, now_s), naive);
            }
        }
    }
}
