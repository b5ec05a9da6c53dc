//! Writes the seeds of all targets but the codec's to `corpus/`: `cargo run -p ravelin-fuzz --example seed_corpus_more`.
//!
//! Seeds that a fuzzer found, and certificates, are added by hand and stay; this writes only its own names.

use std::{fs, path::PathBuf};

use ravelin_fuzz::broker::records;
use ravelin_fuzz::protect::{CLIENT_NONCE, PASSWORD, SERVER_NONCE, USER, verifier};
use ravelin_mqtt::*;
use ravelin_protect::Secret;
use ravelin_protect::scram::{ClientFirst, Mechanism, ScramClient, ScramServer};

fn main() {
    store();
    audit();
    protect();
    node();
    broker();
}

fn audit() {
    use ravelin_audit::testing;
    for (name, bytes) in testing::seeds() {
        save("audit", name, &bytes);
    }
    for place in [0_u16, 20, 130, 144, 300, 700, 1500] {
        let [low, high] = place.to_le_bytes();
        save("audit", &format!("patch-{place}"), &[low, high, 0xFF, 0, 1]);
    }
}

fn store() {
    let id = ravelin_store::testing::keys(&[1]).current_id();
    let key = format!("ravelin-key-file 1\ncurrent {id} {}\n", "01".repeat(32));
    save("store", "key-file", key.as_bytes());
    let mut header = b"RAVELSEG\x01\0\0\0\0\0\0\0".to_vec();
    header.resize(128, 7);
    save("store", "segment-header", &header);
    save("store", "frame-header", b"RvFr\x08\0\0\0\x01\0\0\0\0\0\0\0");
    save("store", "records", b"\x05\0\0\0first\x06\0\0\0second");
    for (name, selector) in [("segment-cut", 0), ("manifest-cut", 1), ("segment", 2), ("manifest", 3)] {
        for (place, at) in [("start", 0u16), ("header", 100), ("frame", 140), ("end", u16::MAX)] {
            let [high, low] = at.to_be_bytes();
            save("store", &format!("{name}-{place}"), &[selector, high, low, 0xFF, 0, 1]);
        }
    }
}

fn protect() {
    for (name, text) in PASSWORDS {
        save("passwords", name, text.as_bytes());
    }
    for (name, text) in RULES {
        save("access_rules", name, text.as_bytes());
    }
    let password = || Secret::new(PASSWORD);
    let (mut client, first) =
        ScramClient::begin(Mechanism::Sha256, USER, password(), CLIENT_NONCE).expect("a good user");
    let read = ClientFirst::parse(&first).expect("the client's first message");
    let (server, server_first) =
        ScramServer::begin(read, verifier(), true, SERVER_NONCE).expect("a good nonce");
    let client_final = client.prove(&server_first).expect("the server's first message");
    let server_final = server.finish(&client_final).expect("the right proof");
    save("scram_server", "right", &[&first, &b"\n"[..], &client_final].concat());
    save(
        "scram_server",
        "escaped",
        b"y,a=a=2Cb=3Dc,n=a=2Cb=3Dc,r=nonce,ext=1\nc=eSxhPWE9MkNiPTNEYyw=,r=nonce,p=",
    );
    save("scram_server", "binding", b"p=tls-unique,,n=user,r=nonce\n");
    save("scram_server", "mandatory", b"n,,m=x,n=user,r=nonce\n");
    save("scram_client", "right", &[&server_first, &b"\n"[..], &server_final].concat());
    save("scram_client", "error", &[&server_first, &b"\ne=unknown-user"[..]].concat());
    save("scram_client", "few", format!("r={CLIENT_NONCE}x,s=QUFBQUFBQUE=,i=1\nv=").as_bytes());
    save("scram_client", "other-nonce", b"r=abc,s=QUFBQUFBQUE=,i=4096\nv=");
}

