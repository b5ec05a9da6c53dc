//! From inside the sandbox: what must not be possible is tried, and a node does its work.
//!
//! A program of its own, since nothing gets out of a sandbox again.

use ravelin_node::config::Config;
use ravelin_node::{Node, Sandbox};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const CONFIG: &str = "\
[node]
data = \"data\"
[[listener]]
name = \"open\"
transport = \"tcp\"
address = \"127.0.0.1:0\"
bind_client_id = \"none\"
dangerous_anonymous = true
[access]
dangerous_allow_everything = true
[store]
key_file = \"keys/store.key\"
[record]
topics = [\"commands/#\"]
[sandbox]
mode = \"require\"
";

/// CONNECT of 3.1.1 with a clean session, and its answer.
fn connect(node: &Node) -> TcpStream {
    let mut stream = TcpStream::connect(node.addresses()[0]).expect("the node listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
    let connect = *b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a";
    stream.write_all(&connect).expect("CONNECT");
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).expect("CONNACK");
    assert_eq!(answer, [0x20, 2, 0, 0]);
    stream
}

/// A retained PUBLISH with QoS 1 on a recorded topic, acknowledged once it and its entry are on disk.
fn publish(stream: &mut TcpStream, packet_id: u8) {
    let mut packet = b"\x33\x10\x00\x0acommands/1\x00\x00ok".to_vec();
    packet[15] = packet_id;
    stream.write_all(&packet).expect("PUBLISH");
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).expect("PUBACK");
    assert_eq!(answer, [0x40, 2, 0, packet_id]);
}

fn refused<T>(result: std::io::Result<T>, what: &str) {
    match result {
        Ok(_) => panic!("{what} was possible"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{what}: {error}"),
    }
}

fn inside(folder: &Path) {
    let path = folder.join("ravelin.toml");
    let load = || Config::load(&path).expect("a sound configuration");
    let config = load();
    let sandbox = Sandbox::enter(&config).expect("a kernel with landlock");
    let mut node = Node::start_with_log(config, Box::new(std::io::sink())).expect("a node");
    let event = sandbox.close().expect("a kernel with seccomp").expect("an event");
    assert_eq!(event.id(), "sandbox.closed", "{event:?}");

    refused(std::fs::read("/etc/passwd"), "reading /etc/passwd");
    refused(std::fs::read_dir("/root"), "listing /root");
    refused(std::fs::write("/tmp/escaped", b"x"), "writing to /tmp");
    refused(std::fs::write(path.with_file_name("other.toml"), b"x"), "writing beside the configuration");
    refused(Command::new("/bin/true").status(), "executing a program");
    refused(TcpListener::bind("127.0.0.1:0"), "listening");
    // Threads that start later are inside too.
    std::thread::spawn(|| refused(std::fs::read("/etc/passwd"), "reading /etc/passwd in a new thread"))
        .join()
        .expect("a thread");

    let mut stream = connect(&node);
    publish(&mut stream, 1);
    node.reload(load()).expect("a reload");
    // The key file is in a folder of its own, which may be written to: retired keys are taken out of it.
    ravelin_store::Keys::rotate(folder.join("keys/store.key")).expect("a new key");
    node.reload(load()).expect("a reload with a new key");
    publish(&mut stream, 2);
    drop(stream);
    node.shutdown().expect("an end in order");
}

#[test]
fn nothing_but_the_work_of_a_node_is_possible_inside() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::create_dir(folder.path().join("keys")).expect("a folder");
    std::fs::set_permissions(folder.path().join("keys"), private).expect("a private folder");
    ravelin_store::Keys::create(folder.path().join("keys/store.key")).expect("a key");
    std::fs::write(folder.path().join("ravelin.toml"), CONFIG).expect("a configuration");
    // Files are a thread's affair, so that this one can tidy up.
    std::thread::scope(|scope| scope.spawn(|| inside(folder.path())).join().expect("the sandbox"));
}
