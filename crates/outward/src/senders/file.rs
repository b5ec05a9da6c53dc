//! Lines in a file, for fail2ban and whatever follows a file.
//!
//! It is appended to, and opened again when another file has its name: what `logrotate` does by default needs no signal. The
//! mode of a new file is 0640. A batch is on disk when it counts as sent.

use super::Sender;
use crate::{Entry, Error};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

const BATCH_ENTRIES_MAX: usize = 1000;
const BATCH_BYTES_MAX: usize = 1 << 20;

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileTarget {
    /// Its path.
    pub path: PathBuf,
}

pub(crate) struct File {
    path: PathBuf,
    open: Option<std::fs::File>,
}

impl File {
    pub fn new(target: &FileTarget) -> File {
        File { path: target.path.clone(), open: None }
    }

    /// The file that has the name now.
    fn current(&mut self) -> Result<&mut std::fs::File, Error> {
        let is_current = |file: &std::fs::File| {
            let (ours, named) = (file.metadata().ok()?, std::fs::metadata(&self.path).ok()?);
            ((ours.dev(), ours.ino()) == (named.dev(), named.ino())).then_some(())
        };
        if self.open.as_ref().and_then(is_current).is_none() {
            let path = self.path.display();
            let opened = OpenOptions::new().append(true).create(true).mode(0o640).open(&self.path);
            let file = opened.map_err(|error| Error::io(&format!("failed to open {path}"), &error))?;
            if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
                return Err(Error::Settings(format!("{path} is not a file")));
            }
            self.open = Some(file);
        }
        self.open.as_mut().ok_or_else(|| Error::Settings("no file".into()))
    }
}

impl Sender for File {
    fn send(&mut self, batch: &[Entry], _: u64) -> Result<(), Error> {
        let mut lines = String::new();
        for entry in batch {
            lines.push_str(&entry.body);
            lines.push('\n');
        }
        let path = self.path.display().to_string();
        let file = self.current()?;
        let length = file.metadata().map(|metadata| metadata.len());
        let written = file.write_all(lines.as_bytes()).and_then(|()| file.sync_data());
        written.map_err(|error| {
            // A part of a line would spoil the next one.
            if let Ok(length) = length {
                let _ = file.set_len(length);
            }
            Error::io(&format!("failed to write to {path}"), &error)
        })
    }

    fn batch_max(&self) -> (usize, usize) {
        (BATCH_ENTRIES_MAX, BATCH_BYTES_MAX)
    }
}
