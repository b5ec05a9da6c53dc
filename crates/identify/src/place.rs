//! Where things are: sites, zones and conduits, networks, listeners, infrastructure, the node.

use crate::network::{Network, longest_match};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Latitude and longitude in degrees (WGS 84), north and east positive.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Degrees north.
    pub latitude: f64,
    /// Degrees east.
    pub longitude: f64,
}

impl Position {
    /// A position on Earth; `None` if it is not one.
    pub fn new(latitude: f64, longitude: f64) -> Option<Position> {
        (latitude.abs() <= 90.0 && longitude.abs() <= 180.0).then_some(Position { latitude, longitude })
    }
}

/// A place where devices are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Site {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub position: Option<Position>,
    /// The networks whose addresses are there.
    pub networks: Vec<Network>,
    /// The zone (IEC 62443) that it belongs to.
    pub zone: Option<String>,
}

/// Something on the way between devices and nodes: a gateway, a mobile cell, a radio mast, a carrier's access point.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Infrastructure {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: String,
    /// Where it is; else where its site is.
    pub position: Option<Position>,
    /// Its site.
    pub site: Option<String>,
    /// The networks that are reached through it.
    pub networks: Vec<Network>,
}

/// A way between two zones (IEC 62443) that is allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conduit {
    /// Its name.
    pub name: String,
    /// The zone of the publishers.
    pub from: String,
    /// The zone of the subscribers.
    pub to: String,
    /// The topic filters that may pass; none is all.
    pub topics: Vec<String>,
}

/// A listener of the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
    /// Its transport, such as `tls`.
    pub transport: String,
    /// The zone that it faces.
    pub zone: Option<String>,
}

/// Everything that has a place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Places {
    /// The name of the node.
    pub node: String,
    /// The site of the node.
    pub node_site: Option<String>,
    /// Its listeners.
    pub listeners: Vec<Listener>,
    /// The sites.
    pub sites: Vec<Site>,
    /// What is on the way.
    pub infrastructure: Vec<Infrastructure>,
    /// The allowed ways between zones.
    pub conduits: Vec<Conduit>,
}

impl Places {
    /// The site of this name.
    pub fn site(&self, name: &str) -> Option<&Site> {
        self.sites.iter().find(|site| site.name == name)
    }

    /// The site whose network has the address in it; the longest prefix wins.
    pub fn site_of(&self, address: IpAddr) -> Option<&Site> {
        let networks =
            self.sites.iter().flat_map(|site| site.networks.iter().map(move |network| (network, site)));
        longest_match(networks, address)
    }

    /// The most exact configured network of an address, else the /24 (IPv6: /64) around it.
    pub fn subnet_of(&self, address: IpAddr) -> Network {
        let of_sites = self.sites.iter().flat_map(|site| &site.networks);
        let of_others = self.infrastructure.iter().flat_map(|other| &other.networks);
        let networks = of_sites.chain(of_others).map(|network| (network, *network));
        longest_match(networks, address).unwrap_or_else(|| {
            let prefix = if address.to_canonical().is_ipv4() { 24 } else { 64 };
            Network::around(address, prefix)
        })
    }

    /// The infrastructure that an address is reached through.
    pub fn way_to(&self, address: IpAddr) -> Option<&Infrastructure> {
        let networks =
            self.infrastructure.iter().flat_map(|one| one.networks.iter().map(move |network| (network, one)));
        longest_match(networks, address)
    }

    /// The zone that a listener faces.
    pub fn zone_of_listener(&self, name: &str) -> Option<&str> {
        self.listeners.iter().find(|listener| listener.name == name)?.zone.as_deref()
    }

    /// What contradicts itself: names twice, references to nothing.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let twice = |kind: &str, names: Vec<&str>| {
            let mut sorted = names;
            sorted.sort_unstable();
            let repeated = sorted.windows(2).filter(|pair| pair[0] == pair[1]);
            repeated.map(|pair| format!("{kind} {:?} is there twice", pair[0])).collect::<Vec<_>>()
        };
        problems.extend(twice("site", self.sites.iter().map(|site| &*site.name).collect()));
        problems.extend(twice("infrastructure", self.infrastructure.iter().map(|one| &*one.name).collect()));
        problems.extend(twice("conduit", self.conduits.iter().map(|conduit| &*conduit.name).collect()));
        let references =
            self.infrastructure.iter().filter_map(|one| Some((&*one.name, one.site.as_deref()?)));
        for (name, site) in references.chain(self.node_site.as_deref().map(|site| ("the node", site))) {
            if self.site(site).is_none() {
                problems.push(format!("{name} is at site {site:?}, which is not configured"));
            }
        }
        for conduit in &self.conduits {
            for filter in &conduit.topics {
                if ravelin_mqtt::check_filter(filter, 128).is_err() {
                    problems.push(format!("conduit {:?}: {filter:?} is not a topic filter", conduit.name));
                }
            }
        }
        problems
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn places() -> Places {
        let site = |name: &str, position, networks: &[&str], zone: &str| Site {
            name: name.into(),
            position,
            networks: networks.iter().map(|network| network.parse().unwrap()).collect(),
            zone: Some(zone.into()),
        };
        Places {
            node: "bus1".into(),
            node_site: Some("control".into()),
            listeners: vec![Listener {
                name: "field".into(),
                address: "0.0.0.0:8883".into(),
                transport: "tls".into(),
                zone: Some("field".into()),
            }],
            sites: vec![
                site("north", Position::new(48.2, 16.37), &["10.1.0.0/16"], "field"),
                site("south", Position::new(47.07, 15.44), &["10.2.0.0/16", "10.1.9.0/24"], "field"),
                site("control", Position::new(48.3, 14.29), &["10.9.0.0/16"], "operations"),
            ],
            infrastructure: vec![Infrastructure {
                name: "gateway <1>".into(),
                kind: "gateway".into(),
                position: Position::new(48.25, 16.4),
                site: None,
                networks: vec!["10.1.0.0/16".parse().unwrap()],
            }],
            conduits: vec![Conduit {
                name: "readings".into(),
                from: "field".into(),
                to: "operations".into(),
                topics: vec!["meters/#".into()],
            }],
        }
    }

    #[test]
    fn an_address_is_at_the_site_with_the_longest_prefix() {
        let places = places();
        let site = |address: &str| places.site_of(address.parse().unwrap()).map(|site| &*site.name);
        assert_eq!(
            (site("10.1.2.3"), site("10.1.9.3"), site("192.0.2.1")),
            (Some("north"), Some("south"), None)
        );
        assert_eq!(places.subnet_of("192.0.2.1".parse().unwrap()).to_string(), "192.0.2.0/24");
        assert_eq!(places.way_to("10.1.2.3".parse().unwrap()).unwrap().kind, "gateway");
        assert_eq!(places.problems(), Vec::<String>::new());
    }

    #[test]
    fn contradictions_are_told() {
        let mut places = places();
        places.sites.push(places.sites[0].clone());
        places.node_site = Some("nowhere".into());
        places.conduits[0].topics.push("a/#/b".into());
        assert_eq!(places.problems().len(), 3, "{:?}", places.problems());
    }
}
