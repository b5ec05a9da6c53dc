//! Bugs that were found, each named for what went wrong.

use super::*;
use ravelin_mqtt::Version;

/// Mail arrives, the disk does not answer.
fn mail(c: &mut Cluster) {
    while c.mail_routes().into_iter().any(|(from, to)| c.deliver_mail(from, to)) {}
}

/// What arrived without waiting for anything, but for the CONNACK.
fn at_once(c: &mut Cluster, conn: Conn) -> Vec<Got> {
    without_connack(c.receive(conn))
}

fn without_connack(got: Vec<Got>) -> Vec<Got> {
    got.into_iter().filter(|got| !matches!(got, Got::ConnAck { .. })).collect()
}

fn got_ack(kind: AckKind, id: u16) -> Got {
    Got::Ack { kind, id, reason: ReasonCode::SUCCESS }
}

/// A publisher with a session, and a subscriber with one on each shard.
fn pair(c: &mut Cluster) -> (Conn, Vec<Conn>) {
    let (p, _) = join(c, Login::v5("p").kept());
    let subscribers = (0..4).map(|i| join(c, Login::v5(&format!("s{i}")).kept()).0).collect();
    for &s in &subscribers {
        sub(c, s, "t", 2);
    }
    c.settle();
    (p, subscribers)
}

#[test]
fn a_repeated_publish_was_acknowledged_before_the_first_was_durable() {
    on_shards(|mut c| {
        let (p, subscribers) = pair(&mut c);
        let message = Message::new("t", "x", 2).id(3);
        c.send(p, &publish(Version::V5, &message));
        mail(&mut c);
        c.drop_conn(p);
        let p = c.connect(&Login::v5("p").kept()).unwrap();
        c.send(p, &publish(Version::V5, &message.again()));
        mail(&mut c);
        assert_eq!(at_once(&mut c, p), []);
        // Its own shard is not enough: the sisters must have it, too.
        let home = ravelin_broker::home_shard("p", c.shards());
        c.sync(home, usize::MAX);
        mail(&mut c);
        let received = vec![got_ack(AckKind::PubRec, 3)];
        let early = at_once(&mut c, p);
        assert_eq!(early, if c.shards() > 1 { vec![] } else { received.clone() });
        let late = without_connack(take(&mut c, p));
        assert_eq!(late, if c.shards() > 1 { received } else { vec![] });
        for s in subscribers {
            assert_eq!(texts(&read(&mut c, s)), ["x"]);
        }
    });
}

#[test]
fn a_repeated_pubrel_was_answered_before_the_release_was_durable() {
    on_shards(|mut c| {
        let (p, _) = pair(&mut c);
        c.send(p, &publish(Version::V5, &Message::new("t", "x", 2).id(3)));
        assert_eq!(take(&mut c, p), [got_ack(AckKind::PubRec, 3)]);
        let release = ack(Version::V5, AckKind::PubRel, 3, ReasonCode::SUCCESS);
        c.send(p, &release);
        mail(&mut c);
        c.drop_conn(p);
        let p = c.connect(&Login::v5("p").kept()).unwrap();
        c.send(p, &release);
        mail(&mut c);
        assert_eq!(at_once(&mut c, p), []);
        assert!(matches!(
            without_connack(take(&mut c, p))[..],
            [Got::Ack { kind: AckKind::PubComp, id: 3, .. }]
        ));
    });
}

#[test]
fn a_pubrel_was_sent_again_before_the_pubrec_was_durable() {
    on_shards(|mut c| {
        let (p, subscribers) = pair(&mut c);
        put(&mut c, p, &Message::new("t", "x", 2).id(3));
        let s = subscribers[0];
        assert_eq!(texts(&messages(take(&mut c, s))), ["x"]);
        let received = ack(Version::V5, AckKind::PubRec, 1, ReasonCode::SUCCESS);
        c.send(s, &received);
        c.send(s, &received);
        assert_eq!(c.receive(s), []);
        c.drop_conn(s);
        let s = c.connect(&Login::v5("s0").kept()).unwrap();
        assert_eq!(at_once(&mut c, s), []);
        assert_eq!(without_connack(take(&mut c, s)), [got_ack(AckKind::PubRel, 1)]);
    });
}

