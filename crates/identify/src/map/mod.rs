//! The network map: node, listeners, subnets, infrastructure, devices, zones and conduits, as a graph.

mod dot;
mod escape;
mod flows;
mod geojson;
mod graphml;
mod svg;

pub use dot::dot;
pub use flows::flows_svg;
pub use graphml::graphml;
pub use svg::svg;

use crate::device::{Device, Key};
use crate::flows::{FlowOptions, Flows};
use crate::inventory::Inventory;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What a node of the graph is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeKind {
    /// The broker.
    Broker,
    /// A listener of it.
    Listener,
    /// A network that clients come from.
    Subnet,
    /// Something on the way.
    Infrastructure,
    /// A device, or a group of them.
    Device,
    /// A zone.
    Zone,
}

impl NodeKind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            NodeKind::Broker => "broker",
            NodeKind::Listener => "listener",
            NodeKind::Subnet => "subnet",
            NodeKind::Infrastructure => "infrastructure",
            NodeKind::Device => "device",
            NodeKind::Zone => "zone",
        }
    }
}

/// A node of the graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// `n` and a number: safe in every format, and the same for the same inventory.
    pub id: String,
    /// What it is.
    pub kind: NodeKind,
    /// What it is called: text from anywhere.
    pub label: String,
    /// More of it: transport and address of a listener.
    pub detail: Option<String>,
    /// Its zone.
    pub zone: Option<String>,
    /// Its site.
    pub site: Option<String>,
    /// Its state, of a device.
    pub state: Option<String>,
    /// Whether it is connected, of a device.
    pub connected: Option<bool>,
    /// How many devices it stands for.
    pub devices: u64,
}

/// What an edge of the graph is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EdgeKind {
    /// A device is in a subnet, a listener at the node.
    Member,
    /// Clients reach a listener from a subnet.
    Connects,
    /// A subnet is reached through infrastructure.
    Through,
    /// Messages flow from zone to zone, as a conduit allows.
    Conduit,
    /// Messages flow from zone to zone, and no conduit allows it.
    Unconduited,
    /// A conduit over which nothing was seen.
    UnusedConduit,
}

impl EdgeKind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            EdgeKind::Member => "member",
            EdgeKind::Connects => "connects",
            EdgeKind::Through => "through",
            EdgeKind::Conduit => "conduit",
            EdgeKind::Unconduited => "unconduited",
            EdgeKind::UnusedConduit => "unused_conduit",
        }
    }
}

/// An edge of the graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// Where it begins.
    pub from: String,
    /// Where it ends.
    pub to: String,
    /// What it is.
    pub kind: EdgeKind,
    /// What it is called.
    pub label: String,
    /// Devices, or messages per second of a flow.
    pub weight: f64,
}

/// The map.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    /// Its nodes.
    pub nodes: Vec<Node>,
    /// Its edges.
    pub edges: Vec<Edge>,
    /// Devices are grouped by class.
    pub grouped: bool,
}

/// How fine the map is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapOptions {
    /// Up to so many devices each is a node; above, they are grouped by class within their subnet.
    pub devices_max: usize,
    /// Only devices that are connected.
    pub connected_only: bool,
}

impl Default for MapOptions {
    fn default() -> MapOptions {
        MapOptions { devices_max: 500, connected_only: false }
    }
}

/// The zone of what has none.
const NO_ZONE: &str = "no zone";
/// The subnet of a device without an address.
const NO_SUBNET: &str = "no address known";

#[derive(Default)]
struct Builder {
    graph: Graph,
    ids: BTreeMap<(NodeKind, String), usize>,
    edges: BTreeMap<(usize, usize, EdgeKind, String), f64>,
}

impl Builder {
    /// The node of this kind and name, made if it is new.
    fn node(&mut self, kind: NodeKind, name: &str, label: &str) -> usize {
        let next = self.graph.nodes.len();
        let index = *self.ids.entry((kind, name.to_owned())).or_insert(next);
        if index == next {
            self.graph.nodes.push(Node {
                id: format!("n{index}"),
                kind,
                label: label.to_owned(),
                detail: None,
                zone: None,
                site: None,
                state: None,
                connected: None,
                devices: 0,
            });
        }
        index
    }

    fn edge(&mut self, from: usize, to: usize, kind: EdgeKind, label: &str, weight: f64) {
        *self.edges.entry((from, to, kind, label.to_owned())).or_default() += weight;
    }

    fn finish(mut self) -> Graph {
        let id = |index: usize| format!("n{index}");
        let edges = self.edges.into_iter();
        self.graph.edges = edges
            .map(|((from, to, kind, label), weight)| Edge { from: id(from), to: id(to), kind, label, weight })
            .collect();
        self.graph
    }
}

impl Inventory {
    /// The network map.
    pub fn map(&self, options: &MapOptions, now_ms: u64) -> Graph {
        let mut builder = Builder::default();
        let broker = builder.node(NodeKind::Broker, "", &self.places.node);
        builder.graph.nodes[broker].site = self.places.node_site.clone();
        for listener in &self.places.listeners {
            let index = builder.node(NodeKind::Listener, &listener.name, &listener.name);
            builder.graph.nodes[index].detail = Some(format!("{} {}", listener.transport, listener.address));
            builder.graph.nodes[index].zone = listener.zone.clone();
            builder.edge(index, broker, EdgeKind::Member, "", 1.0);
        }
        let wanted = |device: &Device| !options.connected_only || device.is_connected();
        let devices: Vec<(&Key, &Device)> = self
            .devices
            .iter()
            .map(|(key, device)| (key, &**device))
            .filter(|(_, device)| wanted(device))
            .collect();
        builder.graph.grouped = devices.len() > options.devices_max;
        for (key, device) in devices {
            self.map_device(&mut builder, key, device, now_ms);
        }
        self.map_zones(&mut builder, now_ms);
        builder.finish()
    }

