use super::*;
use crate::{Row, What};
use ravelin_detect::Sight;
use std::fmt::Write;

/// What came out, in words.
#[derive(Default)]
struct Told(String);

impl Sink for Told {
    fn row(&mut self, row: &Row<'_>, label: Option<&str>) {
        assert_eq!(label, None);
        let side = if row.from_client { 'c' } else { 'b' };
        let word = What::WORDS.iter().find(|(_, what)| *what == row.what).unwrap().0;
        let _ = write!(self.0, "{}{word}{side}:{}{}", row.connection, row.client_id, row.topic);
        if row.what == What::Publish {
            let _ = write!(self.0, "/{}", row.payload_len);
        }
        self.0.push(' ');
    }

    fn sight(&mut self, _: u64, _: Sight) {}

    fn warn(&mut self, warning: Warning) {
        let _ = write!(self.0, "!{warning} ");
    }
}

/// Writes a pcap of Ethernet frames.
struct Pcap {
    bytes: Vec<u8>,
    at: u32,
}

const CLIENT: (u8, u16) = (1, 40_000);
const SERVER: (u8, u16) = (2, 1883);

impl Pcap {
    fn new() -> Pcap {
        let mut bytes = 0xA1B2_C3D4_u32.to_le_bytes().to_vec();
        bytes.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0]);
        Pcap { bytes, at: 1_000 }
    }

    fn frame(from: (u8, u16), to: (u8, u16), sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([8, 0, 0x45, 0]);
        frame.extend((40 + payload.len() as u16).to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, from.0, 10, 0, 0, to.0]);
        frame.extend(from.1.to_be_bytes());
        frame.extend(to.1.to_be_bytes());
        frame.extend(sequence.to_be_bytes());
        frame.extend([0, 0, 0, 0, 0x50, flags, 255, 255, 0, 0, 0, 0]);
        frame.extend(payload);
        frame
    }

    fn packet(&mut self, frame: &[u8]) {
        self.at += 1;
        for field in [self.at, 0, frame.len() as u32, frame.len() as u32] {
            self.bytes.extend(field.to_le_bytes());
        }
        self.bytes.extend(frame);
    }

    fn client(&mut self, sequence: u32, flags: u8, payload: &[u8]) {
        self.packet(&Pcap::frame(CLIENT, SERVER, sequence, flags, payload));
    }

    fn server(&mut self, sequence: u32, flags: u8, payload: &[u8]) {
        self.packet(&Pcap::frame(SERVER, CLIENT, sequence, flags, payload));
    }

    fn shake(&mut self) {
        self.client(99, link::SYN, b"");
        self.server(199, link::SYN | link::ACK, b"");
        self.client(100, link::ACK, b"");
    }

    fn told(&self) -> String {
        told(&self.bytes)
    }
}

fn told(bytes: &[u8]) -> String {
    let mut told = Told::default();
    read(bytes, &Options::default(), &mut told).unwrap();
    told.0.trim().into()
}

const CONNECT: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a";
const CONNACK: &[u8] = b"\x20\x02\x00\x00";
const PUBLISH: &[u8] = b"\x30\x06\x00\x01txyz";

#[test]
fn a_connection_from_its_syn_to_its_fin() {
    let mut pcap = Pcap::new();
    pcap.shake();
    pcap.client(100, link::ACK, CONNECT);
    pcap.server(200, link::ACK, CONNACK);
    pcap.client(115, link::ACK, PUBLISH);
    pcap.client(115, link::ACK, PUBLISH);
    pcap.client(123, link::ACK, b"\xe0\x00");
    pcap.client(125, link::ACK | link::FIN, b"");
    pcap.server(204, link::ACK | link::FIN, b"");
    assert_eq!(pcap.told(), "1OPENc: 1CONNECTc:a 1CONNACKb:a 1PUBLISHc:at/3 1DISCONNECTc:a 1CLOSE_FINc:a");
}

