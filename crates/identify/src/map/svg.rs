//! The map drawn as SVG: zones with their subnets and devices on the left, the listeners they reach in the middle, the node on the right;
//! what flows between zones in the left margin, with a numbered legend.

use super::escape::{fit, xml};
use super::{Edge, EdgeKind, Graph, Node, NodeKind};
use std::collections::BTreeMap;
use std::fmt::Write;

const MARGIN: f64 = 24.0;
const TOP: f64 = 88.0;
/// Room for the arcs between zones.
const ARCS: f64 = 110.0;
const CARD_WIDTH: f64 = 600.0;
const PADDING: f64 = 16.0;
const ROW: f64 = 20.0;
const COLUMNS: usize = 3;
/// Devices and subnets that are drawn one by one.
const DEVICES_MAX: usize = 15;
const SUBNETS_MAX: usize = 12;
const LISTENER_X: f64 = MARGIN + ARCS + CARD_WIDTH + 2.0 * PADDING + 130.0;
const LISTENER_WIDTH: f64 = 190.0;
const BROKER_X: f64 = LISTENER_X + LISTENER_WIDTH + 110.0;
const BROKER_WIDTH: f64 = 170.0;
const WIDTH: f64 = BROKER_X + BROKER_WIDTH + MARGIN;

/// A drawing that grows downwards.
struct Canvas {
    body: String,
}

impl Canvas {
    fn rect(&mut self, [x, y, width, height]: [f64; 4], radius: f64, fill: &str, stroke: &str) {
        let _ = writeln!(
            self.body,
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" rx="{radius}" fill="{fill}" stroke="{stroke}"/>"#
        );
    }

    /// Text from anywhere; `class` is ours.
    fn text(&mut self, x: f64, y: f64, class: &str, text: &str) {
        let _ = writeln!(self.body, r#"<text x="{x:.1}" y="{y:.1}" class="{class}">{}</text>"#, xml(text));
    }

    fn dot(&mut self, x: f64, y: f64, [fill, stroke]: [&str; 2]) {
        let _ = writeln!(
            self.body,
            r#"<circle cx="{x:.1}" cy="{y:.1}" r="4.5" fill="{fill}" stroke="{stroke}" stroke-width="1.5"/>"#
        );
    }

    fn path(&mut self, path: &str, color: &str, width: f64, more: &str) {
        let _ = writeln!(
            self.body,
            r#"<path d="{path}" fill="none" stroke="{color}" stroke-width="{width:.1}" {more}/>"#
        );
    }
}

/// A card: a subnet and who is in it.
struct Card<'a> {
    subnet: &'a Node,
    devices: Vec<&'a Node>,
    through: Option<&'a str>,
    height: f64,
}

/// A zone and its cards.
struct ZoneBox<'a> {
    name: &'a str,
    cards: Vec<Card<'a>>,
    /// Subnets and devices that are not drawn.
    hidden: (usize, u64),
    height: f64,
}

/// The map as SVG.
pub fn svg(graph: &Graph) -> String {
    let mut canvas = Canvas { body: String::new() };
    let zones = zones(graph);
    let mut middles = BTreeMap::new();
    let mut exits = BTreeMap::new();
    let mut y = TOP;
    for zone in &zones {
        draw_zone(&mut canvas, zone, y, &mut exits);
        middles.insert(zone.name, y + zone.height / 2.0);
        y += zone.height + 28.0;
    }
    let bottom = draw_listeners(&mut canvas, graph, &exits, y.max(TOP + 160.0));
    let arcs = draw_arcs(&mut canvas, graph, &middles);
    let height = draw_legend(&mut canvas, &arcs, y.max(bottom) + 12.0);
    draw_head(&mut canvas, graph);
    let title = graph.nodes.iter().find(|node| node.kind == NodeKind::Broker).map_or("", |node| &node.label);
    format!(
        concat!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0} {height:.0}" width="{width:.0}" height="{height:.0}" role="img">"#,
            "\n<title>Network map of {title}</title>\n<style>{style}</style>\n",
            r##"<rect width="100%" height="100%" fill="#ffffff"/>"##,
            "\n{body}</svg>\n"
        ),
        width = WIDTH,
        height = height,
        title = xml(title),
        style = STYLE,
        body = canvas.body
    )
}

