//! What is kept over a stop, an end by force, and the times between.

use crate::{mosquitto, publish};
use ravelin_e2e::{Deployment, Node, output, ravelin};
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// A subscriber with a session that is kept.
fn kept(node: &Node, deployment: &Deployment, count: &str) -> Vec<String> {
    let mut command = mosquitto("sub", node.port("mutual-tls"), deployment, "operator", "operator-kept");
    command.args(["-c", "-x", "3600", "-q", "2", "-t", "kept/#", "-F", "%t %q %r %p"]);
    let text = crate::succeed(output(command.args(["-C", count]), b""));
    text.lines().map(ToOwned::to_owned).collect()
}

/// Leaves 20 messages for it; gives them as they must come.
fn fill(node: &Node, deployment: &Deployment) -> Vec<String> {
    // The session begins with its first message.
    publish(node, deployment, &["-q", "1", "-r", "-t", "kept/retained", "-m", "stays"]);
    assert_eq!(kept(node, deployment, "1"), ["kept/retained 1 1 stays"]);
    let mut expected = Vec::new();
    for number in 0..20 {
        let qos = if number % 2 == 0 { "1" } else { "2" };
        let payload = number.to_string();
        publish(node, deployment, &["-q", qos, "-t", "kept/queue", "-m", &payload]);
        expected.push(format!("kept/queue {qos} 0 {payload}"));
    }
    by_qos(expected)
}

/// A client has a QoS 2 message only once it is released, so that order is one of each QoS (MQTT-4.6.0-6).
fn by_qos(mut lines: Vec<String>) -> Vec<String> {
    lines.sort_by_key(|line| line.split(' ').nth(1) == Some("2"));
    lines
}

/// What is retained is sent again with the subscription, somewhere among what was queued.
fn without_retained(lines: Vec<String>) -> Vec<String> {
    let all = lines.len();
    let queued: Vec<_> = lines.into_iter().filter(|line| line != "kept/retained 1 1 stays").collect();
    assert_eq!(all - queued.len(), 1, "the retained message came {} times", all - queued.len());
    by_qos(queued)
}

#[test]
fn a_clean_stop_keeps_sessions_queues_and_retained_messages() {
    let deployment = Deployment::new();
    let node = Node::serve(&deployment);
    let expected = fill(&node, &deployment);
    assert!(node.stop().success());

    let node = Node::serve(&deployment);
    node.wait_for(0, "store.restored", |fields| fields["retained"] == 1);
    assert_eq!(without_retained(kept(&node, &deployment, "21")), expected);
}

#[test]
fn an_end_by_force_keeps_what_was_acknowledged() {
    let deployment = Deployment::new();
    let node = Node::serve(&deployment);
    let expected = fill(&node, &deployment);
    node.process().signal(Signal::KILL);
    drop(node);

    let node = Node::serve(&deployment);
    assert_eq!(without_retained(kept(&node, &deployment, "21")), expected);
}

#[test]
fn a_new_key_is_taken_up_and_the_old_one_is_dropped() {
    let deployment = Deployment::new();
    let node = Node::serve(&deployment);
    let expected = fill(&node, &deployment);
    let keys = || std::fs::read_to_string(deployment.path("store.key")).expect("the key file is there");
    let old = keys().split_whitespace().last().expect("a key").to_owned();

    let told = crate::succeed(output(ravelin(["rotate-key"]).arg(deployment.dir()), b""));
    let id =
        told.lines().next().and_then(|line| line.rsplit(' ').next()).expect("it names the key").to_owned();
    assert!(keys().contains(&old), "the old key is kept while it is used");
    let start = node.mark();
    node.reload();
    node.wait_for(start, "store.key_rotated", |fields| fields["key"] == *id);
    // The log is written again in the background; then nothing needs the old key.
    let until = Instant::now() + Duration::from_secs(20);
    while keys().contains(&old) {
        assert!(Instant::now() < until, "the old key is still there");
        std::thread::yield_now();
    }
    node.process().signal(Signal::KILL);
    drop(node);

    let node = Node::serve(&deployment);
    assert_eq!(without_retained(kept(&node, &deployment, "21")), expected);
}

#[test]
fn a_store_is_used_by_one_node_at_a_time() {
    let deployment = Deployment::new();
    let node = Node::serve(&deployment);
    let second = output(ravelin(["serve"]).arg(deployment.dir()), b"");
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("in use"), "{second:?}");
    publish(&node, &deployment, &["-q", "1", "-t", "a", "-m", "b"]);
}
