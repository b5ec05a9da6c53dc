//! What those who watch topics are told, and what is published to the broker itself.

use super::*;
use ravelin_broker::{How, Watch};
use ravelin_mqtt::Version;

fn watch(c: &mut Cluster, prefix: &'static str, watch: Watch) {
    c.set_rights(Rc::new(Rights { watch: Some((prefix, watch)), ..Rights::default() }));
}

#[test]
fn what_is_published_to_control_goes_nowhere_else() {
    on_shards(|mut c| {
        let topic = "$CONTROL/dynamic-security/v1";
        let (s, _) = join(&mut c, Login::v5("s"));
        for filter in ["#", "+/dynamic-security/v1", "$CONTROL/#", topic] {
            sub(&mut c, s, filter, 2);
        }
        let (p, _) = join(&mut c, Login { identity: Some("admin"), ..Login::v5("p").kept() });
        put(&mut c, p, &Message::new(topic, "0", 0));
        assert_eq!(put(&mut c, p, &Message::new(topic, "1", 1).id(1).retained()), ReasonCode::SUCCESS);
        // QoS 2, and again before PUBREL: one message.
        let message = Message::new(topic, "2", 2).id(2);
        c.send(p, &publish(Version::V5, &message));
        c.send(p, &publish(Version::V5, &message.clone().again()));
        c.settle();
        assert_eq!(c.receive(p).len(), 2);
        c.send(p, &ack(Version::V5, AckKind::PubRel, 2, ReasonCode::SUCCESS));
        c.settle();
        assert_eq!(expect_ack(&mut c, p, AckKind::PubComp, 2), ReasonCode::SUCCESS);
        assert_eq!(read(&mut c, s), []);
        assert_eq!(sub(&mut c, s, topic, 1), [], "nothing is retained");
        let seen = std::mem::take(&mut c.observed);
        assert!(seen.iter().all(|seen| seen.watch.contains(Watch::CONTROL) && *seen.topic == *topic));
        assert!(seen.iter().all(|seen| seen.who.identity.as_deref() == Some("admin")));
        let payloads: Vec<_> = seen.iter().map(|seen| &*seen.payload).collect();
        assert_eq!(payloads, [b"0", b"1", b"2"]);
        // It takes the right to publish there; no right is enough for a will.
        c.set_rights(Rc::new(Rights { publish: Some("$CONTROL"), ..Rights::default() }));
        assert_eq!(put(&mut c, p, &Message::new(topic, "1", 1).id(1)), ReasonCode::NOT_AUTHORIZED);
        assert!(c.observed.is_empty());
        c.set_rights(Rc::new(Rights::default()));
        let will = Login::v5("w").with_will(Message::new(topic, "x", 1), 0);
        assert_eq!(c.connect(&will), Err(ReasonCode::NOT_AUTHORIZED));
    });
}

#[test]
fn a_recorded_message_keeps_its_name_wherever_it_goes() {
    on_shards(|mut c| {
        watch(&mut c, "r/", Watch::RECORD);
        let mut there = Vec::new();
        for (n, q) in [0, 1, 2, 1, 2].into_iter().enumerate() {
            let (conn, _) = join(&mut c, Login::v5(&format!("s{n}")).kept());
            sub(&mut c, conn, "r/+", q);
            there.push(conn);
        }
        // The last two are away.
        for conn in there.drain(3..) {
            c.drop_conn(conn);
        }
        let (p, _) = join(&mut c, Login { identity: Some("alice"), ..Login::v5("p") });
        put(&mut c, p, &Message::new("r/t", "x", 2).id(1).retained());
        put(&mut c, p, &Message::new("other", "y", 2).id(1));
        let [seen] = &std::mem::take(&mut c.observed)[..] else { panic!("one message is recorded") };
        assert_eq!(
            (&*seen.topic, &*seen.payload, seen.qos, seen.retain),
            ("r/t", &b"x"[..], QoS::ExactlyOnce, true)
        );
        assert_eq!(seen.who.identity.as_deref(), Some("alice"));
        for conn in there {
            read(&mut c, conn);
        }
        let told = |c: &mut Cluster| {
            let mut told: Vec<_> = std::mem::take(&mut c.delivered)
                .into_iter()
                .map(|told| {
                    assert_eq!(told.id, seen.id);
                    (told.to.to_string(), told.qos as u8, told.how)
                })
                .collect();
            told.sort_by(|a, b| a.0.cmp(&b.0));
            told
        };
        let to =
            |who: &str, q: u8| (who.to_owned(), q, if q == 0 { How::Written } else { How::Acknowledged });
        assert_eq!(told(&mut c), [to("s0", 0), to("s1", 1), to("s2", 2)]);
        // It is known by its name after a restart, in a queue and retained.
        c.checkpoint();
        let shards = c.shards();
        c.restart(shards);
        for (n, q) in [(3, 1), (4, 2)] {
            let (conn, got) = rejoin(&mut c, Login::v5(&format!("s{n}")).kept());
            let id = messages(got)[0].id;
            let kind = if q == 1 { AckKind::PubAck } else { AckKind::PubRec };
            c.send(conn, &ack(Version::V5, kind, id, ReasonCode::SUCCESS));
            assert_eq!(told(&mut c), [to(&format!("s{n}"), q)]);
        }
        let (late, _) = join(&mut c, Login::v5("late"));
        assert_eq!(sub(&mut c, late, "r/t", 0).len(), 1);
        assert_eq!(told(&mut c), [to("late", 0)]);
    });
}