#[test]
fn segments_in_pieces_and_out_of_order_are_put_together() {
    let mut pcap = Pcap::new();
    pcap.shake();
    pcap.client(107, link::ACK, &CONNECT[7..]);
    pcap.client(100, link::ACK, &CONNECT[..7]);
    pcap.client(118, link::ACK, &PUBLISH[3..]);
    pcap.client(115, link::ACK, &PUBLISH[..3]);
    assert_eq!(pcap.told(), "1OPENc: 1CONNECTc:a 1PUBLISHc:at/3 1ENDc:a");
}

#[test]
fn after_a_loss_packets_are_found_again_and_nobody_is_called_malformed() {
    let mut pcap = Pcap::new();
    pcap.shake();
    pcap.client(100, link::ACK, CONNECT);
    // The start of a publish came, the rest was lost; then others go on.
    pcap.client(115, link::ACK, &PUBLISH[..4]);
    for number in 0..4 {
        pcap.client(200 + number * 8, link::ACK, PUBLISH);
    }
    assert_eq!(
        pcap.told(),
        "1OPENc: 1CONNECTc:a 1PUBLISHc:at/3 1PUBLISHc:at/3 1PUBLISHc:at/3 1PUBLISHc:at/3 1ENDc:a"
    );
}

#[test]
fn a_connection_from_before_is_read_from_the_first_packet_that_is_whole() {
    let mut pcap = Pcap::new();
    pcap.client(500, link::ACK, b"yz of something");
    pcap.client(515, link::ACK, PUBLISH);
    pcap.client(523, link::ACK | link::RST, b"");
    assert_eq!(pcap.told(), "1MIDSTREAMb: 1PUBLISHc:t/3 1CLOSE_RSTc:");
}

#[test]
fn other_ports_are_recognised_by_connect_and_other_protocols_are_left_alone() {
    let mut pcap = Pcap::new();
    let other = (2, 7777);
    pcap.packet(&Pcap::frame(CLIENT, other, 99, link::SYN, b""));
    pcap.packet(&Pcap::frame(CLIENT, other, 100, link::ACK, CONNECT));
    pcap.packet(&Pcap::frame((3, 5), (2, 80), 99, link::SYN, b""));
    pcap.packet(&Pcap::frame((3, 5), (2, 80), 100, link::ACK, b"GET / HTTP/1.1\r\n"));
    assert_eq!(pcap.told(), "1OPENc: 1CONNECTc:a 1ENDc:a");
}

#[test]
fn bytes_that_are_no_packet_are_malformed() {
    let mut pcap = Pcap::new();
    pcap.shake();
    pcap.client(100, link::ACK, CONNECT);
    pcap.client(115, link::ACK, b"\x30\xff\xff\xff\xff\xff");
    pcap.server(200, link::ACK | link::FIN, b"");
    assert_eq!(pcap.told(), "1OPENc: 1CONNECTc:a 1MALFORMEDc:a 1CLOSE_FINb:a");
}

