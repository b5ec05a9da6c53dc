//! One thing at a time: what a session is owed after a kill, step by step.

use ravelin_crash::node::{Durability, Node, segments};
use ravelin_crash::talk::{Talk, plain};
use ravelin_crash::wire::{self, Connect, Publish, Version, Will};
use std::path::Path;
use std::time::{Duration, Instant};

fn start(data: &Path, workers: u16) -> Node {
    Node::start(data, workers, Durability::Commit).unwrap_or_else(|refusal| panic!("{}", refusal.log))
}

fn restart(node: &mut Node, data: &Path, workers: u16) {
    node.kill();
    *node = start(data, workers);
}

fn payloads(inbox: &[Publish]) -> Vec<&str> {
    inbox.iter().map(|publish| std::str::from_utf8(&publish.payload).unwrap()).collect()
}

/// Names of clients, one at home on each of so many workers whatever the placement: enough names, and each is tried.
fn names(stem: &str) -> Vec<String> {
    (0..6).map(|i| format!("{stem}{i}")).collect()
}

#[test]
fn an_unacknowledged_message_comes_again_with_dup_and_its_packet_id() {
    for workers in [1, 3] {
        let directory = tempfile::tempdir().unwrap();
        let mut node = start(directory.path(), workers);
        let (mut reader, _) = Talk::connect(node.address, &plain("reader", true, 600)).unwrap();
        reader.subscribe("a", 2).unwrap();
        reader.acking = false;
        let (mut writer, _) = Talk::connect(node.address, &plain("writer", true, 600)).unwrap();
        writer.publish("a", b"one", 1, false).unwrap();
        writer.publish("a", b"two", 2, false).unwrap();
        writer.publish("a", b"three", 1, false).unwrap();
        reader.await_message(b"three").unwrap();
        let first = reader.inbox.clone();
        restart(&mut node, directory.path(), workers);
        let (mut reader, present) = Talk::connect(node.address, &plain("reader", false, 600)).unwrap();
        assert!(present);
        reader.await_message(b"three").unwrap();
        let again: Vec<Publish> = first.into_iter().map(|publish| Publish { dup: true, ..publish }).collect();
        assert_eq!(reader.inbox, again);
        // PUBREL says that the broker knows: the message does not come a third time.
        reader.await_released(1).unwrap();
        restart(&mut node, directory.path(), workers);
        let (mut reader, _) = Talk::connect(node.address, &plain("reader", false, 600)).unwrap();
        reader.ping().unwrap();
        assert!(!payloads(&reader.inbox).contains(&"two"), "released, and published again");
    }
}

#[test]
fn a_message_whose_pubrec_was_lost_is_not_taken_twice() {
    for workers in [1, 2, 3] {
        let directory = tempfile::tempdir().unwrap();
        let mut node = start(directory.path(), workers);
        let readers = names("reader");
        for name in &readers {
            let (mut talk, _) = Talk::connect(node.address, &plain(name, true, 600)).unwrap();
            talk.subscribe("a", 2).unwrap();
        }
        let (mut writer, _) = Talk::connect(node.address, &plain("writer", true, 600)).unwrap();
        let id = writer.send("a", b"once", 2, false);
        writer.await_ack(wire::PUBREC, id).unwrap();
        // As if PUBREC had not come.
        restart(&mut node, directory.path(), workers);
        let (mut writer, present) = Talk::connect(node.address, &plain("writer", false, 600)).unwrap();
        assert!(present);
        writer.send_as("a", b"once", 2, false, id, true);
        writer.await_ack(wire::PUBREC, id).unwrap();
        restart(&mut node, directory.path(), workers);
        let (mut writer, _) = Talk::connect(node.address, &plain("writer", false, 600)).unwrap();
        writer.release(id).unwrap();
        writer.send_as("a", b"another", 2, false, id, false);
        writer.await_ack(wire::PUBREC, id).unwrap();
        writer.release(id).unwrap();
        for name in &readers {
            let (mut talk, _) = Talk::connect(node.address, &plain(name, false, 600)).unwrap();
            talk.await_message(b"another").unwrap();
            assert_eq!(payloads(&talk.inbox), ["once", "another"], "{name}, {workers} workers");
        }
    }
}

