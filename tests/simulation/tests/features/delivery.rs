//! Sessions that outlive their connections, in one process.

use super::*;
use ravelin_mqtt::Version;

#[test]
fn a_kept_session_gets_what_came_while_it_was_away() {
    on_shards(|mut c| {
        let (p, _) = join(&mut c, Login::v5("p"));
        for login in [Login::v311("s").kept(), Login::v5("t").kept()] {
            let (s, present) = join(&mut c, login.clone());
            assert!(!present);
            sub(&mut c, s, "t", 2);
            c.drop_conn(s);
            for i in 0..6u8 {
                put(&mut c, p, &Message::new("t", &i.to_string(), i % 3).id(1));
            }
            let (s, got) = rejoin(&mut c, login.clone());
            assert_eq!(texts(&messages(got)), ["1", "2", "4", "5"]);
            c.drop_conn(s);
            // Nothing was acknowledged: all comes again, with DUP and the same identifiers.
            let (s, got) = rejoin(&mut c, login.clone());
            let got = messages(got);
            assert_eq!(texts(&got), ["1", "2", "4", "5"]);
            assert!(got.iter().all(|m| m.dup));
            assert_eq!(got.iter().map(|m| m.id).collect::<Vec<_>>(), [1, 2, 3, 4]);
            c.drop_conn(s);
            let (s, _) = join(&mut c, Login { clean: true, expiry_s: None, ..login });
            c.drop_conn(s);
        }
        c.drop_conn(p);
        assert_empty(&mut c);
    });
}

#[test]
fn a_qos_2_message_in_the_middle_continues_on_the_next_connection() {
    on_shards(|mut c| {
        let (p, _) = join(&mut c, Login::v5("p"));
        let login = Login::v5("s").kept();
        let (s, _) = join(&mut c, login.clone());
        sub(&mut c, s, "t", 2);
        put(&mut c, p, &Message::new("t", "x", 2).id(1));
        assert_eq!(texts(&messages(take(&mut c, s))), ["x"]);
        c.send(s, &ack(Version::V5, AckKind::PubRec, 1, ReasonCode::SUCCESS));
        c.settle();
        c.drop_conn(s);
        let (s, got) = rejoin(&mut c, login.clone());
        assert_eq!(got, [Got::Ack { kind: AckKind::PubRel, id: 1, reason: ReasonCode::SUCCESS }]);
        c.send(s, &ack(Version::V5, AckKind::PubComp, 1, ReasonCode::SUCCESS));
        c.drop_conn(s);
        let (_, got) = rejoin(&mut c, login);
        assert_eq!(got, []);
    });
}

#[test]
fn a_publisher_that_repeats_a_qos_2_message_is_heard_once() {
    on_shards(|mut c| {
        let (s, _) = join(&mut c, Login::v5("s"));
        sub(&mut c, s, "t", 2);
        let login = Login::v5("p").kept();
        let (p, _) = join(&mut c, login.clone());
        let message = Message::new("t", "x", 2).id(3);
        c.send(p, &publish(Version::V5, &message));
        c.settle();
        c.drop_conn(p);
        let (p, _) = rejoin(&mut c, login.clone());
        assert_eq!(put(&mut c, p, &message.clone().again()), ReasonCode::SUCCESS);
        assert_eq!(texts(&read(&mut c, s)), ["x"]);
        // The identifier is free again.
        put(&mut c, p, &Message::new("t", "y", 2).id(3));
        assert_eq!(texts(&read(&mut c, s)), ["y"]);
    });
}

#[test]
fn a_take_over_tells_the_old_connection_and_keeps_the_session() {
    on_shards(|mut c| {
        let login = Login::v5("s").kept();
        let (old, _) = join(&mut c, login.clone());
        sub(&mut c, old, "t", 1);
        let (new, present) = join(&mut c, login);
        assert!(present);
        assert_eq!(take(&mut c, old), [Got::Disconnect(ReasonCode::SESSION_TAKEN_OVER)]);
        assert!(!c.is_open(old));
        c.drop_conn(old);
        let (p, _) = join(&mut c, Login::v311("p"));
        put(&mut c, p, &Message::new("t", "x", 1).id(1));
        assert_eq!(texts(&read(&mut c, new)), ["x"]);
        let (_, present) = join(&mut c, Login::v5("s"));
        assert!(!present, "clean start");
    });
}