const PASSWORDS: &[(&str, &str)] = &[
    ("empty", ""),
    ("comment", "# users of the plant\n"),
    (
        "argon2id",
        "alice:$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE\n",
    ),
    (
        "scram",
        "alice:$scram-sha-256$i=16384,s=AAAAAAAAAAAAAAAAAAAAAA==,sk=AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=,server=AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=\n",
    ),
    (
        "pbkdf2",
        "bob:$7$101$AAAAAAAAAAAAAAAA$AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAw==\n",
    ),
    (
        "sha512",
        "carol:$6$AAAAAAAAAAAAAAAA$AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAw==\n",
    ),
    (
        "both",
        "#\na:$6$AAAA$AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAw\na:$scram-sha-256$i=4096,s=AAAAAAAAAAA=,sk=AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=,server=AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=\n",
    ),
    ("plain", "alice:secret\n"),
    ("blank", "alice:$6$AAAA$\n\nbob\n"),
];

const RULES: &[(&str, &str)] = &[
    ("public", "any\n\npublic/x\ntopic read public/#\n"),
    (
        "meter",
        "meter-7\nmeter-7\nreadings/meter-7\nuser meter-7\ntopic write readings/meter-7\ntopic deny readings/+\n",
    ),
    ("pattern", "c1\nu1\nstatus/c1/u1\npattern write status/%c/%u\npattern deny status/%c/#\n"),
    ("deny", "c\nu\na/b/c\nuser u\ntopic readwrite a/#\ntopic deny a/+/c\ntopic subscribe #\n"),
    ("sys", "c\nu\n$SYS/broker/clients\nuser u\ntopic read $SYS/#\ntopic #\n"),
    ("wild", "c\na/+\n$share/g/a/#\npattern read a/%u\ntopic read a/#\n# a comment\n\n"),
    ("wrong", "c\nu\nt\ntopic both a/#/b\nusers x\n\ttopic read\n"),
];

