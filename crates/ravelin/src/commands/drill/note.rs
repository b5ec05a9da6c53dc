//! The detections of the note's section 2.1.3, each provoked once.

use super::attacker::Hello;
use super::scenario::{Attack, Stop};
use super::stage::Stage;
use std::time::{Duration, Instant};

const LOCKED_OUT: Stop =
    Stop { event: "connection.refused", why: Some("locked_out"), check: "lock-out after failed log-ins" };
const SUBSCRIBE_RULES: Stop =
    Stop { event: "subscribe.refused", why: None, check: "access rules (subscribe)" };
const PUBLISH_RULES: Stop = Stop { event: "publish.refused", why: None, check: "access rules (publish)" };

/// All of them.
pub const ATTACKS: &[Attack] = &[
    Attack {
        name: "repeated-connections",
        what: "one source connects 60 times in a row",
        techniques: &["T0814", "T0846"],
        alarms: &["DE.NM-1"],
        stops: &[],
        ends_in_refusal: true,
        patience_s: 0,
        run: repeated_connections,
    },
    Attack {
        name: "abnormal-terminations",
        what: "a client vanishes 16 times without DISCONNECT",
        techniques: &["T0814", "T0815"],
        alarms: &["DE.NM-2"],
        stops: &[],
        ends_in_refusal: true,
        patience_s: 0,
        run: abnormal_terminations,
    },
    Attack {
        name: "malformed",
        what: "a client sends packets that are none",
        techniques: &["T0814"],
        alarms: &["DE.NM-2"],
        stops: &[],
        ends_in_refusal: true,
        patience_s: 0,
        run: malformed,
    },
    Attack {
        name: "silence",
        what: "a client that is expected every second falls silent (needs an `[[expect]]` of class drill-sensors)",
        techniques: &["T0815", "T0829"],
        alarms: &["DE.PM-1"],
        stops: &[],
        ends_in_refusal: false,
        patience_s: 60,
        run: silence,
    },
    Attack {
        name: "tamper",
        what: "the contact of a cabinet says that it was opened (needs a `[[physical]]` for drill/+/tamper)",
        techniques: &["T0864"],
        alarms: &["DE.PM-2"],
        stops: &[],
        ends_in_refusal: false,
        patience_s: 0,
        run: tamper,
    },
    Attack {
        name: "guessing",
        what: "10 passwords are tried for one user name",
        techniques: &["T0859", "T0812"],
        alarms: &["DE.ID-1"],
        stops: &[LOCKED_OUT],
        ends_in_refusal: true,
        patience_s: 0,
        run: guessing,
    },
    Attack {
        name: "topic-scanning",
        what: "a client subscribes to 40 filters that are not its own",
        techniques: &["T0861", "T0846", "T0888"],
        alarms: &["DE.ID-2"],
        stops: &[SUBSCRIBE_RULES],
        ends_in_refusal: true,
        patience_s: 0,
        run: subscribe_scan,
    },
    Attack {
        name: "topic-scanning-publish",
        what: "a client publishes to 40 topics that are not its own",
        techniques: &["T0861", "T0855"],
        alarms: &["DE.ID-2"],
        stops: &[PUBLISH_RULES],
        ends_in_refusal: true,
        patience_s: 0,
        run: publish_scan,
    },
    Attack {
        name: "undeliverable",
        what: "300 messages that nobody subscribes to",
        techniques: &["T0806", "T0869"],
        alarms: &["DE.ID-3"],
        stops: &[],
        ends_in_refusal: true,
        patience_s: 0,
        run: undeliverable,
    },
    Attack {
        name: "silent-clients",
        what: "40 connections that send nothing",
        techniques: &["T0814"],
        alarms: &["DE.ID-4"],
        stops: &[],
        ends_in_refusal: true,
        patience_s: 0,
        run: silent_clients,
    },
    Attack {
        name: "cloned-identity",
        what: "two clients with one name throw each other out",
        techniques: &["T0848", "T0859"],
        alarms: &["DE.NM-2", "DE.ID-1", "DE.NM-1"],
        stops: &[],
        ends_in_refusal: true,
        patience_s: 0,
        run: cloned,
    },
    Attack {
        name: "flood",
        what: "30,000 messages as fast as they go",
        techniques: &["T0814"],
        alarms: FLOOD,
        stops: &[],
        ends_in_refusal: true,
        patience_s: 0,
        run: flood,
    },
];

