//! What an attacker (or a failing disk) may do to the files, and that it is noticed.

use ravelin_store::{
    Damage, DamageKind, Error, Options, Report, push_record,
    testing::{Engine, Fault, SimDisk, fuzz_open, keys},
};
use std::sync::Arc;

const SEGMENT_1: &str = "segment-0000000000000001.log";
const HEADER_BYTES: usize = 128;

fn options(accept_damage: bool) -> Options {
    Options { segment_bytes_max: 1 << 20, accept_damage, ..Options::default() }
}

fn open(disk: &SimDisk) -> Result<(Engine, Report, Vec<Vec<u8>>), Error> {
    open_with(disk, &[1], false)
}

fn open_with(disk: &SimDisk, seeds: &[u8], accept: bool) -> Result<(Engine, Report, Vec<Vec<u8>>), Error> {
    let (engine, recovery) = Engine::open(Arc::new(disk.clone()), keys(seeds), &options(accept))?;
    let report = recovery.report().clone();
    let records = recovery.collect::<Result<_, _>>()?;
    Ok((engine, report, records))
}

/// Opens expecting damage; checks that nothing was changed by it.
fn damage(disk: &SimDisk) -> Vec<Damage> {
    let before: Vec<_> = disk.names().iter().map(|name| (name.clone(), disk.read(name))).collect();
    let Err(error) = open(disk) else { panic!("the damage went unnoticed") };
    let after: Vec<_> = disk.names().iter().map(|name| (name.clone(), disk.read(name))).collect();
    assert!(before == after, "a refused open changed the files");
    match error {
        Error::Damaged { damage, .. } => damage,
        other => panic!("{other}"),
    }
}

fn kinds(damage: &[Damage]) -> Vec<DamageKind> {
    damage.iter().map(|damage| damage.kind).collect()
}

fn append(engine: &mut Engine, record: &[u8]) {
    let mut batch = Vec::new();
    push_record(&mut batch, record);
    engine.append(&[&batch]).unwrap();
    engine.sync().unwrap();
}

/// A log of one segment with these records, a frame each, synced each, and not closed. The segment ends where its
/// content does.
fn log(records: &[&str]) -> SimDisk {
    let disk = SimDisk::new(1);
    let (mut engine, ..) = open(&disk).unwrap();
    records.iter().for_each(|record| append(&mut engine, record.as_bytes()));
    drop(engine);
    trim(&disk, SEGMENT_1);
    disk
}

/// Takes the zeros off that were written ahead.
fn trim(disk: &SimDisk, name: &str) {
    let mut file = disk.read(name);
    let ends = frames(&file);
    file.truncate(ends.last().map_or(HEADER_BYTES, |(_, end)| *end));
    disk.put(name, &file);
}

/// A log of three segments, two records in each.
fn log_of_three() -> SimDisk {
    let disk = SimDisk::new(2);
    for segment in 0..3 {
        let (mut engine, ..) = open(&disk).unwrap();
        append(&mut engine, format!("{segment} a").as_bytes());
        append(&mut engine, format!("{segment} b").as_bytes());
        engine.close().unwrap();
    }
    assert_eq!(segments(&disk).len(), 3);
    disk
}

fn segments(disk: &SimDisk) -> Vec<String> {
    disk.names().into_iter().filter(|name| name.ends_with(".log")).collect()
}

/// Where the frames of a segment begin and end.
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

#[test]
fn every_flipped_byte_is_noticed_and_salvage_keeps_the_rest() {
    let texts = ["first", "second", "third"];
    let sound = log(&texts);
    // A second life, so that the first segment is one that has ended.
    let (mut engine, ..) = open(&sound).unwrap();
    append(&mut engine, b"fourth");
    engine.close().unwrap();
    drop(engine);
    let sound = sound.fork();
    for name in sound.names() {
        let file = sound.read(&name);
        let frames = frames(&file);
        for at in 0..file.len() {
            for mask in [0x01, 0x80, 0xff] {
                let disk = sound.fork();
                let mut altered = file.clone();
                altered[at] ^= mask;
                disk.put(&name, &altered);
                match open(&disk) {
                    Err(Error::Damaged { damage, .. }) => assert!(!damage.is_empty()),
                    Err(other) => panic!("{name} at {at}: {other}"),
                    Ok(_) => panic!("{name} at {at}: unnoticed"),
                }
                let (engine, report, records) = open_with(&disk, &[1], true).unwrap();
                assert!(!report.damage.is_empty());
                let expected: Vec<&[u8]> = if name == "MANIFEST" {
                    vec![b"first", b"second", b"third", b"fourth"]
                } else if name == SEGMENT_1 {
                    let sound = frames.iter().filter(|(_, end)| *end <= at).count();
                    let mut kept: Vec<&[u8]> = texts[..sound].iter().map(|text| text.as_bytes()).collect();
                    kept.push(b"fourth");
                    kept
                } else {
                    vec![b"first", b"second", b"third"]
                };
                assert_eq!(records, expected, "{name} at {at}");
                assert!(disk.names().contains(&format!("{name}.damaged-1")), "{name} at {at}");
                assert!(disk.read(&format!("{name}.damaged-1")) == altered);
                drop(engine);
                // What was accepted once is not reported again.
                let (_, report, records) = open(&disk).unwrap();
                assert!(report.damage.is_empty());
                assert_eq!(records, expected);
            }
        }
    }
}

