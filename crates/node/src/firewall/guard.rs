//! What is never dropped, whoever orders it.

use crate::config::Network;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network that is wider is no attacker but a part of the world.
const IPV4_PREFIX_MIN: u8 = 8;
const IPV6_PREFIX_MIN: u8 = 16;

/// Why a network is not dropped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Spared {
    /// It is a large part of all addresses.
    #[error("{0} is too wide: a /{IPV4_PREFIX_MIN} of IPv4 or a /{IPV6_PREFIX_MIN} of IPv6 at most")]
    TooWide(Network),
    /// Addresses of this machine to itself are in it.
    #[error("{0} holds addresses of this machine to itself")]
    Loopback(Network),
    /// No packet comes from there.
    #[error("{0} is everybody or nobody: no packet comes from there")]
    Nobody(Network),
    /// An address of this machine is in it.
    #[error("{0} holds {1}, an address of this machine")]
    Own(Network, IpAddr),
    /// The configuration says never.
    #[error("{0} overlaps {1}, which `[firewall] never` protects")]
    Never(Network, Network),
    /// Somebody who is connected to the control lane is in it.
    #[error("{0} holds {1}, which is connected to the control lane")]
    Lane(Network, IpAddr),
}

/// Whether every address of the one network is in the other.
pub fn covers(wide: Network, narrow: Network) -> bool {
    wide.prefix() <= narrow.prefix() && wide.contains(narrow.address())
}

/// Whether the two have an address in common.
pub fn overlap(one: Network, other: Network) -> bool {
    covers(one, other) || covers(other, one)
}

/// Says why `network`, in its canonical form, must not be dropped. `own`: the addresses of this machine.
pub fn check(network: Network, never: &[Network], own: &[IpAddr]) -> Result<(), Spared> {
    let (min, loopback) = match network.address() {
        IpAddr::V4(_) => (IPV4_PREFIX_MIN, Network::new(Ipv4Addr::LOCALHOST.into(), 8)),
        // A /64 is the finest that is dropped.
        IpAddr::V6(_) => (IPV6_PREFIX_MIN, Network::new(Ipv6Addr::LOCALHOST.into(), 64)),
    };
    if network.prefix() < min {
        return Err(Spared::TooWide(network));
    }
    if overlap(network, loopback.to_canonical()) {
        return Err(Spared::Loopback(network));
    }
    if network.address().is_multicast() || network.address().is_unspecified() {
        return Err(Spared::Nobody(network));
    }
    if let Some(never) = never.iter().find(|never| overlap(network, never.to_canonical())) {
        return Err(Spared::Never(network, *never));
    }
    match own.iter().find(|address| network.contains(**address)) {
        Some(address) => Err(Spared::Own(network, *address)),
        None => Ok(()),
    }
}

/// The addresses of this machine, as the kernel's tables have them now. Empty where they cannot be read.
pub fn own_addresses() -> Vec<IpAddr> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let mut addresses = local_ipv4(&read("/proc/self/net/fib_trie"));
    addresses.extend(local_ipv6(&read("/proc/self/net/if_inet6")));
    addresses
}

/// A leaf of the routing trie is a line `|-- 192.0.2.1`, and below it its routes: those to this machine are `/32 host LOCAL`.
fn local_ipv4(trie: &str) -> Vec<IpAddr> {
    let (mut leaf, mut found) = (None, Vec::new());
    for line in trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse::<Ipv4Addr>().ok();
        } else if line.starts_with("/32 host LOCAL")
            && let Some(address) = leaf
            && !found.contains(&IpAddr::V4(address))
        {
            found.push(address.into());
        }
    }
    found
}

/// A line for each address; it begins with 32 hexadecimal digits.
fn local_ipv6(table: &str) -> Vec<IpAddr> {
    let address = |line: &str| u128::from_str_radix(line.get(..32)?, 16).ok();
    table.lines().filter_map(address).map(|bits| Ipv6Addr::from_bits(bits).into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_go_on_is_spared() {
        let network = |text: &str| text.parse::<Network>().unwrap().to_canonical();
        let never = [network("10.1.0.0/16"), network("2001:db8:1::/48")];
        let own = ["192.0.2.1".parse().unwrap(), "2001:db8:2::1".parse().unwrap()];
        let check = |text| check(network(text), &never, &own);
        assert_eq!(check("198.51.100.7/32"), Ok(()));
        assert_eq!(check("2001:db8:3::/64"), Ok(()));
        assert!(matches!(check("0.0.0.0/0"), Err(Spared::TooWide(_))));
        assert!(matches!(check("::/0"), Err(Spared::TooWide(_))));
        assert!(matches!(check("127.0.0.5/32"), Err(Spared::Loopback(_))));
        assert!(matches!(check("::1/128"), Err(Spared::Loopback(_))));
        assert!(matches!(check("224.0.0.1/32"), Err(Spared::Nobody(_))));
        assert!(matches!(check("::ffff:127.0.0.1/128"), Err(Spared::Loopback(_))), "mapped is the same");
        assert!(matches!(check("192.0.2.0/24"), Err(Spared::Own(..))));
        assert!(matches!(check("2001:db8:2::/64"), Err(Spared::Own(..))));
        assert!(matches!(check("10.0.0.0/8"), Err(Spared::Never(..))), "a part of it is never");
        assert!(matches!(check("10.1.2.3/32"), Err(Spared::Never(..))), "it is a part of never");
        assert!(matches!(check("2001:db8:1:5::/64"), Err(Spared::Never(..))));
    }

    #[test]
    fn own_addresses_are_read_from_the_kernels_tables() {
        let trie = "Local:\n  +-- 0.0.0.0/0 3 0 5\n     +-- 192.0.2.0/24 2 0 2\n        |-- 192.0.2.0\n           /24 link UNICAST\n\
                    \x20       |-- 192.0.2.1\n           /32 host LOCAL\n        |-- 192.0.2.255\n           /32 link BROADCAST\n";
        assert_eq!(local_ipv4(trie), ["192.0.2.1".parse::<IpAddr>().unwrap()]);
        let table = "fe80000000000000020000fffe000001 02 40 20 80 eth0\n\nshort\n";
        assert_eq!(local_ipv6(table), ["fe80::200:ff:fe00:1".parse::<IpAddr>().unwrap()]);
        assert!(own_addresses().iter().any(IpAddr::is_loopback), "every machine has that one");
    }
}
