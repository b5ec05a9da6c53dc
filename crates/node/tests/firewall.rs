//! The firewall with the real `nft`: in a network namespace of its own, with a client at the other end of a wire.
//!
//! Each test runs itself again under `unshare`, so that nothing of the machine's own firewall is touched. That takes root,
//! nftables and iproute2; without them a test fails and says so.

mod support;

use ravelin_node::config::Config;
use ravelin_node::control::Control;
use ravelin_node::firewall::{Agent, Duties, serve_agent};
use ravelin_respond::Action;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};
use support::*;

/// Set in the namespace, and for the agent.
const INSIDE: &str = "RAVELIN_TEST_INSIDE";
const AGENT: &str = "RAVELIN_TEST_AGENT";
const NODE: &str = "10.77.0.1";
const CLIENT: &str = "10.77.0.2";
const THEIRS: &str =
    "table inet theirs { chain input { type filter hook input priority 0; tcp dport 9 drop; }; }";

/// Whether this is the process in the namespace. If not, runs the test there, and fails if that does.
fn is_inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--"]).arg(program).args(["--exact", test, "--nocapture"]);
    let status = command.env(INSIDE, "1").status();
    let status = status.expect("this test needs unshare (util-linux), root, nft and ip");
    assert!(status.success(), "{test} failed in a network namespace of its own; it needs root, nft and ip");
    false
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program} is needed for this test: {error}"));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {told}", arguments.join(" "));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A wire: the node here, the client in another namespace at its other end.
fn lay_wire() {
    // Seen in the mount namespace of this process only: another test has a client of its own.
    std::fs::create_dir_all("/run/netns").unwrap();
    run("mount", &["-t", "tmpfs", "none", "/run/netns"]);
    for line in [
        "netns add client",
        "link add near type veth peer name far netns client",
        "address add 10.77.0.1/24 dev near",
        "address add fd77:1::1/64 dev near nodad",
        "link set near up",
        "link set lo up",
        "-n client address add 10.77.0.2/24 dev far",
        "-n client address add fd77:1::2/64 dev far nodad",
        "-n client address add fd77:2::2/64 dev far nodad",
        "-n client link set far up",
    ] {
        run("ip", &line.split(' ').collect::<Vec<_>>());
    }
    run("nft", &[THEIRS]);
}

/// A connection from the client's end of the wire, if it comes about before long.
fn reach(node: SocketAddr) -> Option<TcpStream> {
    let connect = move || {
        let namespace = std::fs::File::open("/run/netns/client").unwrap();
        let kind = Some(rustix::thread::LinkNameSpaceType::Network);
        rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&namespace), kind).unwrap();
        TcpStream::connect_timeout(&node, Duration::from_millis(700)).ok()
    };
    std::thread::spawn(connect).join().unwrap()
}

/// An agent like the real one, in a process of its own: this test program again.
fn agent(leave: bool) -> Result<Agent, String> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "the_agent", "--nocapture"]).env(AGENT, if leave { "leave" } else { "remove" });
    Agent::start_as(command)
}

/// Not a test by itself: what [`agent`] runs.
#[test]
fn the_agent() {
    let Some(leave) = std::env::var_os(AGENT) else { return };
    let never = vec!["10.77.0.128/25".parse().unwrap()];
    let (table, nft) = ("ravelin_test".into(), "/usr/sbin/nft".into());
    serve_agent(&Duties { table, nft, leave: leave == "leave", never, user: None }).unwrap();
}

fn config() -> Config {
    let text = format!(
        "[[listener]]\nname = \"field\"\ntransport = \"tcp\"\naddress = \"{NODE}:0\"\nbind_client_id = \"none\"\n\
         dangerous_anonymous = true\ndangerous_plaintext = true\n[access]\ndangerous_allow_everything = true\n\
         [firewall]\nenabled = true\ntable = \"ravelin_test\"\n"
    );
    Config::parse(&text, std::path::Path::new(".")).unwrap()
}

fn block(control: &Control, order: u64, network: &str, ttl_s: Option<u64>) -> String {
    let network = network.into();
    control
        .blocking_fence(order, &Action::Firewall { network }, ttl_s)
        .unwrap_or_else(|error| panic!("{error}"))
}

fn tables() -> String {
    run("nft", &["list", "tables"])
}

