//! A client that an attack is made with: packets as they are, good or bad.

use crate::client::options::ConnectOptions;
use crate::client::transport::{Transport, Wait};
use anyhow::{Context, bail};
use ravelin_mqtt::{
    Connect, Properties, PublishOut, QoS, SubscribeOptions, Subscription, Version, encode_connect,
    encode_publish, encode_subscribe, peek,
};
use std::time::{Duration, Instant};

/// What is not done by then is not done.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest packet that is expected.
const PACKET_BYTES_MAX: u32 = 1 << 20;

/// What it says in CONNECT.
#[derive(Clone, Copy)]
pub struct Hello<'a> {
    pub client_id: &'a str,
    pub username: Option<&'a str>,
    pub password: Option<&'a str>,
    pub keep_alive_s: u16,
}

impl<'a> Hello<'a> {
    pub fn as_client(client_id: &'a str) -> Hello<'a> {
        Hello { client_id, username: None, password: None, keep_alive_s: 60 }
    }
}

/// A connection.
pub struct Attacker {
    transport: Transport,
    packet_id: u16,
    /// User name and password, where the certificate does not say who it is.
    credentials: Option<(String, String)>,
}

impl Attacker {
    /// Opens a connection, TLS included, and says nothing.
    pub fn open(options: &ConnectOptions) -> anyhow::Result<Attacker> {
        let transport = Transport::connect(options, Instant::now() + PATIENCE)?;
        Ok(Attacker { transport, packet_id: 0, credentials: None })
    }

    /// The same, with a user name and a password to be shown unless CONNECT has others.
    pub fn with_credentials(mut self, username: &str, password: &str) -> Attacker {
        self.credentials = Some((username.into(), password.into()));
        self
    }

    /// Logs in; the reason code of CONNACK.
    pub fn hello(&mut self, hello: Hello<'_>) -> anyhow::Result<u8> {
        let own = self.credentials.as_ref();
        let username = hello.username.or(own.map(|(name, _)| name.as_str()));
        let password = hello.password.or(own.map(|(_, password)| password.as_str()));
        let connect = Connect {
            version: Version::V311,
            clean_start: true,
            keep_alive_s: hello.keep_alive_s,
            client_id: hello.client_id,
            will: None,
            username,
            password: password.map(str::as_bytes),
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
        self.send(&bytes)?;
        let (first, body) =
            self.receive()?.context("the connection was closed before an answer to CONNECT")?;
        match (first >> 4, body.get(1)) {
            (2, Some(code)) => Ok(*code),
            _ => bail!("CONNECT was answered by a packet of type {}", first >> 4),
        }
    }

    /// Publishes at QoS 0.
    pub fn publish(&mut self, topic: &str, payload: &[u8]) -> anyhow::Result<()> {
        self.publish_at(QoS::AtMostOnce, topic, payload)
    }

    /// Publishes. At QoS 1 the answer is waited for.
    pub fn publish_at(&mut self, qos: QoS, topic: &str, payload: &[u8]) -> anyhow::Result<()> {
        self.packet_id += 1;
        let packet = PublishOut {
            dup: false,
            qos,
            retain: false,
            topic,
            packet_id: self.packet_id,
            topic_alias: None,
            expiry_s: None,
            subscription_ids: &[],
            forward: &[],
            payload,
        };
        let mut bytes = Vec::new();
        encode_publish(&mut bytes, Version::V311, &packet);
        self.send(&bytes)?;
        if qos != QoS::AtMostOnce {
            self.receive()?.context("the connection was closed before an acknowledgement")?;
        }
        Ok(())
    }

    /// Subscribes to one filter; the code of SUBACK.
    pub fn subscribe(&mut self, filter: &str) -> anyhow::Result<u8> {
        self.packet_id += 1;
        let filters = [Subscription { filter, options: SubscribeOptions::default() }];
        let mut bytes = Vec::new();
        encode_subscribe(&mut bytes, Version::V311, self.packet_id, None, &filters, Properties::default());
        self.send(&bytes)?;
        loop {
            let (first, body) = self.receive()?.context("the connection was closed before SUBACK")?;
            // A retained message may come first.
            if first >> 4 == 9 {
                return body.get(2).copied().context("a SUBACK without a code");
            }
        }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.transport.send(bytes)?;
        Ok(self.transport.flush(Instant::now() + PATIENCE)?)
    }

    /// Waits until the node ends the connection, or a time is over; whether it did.
    pub fn is_thrown_out(&mut self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        loop {
            match self.transport.wait(Some(deadline)) {
                Ok(Wait::Input) => self.transport.take(self.transport.input().len()),
                Ok(Wait::Deadline | Wait::Woken) => return false,
                Ok(Wait::Closed) | Err(_) => return true,
            }
        }
    }

    /// Says goodbye.
    pub fn goodbye(mut self) -> anyhow::Result<()> {
        self.send(&[0xE0, 0])?;
        Ok(self.transport.close(Instant::now() + PATIENCE)?)
    }

    /// The next packet: its first byte and what follows the fixed header. `None`: the connection was closed.
    fn receive(&mut self) -> anyhow::Result<Option<(u8, Vec<u8>)>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let input = self.transport.input();
            let frame = peek(input, PACKET_BYTES_MAX).context("what the node sent is no packet")?;
            if let Some(frame) = frame.filter(|frame| frame.total_len <= input.len()) {
                let packet = (frame.first, input[frame.header_len..frame.total_len].to_vec());
                self.transport.take(frame.total_len);
                return Ok(Some(packet));
            }
            match self.transport.wait(Some(deadline))? {
                Wait::Closed => return Ok(None),
                Wait::Deadline => bail!("the node did not answer within {} s", PATIENCE.as_secs()),
                Wait::Input | Wait::Woken => {}
            }
        }
    }
}
