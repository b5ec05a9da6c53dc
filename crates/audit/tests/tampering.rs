//! What an attacker (or a failing disk) may do to a record, and that it is noticed and located.

use ravelin_audit::entry::{Entry, What};
use ravelin_audit::testing::{Engine, delivery};
use ravelin_audit::{DamageKind, Error, Head, Reader, Verification, export, verify};
use ravelin_store::testing::{SimDisk, keys};
use std::sync::Arc;

const SEGMENT_1: &str = "segment-0000000000000001.log";
const SEGMENT_2: &str = "segment-0000000000000002.log";
const HEADER_BYTES: usize = 128;

fn open(disk: &SimDisk) -> Engine {
    Engine::open(Arc::new(disk.clone()), keys(&[1]), 1 << 20, 1000).unwrap().0
}

fn check(disk: &SimDisk) -> Verification {
    verify(disk, &keys(&[1]), Vec::new(), None).unwrap()
}

fn kinds(found: &Verification) -> Vec<DamageKind> {
    found.damage.iter().map(|damage| damage.kind).collect()
}

fn write(engine: &mut Engine, ids: std::ops::Range<u64>) {
    for id in ids {
        engine.append(&delivery(id)).unwrap();
        engine.commit().unwrap();
    }
}

/// A record of three lives, five deliveries in each, closed each time.
fn record() -> SimDisk {
    let disk = SimDisk::new(1);
    for life in 0..3 {
        let mut engine = open(&disk);
        write(&mut engine, life * 5..life * 5 + 5);
        engine.close(2000).unwrap();
    }
    disk.fork()
}

fn segments(disk: &SimDisk) -> Vec<String> {
    disk.names().into_iter().filter(|name| name.ends_with(".log")).collect()
}

fn frames(file: &[u8]) -> Vec<(usize, usize)> {
    let mut at = HEADER_BYTES;
    let mut frames = Vec::new();
    while file.get(at..at + 4) == Some(b"RvFr") {
        let length = u32::from_le_bytes(file[at + 4..at + 8].try_into().unwrap()) as usize;
        frames.push((at, at + 32 + length));
        at += 32 + length;
    }
    frames
}

fn texts(disk: &SimDisk) -> Vec<(u64, String)> {
    let mut reader = Reader::open(Arc::new(disk.clone()), &keys(&[1])).unwrap();
    let mut texts = Vec::new();
    while let Some(item) = reader.next_item().unwrap() {
        texts.push((item.sequence, item.text));
    }
    texts
}

#[test]
fn a_sound_record_is_whole_and_reads_back() {
    let disk = record();
    let found = check(&disk);
    assert!(found.is_whole(), "{:?}", found.damage);
    assert!(found.closed);
    assert_eq!((found.first, found.kinds["delivery"], found.segments, found.lost), (1, 15, 3, 0));
    assert_eq!((found.signed + 1, found.unfinished_bytes), (found.last, 0));
    let texts = texts(&disk);
    assert_eq!(texts.len() as u64, found.last);
    assert!(texts.iter().enumerate().all(|(index, (sequence, _))| *sequence == index as u64 + 1));
    let deliveries: Vec<_> = texts.iter().filter(|(_, text)| text.contains("\"delivery\"")).collect();
    assert_eq!(deliveries[7].1, delivery(7).to_json());
}

#[test]
fn every_flipped_byte_is_noticed() {
    let sound = record();
    for name in sound.names().iter().filter(|name| *name != "LOCK") {
        let file = sound.read(name);
        for at in 0..file.len() {
            // A flipped bit of a space or of the final line feed of JSON is found too; every byte of HEAD counts.
            let disk = sound.fork();
            let mut altered = file.clone();
            altered[at] ^= [0x01, 0x80, 0xff][at % 3];
            disk.put(name, &altered);
            match verify(&disk, &keys(&[1]), Vec::new(), None) {
                Ok(found) => {
                    let blamed = found.damage.iter().any(|damage| &damage.file == name);
                    // The last byte of HEAD is a line feed, which is no part of what is signed.
                    let harmless = name == "HEAD" && at + 1 == file.len();
                    assert!(blamed || harmless, "{name} at {at}: {:?}", found.damage);
                }
                Err(Error::Ring { .. }) => assert_eq!(name, "KEYS"),
                Err(error) => panic!("{name} at {at}: {error}"),
            }
        }
    }
}