const STYLE: &str = "text{font-family:system-ui,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;fill:#1c2733}\
.h{font-size:20px;font-weight:600}.z{font-size:15px;font-weight:600;fill:#33475b}.s{font-size:13px;font-weight:600}\
.d{font-size:12px}.m{font-size:11.5px;fill:#5b6b7b}.r{font-size:11.5px;fill:#5b6b7b;text-anchor:end}\
.c{font-size:12px;font-weight:600;text-anchor:middle}.n{font-size:11px;font-weight:700;text-anchor:middle;fill:#ffffff}";

fn zones(graph: &Graph) -> Vec<ZoneBox<'_>> {
    let by_id: BTreeMap<&str, &Node> = graph.nodes.iter().map(|node| (&*node.id, node)).collect();
    let mut cards: BTreeMap<&str, Card<'_>> = graph
        .nodes
        .iter()
        .filter(|node| node.kind == NodeKind::Subnet)
        .map(|subnet| (&*subnet.id, Card { subnet, devices: Vec::new(), through: None, height: 0.0 }))
        .collect();
    for edge in &graph.edges {
        if let (EdgeKind::Member, Some(card)) = (edge.kind, cards.get_mut(&*edge.to)) {
            card.devices.extend(by_id.get(&*edge.from));
        }
        if let (EdgeKind::Through, Some(card)) = (edge.kind, cards.get_mut(&*edge.from)) {
            card.through = by_id.get(&*edge.to).map(|way| &*way.label);
        }
    }
    let mut zones: BTreeMap<&str, Vec<Card<'_>>> = BTreeMap::new();
    for node in graph.nodes.iter().filter(|node| node.kind == NodeKind::Zone) {
        zones.entry(&node.label).or_default();
    }
    for card in cards.into_values() {
        zones.entry(card.subnet.zone.as_deref().unwrap_or(super::NO_ZONE)).or_default().push(card);
    }
    zones.into_iter().map(|(name, cards)| zone_box(name, cards)).collect()
}

fn zone_box<'a>(name: &'a str, mut cards: Vec<Card<'a>>) -> ZoneBox<'a> {
    cards.sort_by(|one, other| {
        other.subnet.devices.cmp(&one.subnet.devices).then_with(|| one.subnet.label.cmp(&other.subnet.label))
    });
    let hidden = cards.split_off(cards.len().min(SUBNETS_MAX));
    let hidden = (hidden.len(), hidden.iter().map(|card| card.subnet.devices).sum());
    for card in &mut cards {
        card.devices.sort_by(|one, other| (rank(one), &one.label).cmp(&(rank(other), &other.label)));
        let shown = card.devices.len().min(DEVICES_MAX);
        let more = usize::from(card.devices.len() > DEVICES_MAX);
        card.height = 36.0 + ROW * (shown.div_ceil(COLUMNS) + more) as f64 + 8.0;
    }
    let inner: f64 = cards.iter().map(|card| card.height + 10.0).sum();
    let rest = if hidden.0 > 0 { 24.0 } else { 0.0 };
    let empty = if cards.is_empty() { 24.0 } else { 0.0 };
    ZoneBox { name, cards, hidden, height: 38.0 + inner + rest + empty + 6.0 }
}

/// What needs attention comes first.
fn rank(node: &Node) -> u8 {
    match (node.state.as_deref(), node.connected) {
        (Some("retired" | "lost"), Some(true)) => 0,
        (_, Some(true)) => 1,
        (Some("active"), _) => 2,
        (Some("dormant"), _) => 3,
        _ => 4,
    }
}