/// Publishes until the log has been compacted.
fn force_checkpoint(node: &Node, data: &Path) {
    let first = segments(data).remove(0);
    let (mut talk, _) = Talk::connect(node.address, &plain("bulk", true, 60)).unwrap();
    talk.subscribe("bulk", 1).unwrap();
    let payload = vec![b'x'; 900_000];
    let until = Instant::now() + Duration::from_secs(60);
    while first.exists() {
        assert!(Instant::now() < until, "no checkpoint");
        talk.publish("bulk", &payload, 1, false).unwrap();
        talk.inbox.clear();
    }
    talk.ping().unwrap();
}

#[test]
fn everything_survives_a_checkpoint() {
    for workers in [1, 3] {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path();
        let mut node = start(data, workers);
        let readers = names("reader");
        for name in &readers {
            let (mut talk, _) = Talk::connect(node.address, &plain(name, true, 600)).unwrap();
            talk.subscribe("a", 2).unwrap();
            talk.subscribe("gone", 1).unwrap();
            talk.subscribe("$share/g/shared", 1).unwrap();
        }
        let (mut writer, _) = Talk::connect(node.address, &plain("writer", true, 600)).unwrap();
        let id = writer.send("a", b"once", 2, false);
        writer.await_ack(wire::PUBREC, id).unwrap();
        writer.publish("kept", b"old", 1, true).unwrap();
        writer.publish("kept", b"new", 1, true).unwrap();
        writer.publish("cleared", b"old", 1, true).unwrap();
        writer.publish("cleared", b"", 1, true).unwrap();
        writer.publish("shared", b"for one", 1, false).unwrap();
        // The next kill comes while the publisher waits for nothing, but its handshake is not done.
        force_checkpoint(&node, data);
        restart(&mut node, data, workers);
        let (mut writer, present) = Talk::connect(node.address, &plain("writer", false, 600)).unwrap();
        assert!(present);
        writer.send_as("a", b"once", 2, false, id, true);
        writer.await_ack(wire::PUBREC, id).unwrap();
        writer.release(id).unwrap();
        writer.publish("a", b"end", 1, false).unwrap();
        let mut shared = 0;
        for name in &readers {
            let (mut talk, present) = Talk::connect(node.address, &plain(name, false, 600)).unwrap();
            assert!(present, "{name}");
            talk.await_message(b"end").unwrap();
            let mut got = payloads(&talk.inbox);
            shared += got.iter().filter(|payload| **payload == "for one").count();
            got.retain(|payload| *payload != "for one");
            assert_eq!(got, ["once", "end"], "{name}, {workers} workers");
        }
        assert_eq!(shared, 1, "{workers} workers");
        let (mut talk, _) = Talk::connect(node.address, &plain("late", true, 0)).unwrap();
        talk.subscribe("#", 1).unwrap();
        talk.ping().unwrap();
        assert_eq!(payloads(&talk.inbox), ["new"], "retained, {workers} workers");
    }
}

