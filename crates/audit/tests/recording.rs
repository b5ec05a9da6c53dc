//! The thread that writes: what it promises, and what it does when the disk fails.

use ravelin_audit::entry::{Entry, What};
use ravelin_audit::testing::delivery;
use ravelin_audit::{Draft, Notice, OnFull, Options, Reader, Recorder, Recording, verify};
use ravelin_store::testing::{Fault, SimDisk, keys};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

struct Site {
    disk: SimDisk,
    recording: Option<Recording>,
    notices: Receiver<Notice>,
    wakes: Receiver<()>,
}

fn options(on_full: OnFull) -> Options {
    Options { on_full, checkpoint_interval: Duration::from_millis(20), ..Options::default() }
}

fn start(disk: &SimDisk, options: Options) -> Site {
    let (sender, notices) = channel();
    let now_ms = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
    let notify = move |notice| {
        let _ = sender.send(notice);
    };
    let started = Recording::start(Arc::new(disk.clone()), keys(&[1]), options, now_ms, notify);
    let recording = started.unwrap().0;
    let (wake, wakes) = channel();
    let wake = Mutex::new(wake);
    recording.recorder().on_progress(move || {
        let _ = wake.lock().unwrap().send(());
    });
    Site { disk: disk.clone(), recording: Some(recording), notices, wakes }
}

impl Site {
    fn recorder(&self) -> Recorder {
        self.recording.as_ref().unwrap().recorder()
    }

    fn settle(&self, ticket: u64) {
        let deadline = Instant::now() + PATIENCE;
        while self.recorder().durable() < ticket {
            assert!(Instant::now() < deadline, "not durable: {:?}", self.recorder().status());
            let _ = self.wakes.recv_timeout(Duration::from_millis(50));
        }
    }

    fn wait_for(&self, wanted: impl Fn(&Notice) -> bool) -> Notice {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let notice = self.notices.recv_timeout(left).expect("the notice did not come");
            if wanted(&notice) {
                return notice;
            }
        }
    }

    fn close(&mut self) {
        self.recording.take().unwrap().close().unwrap();
    }
}

fn drafts(ids: std::ops::Range<u64>) -> Vec<Draft> {
    ids.map(|id| Draft::from(delivery(id))).collect()
}

fn entries(disk: &SimDisk) -> Vec<Entry> {
    let mut reader = Reader::open(Arc::new(disk.clone()), &keys(&[1])).unwrap();
    let mut entries = Vec::new();
    while let Some(item) = reader.next_item().unwrap() {
        entries.push(item.entry.unwrap());
    }
    entries
}

fn delivered(disk: &SimDisk) -> Vec<String> {
    let ids = entries(disk).into_iter().filter_map(|entry| match entry.what {
        What::Delivery(delivery) => Some(delivery.id),
        _ => None,
    });
    ids.collect()
}

fn names(ids: std::ops::Range<u64>) -> Vec<String> {
    ids.map(|id| id.to_string()).collect()
}

#[test]
fn what_is_told_durable_is_on_disk_signed_soon_and_closed_in_order() {
    let disk = SimDisk::new(1);
    let mut site = start(&disk, options(OnFull::Refuse));
    for round in 0..20 {
        let ticket = site.recorder().append(drafts(round * 10..round * 10 + 10));
        site.settle(ticket);
        assert_eq!(delivered(&disk), names(0..round * 10 + 10));
    }
    let signed = site.wait_for(|notice| matches!(notice, Notice::Signed(_)));
    let Notice::Signed(head) = signed else { unreachable!() };
    assert!(head.checkpoint.sequence > 3 && !head.checkpoint.closed);
    site.close();
    let found = verify(&disk, &keys(&[1]), Vec::new(), None).unwrap();
    assert!(found.is_whole() && found.closed, "{:?}", found.damage);
}

#[test]
fn where_nothing_may_be_lost_a_failing_disk_refuses_and_all_is_written_later() {
    let disk = SimDisk::new(2);
    let mut site = start(&disk, options(OnFull::Refuse));
    let ticket = site.recorder().append(drafts(0..5));
    site.settle(ticket);
    disk.plan(2, Fault::Error);
    disk.limit(Some(1));
    let ticket = site.recorder().append(drafts(5..10));
    assert!(matches!(
        site.wait_for(|one| matches!(one, Notice::Failed { .. })),
        Notice::Failed { refusing: true, .. }
    ));
    assert!(site.recorder().refuses() && site.recorder().durable() < ticket);
    assert!(site.recorder().status().failure.is_some());
    let later = site.recorder().append(drafts(10..12));
    disk.limit(None);
    site.settle(later);
    assert!(!site.recorder().refuses());
    assert_eq!(delivered(&disk), names(0..12), "each once, in order");
    site.close();
    let found = verify(&disk, &keys(&[1]), Vec::new(), None).unwrap();
    assert!(found.is_whole(), "{:?}", found.damage);
    assert_eq!(found.lost, 0);
}

