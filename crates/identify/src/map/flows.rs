//! The matrix of flows drawn as SVG: publishers, topics, subscribers; a line a flow, as wide as its rate.

use super::escape::{fit, xml};
use crate::flows::{Flow, Flows};
use std::collections::BTreeMap;
use std::fmt::Write;

const TOP: f64 = 96.0;
const ROW: f64 = 34.0;
const BOX: f64 = 24.0;
const COLUMNS: [(f64, f64); 3] = [(24.0, 230.0), (424.0, 300.0), (894.0, 230.0)];
const WIDTH: f64 = 1_148.0;
/// Flows that are drawn: those with most messages.
const FLOWS_MAX: usize = 60;
const NOBODY: &str = "nobody";

const STYLE: &str = "text{font-family:system-ui,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;fill:#1c2733;font-size:12px}\
.h{font-size:20px;font-weight:600}.m{font-size:11.5px;fill:#5b6b7b}.t{font-size:13px;font-weight:600;fill:#33475b}";

/// The matrix as SVG.
pub fn flows_svg(flows: &Flows) -> String {
    let mut most: Vec<&Flow> = flows.flows.iter().collect();
    most.sort_by(|one, other| {
        other.rate.total_cmp(&one.rate).then_with(|| other.messages.cmp(&one.messages))
    });
    let hidden = most.len().saturating_sub(FLOWS_MAX);
    most.truncate(FLOWS_MAX);
    let topics = column(most.iter().map(|flow| (flow.topic.clone(), 0.0)));
    // Publishers and subscribers stand beside their topics, so that few lines cross.
    let beside = |flow: &&Flow| topics.get(&flow.topic).copied().unwrap_or(TOP);
    let publishers = column(most.iter().map(|flow| (publisher(flow), beside(flow))));
    let subscribers = column(most.iter().map(|flow| (subscriber(flow), beside(flow))));
    let columns = [publishers, topics, subscribers];
    let mut body = String::new();
    for flow in &most {
        draw_flow(&mut body, flow, &columns);
    }
    for (index, names) in columns.iter().enumerate() {
        for (name, y) in names {
            draw_box(&mut body, index, name, *y);
        }
    }
    let rows = columns.iter().map(BTreeMap::len).max().unwrap_or(0);
    let height = TOP + ROW * rows.max(1) as f64 + 24.0;
    draw_head(&mut body, flows, hidden, height);
    format!(
        concat!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0} {height:.0}" width="{width:.0}" height="{height:.0}" role="img">"#,
            "\n<title>Data flows</title>\n<style>{style}</style>\n",
            r##"<rect width="100%" height="100%" fill="#ffffff"/>"##,
            "\n{body}</svg>\n"
        ),
        width = WIDTH,
        height = height,
        style = STYLE,
        body = body
    )
}

fn publisher(flow: &Flow) -> String {
    counted(&flow.publisher.name, flow.publisher.devices)
}

fn subscriber(flow: &Flow) -> String {
    flow.subscriber.as_ref().map_or_else(|| NOBODY.to_owned(), |end| counted(&end.name, end.devices))
}

fn counted(name: &str, devices: u64) -> String {
    if devices > 1 { format!("{devices} × {name}") } else { name.to_owned() }
}

/// Where each name of a column stands: in the order of the mean of their wishes, then of the names. `nobody`, which is no
/// name, is last.
fn column(wishes: impl Iterator<Item = (String, f64)>) -> BTreeMap<String, f64> {
    let mut sums: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for (name, wish) in wishes {
        let sum = sums.entry(name).or_default();
        *sum = (sum.0 + wish, sum.1 + 1.0);
    }
    let mut order: Vec<(bool, f64, String)> =
        sums.into_iter().map(|(name, (sum, count))| (name == NOBODY, sum / count, name)).collect();
    order.sort_by(|one, other| {
        one.0.cmp(&other.0).then_with(|| one.1.total_cmp(&other.1)).then_with(|| one.2.cmp(&other.2))
    });
    let rows = (0u32..).map(|row| TOP + ROW * f64::from(row));
    order.into_iter().map(|(_, _, name)| name).zip(rows).collect()
}

fn draw_flow(body: &mut String, flow: &Flow, columns: &[BTreeMap<String, f64>; 3]) {
    let color = match (flow.crosses_zones, &flow.subscriber) {
        (true, _) => "#c62828",
        (false, None) => "#b0bac4",
        (false, Some(_)) => "#3578c6",
    };
    let ends = [publisher(flow), flow.topic.clone(), subscriber(flow)];
    let at = |index: usize| columns[index].get(&ends[index]).map_or(TOP, |y| y + BOX / 2.0);
    // A message a day and ten thousand a second are on one drawing.
    let width = 1.2 + (flow.rate + 1.0).log10() * 2.2;
    for index in 0..2 {
        let (from, to) = (COLUMNS[index].0 + COLUMNS[index].1, COLUMNS[index + 1].0);
        let (start, end, middle) = (at(index), at(index + 1), f64::midpoint(from, to));
        let tip = format!(
            "{} → {} → {}: {} messages, {:.1}/s, {} bytes",
            ends[0], ends[1], ends[2], flow.messages, flow.rate, flow.bytes
        );
        let _ = writeln!(
            body,
            r#"<path d="M{from:.1} {start:.1} C{middle:.1} {start:.1} {middle:.1} {end:.1} {to:.1} {end:.1}" fill="none" stroke="{color}" stroke-opacity="0.6" stroke-width="{width:.1}"><title>{}</title></path>"#,
            xml(&tip)
        );
    }
}

fn draw_box(body: &mut String, index: usize, name: &str, y: f64) {
    let (x, width) = COLUMNS[index];
    let (fill, stroke) = match index {
        0 => ("#eef5ea", "#a9c39c"),
        1 => ("#f3f6f9", "#c5d0da"),
        _ if name == NOBODY => ("#ffffff", "#d5dde5"),
        _ => ("#dbe9f6", "#7fa6cc"),
    };
    let _ = writeln!(
        body,
        r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{BOX:.1}" rx="5" fill="{fill}" stroke="{stroke}"/>"#
    );
    let shown = fit(name, if index == 1 { 44 } else { 33 });
    let _ = writeln!(body, r#"<text x="{:.1}" y="{:.1}">{}</text>"#, x + 9.0, y + 16.5, xml(&shown));
}

fn draw_head(body: &mut String, flows: &Flows, hidden: usize, height: f64) {
    let mut line = |x: f64, y: f64, class: &str, text: &str| {
        let _ = writeln!(body, r#"<text x="{x:.1}" y="{y:.1}" class="{class}">{}</text>"#, xml(text));
    };
    line(24.0, 38.0, "h", "Data flows");
    let grouped = if flows.grouped { "devices grouped by class and site; " } else { "" };
    line(
        24.0,
        60.0,
        "m",
        &format!(
            "{grouped}a line is as wide as its rate; red goes from one zone to another without a conduit"
        ),
    );
    for ((x, _), name) in COLUMNS.iter().zip(["Publishers", "Topics", "Subscribers"]) {
        line(*x, TOP - 12.0, "t", name);
    }
    if hidden > 0 {
        line(24.0, height - 8.0, "m", &format!("and {hidden} more flows with fewer messages"));
    }
}