#[test]
fn a_torn_last_write_is_cut_off_and_reported() {
    let whole = log(&["first", "second"]);
    let file = whole.read(SEGMENT_1);
    let (start, end) = frames(&file)[1];
    for length in start + 1..end {
        let disk = whole.fork();
        disk.put(SEGMENT_1, &file[..length]);
        let (engine, report, records) = open(&disk).unwrap();
        let torn = report.torn_tail.unwrap();
        assert_eq!((torn.segment, torn.offset), (1, start as u64));
        assert!(torn.bytes_lost <= (length - start) as u64 && torn.bytes_lost > 0);
        assert_eq!(records, [b"first"]);
        drop(engine);
        let (_, report, records) = open(&disk).unwrap();
        assert_eq!(report.torn_tail, None);
        assert_eq!(records, [b"first"]);
    }
}

#[test]
fn a_tail_of_zeros_is_a_clean_end() {
    let disk = log(&["first"]);
    let mut file = disk.read(SEGMENT_1);
    file.resize(file.len() + 5000, 0);
    disk.put(SEGMENT_1, &file);
    let (_, report, records) = open(&disk).unwrap();
    assert_eq!((report.torn_tail, records.len()), (None, 1));
}

#[test]
fn an_altered_frame_before_one_that_was_synced_later_is_no_torn_write() {
    // The third frame says that two had been durable; the second is therefore no unfinished write.
    let disk = log(&["first", "second", "third"]);
    let mut file = disk.read(SEGMENT_1);
    let (start, end) = frames(&file)[1];
    for at in [start, start + 5, start + 9, start + 20] {
        let disk = disk.fork();
        let mut altered = file.clone();
        altered[at] ^= 4;
        disk.put(SEGMENT_1, &altered);
        let found = damage(&disk);
        assert_eq!(kinds(&found), [DamageKind::FrameAltered]);
        assert_eq!(found[0].offset, start as u64);
        assert_eq!(found[0].bytes_lost, (file.len() - start) as u64);
    }
    // With the tag of the second altered, the third cannot be checked; the fourth would prove it. Zeroed whole, too.
    file[start..end].fill(0);
    let torn = disk.fork();
    torn.put(SEGMENT_1, &file);
    let (_, report, _) = open(&torn).unwrap();
    assert!(report.torn_tail.is_some());
    let disk = log(&["first", "second", "third", "fourth"]);
    let mut file = disk.read(SEGMENT_1);
    file[start..end].fill(0);
    disk.put(SEGMENT_1, &file);
    assert_eq!(kinds(&damage(&disk)), [DamageKind::FrameAltered]);
}

#[test]
fn a_cut_behind_an_anchor_is_noticed() {
    let disk = SimDisk::new(3);
    let (mut engine, ..) = open(&disk).unwrap();
    append(&mut engine, b"first");
    append(&mut engine, b"second");
    engine.anchor().unwrap();
    append(&mut engine, b"third");
    drop(engine);
    trim(&disk, SEGMENT_1);
    let file = disk.read(SEGMENT_1);
    for (cut, proven) in [
        (0, true),
        (100, true),
        (HEADER_BYTES, true),
        (frames(&file)[1].0, true),
        (frames(&file)[1].1, false),
    ] {
        let disk = disk.fork();
        disk.put(SEGMENT_1, &file[..cut]);
        if proven {
            let kind = if cut < HEADER_BYTES { DamageKind::HeaderAltered } else { DamageKind::Cut };
            assert_eq!(kinds(&damage(&disk)), [kind], "cut at {cut}");
        } else {
            // Whole frames behind the last anchor can be cut off unnoticed; FORMAT.md says so.
            assert_eq!(open(&disk).unwrap().2.len(), 2);
        }
    }
}

#[test]
fn every_cut_of_a_closed_log_is_noticed() {
    let sound = log_of_three();
    for name in segments(&sound) {
        let file = sound.read(&name);
        for length in 0..file.len() {
            let disk = sound.fork();
            disk.put(&name, &file[..length]);
            let found = damage(&disk);
            assert_eq!(found.len(), 1, "{name} cut at {length}");
            assert_eq!(found[0].file, name);
        }
        let disk = sound.fork();
        disk.put(&name, &[&file[..], b"more"].concat());
        assert_eq!(kinds(&damage(&disk)), [DamageKind::TrailingBytes]);
        assert_eq!(open_with(&disk, &[1], true).unwrap().2.len(), 6);
    }
}

