//! Replays the corpus of every target, and many mutations of it that are the same in every run.

use std::{fmt::Write, fs, panic, path::PathBuf};

use ravelin_fuzz::{TARGETS, Target};

/// How many mutations, and how many of the slower targets: all of them take a few seconds.
const MUTATIONS: usize = 100_000;
const FEWER_MUTATIONS: &[(&str, usize)] = &[
    ("store", 10_000),
    ("audit", 1_500),
    ("directory_commands", 5_000),
    ("directory_import", 10_000),
    ("directory_rules", 20_000),
    ("scram_server", 50_000),
    ("scram_client", 500),
    ("configuration", 10_000),
    ("token", 10_000),
    ("key_set", 10_000),
    ("websocket_handshake", 20_000),
    ("broker_restore", 10_000),
    ("broker_frames", 5_000),
    ("devices_csv", 20_000),
    ("devices_json", 20_000),
    ("inventory_record", 10_000),
    ("replay_events", 10_000),
    ("replay_capture", 10_000),
];

/// Bytes that parsers treat in special ways.
const SPECIAL: &[u8] =
    &[0x00, 0x01, 0x02, 0x04, 0x05, 0x0B, 0x23, 0x26, 0x2B, 0x2F, 0x7F, 0x80, 0xC0, 0xED, 0xFE, 0xFF];

#[test]
fn every_target_survives_its_corpus_and_mutations_of_it() {
    for (seed, &(name, target)) in (1u64..).zip(TARGETS) {
        let corpus = corpus(name);
        for input in &corpus {
            run(name, target, input);
        }
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let fewer = FEWER_MUTATIONS.iter().find(|(slower, _)| *slower == name);
        for _ in 0..fewer.map_or(MUTATIONS, |(_, count)| *count) {
            run(name, target, &mutated(&corpus, name, &mut random));
        }
    }
}

#[test]
fn every_target_has_a_corpus_and_a_binary() {
    for (name, _) in TARGETS {
        assert!(!corpus(name).is_empty(), "{name} has no corpus");
    }
    for (name, _) in TARGETS {
        let binary =
            PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("libfuzzer/fuzz_targets/{name}.rs"));
        assert!(binary.exists(), "{} is missing", binary.display());
    }
    for folder in fs::read_dir(corpus_folder()).unwrap() {
        let name = folder.unwrap().file_name();
        assert!(TARGETS.iter().any(|(target, _)| name == *target), "{name:?} has no target");
    }
}

fn corpus_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// The seeds of a target, in the order of their names.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = corpus_folder().join(name);
    let mut paths: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("failed to read {}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Runs a target and, if it panics, tells with which bytes.
fn run(name: &str, target: Target, input: &[u8]) {
    if let Err(cause) = panic::catch_unwind(|| target(input)) {
        let hex = input.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        eprintln!("target {name} failed with {hex}");
        panic::resume_unwind(cause);
    }
}

/// A seed, changed in one to four places.
fn mutated(corpus: &[Vec<u8>], name: &str, random: &mut Random) -> Vec<u8> {
    let mut bytes = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let count = random.below(9).min(bytes.len() - at);
        match random.below(8) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..at + count)),
            2 => bytes.insert(at, SPECIAL[random.below(SPECIAL.len())]),
            3 => {
                let piece = bytes[at..at + count].to_vec();
                bytes.splice(at..at, piece);
            }
            4 => {
                let other = &corpus[random.below(corpus.len())];
                let from = random.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            change => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = match change {
                        5 => *byte ^ 1 << random.below(8),
                        6 => SPECIAL[random.below(SPECIAL.len())],
                        _ => byte.wrapping_add(1).wrapping_sub(2 * random.below(2) as u8),
                    };
                }
            }
        }
    }
    // Most mutations would end at a Remaining Length that is wrong, so that is put right in half of them.
    if name.starts_with("packet_") && random.below(2) == 0 && (3..131).contains(&bytes.len()) {
        bytes[2] = (bytes.len() - 3) as u8;
    }
    bytes
}

/// xorshift64*: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound
    }
}
