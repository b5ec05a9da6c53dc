//! The firewall with the real `nft`, in a network namespace of its own: who is blocked gets no packet through, and comes back
//! when the time is over; what others have in the firewall stays as it is.

use ravelin_e2e::{Deployment, Node, binary, output};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// A namespace with the node in it, and two hosts outside.
struct Namespace {
    name: String,
}

/// The node's address, and those of two hosts on the same wire.
const NODE: &str = "10.77.7.1";
const HOSTILE: &str = "10.77.7.2";
const FRIENDLY: &str = "10.77.7.3";

impl Namespace {
    fn new() -> Namespace {
        let name = format!("ravelin{}", std::process::id());
        let (inside, outside) = (format!("rvi{}", std::process::id()), format!("rvo{}", std::process::id()));
        let namespace = Namespace { name: name.clone() };
        ip(&["netns", "add", &name]);
        ip(&["link", "add", &outside, "type", "veth", "peer", "name", &inside, "netns", &name]);
        ip(&["address", "add", &format!("{HOSTILE}/24"), "dev", &outside]);
        ip(&["address", "add", &format!("{FRIENDLY}/24"), "dev", &outside]);
        ip(&["link", "set", &outside, "up"]);
        for arguments in [
            &["link", "set", "lo", "up"][..],
            &["address", "add", &format!("{NODE}/24"), "dev", &inside],
            &["link", "set", &inside, "up"],
        ] {
            ip(&[&["-n", &name][..], arguments].concat());
        }
        namespace
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("ip");
        output(command.args(["netns", "exec", &self.name]).args(arguments), b"")
    }

    /// `ravelin ctl` and the like, in the namespace, where the control lane is.
    fn ravelin(&self, node: &Node, deployment: &Deployment, arguments: &[&str]) -> String {
        let binary = binary();
        let (dir, url) = (deployment.dir(), format!("https://localhost:{}", node.port("control")));
        let mut all = vec![binary.to_str().expect("a path")];
        all.extend(arguments);
        all.extend(["--url", &url, "--dir", dir.to_str().expect("a path")]);
        let done = self.run(&all);
        let text =
            format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "{arguments:?}: {text}");
        text
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

fn ip(arguments: &[&str]) {
    let mut command = Command::new("ip");
    let done = output(command.args(arguments), b"");
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "ip {}: {told} (this test needs root and iproute2)", arguments.join(" "));
}

/// Whether a host comes through to the node within a second.
fn comes_through(from: &str, port: u16) -> bool {
    let mut command = Command::new("curl");
    command.args(["--silent", "--insecure", "--max-time", "1", "--interface", from]);
    // Whoever speaks HTTP to MQTT over TLS gets at least a handshake, or its refusal: 28 is that nothing came at all.
    let done = output(command.arg(format!("https://{NODE}:{port}/")), b"");
    done.status.code() != Some(28)
}

#[test]
fn a_blocked_network_gets_no_packet_through_and_comes_back() {
    let namespace = Namespace::new();
    let deployment = Deployment::new();
    deployment.edit("address = \"127.0.0.1:0\"", &format!("address = \"{NODE}:0\""));
    deployment.append("[firewall]\nenabled = true\ntable = \"ravelin_test\"\nleave = false\n");
    // Somebody else's rules are there before and after.
    let theirs =
        "table inet theirs { chain input { type filter hook input priority 0; tcp dport 9 drop; }; }";
    let put = namespace.run(&["nft", theirs]);
    assert!(put.status.success(), "{}", String::from_utf8_lossy(&put.stderr));
    let before = namespace.run(&["nft", "list", "table", "inet", "theirs"]).stdout;

    let mut serve = Command::new("ip");
    serve.args(["netns", "exec", &namespace.name]).arg(binary()).arg("serve").arg(deployment.dir());
    let node = Node::start(&mut serve, 4);
    let port = node.port("mutual-tls");
    assert!(comes_through(HOSTILE, port) && comes_through(FRIENDLY, port));
    let shown = namespace.ravelin(&node, &deployment, &["ctl", "firewall"]);
    assert!(shown.contains("active"), "{shown}");

    let begun = Instant::now();
    namespace.ravelin(&node, &deployment, &["respond", "firewall", HOSTILE, "--for", "6s", "--why", "test"]);
    println!("order to dropped packet, command included: {:?}", begun.elapsed());
    assert!(!comes_through(HOSTILE, port), "its packets are dropped");
    assert!(comes_through(FRIENDLY, port), "nobody else's are");
    let shown = namespace.ravelin(&node, &deployment, &["ctl", "firewall", "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    assert!(shown["packets"].as_u64() > Some(0), "{shown}");
    assert_eq!(shown["blocked"][0]["network"], format!("{HOSTILE}/32"), "{shown}");

    let until = Instant::now() + Duration::from_secs(20);
    while !comes_through(HOSTILE, port) {
        assert!(Instant::now() < until, "it does not come back when its time is over");
    }
    assert_eq!(namespace.run(&["nft", "list", "table", "inet", "theirs"]).stdout, before);
    assert!(node.stop().success());
    let mut left = namespace.run(&["nft", "list", "tables"]);
    let until = Instant::now() + Duration::from_secs(10);
    while String::from_utf8_lossy(&left.stdout).contains("ravelin_test") && Instant::now() < until {
        left = namespace.run(&["nft", "list", "tables"]);
    }
    let left = String::from_utf8_lossy(&left.stdout);
    assert!(left.contains("theirs") && !left.contains("ravelin"), "{left}");
}