#[test]
fn damage_in_a_segment_is_located_between_two_entries_and_the_rest_is_verified() {
    let sound = record();
    let second = frames(&sound.read(SEGMENT_2));
    let mut file = sound.read(SEGMENT_2);
    // The frame of the second delivery of the second life.
    let (start, _) = second[3];
    file[start + 40] ^= 1;
    sound.put(SEGMENT_2, &file);
    let found = check(&sound);
    assert_eq!(kinds(&found), [DamageKind::Altered]);
    let damage = &found.damage[0];
    assert_eq!((damage.file.as_str(), damage.offset), (SEGMENT_2, start as u64));
    let (after, before) = (damage.after, damage.before.unwrap());
    let whole = record();
    let texts = texts(&whole);
    let lost: Vec<_> = texts.iter().filter(|(at, _)| *at > after && *at < before).collect();
    assert_eq!(lost[0].1, delivery(6).to_json(), "the first that cannot be read");
    assert!(lost.last().unwrap().1.contains("checkpoint"), "to the end of the segment");
    assert!(found.closed && found.kinds["delivery"] == 11);
}

#[test]
fn every_cut_of_a_closed_record_is_noticed() {
    let sound = record();
    for name in segments(&sound) {
        let file = sound.read(&name);
        for length in 0..file.len() {
            let disk = sound.fork();
            disk.put(&name, &file[..length]);
            let found = check(&disk);
            assert!(!found.is_whole(), "{name} cut at {length}");
        }
        let disk = sound.fork();
        disk.put(&name, &[&file[..], b"more"].concat());
        let found = check(&disk);
        // Behind the end of a closed record, foreign bytes look like a node that has just begun to write.
        assert!(!found.is_whole() || found.unfinished_bytes == 4);
    }
}

#[test]
fn missing_segments_are_noticed_and_named() {
    let sound = record();
    for (index, name) in segments(&sound).iter().enumerate() {
        let disk = sound.fork();
        disk.delete(name);
        let found = check(&disk);
        let expected = match index {
            0 => DamageKind::BeginMissing,
            1 => DamageKind::SegmentMissing,
            _ => DamageKind::Cut,
        };
        assert_eq!(kinds(&found), [expected], "{name}");
        if index == 1 {
            assert!(found.damage[0].detail.contains(SEGMENT_2));
        }
        assert!(found.damage[0].before.is_some() || index == 2);
    }
    let disk = sound.fork();
    segments(&sound).iter().for_each(|name| disk.delete(name));
    assert!(!check(&disk).is_whole(), "HEAD remembers");
    let disk = sound.fork();
    disk.delete("HEAD");
    assert_eq!(kinds(&check(&disk)), [DamageKind::HeadMissing]);
}

#[test]
fn swapped_and_foreign_segments_are_noticed() {
    let sound = record();
    let names = segments(&sound);
    let disk = sound.fork();
    disk.put(&names[0], &sound.read(&names[1]));
    disk.put(&names[1], &sound.read(&names[0]));
    let found = check(&disk);
    assert_eq!(found.damage.iter().filter(|one| one.kind == DamageKind::HeaderAltered).count(), 2);
    // The same store key, the same number, another record: its keys are others.
    let other = record();
    for name in ["HEAD", names[0].as_str(), names[1].as_str(), names[2].as_str()] {
        let disk = sound.fork();
        disk.put(name, &other.read(name));
        assert!(!check(&disk).is_whole(), "{name}");
    }
    // The whole of another record is whole: only an anchor tells.
    let disk = SimDisk::new(9);
    for name in other.names() {
        disk.put(&name, &other.read(&name));
    }
    assert!(check(&disk).is_whole());
    let anchor = Head::parse(&String::from_utf8(sound.read("HEAD")).unwrap(), "anchor").unwrap();
    let found = verify(&disk, &keys(&[1]), vec![anchor], None).unwrap();
    assert!(kinds(&found).contains(&DamageKind::AnchorMismatch));
}

