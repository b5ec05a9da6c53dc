//! From what waits for a connection to its socket: one vectored write of the core's slices, framed for WebSocket and
//! encrypted for TLS where the connection has them.

pub(crate) mod tls;

use crate::shard::conn::Conn;
use crate::ws::WebSocket;
use ravelin_broker::Outbound;
use std::io::{self, IoSlice, Write};
use tls::{SEAL_BYTES_MAX, Tls};

/// Slices of one vectored write.
const SLICES_MAX: usize = 64;

/// Reused by all connections of a shard.
#[derive(Default)]
pub(crate) struct Scratch {
    plain: Vec<u8>,
    sealed: Vec<u8>,
}

/// How a write ended.
pub(crate) enum Written {
    /// All of it is in the kernel.
    All,
    /// The socket takes no more now. True: it took something.
    Blocked(bool),
}

/// Writes what waits in `out`, and what the transport has in front of it.
pub(crate) fn write(conn: &mut Conn, out: &mut Outbound, scratch: &mut Scratch) -> io::Result<Written> {
    let ws = conn.ws.as_deref_mut();
    match conn.tls.as_deref_mut() {
        None => write_plain(&mut conn.socket, ws, out),
        Some(tls) => write_sealed(&mut conn.socket, tls, ws, out, scratch),
    }
}

fn write_plain(
    socket: &mut impl Write,
    mut ws: Option<&mut WebSocket>,
    out: &mut Outbound,
) -> io::Result<Written> {
    let mut progress = false;
    loop {
        let mut slices: [&[u8]; SLICES_MAX] = [&[]; SLICES_MAX];
        let filled = fill(&mut ws, out, &mut slices);
        if filled == 0 {
            return Ok(Written::All);
        }
        let offered: usize = slices[..filled].iter().map(|slice| slice.len()).sum();
        let result = if filled == 1 {
            socket.write(slices[0])
        } else {
            let mut vectors = [IoSlice::new(&[]); SLICES_MAX];
            for (vector, slice) in vectors.iter_mut().zip(&slices[..filled]) {
                *vector = IoSlice::new(slice);
            }
            socket.write_vectored(&vectors[..filled])
        };
        match result {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                consume(&mut ws, out, written);
                progress = true;
                if written < offered {
                    return Ok(Written::Blocked(true));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Written::Blocked(progress)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn write_sealed(
    socket: &mut impl Write,
    tls: &mut Tls,
    mut ws: Option<&mut WebSocket>,
    out: &mut Outbound,
    scratch: &mut Scratch,
) -> io::Result<Written> {
    let mut progress = false;
    loop {
        // What was encrypted must go first; it cannot be encrypted again.
        scratch.sealed.clear();
        let mut sealed = std::mem::take(&mut tls.outgoing);
        if sealed.is_empty() {
            std::mem::swap(&mut sealed, &mut scratch.sealed);
        }
        if tls.is_established() && sealed.len() < SEAL_BYTES_MAX {
            gather(&mut ws, out, &mut scratch.plain);
            if !scratch.plain.is_empty() {
                tls.seal(&scratch.plain, &mut sealed).map_err(io::Error::other)?;
            }
        }
        if sealed.is_empty() {
            scratch.sealed = sealed;
            return Ok(Written::All);
        }
        let written = write_some(socket, &sealed)?;
        progress |= written > 0;
        if written < sealed.len() {
            tls.outgoing = sealed[written..].to_vec();
            if sealed.capacity() > scratch.sealed.capacity() {
                scratch.sealed = sealed;
            }
            return Ok(Written::Blocked(progress));
        }
        if sealed.capacity() > scratch.sealed.capacity() {
            scratch.sealed = sealed;
        }
    }
}

/// Writes until all is written or the socket blocks.
fn write_some(socket: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
    let mut at = 0;
    while at < bytes.len() {
        match socket.write(&bytes[at..]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => at += written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(at)
}

/// Copies up to [`SEAL_BYTES_MAX`] of what waits into `plain`, and consumes it.
fn gather(ws: &mut Option<&mut WebSocket>, out: &mut Outbound, plain: &mut Vec<u8>) {
    plain.clear();
    while plain.len() < SEAL_BYTES_MAX {
        let mut slices: [&[u8]; SLICES_MAX] = [&[]; SLICES_MAX];
        let filled = fill(ws, out, &mut slices);
        if filled == 0 {
            return;
        }
        let start = plain.len();
        for slice in &slices[..filled] {
            let room = SEAL_BYTES_MAX - plain.len();
            plain.extend_from_slice(&slice[..slice.len().min(room)]);
        }
        consume(ws, out, plain.len() - start);
    }
}

fn fill<'a>(ws: &'a mut Option<&mut WebSocket>, out: &'a Outbound, slices: &mut [&'a [u8]]) -> usize {
    match ws {
        None => out.slices(slices),
        Some(ws) => ws.fill(out, slices),
    }
}

fn consume(ws: &mut Option<&mut WebSocket>, out: &mut Outbound, written: usize) {
    match ws {
        None => out.consume(written),
        Some(ws) => ws.consume(out, written),
    }
}
