//! The rules of the house, held against what cargo knows of the workspace.
//!
//! Which crate may depend on which, what must never be built in, and how large the default build may grow. What a pure
//! crate may call is clippy's business: `clippy.toml` beside each of them.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Time, randomness and bytes from outside are arguments here.
const PURE: [&str; 6] = [
    "ravelin-mqtt",
    "ravelin-broker",
    "ravelin-event",
    "ravelin-identify",
    "ravelin-detect",
    "ravelin-respond",
];
/// What a pure crate may use that is not ours: data structures, text in memory, and derives.
const PURE_MAY_USE: [&str; 6] = ["foldhash", "hashbrown", "serde", "serde_json", "smallvec", "thiserror"];

/// The five functions of the Framework, and the programme above them. A room appears when it has work to do.
const FUNCTIONS: [&str; 6] = [
    "ravelin-identify",
    "ravelin-protect",
    "ravelin-detect",
    "ravelin-respond",
    "ravelin-recover",
    "ravelin-govern",
];
/// What wires and shows; no function may know of it.
const SHELLS: [&str; 4] = ["ravelin-node", "ravelin-console", "ravelin-assess", "ravelin"];

/// Another cryptographic module than aws-lc-rs, or another TLS than rustls.
const NEVER_BUILT_IN: [&str; 5] = ["ring", "openssl", "openssl-sys", "native-tls", "rustls-openssl"];
/// A clean build of everything stays a matter of minutes on two cores.
const CRATES_MAX: usize = 350;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the repository")
}

fn cargo(arguments: &[&str]) -> String {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program).current_dir(root()).args(arguments).output().expect("cargo runs");
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo writes UTF-8")
}

/// A crate of the workspace.
struct Room {
    folder: PathBuf,
    /// Of any kind but for its tests.
    dependencies: BTreeSet<String>,
}

fn rooms() -> BTreeMap<String, Room> {
    let text = cargo(&["metadata", "--locked", "--no-deps", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&text).expect("cargo writes JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let name = |value: &Value| value["name"].as_str().expect("a name").to_owned();
    let room = |package: &Value| {
        let manifest = Path::new(package["manifest_path"].as_str().expect("a manifest"));
        let dependencies = package["dependencies"].as_array().expect("dependencies");
        Room {
            folder: manifest.parent().expect("a folder").to_owned(),
            dependencies: dependencies.iter().filter(|one| one["kind"] != "dev").map(name).collect(),
        }
    };
    packages.iter().map(|package| (name(package), room(package))).collect()
}

/// Everything that `ravelin` is built from by default, for this machine, with what builds it.
fn default_build() -> BTreeSet<String> {
    let arguments =
        ["tree", "--locked", "--package", "ravelin", "--edges", "normal,build", "--prefix", "none"];
    let tree = cargo(&[&arguments[..], &["--no-dedupe", "--format", "{p}"]].concat());
    let crates = tree.lines().map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" "));
    crates.filter(|line| !line.is_empty()).collect()
}

#[test]
fn pure_crates_depend_on_nothing_that_reads_writes_or_waits() {
    let rooms = rooms();
    for name in PURE {
        for dependency in &rooms[name].dependencies {
            let known = PURE.contains(&dependency.as_str()) || PURE_MAY_USE.contains(&dependency.as_str());
            assert!(known, "{name} is pure and must not depend on {dependency}");
        }
    }
}

#[test]
fn pure_crates_are_under_one_ban_of_clocks_files_and_sockets() {
    let rooms = rooms();
    let ban = |name: &str| {
        let path = rooms[name].folder.join("clippy.toml");
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    };
    let first = ban(PURE[0]);
    for banned in ["Instant::now", "SystemTime::now", "thread::sleep", "fs::read", "TcpStream::connect"] {
        assert!(first.contains(banned), "the ban of {} says nothing of {banned}", PURE[0]);
    }
    for name in &PURE[1..] {
        assert_eq!(ban(name), first, "{name} and {} are under different bans", PURE[0]);
    }
}

#[test]
fn the_functions_know_neither_the_shells_nor_each_other() {
    for (name, room) in rooms().iter().filter(|(name, _)| FUNCTIONS.contains(&name.as_str())) {
        for other in SHELLS.iter().chain(&FUNCTIONS) {
            assert!(!room.dependencies.contains(*other), "{name} must not depend on {other}");
        }
    }
}

#[test]
fn what_tells_others_knows_only_the_vocabulary() {
    let rooms = rooms();
    let ours = rooms["ravelin-outward"].dependencies.iter().filter(|one| rooms.contains_key(*one));
    assert_eq!(ours.collect::<Vec<_>>(), ["ravelin-event"], "alarms and actions reach it as values");
}

#[test]
fn the_vocabulary_and_the_codec_know_no_other_crate_of_ours() {
    let rooms = rooms();
    for name in ["ravelin-event", "ravelin-mqtt"] {
        let ours: Vec<_> = rooms[name].dependencies.iter().filter(|one| rooms.contains_key(*one)).collect();
        assert!(ours.is_empty(), "{name} must not depend on {ours:?}");
    }
}

#[test]
fn every_crate_forbids_unsafe_code_with_the_workspace() {
    for (name, room) in rooms() {
        let manifest = std::fs::read_to_string(room.folder.join("Cargo.toml")).expect("a manifest");
        assert!(manifest.contains("[lints]\nworkspace = true"), "{name} does not take the workspace's lints");
    }
}

#[test]
fn one_cryptographic_module_is_built_in() {
    let crates = default_build();
    for name in NEVER_BUILT_IN {
        let found = crates.iter().find(|line| line.split(' ').next() == Some(name));
        assert!(found.is_none(), "{} must not be built in: `cargo tree -i {name}`", found.unwrap());
    }
    assert!(crates.iter().any(|line| line.starts_with("aws-lc-rs ")), "aws-lc-rs is gone: {crates:?}");
}

#[test]
fn the_default_build_stays_small() {
    let crates = default_build();
    assert!(
        crates.len() < CRATES_MAX,
        "the default build has {} crates, {CRATES_MAX} is too many",
        crates.len()
    );
}

#[test]
fn nothing_asks_a_person_to_remember_why_a_test_is_ignored() {
    for path in files(".rs") {
        let text = std::fs::read_to_string(&path).expect("a source file");
        let bare = text.lines().any(|line| line.trim() == "#[ignore]");
        assert!(!bare, "{}: `#[ignore]` has a reason or does not exist", path.display());
    }
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut broken = Vec::new();
    for document in files(".md") {
        let text = std::fs::read_to_string(&document).expect("a document");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap_or_default();
            if path.is_empty() || path.contains("://") || path.contains(char::is_whitespace) {
                continue;
            }
            if !document.with_file_name(path).exists() {
                broken.push(format!(
                    "{}: {path}",
                    document.strip_prefix(root()).unwrap_or(&document).display()
                ));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

/// Every file of the repository whose name ends so.
fn files(ending: &str) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![root().to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in
            std::fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry").path())
        {
            let name = entry.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if entry.is_dir() && !["target", "corpus", "node_modules", ".git", ".venv"].contains(&name) {
                folders.push(entry);
            } else if name.ends_with(ending) {
                found.push(entry);
            }
        }
    }
    found
}