#[test]
fn frames_that_were_reordered_repeated_or_left_out_are_noticed() {
    let sound = record();
    let file = sound.read(SEGMENT_2);
    let frames = frames(&file);
    let frame = |index: usize| &file[frames[index].0..frames[index].1];
    let count = frames.len();
    let orders: Vec<Vec<usize>> = vec![
        (0..count).map(|index| [0, 1, 3, 2].get(index).copied().unwrap_or(index)).collect(),
        (0..count).filter(|index| *index != 3).collect(),
        (0..count).flat_map(|index| if index == 3 { vec![3, 3] } else { vec![index] }).collect(),
        (0..count - 1).collect(),
        (0..count).rev().collect(),
    ];
    for order in orders {
        let disk = sound.fork();
        let altered: Vec<u8> = std::iter::once(&file[..HEADER_BYTES])
            .chain(order.iter().map(|index| frame(*index)))
            .flatten()
            .copied()
            .collect();
        disk.put(SEGMENT_2, &altered);
        let found = check(&disk);
        assert!(!found.is_whole(), "{order:?}");
        assert!(found.damage.iter().all(|one| one.file.ends_with(".log")), "{:?}", found.damage);
    }
}

#[test]
fn a_cut_behind_the_last_signature_needs_an_anchor_or_looks_like_a_crash() {
    let disk = SimDisk::new(3);
    let mut engine = open(&disk);
    write(&mut engine, 0..3);
    let head = engine.checkpoint(1500).unwrap();
    write(&mut engine, 3..6);
    drop(engine);
    let disk = disk.fork();
    let file = disk.read(SEGMENT_1);
    let frames = frames(&file);
    let signed = frames.len() - 3;
    for (index, (_, end)) in frames.iter().enumerate() {
        let cut = disk.fork();
        cut.put(SEGMENT_1, &file[..*end]);
        let found = check(&cut);
        // The checkpoint's own frame is `signed - 1`.
        assert_eq!(found.is_whole(), index >= signed - 1, "cut behind frame {index}");
        if index < signed - 1 {
            assert_eq!(kinds(&found), [DamageKind::Cut]);
            assert_eq!(found.damage[0].after, found.last);
        }
    }
    // With an older HEAD the record may be cut back to it; a copy of the newer one that was kept elsewhere proves it.
    let old = SimDisk::new(3);
    let mut engine = open(&old);
    write(&mut engine, 0..2);
    drop(engine);
    let rolled_back = disk.fork();
    let first = frames[1].1;
    rolled_back.put(SEGMENT_1, &file[..first]);
    rolled_back.delete("HEAD");
    let found = verify(&rolled_back, &keys(&[1]), vec![head.clone()], None).unwrap();
    assert!(kinds(&found).contains(&DamageKind::Cut));
    let found = verify(&disk, &keys(&[1]), vec![head], None).unwrap();
    assert_eq!((found.is_whole(), found.anchors), (true, 1));
}

#[test]
fn a_start_after_a_cut_neither_hides_it_nor_uses_a_number_twice() {
    let disk = record();
    let name = segments(&disk)[2].clone();
    let file = disk.read(&name);
    disk.put(&name, &file[..frames(&file)[2].1]);
    let before = check(&disk);
    let (mut engine, report) = Engine::open(Arc::new(disk.clone()), keys(&[1]), 1 << 20, 3000).unwrap();
    assert_eq!(report.damage.len(), 1, "{:?}", report.damage);
    write(&mut engine, 20..22);
    engine.close(3001).unwrap();
    let found = check(&disk);
    assert_eq!(kinds(&found)[0], DamageKind::Cut);
    assert_eq!(found.damage[0].after, before.last);
    assert!(found.damage[0].before.unwrap() > before.damage[0].after + 1);
    let numbers: Vec<u64> = texts(&disk).into_iter().map(|(number, _)| number).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{numbers:?}");
    assert!(numbers.contains(&found.damage[0].before.unwrap()));
}

#[test]
fn a_torn_write_is_cut_off_and_said() {
    let disk = SimDisk::new(4);
    let mut engine = open(&disk);
    write(&mut engine, 0..3);
    drop(engine);
    let disk = disk.fork();
    let file = disk.read(SEGMENT_1);
    let (start, end) = *frames(&file).last().unwrap();
    for length in start + 1..end {
        let disk = disk.fork();
        disk.put(SEGMENT_1, &file[..length]);
        let found = check(&disk);
        assert!(found.is_whole() && found.unfinished_bytes > 0, "{:?}", found.damage);
        let (mut engine, report) = Engine::open(Arc::new(disk.clone()), keys(&[1]), 1 << 20, 3000).unwrap();
        assert!(report.torn_bytes > 0 && report.damage.is_empty());
        write(&mut engine, 3..4);
        engine.close(3001).unwrap();
        let found = check(&disk);
        assert!(found.is_whole(), "{:?}", found.damage);
        let started = texts(&disk).iter().filter(|(_, text)| text.contains("\"torn_bytes\":0")).count();
        assert_eq!(started, 1, "the second start tells of it");
    }
}

