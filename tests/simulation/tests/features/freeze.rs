//! Frozen topics: what is published to them is refused or waits, and what waits for their subscribers goes or stays.

use super::*;
use ravelin_broker::{Limits, Watch};
use ravelin_mqtt::Version;

fn hold() -> Watch {
    Watch::HOLD | Watch::DELAY | Watch::WITHHOLD
}

fn freeze(c: &mut Cluster, prefix: &'static str, way: Watch) {
    c.set_freezes(Rc::new(Rights { watch: Some((prefix, way)), ..Rights::default() }));
}

fn thaw(c: &mut Cluster) {
    c.set_freezes(Rc::new(Rights::default()));
    c.settle();
}

/// Publishes, whatever comes of it.
fn send(c: &mut Cluster, conn: Conn, message: &Message) {
    c.send(conn, &publish(c.version(conn), message));
    c.settle();
}

fn sorted(got: &[Message]) -> Vec<String> {
    let mut texts: Vec<String> = got.iter().map(|message| message.text().to_owned()).collect();
    texts.sort();
    texts
}

/// Acknowledges as far as a client does at once, until nothing more comes.
fn read_all(c: &mut Cluster, conn: Conn) -> Vec<Message> {
    let mut all = Vec::new();
    loop {
        let got = read(c, conn);
        if got.is_empty() {
            return all;
        }
        all.extend(got);
    }
}

fn assert_empty(c: &mut Cluster) {
    for shard in 0..c.shards() {
        c.shard(shard).check_invariants();
        let stats = c.shard(shard).stats();
        assert_eq!((stats.held, stats.held_bytes, stats.queued), (0, 0, 0));
    }
}

#[test]
fn what_waits_for_a_subscriber_survives_restarts_and_checkpoints_frozen() {
    for fault in ["", "restart", "checkpoint", "crash"] {
        on_shards(|mut c| {
            let login = || Login::v5("s").kept();
            let (p, _) = join(&mut c, Login::v5("p"));
            let (s, _) = join(&mut c, login());
            sub(&mut c, s, "#", 1);
            c.drop_conn(s);
            for (id, topic) in [(1, "t"), (2, "u"), (3, "t")] {
                put(&mut c, p, &Message::new(topic, &format!("{topic}{id}"), 1).id(id));
            }
            freeze(&mut c, "t", hold());
            let (s, got) = rejoin(&mut c, login());
            assert_eq!(texts(&messages(got)), ["u2"], "what is not frozen does not wait behind what is");
            c.settle();
            if fault == "checkpoint" {
                c.checkpoint();
            }
            c.drop_conn(s);
            let shards = c.shards();
            match fault {
                "crash" => drop(c.crash(&mut Random::new(1), shards)),
                "" => {}
                _ => drop(c.restart(shards)),
            }
            let (s, got) = rejoin(&mut c, login());
            let early = messages(got);
            assert!(early.iter().all(|message| message.topic == "u"), "{fault}: {early:?}");
            thaw(&mut c);
            let all: Vec<_> =
                read_all(&mut c, s).into_iter().filter(|message| message.topic == "t").collect();
            assert_eq!(texts(&all), ["t1", "t3"], "{fault}");
            assert_empty(&mut c);
        });
    }
}

#[test]
fn what_was_sent_and_not_acknowledged_waits_after_a_reconnect_and_carries_dup() {
    on_shards(|mut c| {
        let login = || Login::v5("s").kept();
        let (p, _) = join(&mut c, Login::v5("p"));
        let (s, _) = join(&mut c, login());
        sub(&mut c, s, "#", 2);
        put(&mut c, p, &Message::new("t", "at least once", 1).id(1));
        assert_eq!(messages(take(&mut c, s)).len(), 1);
        c.drop_conn(s);
        freeze(&mut c, "t", hold());
        let (s, got) = rejoin(&mut c, login());
        assert_eq!(got, []);
        put(&mut c, p, &Message::new("u", "free", 1).id(2));
        assert_eq!(texts(&read_all(&mut c, s)), ["free"]);
        thaw(&mut c);
        let got = read_all(&mut c, s);
        assert_eq!(texts(&got), ["at least once"]);
        assert!(got[0].dup, "it was sent before");
        assert_empty(&mut c);
    });
}

#[test]
fn a_qos_2_message_under_way_keeps_its_identifier_and_comes_once() {
    on_shards(|mut c| {
        let login = || Login::v5("s").kept();
        let (p, _) = join(&mut c, Login::v5("p"));
        let (s, _) = join(&mut c, login());
        sub(&mut c, s, "t", 2);
        put(&mut c, p, &Message::new("t", "x", 2).id(1));
        let id = messages(take(&mut c, s))[0].id;
        c.drop_conn(s);
        freeze(&mut c, "t", hold());
        let (s, got) = rejoin(&mut c, login());
        assert_eq!(got, []);
        thaw(&mut c);
        let got = messages(take(&mut c, s));
        assert_eq!((got.len(), got[0].id, got[0].dup), (1, id, true));
        c.send(s, &ack(Version::V5, AckKind::PubRec, id, ReasonCode::SUCCESS));
        c.settle();
        c.send(s, &ack(Version::V5, AckKind::PubComp, id, ReasonCode::SUCCESS));
        assert_empty(&mut c);
    });
}

