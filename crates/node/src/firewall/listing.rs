//! What `nft -j list table` says, as far as it is ours.

use super::rules::{BLOCKED_MAX, COUNTER, Hits};
use crate::config::Network;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// A network that is dropped now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// Which.
    pub network: Network,
    /// For how many more seconds; `None`: until it is taken back.
    pub seconds: Option<u32>,
    /// Packets of it that were dropped.
    pub packets: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// What the table holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// What was dropped since the table was made.
    pub all: Hits,
    pub dropped: Vec<Dropped>,
}

impl Listing {
    /// What is not as Ravelin writes it is left out.
    pub fn parse(text: &str) -> Listing {
        let document: Value = serde_json::from_str(text).unwrap_or_default();
        let mut listing = Listing::default();
        for object in document["nftables"].as_array().into_iter().flatten() {
            if object["counter"]["name"] == COUNTER {
                listing.all = hits(&object["counter"]);
            }
            let elements = object["set"]["elem"].as_array().into_iter().flatten();
            listing.dropped.extend(elements.filter_map(element));
        }
        listing.dropped.truncate(BLOCKED_MAX);
        listing
    }

    /// What each network was counted with.
    pub fn hits(&self) -> BTreeMap<Network, Hits> {
        let counted = self.dropped.iter();
        counted.map(|one| (one.network, Hits { packets: one.packets, bytes: one.bytes })).collect()
    }
}

/// `"192.0.2.7"`, `{"prefix": {"addr": "192.0.2.0", "len": 24}}`, or either as `val` of an `elem` with more.
fn element(value: &Value) -> Option<Dropped> {
    let entry = value.get("elem").unwrap_or(value);
    let network = entry.get("val").unwrap_or(entry);
    let network = match network.as_str() {
        Some(address) => Network::new(address.parse().ok()?, u8::MAX),
        None => {
            let prefix = &network["prefix"];
            let address = prefix["addr"].as_str()?.parse().ok()?;
            Network::new(address, u8::try_from(prefix["len"].as_u64()?).ok()?)
        }
    };
    // In its last second it is listed with none left.
    let left = entry.get("timeout").map(|_| entry["expires"].as_u64().unwrap_or(0).max(1));
    let seconds = left.map(|left| u32::try_from(left).unwrap_or(u32::MAX));
    let Hits { packets, bytes } = hits(&entry["counter"]);
    Some(Dropped { network: network.to_canonical(), seconds, packets, bytes })
}

fn hits(counter: &Value) -> Hits {
    let number = |name| counter[name].as_u64().unwrap_or(0);
    Hits { packets: number("packets"), bytes: number("bytes") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nft_lists_is_understood() {
        let text = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"table": {"family": "inet", "name": "ravelin_t"}},
            {"counter": {"family": "inet", "name": "dropped", "packets": 12, "bytes": 720}},
            {"set": {"name": "blocked4", "elem": [{"elem": {"val": "10.7.0.1", "counter": {"packets": 2, "bytes": 120}}},
                {"elem": {"val": {"prefix": {"addr": "10.9.0.0", "len": 24}}, "timeout": 60, "expires": 59}},
                {"elem": {"val": "10.7.0.3", "timeout": 60, "expires": 0}}, {"range": ["10.0.0.1", "10.0.0.9"]}, "10.6.0.1"]}},
            {"set": {"name": "blocked6"}}]}"#;
        let listing = Listing::parse(text);
        assert_eq!(listing.all, Hits { packets: 12, bytes: 720 });
        let shown = listing.dropped.iter().map(|one| (one.network.to_string(), one.packets, one.seconds));
        let expected = [
            ("10.7.0.1/32", 2, None),
            ("10.9.0.0/24", 0, Some(59)),
            ("10.7.0.3/32", 0, Some(1)),
            ("10.6.0.1/32", 0, None),
        ];
        let expected = expected.map(|(network, packets, seconds)| (network.to_owned(), packets, seconds));
        assert_eq!(shown.collect::<Vec<_>>(), expected);
        assert_eq!(Listing::parse("not JSON"), Listing::default());
    }
}
