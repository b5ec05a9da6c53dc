//! The documents that the inventory writes: against their schemas, and with hostile names.

use ravelin_identify::flows::FlowOptions;
use ravelin_identify::map::{MapOptions, dot, graphml, svg};
use ravelin_identify::seen::{FlowSeen, HandshakeSeen, Seen};
use ravelin_identify::{
    CertificateFacts, Conduit, Declared, Infrastructure, Inventory, KeyKind, Listener, Places, Position,
    Settings, Site, Traffic,
};
use serde_json::Value;

const START_MS: u64 = 1_795_478_400_000;
/// What a client may call itself (attack 46).
const HOSTILE: &str = "\"><script>alert(1)</script><img src=x onerror='alert(2)'>&\\N]];\u{202E}\u{1b}[2J";

fn certificate(number: u8, subject: &str) -> CertificateFacts {
    let keys = [KeyKind::EcP256, KeyKind::Rsa, KeyKind::Ed25519, KeyKind::Other];
    CertificateFacts {
        fingerprint: format!("{number:02x}").repeat(32),
        subject: subject.into(),
        issuer: "CN=Plant CA".into(),
        serial: "0badcafe".into(),
        not_before_s: 1_790_000_000,
        not_after_s: 1_800_000_000 - i64::from(number),
        key: keys[usize::from(number) % keys.len()],
        key_bits: 256,
        signature: "ecdsa-with-SHA256".into(),
    }
}

fn inventory(name: &str) -> Inventory {
    let zone = |name: &str| Some(name.to_owned());
    let site = |site: &str, latitude, network: &str, of: &str| Site {
        name: site.into(),
        position: Position::new(latitude, 16.37),
        networks: vec![network.parse().unwrap()],
        zone: zone(of),
    };
    let listener = |name: &str, address: &str, of: &str| Listener {
        name: name.into(),
        address: address.into(),
        transport: "tls".into(),
        zone: zone(of),
    };
    let conduit = |name: &str, from: &str, to: &str, topic: &str| Conduit {
        name: name.into(),
        from: from.into(),
        to: to.into(),
        topics: vec![topic.into()],
    };
    let places = Places {
        node: format!("bus {name}"),
        node_site: Some("control".into()),
        listeners: vec![
            listener("field", "0.0.0.0:8883", "field"),
            listener("control room", "10.9.0.1:8883", "operations"),
        ],
        sites: vec![
            site("north", 48.2, "10.1.0.0/16", "field"),
            site("south", 47.0, "10.2.0.0/16", "field"),
            site("control", 48.3, "10.9.0.0/16", "operations"),
        ],
        infrastructure: vec![Infrastructure {
            name: format!("mast {name}"),
            kind: "radio".into(),
            position: Position::new(48.25, 16.4),
            site: None,
            networks: vec!["10.2.0.0/16".parse().unwrap()],
        }],
        conduits: vec![
            conduit("readings", "field", "operations", "meters/#"),
            conduit("commands", "operations", "field", "commands/#"),
        ],
    };
    let mut inventory = Inventory::new(Settings::default(), places, 7, START_MS);
    fill(&mut inventory, name);
    inventory
}

