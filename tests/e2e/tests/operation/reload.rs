//! SIGHUP: what changes takes effect, and who is valid stays connected.

use crate::{mosquitto, publish, subscribe, succeed};
use ravelin_e2e::{Deployment, Node, output, ravelin};

#[test]
fn a_new_client_is_taken_up_and_live_ones_stay() {
    let deployment = Deployment::new();
    let node = Node::serve(&deployment);
    let live = subscribe(&node, &deployment, "operator", "#", &[]);
    let start = node.mark();

    let added =
        deployment.add_client("meter", &["--certificate", "--password", "--publish", "meters/meter/#"]);
    assert_eq!(node.reload()["id"], "node.reloaded");

    let mut by_certificate = mosquitto("pub", node.port("mutual-tls"), &deployment, "meter", "meter");
    succeed(output(by_certificate.args(["-q", "1", "-t", "meters/meter/v", "-m", "1"]), b""));
    let mut by_password = ravelin(["pub", "-h", "127.0.0.1", "-p", &node.port("password-tls").to_string()]);
    by_password.arg("--cafile").arg(deployment.ca()).args(["-i", "meter", "-u", "meter"]);
    by_password.args(["-q", "1", "-t", "meters/meter/v", "-m", "2"]);
    by_password.env("RAVELIN_PASSWORD", added["password"].as_str().expect("a password"));
    succeed(output(&mut by_password, b""));
    assert_eq!(live.wait_for_lines(2), ["meters/meter/v 1", "meters/meter/v 2"]);
    let ended = node.events(start, "client.disconnected");
    assert!(ended.iter().all(|event| event["fields"]["client_id"] != "operator"), "{ended:?}");
}

#[test]
fn a_configuration_that_is_wrong_changes_nothing() {
    let deployment = Deployment::new();
    let node = Node::serve(&deployment);
    let live = subscribe(&node, &deployment, "operator", "#", &[]);
    let good = deployment.config();
    for wrong in [
        good.replacen("authentication = [\"certificate\"]", "authentication = [\"certifikate\"]", 1),
        good.replacen("rules_file = \"access.rules\"", "rules_file = \"no-such-file\"", 1),
        good.replacen("certificate = \"tls/server.crt\"", "certificate = \"tls/server.key\"", 1),
        "[[listener".into(),
    ] {
        assert_ne!(wrong, good);
        deployment.write_config(&wrong);
        let told = node.reload();
        assert_eq!(told["id"], "node.reload_failed", "{wrong}");
        assert!(told["fields"]["error"].as_str().is_some_and(|error| !error.is_empty()), "{told}");
    }
    deployment.write_config(&good);
    let rules = deployment.path("access.rules");
    std::fs::write(&rules, "topic wirte a\n").expect("the rules");
    let told = node.reload();
    assert_eq!(told["id"], "node.reload_failed");
    assert!(told.to_string().contains("access.rules:1"), "{told}");
    publish(&node, &deployment, &["-q", "1", "-t", "still/here", "-m", "yes"]);
    assert_eq!(live.wait_for_lines(1), ["still/here yes"]);
}

#[test]
fn access_rules_hold_for_sessions_that_are_there() {
    let deployment = Deployment::new();
    deployment.add_client("dms", &["--subscribe", "meters/#", "--publish", "commands/#"]);
    let node = Node::serve(&deployment);
    let dms = subscribe(&node, &deployment, "dms", "meters/#", &[]);
    publish(&node, &deployment, &["-q", "1", "-t", "meters/1", "-m", "before"]);
    assert_eq!(dms.wait_for_lines(1), ["meters/1 before"]);

    let rules = deployment.path("access.rules");
    let text = std::fs::read_to_string(&rules).expect("the rules");
    let narrower = text.replace("topic read meters/#", "topic read meters/#\ntopic deny meters/secret");
    assert_ne!(narrower, text);
    std::fs::write(&rules, narrower).expect("the rules");
    assert_eq!(node.reload()["id"], "node.reloaded");
    publish(&node, &deployment, &["-q", "1", "-t", "meters/secret", "-m", "hidden"]);
    publish(&node, &deployment, &["-q", "1", "-t", "meters/1", "-m", "after"]);
    assert_eq!(dms.wait_for_lines(2), ["meters/1 before", "meters/1 after"]);
}

#[test]
fn a_removed_client_is_put_out_and_stays_out() {
    let deployment = Deployment::new();
    deployment.add_client("thief", &["--subscribe", "meters/#"]);
    let (certificate, key) = deployment.certificate("thief");
    let copies = (deployment.path("thief.crt"), deployment.path("thief.key"));
    std::fs::copy(&certificate, &copies.0).expect("a copy");
    std::fs::copy(&key, &copies.1).expect("a copy");
    let node = Node::serve(&deployment);
    let start = node.mark();
    let mut thief = subscribe(&node, &deployment, "thief", "meters/#", &[]);

    let removed = output(ravelin(["client", "remove", "thief", "--dir"]).arg(deployment.dir()), b"");
    succeed(removed);
    assert_eq!(node.reload()["id"], "node.reloaded");
    node.wait_for(start, "client.disconnected", |fields| {
        fields["client_id"] == "thief" && fields["cause"] == "administrative"
    });
    thief.signal(rustix::process::Signal::TERM);
    thief.wait();

    let start = node.mark();
    let mut again = mosquitto("pub", node.port("mutual-tls"), &deployment, "operator", "thief");
    again.arg("--cert").arg(&copies.0).arg("--key").arg(&copies.1);
    let again = output(again.args(["-q", "1", "-t", "meters/1", "-m", "x"]), b"");
    assert!(!again.status.success(), "a revoked certificate was accepted");
    node.wait_for(start, "connection.refused", |fields| fields["why"] == "bad_certificate");
}
