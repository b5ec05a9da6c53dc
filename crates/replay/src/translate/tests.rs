use super::*;
use ravelin_detect::Operation;

struct Story {
    translator: Translator,
    sights: Vec<(u64, Sight)>,
}

fn source(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 7], port))
}

fn row(at_ms: u64, connection: u64, what: What, from_client: bool) -> Row<'static> {
    Row::new(at_ms * 1000, connection, source(connection as u16), what, from_client)
}

impl Story {
    fn new() -> Story {
        Story { translator: Translator::new(vec!["door/#".into()]), sights: Vec::new() }
    }

    fn row(&mut self, row: Row<'_>) {
        self.translator.handle_row(&row);
        self.drain();
    }

    fn time(&mut self, at_ms: u64) {
        self.translator.handle_time(at_ms);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(sight) = self.translator.poll_sight() {
            assert!(self.sights.last().is_none_or(|(last, _)| *last <= sight.0), "in the order of time");
            self.sights.push(sight);
        }
    }

    fn connect(&mut self, at_ms: u64, connection: u64, client_id: &str) {
        self.row(row(at_ms, connection, What::Open, true));
        self.row(Row { client_id, keep_alive_s: 10, ..row(at_ms, connection, What::Connect, true) });
        self.row(Row { code: Some(0), ..row(at_ms, connection, What::ConnAck, false) });
    }

    fn publish(&mut self, at_ms: u64, connection: u64, topic: &str) {
        self.row(Row {
            topic,
            payload_len: 3,
            payload: b"abc",
            ..row(at_ms, connection, What::Publish, true)
        });
    }

    fn subscribe(&mut self, at_ms: u64, connection: u64, topic: &str, code: u8) {
        self.row(Row { topic, packet_id: 1, ..row(at_ms, connection, What::Subscribe, true) });
        self.row(Row { code: Some(code), packet_id: 1, ..row(at_ms, connection, What::SubAck, false) });
    }

    fn causes(&self) -> Vec<(String, DisconnectCause)> {
        let cause = |(_, sight): &(u64, Sight)| match sight {
            Sight::Left { client_id, cause, .. } => Some((client_id.to_string(), *cause)),
            _ => None,
        };
        self.sights.iter().filter_map(cause).collect()
    }

    fn refusals(&self) -> Vec<Refusal> {
        let why = |(_, sight): &(u64, Sight)| match sight {
            Sight::Refused { why, .. } => Some(*why),
            _ => None,
        };
        self.sights.iter().filter_map(why).collect()
    }

    fn undelivered(&self) -> Vec<(u64, u64)> {
        let metered = |(_, sight): &(u64, Sight)| match sight {
            Sight::Metered(metered) => Some((metered.messages, metered.undelivered)),
            _ => None,
        };
        self.sights.iter().filter_map(metered).collect()
    }
}

#[test]
fn every_end_of_a_connection_has_its_cause() {
    let mut story = Story::new();
    for (number, client) in
        ["fin", "rst", "bye", "will", "idle", "rude", "told", "order"].into_iter().enumerate()
    {
        story.connect(1_000, number as u64, client);
    }
    story.row(row(2_000, 0, What::CloseFin, true));
    story.row(row(2_000, 1, What::CloseRst, true));
    story.row(row(2_000, 2, What::Disconnect, true));
    story.row(row(2_000, 2, What::CloseFin, true));
    story.row(Row { code: Some(4), ..row(2_000, 3, What::Disconnect, true) });
    story.row(row(2_000, 5, What::Malformed, true));
    story.row(row(2_000, 5, What::CloseFin, false));
    story.row(Row { code: Some(0x8D), ..row(2_000, 6, What::Disconnect, false) });
    story.row(row(5_000, 7, What::CloseFin, false));
    story.row(row(16_000, 4, What::CloseFin, false));
    let expected = [
        ("fin", DisconnectCause::NoDisconnect),
        ("rst", DisconnectCause::Reset),
        ("bye", DisconnectCause::Normal),
        ("will", DisconnectCause::WithWill),
        ("rude", DisconnectCause::ProtocolError),
        ("told", DisconnectCause::KeepAlive),
        ("order", DisconnectCause::Administrative),
        ("idle", DisconnectCause::KeepAlive),
    ];
    assert_eq!(story.causes(), expected.map(|(client, cause)| (client.to_string(), cause)));
}

#[test]
fn where_the_recording_ends_nobody_left() {
    let mut story = Story::new();
    story.connect(1_000, 0, "a");
    story.row(row(2_000, 0, What::End, true));
    assert_eq!(story.causes(), []);
}

#[test]
fn a_live_client_is_taken_over_whichever_end_the_recording_has_first() {
    let mut story = Story::new();
    story.connect(1_000, 0, "a");
    story.connect(2_000, 1, "a");
    story.row(row(2_001, 0, What::CloseFin, false));
    story.row(row(3_000, 2, What::Open, true));
    story.row(Row { client_id: "a", ..row(3_000, 2, What::Connect, true) });
    story.row(row(3_001, 1, What::CloseFin, false));
    story.row(Row { code: Some(0), ..row(3_001, 2, What::ConnAck, false) });
    let taken = ("a".to_string(), DisconnectCause::TakenOver);
    assert_eq!(story.causes(), [taken.clone(), taken]);
}

#[test]
fn a_client_that_closes_before_its_connack_was_there_if_the_broker_says_so() {
    let mut story = Story::new();
    for number in [0, 1] {
        story.row(row(1_000, number, What::Open, true));
        story.row(Row { client_id: "fuzz", ..row(1_000, number, What::Connect, true) });
        story.publish(1_000, number, "t");
        story.row(row(1_001, number, What::CloseFin, true));
    }
    story.row(Row { code: Some(0), ..row(1_002, 0, What::ConnAck, false) });
    story.time(9_000);
    assert_eq!(story.causes(), [("fuzz".to_string(), DisconnectCause::NoDisconnect)]);
    assert!(story.sights.iter().any(|(_, sight)| matches!(sight, Sight::Abandoned { bytes: 18, .. })));
}