#[test]
fn a_message_to_a_shared_subscription_is_on_disk_when_it_is_acknowledged() {
    for workers in [2, 3] {
        for round in 0..6 {
            let directory = tempfile::tempdir().unwrap();
            let mut node = start(directory.path(), workers);
            let members = names("member");
            let filter = format!("$share/g{round}/shared");
            for name in &members {
                let (mut talk, _) = Talk::connect(node.address, &plain(name, true, 600)).unwrap();
                talk.subscribe(&filter, 1).unwrap();
            }
            let (mut writer, _) = Talk::connect(node.address, &plain("writer", true, 600)).unwrap();
            let sent: Vec<String> = (0..20).map(|i| format!("m{i}")).collect();
            for payload in &sent {
                writer.publish("shared", payload.as_bytes(), 1, false).unwrap();
            }
            restart(&mut node, directory.path(), workers);
            let mut got = Vec::new();
            for name in &members {
                let (mut talk, _) = Talk::connect(node.address, &plain(name, false, 600)).unwrap();
                talk.ping().unwrap();
                got.extend(payloads(&talk.inbox).into_iter().map(str::to_owned));
            }
            let lost: Vec<&String> = sent.iter().filter(|payload| !got.contains(payload)).collect();
            assert!(lost.is_empty(), "{workers} workers: {lost:?} were acknowledged and are lost");
        }
    }
}

#[test]
fn wills_of_those_who_were_connected_find_every_subscriber_once() {
    for workers in [1, 2, 3] {
        let directory = tempfile::tempdir().unwrap();
        let mut node = start(directory.path(), workers);
        let readers = names("reader");
        for name in &readers {
            let (mut talk, _) = Talk::connect(node.address, &plain(name, true, 600)).unwrap();
            talk.subscribe("will/+", 2).unwrap();
        }
        let will = |name: &str, delay_s| Will {
            topic: format!("will/{name}"),
            payload: format!("{name} is gone").into_bytes(),
            qos: 2,
            delay_s,
        };
        let mut connected = Vec::new();
        let mut wanted = Vec::new();
        for (i, name) in names("client").into_iter().enumerate() {
            let will = will(&name, 0);
            let version = if i % 2 == 0 { Version::V5 } else { Version::V311 };
            let expiry_s = if i % 3 == 0 { 600 } else { 0 };
            let connect = Connect { version, will: Some(&will), ..plain(&name, true, expiry_s) };
            connected.push(Talk::connect(node.address, &connect).unwrap().0);
            wanted.push(format!("{name} is gone"));
        }
        let (clean, late, back) = (will("clean", 0), will("late", 2), will("back", 2));
        let connect = Connect { will: Some(&clean), ..plain("clean", true, 600) };
        Talk::connect(node.address, &connect).unwrap().0.disconnect();
        for (name, will) in [("late", &late), ("back", &back)] {
            let connect = Connect { will: Some(will), ..plain(name, true, 600) };
            connected.push(Talk::connect(node.address, &connect).unwrap().0);
        }
        // Durable, as the clean end is then too: two commits.
        connected[0].publish("fence", b"1", 1, true).unwrap();
        connected[0].publish("fence", b"2", 1, true).unwrap();
        restart(&mut node, directory.path(), workers);
        // It comes back within its delay.
        let (back, present) = Talk::connect(node.address, &plain("back", false, 600)).unwrap();
        assert!(present);
        let restarted = Instant::now();
        restart(&mut node, directory.path(), workers);
        drop(back);
        wanted.push("late is gone".into());
        let (mut watcher, _) = Talk::connect(node.address, &plain(&readers[0], false, 600)).unwrap();
        watcher.await_message(b"late is gone").unwrap();
        assert!(restarted.elapsed() < Duration::from_secs(10), "the delay is 2 s");
        drop(watcher);
        restart(&mut node, directory.path(), workers);
        wanted.sort();
        for name in &readers[1..] {
            let (mut talk, _) = Talk::connect(node.address, &plain(name, false, 600)).unwrap();
            talk.ping().unwrap();
            let mut got = payloads(&talk.inbox);
            got.sort_unstable();
            assert_eq!(got, wanted, "{name}, {workers} workers");
        }
    }
}

