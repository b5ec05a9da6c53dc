//! What was published and acknowledged, what every reader got, and what of that must not be.
//!
//! A message is named by its stream (a publisher's topic) and its number there; both stand in the payload.

use crate::wire::Publish;
use std::collections::BTreeMap;

/// So many faults are told in full.
const FAULTS_MAX: usize = 20;

/// The topic of one publisher.
pub struct Stream {
    /// The topic.
    pub topic: String,
    /// The QoS of its messages.
    pub qos: u8,
    /// Readers get it in order; false for shared subscriptions and wills.
    pub ordered: bool,
    /// The messages are retained, and each fifth one clears the topic.
    pub retained: bool,
    /// Bytes that a payload has at most, beyond its name.
    pub filler_max: usize,
    /// By number.
    pub messages: Vec<Message>,
}

/// What the publisher knows of a message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Message {
    /// How often it was sent.
    pub attempts: u32,
    /// The broker has it: PUBACK or PUBREC was received.
    pub acked: bool,
    /// It must not be delivered.
    pub forbidden: bool,
}

/// A stream and a number.
pub type Name = (usize, usize);

/// All that was published, and what went wrong.
pub struct Ledger {
    /// Stands in every payload, topic and Client Identifier, to be searched for on disk.
    pub marker: String,
    /// All streams.
    pub streams: Vec<Stream>,
    /// What must not be.
    pub faults: Vec<String>,
    faults_untold: usize,
    /// How far the run has come, for the faults.
    pub place: String,
    /// A QoS 2 message that the publisher sent again may come twice: the number of workers changes.
    pub qos2_may_repeat: bool,
    /// Deliveries seen.
    pub deliveries: u64,
    /// Those among them that had been seen before.
    pub redeliveries: u64,
}

/// What a reader must do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is a message, new or not.
    Known(Name),
    /// It was never published.
    Unknown,
}

impl Ledger {
    /// An empty ledger.
    pub fn new(marker: String) -> Ledger {
        Ledger {
            marker,
            streams: Vec::new(),
            faults: Vec::new(),
            faults_untold: 0,
            place: String::new(),
            qos2_may_repeat: false,
            deliveries: 0,
            redeliveries: 0,
        }
    }

    /// Adds a stream.
    pub fn add_stream(&mut self, topic: String, qos: u8, filler_max: usize) -> usize {
        let messages = Vec::new();
        self.streams.push(Stream { topic, qos, ordered: true, retained: false, filler_max, messages });
        self.streams.len() - 1
    }

    /// Notes what must not be.
    pub fn fault(&mut self, what: String) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(format!("{}: {what}", self.place));
        } else {
            self.faults_untold += 1;
        }
    }

    /// All faults as one text; empty if there is none.
    pub fn verdict(&self) -> String {
        let mut text = self.faults.join("\n");
        if self.faults_untold > 0 {
            text.push_str(&format!("\nand {} more", self.faults_untold));
        }
        text
    }

    /// The next message of a stream.
    pub fn next_message(&mut self, stream: usize) -> Name {
        let messages = &mut self.streams[stream].messages;
        messages.push(Message::default());
        (stream, messages.len() - 1)
    }

    /// What the publisher knows of a message.
    pub fn message(&mut self, (stream, number): Name) -> &mut Message {
        &mut self.streams[stream].messages[number]
    }

    /// The message as it is published; always the same bytes.
    pub fn payload(&self, (stream, number): Name) -> Vec<u8> {
        let about = &self.streams[stream];
        if about.retained && number % 5 == 4 {
            return Vec::new();
        }
        let mut payload = format!("{} {stream} {number} ", self.marker).into_bytes();
        let mix = (number as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15 ^ stream as u64);
        let filler = (mix >> 17) as usize % (about.filler_max + 1);
        payload.extend((0..filler).map(|i| b'a' + ((mix as usize >> 8) + i) as u8 % 26));
        payload
    }

    /// The name in a payload.
    pub fn name_of(&self, payload: &[u8]) -> Option<Name> {
        let rest = payload.strip_prefix(self.marker.as_bytes())?.strip_prefix(b" ")?;
        let mut words = rest.split(|byte| *byte == b' ');
        let mut number = || std::str::from_utf8(words.next()?).ok()?.parse::<usize>().ok();
        let name = (number()?, number()?);
        let sent = self.streams.get(name.0)?.messages.get(name.1)?.attempts > 0;
        (sent && self.payload(name) == payload).then_some(name)
    }

    /// Checks that a delivery is a message that was published.
    pub fn recognise(&mut self, reader: &str, publish: &Publish) -> Verdict {
        self.deliveries += 1;
        let Some(name) = self.name_of(&publish.payload) else {
            let start =
                String::from_utf8_lossy(&publish.payload[..publish.payload.len().min(60)]).into_owned();
            self.fault(format!("{reader} got what nobody published, on {}: {start}", publish.topic));
            return Verdict::Unknown;
        };
        if self.streams[name.0].topic != publish.topic {
            let right = self.streams[name.0].topic.clone();
            self.fault(format!("{reader} got {name:?} on {} instead of {right}", publish.topic));
        }
        if self.message(name).forbidden {
            self.fault(format!("{reader} got {name:?} on {}, which had been withdrawn", publish.topic));
        }
        Verdict::Known(name)
    }
}

