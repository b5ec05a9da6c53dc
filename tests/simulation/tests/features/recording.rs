//! Acknowledgements that wait for the transmission record.

use super::*;
use ravelin_broker::Watch;
use ravelin_mqtt::Version;

fn recorded(c: &mut Cluster, refusing: bool) {
    c.set_rights(Rc::new(Rights { watch: Some(("r/", Watch::RECORD)), ..Rights::default() }));
    for shard in 0..c.shards() {
        c.shard(shard).set_recording(true, refusing);
    }
}

/// The record has everything that it was told of.
fn settle_record(c: &mut Cluster) {
    let last = c.observed.iter().map(|seen| seen.id).max().unwrap_or(0);
    for shard in 0..c.shards() {
        // Names of other shards are of no concern.
        let own = c.observed.iter().map(|seen| seen.id).filter(|id| (id >> 54) as u16 == shard).max();
        c.shard(shard).handle_recorded(own.unwrap_or(0));
    }
    assert!(last > 0);
}

fn acks(got: Vec<Got>) -> Vec<(AckKind, u16)> {
    let ack = |got| match got {
        Got::Ack { kind, id, .. } => Some((kind, id)),
        _ => None,
    };
    got.into_iter().filter_map(ack).collect()
}

#[test]
fn what_is_recorded_is_acknowledged_only_when_the_record_has_it() {
    on_shards(|mut c| {
        recorded(&mut c, false);
        let (p, _) = join(&mut c, Login::v5("publisher").kept());
        let (s, _) = join(&mut c, Login::v5("subscriber").kept());
        sub(&mut c, s, "#", 1);
        let version = c.version(p);
        for (topic, qos, id) in [("r/1", 1, 1), ("r/2", 2, 2), ("free", 1, 3)] {
            c.send(p, &publish(version, &Message::new(topic, "x", qos).id(id)));
        }
        // Subscribers do not wait; acknowledgements do, and those behind them, which keep their order.
        assert_eq!(messages(take(&mut c, s)).len(), 3);
        assert_eq!(take(&mut c, p), []);
        // A QoS 2 message that is sent again is not acknowledged on the side either.
        c.send(p, &publish(version, &Message::new("r/2", "x", 2).id(2).again()));
        assert_eq!(take(&mut c, p), []);
        settle_record(&mut c);
        let expected =
            [(AckKind::PubAck, 1), (AckKind::PubRec, 2), (AckKind::PubAck, 3), (AckKind::PubRec, 2)];
        assert_eq!(acks(take(&mut c, p)), expected);
        // On a connection that is gone nobody waits any more.
        c.send(p, &publish(version, &Message::new("r/1", "x", 1).id(4)));
        c.settle();
        c.drop_conn(p);
        settle_record(&mut c);
    });
}

#[test]
fn a_publish_after_a_lost_connection_waits_for_its_first_entry() {
    on_shards(|mut c| {
        recorded(&mut c, false);
        let (p, _) = join(&mut c, Login::v5("publisher").kept());
        let version = c.version(p);
        c.send(p, &publish(version, &Message::new("r/1", "x", 2).id(7)));
        assert_eq!(take(&mut c, p), []);
        c.drop_conn(p);
        let (p, _) = rejoin(&mut c, Login::v5("publisher").kept());
        c.send(p, &publish(version, &Message::new("r/1", "x", 2).id(7).again()));
        assert_eq!(take(&mut c, p), []);
        settle_record(&mut c);
        assert_eq!(acks(take(&mut c, p)), [(AckKind::PubRec, 7)]);
    });
}

#[test]
fn what_cannot_be_recorded_is_refused_and_not_sent() {
    on_shards(|mut c| {
        recorded(&mut c, true);
        let (s, _) = join(&mut c, Login::v5("subscriber"));
        sub(&mut c, s, "#", 1);
        let (p, _) = join(&mut c, Login::v5("five"));
        for qos in [1, 2] {
            let reason = put(&mut c, p, &Message::new("r/1", "x", qos).id(1));
            assert_eq!(reason, ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR);
        }
        put(&mut c, p, &Message::new("r/1", "x", 0));
        assert_eq!(put(&mut c, p, &Message::new("free", "x", 1).id(2)), ReasonCode::SUCCESS);
        // An acknowledgement of 3.1.1 could only say that all is well.
        let (old, _) = join(&mut c, Login::v311("three"));
        c.send(old, &publish(Version::V311, &Message::new("r/1", "x", 1).id(1)));
        c.settle();
        assert!(!c.is_open(old));
        let topics: Vec<_> = messages(take(&mut c, s)).into_iter().map(|message| message.topic).collect();
        assert_eq!(topics.iter().map(|topic| &**topic).collect::<Vec<_>>(), ["free"]);
        assert!(c.observed.is_empty());
    });
}
