//! Clients that others wrote, and our own: both versions of MQTT, every QoS, certificates, passwords, WebSocket.

mod rumqtt;
mod tool;

use ravelin_e2e::{Deployment, Node, Provider, code, output, ravelin};
use tool::{Access, Credentials, Tool, Version};

const VERSIONS: [Version; 2] = [Version::V311, Version::V5];
const TOOLS: [Tool; 5] = [Tool::Mosquitto, Tool::Paho, Tool::MqttJs, Tool::Rumqttc, Tool::Ravelin];
/// Longer than any buffer of a TLS record, and not a multiple of one.
const LONG: usize = 100_003;

fn client(name: &str, way: &str) -> String {
    format!("{name}-{way}")
}

#[test]
fn every_client_hears_every_other_over_mutual_tls() {
    let deployment = Deployment::new();
    for tool in TOOLS {
        deployment.add_client(tool.name(), &["--publish", "interop/#", "--subscribe", "interop/#"]);
    }
    let node = Node::serve(&deployment);
    let access = |tool: Tool, id: String| Access {
        port: node.port("mutual-tls"),
        ca: deployment.ca(),
        id,
        credentials: Credentials::Certificate(deployment.certificate(tool.name())),
        websocket: false,
    };

    let start = node.mark();
    let mut subscribers = Vec::new();
    for tool in TOOLS {
        for version in VERSIONS {
            let id = client(tool.name(), version.text());
            subscribers
                .push((id.clone(), tool.subscribe(&access(tool, id.clone()), version, 2, "interop/#")));
            node.wait_subscribed(start, &id, "interop/#");
        }
    }

    let mut expected = Vec::new();
    for tool in TOOLS {
        for version in VERSIONS {
            for qos in 0..=2 {
                let topic = format!("interop/{}/{}/{qos}", tool.name(), version.text());
                let long = qos == 1;
                let payload = if long { "x".repeat(LONG) } else { format!("grüße at {qos}") };
                let published =
                    tool.publish(&access(tool, client(tool.name(), "pub")), version, qos, &topic, &payload);
                published.unwrap_or_else(|error| panic!("{tool:?} {version:?} QoS {qos}: {error}"));
                expected.push(format!("{topic} {qos} 0 {payload}"));
            }
        }
    }
    for (id, subscriber) in &subscribers {
        let lines = subscriber.wait_for(expected.len());
        assert!(lines.len() >= expected.len(), "{id} heard {} of {}", lines.len(), expected.len());
    }
    // What comes after everything shows that nothing came twice.
    let last = "interop/last 1 0 done";
    let ravelin = access(Tool::Ravelin, client("ravelin", "pub"));
    Tool::Ravelin.publish(&ravelin, Version::V5, 1, "interop/last", "done").expect("the last message");
    expected.push(last.into());
    expected.sort();
    for (id, subscriber) in &subscribers {
        let mut lines = subscriber.wait_for(expected.len());
        lines.sort();
        for (line, expected) in lines.iter().zip(&expected) {
            assert_eq!(abridged(line), abridged(expected), "{id}");
        }
        assert_eq!(lines.len(), expected.len(), "{id}");
    }
    assert!(node.stop().success());
}

#[test]
fn every_client_logs_in_with_a_password_and_not_with_a_wrong_one() {
    let deployment = Deployment::new();
    let mut passwords = Vec::new();
    for tool in TOOLS {
        let options = ["--password", "--publish", "interop/#"];
        let added = deployment.add_client(tool.name(), &options);
        passwords.push((tool, added["password"].as_str().expect("a password").to_owned()));
    }
    let node = Node::serve(&deployment);
    for (tool, password) in passwords {
        for version in VERSIONS {
            let access = |password: &str| Access {
                port: node.port("password-tls"),
                ca: deployment.ca(),
                id: tool.name().into(),
                credentials: Credentials::Password(tool.name().into(), password.into()),
                websocket: false,
            };
            let start = node.mark();
            let right = tool.publish(&access(&password), version, 1, "interop/a", "right");
            assert!(right.is_ok(), "{tool:?} {version:?}: {right:?}");
            let wrong = tool.publish(&access("wrong"), version, 1, "interop/a", "wrong");
            assert!(wrong.is_err(), "{tool:?} {version:?} published with a wrong password");
            node.wait_for(start, "connection.refused", |fields| fields["why"] == "bad_credentials");
        }
    }
}

