//! An export, verified by a program that shares no code with ours: what `FORMAT.md` says is all that it knows.

use ravelin_audit::testing::{Engine, delivery};
use ravelin_audit::{Reader, export};
use ravelin_store::testing::{SimDisk, keys};
use std::process::Command;
use std::sync::Arc;

#[test]
fn thirty_lines_of_python_and_openssl_agree() {
    let disk = SimDisk::new(1);
    let (mut engine, _) = Engine::open(Arc::new(disk.clone()), keys(&[1]), 1 << 20, 1).unwrap();
    for id in 0..20 {
        engine.append(&delivery(id)).unwrap();
    }
    engine.close(2000).unwrap();
    let mut reader = Reader::open(Arc::new(disk), &keys(&[1])).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("evidence.jsonl");
    let mut out = std::fs::File::create(&path).unwrap();
    export::write(&mut reader, &mut out, |item| !item.text.contains("client 7")).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/verify_export.py");
    let run = |path: &std::path::Path| {
        Command::new("python3").arg(script).arg(path).output().expect("python3 and openssl are installed")
    };
    let output = run(&path);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("whole"), "{text}");
    let sound = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, sound.replace("client 8", "client 9")).unwrap();
    assert!(!run(&path).status.success(), "an edit is noticed");
}
