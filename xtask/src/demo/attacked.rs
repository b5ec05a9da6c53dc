//! The last act: the lab is attacked while it runs, and each attack is stopped or alarmed by a named check.

use super::broker::Broker;
use super::lab::{Bench, Held};
use super::story::Story;
use anyhow::bail;
use serde_json::Value;

/// Attacks of the drill `energy-provider`.
pub const ATTACKS: u32 = 7;

pub fn play(bench: &Bench, broker: &Broker, story: &mut Story) -> Held {
    let mut count = 0;
    let outcome = attacks(bench, broker, story, &mut count);
    Held { count, outcome }
}

fn attacks(bench: &Bench, broker: &Broker, story: &mut Story, done: &mut u32) -> anyhow::Result<()> {
    story.note("  ravelin drill energy-provider");
    let report = broker.drill("energy-provider")?;
    let results = report["results"].as_array().cloned().unwrap_or_default();
    let mut missed = Vec::new();
    for result in &results {
        tell(story, result);
        match result["outcome"].as_str() {
            Some("stopped" | "alarmed" | "stopped_and_alarmed") => *done += 1,
            _ => missed.push(text(&result["attack"]).to_owned()),
        }
    }
    if !missed.is_empty() || results.len() != ATTACKS as usize {
        bail!("of {} attacks these were neither stopped nor alarmed: {}", results.len(), missed.join(", "));
    }
    // Nothing of what the rogue master sent came to anybody.
    bench.capacitor_bank.expect_nothing_more()?;
    story.then("capacitor-bank", "was told nothing by anybody but the DMS");
    Ok(())
}

fn tell(story: &Story, result: &Value) {
    let (attack, what) = (text(&result["attack"]), text(&result["what"]));
    story.then("drill", &format!("{attack}: {what} ({})", techniques(result)));
    if let Some(check) = result["stopped_by"].as_str() {
        story.log(&format!("stopped by {check}, after {} ms", result["stop_ms"]));
    }
    if let Some(detector) = result["detector"].as_str() {
        story.log(&format!("{detector} after {} ms: {}", result["detect_ms"], text(&result["summary"])));
    }
    for answer in result["answers"].as_array().into_iter().flatten() {
        story.log(&format!("-> {} ({})", text(&answer["action"]), text(&answer["state"])));
    }
    if let (Some("missed" | "not_run"), Some(told)) = (result["outcome"].as_str(), result["told"].as_str()) {
        story.log(told);
    }
}

fn techniques(result: &Value) -> String {
    let all = result["techniques"].as_array().into_iter().flatten().map(text);
    all.collect::<Vec<_>>().join(", ")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
