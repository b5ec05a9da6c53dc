//! From inside the sandbox everybody is told who is configured, and nothing else is possible.
//!
//! A program of its own, since nothing gets out of a sandbox again.

use ravelin_node::config::Config;
use ravelin_node::control::{Actor, Role, Via};
use ravelin_node::{Node, Sandbox};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

const OPEN: &str = "\
[node]
data = \"data\"
workers = 1
[store]
key_file = \"keys/store.key\"
[sandbox]
mode = \"require\"
[[listener]]
name = \"open\"
transport = \"tcp\"
address = \"127.0.0.1:0\"
bind_client_id = \"none\"
dangerous_anonymous = true
[access]
dangerous_allow_everything = true
";

fn actor() -> Actor {
    Actor { name: "alice".into(), role: Role::Operator, via: Via::Api, address: None }
}

/// Answers every POST with 200, and counts the bodies that hold `wanted`.
fn hook(wanted: &'static str) -> (u16, std::sync::mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let (mut socket, mut seen, mut buffer) = (socket.unwrap(), Vec::new(), [0; 4096]);
            while let Ok(count @ 1..) = socket.read(&mut buffer) {
                seen.extend(&buffer[..count]);
                if String::from_utf8_lossy(&seen).contains(wanted) {
                    let _ = sender.send(());
                }
                // A whole body ends the array.
                if seen.ends_with(b"}]") {
                    seen.clear();
                    let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                }
            }
        }
    });
    (port, receiver)
}

fn inside(folder: &Path, text: &str) {
    let load = || Config::parse(text, folder).unwrap_or_else(|errors| panic!("{errors}"));
    let config = load();
    let sandbox = Sandbox::enter(&config).expect("a kernel with landlock");
    let mut node = Node::start_with_log(config, Box::new(std::io::sink())).expect("a node");
    assert_eq!(sandbox.close().expect("seccomp").expect("an event").id(), "sandbox.closed");
    let control = node.control();
    for name in ["hook", "jail", "json"] {
        control.blocking_test_destination(&actor(), name).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    node.reload(load()).expect("a reload");
    control.blocking_test_destination(&actor(), "json").expect("a test after a reload");
    let refused =
        std::fs::write(folder.join("secrets/x"), b"x").expect_err("only what is configured is written");
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
    assert!(std::fs::read_dir(folder.join("lines")).is_err(), "others' lines are not listed");
    assert_eq!(control.destinations().len(), 3);
    node.shutdown().expect("an end in order");
}

#[test]
fn from_inside_the_sandbox_everybody_configured_is_told_and_nothing_else_is_possible() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["lines", "secrets", "keys"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(folder.path().join(name), private).unwrap();
    }
    ravelin_store::Keys::create(folder.path().join("keys/store.key")).unwrap();
    let (port, arrived) = hook("outward.test");
    let text = format!(
        "{OPEN}\
         [[outward]]\nkind = \"webhook\"\nname = \"hook\"\nurl = \"http://localhost:{port}/\"\ndangerous_plain = true\n\
         [[outward]]\nkind = \"fail2ban\"\nname = \"jail\"\npath = \"lines/refused.log\"\n\
         [[outward]]\nkind = \"file\"\nname = \"json\"\npath = \"lines/events.jsonl\"\n",
    );
    // Files are a thread's affair, so that this one can tidy up.
    std::thread::scope(|scope| {
        scope.spawn(|| inside(folder.path(), &text)).join().expect("the sandbox");
    });
    arrived.recv_timeout(Duration::from_secs(60)).expect("the test came to the webhook");
    let lines = |name: &str| std::fs::read_to_string(folder.path().join("lines").join(name)).unwrap();
    assert!(lines("refused.log").contains("test address=192.0.2.1"));
    // The orders to test are told too: `admin.*` is what is told unless something else is asked for.
    assert!(lines("events.jsonl").contains("\"event_code\":\"admin.order\""), "{}", lines("events.jsonl"));
}
