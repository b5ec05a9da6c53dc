//! `$SYS`, as those who watch Mosquitto know it.

use crate::{mosquitto, subscribe};
use ravelin_e2e::{Deployment, Node, Process, output};

#[test]
fn the_operator_reads_the_state_of_the_node_under_mosquittos_names() {
    let deployment = Deployment::new();
    deployment.edit("[sys]\n", "[sys]\ninterval = \"100ms\"\n");
    let node = Node::serve(&deployment);
    let sys = subscribe(&node, &deployment, "operator", "$SYS/#", &[]);
    for topic in [
        "version",
        "uptime",
        "clients/connected",
        "messages/received",
        "bytes/sent",
        "retained messages/count",
    ] {
        let wanted = format!("$SYS/broker/{topic} ");
        sys.wait_for(0, &wanted, |line| line.starts_with(&wanted).then_some(()));
    }
    sys.wait_for(0, "one client", |line| (line == "$SYS/broker/clients/connected 1").then_some(()));
    let start = sys.mark();
    let mut second = mosquitto("sub", node.port("mutual-tls"), &deployment, "operator", "operator-2");
    let second = Process::start(second.args(["-t", "other"]));
    sys.wait_for(start, "two clients", |line| (line == "$SYS/broker/clients/connected 2").then_some(()));
    drop(second);
}

#[test]
fn a_client_without_a_rule_for_it_does_not() {
    let deployment = Deployment::new();
    deployment.add_client("meter", &["--subscribe", "#"]);
    let node = Node::serve(&deployment);
    let start = node.mark();
    let mut command = mosquitto("sub", node.port("mutual-tls"), &deployment, "meter", "meter");
    output(command.args(["-t", "$SYS/#", "-E"]), b"");
    node.wait_for(start, "subscribe.refused", |fields| fields["filter"] == "$SYS/#");
    let start = node.mark();
    let mut command = mosquitto("pub", node.port("mutual-tls"), &deployment, "operator", "operator");
    output(command.args(["-t", "$SYS/broker/version", "-m", "forged", "-q", "1"]), b"");
    node.wait_for(start, "publish.refused", |fields| fields["topic"] == "$SYS/broker/version");
}
