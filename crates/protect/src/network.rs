//! A network in CIDR notation.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A network: `10.0.0.0/8`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// The network of `address` with a prefix of so many bits (at most 32 or 128; more counts as that).
    pub fn new(address: IpAddr, prefix: u8) -> Network {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        Network { address, prefix: prefix.min(bits) }
    }

    /// Its address, as it was written.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// How many bits of the address it fixes.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The same network written in the one way that all of its addresses share: bits behind the prefix are zero, an
    /// IPv4 network that is mapped into IPv6 is the IPv4 network, and an IPv6 network is a /64 at the finest, since whoever
    /// has one address of a /64 has them all (attack 48).
    pub fn to_canonical(self) -> Network {
        match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                Network { address: Ipv4Addr::from(address.to_bits() & mask).into(), prefix: self.prefix }
            }
            IpAddr::V6(address) => match address.to_ipv4_mapped() {
                Some(v4) if self.prefix >= 96 => Network::new(v4.into(), self.prefix - 96).to_canonical(),
                _ => {
                    let prefix = self.prefix.min(64);
                    let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                    Network { address: Ipv6Addr::from(address.to_bits() & mask).into(), prefix }
                }
            },
        }
    }

    /// Whether the address is in the network. An IPv4 address that is mapped into IPv6 is the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            _ => false,
        }
    }

    /// Whether every address is in it.
    pub fn is_everything(&self) -> bool {
        self.prefix == 0
    }
}

impl FromStr for Network {
    type Err = ();

    fn from_str(text: &str) -> Result<Network, ()> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) if !prefix.starts_with('+') => (address, Some(prefix)),
            Some(_) => return Err(()),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| ())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse().map_err(|_| ())?,
            None => bits,
        };
        if prefix > bits { Err(()) } else { Ok(Network { address, prefix }) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Who shares a limit: an IPv4 address, or an IPv6 network of 64 bits, since its owner can use all of it (attack 48).
pub fn address_key(address: IpAddr) -> IpAddr {
    Network::new(address, 128).to_canonical().address
}

/// As it is written.
impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Network, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(|()| serde::de::Error::custom("not a network in CIDR notation"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_canonical_form_is_one_for_all_that_mean_the_same() {
        let canonical = |text: &str| text.parse::<Network>().unwrap().to_canonical().to_string();
        assert_eq!(canonical("10.1.2.3/8"), "10.0.0.0/8");
        assert_eq!(canonical("10.1.2.3"), "10.1.2.3/32");
        assert_eq!(canonical("2001:db8::1"), "2001:db8::/64");
        assert_eq!(canonical("2001:db8:ffff::1/33"), "2001:db8:8000::/33");
        assert_eq!(canonical("::ffff:10.1.2.3/120"), "10.1.2.0/24");
        assert_eq!(canonical("::ffff:10.1.2.3/0"), "::/0");
        assert_eq!(address_key("::ffff:192.0.2.1".parse().unwrap()), "192.0.2.1".parse::<IpAddr>().unwrap());
        let json = serde_json::to_string(&"10.0.0.0/8".parse::<Network>().unwrap()).unwrap();
        assert_eq!(json, "\"10.0.0.0/8\"");
        assert!(serde_json::from_str::<Network>("\"10.0.0.0/40\"").is_err());
    }

    #[test]
    fn addresses_are_in_their_networks() {
        let is_in = |network: &str, address: &str| {
            network.parse::<Network>().unwrap().contains(address.parse().unwrap())
        };
        assert!(is_in("10.0.0.0/8", "10.1.2.3") && is_in("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(!is_in("10.0.0.0/8", "11.0.0.1") && !is_in("10.0.0.0/8", "::1"));
        assert!(is_in("0.0.0.0/0", "1.2.3.4") && is_in("::/0", "2001:db8::1") && !is_in("::/0", "1.2.3.4"));
        assert!(is_in("192.0.2.1", "192.0.2.1") && !is_in("192.0.2.1", "192.0.2.2"));
        assert!(is_in("2001:db8::/32", "2001:db8:1::1") && !is_in("2001:db8::/32", "2001:db9::1"));
        for bad in ["", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "10.0.0.0/+8", "a/8", "10.0.0/8", "10.0.0.0/"]
        {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }
}
