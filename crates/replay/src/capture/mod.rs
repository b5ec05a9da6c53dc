//! Captures: pcap and pcapng in, events on connections out.
//!
//! [`blocks`] finds the packets in the file, [`link`] the TCP segments in those, [`flows`] follows the connections,
//! [`stream`] puts segments in order, [`mqtt`] reads control packets. Every table and every buffer has a bound; what a bound
//! or a lost segment cuts is looked at again from the next packet that makes sense.

mod blocks;
mod flows;
mod link;
mod mqtt;
mod stream;

use crate::{Error, Options, Place, Sink, Warning};
use blocks::Blocks;
use flows::Flows;
use std::io::Read;

/// Whether a file that begins with these bytes is a capture.
pub(crate) fn is_capture(start: &[u8]) -> bool {
    blocks::is_capture(start)
}

/// Reads a capture to its end.
pub(crate) fn read(input: impl Read, options: &Options, sink: &mut impl Sink) -> Result<(), Error> {
    let mut blocks = Blocks::new(input)?;
    let mut flows = Flows::new(&options.ports);
    let mut unknown_links = Vec::new();
    let result = loop {
        match blocks.next_packet() {
            Ok(Some(packet)) => match link::segment(packet.link_type, packet.bytes) {
                Ok(Some(segment)) => flows.handle_segment(packet.at_us, &segment, sink),
                Ok(None) => {}
                Err(link::UnknownLink(link_type)) => {
                    if !unknown_links.contains(&link_type) && unknown_links.len() < 16 {
                        unknown_links.push(link_type);
                        let what = format!("link type {link_type} is not read: its packets are left out");
                        sink.warn(Warning { place: Place::Packet(packet.number), column: "", what });
                    }
                }
            },
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    if result.is_ok() && flows.count() == 0 {
        let packets = blocks.number();
        let what = format!(
            "the capture ends, and none of {packets} packets is of MQTT over TCP; name its port if it begins in the middle"
        );
        sink.warn(Warning { place: Place::Packet(packets), column: "", what });
    }
    flows.finish(sink);
    match result {
        // What was captured until it was cut off counts.
        Err(Error::Damaged { offset, what }) if blocks.number() > 0 => {
            let what = format!("the capture ends at byte {offset}: {what}");
            sink.warn(Warning { place: Place::Packet(blocks.number()), column: "", what });
            Ok(())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests;
