//! Finds out what a recording is, and reads it.

use crate::{Error, Sink, capture, csv, log};
use std::io::{BufRead, BufReader, Read};

/// How much is read at once.
const BUFFER: usize = 256 << 10;

/// What a recording can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A table of events.
    Csv,
    /// A capture, pcap or pcapng.
    Capture,
    /// The event log of a node: JSON, one record a line.
    Log,
}

/// How a recording is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Ports on which a capture has MQTT; on others it is recognised by its CONNECT.
    pub ports: Vec<u16>,
}

impl Default for Options {
    fn default() -> Options {
        Options { ports: vec![1883] }
    }
}

/// Reads a recording to its end; tells what it was. Compression by gzip is undone first.
pub fn read<S: Sink>(input: impl Read, options: &Options, sink: &mut S) -> Result<Form, Error> {
    let mut input = BufReader::with_capacity(BUFFER, input);
    if start(&mut input)?.starts_with(&[0x1F, 0x8B]) {
        let plain = flate2::bufread::MultiGzDecoder::new(input);
        return read_plain(BufReader::with_capacity(BUFFER, plain), options, sink);
    }
    read_plain(input, options, sink)
}

fn read_plain<S: Sink>(mut input: impl BufRead, options: &Options, sink: &mut S) -> Result<Form, Error> {
    let start = start(&mut input)?;
    let form = if start.is_empty() {
        return Err(Error::Unknown("the recording is empty: there is not one byte in it".into()));
    } else if capture::is_capture(start) {
        Form::Capture
    } else if start.starts_with(b"{") {
        Form::Log
    } else if let Some(what) = no_text(start) {
        return Err(Error::Unknown(what));
    } else {
        Form::Csv
    };
    match form {
        Form::Capture => capture::read(input, options, sink)?,
        Form::Log => log::read(input, sink)?,
        Form::Csv => csv::read(input, sink)?,
    }
    Ok(form)
}

/// Why this is the start of no text, if it is none.
fn no_text(start: &[u8]) -> Option<String> {
    const PACKED: [(&[u8], &str); 5] = [
        (b"\xFD7zXZ\0", "xz"),
        (b"\x28\xB5\x2F\xFD", "zstd"),
        (b"BZh", "bzip2"),
        (b"PK\x03\x04", "zip"),
        (b"\x1F\x8B", "gzip twice"),
    ];
    if let Some((_, name)) = PACKED.iter().find(|(magic, _)| start.starts_with(magic)) {
        return Some(format!(
            "byte 0: it is compressed with {name}; undo that first (only gzip is undone here)"
        ));
    }
    let head = &start[..start.len().min(512)];
    let odd = |byte: &u8| byte.is_ascii_control() && !matches!(byte, b'\t' | b'\r' | b'\n');
    let at = head.iter().position(odd)?;
    let begins: Vec<String> = head.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    Some(format!(
        "byte {at}: this is no text, and it begins with {}: neither a capture (pcap, pcapng), nor a table of events in CSV, \
         nor the JSON event log of a node",
        begins.join(" ")
    ))
}

/// The first bytes, which stay to be read.
fn start(input: &mut impl BufRead) -> Result<&[u8], Error> {
    input.fill_buf().map_err(|source| Error::Read { what: "the start of the recording".into(), source })
}
