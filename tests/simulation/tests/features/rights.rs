//! Rights that end: what was allowed before is over at once (attack 38).

use super::*;
use ravelin_event::Event;
use ravelin_mqtt::Version;

fn forbid_receiving(c: &mut Cluster, prefix: &'static str) {
    c.set_rights(Rc::new(Rights { who: Some("s"), receive: Some(prefix), ..Rights::default() }));
}

/// A publisher, and a subscriber whose session is kept, to "t" and "u".
fn pair(c: &mut Cluster, version: Version, receive_max: Option<u16>) -> (Conn, Conn) {
    let (p, _) = join(c, Login::v5("p"));
    let (s, _) = join(c, Login { receive_max, ..login(version) });
    sub(c, s, "t", 2);
    sub(c, s, "u", 2);
    (p, s)
}

fn login(version: Version) -> Login {
    match version {
        Version::V5 => Login::v5("s").kept(),
        Version::V311 => Login::v311("s").kept(),
    }
}

fn acks(got: &[Got]) -> Vec<(AckKind, u16)> {
    let ack = |got: &Got| match got {
        Got::Ack { kind, id, .. } => Some((*kind, *id)),
        _ => None,
    };
    got.iter().filter_map(ack).collect()
}

/// The subscriber has nothing under way, and still gets what it may have.
fn assert_served(c: &mut Cluster, p: Conn, s: Conn) {
    put(c, p, &Message::new("u", "allowed", 2).id(77));
    put(c, p, &Message::new("t", "forbidden", 2).id(78));
    assert_eq!(texts(&read(c, s)), ["allowed"]);
    let (home, now) = c.home("s");
    let info = home.session(now, "s").expect("its session");
    assert_eq!((info.queued, info.queued_bytes, info.inflight), (0, 0, 0));
    home.check_invariants();
}

#[test]
fn a_qos_1_message_under_way_is_not_sent_again() {
    for version in [Version::V5, Version::V311] {
        for fault in ["", "restart", "crash"] {
            on_shards(|mut c| {
                let (p, s) = pair(&mut c, version, None);
                put(&mut c, p, &Message::new("t", "x", 1).id(1));
                assert_eq!(texts(&messages(take(&mut c, s))), ["x"]);
                forbid_receiving(&mut c, "t");
                c.settle();
                c.drop_conn(s);
                let shards = c.shards();
                match fault {
                    "restart" => drop(c.restart(shards)),
                    "crash" => drop(c.crash(&mut Random::new(1), shards)),
                    _ => {}
                }
                let (p, s) = match fault {
                    "" => (p, rejoin(&mut c, login(version))),
                    _ => (join(&mut c, Login::v5("p")).0, rejoin(&mut c, login(version))),
                };
                assert_eq!(s.1, [], "{fault}");
                assert_served(&mut c, p, s.0);
            });
        }
    }
}

#[test]
fn a_withdrawn_qos_1_message_counts_until_its_puback() {
    on_shards(|mut c| {
        let (p, s) = pair(&mut c, Version::V5, Some(1));
        put(&mut c, p, &Message::new("t", "x", 1).id(1));
        put(&mut c, p, &Message::new("u", "y", 1).id(2));
        let got = messages(take(&mut c, s));
        assert_eq!(texts(&got), ["x"]);
        forbid_receiving(&mut c, "t");
        assert_eq!(take(&mut c, s), [], "Receive Maximum is 1");
        c.checkpoint();
        c.send(s, &ack(Version::V5, AckKind::PubAck, got[0].id, ReasonCode::SUCCESS));
        assert_eq!(texts(&read(&mut c, s)), ["y"]);
        assert_served(&mut c, p, s);
    });
}

#[test]
fn a_withdrawn_qos_2_message_gives_its_identifier_free_when_pubrec_comes() {
    on_shards(|mut c| {
        let (p, s) = pair(&mut c, Version::V5, None);
        put(&mut c, p, &Message::new("t", "x", 2).id(1));
        let got = messages(take(&mut c, s));
        forbid_receiving(&mut c, "t");
        assert_eq!(take(&mut c, s), [], "nothing is said before the client does");
        let id = got[0].id;
        c.send(s, &ack(Version::V5, AckKind::PubRec, id, ReasonCode::SUCCESS));
        assert_eq!(acks(&take(&mut c, s)), [(AckKind::PubRel, id)]);
        c.send(s, &ack(Version::V5, AckKind::PubComp, id, ReasonCode::SUCCESS));
        assert_served(&mut c, p, s);
    });
}