#[test]
fn wills_survive_kills_while_they_are_published() {
    for workers in [1, 2, 3] {
        let directory = tempfile::tempdir().unwrap();
        let mut node = start(directory.path(), workers);
        let readers = names("reader");
        for name in &readers {
            let (mut talk, _) = Talk::connect(node.address, &plain(name, true, 600)).unwrap();
            talk.subscribe("will/+", 2).unwrap();
        }
        let (mut wanted, mut connected) = (Vec::new(), Vec::new());
        for i in 0..4 {
            for (j, name) in names(&format!("client{i}-")).into_iter().enumerate() {
                let (topic, payload) = (format!("will/{name}"), format!("{name} is gone").into_bytes());
                let will = Will { topic, payload, qos: 2, delay_s: 0 };
                let connect = Connect { will: Some(&will), ..plain(&name, true, [0, 600][j % 2]) };
                connected.push(Talk::connect(node.address, &connect).unwrap());
                wanted.push(format!("{name} is gone"));
            }
            for after in [0, 300, 600, 1000, 2000, 5000] {
                restart(&mut node, directory.path(), workers);
                std::thread::sleep(Duration::from_micros(after));
            }
            restart(&mut node, directory.path(), workers);
        }
        wanted.sort();
        for name in &readers {
            let (mut talk, _) = Talk::connect(node.address, &plain(name, false, 600)).unwrap();
            talk.ping().unwrap();
            let mut got = payloads(&talk.inbox);
            got.sort_unstable();
            assert_eq!(got, wanted, "{name}, {workers} workers");
        }
    }
}

#[test]
fn expiry_goes_on_while_the_node_is_down_and_across_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = start(directory.path(), 2);
    for (name, expiry_s) in [("short", 2), ("long", 600)] {
        let (mut talk, _) = Talk::connect(node.address, &plain(name, true, expiry_s)).unwrap();
        talk.subscribe("a", 1).unwrap();
        talk.disconnect();
    }
    let (mut writer, _) = Talk::connect(node.address, &plain("writer", true, 0)).unwrap();
    writer.publish("a", b"for both", 1, false).unwrap();
    writer.publish("a", b"for both too", 1, false).unwrap();
    let left = Instant::now();
    // Restarts do not give a session its time anew; here none lasts as long as the session may.
    while left.elapsed() < Duration::from_millis(2300) {
        restart(&mut node, directory.path(), 2);
        std::thread::sleep(Duration::from_millis(300));
    }
    let (_, present) = Talk::connect(node.address, &plain("short", false, 2)).unwrap();
    assert!(!present, "its 2 s are over");
    let (mut talk, present) = Talk::connect(node.address, &plain("long", false, 600)).unwrap();
    assert!(present);
    talk.await_message(b"for both too").unwrap();
    assert_eq!(payloads(&talk.inbox), ["for both", "for both too"]);
}

#[test]
fn a_session_is_there_as_soon_as_connack_has_come() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = start(directory.path(), 2);
    for i in 0..10 {
        let name = format!("client{i}");
        let will = Will { topic: "gone".into(), payload: name.clone().into_bytes(), qos: 1, delay_s: 0 };
        let connect = Connect { will: Some(&will), ..plain(&name, true, 600) };
        let (mut reader, _) = Talk::connect(node.address, &plain("reader", false, 600)).unwrap();
        reader.subscribe("gone", 1).unwrap();
        let talk = Talk::connect(node.address, &connect).unwrap();
        restart(&mut node, directory.path(), 2);
        drop((talk, reader));
        let (mut reader, present) = Talk::connect(node.address, &plain("reader", false, 600)).unwrap();
        assert!(present);
        reader.await_message(name.as_bytes()).unwrap();
        let (_, present) = Talk::connect(node.address, &plain(&name, false, 600)).unwrap();
        assert!(present, "CONNACK came, and the session is gone");
    }
}

