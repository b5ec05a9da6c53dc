//! Items 16 and 45: a broker that lies to the clients that Ravelin brings along.
//!
//! There are no bridges yet, so their loops and what they forward (CVE-2026-58213) are out of scope: `ravelin pub` and
//! `ravelin sub` are the only ones that read what another broker sends.

use ravelin_attacks::false_broker::{Outcome, listen, read_packet, run};
use ravelin_attacks::wire::{binary, packet, properties};
use ravelin_attacks::{MIB, hex};
use std::io::Write;
use std::net::TcpStream;

const SUB: &[&str] = &["sub", "-t", "topic", "-C", "1", "-W", "1", "-v"];
/// The exit code of `-W`: the client went on waiting, as it may.
const TIMED_OUT: i32 = 27;

/// Runs a client against a broker that sends `greeting` after the first packet and `lie` after the second.
fn lied_to(arguments: &[&str], greeting: Vec<u8>, lie: Vec<u8>) -> Outcome {
    let broker = listen(move |socket: &mut TcpStream| {
        for answer in [&greeting, &lie] {
            if read_packet(socket) == 0 || socket.write_all(answer).is_err() {
                return;
            }
        }
        while read_packet(socket) != 0 {}
    });
    let outcome = run(broker, arguments);
    assert!(!outcome.stderr.contains("panicked"), "{outcome:?}");
    assert!(outcome.memory_peak < 64 * MIB, "{outcome:?}");
    outcome
}

/// The client must end by itself with an error that it prints, without having printed a message.
fn must_refuse(arguments: &[&str], greeting: &[u8], lie: &[u8]) {
    let outcome = lied_to(arguments, greeting.to_vec(), lie.to_vec());
    let said = !outcome.stderr.trim().is_empty() && outcome.stdout.is_empty();
    let refused = outcome.code.is_some_and(|code| code != 0 && code != TIMED_OUT);
    assert!(refused && said, "{arguments:?} {greeting:02x?} {lie:02x?}: {outcome:?}");
}

/// The client may refuse or go on waiting, but it ends in order and takes nothing for a message.
fn must_survive(arguments: &[&str], greeting: &[u8], lie: &[u8]) {
    let outcome = lied_to(arguments, greeting.to_vec(), lie.to_vec());
    let ended = outcome.code.is_some_and(|code| code != 0) && outcome.stdout.is_empty();
    assert!(ended, "{arguments:?} {greeting:02x?} {lie:02x?}: {outcome:?}");
}

/// Tries many lies at once; most of the time is waited.
fn each<T: Sync>(lies: &[T], tell: impl Fn(&T) + Sync) {
    for some in lies.chunks(8) {
        std::thread::scope(|scope| {
            let tell = &tell;
            for lie in some {
                scope.spawn(move || tell(lie));
            }
        });
    }
}

const V5: &[u8] = &[0x20, 3, 0, 0, 0];
const V311: &[u8] = &[0x20, 2, 0, 0];

fn with(arguments: &[&'static str], more: &[&'static str]) -> Vec<&'static str> {
    [arguments, more].concat()
}

/// CVE-2024-10525, CVE-2017-7655: acknowledgements without reason codes, messages without a topic.
#[test]
fn a16_acknowledgements_without_reason_codes() {
    let old = with(&["sub", "-t", "topic", "-C", "1", "-W", "1"], &["-V", "4"]);
    for lie in [
        "9003 0001 00",
        "9000",
        "9002 0001",
        "9001 00",
        "9005 0001 00 00 00",
        "9004 0001 00 55",
        "9004 0001 7f 00",
    ] {
        must_refuse(SUB, V5, &hex(lie));
    }
    for lie in ["9002 0001", "9000", "9004 0001 00 00", "9003 0001 55"] {
        must_refuse(&old, V311, &hex(lie));
    }
    // After a good SUBACK, a message without a topic.
    for lie in ["3003 0000 00", "3000", "3001 00", "3005 ffff 61 00 00"] {
        must_refuse(SUB, V5, &[&hex("9004 0001 00 00")[..], &hex(lie)].concat());
    }
    must_refuse(&old, V311, &hex("9003 0001 00 3002 0000"));
    let publish = ["pub", "-t", "topic", "-m", "x", "-q", "1"];
    for lie in ["4000", "4001 00", "4002 0000", "4004 0001 87 00", "4003 0001 55", "4004 0001 00 7f"] {
        must_refuse(&publish, V5, &hex(lie));
    }
    let publish = ["pub", "-t", "topic", "-m", "x", "-q", "2"];
    for lie in ["5000", "5001 00", "5002 0001 7000", "5002 0001 7001 00", "5003 0001 87"] {
        must_refuse(&publish, V5, &hex(lie));
    }
}