#[test]
fn a_withdrawn_qos_2_message_is_released_after_a_reconnect() {
    for version in [Version::V5, Version::V311] {
        // The client has taken the identifier, or has never seen the PUBLISH.
        for answer in [ReasonCode::SUCCESS, ReasonCode::PACKET_IDENTIFIER_NOT_FOUND] {
            for fault in ["", "restart", "checkpoint"] {
                on_shards(|mut c| {
                    let (mut p, s) = pair(&mut c, version, None);
                    put(&mut c, p, &Message::new("t", "x", 2).id(1));
                    let id = messages(take(&mut c, s))[0].id;
                    c.drop_conn(s);
                    forbid_receiving(&mut c, "t");
                    if fault == "checkpoint" {
                        c.checkpoint();
                    }
                    if !fault.is_empty() {
                        let shards = c.shards();
                        c.restart(shards);
                        p = join(&mut c, Login::v5("p")).0;
                    }
                    let (s, got) = rejoin(&mut c, login(version));
                    assert_eq!(messages(got.clone()), [], "no PUBLISH");
                    assert_eq!(acks(&got), [(AckKind::PubRel, id)]);
                    c.send(s, &ack(version, AckKind::PubComp, id, answer));
                    assert_served(&mut c, p, s);
                });
            }
        }
    }
}

#[test]
fn qos_2_messages_that_a_dead_process_may_have_sent_are_released_from_the_queue() {
    for shards in [1, 3] {
        for checkpoint in [false, true] {
            let limits = ravelin_broker::Limits { inflight_max: 1, ..Default::default() };
            let mut c = Cluster::with_limits(shards, limits);
            let (p, s) = pair(&mut c, Version::V5, None);
            for id in 1..=3 {
                put(&mut c, p, &Message::new("t", "x", 2).id(id));
            }
            assert_eq!(messages(take(&mut c, s)).len(), 1, "the window is full");
            c.restart(shards);
            forbid_receiving(&mut c, "t");
            if checkpoint {
                c.checkpoint();
                c.restart(shards);
            }
            let (p, _) = join(&mut c, Login::v5("p"));
            let (s, got) = rejoin(&mut c, login(Version::V5));
            assert_eq!(messages(got.clone()), []);
            let acks = acks(&got);
            assert_eq!(acks, [1, 2, 3].map(|id| (AckKind::PubRel, id)));
            for (_, id) in acks {
                let reason = ReasonCode::PACKET_IDENTIFIER_NOT_FOUND;
                c.send(s, &ack(Version::V5, AckKind::PubComp, id, reason));
            }
            assert_served(&mut c, p, s);
        }
    }
}

#[test]
fn queued_messages_go_and_the_log_says_how_many() {
    on_shards(|mut c| {
        let (p, s) = pair(&mut c, Version::V5, None);
        c.drop_conn(s);
        for (id, topic) in [(1, "t"), (2, "u"), (3, "t")] {
            put(&mut c, p, &Message::new(topic, topic, 1).id(id));
        }
        c.events.clear();
        forbid_receiving(&mut c, "t");
        let told = |(_, event): &(_, Event)| match event {
            Event::DeliveriesWithdrawn { client_id, messages } => Some((client_id.clone(), *messages)),
            _ => None,
        };
        assert_eq!(c.events.iter().filter_map(told).collect::<Vec<_>>(), [("s".to_owned(), 2)]);
        c.settle();
        let shards = c.shards();
        c.restart(shards);
        let (_, got) = rejoin(&mut c, login(Version::V5));
        assert_eq!(texts(&messages(got)), ["u"]);
    });
}

#[test]
fn a_will_whose_right_is_gone_is_dropped() {
    // Of a client that is connected, and of one whose will is delayed.
    for delay_s in [0, 60] {
        on_shards(|mut c| {
            let (s, _) = join(&mut c, Login::v5("s"));
            sub(&mut c, s, "#", 1);
            let login = Login::v5("w").kept().with_will(Message::new("will", "x", 1), delay_s);
            let (w, _) = join(&mut c, login);
            if delay_s > 0 {
                c.drop_conn(w);
            }
            c.events.clear();
            c.set_rights(Rc::new(Rights { who: Some("w"), publish: Some("will"), ..Rights::default() }));
            let refused = |(_, event): &(_, Event)| matches!(event, Event::WillRefused { client_id, .. } if client_id == "w");
            assert_eq!(c.events.iter().filter(|event| refused(event)).count(), 1);
            // It does not come back with the right.
            c.set_rights(Rc::new(Rights::default()));
            if delay_s == 0 {
                c.drop_conn(w);
            }
            c.advance(100_000);
            c.settle();
            assert_eq!(read(&mut c, s), []);
            let shards = c.shards();
            c.restart(shards);
            let (s, _) = join(&mut c, Login::v5("s"));
            sub(&mut c, s, "#", 1);
            c.advance(100_000);
            assert_eq!(read(&mut c, s), []);
        });
    }
}