#[test]
fn codes_from_0x80_on_and_connack_codes_are_refusals() {
    let mut story = Story::new();
    for (number, code) in [(0, 5), (1, 4), (2, 0x8A), (3, 2)] {
        story.row(row(1_000, number, What::Open, true));
        story.row(Row { client_id: "g", ..row(1_000, number, What::Connect, true) });
        story.row(Row { code: Some(code), ..row(1_000, number, What::ConnAck, false) });
        story.row(row(1_000, number, What::CloseFin, false));
    }
    use Refusal::{BadCredentials, BadName, Banned};
    assert_eq!(story.refusals(), [BadCredentials, BadCredentials, Banned, BadName]);
    story.connect(2_000, 9, "scan");
    story.subscribe(2_000, 9, "#", 0x87);
    let denied = story.sights.iter().any(|(_, sight)| {
        matches!(sight, Sight::Denied { operation: Operation::Subscribe, name, .. } if &**name == "#")
    });
    assert!(denied);
}

#[test]
fn a_message_is_undelivered_if_nobody_has_a_filter_for_it() {
    let mut story = Story::new();
    story.connect(1_000, 0, "p");
    story.connect(1_000, 1, "s");
    story.publish(1_000, 0, "a/b");
    story.subscribe(2_000, 1, "a/+", 0);
    story.publish(3_000, 0, "a/b");
    story.row(row(4_000, 1, What::CloseFin, true));
    story.publish(5_000, 0, "a/b");
    // Who is sent a message had a filter for it, though the recording has none.
    story.connect(6_000, 2, "old");
    story.row(Row { topic: "a/b", ..row(6_000, 2, What::Publish, false) });
    story.publish(7_000, 0, "a/b");
    story.time(9_000);
    let published: Vec<_> = story.undelivered().into_iter().filter(|(messages, _)| *messages > 0).collect();
    assert_eq!(published, [(1, 1), (1, 0), (1, 1), (1, 0)]);
}

#[test]
fn nothing_is_undelivered_while_somebody_may_have_subscribed_before_the_recording() {
    let mut story = Story::new();
    story.connect(1_000, 0, "p");
    story.row(row(1_000, 1, What::Midstream, false));
    story.publish(1_000, 0, "a/b");
    story.row(row(1_500, 1, What::CloseFin, false));
    story.publish(2_000, 0, "a/b");
    story.time(3_000);
    assert_eq!(story.undelivered(), [(1, 0), (1, 1)]);
    assert_eq!(story.causes(), []);
}

#[test]
fn meters_are_told_four_times_a_second_and_topics_are_bounded() {
    let mut story = Story::new();
    story.connect(1_000, 0, "p");
    for number in 0..100 {
        story.publish(1_001, 0, &format!("t/{number}"));
    }
    story.publish(1_251, 0, "t/0");
    story.time(1_500);
    let spans: Vec<_> = story
        .sights
        .iter()
        .filter_map(|(at_ms, sight)| match sight {
            Sight::Metered(m) => {
                Some((*at_ms, m.from_ms, m.to_ms, m.messages, m.topics.len(), m.other_messages))
            }
            _ => None,
        })
        .collect();
    assert_eq!(spans, [(1_250, 1_000, 1_250, 100, 64, 36), (1_500, 1_250, 1_500, 1, 1, 0)]);
}

#[test]
fn a_connection_without_connect_is_refused_at_the_deadline_of_a_node() {
    let mut story = Story::new();
    story.row(row(1_000, 0, What::Open, true));
    story.row(row(1_000, 1, What::Open, true));
    story.row(row(2_000, 1, What::CloseFin, true));
    story.time(12_000);
    assert_eq!(story.refusals(), [Refusal::ConnectDeadline]);
    assert!(
        story
            .sights
            .iter()
            .any(|(_, sight)| matches!(sight, Sight::Abandoned { open_ms: 1_000, bytes: 0, .. }))
    );
}

#[test]
fn only_watched_topics_show_their_payload_and_wills_are_told() {
    let mut story = Story::new();
    story.row(row(1_000, 0, What::Open, true));
    story.row(Row { client_id: "w", will: true, topic: "gone", ..row(1_000, 0, What::Connect, true) });
    story.row(Row { code: Some(0), ..row(1_000, 0, What::ConnAck, false) });
    story.publish(1_000, 0, "door/1");
    story.publish(1_000, 0, "other");
    story.row(row(1_100, 0, What::CloseRst, true));
    let observed = story.sights.iter().filter(|(_, sight)| matches!(sight, Sight::Observed { .. })).count();
    assert_eq!(observed, 1);
    let will = Sight::WillPublished { client_id: "w".into(), topic: "gone".into() };
    assert_eq!(story.sights.last(), Some(&(1_100, will)));
}

#[test]
fn what_the_protocol_forbids_ends_the_connection_though_the_recorded_broker_went_on() {
    let mut story = Story::new();
    story.connect(1_000, 0, "odd");
    story.publish(1_000, 0, "a/#");
    story.row(row(1_100, 0, What::Malformed, true));
    story.publish(1_200, 0, "a");
    assert_eq!(story.causes(), [("odd".to_string(), DisconnectCause::ProtocolError)]);
    assert_eq!(story.refusals(), [Refusal::Malformed]);
    story.time(5_000);
    assert_eq!(story.undelivered(), []);
}
