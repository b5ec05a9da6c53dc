//! Targets for the shell, `ravelin-node`.

use ravelin_node::config::{Config, Severity};
use ravelin_node::firewall::wire::Request;
use ravelin_node::proxy::{HEADER_BYTES_MAX, parse};
use ravelin_node::ws::handshake::{Handshake, Rules};
use ravelin_node::ws::{Frames, WsError};
use std::path::Path;

/// The configuration.
pub fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Config::parse(text, Path::new("/etc/ravelin")) {
        Ok(config) => {
            assert!(!config.listeners.is_empty(), "nobody could connect");
            assert!(config.warnings.iter().all(|warning| warning.severity == Severity::Warning));
            for listener in &config.listeners {
                let loopback = listener.address.ip().to_canonical().is_loopback();
                assert!(listener.transport.is_encrypted() || loopback || listener.dangerous_plaintext);
                assert_eq!(listener.transport.is_encrypted(), listener.tls.is_some());
                // What is not secure is said so.
                assert!(!listener.policy.anonymous || !config.warnings.is_empty());
            }
        }
        Err(errors) => {
            assert!(errors.0.iter().any(|diagnostic| diagnostic.severity == Severity::Error));
            let lines = text.split('\n').count();
            for diagnostic in &errors.0 {
                assert!(diagnostic.line <= lines, "{diagnostic:?}");
                assert!(!diagnostic.to_string().is_empty());
            }
        }
    }
}

/// A byte that says in which pieces, and the request of a WebSocket's opening handshake.
pub fn websocket_handshake(data: &[u8]) {
    let Some((step, request)) = pieces(data) else { return };
    let rules =
        Rules { path: "/mqtt".into(), origins: vec!["https://plant.example".into()], frame_bytes_max: 1024 };
    let whole = Handshake::default().receive(request, &rules);
    match &whole {
        Ok(Some((used, answer))) => {
            assert!(*used <= request.len() && request[..*used].ends_with(b"\r\n\r\n"));
            assert!(answer.starts_with(b"HTTP/1.1 101 ") && answer.ends_with(b"\r\n\r\n"));
        }
        Ok(None) => assert!(request.len() < 8192),
        Err(error) => assert!(error.answer().starts_with("HTTP/1.1 4")),
    }
    // It is no matter how the bytes arrive.
    let (mut handshake, mut before, mut result) = (Handshake::default(), 0, Ok(None));
    for piece in request.chunks(step) {
        result = handshake.receive(piece, &rules);
        if !matches!(result, Ok(None)) {
            break;
        }
        before += piece.len();
    }
    assert_eq!(result.map(|done| done.map(|(used, answer)| (before + used, answer))), whole);
}

/// A byte that says in which pieces, and frames of a WebSocket.
pub fn websocket_frames(data: &[u8]) {
    let Some((step, frames)) = pieces(data) else { return };
    let (result, payload, answers) = receive(frames, frames.len().max(1));
    assert!(payload.len() < frames.len().max(1), "more comes out than went in");
    assert!(answers.len() <= frames.len());
    if let Err(error) = &result {
        assert!((1002..=1009).contains(&error.close_code()));
    }
    assert_eq!(receive(frames, step), (result, payload, answers), "in pieces of {step}");
}

fn receive(bytes: &[u8], step: usize) -> (Result<bool, WsError>, Vec<u8>, Vec<u8>) {
    let (mut frames, mut payload, mut answers) = (Frames::default(), Vec::new(), Vec::new());
    let mut result = Ok(true);
    for piece in bytes.chunks(step) {
        let mut data = |bytes: &[u8]| payload.extend_from_slice(bytes);
        result = frames.receive(&mut piece.to_vec(), 1 << 16, &mut answers, &mut data);
        if result != Ok(true) {
            break;
        }
    }
    (result, payload, answers)
}

fn pieces(data: &[u8]) -> Option<(usize, &[u8])> {
    let (&step, rest) = data.split_first()?;
    Some((usize::from(step).max(1), rest))
}

/// A header of the PROXY protocol.
pub fn proxy(data: &[u8]) {
    let whole = parse(data);
    if let Ok(Some(header)) = whole {
        assert!(header.len <= data.len().min(HEADER_BYTES_MAX));
        assert!(header.client.is_none_or(|client| client.ip() == client.ip().to_canonical()));
        // More bytes change nothing, fewer are not enough.
        assert_eq!(parse(&data[..header.len]), whole);
        assert_eq!(parse(&data[..header.len - 1]), Ok(None));
    }
    // What was refused stays so, whatever follows; what was not refused had nothing wrong on the way.
    for cut in 0..data.len().min(HEADER_BYTES_MAX) {
        match parse(&data[..cut]) {
            Ok(None) => {}
            result => return assert_eq!(result, whole, "cut at {cut}"),
        }
    }
    assert!(whole != Ok(None) || data.len() < HEADER_BYTES_MAX, "it waits for more than it accepts");
}

/// What the firewall's agent reads.
pub fn firewall_request(mut data: &[u8]) {
    while let Ok(Some(request)) = Request::read(&mut data) {
        let bytes = request.encode();
        let again = Request::read(&mut &bytes[..]).expect("what was written is read");
        // A network is written in its canonical form.
        assert_eq!(again.map(|again| again.encode()), Some(bytes));
    }
}
