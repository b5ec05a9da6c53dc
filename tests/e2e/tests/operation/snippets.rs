//! What `ravelin client add` prints works when pasted.

use ravelin_e2e::{Deployment, Node, output, target};
use std::process::Command;

#[test]
fn every_snippet_publishes() {
    let deployment = Deployment::new();
    // Snippets name ports, so these are chosen beforehand.
    for listener in ["mutual-tls", "password-tls"] {
        let port = free_port();
        let text = deployment.config();
        let (head, tail) = text.split_once(&format!("name = \"{listener}\"")).expect("the listener");
        let tail = tail.replacen("address = \"127.0.0.1:0\"", &format!("address = \"127.0.0.1:{port}\""), 1);
        deployment.write_config(&format!("{head}name = \"{listener}\"{tail}"));
    }
    let options = ["--certificate", "--password", "--publish", "meters/meter-7/#"];
    let added = deployment.add_client("meter-7", &options);
    let node = Node::serve(&deployment);
    let live = crate::subscribe(&node, &deployment, "operator", "#", &[]);
    let connections = added["connections"].as_array().expect("connections");
    assert_eq!(connections.len(), 2, "{added}");
    let mut count = 0;
    for connection in connections {
        for (tool, text) in connection["snippets"].as_object().expect("snippets") {
            let text = text.as_str().expect("a text");
            let mut command = match tool.as_str() {
                "mosquitto_pub" => Command::new("sh"),
                "Paho (Python)" => Command::new(target().join("e2e-python/bin/python")),
                "MQTT.js" => Command::new("node"),
                _ => panic!("no way to run a snippet of {tool}"),
            };
            command.arg(if tool == "MQTT.js" { "-e" } else { "-c" }).arg(text);
            command.env("NODE_PATH", target().join("e2e-node/node_modules"));
            command.env("MQTT_PASSWORD", added["password"].as_str().expect("a password"));
            let output = output(&mut command, b"");
            assert!(output.status.success(), "{tool}:\n{text}\n{}", String::from_utf8_lossy(&output.stderr));
            count += 1;
            assert_eq!(live.wait_for_lines(count)[count - 1], "meters/meter-7/hello hello", "{tool}");
        }
    }
    assert_eq!(count, 6);
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}