#[test]
fn a_refused_qos_2_message_kept_its_identifier() {
    on_shards(|mut c| {
        let (p, subscribers) = pair(&mut c);
        let message = Message::new("t", "x", 2).id(3);
        c.send(p, &publish(Version::V5, &message));
        c.drop_conn(p);
        c.settle();
        let (p, _) = rejoin(&mut c, Login::v5("p").kept());
        let deny = Rc::new(Rights { publish: Some("t"), ..Rights::default() });
        c.set_rights(deny);
        if c.shards() > 1 {
            assert_eq!(put(&mut c, p, &message.again()), ReasonCode::NOT_AUTHORIZED);
        }
        c.set_rights(Rc::new(Rights::default()));
        if c.shards() > 1 {
            put(&mut c, p, &Message::new("t", "y", 2).id(3));
            assert_eq!(texts(&read(&mut c, subscribers[0])).last(), Some(&"y"));
        }
    });
}

#[test]
fn a_released_message_behind_the_window_was_forgotten_in_a_restart() {
    on_shards(|mut c| {
        c.limits.inflight_max = 2;
        let shards = c.shards();
        c.restart(shards);
        let login = Login::v5("s").kept();
        let (s, _) = join(&mut c, login.clone());
        sub(&mut c, s, "t", 2);
        let (p, _) = join(&mut c, Login::v5("p"));
        for i in 1..6 {
            put(&mut c, p, &Message::new("t", &i.to_string(), 1).id(1));
            if i > 1 {
                c.send(s, &ack(Version::V5, AckKind::PubAck, i, ReasonCode::SUCCESS));
            }
        }
        put(&mut c, p, &Message::new("t", "6", 2).id(1));
        c.send(s, &ack(Version::V5, AckKind::PubRec, 6, ReasonCode::SUCCESS));
        c.settle();
        c.restart(shards);
        let (_, got) = rejoin(&mut c, login);
        assert_eq!(texts(&messages(got.clone())), ["1"]);
        assert!(got.contains(&got_ack(AckKind::PubRel, 6)), "{got:?}");
    });
}

#[test]
fn a_flood_of_publishes_overflowed_a_counter_while_the_disk_was_slow() {
    let mut c = Cluster::new(1);
    let (s, _) = join(&mut c, Login::v311("s").kept());
    sub(&mut c, s, "t", 1);
    c.drop_conn(s);
    let (p, _) = join(&mut c, Login::v311("p"));
    let mut sent = 0;
    while c.is_open(p) {
        c.send(p, &publish(Version::V311, &Message::new("t", "", 1).id(1)));
        sent += 1;
        assert!(sent < 70_000);
    }
    let (p, _) = join(&mut c, Login::v311("p"));
    while sent < 131_000 {
        c.send(p, &publish(Version::V311, &Message::new("t", "", 1).id(1)));
        sent += 1;
    }
    c.settle();
    assert!(c.is_open(p));
}

#[test]
fn a_shared_message_went_to_an_absent_member_that_takes_only_qos_0() {
    on_shards(|mut c| {
        let (p, _) = join(&mut c, Login::v5("p"));
        for i in 0..8 {
            let (a, b) = (Login::v5(&format!("a{i}")).kept(), Login::v5(&format!("b{i}")).kept());
            let (x, _) = join(&mut c, a);
            let (y, _) = join(&mut c, b.clone());
            let filter = format!("$share/g{i}/t");
            sub(&mut c, x, &filter, 0);
            sub(&mut c, y, &filter, 1);
            c.drop_conn(x);
            c.drop_conn(y);
            c.settle();
            put(&mut c, p, &Message::new("t", "x", 1).id(1));
            let (y, got) = rejoin(&mut c, b);
            assert_eq!(texts(&messages(got)), ["x"]);
            c.send(y, &[0xE0, 7, 0, 5, 0x11, 0, 0, 0, 0]);
        }
    });
}

