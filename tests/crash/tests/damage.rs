//! What is done to the files of a killed node by hand: an unfinished write is cut off and told, anything else is reported
//! and the node does not start.

use ravelin_crash::node::{Durability, Node, Refusal, segments};
use ravelin_crash::talk::{Talk, plain};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The last frame that was synced is anchored in the manifest after two seconds.
const ANCHORED: Duration = Duration::from_millis(2500);

struct Killed {
    _directory: tempfile::TempDir,
    data: PathBuf,
}

fn start(data: &Path) -> Result<Node, Refusal> {
    Node::start(data, 1, Durability::Commit)
}

/// A node with 50 messages queued for one session that was killed; `anchored`: after it had been quiet for a while.
fn killed(anchored: bool) -> Killed {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut node = start(&data).unwrap();
    let (mut reader, _) = Talk::connect(node.address, &plain("reader", true, 3600)).unwrap();
    reader.subscribe("t", 1).unwrap();
    reader.disconnect();
    let (mut writer, _) = Talk::connect(node.address, &plain("writer", true, 0)).unwrap();
    for i in 0..50 {
        writer.publish("t", format!("message {i}").as_bytes(), 1, false).unwrap();
    }
    if anchored {
        let manifest = data.join("log/MANIFEST");
        let before = fs::read(&manifest).unwrap();
        let until = Instant::now() + ANCHORED * 4;
        while fs::read(&manifest).unwrap() == before {
            assert!(Instant::now() < until, "the log is not anchored");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    node.kill();
    Killed { _directory: directory, data }
}

/// The messages that the session has after a start.
fn queued(node: &Node) -> Vec<String> {
    let (mut writer, _) = Talk::connect(node.address, &plain("writer", true, 0)).unwrap();
    let (mut reader, present) = Talk::connect(node.address, &plain("reader", false, 3600)).unwrap();
    assert!(present, "the session is gone");
    writer.publish("t", b"fence", 1, false).unwrap();
    reader.await_message(b"fence").unwrap();
    let payloads = reader.inbox.iter().map(|publish| String::from_utf8(publish.payload.clone()).unwrap());
    payloads.filter(|payload| payload != "fence").collect()
}

fn all() -> Vec<String> {
    (0..50).map(|i| format!("message {i}")).collect()
}

/// Where the frames of a segment end: what follows are the zeros of the room made ahead.
fn end_of(segment: &Path) -> u64 {
    fs::read(segment).unwrap().iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1)
}

fn flip(path: &Path, offset: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    byte[0] ^= 0x10;
    file.write_all_at(&byte, offset).unwrap();
}

fn cut(path: &Path, length: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
}

fn contents(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// The node does not start: it says what is wrong with which file, ends with code 1, and changes nothing.
fn refused(killed: &Killed, file: &str, what: &str) {
    let log = killed.data.join("log");
    let before = contents(&log);
    let refusal = match start(&killed.data) {
        Err(refusal) => refusal,
        Ok(node) => panic!("the node started:\n{}", node.log.join("\n")),
    };
    assert_eq!(refusal.code, Some(1), "{}", refusal.log);
    assert!(refusal.log.contains(file) && refusal.log.contains(what), "{}", refusal.log);
    assert!(!refusal.log.contains("panicked"), "{}", refusal.log);
    assert!(contents(&log) == before, "a refused start has changed files");
}

#[test]
fn an_unfinished_write_is_cut_off_and_told() {
    let killed = killed(false);
    let segment = segments(&killed.data).pop().unwrap();
    // A frame whose end never reached the disk.
    let file = OpenOptions::new().write(true).open(&segment).unwrap();
    let mut frame = b"RvFr".to_vec();
    frame.extend_from_slice(&1000u32.to_le_bytes());
    frame.extend_from_slice(&[0x5A; 500]);
    file.write_all_at(&frame, end_of(&segment)).unwrap();
    let node = start(&killed.data).unwrap();
    let torn = node.log.iter().find(|line| line.contains("store.torn_tail"));
    let segment = "segment=1";
    assert!(torn.is_some_and(|line| line.contains(segment)), "{}", node.log.join("\n"));
    assert_eq!(queued(&node), all());
}

#[test]
fn a_start_after_a_mere_kill_tells_of_no_loss() {
    let killed = killed(true);
    let node = start(&killed.data).unwrap();
    let told: Vec<&String> = node.log.iter().filter(|line| line.contains("store.damaged")).collect();
    assert!(told.is_empty(), "{told:?}");
    assert_eq!(queued(&node), all());
}

#[test]
fn an_altered_frame_with_others_after_it_is_refused() {
    let killed = killed(false);
    let segment = segments(&killed.data).pop().unwrap();
    let end = end_of(&segment);
    for offset in [200, end / 2, end * 3 / 4] {
        flip(&segment, offset);
        refused(&killed, "segment-0000000000000001.log", "altered at offset");
        flip(&segment, offset);
    }
    assert_eq!(queued(&start(&killed.data).unwrap()), all());
}

#[test]
fn an_altered_header_is_refused() {
    let killed = killed(false);
    let segment = segments(&killed.data).pop().unwrap();
    for offset in [0, 20, 60, 120] {
        flip(&segment, offset);
        refused(&killed, "segment-0000000000000001.log", "header");
        flip(&segment, offset);
    }
}

#[test]
fn a_cut_of_what_was_anchored_is_refused() {
    let killed = killed(true);
    let segment = segments(&killed.data).pop().unwrap();
    let end = end_of(&segment);
    let whole = fs::read(&segment).unwrap();
    for length in [end - 1, end / 2, 129, 128, 60, 0] {
        cut(&segment, length);
        refused(&killed, "segment-0000000000000001.log", "");
        fs::write(&segment, &whole).unwrap();
    }
    assert_eq!(queued(&start(&killed.data).unwrap()), all());
}

#[test]
fn an_altered_or_missing_manifest_is_refused() {
    let killed = killed(false);
    let manifest = killed.data.join("log/MANIFEST");
    let whole = fs::read(&manifest).unwrap();
    for offset in [0, 40, whole.len() as u64 / 2, whole.len() as u64 - 1] {
        flip(&manifest, offset);
        refused(&killed, "MANIFEST", "not authentic");
        flip(&manifest, offset);
    }
    fs::remove_file(&manifest).unwrap();
    refused(&killed, "MANIFEST", "missing");
}

#[test]
fn a_missing_segment_is_refused() {
    let killed = killed(false);
    fs::remove_file(segments(&killed.data).pop().unwrap()).unwrap();
    refused(&killed, "segment-0000000000000001.log", "missing");
}

#[test]
fn an_older_manifest_is_refused() {
    let killed = killed(false);
    let manifest = killed.data.join("log/MANIFEST");
    let older = fs::read(&manifest).unwrap();
    let mut node = start(&killed.data).unwrap();
    queued(&node);
    node.kill();
    fs::write(&manifest, older).unwrap();
    refused(&killed, "segment-0000000000000002.log", "older");
}

#[test]
fn another_key_is_refused() {
    let (mine, other) = (killed(false), killed(false));
    fs::copy(other.data.join("store.key"), mine.data.join("store.key")).unwrap();
    refused(&mine, "key", "");
    let mut file = OpenOptions::new().append(true).open(other.data.join("store.key")).unwrap();
    file.write_all(b"nonsense\n").unwrap();
    refused(&other, "store.key", "");
}