#[test]
fn every_client_can_bring_a_token_or_a_certificate_and_a_code() {
    let deployment = Deployment::new();
    let provider = Provider::new();
    for (name, keys) in [
        ("token", "client_certificate = \"none\"\nauthentication = [\"jwt\"]"),
        ("two-factors", "client_ca = \"ca/ca.crt\"\ncrl = [\"ca/ca.crl\"]\nsecond_factor = \"totp\""),
    ] {
        deployment.append(&format!(
            "[[listener]]\nname = \"{name}\"\ntransport = \"tls\"\naddress = \"127.0.0.1:0\"\n\
             certificate = \"tls/server.crt\"\nkey = \"tls/server.key\"\n{keys}\n"
        ));
    }
    deployment.append(&format!(
        "[[jwt]]\nissuer = \"https://id.plant\"\naudience = [\"ravelin\"]\njwks_url = \"{}\"\n",
        provider.url()
    ));
    let mut secrets = Vec::new();
    for tool in TOOLS {
        deployment.add_client(tool.name(), &["--publish", "interop/#"]);
        let mut enrol = ravelin(["passwd"]);
        enrol.arg(deployment.path("passwords")).args([tool.name(), "--totp"]);
        let uri = String::from_utf8(output(&mut enrol, b"").stdout).expect("text").trim().to_owned();
        secrets.push((tool, uri));
    }
    let node = Node::serve(&deployment);
    node.wait_for(0, "issuer.keys_changed", |_| true);
    for (tool, uri) in secrets {
        let publish = |listener: &str, version: Version, credentials: Credentials| {
            let (port, ca, id) = (node.port(listener), deployment.ca(), tool.name().into());
            let access = Access { port, ca, id, credentials, websocket: false };
            tool.publish(&access, version, 1, "interop/a", "x")
        };
        let name = || tool.name().to_owned();
        let certificate = || deployment.certificate(tool.name());
        // Both versions within one step and the next: a code is good once.
        for (version, steps) in VERSIONS.into_iter().zip([0, 1]) {
            let token = Credentials::Password(name(), provider.token_for(tool.name(), 60));
            let taken = publish("token", version, token);
            assert!(taken.is_ok(), "{tool:?} {version:?}: {taken:?}");
            let stranger = Credentials::Password(name(), Provider::new().token_for(tool.name(), 60));
            assert!(publish("token", version, stranger).is_err(), "{tool:?} {version:?}");
            let (alone, wrong) = (
                Credentials::Certificate(certificate()),
                Credentials::Both(certificate(), name(), "1".into()),
            );
            assert!(publish("two-factors", version, alone).is_err(), "{tool:?} {version:?} without a code");
            assert!(publish("two-factors", version, wrong).is_err(), "{tool:?} {version:?} with a wrong one");
            let code = code(&uri, steps);
            let taken = publish("two-factors", version, Credentials::Both(certificate(), name(), code));
            assert!(taken.is_ok(), "{tool:?} {version:?}: {taken:?}");
        }
    }
}

#[test]
fn clients_of_browsers_come_over_secure_websocket() {
    let deployment = Deployment::new();
    let added = deployment.add_client("page", &["--password", "--publish", "web/#", "--subscribe", "web/#"]);
    let password = added["password"].as_str().expect("a password");
    let node = Node::serve(&deployment);
    // Paho names its own address as the page that asks, and only listed pages may connect.
    let origins = format!("allowed_origins = [\"https://127.0.0.1:{}\"]", node.port("websocket"));
    deployment.append(&origins);
    assert_eq!(node.reload()["id"], "node.reloaded");
    let access = |id: String| Access {
        port: node.port("websocket"),
        ca: deployment.ca(),
        id,
        credentials: Credentials::Password("page".into(), password.into()),
        websocket: true,
    };
    let tools = [Tool::Paho, Tool::MqttJs, Tool::Ravelin];
    let start = node.mark();
    let mut subscribers = Vec::new();
    for tool in tools {
        let id = format!("page-{}", tool.name());
        subscribers.push(tool.subscribe(&access(id.clone()), Version::V5, 1, "web/#"));
        node.wait_subscribed(start, &id, "web/#");
    }
    let mut expected = Vec::new();
    for tool in tools {
        for version in VERSIONS {
            let topic = format!("web/{}/{}", tool.name(), version.text());
            let payload = "y".repeat(LONG);
            let published = tool.publish(&access("page-pub".into()), version, 1, &topic, &payload);
            published.unwrap_or_else(|error| panic!("{tool:?} {version:?}: {error}"));
            expected.push(abridged(&format!("{topic} 1 0 {payload}")));
        }
    }
    for subscriber in &subscribers {
        let lines = subscriber.wait_for(expected.len());
        assert_eq!(lines.iter().map(|line| abridged(line)).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn a_password_is_proved_by_scram_without_being_sent() {
    let deployment = Deployment::new();
    let added = deployment.add_client("meter", &["--password", "--publish", "readings/#"]);
    let node = Node::serve(&deployment);
    let publish = |password: &str| {
        let mut command = ravelin(["pub", "-h", "127.0.0.1", "-p", &node.port("password-tls").to_string()]);
        command.arg("--cafile").arg(deployment.ca()).args(["-i", "meter", "-u", "meter", "--scram"]);
        command.args(["-t", "readings/1", "-m", "7", "-q", "1"]).env("RAVELIN_PASSWORD", password);
        output(&mut command, b"")
    };
    let right = publish(added["password"].as_str().expect("a password"));
    assert!(right.status.success(), "{}", String::from_utf8_lossy(&right.stderr));
    let start = node.mark();
    assert!(!publish("wrong").status.success());
    node.wait_for(start, "connection.refused", |fields| fields["why"] == "bad_credentials");
}

#[test]
fn a_certificate_of_another_ca_is_not_heard() {
    let (deployment, other) = (Deployment::new(), Deployment::new());
    let node = Node::serve(&deployment);
    for tool in TOOLS {
        let start = node.mark();
        let access = Access {
            port: node.port("mutual-tls"),
            ca: deployment.ca(),
            id: "operator".into(),
            credentials: Credentials::Certificate(other.certificate("operator")),
            websocket: false,
        };
        let published = tool.publish(&access, Version::V5, 1, "a", "b");
        assert!(published.is_err(), "{tool:?} was let in with a certificate of another CA");
        node.wait_for(start, "connection.refused", |fields| fields["why"] == "bad_certificate");
    }
}

/// A long payload as its length.
fn abridged(line: &str) -> String {
    if line.len() > 200 { format!("{}... {} bytes", &line[..60], line.len()) } else { line.to_owned() }
}