#[test]
fn deadlines_of_connections_long_gone_were_kept() {
    let mut c = Cluster::new(1);
    let (p, _) = join(&mut c, Login::v5("p"));
    for i in 0..20_000u32 {
        let login = Login::v311("s").kept().with_will(Message::new("w", "x", 0), 0);
        let conn = c.connect(&Login { keep_alive_s: 60, ..login }).unwrap();
        c.drop_conn(conn);
        let message = Message { expiry_s: Some(u32::MAX), ..Message::new("r", "x", 0).retained() };
        c.send(p, &publish(Version::V5, &message));
        c.advance(1);
        if i % 100 == 0 {
            c.settle();
            c.events.clear();
        }
    }
    assert!(c.shard(0).held().timers < 3_000, "{:?}", c.shard(0).held());
    // Those that count are still there.
    c.advance(8 * 24 * 3600 * 1000);
    assert_empty(&mut c);
}

#[test]
fn a_publish_right_after_the_suback_missed_the_subscription() {
    for (name, filter) in [("a", "t"), ("b", "$share/g/t"), ("c", "$share/h/t")] {
        for i in 0..12 {
            let mut c = Cluster::new(3);
            let (s, _) = join(&mut c, Login::v5(&format!("{name}{i}")));
            let publishers: Vec<Conn> = (0..6).map(|p| join(&mut c, Login::v5(&format!("p{p}"))).0).collect();
            c.settle();
            c.send(s, &subscribe(Version::V5, 1, None, &[(filter, qos(0))]));
            while c.receive(s).is_empty() {
                // One letter at a time, the worst order last.
                let routes = c.mail_routes();
                let &(from, to) = routes.last().expect("a SUBACK comes");
                c.deliver_mail(from, to);
            }
            for &p in &publishers {
                c.send(p, &publish(Version::V5, &Message::new("t", "x", 0)));
            }
            assert_eq!(read(&mut c, s).len(), 6, "{filter} {i}");
        }
    }
}

#[test]
fn a_checkpoint_of_a_session_that_is_journaled_for_its_will_only_lost_the_will() {
    on_shards(|mut c| {
        let (w, _) = join(&mut c, Login::v5("w").kept());
        sub(&mut c, w, "will", 1);
        let (s, _) = join(&mut c, Login::v311("s").with_will(Message::new("will", "gone", 1), 0));
        sub(&mut c, s, "t", 1);
        put(&mut c, w, &Message::new("t", "x", 1).id(1));
        assert_eq!(texts(&messages(take(&mut c, s))), ["x"]);
        c.checkpoint();
        let shards = c.shards();
        c.restart(shards);
        c.advance(0);
        let (_, got) = rejoin(&mut c, Login::v5("w").kept());
        assert_eq!(texts(&messages(got)), ["gone"]);
    });
}

#[test]
fn a_message_that_could_not_be_stored_was_acknowledged_to_a_client_that_reads_no_reason() {
    let mut c = Cluster::new(1);
    let (s, _) = join(&mut c, Login::v5("s").kept());
    sub(&mut c, s, "t", 1);
    let (old, _) = join(&mut c, Login::v311("old"));
    let (new, _) = join(&mut c, Login::v5("new"));
    let now = c.now;
    c.shard(0).handle_store_failed(now);
    c.send(new, &publish(Version::V5, &Message::new("t", "x", 1).id(3)));
    let refused = ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR;
    assert_eq!(at_once(&mut c, new), [Got::Ack { kind: AckKind::PubAck, id: 3, reason: refused }]);
    c.send(old, &publish(Version::V311, &Message::new("t", "x", 1).id(3)));
    assert_eq!(at_once(&mut c, old), []);
    assert!(!c.is_open(old));
}