#[test]
fn where_gaps_are_allowed_they_are_counted_and_recorded() {
    let disk = SimDisk::new(3);
    let mut site = start(&disk, options(OnFull::Gap));
    let ticket = site.recorder().append(drafts(0..5));
    site.settle(ticket);
    disk.limit(Some(1));
    let ticket = site.recorder().append(drafts(5..10));
    assert!(matches!(
        site.wait_for(|one| matches!(one, Notice::Failed { .. })),
        Notice::Failed { refusing: false, .. }
    ));
    // Nobody waits for what will never be written.
    site.settle(ticket);
    let ticket = site.recorder().append(drafts(10..12));
    site.settle(ticket);
    assert!(!site.recorder().refuses());
    disk.limit(None);
    site.wait_for(|one| matches!(one, Notice::Recovered { .. }));
    let ticket = site.recorder().append(drafts(12..13));
    site.settle(ticket);
    site.close();
    assert_eq!(delivered(&disk), [names(0..5), names(12..13)].concat());
    let found = verify(&disk, &keys(&[1]), Vec::new(), None).unwrap();
    assert!(found.is_whole(), "{:?}", found.damage);
    assert_eq!(found.lost, 7);
}

#[test]
fn a_full_record_refuses_or_deletes_its_oldest_segments() {
    let small = |on_full| Options { segment_bytes_max: 4096, bytes_max: 40_000, ..options(on_full) };
    let disk = SimDisk::new(4);
    let site = start(&disk, small(OnFull::Refuse));
    let mut id = 0;
    while !site.recorder().refuses() {
        let ticket = site.recorder().append(drafts(id..id + 10));
        site.settle(ticket);
        id += 10;
        assert!(id < 10_000);
    }
    assert!(matches!(
        site.wait_for(|one| matches!(one, Notice::Full { .. })),
        Notice::Full { refusing: true }
    ));
    // What is not traffic is written all the same.
    let ticket = site.recorder().note(1, What::ClockJump { from_ms: 1, to_ms: 2 });
    site.settle(ticket);
    assert!(entries(&disk).iter().any(|entry| matches!(entry.what, What::ClockJump { .. })));

    let disk = SimDisk::new(5);
    let mut site = start(&disk, small(OnFull::Prune));
    for id in 0..200 {
        let ticket = site.recorder().append(drafts(id * 10..id * 10 + 10));
        site.settle(ticket);
    }
    assert!(site.recorder().status().bytes < 60_000, "{:?}", site.recorder().status());
    site.close();
    let found = verify(&disk, &keys(&[1]), Vec::new(), None).unwrap();
    assert!(found.is_whole() && found.first > 1, "{:?}", found.damage);
}

#[test]
fn a_full_queue_asks_to_stop_and_wakes() {
    let disk = SimDisk::new(6);
    let site = start(&disk, Options { queue_bytes_max: 10_000, ..options(OnFull::Refuse) });
    disk.limit(Some(1));
    let ticket = site.recorder().append(drafts(0..30));
    assert!(site.recorder().is_full());
    // Far beyond the bound it is dropped, and that is counted and told.
    let beyond = site.recorder().append(drafts(30..100));
    disk.limit(None);
    site.settle(beyond.max(ticket));
    assert!(!site.recorder().is_full());
    let deadline = Instant::now() + PATIENCE;
    while !entries(&disk).iter().any(|entry| matches!(&entry.what, What::Gap(gap) if gap.lost > 0)) {
        assert!(Instant::now() < deadline);
        let ticket = site.recorder().note(1, What::ClockJump { from_ms: 1, to_ms: 2 });
        site.settle(ticket);
    }
}

#[test]
fn keys_rotate_while_it_is_written() {
    let disk = SimDisk::new(7);
    let mut site = start(&disk, options(OnFull::Refuse));
    let ticket = site.recorder().append(drafts(0..5));
    site.settle(ticket);
    site.recorder().rotate_key(keys(&[2, 1])).unwrap();
    let ticket = site.recorder().append(drafts(5..9));
    site.settle(ticket);
    site.close();
    let found = verify(&site.disk, &keys(&[2]), Vec::new(), None).unwrap();
    assert!(found.is_whole() && found.keys.len() == 2, "{found:?}");
    assert_eq!(found.kinds["delivery"], 9);
}

#[test]
fn nothing_that_was_told_durable_is_lost_whatever_crashes_when() {
    for seed in 0..60 {
        let disk = SimDisk::new(seed);
        let fault = if seed % 3 == 0 { Fault::Error } else { Fault::Crash };
        disk.plan(5 + seed % 40, fault);
        let now_ms = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
        let small = Options { segment_bytes_max: 3000, ..options(OnFull::Refuse) };
        let started = Recording::start(Arc::new(disk.clone()), keys(&[1]), small, now_ms, |_| {});
        let mut told = 0;
        if let Ok((recording, _)) = started {
            let recorder = recording.recorder();
            for id in 0..60 {
                let ticket = recorder.append(drafts(id..id + 1));
                let deadline = Instant::now() + PATIENCE;
                while recorder.durable() < ticket && !disk.crashed() {
                    assert!(Instant::now() < deadline, "seed {seed}");
                    std::thread::yield_now();
                }
                if recorder.durable() >= ticket {
                    told = id + 1;
                }
                if disk.crashed() {
                    break;
                }
            }
            drop(recording);
        }
        disk.restart(true);
        let site = start(&disk, options(OnFull::Refuse));
        drop(site);
        let there = delivered(&disk);
        assert!(
            there.len() as u64 >= told,
            "seed {seed}: {told} were told durable, {} are there",
            there.len()
        );
        assert_eq!(there, names(0..there.len() as u64), "seed {seed}");
        let found = verify(&disk, &keys(&[1]), Vec::new(), None).unwrap();
        assert!(found.is_whole(), "seed {seed}: {:?}", found.damage);
    }
}
