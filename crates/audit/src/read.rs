//! Shows a record: entries in order, from wherever they can be read.

use crate::body;
use crate::chain::{Chain, PublicKey, Salt};
use crate::entry::Entry;
use crate::error::Error;
use crate::head::Head;
use crate::open::begin_of;
use crate::ring::Ring;
use ravelin_store::{Disk, Keys, OpenedSegment, SegmentFrames, segment_file_name, segment_numbers};
use std::collections::VecDeque;
use std::sync::Arc;

/// An entry as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its number.
    pub sequence: u64,
    /// What its leaf is blinded with.
    pub salt: Salt,
    /// Its text: what is hashed.
    pub text: String,
    /// What it says; `None` for a kind that this version does not know.
    pub entry: Option<Entry>,
}

/// Reads the entries of a record. It may be written meanwhile.
pub struct Reader {
    disk: Arc<dyn Disk>,
    ring: Ring,
    /// The segment that is read, or was last.
    number: u64,
    frames: Option<Box<SegmentFrames>>,
    chain: Option<Chain>,
    items: VecDeque<Item>,
    /// Entries up to this one were handed out.
    passed: u64,
    /// What could not be read.
    problems: Vec<String>,
}

impl Reader {
    /// Opens the record in `disk`; `store` are the keys of the store.
    pub fn open(disk: Arc<dyn Disk>, store: &Keys) -> Result<Reader, Error> {
        let ring = match Ring::load(&*disk, store)? {
            Some(ring) => ring,
            None => return Err(Error::NoRecord { path: disk.path("") }),
        };
        Ok(Reader {
            disk,
            ring,
            number: 0,
            frames: None,
            chain: None,
            items: VecDeque::new(),
            passed: 0,
            problems: Vec::new(),
        })
    }

    /// The id of the record.
    pub fn record(&self) -> [u8; 16] {
        self.ring.record
    }

    /// The key that signs now.
    pub fn public_key(&self) -> &PublicKey {
        self.ring.signer.public()
    }

    /// The newest checkpoint.
    pub fn head(&self) -> Result<Option<Head>, Error> {
        Head::load(&*self.disk)?.transpose()
    }

    /// Begins with the last segment that began before `at_ms`, in milliseconds since the Unix epoch.
    pub fn skip_to(&mut self, at_ms: u64) -> Result<(), Error> {
        let numbers = segment_numbers(&*self.disk)?;
        for number in numbers.into_iter().rev() {
            let opened = SegmentFrames::open(&*self.disk, &self.ring.data, Some(self.ring.record), number)?;
            let OpenedSegment::Sound(mut frames) = opened else { continue };
            if !frames.advance()? {
                continue;
            }
            if begin_of(&frames, number).is_some_and(|(entry, ..)| entry.at_ms <= at_ms) {
                self.number = number.saturating_sub(1);
                return Ok(());
            }
        }
        Ok(())
    }

    /// What could not be read since the last call.
    pub fn take_problems(&mut self) -> Vec<String> {
        std::mem::take(&mut self.problems)
    }

    /// The next entry; `None` at the end, behind which there may be more later.
    pub fn next_item(&mut self) -> Result<Option<Item>, Error> {
        loop {
            while let Some(item) = self.items.pop_front() {
                if item.sequence > self.passed {
                    self.passed = item.sequence;
                    return Ok(Some(item));
                }
            }
            let advanced = match &mut self.frames {
                Some(frames) => frames.advance()?,
                None => false,
            };
            if advanced {
                self.take_frame();
            } else if !self.next_segment()? {
                return Ok(None);
            }
        }
    }

    fn take_frame(&mut self) {
        let (Some(frames), Some(chain)) = (&self.frames, &mut self.chain) else { return };
        for item in body::items(frames.body()) {
            let Ok(item) = item else {
                self.problems.push(format!("{} holds what is no entry", segment_file_name(self.number)));
                return;
            };
            chain.add(&item.salt, item.text.as_bytes());
            let entry = Entry::from_json(item.text);
            let text = item.text.to_owned();
            self.items.push_back(Item { sequence: chain.sequence, salt: item.salt, text, entry });
        }
    }

    /// Opens the next segment, or, at the end, the last one again: it may have grown. False: there is nothing new.
    fn next_segment(&mut self) -> Result<bool, Error> {
        let numbers = segment_numbers(&*self.disk)?;
        let next = numbers.iter().copied().find(|number| *number > self.number);
        let unread = match &self.frames {
            Some(frames) => frames.content_end()? > frames.offset(),
            None => false,
        };
        let number = match next {
            Some(number) => {
                if unread {
                    let file = segment_file_name(self.number);
                    self.problems.push(format!("{file} cannot be read to its end; `verify` says more"));
                }
                number
            }
            None if unread => self.number,
            None => return Ok(false),
        };
        let again = number == self.number;
        let before = self.frames.as_ref().map_or(0, |frames| frames.frames());
        self.number = number;
        self.frames = None;
        let opened = SegmentFrames::open(&*self.disk, &self.ring.data, Some(self.ring.record), number)?;
        let OpenedSegment::Sound(mut frames) = opened else {
            self.problems.push(format!("{} cannot be read", segment_file_name(number)));
            return Ok(next.is_some());
        };
        let begin = if frames.advance()? { begin_of(&frames, number) } else { None };
        let Some((_, _, chain)) = begin else {
            return Ok(next.is_some());
        };
        self.chain = Some(chain);
        self.frames = Some(frames);
        self.take_frame();
        if !again {
            return Ok(true);
        }
        // Only what has come since is news; an unfinished write is none yet.
        while let Some(frames) = &mut self.frames
            && frames.frames() < before
            && frames.advance()?
        {
            self.take_frame();
        }
        self.items.retain(|item| item.sequence > self.passed);
        let more = match &mut self.frames {
            Some(frames) => frames.advance()?,
            None => false,
        };
        if more {
            self.take_frame();
        }
        Ok(more)
    }
}