fn fill(inventory: &mut Inventory, name: &str) {
    let devices = (0..34u8).map(|number| {
        let address = match number {
            0..20 => format!("10.1.0.{number}"),
            20..30 => format!("10.2.0.{number}"),
            30..33 => format!("10.9.0.{number}"),
            _ => "192.0.2.9".to_owned(),
        };
        (number, format!("device {number} {name}"), address)
    });
    for (number, client_id, address) in devices {
        let facts = certificate(number, &format!("CN={client_id}"));
        let listener = if (30..33).contains(&number) { "control room" } else { "field" };
        inventory.handle_seen(&Seen {
            at_ms: START_MS,
            client_id: &client_id,
            identity: None,
            address: Some(address.parse().unwrap()),
            listener: Some(listener),
            class: Some(name),
            version: "5",
            keep_alive_s: 60,
            certificate: (number % 2 == 0).then_some(&facts),
            properties: &[("firmware", name)],
        });
        let topic = format!("{}/{number}", ["meters", "pumps"][usize::from(number) % 2]);
        let traffic = Traffic { messages: 100, bytes: 1_000, qos: [0, 100, 0], retained: 0 };
        inventory.handle_flow(&FlowSeen {
            at_ms: START_MS + 10_000,
            client_id: &client_id,
            identity: None,
            topic: &topic,
            traffic,
        });
        if number == 31 {
            inventory.handle_subscribed(START_MS, &client_id, "#");
        }
        if number == 5 {
            inventory.handle_gone(&ravelin_identify::seen::Gone {
                at_ms: START_MS,
                client_id: &client_id,
                taken_over: false,
            });
        }
    }
    let declared = Declared {
        client_ids: vec!["spare".into()],
        owner: Some(
            name.chars()
                .filter(|character| !character.is_control() && *character != ';')
                .collect::<String>()
                .into(),
        ),
        position: Position::new(48.21, 16.36),
        networks: vec!["10.1.0.0/16".parse().unwrap()],
        ..Declared::named("Spare meter")
    };
    inventory.declare(vec![declared], START_MS).unwrap();
    inventory.set_state("Spare meter", ravelin_identify::State::Lost, "stolen").unwrap();
    let own = certificate(200, &format!("CN={name}"));
    for (version, suite, group) in [
        ("1.3", "TLS_AES_256_GCM_SHA384", Some("X25519MLKEM768")),
        ("1.3", "TLS_CHACHA20_POLY1305_SHA256", Some("X25519")),
        ("1.2", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", Some("secp256r1")),
        ("1.3", "TLS_UNHEARD_OF", None),
    ] {
        let listener = "field";
        let (peer, own) = (None, Some(&own));
        inventory.handle_handshake(&HandshakeSeen {
            at_ms: START_MS,
            listener,
            version,
            suite,
            group,
            resumed: false,
            peer,
            own,
        });
    }
}

/// Validates against the CycloneDX 1.6 schema with the schemas that it refers to.
fn validate(document: &Value) {
    let schema = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let resource = |text: &str| jsonschema::Resource::from_contents(schema(text));
    let registry = jsonschema::Registry::new()
        .add(
            "http://cyclonedx.org/schema/spdx.schema.json",
            resource(include_str!("schema/spdx.schema.json")),
        )
        .unwrap()
        .add(
            "http://cyclonedx.org/schema/jsf-0.82.schema.json",
            resource(include_str!("schema/jsf-0.82.schema.json")),
        )
        .unwrap()
        .prepare()
        .unwrap();
    let bom = schema(include_str!("schema/bom-1.6.schema.json"));
    let validator = jsonschema::options().with_registry(&registry).build(&bom).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{}", errors.join("\n"));
}

#[test]
fn the_bill_of_cryptography_is_cyclonedx() {
    for name in ["plain", HOSTILE] {
        let document = inventory(name).cbom("0.1.0", START_MS);
        validate(&document);
        let components = document["components"].as_array().unwrap();
        let named = |wanted: &str| components.iter().filter(|one| one["name"] == wanted).count();
        assert_eq!(
            (named("TLS 1.3"), named("TLS 1.2"), named("X25519MLKEM768"), named("AES-256-GCM")),
            (1, 1, 1, 1)
        );
        let kind = |wanted: &str| {
            components.iter().filter(|one| one["cryptoProperties"]["assetType"] == wanted).count()
        };
        assert_eq!((kind("certificate"), kind("related-crypto-material")), (18, 18));
        references_exist(&document);
    }
}

#[test]
fn the_bill_of_software_is_cyclonedx() {
    let mut document: Value = serde_json::from_str(include_str!("../../node/sbom.json")).unwrap();
    validate(&document);
    let main = document["metadata"]["component"].take();
    assert_eq!(main["name"], "ravelin");
    document["components"].as_array_mut().unwrap().push(main);
    references_exist(&document);
}

/// What refers to something refers to something that is there.
fn references_exist(document: &Value) {
    let components = document["components"].as_array().unwrap();
    let known: Vec<&str> = components.iter().map(|one| one["bom-ref"].as_str().unwrap()).collect();
    for dependency in document["dependencies"].as_array().unwrap() {
        let refs = dependency["dependsOn"].as_array().unwrap().iter().chain([&dependency["ref"]]);
        refs.for_each(|one| assert!(known.contains(&one.as_str().unwrap()), "{one}"));
    }
}

#[test]
fn a_wrong_document_is_not_cyclonedx() {
    let mut document = inventory("plain").cbom("0.1.0", START_MS);
    document["components"][0]["type"] = "secret-sauce".into();
    assert!(std::panic::catch_unwind(|| validate(&document)).is_err(), "the schema must bite");
}

/// The elements of an XML document, if it is well-formed: a strict reader of what we write, no more.
fn elements(xml: &str) -> Vec<String> {
    let (mut open, mut all, mut rest) = (Vec::<String>::new(), Vec::new(), xml);
    if let Some(body) = rest.strip_prefix("<?xml") {
        rest = &body[body.find("?>").unwrap() + 2..];
    }
    while let Some(start) = rest.find('<') {
        check_text(&rest[..start]);
        let end = start + rest[start..].find('>').expect("a tag ends");
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
            continue;
        }
        let name = tag.split([' ', '/']).next().unwrap();
        let mut attributes = tag[name.len()..].trim().trim_end_matches('/').trim();
        while let Some((_, value)) = attributes.split_once("=\"") {
            let (value, more) = value.split_once('"').expect("a value ends");
            check_text(value);
            attributes = more;
        }
        assert!(attributes.trim().is_empty(), "{tag}");
        all.push(name.to_owned());
        if !tag.ends_with('/') {
            open.push(name.to_owned());
        }
    }
    check_text(rest);
    assert!(open.is_empty(), "{open:?}");
    all
}