#[test]
fn missing_segments_are_noticed() {
    let sound = log_of_three();
    for (index, name) in segments(&sound).iter().enumerate() {
        let disk = sound.fork();
        disk.delete(name);
        let found = damage(&disk);
        assert_eq!(kinds(&found), [DamageKind::SegmentMissing]);
        assert_eq!(&found[0].file, name);
        let (mut engine, report, records) = open_with(&disk, &[1], true).unwrap();
        assert_eq!(report.damage, found);
        let kept: Vec<String> = (0..3)
            .filter(|kept| *kept != index)
            .flat_map(|kept| [format!("{kept} a"), format!("{kept} b")])
            .collect();
        assert_eq!(records, kept.iter().map(String::as_bytes).collect::<Vec<_>>());
        append(&mut engine, b"goes on");
        drop(engine);
        assert_eq!(open(&disk).unwrap().2.len(), 5);
    }
}

#[test]
fn swapped_segments_and_segments_of_another_store_are_noticed() {
    let sound = log_of_three();
    let names = segments(&sound);
    let disk = sound.fork();
    disk.put(&names[0], &sound.read(&names[1]));
    disk.put(&names[1], &sound.read(&names[0]));
    assert_eq!(kinds(&damage(&disk)), [DamageKind::HeaderAltered, DamageKind::HeaderAltered]);
    // The same key, the same number, another store.
    let other = log_of_three();
    let disk = sound.fork();
    disk.put(&names[1], &other.read(&names[1]));
    assert_eq!(kinds(&damage(&disk)), [DamageKind::HeaderAltered]);
    let disk = sound.fork();
    disk.put("MANIFEST", &other.read("MANIFEST"));
    assert_eq!(damage(&disk).len(), 3);
}

#[test]
fn frames_that_were_reordered_repeated_or_left_out_are_noticed() {
    let sound = log(&["aaaa", "bbbb", "cccc", "dddd"]);
    let (engine, ..) = open(&sound).unwrap();
    drop(engine);
    let file = sound.read(SEGMENT_1);
    let frames = frames(&file);
    assert_eq!(frames.len(), 4);
    let frame = |index: usize| &file[frames[index].0..frames[index].1];
    let head = &file[..HEADER_BYTES];
    for order in [
        &[1, 0, 2, 3][..],
        &[0, 2, 1, 3],
        &[0, 1, 1, 2, 3],
        &[0, 2, 3],
        &[0, 1, 3, 3],
        &[1, 2, 3],
        &[3, 2, 1, 0],
    ] {
        let disk = sound.fork();
        let altered: Vec<u8> =
            std::iter::once(head).chain(order.iter().map(|index| frame(*index))).flatten().copied().collect();
        disk.put(SEGMENT_1, &altered);
        let found = damage(&disk);
        assert!(
            matches!(kinds(&found)[..], [DamageKind::FrameAltered | DamageKind::Cut]),
            "{order:?}: {found:?}"
        );
    }
}

#[test]
fn an_older_manifest_is_noticed() {
    let disk = SimDisk::new(4);
    let (mut engine, ..) = open(&disk).unwrap();
    append(&mut engine, b"first");
    engine.close().unwrap();
    let old = disk.read("MANIFEST");
    drop(engine);
    let (mut engine, ..) = open(&disk).unwrap();
    append(&mut engine, b"second");
    drop(engine);
    disk.put("MANIFEST", &old);
    assert_eq!(kinds(&damage(&disk)), [DamageKind::ManifestOutdated]);
    let (_, _, records) = open_with(&disk, &[1], true).unwrap();
    assert_eq!(records, [&b"first"[..], b"second"]);
    // A manifest from before a checkpoint misses what was deleted since.
    let disk = log_of_three();
    let old = disk.read("MANIFEST");
    let (mut engine, ..) = open(&disk).unwrap();
    let first = engine.begin_checkpoint().unwrap();
    append(&mut engine, b"state");
    engine.end_checkpoint(first).unwrap();
    drop(engine);
    disk.put("MANIFEST", &old);
    let found = damage(&disk);
    assert!(
        kinds(&found).contains(&DamageKind::SegmentMissing)
            && kinds(&found).contains(&DamageKind::ManifestOutdated)
    );
}

