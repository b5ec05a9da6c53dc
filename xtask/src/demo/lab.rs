//! What the devices of the lab do, step by step.

use super::broker::Broker;
use super::client::Client;
use super::story::Story;
use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::process::Stdio;

const POWER_SUPPLY: &str = "field/power-supply/command";
const METER: &str = "field/smart-meter/voltage";
const CAPACITOR_COMMAND: &str = "field/capacitor-bank/command";
const CAPACITOR_STATUS: &str = "field/capacitor-bank/status";
const DIAGRAM: &str = "field/dms/single-line-diagram";

/// A command is carried out once.
const COMMAND: &[&str] = &["-q", "2"];
const STATUS: &[&str] = &["-q", "1"];
/// A tablet that is switched on later shows it too.
const SHOWN: &[&str] = &["-q", "1", "-r"];

/// Below this the DMS acts.
const LOW_VOLTS: u32 = 117;

pub const STEPS: u32 = 10;
pub const ATTEMPTS: u32 = 2;

/// The five clients at their places.
pub struct Bench {
    pub tablet: Client,
    pub power_supply: Client,
    pub smart_meter: Client,
    pub dms: Client,
    pub capacitor_bank: Client,
}

/// How far it went.
pub struct Held {
    pub count: u32,
    pub outcome: anyhow::Result<()>,
}

impl Bench {
    /// The ten steps.
    pub fn play(&mut self, story: &mut Story) -> Held {
        let mut count = 0;
        let outcome = self.steps(story, &mut count);
        Held { count, outcome }
    }

    fn steps(&self, story: &mut Story, done: &mut u32) -> anyhow::Result<()> {
        // What the DMS knows of the network.
        let mut diagram = json!({ "smart-meter": null, "capacitor-bank": "open" });

        say(story, &self.tablet, POWER_SUPPLY, "volt-114", COMMAND)?;
        let line_volts = volts(&self.power_supply.receive(POWER_SUPPLY)?)?;
        story.then("power-supply", &format!("received it and applies {line_volts} V"));
        *done = 1;

        // The meter is fed by the power supply: it measures what that applied.
        say(story, &self.smart_meter, METER, &format!("{line_volts} V"), STATUS)?;
        *done = 2;

        let reading = self.dms.receive(METER)?;
        diagram["smart-meter"] = reading.as_str().into();
        story.step("dms", &format!("received '{reading}' and updates its status: low"));
        if reading_volts(&reading)? >= LOW_VOLTS {
            bail!("the DMS sees no low voltage in {reading:?}");
        }
        *done = 3;

        say(story, &self.dms, CAPACITOR_COMMAND, "close", COMMAND)?;
        let command = self.capacitor_bank.receive(CAPACITOR_COMMAND)?;
        if command != "close" {
            bail!("the capacitor bank received {command:?}");
        }
        story.then("capacitor-bank", "received it and closes");
        *done = 4;

        say(story, &self.capacitor_bank, CAPACITOR_STATUS, "closed", STATUS)?;
        *done = 5;

        let status = self.dms.receive(CAPACITOR_STATUS)?;
        diagram["capacitor-bank"] = status.as_str().into();
        story.step("dms", &format!("received '{status}' and updates its single-line diagram"));
        *done = 6;

        say(story, &self.dms, POWER_SUPPLY, "volt-120", COMMAND)?;
        let line_volts = volts(&self.power_supply.receive(POWER_SUPPLY)?)?;
        story.then("power-supply", &format!("received it and applies {line_volts} V"));
        *done = 7;

        say(story, &self.smart_meter, METER, &format!("{line_volts} V"), STATUS)?;
        let reading = self.dms.receive(METER)?;
        diagram["smart-meter"] = reading.as_str().into();
        story.then("dms", &format!("received '{reading}': no longer low"));
        *done = 8;

        say(story, &self.dms, DIAGRAM, &diagram.to_string(), SHOWN)?;
        *done = 9;

        let shown = self.tablet.receive(DIAGRAM)?;
        let shown: Value =
            serde_json::from_str(&shown).with_context(|| format!("the tablet received {shown:?}"))?;
        if shown != json!({ "smart-meter": "120 V", "capacitor-bank": "closed" }) {
            bail!("the tablet shows {shown}");
        }
        story.step("tablet", "received it and shows:");
        draw(story, &shown);
        *done = 10;

        for client in [&self.tablet, &self.power_supply, &self.smart_meter, &self.dms, &self.capacitor_bank] {
            client.expect_nothing_more()?;
        }
        Ok(())
    }