#[test]
fn what_nobody_may_receive_any_more_is_withdrawn() {
    on_shards(|mut c| {
        let login = || Login::v5("s").kept();
        let (p, _) = join(&mut c, Login::v5("p"));
        let (s, _) = join(&mut c, login());
        sub(&mut c, s, "#", 2);
        c.drop_conn(s);
        for (id, topic) in [(1, "t"), (2, "u"), (3, "t")] {
            put(&mut c, p, &Message::new(topic, topic, 2).id(id));
        }
        freeze(&mut c, "t", Watch::MUTE);
        let reason = put(&mut c, p, &Message::new("t", "nobody", 1).id(4));
        assert_eq!(reason, ReasonCode::NO_MATCHING_SUBSCRIBERS);
        thaw(&mut c);
        let (s, got) = rejoin(&mut c, login());
        assert_eq!(texts(&messages(got)), ["u"]);
        c.drop_conn(s);
    });
}

#[test]
fn no_more_waits_than_the_limits_allow() {
    let limits = Limits { held_messages_max: 2, ..Limits::default() };
    let mut c = Cluster::with_limits(1, limits);
    let (p, _) = join(&mut c, Login::v5("p"));
    let (o, _) = join(&mut c, Login::v311("o"));
    let (s, _) = join(&mut c, Login::v5("s"));
    sub(&mut c, s, "t", 1);
    freeze(&mut c, "t", hold());
    for text in ["1", "2", "dropped"] {
        send(&mut c, p, &Message::new("t", text, 0));
    }
    assert_eq!(put(&mut c, p, &Message::new("t", "refused", 1).id(1)), ReasonCode::QUOTA_EXCEEDED);
    // One that could not be told is disconnected where not even that can be remembered.
    send(&mut c, o, &Message::new("t", "refused", 1).id(1));
    assert!(!c.is_open(o));
    thaw(&mut c);
    assert_eq!(texts(&read_all(&mut c, s)), ["1", "2"]);
    assert_eq!(c.stats()[0].publish_frozen, 3);
    assert_empty(&mut c);
}

#[test]
fn what_waited_is_refused_when_the_right_went_meanwhile() {
    on_shards(|mut c| {
        let (p, _) = join(&mut c, Login::v5("p"));
        let (s, _) = join(&mut c, Login::v5("s"));
        sub(&mut c, s, "t", 1);
        freeze(&mut c, "t", hold());
        send(&mut c, p, &Message::new("t", "x", 1).id(7));
        assert_eq!(take(&mut c, p), [], "not acknowledged");
        c.set_rights(Rc::new(Rights { publish: Some("t"), ..Rights::default() }));
        c.settle();
        assert_eq!(expect_ack(&mut c, p, AckKind::PubAck, 7), ReasonCode::NOT_AUTHORIZED);
        assert_eq!(read_all(&mut c, s), []);
        assert_empty(&mut c);
    });
}

#[test]
fn a_will_waits_also_over_a_restart() {
    for fault in ["", "restart"] {
        on_shards(|mut c| {
            let (s, _) = join(&mut c, Login::v5("s").kept());
            sub(&mut c, s, "t", 1);
            let will = Message::new("t", "gone", 1);
            let (p, _) = join(&mut c, Login { will: Some((will, 0, None)), ..Login::v5("p") });
            freeze(&mut c, "t", hold());
            c.drop_conn(p);
            c.settle();
            let mut s = s;
            if fault == "restart" {
                c.drop_conn(s);
                let shards = c.shards();
                c.restart(shards);
                c.advance(1);
                s = rejoin(&mut c, Login::v5("s").kept()).0;
            }
            assert_eq!(read_all(&mut c, s), []);
            thaw(&mut c);
            assert_eq!(texts(&read_all(&mut c, s)), ["gone"], "{fault}");
            assert_empty(&mut c);
        });
    }
}

#[test]
fn retained_messages_are_owed_to_who_still_wants_them() {
    on_shards(|mut c| {
        let (p, _) = join(&mut c, Login::v5("p"));
        put(&mut c, p, &Message::new("t/1", "kept", 1).retained().id(1));
        freeze(&mut c, "t", hold());
        let (s, _) = join(&mut c, Login::v5("s"));
        let (left, _) = join(&mut c, Login::v5("left"));
        assert_eq!(sub(&mut c, s, "t/+", 1), []);
        assert_eq!(sub(&mut c, left, "t/+", 1), []);
        unsub(&mut c, left, "t/+");
        thaw(&mut c);
        let got = read_all(&mut c, s);
        assert_eq!((sorted(&got), got[0].retain), (vec!["kept".to_owned()], true));
        assert_eq!(read_all(&mut c, left), []);
        freeze(&mut c, "t", Watch::HOLD | Watch::DELAY);
        let (late, _) = join(&mut c, Login::v5("late"));
        assert_eq!(texts(&sub(&mut c, late, "t/+", 1)), ["kept"], "it is served");
    });
}
