//! The part of item 49 that is about the disk.

use ravelin_attacks::node::Setup;
use ravelin_attacks::wire::DISCONNECT;
use ravelin_attacks::{Connect, MIB, Node, Peer, Publish, Trial};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A session that is away and gets what is published to `kept/#`.
fn leave_session(node: &Node) {
    let mut peer = Peer::connect(node.address(), &Connect::v5("away").lasting());
    assert_eq!(peer.subscribe("kept/#", 1), 1);
    peer.send(DISCONNECT);
    peer.read_to_close();
}

/// Payloads of what the session is given.
fn kept(node: &Node) -> Vec<String> {
    let mut peer = Peer::connect(node.address(), &Connect::v5("away").lasting());
    let mut payloads = Vec::new();
    loop {
        let messages = peer.drain();
        if messages.is_empty() {
            return payloads;
        }
        let payload = |message: &ravelin_attacks::Packet| {
            let at = message.body.len() - 8;
            String::from_utf8_lossy(&message.body[at..]).into_owned()
        };
        payloads.extend(messages.iter().map(payload));
    }
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory.join("data/log")).expect("the log's directory");
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    found.sort();
    found
}

/// A disk that is full: nothing is acknowledged that is not on it, who needs no disk is served on, and after a restart
/// all that was acknowledged is there.
#[test]
fn a49_disk_full() {
    let mut node = Setup::default().durable().file_bytes_max(2560 << 10).start();
    leave_session(&node);
    let trial = Trial::begin(&node, 48 * MIB);
    let mut publisher = Peer::connect(node.address(), &Connect::v5("publisher"));
    let mut acknowledged = Vec::new();
    let mut refused = 0;
    for number in 0..600 {
        let name = format!("{number:08}");
        let payload = [vec![b'x'; 8000], name.clone().into_bytes()].concat();
        publisher.send(&Publish::new("kept/x", payload).qos(1, 1 + number as u16).to_bytes());
        let Some(answer) = publisher.read() else { break };
        match (answer.kind(), answer.reason()) {
            (4, 0) => acknowledged.push(name),
            (4, reason) if reason >= 0x80 => refused += 1,
            (14, reason) if reason >= 0x80 => {
                refused += 1;
                break;
            }
            _ => panic!("{answer:02x?}"),
        }
        if refused > 5 {
            break;
        }
    }
    assert!(
        !acknowledged.is_empty() && refused > 0,
        "{} acknowledged, {refused} refused",
        acknowledged.len()
    );
    node.expect("store.failed", &[]);
    trial.finish(&mut node);
    let (_, setup) = node.kill();
    let mut node = setup.file_bytes_max(1 << 30).start();
    let trial = Trial::begin(&node, 32 * MIB);
    let payloads = kept(&node);
    assert!(
        payloads.starts_with(&acknowledged),
        "{} were acknowledged, {} are there",
        acknowledged.len(),
        payloads.len()
    );
    trial.finish(&mut node);
}

/// mosquitto 2.0.16, #3439: files that were altered, cut, emptied or taken away. The node says what is wrong with which
/// file and does not start, nothing is changed, and with the true files back it starts with everything.
#[test]
fn a49_corrupt_persistence_files() {
    let node = Setup::default().durable().start();
    leave_session(&node);
    let mut publisher = Peer::connect(node.address(), &Connect::v5("publisher"));
    for number in 0..20u16 {
        let publish = Publish::new("kept/x", format!("{number:08}")).qos(1, 1 + number);
        publisher.send(&publish.to_bytes());
        assert_eq!(publisher.expect(4).reason(), 0);
    }
    let (status, setup) = node.stop();
    assert!(status.success(), "{status}");
    let segment = segments(setup.path()).pop().expect("a segment");
    let name = segment.file_name().expect("a name").to_string_lossy().into_owned();
    let sound = fs::read(&segment).expect("the segment");
    let mut altered = sound.clone();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    let damages: [(&str, Option<Vec<u8>>); 6] = [
        ("altered", Some(altered)),
        ("cut", Some(sound[..sound.len() * 2 / 3].to_vec())),
        ("emptied", Some(Vec::new())),
        ("overwritten", Some(vec![0; sound.len()])),
        ("foreign", Some([&sound[..], &[0xAA; 100]].concat())),
        ("taken away", None),
    ];
    for (what, content) in damages {
        match &content {
            Some(content) => fs::write(&segment, content).expect("the segment"),
            None => fs::remove_file(&segment).expect("the segment"),
        }
        let (code, said) = setup.refuses_to_start();
        assert_eq!(code, Some(1), "{what}: {said}");
        assert!(said.contains(&name), "{what}: which file: {said}");
        assert!(said.contains("bytes") || said.contains("not authentic"), "{what}: what is lost: {said}");
        assert!(!said.contains("internal error"), "{what}: {said}");
        assert_eq!(fs::read(&segment).ok(), content, "{what}: nothing was changed");
        fs::write(&segment, &sound).expect("the segment");
    }
    let mut node = setup.start();
    let trial = Trial::begin(&node, 16 * MIB);
    let expected: Vec<String> = (0..20).map(|number| format!("{number:08}")).collect();
    assert_eq!(kept(&node), expected);
    trial.finish(&mut node);
}

/// CVE-2017-9868: secrets that others can read are refused, and what the node makes is for its eyes only.
#[test]
fn a49_secrets_that_others_can_read() {
    let setup = Setup::default()
        .listener("transport = \"tcp\"\nauthentication = [\"password\"]")
        .passwords(&[("witness", "right")])
        .durable();
    let expose =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions");
    for name in ["store.key", "passwords"] {
        let path = setup.path().join(name);
        for mode in [0o644, 0o604, 0o660] {
            expose(&path, mode);
            let (code, said) = setup.refuses_to_start();
            assert_eq!(code, Some(1), "{name} {mode:o}: {said}");
            assert!(said.contains(name) && said.contains("chmod"), "{name} {mode:o}: {said}");
        }
        expose(&path, 0o600);
    }
    let node = setup.start();
    let mut waiting = vec![node.path().join("data")];
    while let Some(directory) = waiting.pop() {
        assert_eq!(
            fs::metadata(&directory).expect("it is there").permissions().mode() & 0o077,
            0,
            "{}",
            directory.display()
        );
        for entry in fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                let mode = fs::metadata(&path).expect("it is there").permissions().mode();
                assert_eq!(mode & 0o077, 0, "{}: {mode:o}", path.display());
            }
        }
    }
}
