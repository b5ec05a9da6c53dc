//! A client that is served: one message at a time, from one connection to another through the node.

use crate::commands::bench::histogram::Histogram;
use ravelin_mqtt::{
    Connect, Properties, PublishOut, QoS, SubscribeOptions, Subscription, Version, encode_connect,
    encode_publish, encode_subscribe,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Between two messages.
const PACE: Duration = Duration::from_millis(1);

/// Two connections.
pub struct Probe {
    publisher: TcpStream,
    subscriber: TcpStream,
    publish: Vec<u8>,
}

impl Probe {
    /// Connects both.
    pub fn connect(node: SocketAddr) -> anyhow::Result<Probe> {
        let client = |client_id: &str| -> anyhow::Result<TcpStream> {
            let mut stream = TcpStream::connect(node)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            let connect = Connect {
                version: Version::V311,
                clean_start: true,
                keep_alive_s: 600,
                client_id,
                will: None,
                username: None,
                password: None,
                session_expiry_s: None,
                receive_max: None,
                packet_bytes_max: None,
                topic_alias_max: 0,
                request_response_info: false,
                request_problem_info: true,
                auth_method: None,
                auth_data: None,
                properties: Properties::default(),
            };
            let mut bytes = Vec::new();
            encode_connect(&mut bytes, &connect);
            stream.write_all(&bytes)?;
            let mut connack = [0; 4];
            stream.read_exact(&mut connack)?;
            anyhow::ensure!(connack == [0x20, 2, 0, 0], "the client was refused: {connack:02x?}");
            Ok(stream)
        };
        let publisher = client("probe-publisher")?;
        let mut subscriber = client("probe-subscriber")?;
        let mut bytes = Vec::new();
        let filters = [Subscription { filter: "probe", options: SubscribeOptions::default() }];
        encode_subscribe(&mut bytes, Version::V311, 1, None, &filters, Properties::default());
        subscriber.write_all(&bytes)?;
        let mut suback = [0; 5];
        subscriber.read_exact(&mut suback)?;
        let mut publish = Vec::new();
        let packet = PublishOut {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic: "probe",
            packet_id: 0,
            topic_alias: None,
            expiry_s: None,
            subscription_ids: &[],
            forward: &[],
            payload: &[0; 64],
        };
        encode_publish(&mut publish, Version::V311, &packet);
        Ok(Probe { publisher, subscriber, publish })
    }

    /// Sends messages for a time; the nanoseconds that each took.
    pub fn measure(&mut self, time: Duration) -> anyhow::Result<Histogram> {
        let (mut histogram, started) = (Histogram::default(), Instant::now());
        let mut received = vec![0; self.publish.len()];
        while started.elapsed() < time {
            let sent = Instant::now();
            self.publisher.write_all(&self.publish)?;
            self.subscriber.read_exact(&mut received)?;
            histogram.record(sent.elapsed().as_nanos() as u64);
            anyhow::ensure!(received == self.publish, "another message came");
            std::thread::sleep(PACE);
        }
        Ok(histogram)
    }
}
