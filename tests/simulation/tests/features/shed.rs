//! What is given up when memory is short, and what is not.

use super::*;

#[test]
fn waiting_messages_of_qos_0_go_and_what_was_acknowledged_stays() {
    on_shards(|mut c| {
        let (s, _) = join(&mut c, Login { receive_max: Some(1), ..Login::v5("s").kept() });
        let (p, _) = join(&mut c, Login::v5("p"));
        sub(&mut c, s, "t/#", 1);
        // The first waits for its acknowledgement; behind the third, which waits for that, both kinds do.
        for number in 1..=20u16 {
            let message = Message::new("t/x", &number.to_string(), u8::from(number % 2 == 1)).id(number);
            put(&mut c, p, &message);
        }
        assert_eq!(texts(&messages(take(&mut c, s))), ["1", "2"]);
        let waiting: usize = (0..c.shards()).map(|shard| c.shard(shard).waiting_bytes()).sum();
        let mut dropped = 0;
        for shard in 0..c.shards() {
            let broker = c.shard(shard);
            dropped += broker.drop_waiting_qos0();
            broker.forget_routes();
            assert_eq!(broker.drop_waiting_qos0(), 0, "nothing is left of them");
            broker.check_invariants();
        }
        assert_eq!(dropped, 9);
        let less: usize = (0..c.shards()).map(|shard| c.shard(shard).waiting_bytes()).sum();
        assert!(less < waiting, "{less} of {waiting}");
        let version = c.version(s);
        c.send(s, &ack(version, AckKind::PubAck, 1, ReasonCode::SUCCESS));
        assert_eq!(texts(&read(&mut c, s)), ["3", "5", "7", "9", "11", "13", "15", "17", "19"]);
        // Routes are found again.
        put(&mut c, p, &Message::new("t/x", "again", 1).id(1));
        assert_eq!(texts(&read(&mut c, s)), ["again"]);
    });
}
