//! rumqttc, which is a crate and no program.

use crate::tool::{Access, Version};
use ravelin_e2e::PATIENCE;
use rumqttc::{Client, Event, MqttOptions, Outgoing, Packet, QoS, Transport, v5};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Its own bound is 10 KB.
const PACKET_BYTES_MAX: usize = 1 << 20;

/// A subscriber on a thread; the thread ends with the node.
pub struct Subscriber {
    incoming: Mutex<(Receiver<String>, Vec<String>)>,
}

impl Subscriber {
    pub fn wait_for(&self, count: usize) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let mut guard = self.incoming.lock().unwrap_or_else(PoisonError::into_inner);
        let (receiver, lines) = &mut *guard;
        while lines.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            match receiver.recv_timeout(left) {
                Ok(line) => lines.push(line),
                Err(_) => panic!("rumqttc received {} of {count} messages", lines.len()),
            }
        }
        lines.extend(receiver.try_iter());
        lines.clone()
    }
}

pub fn subscribe(access: &Access, version: Version, qos: u8, topic: &str) -> Subscriber {
    let (sender, receiver) = channel();
    let topic = topic.to_owned();
    match version {
        Version::V311 => {
            let (client, connection) = Client::new(options_v4(access), 10);
            std::thread::spawn(move || receive_v4(client, connection, qos, &topic, &sender));
        }
        Version::V5 => {
            let (client, connection) = v5::Client::new(options_v5(access), 10);
            std::thread::spawn(move || receive_v5(client, connection, qos, &topic, &sender));
        }
    }
    Subscriber { incoming: Mutex::new((receiver, Vec::new())) }
}

fn receive_v4(
    client: Client,
    mut connection: rumqttc::Connection,
    qos: u8,
    topic: &str,
    sender: &Sender<String>,
) {
    client.subscribe(topic, qos_v4(qos)).expect("a subscription");
    for event in connection.iter() {
        match event {
            Ok(Event::Incoming(Packet::Publish(message))) => {
                let payload = String::from_utf8_lossy(&message.payload);
                let (qos, retain) = (message.qos as u8, u8::from(message.retain));
                if sender.send(format!("{} {qos} {retain} {payload}", message.topic)).is_err() {
                    return;
                }
            }
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

fn receive_v5(
    client: v5::Client,
    mut connection: v5::Connection,
    qos: u8,
    topic: &str,
    sender: &Sender<String>,
) {
    client.subscribe(topic, qos_v5(qos)).expect("a subscription");
    for event in connection.iter() {
        match event {
            Ok(v5::Event::Incoming(v5::mqttbytes::v5::Packet::Publish(message))) => {
                let topic = String::from_utf8_lossy(&message.topic);
                let payload = String::from_utf8_lossy(&message.payload);
                let (qos, retain) = (message.qos as u8, u8::from(message.retain));
                if sender.send(format!("{topic} {qos} {retain} {payload}")).is_err() {
                    return;
                }
            }
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

pub fn publish(access: &Access, version: Version, qos: u8, topic: &str, payload: &str) -> Result<(), String> {
    match version {
        Version::V311 => publish_v4(access, qos, topic, payload),
        Version::V5 => publish_v5(access, qos, topic, payload),
    }
}

fn publish_v4(access: &Access, qos: u8, topic: &str, payload: &str) -> Result<(), String> {
    let (client, mut connection) = Client::new(options_v4(access), 10);
    client.publish(topic, qos_v4(qos), false, payload).map_err(|error| error.to_string())?;
    for event in connection.iter() {
        let event = event.map_err(|error| error.to_string())?;
        let taken = match event {
            Event::Outgoing(Outgoing::Publish(_)) => qos == 0,
            Event::Incoming(Packet::PubAck(_)) => qos == 1,
            Event::Incoming(Packet::PubComp(_)) => qos == 2,
            Event::Outgoing(Outgoing::Disconnect) => return Ok(()),
            _ => false,
        };
        if taken {
            client.disconnect().map_err(|error| error.to_string())?;
        }
    }
    Err("the connection ended".into())
}

fn publish_v5(access: &Access, qos: u8, topic: &str, payload: &str) -> Result<(), String> {
    use v5::mqttbytes::v5::Packet;
    let (client, mut connection) = v5::Client::new(options_v5(access), 10);
    let payload = payload.as_bytes().to_vec();
    client.publish(topic, qos_v5(qos), false, payload).map_err(|error| error.to_string())?;
    for event in connection.iter() {
        let event = event.map_err(|error| error.to_string())?;
        let taken = match event {
            v5::Event::Outgoing(Outgoing::Publish(_)) => qos == 0,
            v5::Event::Incoming(Packet::PubAck(_)) => qos == 1,
            v5::Event::Incoming(Packet::PubComp(_)) => qos == 2,
            v5::Event::Outgoing(Outgoing::Disconnect) => return Ok(()),
            _ => false,
        };
        if taken {
            client.disconnect().map_err(|error| error.to_string())?;
        }
    }
    Err("the connection ended".into())
}

fn options_v4(access: &Access) -> MqttOptions {
    let mut options = MqttOptions::new(&access.id, "127.0.0.1", access.port);
    options.set_transport(transport(access)).set_max_packet_size(PACKET_BYTES_MAX, PACKET_BYTES_MAX);
    if let Some((user, password)) = access.credentials.password() {
        options.set_credentials(user, password);
    }
    options
}

fn options_v5(access: &Access) -> v5::MqttOptions {
    let mut options = v5::MqttOptions::new(&access.id, "127.0.0.1", access.port);
    options.set_transport(transport(access)).set_max_packet_size(Some(PACKET_BYTES_MAX as u32));
    if let Some((user, password)) = access.credentials.password() {
        options.set_credentials(user, password);
    }
    options
}

fn transport(access: &Access) -> Transport {
    let read = |path: &std::path::Path| std::fs::read(path).expect("a PEM file");
    let client_auth =
        access.credentials.certificate().map(|(certificate, key)| (read(certificate), read(key)));
    Transport::tls(read(&access.ca), client_auth, None)
}

fn qos_v4(qos: u8) -> QoS {
    rumqttc::qos(qos).expect("a QoS")
}

fn qos_v5(qos: u8) -> v5::mqttbytes::QoS {
    v5::mqttbytes::qos(qos).expect("a QoS")
}
