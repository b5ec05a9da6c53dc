//! The map as GraphML (<http://graphml.graphdrawing.org/specification.html>).

use super::Graph;
use super::escape::xml;
use std::fmt::Write;

/// The attributes: what they are of, their name, their type.
const KEYS: [(&str, &str, &str); 12] = [
    ("node", "kind", "string"),
    ("node", "label", "string"),
    ("node", "detail", "string"),
    ("node", "zone", "string"),
    ("node", "site", "string"),
    ("node", "state", "string"),
    ("node", "connected", "boolean"),
    ("node", "devices", "long"),
    ("edge", "kind", "string"),
    ("edge", "label", "string"),
    ("edge", "weight", "double"),
    ("graph", "grouped", "boolean"),
];

/// The map as GraphML.
pub fn graphml(graph: &Graph) -> String {
    let mut text = String::from(concat!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n",
        "<graphml xmlns=\"http://graphml.graphdrawing.org/xmlns\" xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" ",
        "xsi:schemaLocation=\"http://graphml.graphdrawing.org/xmlns http://graphml.graphdrawing.org/xmlns/1.0/graphml.xsd\">\n",
    ));
    for (of, name, kind) in KEYS {
        let _ = writeln!(
            text,
            "  <key id=\"{of}-{name}\" for=\"{of}\" attr.name=\"{name}\" attr.type=\"{kind}\"/>"
        );
    }
    text.push_str("  <graph id=\"map\" edgedefault=\"directed\">\n");
    data(&mut text, "graph", "grouped", Some(&graph.grouped.to_string()));
    for node in &graph.nodes {
        let _ = writeln!(text, "    <node id=\"{}\">", node.id);
        data(&mut text, "node", "kind", Some(node.kind.as_str()));
        data(&mut text, "node", "label", Some(&node.label));
        data(&mut text, "node", "detail", node.detail.as_deref());
        data(&mut text, "node", "zone", node.zone.as_deref());
        data(&mut text, "node", "site", node.site.as_deref());
        data(&mut text, "node", "state", node.state.as_deref());
        data(
            &mut text,
            "node",
            "connected",
            node.connected.map(|connected| connected.to_string()).as_deref(),
        );
        data(&mut text, "node", "devices", Some(&node.devices.to_string()));
        text.push_str("    </node>\n");
    }
    for (number, edge) in graph.edges.iter().enumerate() {
        let _ = writeln!(text, "    <edge id=\"e{number}\" source=\"{}\" target=\"{}\">", edge.from, edge.to);
        data(&mut text, "edge", "kind", Some(edge.kind.as_str()));
        data(&mut text, "edge", "label", Some(&edge.label));
        data(&mut text, "edge", "weight", Some(&edge.weight.to_string()));
        text.push_str("    </edge>\n");
    }
    text.push_str("  </graph>\n</graphml>\n");
    text
}

fn data(text: &mut String, of: &str, name: &str, value: Option<&str>) {
    if let Some(value) = value {
        let _ = writeln!(text, "      <data key=\"{of}-{name}\">{}</data>", xml(value));
    }
}