/// What a reader has of a message.
#[derive(Clone, Copy, Debug)]
struct Copy {
    packet_id: u16,
    count: u32,
}

/// What a durable subscriber has got.
#[derive(Default)]
pub struct Reader {
    /// For the faults.
    pub name: String,
    got: BTreeMap<Name, Copy>,
    last_first: BTreeMap<usize, usize>,
    /// QoS 2 messages received and not released, by Packet Identifier: what a client must remember.
    held: BTreeMap<u16, Name>,
}

impl Reader {
    /// A reader that has got nothing yet.
    pub fn new(name: &str) -> Reader {
        Reader { name: name.into(), ..Reader::default() }
    }

    /// Takes a delivery and checks all that can be checked at once.
    pub fn take(&mut self, ledger: &mut Ledger, publish: &Publish) {
        let Verdict::Known(name) = ledger.recognise(&self.name, publish) else { return };
        let id = publish.packet_id;
        let attempts = ledger.message(name).attempts;
        if publish.qos == 2 {
            if let Some(held) = self.held.get(&id) {
                if *held != name {
                    let what =
                        format!("{}: packet id {id} is {held:?}, not released, and now {name:?}", self.name);
                    ledger.fault(what);
                } else if !publish.dup {
                    ledger.fault(format!("{}: {name:?} (QoS 2) came again without DUP", self.name));
                }
                ledger.redeliveries += 1;
                return;
            }
            self.held.insert(id, name);
        }
        let Some(copy) = self.got.get_mut(&name) else {
            self.got.insert(name, Copy { packet_id: id, count: 1 });
            self.check_order(ledger, name);
            return;
        };
        ledger.redeliveries += 1;
        copy.count += 1;
        let first = *copy;
        let of = &self.name;
        if publish.qos == 2 {
            if !(ledger.qos2_may_repeat && attempts > 1) {
                ledger.fault(format!(
                    "{of}: {name:?} (QoS 2, sent {attempts} times) was delivered twice: packet id {}, then {id}, dup {}",
                    first.packet_id, publish.dup
                ));
            }
        } else if publish.qos == 1 && attempts == 1 {
            // Sent once, so there is one copy in the broker, with one Packet Identifier.
            if first.packet_id != id {
                let was = first.packet_id;
                ledger
                    .fault(format!("{of}: {name:?} (QoS 1) came again with packet id {id} instead of {was}"));
            }
            if !publish.dup {
                ledger.fault(format!("{of}: {name:?} (QoS 1) came again without DUP"));
            }
        }
    }

    fn check_order(&mut self, ledger: &mut Ledger, (stream, number): Name) {
        if !ledger.streams[stream].ordered {
            return;
        }
        if let Some(last) = self.last_first.insert(stream, number)
            && last > number
        {
            ledger.fault(format!("{}: {:?} came after {:?}", self.name, (stream, number), (stream, last)));
            self.last_first.insert(stream, last);
        }
    }

