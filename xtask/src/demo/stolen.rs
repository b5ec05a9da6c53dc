//! The last act: the tablet is stolen. Its certificate is revoked while it is connected, and the record tells what
//! happened.

use super::broker::Broker;
use super::lab::Bench;
use super::story::Story;
use super::ticket::{Outcome, TicketHolder};
use anyhow::{Context, bail};
use serde_json::Value;
use std::time::Instant;

/// The goal for the time from the order to the end of the last session.
const REVOKED_WITHIN_MS: u128 = 1000;
const METER: &str = "field/smart-meter/voltage";

/// What is asked of the act.
pub const PARTS: u32 = 4;

pub fn play(bench: &Bench, broker: &Broker, story: &mut Story) -> super::lab::Held {
    let mut count = 0;
    let outcome = parts(bench, broker, story, &mut count);
    super::lab::Held { count, outcome }
}

fn parts(bench: &Bench, broker: &Broker, story: &mut Story, done: &mut u32) -> anyhow::Result<()> {
    let tablet = TicketHolder::new(broker.dir(), "tablet", broker.port())?;
    for resumed in [false, true] {
        let outcome = tablet.connect("tablet-app")?;
        if outcome != (Outcome::Accepted { resumed }) {
            bail!("before it is revoked, the tablet's app should connect (resumed: {resumed}): {outcome:?}");
        }
    }
    story.then("tablet", "is connected; its app holds a TLS session ticket, which works");

    let start = broker.log_end();
    let begun = Instant::now();
    let order = ["cert", "revoke", "--certificates-of", "tablet", "--reason", "stolen"];
    broker.ctl(&order)?;
    let closed = broker.wait_for(start, |event| {
        event["id"] == "client.disconnected" && event["fields"]["client_id"] == "tablet"
    })?;
    let took_ms = begun.elapsed().as_millis();
    if took_ms > REVOKED_WITHIN_MS {
        bail!("the tablet's session closed only after {took_ms} ms");
    }
    story.attempt('c', "operator", &format!("ravelin ctl {}", order.join(" ")));
    story.log(&closed);
    story.then("tablet", &format!("its session is closed, {took_ms} ms after the order was given"));
    *done = 1;

    let start = broker.log_end();
    let Outcome::Refused(why) = tablet.connect("tablet-app")? else {
        bail!("the tablet's ticket still opens the door");
    };
    story.then("tablet", &format!("comes back with its ticket and is refused: {why}"));
    story.log(&broker.wait_for(start, |event| {
        event["id"] == "connection.refused" && event["fields"]["why"] == "revoked"
    })?);
    *done = 2;

    bench.smart_meter.publish(METER, "120 V", &["-q", "1"])?;
    let reading = bench.dms.receive(METER)?;
    if reading != "120 V" {
        bail!("after the revocation the DMS received {reading:?}");
    }
    story.then("dms", "goes on receiving what the meter says: nobody else noticed");
    *done = 3;

    let verified: Value = json(&broker.output(&["audit", "verify", "--json"])?)?;
    let shown = broker.output(&["audit", "show", "--json", "--kind", "administration"])?;
    if !shown.lines().any(|line| line.contains("tablet") && line.contains("revoke")) {
        bail!("the record does not tell of the revocation:\n{shown}");
    }
    let sent = broker.output(&["audit", "show", "--json", "--kind", "transmission"])?.lines().count();
    if sent == 0 {
        bail!("the record tells of no message");
    }
    let entries = verified["entries"].as_u64().context("ravelin audit verify counts entries")?;
    story.then(
        "record",
        &format!(
            "verified: {entries} entries, {sent} of them messages, and the revocation; nothing is missing"
        ),
    );
    *done = 4;
    Ok(())
}

fn json(text: &str) -> anyhow::Result<Value> {
    serde_json::from_str(text.trim()).with_context(|| format!("not JSON: {text}"))
}