#[test]
fn a_session_of_another_identity_is_not_handed_over() {
    on_shards(|mut c| {
        let login = Login { identity: Some("alice"), ..Login::v5("s").kept() };
        let (s, _) = join(&mut c, login.clone());
        sub(&mut c, s, "t", 1);
        c.drop_conn(s);
        let refused = c.connect(&Login { identity: Some("bob"), ..login.clone() });
        assert_eq!(refused, Err(ReasonCode::CLIENT_IDENTIFIER_NOT_VALID));
        let (_, present) = join(&mut c, login);
        assert!(present);
    });
}

#[test]
fn a_session_expires_when_its_interval_has_passed() {
    on_shards(|mut c| {
        let login = Login { expiry_s: Some(10), ..Login::v5("s").kept() };
        let (s, _) = join(&mut c, login.clone());
        sub(&mut c, s, "t", 1);
        sub(&mut c, s, "$share/g/t", 1);
        c.advance(20_000);
        c.drop_conn(s);
        c.advance(9_999);
        let (s, present) = join(&mut c, login.clone());
        assert!(present, "it counts from the end of the connection");
        c.drop_conn(s);
        c.advance(10_000);
        assert_empty(&mut c);
        let (_, present) = join(&mut c, login);
        assert!(!present);
    });
}

#[test]
fn a_disconnect_can_change_the_expiry_but_not_from_nothing() {
    on_shards(|mut c| {
        let (s, _) = join(&mut c, Login::v5("s").kept());
        c.send(s, &[0xE0, 7, 0, 5, 0x11, 0, 0, 0, 0]);
        assert_empty(&mut c);
        let (s, _) = join(&mut c, Login::v5("s"));
        c.send(s, &[0xE0, 7, 0, 5, 0x11, 0, 0, 0, 9]);
        assert_eq!(take(&mut c, s), [Got::Disconnect(ReasonCode::PROTOCOL_ERROR)]);
        assert_empty(&mut c);
    });
}

#[test]
fn messages_expire_in_queues_and_retained_and_tell_what_is_left() {
    on_shards(|mut c| {
        let (p, _) = join(&mut c, Login::v5("p"));
        let login = Login::v5("s").kept();
        let (s, _) = join(&mut c, login.clone());
        sub(&mut c, s, "t/#", 1);
        c.drop_conn(s);
        for (topic, expiry_s) in [("t/a", 10), ("t/b", 20)] {
            let message = Message { expiry_s: Some(expiry_s), ..Message::new(topic, topic, 1).id(1) };
            put(&mut c, p, &message.retained());
        }
        c.advance(15_000);
        let (s, got) = rejoin(&mut c, login);
        let got = messages(got);
        assert_eq!(texts(&got), ["t/b"]);
        assert_eq!(got[0].expiry_s, Some(5));
        let (late, _) = join(&mut c, Login::v5("late"));
        assert_eq!(sub(&mut c, late, "t/#", 0)[0].expiry_s, Some(5));
        c.advance(5_000);
        for stats in c.stats() {
            assert_eq!((stats.retained, stats.retained_bytes), (0, 0));
        }
        read(&mut c, s);
        assert_eq!(c.stats().iter().map(|stats| stats.queued).sum::<u64>(), 0);
    });
}

#[test]
fn a_silent_client_is_cut_off_after_one_and_a_half_keep_alives() {
    on_shards(|mut c| {
        let (s, _) = join(&mut c, Login { keep_alive_s: 10, ..Login::v5("s") });
        c.advance(14_999);
        assert!(c.is_open(s));
        c.send(s, &[0xC0, 0]);
        c.advance(14_999);
        assert!(c.is_open(s));
        c.advance(1);
        assert!(!c.is_open(s));
        assert_eq!(take(&mut c, s), [Got::PingResp, Got::Disconnect(ReasonCode::KEEP_ALIVE_TIMEOUT)]);
    });
}

#[test]
fn a_slow_reader_gets_all_of_qos_1_in_order() {
    on_shards(|mut c| {
        let (p, _) = join(&mut c, Login::v5("p"));
        for login in [Login::v311("s"), Login::v311("s").kept()] {
            let (s, _) = join(&mut c, login);
            sub(&mut c, s, "t", 1);
            c.set_stalled(s, true);
            let payload = |i: u32| format!("{i}{}", "x".repeat(50_000));
            for i in 0..50 {
                put(&mut c, p, &Message::new("t", &payload(i), 1).id(1));
            }
            c.set_stalled(s, false);
            let got = read(&mut c, s);
            assert_eq!(got.len(), 50);
            assert!(got.iter().zip(0..).all(|(m, i)| m.text() == payload(i)));
            c.send(s, &[0xE0, 0]);
        }
    });
}