    /// PUBREL came: the Packet Identifier is free.
    pub fn release(&mut self, packet_id: u16) {
        self.held.remove(&packet_id);
    }

    /// How often a message was delivered.
    pub fn count(&self, name: Name) -> u32 {
        self.got.get(&name).map_or(0, |copy| copy.count)
    }

    /// The acknowledged messages of streams that have not been delivered.
    pub fn missing<'a>(
        &'a self,
        ledger: &'a Ledger,
        wanted: impl Fn(&Stream) -> bool + 'a,
    ) -> impl Iterator<Item = Name> + 'a {
        missing(ledger, wanted, |name| self.got.contains_key(&name))
    }
}

/// The acknowledged messages of the wanted streams for which `got` is false.
pub fn missing<'a>(
    ledger: &'a Ledger,
    wanted: impl Fn(&Stream) -> bool + 'a,
    got: impl Fn(Name) -> bool + 'a,
) -> impl Iterator<Item = Name> + 'a {
    let streams = ledger.streams.iter().enumerate().filter(move |(_, stream)| wanted(stream));
    let names = streams.flat_map(|(id, stream)| {
        let acked = stream.messages.iter().enumerate().filter(|(_, message)| message.acked);
        acked.map(move |(number, _)| (id, number))
    });
    names.filter(move |name| !got(*name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        let mut ledger = Ledger::new("mark".into());
        ledger.add_stream("t".into(), 2, 10);
        for _ in 0..3 {
            let name = ledger.next_message(0);
            ledger.message(name).attempts = 1;
            ledger.message(name).acked = true;
        }
        ledger
    }

    fn delivery(ledger: &Ledger, number: usize, qos: u8, packet_id: u16, dup: bool) -> Publish {
        let payload = ledger.payload((0, number));
        Publish { dup, qos, retain: false, topic: "t".into(), packet_id, payload }
    }

    #[test]
    fn what_is_right_leaves_no_fault() {
        let mut ledger = ledger();
        let mut reader = Reader::new("r");
        for (number, id) in [(0, 1), (1, 2), (2, 3)] {
            let first = delivery(&ledger, number, 2, id, false);
            reader.take(&mut ledger, &first);
            reader.take(&mut ledger, &Publish { dup: true, ..first });
            reader.release(id);
        }
        assert_eq!(ledger.verdict(), "");
        assert_eq!(reader.missing(&ledger, |_| true).count(), 0);
    }

    #[test]
    fn loss_order_repetition_and_invention_are_faults() {
        let mut ledger = ledger();
        let mut reader = Reader::new("r");
        let take = |ledger: &mut Ledger, reader: &mut Reader, publish: Publish| {
            let before = ledger.faults.len();
            reader.take(ledger, &publish);
            ledger.faults.len() - before
        };
        let second = delivery(&ledger, 1, 2, 1, false);
        assert_eq!(take(&mut ledger, &mut reader, second.clone()), 0);
        assert_eq!(take(&mut ledger, &mut reader, second.clone()), 1, "again without DUP");
        reader.release(1);
        assert_eq!(take(&mut ledger, &mut reader, Publish { dup: true, ..second }), 1, "after its release");
        let first = delivery(&ledger, 0, 2, 2, false);
        assert_eq!(take(&mut ledger, &mut reader, first.clone()), 1, "out of order");
        let invented = Publish { payload: b"mark 0 9 ".to_vec(), packet_id: 9, ..first };
        assert_eq!(take(&mut ledger, &mut reader, invented), 1, "never published");
        assert_eq!(reader.missing(&ledger, |_| true).collect::<Vec<_>>(), [(0, 2)]);
    }

    #[test]
    fn a_qos_1_message_keeps_its_packet_id() {
        let mut ledger = ledger();
        let mut reader = Reader::new("r");
        let first = delivery(&ledger, 0, 1, 5, false);
        reader.take(&mut ledger, &first);
        reader.take(&mut ledger, &Publish { dup: true, ..first.clone() });
        assert_eq!(ledger.verdict(), "");
        reader.take(&mut ledger, &Publish { dup: true, packet_id: 6, ..first });
        assert_eq!(ledger.faults.len(), 1);
    }
}