#[test]
fn delays_began_anew_with_every_restart() {
    on_shards(|mut c| {
        let shards = c.shards();
        let (w, _) = join(&mut c, Login::v5("w").kept());
        sub(&mut c, w, "will", 1);
        join(&mut c, Login::v5("a").kept().with_will(Message::new("will", "gone", 1), 10));
        join(&mut c, Login { expiry_s: Some(10), ..Login::v5("b").kept() });
        for _ in 0..4 {
            c.restart(shards);
            c.advance(2_500);
        }
        c.restart(shards);
        c.advance(0);
        let (_, got) = rejoin(&mut c, Login::v5("w").kept());
        assert_eq!(texts(&messages(got)), ["gone"]);
        assert_eq!(c.stats().iter().map(|stats| stats.sessions).sum::<u64>(), 2, "w and a");
    });
}

#[test]
fn a_message_of_a_publisher_long_gone_was_kept_for_ever() {
    let mut c = Cluster::new(3);
    let (p, _) = pair(&mut c);
    c.send(p, &publish(Version::V5, &Message::new("t", "x", 2).id(3)));
    let home = ravelin_broker::home_shard("p", 3);
    for to in 0..3 {
        while c.deliver_mail(home, to) {}
    }
    c.send(p, &[0xE0, 7, 0, 5, 0x11, 0, 0, 0, 0]);
    // The end of the session reaches the disk before what the sisters did with the message.
    c.sync(home, usize::MAX);
    for shard in 0..3 {
        c.sync(shard, usize::MAX);
    }
    c.crash(&mut Random::new(1), 3);
    for shard in 0..3 {
        assert_eq!(c.shard(shard).held().taken, 0);
    }
}

/// Four watchers with sessions, on whatever shards.
fn watchers(c: &mut Cluster) -> Vec<String> {
    let names: Vec<String> = (0..4).map(|i| format!("w{i}")).collect();
    for name in &names {
        let (w, _) = join(c, Login::v5(name).kept());
        sub(c, w, "will", 2);
        c.drop_conn(w);
    }
    c.settle();
    names
}

#[test]
fn an_ended_session_came_back_while_its_will_was_under_way() {
    on_shards(|mut c| {
        let shards = c.shards();
        let names = watchers(&mut c);
        join(&mut c, Login::v5("a").kept().with_will(Message::new("will", "gone", 2), 0));
        let a = c.connect(&Login::v5("a")).unwrap();
        c.sync(ravelin_broker::home_shard("a", shards), usize::MAX);
        assert_eq!(c.receive(a).len(), 1, "CONNACK");
        c.crash(&mut Random::new(1), shards);
        c.advance(0);
        let (_, present) = join(&mut c, Login { clean: false, ..Login::v5("a") });
        assert!(!present);
        for name in names {
            let (_, got) = rejoin(&mut c, Login::v5(&name).kept());
            assert_eq!(texts(&messages(got)), ["gone"], "{name}");
        }
    });
}

#[test]
fn a_second_will_was_taken_for_the_first() {
    on_shards(|mut c| {
        let names = watchers(&mut c);
        for text in ["1", "2"] {
            let conn = c.connect(&Login::v5("a").kept().with_will(Message::new("will", text, 2), 0)).unwrap();
            c.drop_conn(conn);
        }
        for name in names {
            let (_, got) = rejoin(&mut c, Login::v5(&name).kept());
            assert_eq!(texts(&messages(got)), ["1", "2"], "{name}");
        }
    });
}

#[test]
fn a_repeated_publish_was_new_to_a_session_that_is_no_longer_kept() {
    on_shards(|mut c| {
        let (p, subscribers) = pair(&mut c);
        let message = Message::new("t", "x", 2).id(3);
        c.send(p, &publish(Version::V5, &message));
        c.drop_conn(p);
        c.settle();
        let (p, _) = rejoin(&mut c, Login { clean: false, ..Login::v5("p") });
        put(&mut c, p, &message.again());
        for s in subscribers {
            assert_eq!(texts(&read(&mut c, s)), ["x"]);
        }
    });
}

