//! Token buckets by address, bounded in number. Pure: time is an argument.

use ravelin_node::config::Rate;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

/// Addresses that are remembered.
const ADDRESSES_MAX: usize = 4096;

/// One bucket for each address; those that do not fit share one.
pub(crate) struct Buckets {
    rate: Rate,
    burst: u64,
    addresses: HashMap<IpAddr, Bucket>,
    others: Bucket,
}

#[derive(Clone, Copy)]
struct Bucket {
    level: f64,
    at_ms: u64,
}

impl Buckets {
    pub fn new(rate: Rate, burst: u64) -> Buckets {
        let others = Bucket { level: burst as f64, at_ms: 0 };
        Buckets { rate, burst, addresses: HashMap::new(), others }
    }

    /// Other limits from now on; who owes something still owes it.
    pub fn set(&mut self, rate: Rate, burst: u64) {
        (self.rate, self.burst) = (rate, burst);
    }

    /// Takes one token of the address. An error is how many seconds until there is one.
    pub fn take(&mut self, now_ms: u64, address: IpAddr) -> Result<(), u64> {
        let key = key(address);
        if self.addresses.len() >= ADDRESSES_MAX && !self.addresses.contains_key(&key) {
            let (rate, burst) = (self.per_ms(), self.burst as f64);
            self.addresses.retain(|_, bucket| bucket.filled(now_ms, rate, burst) < burst);
        }
        let (rate, burst) = (self.per_ms(), self.burst as f64);
        let bucket = if self.addresses.len() < ADDRESSES_MAX || self.addresses.contains_key(&key) {
            self.addresses.entry(key).or_insert(Bucket { level: burst, at_ms: now_ms })
        } else {
            &mut self.others
        };
        bucket.level = bucket.filled(now_ms, rate, burst);
        bucket.at_ms = now_ms.max(bucket.at_ms);
        if bucket.level < 1.0 {
            let wait_ms = (1.0 - bucket.level) / rate;
            return Err((wait_ms / 1000.0).ceil() as u64);
        }
        bucket.level -= 1.0;
        Ok(())
    }

    fn per_ms(&self) -> f64 {
        self.rate.events as f64 / self.rate.per.as_millis().max(1) as f64
    }
}

impl Bucket {
    fn filled(&self, now_ms: u64, rate: f64, burst: f64) -> f64 {
        (self.level + now_ms.saturating_sub(self.at_ms) as f64 * rate).min(burst)
    }
}

/// Who shares a limit: an IPv4 address, or an IPv6 network of 64 bits, since its owner can use all of it (attack 48).
pub(crate) fn key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn buckets() -> Buckets {
        Buckets::new(Rate { events: 10, per: Duration::from_secs(60) }, 3)
    }

    #[test]
    fn a_bucket_is_spent_and_filled_again() {
        let (mut buckets, a) = (buckets(), "192.0.2.1".parse().unwrap());
        for _ in 0..3 {
            assert_eq!(buckets.take(0, a), Ok(()));
        }
        assert_eq!(buckets.take(0, a), Err(6));
        assert_eq!(buckets.take(0, "192.0.2.2".parse().unwrap()), Ok(()), "another address");
        assert_eq!(buckets.take(6000, a), Ok(()));
        assert!(buckets.take(6000, a).is_err());
    }

    #[test]
    fn hopping_within_a_network_does_not_help() {
        let mut buckets = buckets();
        for i in 0..3 {
            assert_eq!(buckets.take(0, format!("2001:db8::{i}").parse().unwrap()), Ok(()));
        }
        assert!(buckets.take(0, "2001:db8::ffff".parse().unwrap()).is_err());
        assert_eq!(buckets.take(0, "2001:db8:0:1::".parse().unwrap()), Ok(()));
    }

    #[test]
    fn the_table_is_bounded_and_strangers_then_share() {
        let mut buckets = buckets();
        for i in 0..100_000u32 {
            let _ = buckets.take(0, IpAddr::V4((0x0A00_0000 + i).into()));
        }
        assert!(buckets.addresses.len() <= ADDRESSES_MAX);
        assert!(buckets.take(0, "203.0.113.9".parse().unwrap()).is_err(), "the shared bucket is spent");
        assert!(
            buckets.take(60_000, "203.0.113.9".parse().unwrap()).is_ok(),
            "debts are forgotten when paid"
        );
    }
}