#[test]
fn mqtt_3_1_and_5_and_long_payloads_are_read() {
    let mut pcap = Pcap::new();
    pcap.shake();
    let old = b"\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x01a";
    pcap.client(100, link::ACK, old);
    let mut long = vec![0x30, 0x80, 0x80, 0x08, 0, 1, b't'];
    long.resize(4 + 131_072, b'x');
    for (number, piece) in long.chunks(1_000).enumerate() {
        pcap.client(117 + number as u32 * 1_000, link::ACK, piece);
    }
    pcap.client(117 + long.len() as u32, link::ACK, PUBLISH);
    assert_eq!(pcap.told(), "1OPENc: 1CONNECTc:a 1PUBLISHc:at/131069 1PUBLISHc:at/3 1ENDc:a");

    let mut pcap = Pcap::new();
    pcap.shake();
    pcap.client(100, link::ACK, b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01a");
    pcap.client(116, link::ACK, b"\x82\x0b\x00\x01\x00\x00\x01x\x00\x00\x01y\x01");
    pcap.server(200, link::ACK, b"\x90\x05\x00\x01\x00\x00\x87");
    assert_eq!(
        pcap.told(),
        "1OPENc: 1CONNECTc:a 1SUBSCRIBEc:ax 1SUBSCRIBEc:ay 1SUBACKb:a 1SUBACKb:a 1ENDc:a"
    );
}

#[test]
fn pcapng_is_read_with_its_resolution() {
    let frame = Pcap::frame(CLIENT, SERVER, 99, link::SYN, b"");
    let frame2 = Pcap::frame(CLIENT, SERVER, 100, link::ACK, CONNECT);
    let mut bytes = Vec::new();
    let block = |bytes: &mut Vec<u8>, kind: u32, body: &[u8]| {
        let length = (12 + body.len().next_multiple_of(4)) as u32;
        bytes.extend(kind.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(length.to_be_bytes());
    };
    block(
        &mut bytes,
        0x0A0D_0D0A,
        &[0x1A, 0x2B, 0x3C, 0x4D, 0, 1, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255],
    );
    block(&mut bytes, 1, &[0, 1, 0, 0, 0, 4, 0, 0, 0, 9, 0, 1, 9, 0, 0, 0, 0, 0, 0, 0]);
    block(&mut bytes, 5, &[0; 12]);
    for frame in [frame, frame2] {
        let mut body = [[0; 4], [0, 0, 0, 1], [0, 0, 0, 0]].concat();
        body.extend((frame.len() as u32).to_be_bytes());
        body.extend((frame.len() as u32).to_be_bytes());
        body.extend(&frame);
        block(&mut bytes, 6, &body);
    }
    assert_eq!(told(&bytes), "1OPENc: 1CONNECTc:a 1ENDc:a");
    let mut blocks = Blocks::new(&bytes[..]).unwrap();
    assert_eq!(blocks.next_packet().ok().flatten().map(|packet| packet.at_us), Some((1_u64 << 32) / 1_000));
}

#[test]
fn a_capture_that_is_cut_off_or_broken_counts_up_to_there() {
    let mut pcap = Pcap::new();
    pcap.shake();
    pcap.client(100, link::ACK, CONNECT);
    let told = told(&pcap.bytes[..pcap.bytes.len() - 3]);
    assert!(told.starts_with("1OPENc: 1ENDc: !packet 3: the capture ends at byte"), "{told}");
    let mut told = Told::default();
    assert!(read(&pcap.bytes[..10], &Options::default(), &mut told).is_err());
    for end in 0..pcap.bytes.len() {
        let _ = read(&pcap.bytes[..end], &Options::default(), &mut Told::default());
    }
}

#[test]
fn link_types_and_ipv6() {
    let inner = Pcap::frame(CLIENT, SERVER, 99, link::SYN, b"")[14..].to_vec();
    let framed = |head: &[u8]| [head, &inner].concat();
    let mut six = vec![0x60, 0, 0, 0, 0, 28, 0, 64];
    six.extend([0; 15]);
    six.push(1);
    six.extend([0; 15]);
    six.push(2);
    six.extend([6, 0, 0, 0, 0, 0, 0, 0]);
    six.extend(&inner[20..]);
    let cases: [(u16, Vec<u8>); 7] = [
        (101, inner.clone()),
        (0, framed(&[2, 0, 0, 0])),
        (113, framed(&[0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0])),
        (276, framed(&[8, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0])),
        (1, framed(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x81, 0, 0, 7, 8, 0])),
        (228, inner.clone()),
        (101, six),
    ];
    for (link_type, frame) in cases {
        let segment = link::segment(link_type, &frame).ok().flatten().expect("a segment");
        assert_eq!((segment.from.port(), segment.sequence), (40_000, 99), "link type {link_type}");
    }
    assert!(link::segment(147, &inner).is_err());
}