#[test]
fn a_second_clean_start_told_too_early_that_the_session_was_gone() {
    on_shards(|mut c| {
        let (s, _) = join(&mut c, Login::v5("s").kept());
        c.drop_conn(s);
        c.settle();
        let s = c.connect(&Login::v5("s")).unwrap();
        c.drop_conn(s);
        let s = c.connect(&Login::v5("s")).unwrap();
        assert_eq!(c.receive(s), []);
        assert_eq!(take(&mut c, s).len(), 1);
    });
}

#[test]
fn a_message_taken_by_a_shard_that_was_away_was_never_released() {
    let mut c = Cluster::new(3);
    let (p, _) = pair(&mut c);
    c.send(p, &publish(Version::V5, &Message::new("t", "x", 2).id(3)));
    c.settle();
    c.restart(1);
    let (p, _) = rejoin(&mut c, Login::v5("p").kept());
    put(&mut c, p, &Message::new("t", "x", 2).id(3).again());
    c.restart(3);
    let (p, _) = rejoin(&mut c, Login::v5("p").kept());
    put(&mut c, p, &Message::new("t", "y", 2).id(3));
    for i in 0..4 {
        let (s, got) = rejoin(&mut c, Login::v5(&format!("s{i}")).kept());
        assert_eq!(texts(&messages(got)).last(), Some(&"y"), "s{i}");
        c.drop_conn(s);
    }
}

#[test]
fn a_cleared_topic_came_back_when_a_sister_shard_heard_of_it_after_its_checkpoint() {
    for expire in [false, true] {
        let mut c = Cluster::new(3);
        let publishers: Vec<Conn> = (0..6).map(|i| join(&mut c, Login::v5(&format!("p{i}"))).0).collect();
        for (i, &p) in publishers.iter().enumerate() {
            put(&mut c, p, &Message::new(&format!("r/{i}"), "x", 1).id(1).retained());
        }
        c.advance(1);
        for i in 0..publishers.len() {
            // Somebody else, often on another shard, whose letters are late.
            let p = publishers[(i + 1) % publishers.len()];
            let topic = format!("r/{i}");
            let message = match expire {
                true => Message { expiry_s: Some(1), ..Message::new(&topic, "y", 0).retained() },
                false => Message::new(&topic, "", 0).retained(),
            };
            c.send(p, &publish(Version::V5, &message));
        }
        for shard in 0..3 {
            c.sync(shard, usize::MAX);
        }
        c.advance(2_000);
        c.checkpoint();
        c.restart(3);
        c.advance(0);
        assert_eq!(c.stats().iter().map(|stats| stats.retained).collect::<Vec<_>>(), [0, 0, 0]);
    }
}

#[test]
fn a_shared_message_that_was_repeated_came_twice_when_the_publisher_left() {
    for i in 0..20 {
        let mut c = Cluster::new(3);
        let (s, _) = join(&mut c, Login::v5(&format!("s{i}")));
        sub(&mut c, s, "$share/g/t", 2);
        let login = Login::v5("p").kept();
        let (p, _) = join(&mut c, login.clone());
        let message = Message::new("t", "x", 2).id(3);
        c.send(p, &publish(Version::V5, &message));
        mail(&mut c);
        c.drop_conn(p);
        let p = c.connect(&login).unwrap();
        c.send(p, &publish(Version::V5, &message.again()));
        c.connect(&Login::v5("p")).unwrap();
        // The end of the session is known everywhere before the group's home passes the message on again.
        let home = ravelin_broker::home_shard("p", 3);
        for to in 0..3 {
            while c.deliver_mail(home, to) {}
        }
        assert_eq!(texts(&read(&mut c, s)), ["x"]);
        let held: usize = (0..3).map(|shard| c.shard(shard).held().taken).sum();
        assert_eq!(held, 0);
    }
}