fn draw_zone<'a>(
    canvas: &mut Canvas,
    zone: &ZoneBox<'a>,
    top: f64,
    exits: &mut BTreeMap<&'a str, (f64, f64)>,
) {
    let (left, width) = (MARGIN + ARCS, CARD_WIDTH + 2.0 * PADDING);
    canvas.rect([left, top, width, zone.height], 10.0, "#f3f6f9", "#c5d0da");
    let name =
        if zone.name == super::NO_ZONE { "No zone".into() } else { format!("Zone {}", fit(zone.name, 50)) };
    canvas.text(left + PADDING, top + 25.0, "z", &name);
    let devices: u64 = zone.cards.iter().map(|card| card.subnet.devices).sum::<u64>() + zone.hidden.1;
    canvas.text(left + width - PADDING, top + 25.0, "r", &format!("{devices} devices"));
    let mut y = top + 38.0;
    if zone.cards.is_empty() {
        canvas.text(left + PADDING, y + 12.0, "m", "nothing seen here");
    }
    for card in &zone.cards {
        draw_card(canvas, card, left + PADDING, y);
        exits.insert(&card.subnet.id, (left + PADDING + CARD_WIDTH, y + card.height / 2.0));
        y += card.height + 10.0;
    }
    if zone.hidden.0 > 0 {
        let text = format!("and {} more subnets with {} devices", zone.hidden.0, zone.hidden.1);
        canvas.text(left + PADDING, y + 12.0, "m", &text);
    }
}

fn draw_card(canvas: &mut Canvas, card: &Card<'_>, x: f64, y: f64) {
    canvas.rect([x, y, CARD_WIDTH, card.height], 6.0, "#ffffff", "#d5dde5");
    canvas.text(x + 12.0, y + 22.0, "s", &fit(&card.subnet.label, 44));
    let site = card.subnet.site.as_deref().map(|site| format!("site {}", fit(site, 28)));
    let way = card.through.map(|way| format!("via {}", fit(way, 28)));
    let facts: Vec<String> = [site, way].into_iter().flatten().collect();
    canvas.text(x + CARD_WIDTH - 12.0, y + 22.0, "r", &facts.join(" · "));
    let column = (CARD_WIDTH - 24.0) / COLUMNS as f64;
    for (index, device) in card.devices.iter().take(DEVICES_MAX).enumerate() {
        let left = x + 12.0 + column * (index % COLUMNS) as f64;
        let base = y + 36.0 + ROW * (index / COLUMNS) as f64;
        canvas.dot(left + 5.0, base + 9.0, colors(device));
        let label = fit(&device.label, 25);
        let label =
            if device.devices > 1 { format!("{} × {}", device.devices, fit(&label, 20)) } else { label };
        canvas.text(left + 16.0, base + 13.0, "d", &label);
    }
    let more: u64 = card.devices.iter().skip(DEVICES_MAX).map(|device| device.devices.max(1)).sum();
    if more > 0 {
        canvas.text(x + 12.0, y + card.height - 14.0, "m", &format!("and {more} more"));
    }
}

/// Fill and border of a device's dot.
fn colors(node: &Node) -> [&'static str; 2] {
    match (node.state.as_deref(), node.connected) {
        (Some("retired" | "lost"), _) => ["#d64545", "#a12d2d"],
        (_, Some(true)) => ["#2f9e57", "#1f7a41"],
        (Some("dormant"), _) => ["#f0b429", "#b8860b"],
        (Some("registered"), _) => ["#ffffff", "#3578c6"],
        (None, None) => ["#6b8fb3", "#4a6f94"],
        _ => ["#b8c4cf", "#8b98a5"],
    }
}