    fn map_device(&self, builder: &mut Builder, key: &Key, device: &Device, now_ms: u64) {
        let (zone, site) = (self.zone_name(key, device), self.site_name(key, device));
        let subnet = device.address().map(|address| self.places.subnet_of(address).to_string());
        let subnet_name = subnet.as_deref().unwrap_or(NO_SUBNET);
        // The same subnet behind two zones is two places.
        let place = format!("{subnet_name} {}", zone.unwrap_or(NO_ZONE));
        let subnet = builder.node(NodeKind::Subnet, &place, subnet_name);
        builder.graph.nodes[subnet].zone = zone.map(str::to_owned);
        builder.graph.nodes[subnet].site = site.map(str::to_owned);
        builder.graph.nodes[subnet].devices += 1;
        let (name, label) = match builder.graph.grouped {
            true => {
                let class = device.facts.class.as_deref().unwrap_or("default class");
                (format!("{place} {class}"), class.to_owned())
            }
            false => {
                let declared = self.declared.of(key).map(|(name, _)| name.to_string());
                (key.to_string(), declared.unwrap_or_else(|| key.name().to_owned()))
            }
        };
        let index = builder.node(NodeKind::Device, &name, &label);
        let grouped = builder.graph.grouped;
        let node = &mut builder.graph.nodes[index];
        (node.zone, node.site) = (zone.map(str::to_owned), site.map(str::to_owned));
        node.devices += 1;
        if !grouped {
            node.state = Some(self.view(key, device, now_ms).state.to_string());
            node.connected = Some(device.is_connected());
        }
        builder.edge(index, subnet, EdgeKind::Member, "", 1.0);
        if let Some(listener) = device.facts.listener.as_deref() {
            let index = builder.node(NodeKind::Listener, listener, listener);
            builder.edge(subnet, index, EdgeKind::Connects, "", 1.0);
        }
        if let Some(way) = device.address().and_then(|address| self.places.way_to(address)) {
            let index =
                builder.node(NodeKind::Infrastructure, &way.name, &format!("{} {}", way.kind, way.name));
            builder.graph.nodes[index].site.clone_from(&way.site);
            builder.edge(subnet, index, EdgeKind::Through, "", 1.0);
        }
    }

    /// Zones, and what flows between them.
    fn map_zones(&self, builder: &mut Builder, now_ms: u64) {
        let zones: BTreeSet<String> =
            builder.graph.nodes.iter().filter_map(|node| node.zone.clone()).collect();
        let conduits =
            self.places.conduits.iter().flat_map(|conduit| [conduit.from.clone(), conduit.to.clone()]);
        for zone in zones.into_iter().chain(conduits).collect::<BTreeSet<_>>() {
            builder.node(NodeKind::Zone, &zone, &zone);
        }
        // Grouped: only zones matter here.
        let flows =
            self.flows(&FlowOptions { devices_max: 0, topics_max: 50, ..FlowOptions::default() }, now_ms);
        for conduit in &self.places.conduits {
            let used = flows.flows.iter().any(|flow| flow.conduits.contains(&conduit.name));
            if !used {
                let ends = [&conduit.from, &conduit.to].map(|zone| builder.node(NodeKind::Zone, zone, zone));
                builder.edge(ends[0], ends[1], EdgeKind::UnusedConduit, &conduit.name, 0.0);
            }
        }
        for ((from, to, conduit), (rate, topics)) in between_zones(&flows) {
            let ends = [from, to].map(|zone| builder.node(NodeKind::Zone, zone, zone));
            match conduit {
                Some(name) => builder.edge(ends[0], ends[1], EdgeKind::Conduit, name, rate),
                None => builder.edge(ends[0], ends[1], EdgeKind::Unconduited, &some_of(&topics), rate),
            }
        }
    }
}

/// From which zone to which, and the conduit that allows it.
type Way<'a> = (&'a str, &'a str, Option<&'a str>);

/// The rate and the topics of what flows each way.
fn between_zones(flows: &Flows) -> BTreeMap<Way<'_>, (f64, Vec<&str>)> {
    let mut ways: BTreeMap<Way<'_>, (f64, Vec<&str>)> = BTreeMap::new();
    for flow in &flows.flows {
        let to = flow.subscriber.as_ref().and_then(|end| end.zone.as_deref());
        let Some((from, to)) = flow.publisher.zone.as_deref().zip(to) else { continue };
        let conduits = flow.conduits.iter().map(|name| Some(name.as_str()));
        for conduit in conduits.chain(flow.crosses_zones.then_some(None)) {
            let way = ways.entry((from, to, conduit)).or_default();
            way.0 += flow.rate;
            if !way.1.contains(&&*flow.topic) {
                way.1.push(&flow.topic);
            }
        }
    }
    ways
}

/// The first topics, and how many more.
fn some_of(topics: &[&str]) -> String {
    const SHOWN: usize = 3;
    let shown = topics.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    match topics.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
