//! Wills.

use super::*;

fn watcher(c: &mut Cluster) -> Conn {
    let (w, _) = join(c, Login::v5("watcher"));
    sub(c, w, "will/#", 1);
    w
}

fn will(text: &str) -> Message {
    Message::new("will/x", text, 1)
}

#[test]
fn a_lost_connection_publishes_the_will_and_a_normal_end_does_not() {
    on_shards(|mut c| {
        let w = watcher(&mut c);
        for login in [Login::v311("a"), Login::v5("a"), Login::v5("a").kept()] {
            let (a, _) = join(&mut c, login.clone().with_will(will("gone"), 0));
            c.drop_conn(a);
            assert_eq!(texts(&read(&mut c, w)), ["gone"]);
            let (a, _) = join(&mut c, login.clone().with_will(will("gone"), 0));
            c.send(a, &[0xE0, 0]);
            assert_eq!(read(&mut c, w), []);
            let (a, _) = join(&mut c, login.with_will(will("broken"), 0));
            c.send_frame(a, 0x30, &[]);
            assert_eq!(texts(&read(&mut c, w)), ["broken"]);
        }
        let (a, _) = join(&mut c, Login::v5("a").with_will(will("asked"), 0));
        c.send(a, &[0xE0, 1, 4]);
        assert_eq!(texts(&read(&mut c, w)), ["asked"]);
    });
}

#[test]
fn a_delayed_will_waits_and_is_withdrawn_by_a_new_connection() {
    on_shards(|mut c| {
        let w = watcher(&mut c);
        let login = Login::v5("a").kept().with_will(will("gone"), 10);
        let (a, _) = join(&mut c, login.clone());
        c.drop_conn(a);
        c.advance(9_999);
        assert_eq!(read(&mut c, w), []);
        let (a, present) = join(&mut c, login.clone());
        assert!(present);
        c.advance(30_000);
        assert_eq!(read(&mut c, w), []);
        c.drop_conn(a);
        c.advance(10_000);
        assert_eq!(texts(&read(&mut c, w)), ["gone"]);
    });
}

#[test]
fn the_end_of_the_session_publishes_a_delayed_will() {
    on_shards(|mut c| {
        let w = watcher(&mut c);
        // No session to wait in.
        let (a, _) = join(&mut c, Login::v5("a").with_will(will("at once"), 10));
        c.drop_conn(a);
        assert_eq!(texts(&read(&mut c, w)), ["at once"]);
        // The session ends before the delay has passed.
        let short = Login { expiry_s: Some(5), ..Login::v5("a").kept() };
        let (a, _) = join(&mut c, short.with_will(will("expired"), 10));
        c.drop_conn(a);
        c.advance(4_999);
        assert_eq!(read(&mut c, w), []);
        c.advance(1);
        assert_eq!(texts(&read(&mut c, w)), ["expired"]);
        // A clean start ends it.
        let (a, _) = join(&mut c, Login::v5("a").kept().with_will(will("ended"), 10));
        c.drop_conn(a);
        join(&mut c, Login::v5("a"));
        assert_eq!(texts(&read(&mut c, w)), ["ended"]);
    });
}

#[test]
fn a_take_over_publishes_a_will_without_delay_only() {
    on_shards(|mut c| {
        let w = watcher(&mut c);
        let (_, _) = join(&mut c, Login::v5("a").kept().with_will(will("taken"), 0));
        let (_, _) = join(&mut c, Login::v5("a").kept().with_will(will("later"), 10));
        assert_eq!(texts(&read(&mut c, w)), ["taken"]);
        let (_, _) = join(&mut c, Login::v5("a").kept());
        c.advance(20_000);
        assert_eq!(read(&mut c, w), []);
    });
}

#[test]
fn a_will_can_be_retained_and_expires_from_when_it_was_published() {
    on_shards(|mut c| {
        let mut login = Login::v5("a").kept().with_will(will("kept").retained(), 10);
        login.will.as_mut().unwrap().2 = Some(7);
        let (a, _) = join(&mut c, login);
        c.drop_conn(a);
        c.advance(12_000);
        c.settle();
        let (late, _) = join(&mut c, Login::v5("late"));
        let got = sub(&mut c, late, "will/#", 1);
        assert_eq!((got[0].text(), got[0].retain, got[0].expiry_s), ("kept", true, Some(5)));
    });
}

#[test]
fn a_will_without_the_right_to_publish_it_is_refused() {
    on_shards(|mut c| {
        c.rights = Rc::new(Rights { publish: Some("will"), ..Default::default() });
        let shards = c.shards();
        c.restart(shards);
        let refused = c.connect(&Login::v5("a").with_will(will("no"), 0));
        assert_eq!(refused, Err(ReasonCode::NOT_AUTHORIZED));
        assert_empty(&mut c);
    });
}