    /// What the rules must stop.
    pub fn attack(&mut self, broker: &Broker, story: &mut Story) -> Held {
        let mut count = 0;
        let outcome = self.attempts(broker, story, &mut count);
        Held { count, outcome }
    }

    fn attempts(&self, broker: &Broker, story: &mut Story, done: &mut u32) -> anyhow::Result<()> {
        let start = broker.log_end();
        story.attempt('a', "tablet", &format!("forges a meter reading: {METER} '90 V'"));
        let forged = self.tablet.try_publish(METER, "90 V", STATUS)?;
        let told = String::from_utf8_lossy(&forged.stderr).trim().to_owned();
        if forged.status.success() || !told.contains("Not authorized") {
            bail!("a forged meter reading was not refused: {told}");
        }
        story.then("tablet", &format!("was told: {told}"));
        story.log(&broker.wait_for(start, |event| {
            event["id"] == "publish.refused" && event["fields"]["topic"] == METER
        })?);
        // What the meter itself publishes afterwards is the next that the DMS receives.
        self.smart_meter.publish(METER, "120 V", STATUS)?;
        let reading = self.dms.receive(METER)?;
        if reading != "120 V" {
            bail!("the DMS received the forged reading {reading:?}");
        }
        story.then("dms", "received nothing of it, only the meter's own next reading");
        *done = 1;

        let start = broker.log_end();
        story.attempt('b', "stranger", &format!("has no certificate: {CAPACITOR_COMMAND} 'open'"));
        let mut stranger = broker.client("pub", None);
        stranger.args(["-i", "dms-pub", "-t", CAPACITOR_COMMAND, "-m", "open"]).args(COMMAND);
        let refused = stranger.stdin(Stdio::null()).output().context("failed to run ravelin pub")?;
        let told = String::from_utf8_lossy(&refused.stderr).trim().to_owned();
        if refused.status.success() {
            bail!("a client without a certificate was let in");
        }
        story.then("stranger", &format!("was told: {told}"));
        story.log(&broker.wait_for(start, |event| {
            event["id"] == "connection.refused" && event["fields"]["why"] == "no_certificate"
        })?);
        // A command that passes tells that nothing passed before it.
        self.dms.publish(CAPACITOR_COMMAND, "close", COMMAND)?;
        let command = self.capacitor_bank.receive(CAPACITOR_COMMAND)?;
        if command != "close" {
            bail!("the capacitor bank received {command:?}");
        }
        story.then("capacitor-bank", "received nothing of it, only what the DMS said next");
        *done = 2;

        for client in [&self.tablet, &self.power_supply, &self.smart_meter, &self.dms, &self.capacitor_bank] {
            client.expect_nothing_more()?;
        }
        Ok(())
    }
}

/// A step that is a publish.
fn say(story: &mut Story, who: &Client, topic: &str, payload: &str, options: &[&str]) -> anyhow::Result<()> {
    let qos = options[1];
    let retained = if options.contains(&"-r") { ", retained" } else { "" };
    story.step(who.name, &format!("publishes {topic} '{payload}' at QoS {qos}{retained}"));
    who.publish(topic, payload, options)
}

/// `volt-114`.
fn volts(command: &str) -> anyhow::Result<u32> {
    let volts = command.strip_prefix("volt-").and_then(|volts| volts.parse().ok());
    volts.with_context(|| format!("{command:?} is no command of a power supply"))
}

/// `114 V`.
fn reading_volts(reading: &str) -> anyhow::Result<u32> {
    let volts = reading.strip_suffix(" V").and_then(|volts| volts.parse().ok());
    volts.with_context(|| format!("{reading:?} is no reading of a meter"))
}

fn draw(story: &Story, diagram: &Value) {
    let closed = diagram["capacitor-bank"] == "closed";
    let contact = if closed { "--o--o--||" } else { "--o  o--||" };
    story.log("");
    story.log(&format!(
        "   power supply --+-- smart meter {}",
        diagram["smart-meter"].as_str().unwrap_or("?")
    ));
    story.log(&format!(
        "                  +{contact} capacitor bank {}",
        if closed { "closed" } else { "open" }
    ));
    story.log("");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_command_or_reading_is_an_error() {
        assert_eq!(volts("volt-114").unwrap(), 114);
        assert_eq!(reading_volts("120 V").unwrap(), 120);
        assert!(volts("114").is_err() && volts("volt-").is_err());
        assert!(reading_volts("120").is_err() && reading_volts("V").is_err());
    }
}
