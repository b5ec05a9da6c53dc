//! Others are told, also of what happened before the node was killed: by syslog over TLS, to Debian's rsyslog.

use crate::{publish, succeed};
use ravelin_e2e::{Deployment, Node, Process, output, ravelin};
use rustix::process::Signal;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// A port that is free now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}

/// rsyslog, with the certificate of the node's own listener, writing what comes as it comes.
fn rsyslog(deployment: &Deployment, port: u16, folder: &Path) -> Process {
    let path = |name: &str| deployment.path(name).display().to_string();
    let config = format!(
        "global(workDirectory=\"{folder}\" DefaultNetstreamDriver=\"gtls\" DefaultNetstreamDriverCAFile=\"{ca}\"\n\
         \x20 DefaultNetstreamDriverCertFile=\"{certificate}\" DefaultNetstreamDriverKeyFile=\"{key}\")\n\
         module(load=\"imtcp\" StreamDriver.Name=\"gtls\" StreamDriver.Mode=\"1\" StreamDriver.AuthMode=\"anon\")\n\
         input(type=\"imtcp\" port=\"{port}\" address=\"127.0.0.1\")\n\
         template(name=\"parsed\" type=\"string\" string=\"%app-name%|%msgid%|%structured-data%|%msg%\\n\")\n\
         action(type=\"omfile\" file=\"{folder}/out.log\" template=\"parsed\")\n",
        folder = folder.display(),
        ca = path("ca/ca.crt"),
        certificate = path("tls/server.crt"),
        key = path("tls/server.key"),
    );
    let file = folder.join("rsyslog.conf");
    std::fs::write(&file, config).expect("a configuration");
    let mut command = Command::new("/usr/sbin/rsyslogd");
    command.arg("-n").arg("-f").arg(file).arg("-i").arg(folder.join("pid"));
    Process::start(&mut command)
}

fn wait_for_line(file: &Path, is_it: impl Fn(&str) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if text.lines().any(&is_it) {
            return;
        }
        assert!(Instant::now() < deadline, "rsyslog has not got it:\n{text}");
        std::thread::yield_now();
    }
}

#[test]
fn what_had_not_arrived_when_the_node_was_killed_arrives_after_a_restart() {
    let deployment = Deployment::new();
    let port = free_port();
    deployment.append(&format!(
        "[[outward]]\nkind = \"syslog\"\nname = \"logs\"\naddress = \"localhost:{port}\"\nca = \"ca/ca.crt\"\n\
         events = [\"client.connected\"]\nretry = \"50ms\"\nretry_max = \"200ms\"\n"
    ));
    succeed(output(ravelin(["check"]).arg(deployment.dir()), b""));
    let node = Node::serve(&deployment);
    publish(&node, &deployment, &["-t", "a", "-m", "1", "-q", "1"]);
    node.wait_for(0, "outward.failing", |fields| fields["destination"] == "logs");
    // It is acknowledged once it is on disk, and with it all that was written before.
    publish(&node, &deployment, &["-t", "a", "-m", "2", "-q", "1", "-r"]);
    node.process().signal(Signal::KILL);
    node.ended();
    let folder = tempfile::tempdir().expect("a folder");
    let _receiver = rsyslog(&deployment, port, folder.path());
    let node = Node::serve(&deployment);
    let file = folder.path().join("out.log");
    let first = |line: &str| {
        line.starts_with("ravelin|client.connected|[ravelin@32473 ")
            && line.contains("uid=\"plant.logs.1\"")
            && line.contains("client_id=\"operator-pub\"")
    };
    wait_for_line(&file, first);
    assert!(node.stop().success());
}