/// A flood has no row of its own in the note: it is network monitoring, or messages that find nobody.
pub const FLOOD: &[&str] = &["DE.NM-1", "DE.ID-3"];

fn repeated_connections(stage: &mut Stage) -> anyhow::Result<()> {
    for _ in 0..60 {
        stage.login("reconnector")?.goodbye()?;
    }
    Ok(())
}

fn abnormal_terminations(stage: &mut Stage) -> anyhow::Result<()> {
    for _ in 0..16 {
        let mut client = stage.login("vanisher")?;
        client.publish("drill/vanisher", b"x")?;
        std::thread::sleep(Duration::from_millis(50));
        drop(client);
    }
    Ok(())
}

fn malformed(stage: &mut Stage) -> anyhow::Result<()> {
    // QoS 3; a SUBSCRIBE with reserved flags; a server's packet; a string past its end; a second CONNECT that is none.
    let packets: [&[u8]; 5] = [
        &[0x36, 5, 0, 1, b'a', 0, 1],
        &[0x80, 6, 0, 1, 0, 1, b'a', 0],
        &[0x20, 2, 0, 0],
        &[0x30, 4, 0xFF, 0xFF, b'a', b'b'],
        &[0x10, 2, 0, 0],
    ];
    for packet in packets.iter().chain(&packets) {
        let mut client = stage.login("fuzzer")?;
        client.send(packet)?;
        client.is_thrown_out(Duration::from_secs(2));
    }
    Ok(())
}

fn silence(stage: &mut Stage) -> anyhow::Result<()> {
    let identity = "drill-sensor";
    let mut client = stage.open_as(identity)?;
    client.hello(Hello { keep_alive_s: 1, ..Hello::as_client(identity) })?;
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        client.publish("drill/sensor", b"21.5")?;
        std::thread::sleep(Duration::from_millis(200));
    }
    // Nothing more is sent, and nothing is closed.
    stage.held.push(client);
    std::thread::sleep(Duration::from_secs(2));
    Ok(())
}

fn tamper(stage: &mut Stage) -> anyhow::Result<()> {
    let mut client = stage.login("cabinet")?;
    client.publish("drill/cabinet/tamper", b"open")?;
    client.publish("drill/cabinet/tamper", b"1")?;
    client.goodbye()
}

fn guessing(stage: &mut Stage) -> anyhow::Result<()> {
    for attempt in 0..10 {
        let password = format!("password{attempt}");
        let mut client = stage.open_for_password()?;
        let name = "drill-guesser";
        client.hello(Hello { username: Some(name), password: Some(&password), ..Hello::as_client(name) })?;
    }
    Ok(())
}

fn subscribe_scan(stage: &mut Stage) -> anyhow::Result<()> {
    let mut client = stage.login("scanner")?;
    for filter in ["#", "+/#", "$SYS/#", "+/+/+"] {
        client.subscribe(filter)?;
    }
    for area in 0..36 {
        client.subscribe(&format!("plant/area-{area}/#"))?;
    }
    client.goodbye()
}

fn publish_scan(stage: &mut Stage) -> anyhow::Result<()> {
    let mut client = stage.login("prober")?;
    for area in 0..40 {
        client.publish(&format!("plant/area-{area}/valve/set"), b"1")?;
    }
    client.goodbye()
}

fn undeliverable(stage: &mut Stage) -> anyhow::Result<()> {
    let mut client = stage.login("shouter")?;
    for at in 0..300 {
        client.publish(&format!("drill/nobody/{}", at % 3), b"is anybody there?")?;
        std::thread::sleep(Duration::from_millis(3));
    }
    client.goodbye()
}

fn silent_clients(stage: &mut Stage) -> anyhow::Result<()> {
    for _ in 0..40 {
        let client = stage.open_as("drill-mute")?;
        stage.held.push(client);
    }
    std::thread::sleep(Duration::from_secs(1));
    stage.held.clear();
    Ok(())
}

fn cloned(stage: &mut Stage) -> anyhow::Result<()> {
    for _ in 0..10 {
        let one = stage.login("twin")?;
        stage.held.push(one);
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn flood(stage: &mut Stage) -> anyhow::Result<()> {
    let mut listener = stage.login("listener")?;
    listener.subscribe("drill/flood")?;
    let mut client = stage.login("flooder")?;
    for _ in 0..30_000 {
        client.publish("drill/flood", &[b'x'; 64])?;
    }
    drop(listener);
    client.goodbye()
}