#[test]
fn a_receiver_that_refuses_has_not_got_it() {
    on_shards(|mut c| {
        watch(&mut c, "r", Watch::RECORD);
        let (s, _) = join(&mut c, Login::v5("s"));
        sub(&mut c, s, "r", 2);
        let (p, _) = join(&mut c, Login::v5("p"));
        for (q, kind) in [(1, AckKind::PubAck), (2, AckKind::PubRec)] {
            put(&mut c, p, &Message::new("r", "x", q).id(1));
            let id = messages(take(&mut c, s))[0].id;
            c.send(s, &ack(Version::V5, kind, id, ReasonCode::UNSPECIFIED_ERROR));
            let told = std::mem::take(&mut c.delivered);
            assert_eq!(told.iter().map(|told| told.how).collect::<Vec<_>>(), [How::Refused]);
        }
    });
}

#[test]
fn names_are_given_once() {
    let mut c = Cluster::new(3);
    watch(&mut c, "", Watch::OBSERVE);
    let mut names = std::collections::BTreeSet::new();
    for round in 0..3 {
        for n in 0..9 {
            let (p, _) = join(&mut c, Login::v5(&format!("p{n}")));
            for _ in 0..50 {
                put(&mut c, p, &Message::new("t", "x", 0));
            }
            c.drop_conn(p);
        }
        for seen in std::mem::take(&mut c.observed) {
            assert!(names.insert(seen.id), "{} twice, round {round}", seen.id);
            assert!(seen.id < 1 << 60);
        }
        assert!(c.delivered.is_empty(), "observed, not recorded");
        c.advance(1);
        c.restart(3);
    }
    assert_eq!(names.len(), 3 * 9 * 50);
}

#[test]
fn a_will_is_observed_as_its_owner_s() {
    on_shards(|mut c| {
        watch(&mut c, "w", Watch::RECORD | Watch::OBSERVE);
        let (s, _) = join(&mut c, Login::v5("s"));
        sub(&mut c, s, "w", 1);
        let login = Login { identity: Some("bob"), ..Login::v5("b") };
        let (b, _) = join(&mut c, login.with_will(Message::new("w", "gone", 1), 0));
        c.drop_conn(b);
        assert_eq!(texts(&read(&mut c, s)), ["gone"]);
        let [seen] = &c.observed[..] else { panic!("{:?}", c.observed) };
        assert!(seen.will && seen.who.identity.as_deref() == Some("bob"));
        let [told] = &c.delivered[..] else { panic!("{:?}", c.delivered) };
        assert_eq!((told.id, &*told.to), (seen.id, "s"));
    });
}

#[test]
fn an_acknowledgement_waits_for_the_record() {
    on_shards(|mut c| {
        watch(&mut c, "r", Watch::RECORD);
        for shard in 0..c.shards() {
            c.shard(shard).set_recording(true, false);
        }
        let (p, _) = join(&mut c, Login::v5("p").kept());
        for (q, kind) in [(1, AckKind::PubAck), (2, AckKind::PubRec)] {
            let message = Message::new("r", "x", q).id(q as u16);
            c.send(p, &publish(Version::V5, &message));
            assert_eq!(take(&mut c, p), [], "the record has not got it");
            let id = c.observed.last().expect("it is recorded").id;
            for (upto, answered) in [(id - 1, false), (id, true)] {
                c.home("p").0.handle_recorded(upto);
                c.turn_all();
                c.settle();
                match answered {
                    true => assert!(!expect_ack(&mut c, p, kind, message.id).is_failure()),
                    false => assert_eq!(c.receive(p), []),
                }
            }
            // What is not recorded does not wait.
            put(&mut c, p, &Message::new("other", "x", q).id(9));
        }
        // The connection is lost while the record has not got it: it is one message, told twice.
        let message = Message::new("r", "y", 2).id(5);
        c.send(p, &publish(Version::V5, &message));
        c.settle();
        c.drop_conn(p);
        let (s, _) = join(&mut c, Login::v5("s"));
        sub(&mut c, s, "r", 2);
        let (p, _) = rejoin(&mut c, Login::v5("p").kept());
        c.send(p, &publish(Version::V5, &message.clone().again()));
        assert_eq!(take(&mut c, p), []);
        let again = c.observed.last().expect("it is recorded again").clone();
        assert!(again.duplicate && *again.payload == *b"y");
        c.home("p").0.handle_recorded(again.id);
        c.turn_all();
        c.settle();
        assert!(!expect_ack(&mut c, p, AckKind::PubRec, 5).is_failure());
        // A record that takes nothing lets nothing through.
        for shard in 0..c.shards() {
            c.shard(shard).set_recording(true, true);
        }
        let refused = put(&mut c, p, &Message::new("r", "z", 1).id(6));
        assert_eq!(refused, ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR);
    });
}