#[test]
fn a_checkpoint_forgot_that_other_shards_may_not_have_a_message() {
    let mut c = Cluster::new(3);
    let (p, _) = pair(&mut c);
    let message = Message::new("t", "x", 2).id(3);
    c.send(p, &publish(Version::V5, &message));
    c.sync(ravelin_broker::home_shard("p", 3), usize::MAX);
    // What the sisters have done with it is lost.
    let records = c.disk.records().to_vec();
    c.settle();
    c.disk.set_records(records);
    c.restart(1);
    c.checkpoint();
    c.restart(1);
    let (p, _) = rejoin(&mut c, Login::v5("p").kept());
    put(&mut c, p, &message.again());
    for i in 0..4 {
        let (_, got) = rejoin(&mut c, Login::v5(&format!("s{i}")).kept());
        assert_eq!(texts(&messages(got)).last(), Some(&"x"), "s{i}");
    }
}

#[test]
fn a_retained_message_was_lost_with_the_record_of_the_one_that_replaced_it() {
    for i in 0..12 {
        let mut c = Cluster::new(3);
        let (p, _) = join(&mut c, Login::v5("p"));
        put(&mut c, p, &Message::new("r", "old", 1).id(1).retained());
        let (q, _) = join(&mut c, Login::v5(&format!("q{i}")));
        let home = ravelin_broker::home_shard(&format!("q{i}"), 3);
        c.advance(1);
        c.checkpoint_begin();
        for _ in 0..1000 {
            c.checkpoint_step(home, 1);
        }
        c.send(q, &publish(Version::V5, &Message::new("r", "new", 1).id(1).retained()));
        mail(&mut c);
        // The sisters complete the checkpoint; the record of the new message is not on disk.
        let lost = c.disk.pending(home);
        c.disk.sync(home, lost - 1);
        for shard in (0..3).filter(|shard| *shard != home) {
            for _ in 0..1000 {
                c.checkpoint_step(shard, 1);
            }
            c.sync(shard, usize::MAX);
        }
        assert!(c.checkpoint_end());
        let records = c.disk.records().to_vec();
        c.settle();
        c.disk.set_records(records);
        c.restart(3);
        assert_eq!(c.stats().iter().map(|stats| stats.retained).collect::<Vec<_>>(), [1, 1, 1]);
    }
}

#[test]
fn a_message_had_no_name_in_a_session_that_is_no_longer_kept() {
    let mut c = Cluster::new(3);
    let (p, _) = pair(&mut c);
    let home = ravelin_broker::home_shard("p", 3);
    let message = Message::new("t", "x", 2).id(3);
    c.send(p, &publish(Version::V5, &message));
    mail(&mut c);
    for shard in (0..3).filter(|shard| *shard != home) {
        c.sync(shard, usize::MAX);
    }
    // The home has lost what its sisters have on disk.
    let records = c.disk.records().to_vec();
    c.settle();
    c.disk.set_records(records);
    c.restart(3);
    let (p, _) = rejoin(&mut c, Login { clean: false, ..Login::v5("p") });
    put(&mut c, p, &message.again());
    for i in 0..4 {
        let (_, got) = rejoin(&mut c, Login::v5(&format!("s{i}")).kept());
        assert_eq!(texts(&messages(got)), ["x"], "s{i}");
    }
    let held: usize = (0..3).map(|shard| c.shard(shard).held().taken).sum();
    assert_eq!(held, 0);
}

#[test]
fn a_session_got_the_name_of_one_that_was_chosen_for_a_shared_message() {
    for i in 0..12 {
        let mut c = Cluster::new(3);
        let (p, _) = join(&mut c, Login::v5("p").kept());
        let id = format!("s{i}");
        let (s, _) = join(&mut c, Login::v5(&id));
        sub(&mut c, s, "$share/g/t", 2);
        let message = Message::new("t", "x", 2).id(3);
        c.send(p, &publish(Version::V5, &message));
        for shard in 0..3 {
            c.sync(shard, usize::MAX);
        }
        let records = c.disk.records().to_vec();
        c.disk.set_records(records);
        c.restart(3);
        // Without any subscription.
        let (s, _) = join(&mut c, Login::v5(&id));
        let (p, _) = rejoin(&mut c, Login::v5("p").kept());
        put(&mut c, p, &message.again());
        assert_eq!(read(&mut c, s), []);
    }
}