/// Listeners, the node, and the lines to them. Where the drawing of them ends.
fn draw_listeners(
    canvas: &mut Canvas,
    graph: &Graph,
    exits: &BTreeMap<&str, (f64, f64)>,
    bottom: f64,
) -> f64 {
    let connects: Vec<&Edge> = graph.edges.iter().filter(|edge| edge.kind == EdgeKind::Connects).collect();
    let mut listeners: Vec<(f64, &Node)> = graph
        .nodes
        .iter()
        .filter(|node| node.kind == NodeKind::Listener)
        .map(|node| {
            let ends =
                connects.iter().filter(|edge| edge.to == node.id).filter_map(|edge| exits.get(&*edge.from));
            let heights: Vec<f64> = ends.map(|(_, y)| *y).collect();
            let middle =
                if heights.is_empty() { bottom } else { heights.iter().sum::<f64>() / heights.len() as f64 };
            (middle, node)
        })
        .collect();
    listeners.sort_by(|one, other| one.0.total_cmp(&other.0).then_with(|| one.1.label.cmp(&other.1.label)));
    let mut next = TOP + 32.0;
    let places: Vec<(f64, &Node)> = listeners
        .into_iter()
        .map(|(wanted, node)| {
            let y = wanted.clamp(next, next.max(bottom - 60.0));
            next = y + 74.0;
            (y, node)
        })
        .collect();
    let broker_y = match (places.first(), places.last()) {
        (Some(first), Some(last)) => (first.0 + last.0) / 2.0,
        _ => TOP + 60.0,
    };
    for (y, node) in &places {
        for edge in connects.iter().filter(|edge| edge.to == node.id) {
            let Some((from_x, from_y)) = exits.get(&*edge.from) else { continue };
            let bend = (LISTENER_X - from_x) / 2.0;
            let path = format!(
                "M{from_x:.1} {from_y:.1} C{:.1} {from_y:.1} {:.1} {y:.1} {LISTENER_X:.1} {y:.1}",
                from_x + bend,
                LISTENER_X - bend
            );
            canvas.path(
                &path,
                "#9fb1c1",
                1.2 + edge.weight.max(1.0).log10() * 1.6,
                "stroke-opacity=\"0.85\"",
            );
        }
        let right = LISTENER_X + LISTENER_WIDTH;
        let bend = (BROKER_X - right) / 2.0;
        let path = format!(
            "M{right:.1} {y:.1} C{:.1} {y:.1} {:.1} {broker_y:.1} {BROKER_X:.1} {broker_y:.1}",
            right + bend,
            BROKER_X - bend
        );
        canvas.path(&path, "#9fb1c1", 2.0, "");
        draw_listener(
            canvas,
            node,
            *y,
            connects.iter().filter(|edge| edge.to == node.id).map(|edge| edge.weight).sum(),
        );
    }
    draw_broker(canvas, graph, broker_y);
    next.max(broker_y + 60.0)
}

fn draw_listener(canvas: &mut Canvas, node: &Node, y: f64, clients: f64) {
    canvas.rect([LISTENER_X, y - 29.0, LISTENER_WIDTH, 58.0], 8.0, "#eef5ea", "#a9c39c");
    canvas.text(LISTENER_X + 12.0, y - 9.0, "s", &fit(&node.label, 22));
    canvas.text(LISTENER_X + 12.0, y + 7.0, "m", &fit(node.detail.as_deref().unwrap_or_default(), 28));
    let zone = node.zone.as_deref().map(|zone| format!(" · zone {}", fit(zone, 14))).unwrap_or_default();
    canvas.text(LISTENER_X + 12.0, y + 22.0, "m", &format!("{clients:.0} devices{zone}"));
}

fn draw_broker(canvas: &mut Canvas, graph: &Graph, y: f64) {
    let Some(node) = graph.nodes.iter().find(|node| node.kind == NodeKind::Broker) else { return };
    canvas.rect([BROKER_X, y - 34.0, BROKER_WIDTH, 68.0], 10.0, "#dbe9f6", "#7fa6cc");
    canvas.text(BROKER_X + BROKER_WIDTH / 2.0, y - 4.0, "c", &fit(&node.label, 20));
    let site = node.site.as_deref().map_or("Ravelin".into(), |site| format!("site {}", fit(site, 16)));
    canvas.text(BROKER_X + BROKER_WIDTH / 2.0, y + 15.0, "c", &site);
}