fn check_text(text: &str) {
    for part in text.split('&').skip(1) {
        let reference = part.split(';').next().unwrap();
        assert!(["amp", "lt", "gt", "quot", "#39"].contains(&reference), "&{part}");
    }
    assert!(
        !text.contains('<') && text.chars().all(|character| !character.is_control() || character == '\n'),
        "{text:?}"
    );
}

#[test]
fn names_of_clients_stay_text_in_every_drawing() {
    let (plain, hostile) = (inventory("plain"), inventory(HOSTILE));
    for devices_max in [500, 1] {
        let options = MapOptions { devices_max, connected_only: false };
        let graphs = [&plain, &hostile].map(|inventory| inventory.map(&options, START_MS + 10_000));
        let drawn = graphs.each_ref().map(svg);
        assert_eq!(elements(&drawn[0]), elements(&drawn[1]), "a name adds no element");
        assert!(
            !elements(&drawn[1]).iter().any(|name| matches!(&**name, "script" | "img" | "foreignObject"))
        );
        let written = graphs.each_ref().map(graphml);
        assert_eq!(elements(&written[0]), elements(&written[1]));
        let dots = graphs.each_ref().map(dot);
        assert_eq!(dot_statements(&dots[0]), dot_statements(&dots[1]));
    }
    let flows = hostile.flows(&FlowOptions::default(), START_MS);
    assert!(elements(&ravelin_identify::map::flows_svg(&flows)).iter().all(|name| name != "script"));
}

/// The statements of a DOT document without what stands in quotes; panics where a quote does not end.
fn dot_statements(text: &str) -> Vec<String> {
    let mut statements = Vec::new();
    for line in text.lines() {
        let (mut bare, mut quoted, mut characters) = (String::new(), false, line.chars());
        while let Some(character) = characters.next() {
            match character {
                '"' => quoted = !quoted,
                '\\' if quoted => assert!(characters.next().is_some()),
                _ if quoted => assert!(!character.is_control()),
                _ => bare.push(character),
            }
        }
        assert!(!quoted, "{line}");
        statements.push(bare);
    }
    assert_eq!(text.matches('{').count(), text.matches('}').count());
    statements
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a test of what another program reads")]
fn graphviz_draws_the_map() {
    // Only where it is installed: the statements are checked above in any case.
    let Ok(mut child) = std::process::Command::new("dot")
        .arg("-Tsvg")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
    else {
        return;
    };
    let text = dot(&inventory(HOSTILE).map(&MapOptions::default(), START_MS + 10_000));
    use std::io::Write;
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let drawn = String::from_utf8(output.stdout).unwrap();
    assert!(drawn.contains("Spare meter") && !drawn.contains("<script"));
}

#[test]
fn places_are_geojson() {
    let document = inventory(HOSTILE).geojson(START_MS);
    assert_eq!(document["type"], "FeatureCollection");
    let mut kinds = Vec::new();
    for feature in document["features"].as_array().unwrap() {
        // RFC 7946, 3.2: type, geometry and properties; 3.1.1: a position is longitude, latitude.
        assert_eq!((&feature["type"], &feature["geometry"]["type"]), (&"Feature".into(), &"Point".into()));
        let position: Vec<f64> = serde_json::from_value(feature["geometry"]["coordinates"].clone()).unwrap();
        assert!(
            position.len() == 2
                && (-180.0..=180.0).contains(&position[0])
                && (-90.0..=90.0).contains(&position[1])
        );
        assert!((15.0..17.0).contains(&position[0]), "longitude comes first: {position:?}");
        assert!(feature["properties"].is_object());
        kinds.push(feature["properties"]["kind"].as_str().unwrap().to_owned());
    }
    assert_eq!(kinds, ["site", "site", "site", "infrastructure", "node", "device"]);
    assert_eq!(document["features"][0]["properties"]["devices"], 20);
}
