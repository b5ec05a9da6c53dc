//! Evidence: entries in clear, the leaves of those that are withheld, and the signatures. Verified with the public key
//! alone.
//!
//! One JSON object a line. The first says what it is; each other line is an entry: its number, and either its salt and
//! text or its leaf. See `FORMAT.md`.

use crate::chain::{Chain, Hash, PublicKey, hex, leaf, unhex};
use crate::entry::What;
use crate::error::Error;
use crate::head::Head;
use crate::read::{Item, Reader};
use crate::verify::{DamageKind, Verification};
use crate::walk::{Place, Walk};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::io::{BufRead, Write};

const VERSION: u32 = 1;
/// Longer lines are none of ours: see the bound of an entry's text.
const LINE_BYTES_MAX: u64 = 4 << 20;

#[derive(Serialize, Deserialize)]
struct Title {
    ravelin_record_export: u32,
    record: String,
    /// The number of the first entry that follows.
    first: u64,
    /// The head of the chain before it.
    head_before: String,
    public_key: String,
}

#[derive(Serialize)]
struct LineOut<'a> {
    sequence: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    salt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leaf: Option<String>,
}

#[derive(Deserialize)]
struct LineIn {
    sequence: u64,
    #[serde(default)]
    salt: Option<String>,
    #[serde(default)]
    entry: Option<Box<RawValue>>,
    #[serde(default)]
    leaf: Option<String>,
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Entries in clear.
    pub entries: u64,
    /// Entries of which only the leaf was written.
    pub withheld: u64,
    /// Entries behind the last checkpoint, which were not written.
    pub unsigned: u64,
    /// What could not be read.
    pub problems: Vec<String>,
}

/// Writes the record to `out`, up to its last checkpoint: everything that is handed out is signed for. Entries that `is_meant` does not pick are withheld: their leaves stand for them;
/// those of the record itself (checkpoints, gaps, deletions) are always written.
pub fn write(
    reader: &mut Reader,
    out: &mut dyn Write,
    mut is_meant: impl FnMut(&Item) -> bool,
) -> Result<Exported, Error> {
    let failed = |error| Error::io("write", "the export")(error);
    let mut exported = Exported::default();
    let mut expected = None;
    // What no checkpoint has followed yet.
    let (mut held, mut counts) = (String::new(), (0, 0));
    while let Some(item) = reader.next_item()? {
        if expected.is_none() {
            let title = title(reader, &item)?;
            writeln!(out, "{title}").map_err(failed)?;
        } else if expected != Some(item.sequence) {
            let problem =
                format!("entries between {} and {} are missing", expected.unwrap_or(0), item.sequence);
            return Err(Error::malformed("the record cannot be exported whole", problem));
        }
        expected = Some(item.sequence + 1);
        let what = item.entry.as_ref().map(|entry| &entry.what);
        let clear = what.is_none_or(What::is_structure) || is_meant(&item);
        counts = if clear { (counts.0 + 1, counts.1) } else { (counts.0, counts.1 + 1) };
        held.push_str(&line_of(&item, clear)?);
        held.push('\n');
        if matches!(what, Some(What::Checkpoint(_))) {
            out.write_all(held.as_bytes()).map_err(failed)?;
            held.clear();
            exported.entries += counts.0;
            exported.withheld += counts.1;
            counts = (0, 0);
        }
    }
    exported.unsigned = counts.0 + counts.1;
    exported.problems = reader.take_problems();
    out.flush().map_err(failed)?;
    Ok(exported)
}

fn line_of(item: &Item, clear: bool) -> Result<String, Error> {
    let failed = |error: serde_json::Error| Error::malformed("an entry", error.to_string());
    let sequence = item.sequence;
    if clear {
        let raw = RawValue::from_string(item.text.clone()).map_err(failed)?;
        let line = LineOut { sequence, salt: Some(hex(&item.salt)), entry: Some(&raw), leaf: None };
        return serde_json::to_string(&line).map_err(failed);
    }
    let leaf = hex(&leaf(&item.salt, item.text.as_bytes()));
    serde_json::to_string(&LineOut { sequence, salt: None, entry: None, leaf: Some(leaf) }).map_err(failed)
}

fn title(reader: &Reader, first: &Item) -> Result<String, Error> {
    // The first entry that is kept is always the first of a segment, which says where the chain stands.
    let Some(What::Segment(begin)) = first.entry.as_ref().map(|entry| &entry.what) else {
        return Err(Error::malformed("the record", "its first segment cannot be read; `verify` says more"));
    };
    let title = Title {
        ravelin_record_export: VERSION,
        record: hex(&reader.record()),
        first: first.sequence,
        head_before: begin.head.clone(),
        public_key: reader.public_key().to_entry().public_key,
    };
    serde_json::to_string(&title).map_err(|error| Error::malformed("the title", error.to_string()))
}