#[test]
fn what_a_clean_start_discarded_stays_away() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = start(directory.path(), 2);
    let (mut writer, _) = Talk::connect(node.address, &plain("writer", true, 600)).unwrap();
    for i in 0..10 {
        let name = format!("client{i}");
        let (mut talk, _) = Talk::connect(node.address, &plain(&name, true, 600)).unwrap();
        talk.subscribe("a", 1).unwrap();
        drop(talk);
        writer.publish("a", b"for the earlier session", 1, false).unwrap();
        let anew = Talk::connect(node.address, &plain(&name, true, 600)).unwrap();
        restart(&mut node, directory.path(), 2);
        drop(anew);
        writer = Talk::connect(node.address, &plain("writer", false, 600)).unwrap().0;
        writer.publish("a", b"for nobody", 1, false).unwrap();
        let (mut talk, present) = Talk::connect(node.address, &plain(&name, false, 600)).unwrap();
        assert!(present);
        talk.ping().unwrap();
        assert_eq!(payloads(&talk.inbox), [] as [&str; 0]);
    }
}

#[test]
fn the_options_of_a_subscription_survive() {
    const NO_LOCAL: u8 = 4;
    const RETAIN_AS_PUBLISHED: u8 = 8;
    for workers in [1, 2] {
        let directory = tempfile::tempdir().unwrap();
        let mut node = start(directory.path(), workers);
        let (mut talk, _) = Talk::connect(node.address, &plain("reader", true, 600)).unwrap();
        talk.subscribe("a", 1 | NO_LOCAL | RETAIN_AS_PUBLISHED).unwrap();
        talk.subscribe("b", 2).unwrap();
        talk.subscribe("b", 0).unwrap();
        for checkpoint in [false, true] {
            if checkpoint {
                force_checkpoint(&node, directory.path());
            }
            restart(&mut node, directory.path(), workers);
            let (mut talk, present) = Talk::connect(node.address, &plain("reader", false, 600)).unwrap();
            assert!(present);
            talk.publish("a", b"own", 1, true).unwrap();
            let (mut writer, _) = Talk::connect(node.address, &plain("writer", true, 0)).unwrap();
            writer.publish("b", b"lowered", 2, true).unwrap();
            writer.publish("a", b"retained", 1, true).unwrap();
            talk.await_message(b"retained").unwrap();
            let got: Vec<_> = talk.inbox.iter().map(|got| (&*got.payload, got.qos, got.retain)).collect();
            assert_eq!(got, [(&b"lowered"[..], 0, false), (&b"retained"[..], 1, true)], "{workers} workers");
        }
    }
}

#[test]
fn a_message_that_some_workers_had_is_not_lost_with_fewer_workers() {
    for round in 0..12 {
        let directory = tempfile::tempdir().unwrap();
        let mut node = start(directory.path(), 4);
        let readers = names("reader");
        for name in &readers {
            let (mut talk, _) = Talk::connect(node.address, &plain(name, true, 600)).unwrap();
            talk.subscribe("a", 2).unwrap();
        }
        let (mut writer, _) = Talk::connect(node.address, &plain("writer", true, 600)).unwrap();
        let sent: Vec<String> = (0..40).map(|i| format!("m{i}")).collect();
        let ids: Vec<u16> =
            sent.iter().map(|payload| writer.send("a", payload.as_bytes(), 2, false)).collect();
        writer.flush().unwrap();
        std::thread::sleep(Duration::from_micros(200 * round));
        restart(&mut node, directory.path(), 1);
        let (mut writer, present) = Talk::connect(node.address, &plain("writer", false, 600)).unwrap();
        assert!(present);
        for (payload, id) in sent.iter().zip(ids) {
            writer.send_as("a", payload.as_bytes(), 2, false, id, true);
            writer.await_ack(wire::PUBREC, id).unwrap();
            writer.release(id).unwrap();
        }
        writer.publish("a", b"end", 2, false).unwrap();
        for name in &readers {
            let (mut talk, _) = Talk::connect(node.address, &plain(name, false, 600)).unwrap();
            talk.await_message(b"end").unwrap();
            let got = payloads(&talk.inbox);
            let lost: Vec<&String> = sent.iter().filter(|payload| !got.contains(&payload.as_str())).collect();
            assert!(lost.is_empty(), "{name} never got {lost:?}, which were acknowledged");
        }
    }
}
