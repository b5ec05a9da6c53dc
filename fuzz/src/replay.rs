//! Targets for recorded traffic, `ravelin-replay`.

use ravelin_detect::Sight;
use ravelin_replay::{Options, Row, Sink, Translator, Warning, read};

/// Takes a recording as the detectors would, and holds it to what a reader promises.
struct Witness {
    translator: Translator,
    bytes: u64,
    things: u64,
    sights: u64,
    last_ms: u64,
}

impl Witness {
    fn drain(&mut self) {
        while let Some((at_ms, sight)) = self.translator.poll_sight() {
            assert!(at_ms >= self.last_ms, "sights come in the order of time");
            self.last_ms = at_ms;
            self.sights += 1;
            if let Sight::Metered(metered) = sight {
                assert!(metered.from_ms < metered.to_ms);
                let told: u64 = metered.topics.iter().map(|topic| topic.messages).sum();
                assert_eq!(told + metered.other_messages, metered.messages);
                assert_eq!(metered.qos.iter().sum::<u64>(), metered.messages);
                assert!(metered.undelivered <= metered.messages && metered.packets >= metered.messages);
            }
        }
    }
}

impl Sink for Witness {
    fn row(&mut self, row: &Row<'_>, _: Option<&str>) {
        self.things += 1;
        self.translator.handle_row(row);
        self.drain();
    }

    fn sight(&mut self, _: u64, _: Sight) {
        self.things += 1;
    }

    fn warn(&mut self, warning: Warning) {
        self.things += 1;
        assert!(!warning.what.is_empty());
    }
}

fn recording(data: &[u8]) {
    let translator = Translator::new(vec!["#".into()]);
    let mut witness = Witness { translator, bytes: data.len() as u64, things: 0, sights: 0, last_ms: 0 };
    let _ = read(data, &Options::default(), &mut witness);
    // Neither a table nor a capture has more in it than it has bytes; compressed ones are other targets' business.
    if !data.starts_with(&[0x1F, 0x8B]) {
        assert!(witness.things <= witness.bytes + 2 && witness.sights <= 4 * witness.bytes + 8);
    }
}

/// Tables of events and event logs.
pub fn events(data: &[u8]) {
    recording(data);
}

/// Captures: what does not begin as one gets the header of one in front.
pub fn capture(data: &[u8]) {
    match data.first() {
        Some(0x0A | 0xA1 | 0xD4 | 0x4D) => recording(data),
        _ => recording(&[&HEADER[..], data].concat()),
    }
}

/// The header of a pcap of Ethernet frames.
pub const HEADER: [u8; 24] =
    [0xD4, 0xC3, 0xB2, 0xA1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0];