#[test]
fn retention_leaves_a_chain_that_is_whole_and_nothing_else_does() {
    let disk = record();
    let mut engine = open(&disk);
    assert_eq!(engine.prune(0, u64::MAX, false, 4000).unwrap(), None);
    let up_to = engine.prune(1001, u64::MAX, false, 4000).unwrap().unwrap();
    engine.close(4001).unwrap();
    let found = check(&disk);
    assert!(found.is_whole(), "{:?}", found.damage);
    assert_eq!((found.first, found.pruned_to), (up_to + 1, up_to));
    // One more segment than was signed for.
    let name = segments(&disk)[0].clone();
    disk.delete(&name);
    assert!(!check(&disk).is_whole());
}

#[test]
fn a_deletion_that_was_interrupted_is_no_damage() {
    for fault in 1..40 {
        let disk = record();
        let mut engine = open(&disk);
        disk.plan(fault, ravelin_store::testing::Fault::Crash);
        let _ = engine.prune(1001, u64::MAX, false, 4000);
        drop(engine);
        disk.restart(true);
        let found = check(&disk);
        assert!(found.is_whole(), "fault {fault}: {:?}", found.damage);
        let mut engine = open(&disk);
        write(&mut engine, 30..31);
        engine.close(5000).unwrap();
        let found = check(&disk);
        assert!(found.is_whole(), "fault {fault}: {:?}", found.damage);
    }
}

#[test]
fn keys_rotate_and_old_segments_stay_readable() {
    let disk = record();
    let first = check(&disk).keys;
    let mut engine = open(&disk);
    engine.rotate_keys(keys(&[2, 1]), 4000).unwrap();
    write(&mut engine, 20..22);
    engine.close(4001).unwrap();
    assert!(matches!(verify(&disk, &keys(&[1]), Vec::new(), None), Err(Error::Ring { .. })));
    let found = verify(&disk, &keys(&[2]), Vec::new(), None).unwrap();
    assert!(found.is_whole(), "{:?}", found.damage);
    assert_eq!(found.keys.len(), 2);
    assert_eq!(found.keys[0], first[0]);
    // A key that was rotated while the node stood still is taken up at the next start, with a new signing key.
    let (engine, _) = Engine::open(Arc::new(disk.clone()), keys(&[3, 2]), 1 << 20, 5000).unwrap();
    drop(engine);
    let found = verify(&disk, &keys(&[3]), Vec::new(), None).unwrap();
    assert_eq!((found.is_whole(), found.keys.len()), (true, 3));
}

#[test]
fn a_new_signing_key_that_nobody_vouches_for_is_noticed() {
    // Somebody with the store's key replaces the ring: the next start signs with a key that no earlier one introduced.
    let disk = record();
    let other = record();
    let pinned = Reader::open(Arc::new(disk.clone()), &keys(&[1])).unwrap().public_key().clone();
    let found = verify(&disk, &keys(&[1]), Vec::new(), Some(pinned.clone())).unwrap();
    assert!(found.is_whole());
    let found = verify(&other, &keys(&[1]), Vec::new(), Some(pinned)).unwrap();
    assert_eq!(kinds(&found), [DamageKind::UnknownSigner]);
}

fn exported(disk: &SimDisk, meant: impl FnMut(&ravelin_audit::Item) -> bool) -> String {
    let mut reader = Reader::open(Arc::new(disk.clone()), &keys(&[1])).unwrap();
    let mut out = Vec::new();
    let exported = export::write(&mut reader, &mut out, meant).unwrap();
    assert!(exported.problems.is_empty());
    String::from_utf8(out).unwrap()
}

fn check_export(text: &str) -> Verification {
    export::verify(&mut text.as_bytes(), "evidence", Vec::new(), None).unwrap()
}

