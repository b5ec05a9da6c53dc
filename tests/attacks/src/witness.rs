//! Two clients that keep to themselves while others attack. They notice what the attack costs everyone else.

use crate::peer::{ANSWER, Peer};
use crate::wire::{Connect, Publish, ack};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often a message is published.
const PACE: Duration = Duration::from_millis(10);
/// Fewer messages say nothing about the service.
const MESSAGES_MIN: usize = 30;
/// The message that ends the exchange.
const LAST: u64 = u64::MAX;

/// A publisher and a subscriber at a steady pace, each on a connection of its own, QoS 1.
pub struct Witness {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    publisher: JoinHandle<usize>,
    subscriber: JoinHandle<Vec<Duration>>,
}

/// What they saw.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// Messages published; all arrived, once and in order.
    pub messages: usize,
    /// Half of the messages took no longer than this.
    pub p50: Duration,
    /// 99 of 100 messages took no longer than this.
    pub p99: Duration,
    /// The slowest message.
    pub max: Duration,
}

impl Witness {
    /// Starts the exchange over connections that `open` makes from a Client Identifier.
    pub fn start(mut open: impl FnMut(&str) -> Peer) -> Witness {
        let mut subscriber = open("witness-subscriber");
        let mut publisher = open("witness-publisher");
        assert_eq!(subscriber.subscribe("witness/pace", 1), 1, "the witness may subscribe");
        let origin = Instant::now();
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&sent));
        let publisher = std::thread::spawn(move || {
            let mut due = Instant::now();
            let mut number = 0u64;
            loop {
                let last = stopped.load(Ordering::Relaxed);
                let at = origin.elapsed().as_nanos() as u64;
                let payload = [if last { LAST } else { number }.to_be_bytes(), at.to_be_bytes()].concat();
                let packet_id = (number % 60_000) as u16 + 1;
                publisher.send(&Publish::new("witness/pace", payload).qos(1, packet_id).to_bytes());
                let puback = publisher.expect(4);
                assert_eq!(
                    (puback.packet_id(), puback.reason()),
                    (packet_id, 0),
                    "the witness's own message"
                );
                if last {
                    return number as usize;
                }
                number += 1;
                count.store(number as usize, Ordering::Relaxed);
                due += PACE;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                due = due.max(Instant::now() - PACE);
            }
        });
        let subscriber = std::thread::spawn(move || {
            let mut latencies = Vec::new();
            loop {
                let message = subscriber.read().expect("the witness's connection is left alone");
                if message.kind() != 3 {
                    panic!("the witness was sent {message:02x?}");
                }
                let payload = &message.body[message.body.len() - 16..];
                let field = |at: usize| u64::from_be_bytes(payload[at..at + 8].try_into().expect("8 bytes"));
                let latency = origin.elapsed().saturating_sub(Duration::from_nanos(field(8)));
                subscriber.send(&ack(0x40, message.publish_id()));
                if field(0) == LAST {
                    return latencies;
                }
                assert_eq!(
                    field(0),
                    latencies.len() as u64,
                    "a message of the witness is missing or came twice"
                );
                latencies.push(latency);
            }
        });
        Witness { stop, sent, publisher, subscriber }
    }

    /// Over plain TCP, without credentials.
    pub fn plain(node: SocketAddr) -> Witness {
        Witness::start(|client_id| Peer::connect(node, &Connect::v5(client_id)))
    }

    /// Ends the exchange once it has gone on for long enough to say something.
    pub fn finish(self) -> Service {
        let deadline = Instant::now() + ANSWER;
        while self.sent.load(Ordering::Relaxed) < MESSAGES_MIN && !self.publisher.is_finished() {
            assert!(Instant::now() < deadline, "the witness gets nowhere");
            std::thread::sleep(PACE);
        }
        self.stop.store(true, Ordering::Relaxed);
        let messages = self.publisher.join().expect("the witness could publish");
        let mut latencies = self.subscriber.join().expect("the witness was sent its messages");
        assert_eq!(latencies.len(), messages, "messages of the witness were lost");
        latencies.sort_unstable();
        let at = |share: f64| latencies[((messages - 1) as f64 * share) as usize];
        Service { messages, p50: at(0.5), p99: at(0.99), max: at(1.0) }
    }
}