#[test]
fn a_blocked_client_is_dropped_and_comes_back_and_other_tables_are_not_touched() {
    if !is_inside("a_blocked_client_is_dropped_and_comes_back_and_other_tables_are_not_touched") {
        return;
    }
    lay_wire();
    let theirs = run("nft", &["list", "table", "inet", "theirs"]);
    let (node, _log) = start(config());
    let (control, field) = (node.control(), node.addresses()[0]);
    control.attach_firewall(Some(agent(false)));
    assert_eq!(control.firewall().state, "active", "{:?}", control.firewall());
    let mut live = Client::new(reach(field).expect("it is not blocked yet"), ravelin_mqtt::Version::V5);
    live.connect(&connect("meter"));

    let begun = Instant::now();
    let effect = block(&control, 1, CLIENT, Some(6));
    println!("order to dropped packet: {:?}", begun.elapsed());
    assert!(effect.contains("packets are dropped by nftables"), "{effect}");
    assert!(effect.contains("1 connections ended"), "{effect}");
    assert!(reach(field).is_none(), "its packets are dropped");
    assert!(TcpStream::connect(field).is_ok(), "nobody else's are");
    let view = control.firewall();
    let one = &view.blocked[0];
    assert_eq!(one.network.to_string(), "10.77.0.2/32");
    assert!(
        one.packets > 0 && view.packets >= one.packets && one.seconds.is_some_and(|left| left <= 6),
        "{view:?}"
    );

    // A wider one takes its place and leaves it behind; what was counted of the narrow one is not lost meanwhile.
    block(&control, 2, "198.51.100.0/24", None);
    assert!(control.firewall().blocked.iter().any(|other| other.packets >= one.packets), "it counts on");
    let again = Instant::now() + Duration::from_secs(30);
    while reach(field).is_none() {
        assert!(Instant::now() < again, "it does not come back when its time is over");
    }

    // Until it is taken back, of both families.
    block(&control, 3, CLIENT, None);
    block(&control, 4, "fd77:9::1", Some(3600));
    assert!(reach(field).is_none());
    let text = run("nft", &["list", "table", "inet", "ravelin_test"]);
    assert!(text.contains("fd77:9::/64") && text.contains("timeout 1h"), "{text}");
    control.blocking_unfence(3, &Action::Firewall { network: CLIENT.into() }).unwrap();
    assert!(reach(field).is_some(), "it was taken back");

    assert_eq!(run("nft", &["list", "table", "inet", "theirs"]), theirs);
    drop(control);
    node.shutdown().unwrap();
}

#[test]
fn what_must_go_on_is_not_blocked_and_strays_of_an_earlier_run_are_removed() {
    if !is_inside("what_must_go_on_is_not_blocked_and_strays_of_an_earlier_run_are_removed") {
        return;
    }
    lay_wire();
    let (node, _log) = start(config());
    let control = node.control();
    control.attach_firewall(Some(agent(true)));
    let refused = |network: &str| {
        let network = network.into();
        control.blocking_fence(9, &Action::Firewall { network }, None).unwrap_err().to_string()
    };
    // The last the agent knows by itself: the node's configuration says nothing of it.
    for (network, why) in [
        ("127.0.0.1", "to itself"),
        (NODE, "this machine"),
        ("10.77.0.0/24", "this machine"),
        ("fd77:1::99", "this machine"),
        ("0.0.0.0/0", "too wide"),
        ("10.77.0.200", "never"),
    ] {
        assert!(refused(network).contains(why), "{network}: {}", refused(network));
    }
    control.lane_joined("192.0.2.77".parse::<IpAddr>().unwrap());
    assert!(refused("192.0.2.0/24").contains("control lane"));
    control.lane_left("192.0.2.77".parse::<IpAddr>().unwrap());
    block(&control, 1, "192.0.2.0/24", None);
    block(&control, 2, "203.0.113.5", Some(600));
    drop(control);
    node.shutdown().unwrap();

    // The node has gone, the table is left: the next one takes it over.
    let (node, log) = start(config());
    let control = node.control();
    control.attach_firewall(Some(agent(false)));
    let dropped =
        || -> Vec<String> { control.firewall().blocked.iter().map(|one| one.network.to_string()).collect() };
    assert_eq!(dropped().len(), 2, "there is no moment in which what is ordered is let in: {:?}", dropped());
    block(&control, 1, "192.0.2.0/24", None);
    control.blocking_settle_firewall();
    assert_eq!(dropped(), ["192.0.2.0/24"]);
    log.wait_for(&["firewall.strays_removed", "203.0.113.5/32"]);
    assert!(tables().contains("ravelin_test"));
    drop(control);
    node.shutdown().unwrap();
}

#[test]
fn an_agent_without_the_right_or_without_nft_runs_dry_and_says_so() {
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all", "--"]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", "the_agent", "--nocapture"]).env(AGENT, "leave");
    let text = "[[listener]]\nname = \"field\"\ntransport = \"tcp\"\naddress = \"127.0.0.1:0\"\nbind_client_id = \"none\"\n\
                dangerous_anonymous = true\n[access]\ndangerous_allow_everything = true\n[firewall]\nenabled = true\n";
    let (node, log) = start(Config::parse(text, std::path::Path::new(".")).unwrap());
    let control = node.control();
    control.attach_firewall(Some(Agent::start_as(command)));
    let effect = block(&control, 1, "198.51.100.7", Some(60));
    assert!(effect.contains("dry run") && effect.contains("CAP_NET_ADMIN"), "{effect}");
    assert!(effect.contains("198.51.100.7/32 timeout 60s"), "{effect}");
    assert_eq!(control.firewall().state, "dry_run");
    log.wait_for(&["it runs dry"]);
    drop(control);
    node.shutdown().unwrap();
}
