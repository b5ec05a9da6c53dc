//! The text that `nft` is given. It is built from parsed addresses and numbers; nothing that a client chose is in it.

use crate::config::Network;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Networks that are blocked at once.
pub(crate) const BLOCKED_MAX: usize = 4096;
/// Ports of listeners.
pub(crate) const PORTS_MAX: usize = 256;
/// The counter of what was dropped.
pub(crate) const COUNTER: &str = "dropped";

/// What Ravelin's tables are called, or begin with.
const NAME: &str = "ravelin";

/// Packets and bytes that were dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hits {
    /// Packets.
    pub packets: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// A network that is blocked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Blocked {
    /// Which.
    pub network: Network,
    /// For how many more seconds; `None`: until it is taken back.
    pub seconds: Option<u32>,
}

/// What a set of intervals can hold of `blocked`: no network that lies in another. Where two cover each other, the wider
/// one stands; when its time is over, the set is written again, and the narrower one is in it.
pub(crate) fn disjoint(mut blocked: Vec<Blocked>) -> Vec<Blocked> {
    // Of the same network, that which lasts longest comes first.
    let lasts = |one: &Blocked| std::cmp::Reverse(one.seconds.map_or(u64::MAX, u64::from));
    blocked.sort_by_key(|one| (one.network.prefix(), one.network, lasts(one)));
    let mut kept: Vec<Blocked> = Vec::new();
    for one in blocked {
        if !kept.iter().any(|wide| wide.network.contains(one.network.address())) {
            kept.push(one);
        }
    }
    kept
}

/// Makes the table from nothing: whatever it held is gone.
pub(crate) fn table(name: &str, ports: &[u16]) -> String {
    let mut text = format!("table inet {name}\ndelete table inet {name}\n");
    if ports.is_empty() {
        return text;
    }
    let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
    let ports = ports.join(", ");
    let _ = write!(
        text,
        "table inet {name} {{\n\
         \tcomment \"Ravelin owns this table\"\n\
         \tcounter {COUNTER} {{ }}\n\
         \tset blocked4 {{ type ipv4_addr; flags interval, timeout; counter; }}\n\
         \tset blocked6 {{ type ipv6_addr; flags interval, timeout; counter; }}\n\
         \tchain input {{\n\
         \t\ttype filter hook input priority -10; policy accept;\n\
         \t\ttcp dport {{ {ports} }} ip saddr @blocked4 counter name {COUNTER} drop\n\
         \t\ttcp dport {{ {ports} }} ip6 saddr @blocked6 counter name {COUNTER} drop\n\
         \t}}\n}}\n"
    );
    text
}

/// Writes both sets again, in one transaction. `counted`: what was dropped of networks that were in them, which counts on.
pub(crate) fn elements(name: &str, blocked: &[Blocked], counted: &BTreeMap<Network, Hits>) -> String {
    let mut text = format!("flush set inet {name} blocked4\nflush set inet {name} blocked6\n");
    for (set, is_v4) in [("blocked4", true), ("blocked6", false)] {
        let of_family = blocked.iter().filter(|one| one.network.address().is_ipv4() == is_v4);
        let elements: Vec<String> = of_family.map(|one| element(one, counted)).collect();
        if !elements.is_empty() {
            let _ = writeln!(text, "add element inet {name} {set} {{ {} }}", elements.join(", "));
        }
    }
    text
}

fn element(blocked: &Blocked, counted: &BTreeMap<Network, Hits>) -> String {
    let network = blocked.network.to_canonical();
    let mut text = network.to_string();
    if let Some(Hits { packets, bytes }) = counted.get(&network) {
        let _ = write!(text, " counter packets {packets} bytes {bytes}");
    }
    if let Some(seconds) = blocked.seconds {
        let _ = write!(text, " timeout {}s", seconds.max(1));
    }
    text
}

/// Whether a table of Ravelin's can be called so: `ravelin`, then letters, digits and `_`, at most 31 in all. The table is
/// replaced at the start: it must not be another program's.
pub(crate) fn is_table_name(name: &str) -> bool {
    name.len() <= 31 && name.starts_with(NAME) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocked(network: &str, seconds: impl Into<Option<u32>>) -> Blocked {
        Blocked { network: network.parse().unwrap(), seconds: seconds.into() }
    }

    #[test]
    fn overlapping_networks_become_what_a_set_can_hold() {
        let all = vec![
            blocked("192.0.2.7/32", 60),
            blocked("192.0.2.0/24", 10),
            blocked("198.51.100.1/32", 5),
            blocked("198.51.100.1/32", None),
            blocked("2001:db8::/64", 1),
        ];
        let kept = disjoint(all);
        let expected =
            ["192.0.2.0/24", "198.51.100.1", "2001:db8::/64"].map(|one| one.parse::<Network>().unwrap());
        let mut networks: Vec<_> = kept.iter().map(|one| one.network).collect();
        networks.sort();
        assert_eq!(networks, expected);
        assert!(kept.contains(&blocked("198.51.100.1/32", None)), "the longer one stands");
    }

    #[test]
    fn the_text_names_one_table_only() {
        let all = [blocked("192.0.2.7/32", 60), blocked("2001:db8::/64", None)];
        let text = table("ravelin", &[8883, 8885]) + &elements("ravelin", &all, &BTreeMap::new());
        assert!(text.contains("tcp dport { 8883, 8885 } ip saddr @blocked4"), "{text}");
        assert!(text.contains("blocked4 { 192.0.2.7/32 timeout 60s }"), "{text}");
        assert!(text.contains("blocked6 { 2001:db8::/64 }"), "{text}");
        for line in text.lines().filter(|line| line.contains("table") || line.contains("set inet")) {
            assert!(line.contains("ravelin") || line.contains("Ravelin"), "{line}");
        }
        assert!(!text.contains("flush ruleset"));
    }

    #[test]
    fn names_of_tables_are_words() {
        assert!(is_table_name("ravelin_plant1"));
        let long = format!("ravelin{}", "a".repeat(25));
        for bad in ["", "filter", "ravelin b", "ravelin;flush ruleset", "ravelin\n", "ravelin-b", &long] {
            assert!(!is_table_name(bad), "{bad:?}");
        }
    }
}