/// What flows between zones: number, colour and text of each arc.
fn draw_arcs(
    canvas: &mut Canvas,
    graph: &Graph,
    middles: &BTreeMap<&str, f64>,
) -> Vec<(usize, &'static str, String)> {
    let label = |id: &str| graph.nodes.iter().find(|node| node.id == id).map_or("", |node| &*node.label);
    let mut legend = Vec::new();
    let between = graph.edges.iter().filter(|edge| {
        matches!(edge.kind, EdgeKind::Conduit | EdgeKind::Unconduited | EdgeKind::UnusedConduit)
    });
    for (index, edge) in between.enumerate() {
        let (from, to) = (label(&edge.from), label(&edge.to));
        let (color, more, words) = match edge.kind {
            EdgeKind::Conduit => {
                ("#2e7d32", "", format!("conduit {}, {:.1} messages/s", edge.label, edge.weight))
            }
            EdgeKind::Unconduited => {
                ("#c62828", "", format!("no conduit allows {}, {:.1} messages/s", edge.label, edge.weight))
            }
            _ => ("#8b98a5", "stroke-dasharray=\"5 4\"", format!("conduit {}, nothing seen", edge.label)),
        };
        if let (Some(start), Some(end)) = (middles.get(from), middles.get(to))
            && index < ARCS_MAX
        {
            // Each arc a little lower and further out than the one before it.
            let (start, end) = (start + 7.0 * index as f64, end + 7.0 * index as f64 + 3.0);
            let (edge_x, out) = (MARGIN + ARCS, 34.0 + 13.0 * (index % 6) as f64);
            let path = format!(
                "M{edge_x:.1} {start:.1} C{0:.1} {start:.1} {0:.1} {end:.1} {1:.1} {end:.1}",
                edge_x - out * 1.33,
                edge_x - 5.0
            );
            // A marker's id is its colour without the `#`.
            canvas.path(&path, color, 2.2, &format!("{more} marker-end=\"url(#a{})\"", &color[1..]));
            let (x, y) = (edge_x - out, (start + end) / 2.0);
            let _ = writeln!(canvas.body, r#"<circle cx="{x:.1}" cy="{y:.1}" r="9" fill="{color}"/>"#);
            canvas.text(x, y + 4.0, "n", &(index + 1).to_string());
        }
        legend.push((index + 1, color, format!("{} → {}: {}", fit(from, 24), fit(to, 24), fit(&words, 90))));
    }
    legend
}

/// Arcs that are drawn, and lines of the legend.
const ARCS_MAX: usize = 12;

fn draw_legend(canvas: &mut Canvas, arcs: &[(usize, &'static str, String)], top: f64) -> f64 {
    let mut y = top;
    if !arcs.is_empty() {
        canvas.text(MARGIN, y + 14.0, "z", "Between zones");
        y += 28.0;
    }
    for (number, color, text) in arcs.iter().take(ARCS_MAX) {
        let _ = writeln!(
            canvas.body,
            r#"<circle cx="{:.1}" cy="{:.1}" r="9" fill="{color}"/>"#,
            MARGIN + 9.0,
            y + 6.0
        );
        canvas.text(MARGIN + 9.0, y + 10.0, "n", &number.to_string());
        canvas.text(MARGIN + 28.0, y + 10.0, "d", text);
        y += 24.0;
    }
    if arcs.len() > ARCS_MAX {
        canvas.text(MARGIN + 28.0, y + 10.0, "m", &format!("and {} more", arcs.len() - ARCS_MAX));
        y += 24.0;
    }
    y + 16.0
}

fn draw_head(canvas: &mut Canvas, graph: &Graph) {
    let _ = write!(canvas.body, "<defs>");
    for color in ["2e7d32", "c62828", "8b98a5"] {
        let _ = write!(
            canvas.body,
            r##"<marker id="a{color}" viewBox="0 0 10 10" refX="8" refY="5" markerWidth="6" markerHeight="6" orient="auto"><path d="M0 0L10 5L0 10z" fill="#{color}"/></marker>"##
        );
    }
    canvas.body.push_str("</defs>\n");
    let count: u64 =
        graph.nodes.iter().filter(|node| node.kind == NodeKind::Device).map(|node| node.devices).sum();
    canvas.text(MARGIN, 38.0, "h", &format!("Network map · {count} devices"));
    let mut x = MARGIN + 5.0;
    let legend: &[(&str, [&str; 2])] = match graph.grouped {
        true => &[("a class of devices within its subnet", ["#6b8fb3", "#4a6f94"])],
        false => &[
            ("connected", ["#2f9e57", "#1f7a41"]),
            ("offline", ["#b8c4cf", "#8b98a5"]),
            ("dormant", ["#f0b429", "#b8860b"]),
            ("registered, never seen", ["#ffffff", "#3578c6"]),
            ("retired or lost", ["#d64545", "#a12d2d"]),
        ],
    };
    for (text, colors) in legend {
        canvas.dot(x, 63.0, *colors);
        canvas.text(x + 11.0, 67.0, "m", text);
        x += 36.0 + 6.6 * text.chars().count() as f64;
    }
}