#[test]
fn subscriptions_end_with_qos_and_group_in_the_decision() {
    on_shards(|mut c| {
        let (s, _) = join(&mut c, Login::v5("s"));
        sub(&mut c, s, "high", 2);
        sub(&mut c, s, "low", 1);
        sub(&mut c, s, "$share/g/shared", 1);
        sub(&mut c, s, "$share/h/shared", 1);
        c.set_rights(Rc::new(Rights {
            subscribe: Some("group g"),
            qos_max: Some(QoS::AtLeastOnce),
            ..Rights::default()
        }));
        let (home, _) = c.home("s");
        let left = home.subscriptions_of("s").expect("its session");
        let left: Vec<_> = left.iter().map(|one| &*one.filter).collect();
        assert_eq!(left, ["low", "$share/h/shared"]);
        // And new ones are asked for the same.
        let bytes =
            subscribe(Version::V5, 5, None, &[("high", qos(2)), ("high", qos(1)), ("$share/g/x", qos(0))]);
        c.send(s, &bytes);
        let denied = ReasonCode::NOT_AUTHORIZED.0;
        assert_eq!(take(&mut c, s), [Got::SubAck { id: 5, reasons: vec![denied, 1, denied] }]);
    });
}

#[test]
fn a_subscription_that_may_not_be_ended_stays() {
    on_shards(|mut c| {
        c.set_rights(Rc::new(Rights { unsubscribe: Some("t"), ..Rights::default() }));
        let (p, s) = pair(&mut c, Version::V5, None);
        assert_eq!(unsub(&mut c, s, "t"), ReasonCode::NOT_AUTHORIZED.0);
        assert_eq!(unsub(&mut c, s, "u"), 0);
        put(&mut c, p, &Message::new("t", "x", 1).id(1));
        assert_eq!(texts(&read(&mut c, s)), ["x"]);
    });
}

#[test]
fn what_is_remembered_of_a_right_is_for_one_qos_and_retain_only() {
    on_shards(|mut c| {
        c.set_rights(Rc::new(Rights {
            retain: Some("t"),
            qos_max: Some(QoS::AtLeastOnce),
            ..Rights::default()
        }));
        let (p, _) = join(&mut c, Login::v5("p"));
        for _ in 0..2 {
            let plain = Message::new("t", "x", 1).id(1);
            assert!(!put(&mut c, p, &plain).is_failure());
            assert_eq!(put(&mut c, p, &plain.clone().retained()), ReasonCode::NOT_AUTHORIZED);
            assert_eq!(put(&mut c, p, &Message::new("t", "x", 2).id(2)), ReasonCode::NOT_AUTHORIZED);
        }
    });
}

#[test]
fn a_retained_message_is_kept_from_subscribers_when_its_author_may_not_publish_it() {
    on_shards(|mut c| {
        let (p, _) = join(&mut c, Login { identity: Some("alice"), ..Login::v5("p") });
        put(&mut c, p, &Message::new("t", "x", 1).id(1).retained());
        c.drop_conn(p);
        let deny = Rc::new(Rights { who: Some("p"), publish: Some("t"), ..Rights::default() });
        let count = |c: &mut Cluster| {
            // On every shard.
            (0..6)
                .map(|n| {
                    let (s, _) = join(c, Login::v5(&format!("s{n}")));
                    let got = sub(c, s, "#", 1);
                    c.drop_conn(s);
                    got.len()
                })
                .sum::<usize>()
        };
        for fault in [false, true] {
            if fault {
                c.checkpoint();
                let shards = c.shards();
                c.restart(shards);
            }
            c.set_rights(deny.clone());
            assert_eq!(count(&mut c), 0);
            c.set_rights(Rc::new(Rights::default()));
            assert_eq!(count(&mut c), 6, "the right is back");
        }
        // What somebody else has retained there is not the first one's.
        let (q, _) = join(&mut c, Login::v5("q"));
        put(&mut c, q, &Message::new("t", "y", 1).id(1).retained());
        c.set_rights(deny);
        assert_eq!(count(&mut c), 6);
    });
}

#[test]
fn what_was_withdrawn_does_not_come_back_with_the_right() {
    for q in [1, 2] {
        for restart in [false, true] {
            on_shards(|mut c| {
                let (p, s) = pair(&mut c, Version::V5, Some(1));
                for id in 1..=3 {
                    put(&mut c, p, &Message::new("t", "x", q).id(id));
                }
                assert_eq!(messages(take(&mut c, s)).len(), 1, "two wait");
                c.drop_conn(s);
                forbid_receiving(&mut c, "t");
                c.set_rights(Rc::new(Rights::default()));
                c.settle();
                if restart {
                    let shards = c.shards();
                    c.restart(shards);
                }
                let (_, got) = rejoin(&mut c, login(Version::V5));
                assert_eq!(messages(got), []);
            });
        }
    }
}