#[test]
fn an_export_is_verified_without_any_secret_and_every_change_is_located() {
    let disk = record();
    let text = exported(&disk, |_| true);
    let found = check_export(&text);
    assert!(found.is_whole(), "{:?}", found.damage);
    assert_eq!((found.withheld, found.kinds["delivery"]), (0, 15));
    let lines: Vec<&str> = text.lines().collect();
    let rebuilt = |lines: &[String]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let own = || lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let place = lines.iter().position(|line| line.contains("client 7")).unwrap();
    let sequence = place as u64;
    // An edit is located between the signatures around it, and the rest still verifies.
    let mut edited = own();
    edited[place] = edited[place].replace("client 7", "client 8");
    let found = check_export(&rebuilt(&edited));
    assert_eq!(kinds(&found), [DamageKind::Altered]);
    assert!(found.damage[0].after < sequence && found.damage[0].before.unwrap() > sequence);
    // Left out, repeated, swapped.
    let mut left_out = own();
    left_out.remove(place);
    let found = check_export(&rebuilt(&left_out));
    assert_eq!(found.damage[0].kind, DamageKind::Cut);
    assert_eq!((found.damage[0].after, found.damage[0].before), (sequence - 1, Some(sequence + 1)));
    let mut repeated = own();
    repeated.insert(place, repeated[place].clone());
    assert_eq!(check_export(&rebuilt(&repeated)).damage[0].kind, DamageKind::ChainBroken);
    let mut swapped = own();
    swapped.swap(place, place + 1);
    assert!(!check_export(&rebuilt(&swapped)).is_whole());
    // The begin and the end.
    assert!(!check_export(&rebuilt(&own()[..lines.len() - 1])).is_whole());
    let title = lines[0].replace("\"first\":1", "\"first\":2");
    assert!(!check_export(&rebuilt(&[&[title], &own()[2..]].concat())).is_whole());
    // Everything that every byte of an entry's line may become.
    let line = lines[place].as_bytes();
    for at in 0..line.len() {
        let mut altered = line.to_vec();
        altered[at] = if altered[at] == b'x' { b'y' } else { b'x' };
        let Ok(altered) = String::from_utf8(altered) else { continue };
        let mut own = own();
        own[place] = altered;
        assert!(!check_export(&rebuilt(&own)).is_whole(), "byte {at}");
    }
}

#[test]
fn what_is_withheld_is_still_chained() {
    let disk = record();
    let meant = |item: &ravelin_audit::Item| item.text.contains("client 3");
    let text = exported(&disk, meant);
    assert!(text.contains("client 3") && !text.contains("client 4"));
    let found = check_export(&text);
    assert!(found.is_whole(), "{:?}", found.damage);
    assert_eq!((found.withheld, found.kinds["delivery"]), (14, 1));
    let line = text.lines().find(|line| line.contains("leaf")).unwrap();
    let leaf = line.split('"').nth(5).unwrap();
    let other = format!("{}{}", if leaf.starts_with('0') { '1' } else { '0' }, &leaf[1..]);
    assert!(!check_export(&text.replace(leaf, &other)).is_whole());
}

#[test]
fn a_forged_export_needs_the_pinned_key() {
    let (real, forged) = (record(), record());
    let pinned = Reader::open(Arc::new(real.clone()), &keys(&[1])).unwrap().public_key().clone();
    let text = exported(&forged, |_| true);
    assert!(check_export(&text).is_whole(), "whole in itself");
    let found = export::verify(&mut text.as_bytes(), "evidence", Vec::new(), Some(pinned)).unwrap();
    assert_eq!(kinds(&found), [DamageKind::UnknownSigner]);
}

#[test]
fn an_unsigned_tail_is_not_exported() {
    let disk = SimDisk::new(5);
    let mut engine = open(&disk);
    write(&mut engine, 0..3);
    let text = exported(&disk, |_| true);
    assert!(!text.contains("client 0"));
    assert!(check_export(&text).is_whole());
    engine.checkpoint(1500).unwrap();
    assert!(exported(&disk, |_| true).contains("client 2"));
    let unsigned = Entry::new(1, What::Stopped {}).to_json();
    let sequence = check_export(&exported(&disk, |_| true)).last + 1;
    let salt = "00".repeat(16);
    let longer = format!(
        "{}{{\"sequence\":{sequence},\"salt\":\"{salt}\",\"entry\":{unsigned}}}\n",
        exported(&disk, |_| true)
    );
    assert_eq!(kinds(&check_export(&longer)), [DamageKind::Unsigned]);
}
