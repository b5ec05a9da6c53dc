//! What nobody should send: damaged records and frames of any bytes. The core may refuse them; it must not panic, and what
//! it holds must still be consistent. Both functions take any bytes and fit a fuzzer.

use crate::wire::{Login, Message};
use crate::{Cluster, Got, Random, publish, subscribe};
use ravelin_broker::{Broker, Limits, Now};
use ravelin_mqtt::{SubscribeOptions, Version};
use std::rc::Rc;

/// Restores a row of records, each behind its length as 2 bytes, and lets the shard live for a while.
pub fn restore(mut data: &[u8]) {
    let now = Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 };
    let shards = 1 + data.first().map_or(0, |first| *first as u16 % 3);
    let rights = Rc::new(crate::Rights::default());
    let mut broker = Broker::new(0, shards, Limits::default(), rights, 5);
    while let Some((prefix, rest)) = data.split_first_chunk::<2>() {
        let len = (u16::from_le_bytes(*prefix) as usize).min(rest.len());
        let (record, rest) = rest.split_at(len);
        let _ = broker.restore(now, record);
        data = rest;
    }
    broker.finish_restore(now);
    broker.check_invariants();
    let mut later = now;
    for ms in [0, 1, 5_000, 1 << 40] {
        later.mono_ms += ms;
        later.wall_ms += ms;
        broker.handle_timeout(later);
        while broker.poll_output().is_some() {}
        broker.check_invariants();
        broker.checkpoint_begin();
        while !broker.checkpoint_step(later, 1 << 20) {}
        broker.take_journal(Vec::new());
    }
}

/// Sends frames of any bytes, each behind its length as 1 byte, on connections of both versions, between which real messages
/// go. Whatever a client is sent must be packets.
pub fn frames(data: &[u8]) {
    let mut cluster = Cluster::new(1 + data.first().map_or(0, |first| *first as u16 % 2));
    let mut rest = data;
    let mut conns = Vec::new();
    for (id, version) in [("a", Version::V5), ("b", Version::V311), ("c", Version::V5)] {
        let login = Login { version, ..Login::v5(id) };
        let Ok(conn) = cluster.connect(&login.kept()) else { continue };
        let all = [("#", SubscribeOptions::default()), ("$share/g/+", SubscribeOptions::default())];
        cluster.send(conn, &subscribe(version, 1, None, &all));
        conns.push((conn, version));
    }
    while let Some((&[len, first], after)) = rest.split_first_chunk::<2>() {
        let (body, after) = after.split_at((len as usize).min(after.len()));
        let (conn, version) = conns[len as usize % conns.len()];
        cluster.send_frame(conn, first, body);
        cluster.send(conn, &publish(version, &Message::new("t", "x", 1 + len % 2).id(1 + first as u16)));
        rest = after;
    }
    cluster.settle();
    for (conn, _) in conns {
        let got: Vec<Got> = cluster.receive(conn);
        assert!(!got.is_empty(), "a CONNACK at least");
        cluster.drop_conn(conn);
    }
    cluster.advance(1 << 40);
    cluster.settle();
    for shard in 0..cluster.shards() {
        cluster.shard(shard).check_invariants();
        assert_eq!(cluster.shard(shard).stats().sessions, 0);
    }
}

/// Changes bytes here and there: flipped bits, small and large numbers, pieces cut out, doubled or moved.
pub(crate) fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..1 + random.below(4) {
        if bytes.is_empty() {
            return;
        }
        let at = random.below(bytes.len());
        match random.below(6) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = *random.pick(&[0, 1, 0x7F, 0x80, 0xFF]),
            2 => bytes.truncate(at),
            3 => {
                bytes.remove(at);
            }
            4 => {
                let piece: Vec<u8> = bytes[at..].iter().take(random.below(20)).copied().collect();
                let to = random.below(bytes.len() + 1);
                bytes.splice(to..to, piece);
            }
            _ => {
                let number = [0xFF; 9].into_iter().take(random.below(10)).chain([1]);
                bytes.splice(at..at, number);
            }
        }
    }
}

/// Damages a row of records.
pub fn damage(random: &mut Random, records: &[Vec<u8>]) -> Vec<u8> {
    let mut data = Vec::new();
    for record in records {
        let mut record = record.clone();
        if random.one_in(8) {
            mutate(random, &mut record);
        }
        let times = *random.pick(&[1, 1, 1, 1, 1, 1, 0, 2]);
        for _ in 0..times {
            data.extend_from_slice(&(record.len() as u16).to_le_bytes());
            data.extend_from_slice(&record);
        }
    }
    data
}