fn node() {
    for (name, text) in CONFIGURATIONS {
        save("configuration", name, text.as_bytes());
    }
    let request = "GET /mqtt HTTP/1.1\r\nHost: plant\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
    let mqtt = "Sec-WebSocket-Protocol: mqttv3.1, mqtt\r\n";
    for (name, text) in [
        ("good", format!("\x07{request}{mqtt}\r\n\u{1}frames")),
        ("origin", format!("\x40{request}{mqtt}Origin: https://plant.example\r\n\r\n")),
        ("other-origin", format!("\x40{request}{mqtt}Origin: https://evil.example\r\n\r\n")),
        ("body", format!("\x40{request}{mqtt}Content-Length: 5\r\n\r\nhello")),
        ("no-protocol", format!("\x01{request}\r\n")),
        ("other-path", "\x20GET /other?x HTTP/1.1\r\n\r\n".into()),
        ("post", "\x20POST /mqtt HTTP/1.1\r\n\r\n".into()),
        ("long", format!("\x7f{request}X: {}", "x".repeat(9000))),
    ] {
        save("websocket_handshake", name, text.as_bytes());
    }
    let frame = |first: u8, payload: &[u8]| -> Vec<u8> {
        let mut frame = vec![first];
        match payload.len() {
            len @ 0..126 => frame.push(0x80 | len as u8),
            len => {
                frame.push(0x80 | 126);
                frame.extend((len as u16).to_be_bytes());
            }
        }
        frame.extend([1, 2, 3, 4]);
        frame.extend(payload.iter().zip([1, 2, 3, 4].iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    };
    for (name, step, frames) in [
        ("binary", 3, vec![frame(0x82, &[0xC0, 0]), frame(0x82, &[9; 300])]),
        ("fragments", 1, vec![frame(0x02, b"ab"), frame(0x89, b"ping"), frame(0, b""), frame(0x80, b"cd")]),
        ("close", 5, vec![frame(0x82, b"a"), frame(0x88, &[3, 0xE8]), frame(0x82, b"b")]),
        ("pong", 2, vec![frame(0x8A, b"")]),
        ("text", 9, vec![frame(0x81, b"text")]),
        ("huge", 9, vec![vec![0x82, 0xFF, 0, 0, 0, 0, 0xFF, 0, 0, 0, 1, 2, 3, 4]]),
    ] {
        save("websocket_frames", name, &[&[step], &frames.concat()[..]].concat());
    }
    for (name, line) in [
        ("v1-ipv4", "PROXY TCP4 192.0.2.7 198.51.100.1 4711 1883\r\n\u{10}"),
        ("v1-ipv6", "PROXY TCP6 2001:db8::7 ::ffff:192.0.2.1 4711 1883\r\n"),
        ("v1-unknown", "PROXY UNKNOWN what ever\r\n"),
        ("none", "\u{10}\u{c}"),
    ] {
        save("proxy", name, line.as_bytes());
    }
    let v2 = |command: u8, family: u8, body: &[u8]| {
        let len = (body.len() as u16).to_be_bytes();
        [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[0x20 | command, family], &len, body].concat()
    };
    save("proxy", "v2-local", &v2(0, 0, b""));
    let ipv4 = [192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x67, 7, 91];
    save("proxy", "v2-ipv4", &v2(1, 0x11, &ipv4));
    save("proxy", "v2-extensions", &v2(1, 0x11, &[&ipv4[..], &[4, 0, 2, 0, 0, 5, 0, 0]].concat()));
    save("proxy", "v2-ipv6", &v2(1, 0x21, &[&[0; 10][..], &[0xFF; 2], &[9; 24]].concat()));
}

const CONFIGURATIONS: &[(&str, &str)] = &[
    (
        "plant",
        "[node]\nname = \"plant\"\ndata = \"data\"\n[[listener]]\nname = \"mutual-tls\"\ntransport = \"tls\"\n\
         address = \"127.0.0.1:8883\"\ncertificate = \"tls/server.crt\"\nkey = \"tls/server.key\"\n\
         client_certificate = \"required\"\nclient_ca = \"ca/ca.crt\"\ncrl = [\"ca/ca.crl\"]\n\
         authentication = [\"certificate\"]\n[authentication]\npassword_file = \"passwords\"\n[access]\n\
         rules_file = \"access.rules\"\n[store]\nkey_file = \"store.key\"\ndurability = \"interval\"\ninterval = \"50ms\"\n",
    ),
    (
        "websocket",
        "[[listener]]\ntransport = \"wss\"\naddress = \"[::]:443\"\ncertificate = \"c\"\nkey = \"k\"\n\
         client_certificate = \"none\"\nwebsocket_path = \"/mqtt\"\nallowed_origins = [\"https://plant.example\"]\n\
         tls_min = \"1.3\"\nsession_tickets = false\n[authentication]\npassword_file = \"p\"\n[log]\nformat = \"json\"\n",
    ),
    (
        "dangerous",
        "[[listener]]\ntransport = \"tcp\"\naddress = \"0.0.0.0:1883\"\nbind_client_id = \"none\"\n\
         dangerous_plaintext = true\ndangerous_anonymous = true\n[access]\ndangerous_allow_everything = true\n",
    ),
    (
        "proxy",
        "[[listener]]\ntransport = \"ws\"\naddress = \"127.0.0.1:0\"\nproxy_protocol = true\n\
         proxy_trusted = [\"10.0.0.5/32\", \"2001:db8::/32\"]\ndangerous_anonymous = true\n",
    ),
    (
        "limits",
        "[limits]\npacket_bytes_max = \"1MiB\"\nconnect_bytes_max = 4096\nconnect_deadline = \"10s\"\n\
         connection_rate = \"5000/s\"\nexempt_loopback = false\nkeep_alive_max = \"1h\"\n[sys]\ninterval = \"10s\"\n",
    ),
    ("plaintext", "[[listener]]\ntransport = \"tcp\"\naddress = \"0.0.0.0:1883\"\n"),
    ("unknown", "[node]\nnmae = \"x\"\n[lisener]\n"),
    ("syntax", "[[listener]\ntransport = \"tcp\n"),
    ("empty", ""),
];

fn broker() {
    for (name, frames) in [("v5", scene(Version::V5)), ("v311", scene(Version::V311))] {
        for options in 0..8u8 {
            // Without bit 1 the second client speaks 3.1.1.
            if (name == "v5") != (options & 2 != 0) {
                continue;
            }
            let data = [&[options], &frames[..]].concat();
            save("broker_frames", &format!("{name}-{options}"), &data);
            if options & 4 != 0 {
                continue;
            }
            let mut journal = vec![options & 1];
            for record in records(&data) {
                journal.extend((record.len() as u16).to_be_bytes());
                journal.extend(record);
            }
            save("broker_restore", &format!("journal-{name}-{options}"), &journal);
            // What a crash leaves behind: nobody had time to end.
            let records = records(&data);
            let mut half = vec![options & 1 | 2];
            for record in records.iter().take(records.len() / 2) {
                half.extend((record.len() as u16).to_be_bytes());
                half.extend(record);
            }
            save("broker_restore", &format!("half-{name}-{options}"), &half);
        }
    }
}

/// Two clients do a little of everything. The first speaks MQTT 5.0 always, the second `version`.
fn scene(version: Version) -> Vec<u8> {
    let mut frames = Vec::new();
    let mut add = |who: u8, write: &dyn Fn(&mut Vec<u8>, Version)| {
        let mut packet = Vec::new();
        write(&mut packet, if who & 1 == 0 { Version::V5 } else { version });
        frames.extend([who, packet[0], packet.len() as u8 - 2]);
        frames.extend_from_slice(&packet[2..]);
    };
    let subscribe = |id: u16, filters: &'static [(&'static str, QoS)]| {
        move |out: &mut Vec<u8>, version| {
            let all: Vec<Subscription<'_>> = filters
                .iter()
                .map(|&(filter, qos)| Subscription {
                    filter,
                    options: SubscribeOptions { qos, ..Default::default() },
                })
                .collect();
            let subscription_id = (version == Version::V5).then_some(u32::from(id));
            encode_subscribe(out, version, id, subscription_id, &all, Properties::EMPTY);
        }
    };
    let publish =
        |qos: QoS, packet_id: u16, topic: &'static str, retain: bool, alias: u16, payload: &'static str| {
            move |out: &mut Vec<u8>, version| {
                let v5 = version == Version::V5;
                let publish = PublishOut {
                    dup: false,
                    qos,
                    retain,
                    topic,
                    packet_id,
                    topic_alias: (v5 && alias > 0).then_some(alias),
                    expiry_s: (v5 && retain).then_some(60),
                    subscription_ids: &[],
                    forward: &[],
                    payload: payload.as_bytes(),
                };
                encode_publish(out, version, &publish);
            }
        };
    let ack = |kind: AckKind, packet_id: u16| {
        move |out: &mut Vec<u8>, version| {
            let ack = Ack {
                kind,
                packet_id,
                reason: ReasonCode::SUCCESS,
                reason_string: None,
                properties: Properties::EMPTY,
            };
            encode_ack(out, version, &ack);
        }
    };
    add(0, &subscribe(1, &[("a/+", QoS::ExactlyOnce), ("$share/g/s/#", QoS::AtLeastOnce)]));
    add(
        1,
        &subscribe(
            1,
            &[("a/#", QoS::AtLeastOnce), ("$share/g/s/#", QoS::ExactlyOnce), ("secret", QoS::AtMostOnce)],
        ),
    );
    add(1, &publish(QoS::AtMostOnce, 0, "a/b", true, 0, "kept"));
    add(0, &publish(QoS::AtLeastOnce, 1, "a/b", false, 1, "one"));
    add(0, &publish(QoS::ExactlyOnce, 2, "a/c", true, 2, "two"));
    add(0, &publish(QoS::ExactlyOnce, 2, "a/c", true, 2, "two"));
    add(0, &ack(AckKind::PubRel, 2));
    add(1, &ack(AckKind::PubAck, 1));
    add(0, &ack(AckKind::PubRec, 2));
    add(0, &ack(AckKind::PubComp, 2));
    add(2, &publish(QoS::AtLeastOnce, 3, "s/1", false, 0, "shared"));
    add(2, &publish(QoS::ExactlyOnce, 4, "s/2", false, 0, "shared too"));
    add(1, &publish(QoS::AtLeastOnce, 9, "secret", false, 0, "not allowed"));
    add(1, &|out, _| encode_pingreq(out));
    add(0, &|out, version| {
        encode_unsubscribe(out, version, 5, &["a/+", "never"], Properties::EMPTY);
    });
    add(0x41, &|out, version| encode_disconnect(out, version, &Disconnect::default()));
    add(0x80, &publish(QoS::ExactlyOnce, 6, "a/b", false, 0, "while you were away"));
    add(0x41, &ack(AckKind::PubRel, 77));
    add(0, &|out, _| out.extend([0x00, 0]));
    frames
}

fn save(target: &str, name: &str, bytes: &[u8]) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&folder)
        .unwrap_or_else(|error| panic!("failed to create {}: {error}", folder.display()));
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap_or_else(|error| panic!("failed to write {}: {error}", path.display()));
}
