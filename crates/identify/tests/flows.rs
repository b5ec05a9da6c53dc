//! The matrix of flows, and what of it is authorised.

use ravelin_identify::flows::{FlowOptions, Permission};
use ravelin_identify::seen::{FlowSeen, Seen};
use ravelin_identify::{Conduit, Declared, Inventory, Listener, Places, Settings, Traffic};

const START_MS: u64 = 1_795_478_400_000;

fn listener(name: &str, zone: &str) -> Listener {
    Listener {
        name: name.into(),
        address: "0.0.0.0:8883".into(),
        transport: "tls".into(),
        zone: Some(zone.into()),
    }
}

fn inventory() -> Inventory {
    let places = Places {
        listeners: vec![listener("field", "field"), listener("control", "operations")],
        conduits: vec![Conduit {
            name: "readings".into(),
            from: "field".into(),
            to: "operations".into(),
            topics: vec!["meters/#".into()],
        }],
        ..Places::default()
    };
    Inventory::new(Settings::default(), places, 7, START_MS)
}

fn connect(inventory: &mut Inventory, client_id: &str, listener: &str) {
    inventory.handle_seen(&Seen {
        at_ms: START_MS,
        client_id,
        identity: None,
        address: None,
        listener: Some(listener),
        class: None,
        version: "5",
        keep_alive_s: 60,
        certificate: None,
        properties: &[],
    });
}

fn publish(inventory: &mut Inventory, client_id: &str, topic: &str, messages: u64) {
    let traffic = Traffic { messages, bytes: messages * 10, qos: [messages, 0, 0], retained: 0 };
    inventory.handle_flow(&FlowSeen { at_ms: START_MS + 1_000, client_id, identity: None, topic, traffic });
}

#[test]
fn publishers_are_joined_with_those_who_listen() {
    let mut inventory = inventory();
    for (client, listener) in
        [("meter", "field"), ("pump", "field"), ("scada", "control"), ("historian", "control")]
    {
        connect(&mut inventory, client, listener);
    }
    inventory.handle_subscribed(START_MS, "scada", "meters/+/volt");
    inventory.handle_subscribed(START_MS, "historian", "$share/g/meters/#");
    inventory.handle_subscribed(START_MS, "scada", "pumps/pump/state");
    publish(&mut inventory, "meter", "meters/meter/volt", 5);
    publish(&mut inventory, "pump", "pumps/pump/state", 3);
    publish(&mut inventory, "pump", "pumps/pump/debug", 1);
    let flows = inventory.flows(&FlowOptions::default(), START_MS + 1_000);
    let rows: Vec<_> = flows
        .flows
        .iter()
        .map(|flow| {
            let to = flow.subscriber.as_ref().map(|end| &*end.name);
            (&*flow.publisher.name, &*flow.topic, to, flow.messages, flow.crosses_zones)
        })
        .collect();
    assert_eq!(
        rows,
        [
            ("client:meter", "meters/meter/volt", Some("client:historian"), 5, false),
            ("client:meter", "meters/meter/volt", Some("client:scada"), 5, false),
            ("client:pump", "pumps/pump/debug", None, 1, false),
            ("client:pump", "pumps/pump/state", Some("client:scada"), 3, true),
        ]
    );
    assert_eq!(flows.flows[0].conduits, ["readings"]);
}

#[test]
fn what_no_declaration_names_and_what_was_never_seen_is_told() {
    let mut inventory = inventory();
    let declared = Declared {
        client_ids: vec!["meter".into()],
        publishes: vec!["meters/%c/#".into(), "alarms/%c".into()],
        subscribes: vec!["commands/%c".into()],
        ..Declared::named("Meter 1")
    };
    inventory.declare(vec![declared], START_MS).unwrap();
    connect(&mut inventory, "meter", "field");
    publish(&mut inventory, "meter", "meters/meter/volt", 1);
    publish(&mut inventory, "meter", "secrets", 1);
    let flows = inventory.flows(&FlowOptions::default(), START_MS);
    let rules = |flow: &ravelin_identify::flows::Flow| match flow.topic.starts_with("meters/") {
        true => Permission::By("role meter".into()),
        false => Permission::Nothing,
    };
    let judged = inventory.authorised(&flows, rules);
    assert_eq!(judged.agreeing, 1);
    assert_eq!(judged.undeclared.iter().map(|one| &*one.flow.topic).collect::<Vec<_>>(), ["secrets"]);
    assert_eq!(judged.disallowed.len(), 1);
    let unseen: Vec<_> =
        judged.unseen.iter().map(|rule| (&*rule.source, &*rule.action, &*rule.filter)).collect();
    assert_eq!(
        unseen,
        [
            ("device Meter 1", "publish", "alarms/%c"),
            ("device Meter 1", "subscribe", "commands/%c"),
            ("conduit readings", "pass", "meters/#"),
        ]
    );
}

#[test]
fn many_devices_are_grouped_and_many_topics_generalised() {
    let mut inventory = inventory();
    connect(&mut inventory, "scada", "control");
    inventory.handle_subscribed(START_MS, "scada", "meters/#");
    for number in 0..3_000 {
        let client = format!("m{number}");
        connect(&mut inventory, &client, "field");
        publish(&mut inventory, &client, &format!("meters/{client}/volt"), 2);
    }
    let flows = inventory.flows(&FlowOptions::default(), START_MS);
    assert!(flows.grouped);
    assert_eq!(flows.flows.len(), 1, "{:?}", flows.flows);
    let flow = &flows.flows[0];
    assert_eq!((&*flow.topic, flow.messages, flow.publisher.devices), ("meters/+/volt", 6_000, 3_000));
    let one = FlowOptions { rows_max: 10, devices_max: 10_000, ..FlowOptions::default() };
    assert!(inventory.flows(&one, START_MS).truncated);
}