#[test]
fn a_lost_manifest_is_noticed_and_can_be_rebuilt() {
    for accept in [false, true] {
        let disk = log_of_three();
        disk.delete("MANIFEST");
        if !accept {
            assert_eq!(kinds(&damage(&disk)), [DamageKind::ManifestMissing]);
            continue;
        }
        let (mut engine, _, records) = open_with(&disk, &[1], true).unwrap();
        assert_eq!(records.len(), 6);
        append(&mut engine, b"goes on");
        drop(engine);
        assert_eq!(open(&disk).unwrap().2.len(), 7);
    }
    // Without the manifest, the chain from segment to segment still shows that one is missing.
    let disk = log_of_three();
    disk.delete("MANIFEST");
    disk.delete(&segments(&disk)[1]);
    assert_eq!(kinds(&damage(&disk)), [DamageKind::ManifestMissing, DamageKind::ChainBroken]);
    assert_eq!(open_with(&disk, &[1], true).unwrap().2.len(), 4);
}

#[test]
fn several_damages_are_all_reported_with_what_is_lost() {
    let disk = log_of_three();
    let names = segments(&disk);
    disk.delete(&names[0]);
    let mut file = disk.read(&names[2]);
    let (start, _) = frames(&file)[1];
    file[start + 20] ^= 1;
    disk.put(&names[2], &file);
    let Err(error) = open(&disk) else { panic!("unnoticed") };
    let text = error.to_string();
    for part in [&names[0], &names[2], &format!("offset {start}"), "accept_damage", "nothing was changed"] {
        assert!(text.contains(part), "{text}");
    }
    let (_, report, records) = open_with(&disk, &[1], true).unwrap();
    assert_eq!(report.damage.len(), 2);
    assert_eq!(records, [&b"1 a"[..], b"1 b", b"2 a"]);
}

#[test]
fn another_key_is_refused_whether_or_not_damage_is_accepted() {
    let disk = log_of_three();
    for accept in [false, true] {
        assert!(matches!(open_with(&disk, &[2], accept), Err(Error::UnknownKey { .. })));
    }
    disk.delete("MANIFEST");
    assert!(matches!(open_with(&disk, &[2], true), Err(Error::UnknownKey { .. })));
    // With the right key among others all is well.
    let disk = log_of_three();
    let (engine, report, records) = open_with(&disk, &[2, 1], false).unwrap();
    assert_eq!((report.keys.len(), records.len()), (1, 6));
    drop(engine);
    // The manifest is written with the new key by now, the segments are not.
    assert!(matches!(open_with(&disk, &[2], false), Err(Error::UnknownKey { .. })));
    assert!(matches!(open_with(&disk, &[1], true), Err(Error::UnknownKey { .. }) | Ok(_)));
}

#[test]
fn an_accepted_damage_survives_a_crash_while_it_is_repaired() {
    for operation in 1..60 {
        let disk = log_of_three();
        let names = segments(&disk);
        let mut file = disk.read(&names[1]);
        let (start, _) = frames(&file)[1];
        file[start + 20] ^= 1;
        disk.put(&names[1], &file);
        disk.reseed(operation);
        disk.plan(operation, Fault::Crash);
        let done = open_with(&disk, &[1], true).is_ok();
        disk.restart(true);
        let (_, _, records) = open_with(&disk, &[1], true).unwrap();
        assert_eq!(records, [&b"0 a"[..], b"0 b", b"1 a", b"2 a", b"2 b"], "crash at {operation}");
        let aside = disk.names().into_iter().filter(|name| name.contains("damaged"));
        assert!(aside.map(|name| disk.read(&name)).any(|copy| copy == file), "crash at {operation}");
        if done {
            return;
        }
    }
    panic!("the repair never came to its end");
}

#[test]
fn arbitrary_bytes_cause_no_panic() {
    let mut random = 9u64;
    let mut draw = move || {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (random >> 33) as usize
    };
    for round in 0..3000 {
        let length = draw() % 300;
        let mut bytes: Vec<u8> = (0..length).map(|_| draw() as u8).collect();
        if round % 2 == 0 && bytes.len() > 19 {
            // Something that looks like a frame.
            bytes[3..7].copy_from_slice(b"RvFr");
            bytes[9..11].fill(0);
            bytes[13..19].fill(0);
        }
        fuzz_open(&bytes);
    }
    fuzz_open(b"ravelin-key-file 1\ncurrent 00 00\n");
    fuzz_open(b"RAVELSEG");
}

/// Claims of frames all over a large tail must cost time in proportion to the file, not to its square.
#[test]
fn a_tail_full_of_frame_headers_is_read_in_bounded_time() {
    let disk = log(&["first"]);
    let mut file = disk.read(SEGMENT_1);
    let mut claim = Vec::new();
    claim.extend_from_slice(b"RvFr");
    claim.extend_from_slice(&(1u32 << 20).to_le_bytes());
    claim.extend_from_slice(&99u64.to_le_bytes());
    file.extend(claim.iter().cycle().take(4 << 20));
    disk.put(SEGMENT_1, &file);
    let (_, report, records) = open(&disk).unwrap();
    assert_eq!(records, [b"first"]);
    assert!(report.torn_tail.is_some());
}
