//! Networks in CIDR notation.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A network: `10.0.0.0/8`, `2001:db8::/32`, or one address. Bits behind the prefix are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// The network of this prefix length around the address. An IPv4 address mapped into IPv6 is the IPv4 address; a
    /// prefix that is too long is cut to one address.
    pub fn around(address: IpAddr, prefix: u8) -> Network {
        match address.to_canonical() {
            IpAddr::V4(v4) => {
                let prefix = prefix.min(32);
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                Network { address: Ipv4Addr::from_bits(v4.to_bits() & mask).into(), prefix }
            }
            IpAddr::V6(v6) => {
                let prefix = prefix.min(128);
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                Network { address: Ipv6Addr::from_bits(v6.to_bits() & mask).into(), prefix }
            }
        }
    }

    /// Whether the address is in the network.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && Network::around(address, self.prefix) == *self
    }

    /// The prefix length.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Network, String> {
        let wrong = || format!("{text:?} is not a network such as 10.0.0.0/8 or 2001:db8::/32");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().map_err(|_| wrong())?
            }
            Some(_) => return Err(wrong()),
            None => bits,
        };
        if prefix > bits {
            return Err(wrong());
        }
        let network = Network::around(address, prefix);
        if network.address != address.to_canonical() {
            return Err(format!("{text:?} has bits set behind its prefix: {network} is meant?"));
        }
        Ok(network)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Network, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The most exact of `entries` whose network has the address in it.
pub(crate) fn longest_match<'a, T>(
    entries: impl Iterator<Item = (&'a Network, T)>,
    address: IpAddr,
) -> Option<T> {
    entries
        .filter(|(network, _)| network.contains(address))
        .max_by_key(|(network, _)| network.prefix)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_in_their_networks() {
        let is_in = |network: &str, address: &str| {
            network.parse::<Network>().unwrap().contains(address.parse().unwrap())
        };
        assert!(is_in("10.0.0.0/8", "10.1.2.3") && is_in("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(!is_in("10.0.0.0/8", "11.0.0.1") && !is_in("10.0.0.0/8", "::1"));
        assert!(is_in("0.0.0.0/0", "1.2.3.4") && !is_in("::/0", "1.2.3.4") && is_in("::/0", "2001:db8::1"));
        assert!(is_in("192.0.2.1", "192.0.2.1") && !is_in("192.0.2.1", "192.0.2.2"));
        for bad in
            ["", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "10.0.0.0/+8", "a/8", "10.0.0.1/8", "10.0.0.0/"]
        {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_longest_prefix_wins() {
        let networks: Vec<Network> = ["10.0.0.0/8", "10.1.0.0/16"].map(|text| text.parse().unwrap()).into();
        let found = |address: &str| {
            longest_match(
                networks.iter().map(|network| (network, network.prefix())),
                address.parse().unwrap(),
            )
        };
        assert_eq!((found("10.1.2.3"), found("10.2.2.3"), found("11.0.0.1")), (Some(16), Some(8), None));
    }
}
