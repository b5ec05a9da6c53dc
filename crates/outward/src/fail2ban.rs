//! A line for fail2ban: what it matches on stands before anything that a client chose.
//!
//! ```text
//! 2026-11-24T06:53:43.007Z ravelin[plant]: refused address=192.0.2.7 reason=login.failed:bad_credentials client="meter-7"
//! ```
//!
//! `packaging/fail2ban/filter.d/ravelin.conf` reads it. The address is the one of the connection; a line without one does
//! not exist. What a client chose is in quotes and printable ASCII, so that it cannot end the line or begin another.

use crate::fields;
use crate::text::{name, push_quoted};
use crate::time::rfc3339;
use crate::{Item, Origin, What};
use std::fmt::Write;

/// Longest part of a name that a client chose.
const NAME_BYTES_MAX: usize = 256;

/// The line, without its end; `None` if it is not known from where it came.
pub fn line(origin: &Origin, item: &Item) -> Option<String> {
    let fields = item.fields();
    if let What::Test { .. } = item.what {
        // TEST-NET-1 (RFC 5737): nobody has it, so nobody is kept out.
        return Some(format!(
            "{} ravelin[{}]: test address=192.0.2.1 reason={}",
            rfc3339(item.at_ms),
            name(&origin.node, 64),
            item.id()
        ));
    }
    let address = fields::address(&fields)?;
    let mut line = format!(
        "{} ravelin[{}]: refused address={} reason={}",
        rfc3339(item.at_ms),
        name(&origin.node, 64),
        address.ip(),
        name(item.id(), 64)
    );
    let detail = ["why", "scope", "detector"].iter().find_map(|field| fields::text(&fields, field));
    if let Some(detail) = detail {
        let _ = write!(line, ":{}", name(detail, 64));
    }
    for (label, field) in [("client", "client_id"), ("identity", "identity")] {
        if let Some(text) = fields::text(&fields, field) {
            let end = (0..=text.len().min(NAME_BYTES_MAX)).rev().find(|at| text.is_char_boundary(*at));
            let _ = write!(line, " {label}=");
            push_quoted(&mut line, &text[..end.unwrap_or(0)]);
        }
    }
    Some(line)
}