/// Whether `line` is the first line of an export.
pub fn is_export(line: &str) -> bool {
    line.trim_start().starts_with("{\"ravelin_record_export\":")
}

/// Verifies an export. Each of `anchors` must agree; with `pinned`, that key must have signed.
pub fn verify(
    input: &mut dyn BufRead,
    name: &str,
    anchors: Vec<Head>,
    pinned: Option<PublicKey>,
) -> Result<Verification, Error> {
    let mut lines = Lines { input, text: String::new(), number: 0 };
    let bad_title = |problem: String| Error::malformed(format!("{name}, line 1"), problem);
    if !lines.advance(name)? {
        return Err(bad_title("the file is empty".into()));
    }
    let title: Title = serde_json::from_str(&lines.text)
        .map_err(|error| bad_title(format!("it is not the first line of an export: {error}")))?;
    if title.ravelin_record_export != VERSION {
        return Err(bad_title(format!("version {} is not known", title.ravelin_record_export)));
    }
    let (Some(record), Some(head)) = (unhex(&title.record), unhex(&title.head_before)) else {
        return Err(bad_title("a hash in it is not one".into()));
    };
    let Some(before) = title.first.checked_sub(1) else {
        return Err(bad_title("entries are numbered from 1".into()));
    };
    let mut walk = Walk::new(anchors, pinned);
    let before = Chain { sequence: before, head };
    walk.start(record, before);
    if before.sequence == 0 && before != Chain::start(record) {
        let place = Place { file: name.into(), offset: 1 };
        walk.damage(DamageKind::ChainBroken, &place, None, "the chain of this record begins otherwise");
    }
    while lines.advance(name)? {
        let place = Place { file: name.into(), offset: lines.number };
        if let Err(problem) = take(&mut walk, &place, &lines.text) {
            walk.damage(DamageKind::Altered, &place, None, problem);
        }
    }
    if walk.found.checkpoints == 0 {
        let place = Place { file: name.into(), offset: lines.number };
        walk.damage(DamageKind::CheckpointInvalid, &place, None, "nothing in it is signed");
    } else if walk.chain.sequence > walk.found.signed + 1 {
        let place = Place { file: name.into(), offset: lines.number };
        let detail = "nobody signed for what follows the last checkpoint";
        walk.damage(DamageKind::Unsigned, &place, None, detail);
        if let Some(last) = walk.found.damage.last_mut() {
            last.after = walk.found.signed + 1;
        }
    }
    Ok(walk.finish())
}

struct Lines<'a> {
    input: &'a mut dyn BufRead,
    text: String,
    number: u64,
}

impl Lines<'_> {
    fn advance(&mut self, name: &str) -> Result<bool, Error> {
        use std::io::Read as _;
        self.text.clear();
        self.number += 1;
        let mut bytes = Vec::new();
        let read = (&mut *self.input).take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes);
        read.map_err(Error::io("read", name))?;
        let what = || format!("{name}, line {}", self.number);
        if bytes.len() as u64 == LINE_BYTES_MAX {
            return Err(Error::malformed(what(), "it is far too long"));
        }
        self.text = String::from_utf8(bytes).map_err(|_| Error::malformed(what(), "it is not UTF-8"))?;
        Ok(!self.text.is_empty())
    }
}

/// Takes one line into the walk.
fn take(walk: &mut Walk, place: &Place, text: &str) -> Result<(), String> {
    let line: LineIn =
        serde_json::from_str(text).map_err(|error| format!("it is not a line of an export: {error}"))?;
    let expected = walk.chain.sequence + 1;
    if line.sequence != expected {
        walk.damage(
            if line.sequence > expected { DamageKind::Cut } else { DamageKind::ChainBroken },
            place,
            Some(line.sequence),
            format!("entry {expected} was due, and entry {} stands there", line.sequence),
        );
        if line.sequence < expected {
            return Ok(());
        }
        // The heads behind it are unknown; numbers go on, so that what follows is located.
        let head = walk.chain.head;
        walk.jump(Chain { sequence: line.sequence - 1, head });
    }
    match (line.salt, line.entry, line.leaf) {
        (Some(salt), Some(entry), None) => {
            let salt = unhex(&salt).ok_or("its salt is not one")?;
            walk.entry(place, &salt, entry.get());
        }
        (None, None, Some(leaf)) => {
            let leaf: Hash = unhex(&leaf).ok_or("its leaf is not a hash")?;
            walk.leaf(&leaf);
        }
        _ => return Err("it has neither a salt and an entry, nor a leaf".into()),
    }
    Ok(())
}
