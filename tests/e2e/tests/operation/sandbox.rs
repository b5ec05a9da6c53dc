//! The sandbox, as it looks from outside: what the kernel says of every thread, and that the node does its work inside.

use crate::{publish, subscribe};
use ravelin_e2e::{Deployment, Node, output, ravelin};

fn status_of(thread: &std::path::Path, name: &str) -> String {
    let text = std::fs::read_to_string(thread.join("status")).expect("the status of a thread");
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.expect("the line").trim().to_owned()
}

#[test]
fn a_node_serves_reloads_and_rotates_keys_inside_it() {
    let deployment = Deployment::new();
    deployment.edit("#mode = \"on\"", "mode = \"require\"");
    deployment.edit("#topics = []", "topics = [\"commands/#\"]");
    deployment.add_client("switch", &["--subscribe", "commands/#"]);
    let node = Node::serve(&deployment);
    let closed = node.wait_for(0, "sandbox.closed", |_| true);
    let applied = closed["fields"]["applied"].as_str().unwrap_or_default().to_owned();
    for part in ["capabilities", "no_new_privs", "landlock", "seccomp"] {
        assert!(applied.contains(part), "{applied}");
    }
    let pid = node.process().pid().as_raw_nonzero();
    let mut threads = 0;
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).expect("threads") {
        let thread = thread.expect("a thread").path();
        assert_eq!(status_of(&thread, "Seccomp"), "2", "{}", thread.display());
        assert_eq!(status_of(&thread, "NoNewPrivs"), "1");
        assert_eq!(status_of(&thread, "CapEff"), "0".repeat(16));
        assert_eq!(status_of(&thread, "CapPrm"), "0".repeat(16));
        threads += 1;
    }
    assert!(threads >= 6, "{threads}");
    let subscriber = subscribe(&node, &deployment, "switch", "commands/#", &["-q", "1"]);
    publish(&node, &deployment, &["-t", "commands/1", "-m", "open", "-q", "2", "-r"]);
    subscriber.wait_for_lines(1);
    // A new client comes by a reload, which reads files that were replaced; a new key is written to the key file.
    deployment.add_client("late", &["--publish", "commands/#"]);
    assert!(output(ravelin(["rotate-key"]).arg(deployment.dir()), b"").status.success());
    let start = node.mark();
    node.reload();
    node.wait_for(start, "store.key_rotated", |_| true);
    // The checkpoint is done when the key that nothing uses any more has gone from the file.
    let deadline = std::time::Instant::now() + ravelin_e2e::PATIENCE;
    let keys = || std::fs::read_to_string(deployment.path("store.key")).expect("the key file");
    while keys().contains("retired") {
        assert!(std::time::Instant::now() < deadline, "the log was not written again with the new key");
        std::thread::yield_now();
    }
    publish(&node, &deployment, &["-t", "commands/2", "-m", "close", "-q", "1"]);
    subscriber.wait_for_lines(2);
    drop(subscriber);
    assert!(node.stop().success());
    assert!(output(ravelin(["audit", "verify"]).arg(deployment.dir()), b"").status.success());
}

#[test]
fn switched_off_it_is_off() {
    let deployment = Deployment::new();
    deployment.edit("#mode = \"on\"", "mode = \"off\"");
    let node = Node::serve(&deployment);
    let pid = node.process().pid().as_raw_nonzero();
    assert_eq!(status_of(format!("/proc/{pid}").as_ref(), "Seccomp"), "0");
}

/// As root only: elsewhere there is nobody else to become.
#[test]
fn a_node_that_root_starts_becomes_another_user() {
    if !rustix::process::getuid().is_root() {
        return;
    }
    let deployment = Deployment::new();
    deployment.edit("#user = \"\"", "user = \"65534:65534\"");
    // Its own, with the way to it.
    let parent = deployment.dir().parent().expect("a parent").to_owned();
    let chown = std::process::Command::new("chown").args(["-R", "65534:65534"]).arg(&parent).status();
    assert!(chown.expect("chown").success());
    let node = Node::serve(&deployment);
    let pid = node.process().pid().as_raw_nonzero();
    for thread in std::fs::read_dir(format!("/proc/{pid}/task")).expect("threads") {
        let thread = thread.expect("a thread").path();
        for name in ["Uid", "Gid"] {
            assert!(status_of(&thread, name).split_whitespace().all(|id| id == "65534"), "{name}");
        }
        assert_eq!(status_of(&thread, "Groups"), "65534");
        assert_eq!(status_of(&thread, "CapPrm"), "0".repeat(16));
    }
    publish(&node, &deployment, &["-t", "a", "-m", "b", "-q", "1"]);
    assert!(node.stop().success());
}