/// nanomq#2145, CVE-2024-3935, and whatever else a server must not send.
#[test]
fn a45_malicious_server() {
    // In the place of CONNACK.
    let greetings = [
        "2000",
        "2001 00",
        "2002 0000",
        "20ffffff7f",
        "2003 00 00 7f",
        "2003 02 00 00",
        "2003 01 87 00",
        "2003 00 55 00",
        "2007 00 00 04 260001 61",
        "2006 00 00 03 21 0000",
        "200a 00 00 07 12 000461 622f 00",
        "0000",
        "f000",
        "d000",
        "30050001 78 00 61",
        "9004 0001 00 00",
        "e0028200",
        "1000",
        "21030000 00",
        "ffffffffff",
        "2003 00 00",
    ];
    each(&greetings, |greeting| must_survive(SUB, &hex(greeting), &[]));
    // After it.
    let suback = hex("9004 0001 00 00");
    let wild = packet(0x30, &[&binary("a/#")[..], &properties(&[]), b"x"].concat());
    let control = packet(0x30, &[&binary("a\x1b]0;owned\x07")[..], &properties(&[]), b"x"].concat());
    let deep = packet(0x30, &[&binary("a\0b")[..], &properties(&[]), b"x"].concat());
    let lies = [
        wild,
        control,
        deep,
        hex("3003 000161"),            // no room for its properties
        hex("3605 000161 0001"),       // QoS 3
        hex("3007 0000 03 230001 78"), // an alias that was not granted
        hex("3007 0000 03 230000 78"),
        hex("3203 000161"),     // no Packet Identifier
        hex("30ffffff7f 0001"), // 256 MiB that never come
        hex("30ffffffff 01"),
        hex("3009 000161 05 0bffffffff"),
        hex("2003 000000"),                        // a second CONNACK
        hex("100c 0004 4d515454 04 02 003c 0000"), // packets of a client
        hex("8206 0001 000161 00"),
        hex("c000"),
        hex("5002 0001"), // acknowledgements of nothing
        hex("6202 0001"),
        hex("e000 00"),
    ];
    each(&lies, |lie| must_survive(SUB, V5, &[&suback[..], lie].concat()));
    // A flood of acknowledgements of nothing and of messages for nobody costs no memory.
    let flood = [&suback[..], &hex("6202 0001").repeat(100_000), &hex("f000")].concat();
    must_survive(SUB, V5, &flood);
    must_survive(
        &["pub", "-t", "topic", "-m", "x", "-q", "1"],
        V5,
        &[hex("4002 0009").repeat(50_000), hex("f000")].concat(),
    );
}

/// What a server says about itself reaches an operator's terminal: nothing in it may drive the terminal.
#[test]
fn a45_words_of_a_malicious_server() {
    let words = "bad\x1b]0;owned\x07\r\nravelin: all is well\u{9b}31m";
    let block = [&[0x1F][..], &binary(words)].concat();
    let connack = packet(0x20, &[&[0, 0x87][..], &properties(&block)].concat());
    let disconnect = packet(0xE0, &[&[0x98][..], &properties(&block)].concat());
    let puback = packet(0x40, &[&[0, 1, 0x87][..], &properties(&block)].concat());
    let suback = packet(0x90, &[&[0, 1][..], &properties(&block), &[0x87]].concat());
    let publish: &[&str] = &["pub", "-t", "topic", "-m", "x", "-q", "1"];
    for (arguments, greeting, lie) in [
        (SUB, connack, Vec::new()),
        (SUB, V5.to_vec(), [&hex("9004 0001 00 00")[..], &disconnect].concat()),
        (SUB, V5.to_vec(), suback),
        (publish, V5.to_vec(), puback),
    ] {
        let outcome = lied_to(arguments, greeting, lie);
        assert!(outcome.code.is_some_and(|code| code != 0), "{outcome:?}");
        let drives = |c: char| c.is_control() && c != '\n';
        assert!(!outcome.stderr.contains(drives), "{outcome:?}");
        assert!(!outcome.stderr.lines().any(|line| line.starts_with("ravelin: all is well")), "{outcome:?}");
    }
}
