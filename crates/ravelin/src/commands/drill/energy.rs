//! The energy provider's test lab of the note's Appendix A, under attack.
//!
//! The rogue master has a certificate and no rights in the plant; where somebody stole a real client's key, the checks on what it says
//! are what is left.

use super::attacker::Hello;
use super::note::FLOOD;
use super::scenario::{Attack, Stop};
use super::stage::Stage;
use ravelin_mqtt::QoS;

const POWER_SUPPLY: &str = "field/power-supply/command";
const METER: &str = "field/smart-meter/voltage";
const CAPACITOR_COMMAND: &str = "field/capacitor-bank/command";

const PUBLISH_RULES: Stop =
    Stop { event: "publish.refused", why: Some("access_rule"), check: "access rules (publish)" };
const SUBSCRIBE_RULES: Stop =
    Stop { event: "subscribe.refused", why: Some("access_rule"), check: "access rules (subscribe)" };
const IDENTITY: Stop = Stop {
    event: "connection.refused",
    why: Some("identity_mismatch"),
    check: "a Client Identifier is bound to its certificate",
};
const RATE: Stop = Stop { event: "rate.exceeded", why: None, check: "rate of publishing" };

/// All of them.
pub const ATTACKS: &[Attack] = &[
    Attack {
        name: "unauthorised-open",
        what: "a rogue master opens the capacitor bank",
        techniques: &["T0855", "T0848"],
        alarms: &[],
        stops: &[PUBLISH_RULES],
        ends_in_refusal: true,
        patience_s: 0,
        run: |stage| rogue(stage, CAPACITOR_COMMAND, "open"),
    },
    Attack {
        name: "spoofed-reading",
        what: "a rogue device reports 120 V in the meter's name",
        techniques: &["T0856"],
        alarms: &[],
        stops: &[PUBLISH_RULES],
        ends_in_refusal: true,
        patience_s: 0,
        run: |stage| rogue(stage, METER, "120 V"),
    },
    Attack {
        name: "spoofed-by-the-meter",
        what: "with the meter's stolen key, a reading that cannot be is reported",
        techniques: &["T0856"],
        alarms: &["DE.ID-3"],
        stops: &[],
        ends_in_refusal: true,
        patience_s: 0,
        run: |stage| stolen(stage, "smart-meter", METER, "390 V"),
    },
    Attack {
        name: "wrong-set-point",
        what: "with the DMS's stolen key, the power supply is told to apply 400 V",
        techniques: &["T0836", "T0831"],
        alarms: &["DE.ID-3"],
        stops: &[],
        ends_in_refusal: true,
        patience_s: 0,
        run: |stage| stolen(stage, "dms", POWER_SUPPLY, "volt-400"),
    },
    Attack {
        name: "block-of-status",
        what: "the capacitor bank is to be thrown out by somebody with its name, so that its status stays away",
        techniques: &["T0804"],
        alarms: &[],
        stops: &[IDENTITY],
        ends_in_refusal: true,
        patience_s: 0,
        run: block,
    },
    Attack {
        name: "flood",
        what: "a device of the field floods the bus",
        techniques: &["T0814"],
        alarms: FLOOD,
        stops: &[RATE],
        ends_in_refusal: true,
        patience_s: 0,
        run: flood,
    },
    Attack {
        name: "point-discovery",
        what: "the points of the plant are looked for",
        techniques: &["T0861"],
        alarms: &["DE.ID-2"],
        stops: &[SUBSCRIBE_RULES],
        ends_in_refusal: true,
        patience_s: 0,
        run: discover,
    },
];

fn rogue(stage: &mut Stage, topic: &str, payload: &str) -> anyhow::Result<()> {
    let mut client = stage.login("rogue-master")?;
    client.publish_at(QoS::AtLeastOnce, topic, payload.as_bytes())?;
    client.goodbye()
}

fn stolen(stage: &mut Stage, whose: &str, topic: &str, payload: &str) -> anyhow::Result<()> {
    let mut client = stage.play(whose)?;
    client.publish_at(QoS::AtLeastOnce, topic, payload.as_bytes())?;
    client.goodbye()
}

fn block(stage: &mut Stage) -> anyhow::Result<()> {
    for _ in 0..3 {
        let mut client = stage.open_as("drill-usurper")?;
        let code = client.hello(Hello::as_client("capacitor-bank"))?;
        anyhow::ensure!(code != 0, "somebody else was let in as the capacitor bank");
    }
    Ok(())
}

fn flood(stage: &mut Stage) -> anyhow::Result<()> {
    let mut client = stage.login("flooder")?;
    for _ in 0..30_000 {
        client.publish("drill/flood", &[b'x'; 64])?;
    }
    client.goodbye()
}

fn discover(stage: &mut Stage) -> anyhow::Result<()> {
    let mut client = stage.login("explorer")?;
    for filter in ["#", "field/#", "$SYS/#", "field/+/command", "field/+/status", "+/+/voltage"] {
        client.subscribe(filter)?;
    }
    for device in ["breaker", "transformer", "relay", "tap-changer", "recloser", "feeder", "rtu", "pmu"] {
        for point in ["command", "status", "voltage"] {
            client.subscribe(&format!("field/{device}-1/{point}"))?;
        }
    }
    client.goodbye()
}
