//! What a service manager is told.

use ravelin_e2e::{Deployment, Node, PATIENCE, ravelin};
use std::os::unix::net::UnixDatagram;

#[test]
fn a_service_manager_hears_of_start_reload_and_stop() {
    let deployment = Deployment::new();
    let path = deployment.path("notify.socket");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let wait_for = |wanted: &str| {
        let mut told = String::new();
        loop {
            let mut datagram = [0; 4096];
            let length =
                socket.recv(&mut datagram).unwrap_or_else(|error| panic!("{wanted}: {error}, after {told}"));
            told += &String::from_utf8_lossy(&datagram[..length]);
            told.push('\n');
            if told.lines().any(|line| line == wanted) {
                return told;
            }
        }
    };
    let mut command = ravelin(["serve"]);
    let node = Node::start(command.arg(deployment.dir()).env("NOTIFY_SOCKET", &path), 4);
    wait_for("READY=1");
    node.reload();
    let told = wait_for("RELOADING=1") + &wait_for("READY=1");
    assert!(told.contains("MONOTONIC_USEC="), "{told}");
    assert!(node.stop().success());
    wait_for("STOPPING=1");
}
