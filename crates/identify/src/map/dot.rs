//! The map in the DOT language of Graphviz.

use super::escape::{dot as escape, fit};
use super::{EdgeKind, Graph, Node, NodeKind};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The map in DOT: zones are clusters. Draw it with `dot -Tsvg`.
pub fn dot(graph: &Graph) -> String {
    let mut text = String::from(concat!(
        "digraph map {\n",
        "  rankdir=LR; compound=true; newrank=true; fontname=\"sans-serif\";\n",
        "  node [fontname=\"sans-serif\", fontsize=10, style=filled, fillcolor=white];\n",
        "  edge [fontname=\"sans-serif\", fontsize=9, color=\"#667788\"];\n",
    ));
    let mut zones: BTreeMap<Option<&str>, Vec<&Node>> = BTreeMap::new();
    for node in graph.nodes.iter().filter(|node| node.kind != NodeKind::Zone) {
        zones.entry(node.zone.as_deref()).or_default().push(node);
    }
    for (number, (zone, nodes)) in zones.iter().enumerate() {
        if let Some(zone) = zone {
            let _ = writeln!(text, "  subgraph cluster_{number} {{");
            let _ = writeln!(
                text,
                "    label=\"zone {}\"; style=\"rounded,filled\"; color=\"#c5d0da\"; fillcolor=\"#f4f7fa\";",
                escape(zone)
            );
            // The zone itself, for what flows between zones.
            let of_zone =
                graph.nodes.iter().filter(|node| node.kind == NodeKind::Zone && node.label == **zone);
            nodes.iter().copied().chain(of_zone).for_each(|node| write_node(&mut text, node, "    "));
            text.push_str("  }\n");
        } else {
            nodes.iter().for_each(|node| write_node(&mut text, node, "  "));
        }
    }
    let empty = graph
        .nodes
        .iter()
        .filter(|node| node.kind == NodeKind::Zone && !zones.contains_key(&Some(&node.label)));
    empty.for_each(|node| write_node(&mut text, node, "  "));
    for edge in &graph.edges {
        let (style, color) = match edge.kind {
            EdgeKind::Member | EdgeKind::Connects => ("solid", "#8899aa"),
            EdgeKind::Through => ("dotted", "#8899aa"),
            EdgeKind::Conduit => ("bold", "#2e7d32"),
            EdgeKind::Unconduited => ("bold", "#c62828"),
            EdgeKind::UnusedConduit => ("dashed", "#9e9e9e"),
        };
        let label = match edge.kind {
            EdgeKind::Connects => edge.weight.to_string(),
            _ => fit(&edge.label, 40),
        };
        let _ = writeln!(
            text,
            "  {} -> {} [label=\"{}\", style={style}, color=\"{color}\"];",
            edge.from,
            edge.to,
            escape(&label)
        );
    }
    text.push_str("}\n");
    text
}

fn write_node(text: &mut String, node: &Node, indent: &str) {
    let (shape, fill) = match node.kind {
        NodeKind::Broker => ("doubleoctagon", "#dbe9f6"),
        NodeKind::Listener => ("cds", "#e8f1e4"),
        NodeKind::Subnet => ("box", "#ffffff"),
        NodeKind::Infrastructure => ("hexagon", "#fff4d6"),
        NodeKind::Device => ("ellipse", if node.connected == Some(false) { "#eeeeee" } else { "#ffffff" }),
        NodeKind::Zone => ("plaintext", "#f4f7fa"),
    };
    let label = match &node.detail {
        Some(detail) => format!("{} {}", fit(&node.label, 40), fit(detail, 40)),
        None => fit(&node.label, 60),
    };
    let label = if node.devices > 1 { format!("{label} ({})", node.devices) } else { label };
    let _ = writeln!(
        text,
        "{indent}{} [label=\"{}\", shape={shape}, fillcolor=\"{fill}\"];",
        node.id,
        escape(&label)
    );
}
