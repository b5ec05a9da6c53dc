//! Every feature of the core, one test each, on one shard and on three.

mod basics;
mod delivery;
mod ends;
mod faults;
mod freeze;
mod manage;
mod observe;
mod options;
mod recording;
mod restart;
mod rights;
mod shed;

use ravelin_mqtt::{AckKind, QoS, ReasonCode, RetainHandling, SubscribeOptions};
use ravelin_simulation::{
    Cluster, Conn, Got, Login, Message, Random, Rights, ack, publish, subscribe, unsubscribe,
};
use std::rc::Rc;

/// Runs a test on one shard and on three.
fn on_shards(test: impl Fn(Cluster)) {
    for shards in [1, 3] {
        test(Cluster::new(shards));
    }
}

/// Connects; returns the connection and Session Present.
fn join(cluster: &mut Cluster, login: Login) -> (Conn, bool) {
    let conn = cluster.connect(&login).expect("not refused");
    let got = take(cluster, conn);
    // A resumed session may have its messages right behind the CONNACK: the tests that want them use `rejoin`.
    match &got[..] {
        [Got::ConnAck { present, reason: ReasonCode::SUCCESS, .. }] => (conn, *present),
        _ => panic!("{got:?}"),
    }
}

/// Connects to a session that exists; returns the connection and what came behind the CONNACK.
fn rejoin(cluster: &mut Cluster, login: Login) -> (Conn, Vec<Got>) {
    let conn = cluster.connect(&login).expect("not refused");
    cluster.settle();
    let mut got = cluster.receive(conn);
    let Got::ConnAck { present: true, reason: ReasonCode::SUCCESS, .. } = got.remove(0) else {
        panic!("{got:?}")
    };
    (conn, got)
}

fn qos(qos: u8) -> SubscribeOptions {
    SubscribeOptions { qos: QoS::from_u8(qos).unwrap(), ..Default::default() }
}

/// Subscribes; returns what came with the SUBACK.
fn sub_with(
    cluster: &mut Cluster,
    conn: Conn,
    id: Option<u32>,
    filters: &[(&str, SubscribeOptions)],
) -> Vec<Message> {
    let bytes = subscribe(cluster.version(conn), 900, id, filters);
    cluster.send(conn, &bytes);
    let got = take(cluster, conn);
    let granted: Vec<u8> = filters.iter().map(|(_, options)| options.qos as u8).collect();
    assert!(got.contains(&Got::SubAck { id: 900, reasons: granted }), "{got:?}");
    messages(got)
}

fn sub(cluster: &mut Cluster, conn: Conn, filter: &str, q: u8) -> Vec<Message> {
    sub_with(cluster, conn, None, &[(filter, qos(q))])
}

fn unsub(cluster: &mut Cluster, conn: Conn, filter: &str) -> u8 {
    let bytes = unsubscribe(cluster.version(conn), 901, &[filter]);
    cluster.send(conn, &bytes);
    match &take(cluster, conn)[..] {
        [Got::UnsubAck { id: 901, reasons }] => reasons.first().copied().unwrap_or(0),
        got => panic!("{got:?}"),
    }
}

/// Publishes and completes the handshake. Returns the reason of the first acknowledgement.
fn put(cluster: &mut Cluster, conn: Conn, message: &Message) -> ReasonCode {
    let version = cluster.version(conn);
    cluster.send(conn, &publish(version, message));
    cluster.settle();
    let id = message.id;
    match message.qos {
        QoS::AtMostOnce => ReasonCode::SUCCESS,
        QoS::AtLeastOnce => expect_ack(cluster, conn, AckKind::PubAck, id),
        QoS::ExactlyOnce => {
            let reason = expect_ack(cluster, conn, AckKind::PubRec, id);
            if !reason.is_failure() {
                cluster.send(conn, &ack(version, AckKind::PubRel, id, ReasonCode::SUCCESS));
                cluster.settle();
                assert_eq!(expect_ack(cluster, conn, AckKind::PubComp, id), ReasonCode::SUCCESS);
            }
            reason
        }
    }
}

fn expect_ack(cluster: &mut Cluster, conn: Conn, kind: AckKind, id: u16) -> ReasonCode {
    let got = cluster.receive(conn);
    match &got[..] {
        [Got::Ack { kind: k, id: i, reason }] if (*k, *i) == (kind, id) => *reason,
        _ => panic!("not {kind:?} {id}: {got:?}"),
    }
}

/// Everything that arrived.
fn take(cluster: &mut Cluster, conn: Conn) -> Vec<Got> {
    cluster.settle();
    cluster.receive(conn)
}

fn messages(got: Vec<Got>) -> Vec<Message> {
    got.into_iter()
        .filter_map(|got| match got {
            Got::Publish(message) => Some(message),
            _ => None,
        })
        .collect()
}

/// Everything that arrived, acknowledged to the end.
fn read(cluster: &mut Cluster, conn: Conn) -> Vec<Message> {
    let mut all = Vec::new();
    loop {
        let got = take(cluster, conn);
        if got.is_empty() {
            return all;
        }
        let version = cluster.version(conn);
        for packet in &got {
            let answer = match packet {
                Got::Publish(message) => match message.qos {
                    QoS::AtMostOnce => continue,
                    QoS::AtLeastOnce => (AckKind::PubAck, message.id),
                    QoS::ExactlyOnce => (AckKind::PubRec, message.id),
                },
                Got::Ack { kind: AckKind::PubRel, id, .. } => (AckKind::PubComp, *id),
                _ => continue,
            };
            cluster.send(conn, &ack(version, answer.0, answer.1, ReasonCode::SUCCESS));
        }
        all.extend(messages(got));
    }
}

fn texts(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(Message::text).collect()
}

/// Everything is gone that sessions and messages held.
fn assert_empty(cluster: &mut Cluster) {
    cluster.settle();
    for stats in cluster.stats() {
        let gauges = [stats.connected, stats.sessions, stats.subscriptions, stats.queued, stats.queued_bytes];
        assert_eq!(gauges, [0; 5]);
    }
}

fn handling(handling: RetainHandling) -> SubscribeOptions {
    SubscribeOptions { retain_handling: handling, ..qos(1) }
}
