//! Brings the directory into the state from which the log goes on.

use crate::{
    Disk, Error, Keys, Recovery,
    manifest::Manifest,
    verify::{Repair, Verified, verify},
};
use std::{io::ErrorKind, sync::Arc};

const COPY_BYTES: usize = 1 << 20;

/// Verifies the log and makes the repairs that are allowed. Returns the manifest to go on with, the files to remove
/// once it stands, and the stream of records.
pub(crate) fn prepare(
    disk: &Arc<dyn Disk>,
    keys: &Keys,
    accept_damage: bool,
) -> Result<(Manifest, Vec<String>, Recovery), Error> {
    let Verified { manifest, readable, report, repairs, leftovers } = verify(&**disk, keys)?;
    if !report.damage.is_empty() && !accept_damage {
        return Err(Error::Damaged { path: disk.path(""), damage: report.damage });
    }
    // Copies first: nothing is changed before all that will be is safe beside the log.
    for repair in &repairs {
        if let Repair::SetAside(name) = repair {
            set_aside(&**disk, name)?;
        }
    }
    if repairs.iter().any(|repair| matches!(repair, Repair::SetAside(_))) {
        disk.sync_dir().map_err(Error::io("sync directory", disk.path("")))?;
    }
    for repair in &repairs {
        match repair {
            Repair::SetAside(_) => {}
            Repair::Truncate(name, length) => truncate(&**disk, name, *length)?,
            Repair::Sync(name) => sync(&**disk, name)?,
            Repair::Remove(name) => {
                disk.remove(name).map_err(Error::io("remove", disk.path(name)))?;
            }
        }
    }
    if !repairs.is_empty() {
        disk.sync_dir().map_err(Error::io("sync directory", disk.path("")))?;
    }
    let recovery = Recovery::new(Arc::clone(disk), manifest.store, readable, report);
    Ok((manifest, leftovers, recovery))
}

/// Removes files that are no part of the log.
pub(crate) fn remove(disk: &dyn Disk, names: &[String]) -> Result<(), Error> {
    for name in names {
        disk.remove(name).map_err(Error::io("remove", disk.path(name)))?;
    }
    if names.is_empty() {
        return Ok(());
    }
    disk.sync_dir().map_err(Error::io("sync directory", disk.path("")))
}

fn truncate(disk: &dyn Disk, name: &str, length: u64) -> Result<(), Error> {
    let path = disk.path(name);
    let mut file = disk.open(name).map_err(Error::io("open", &path))?;
    if file.length().map_err(Error::io("measure", &path))? > length {
        file.truncate(length).map_err(Error::io("truncate", &path))?;
    }
    Ok(())
}

fn sync(disk: &dyn Disk, name: &str) -> Result<(), Error> {
    let path = disk.path(name);
    let mut file = disk.open(name).map_err(Error::io("open", &path))?;
    file.sync().map_err(Error::io("sync", &path))
}

/// Copies a file under a name that is not taken. A copy, not a rename: a crash must not turn a damaged segment into
/// a missing one.
fn set_aside(disk: &dyn Disk, name: &str) -> Result<(), Error> {
    let path = disk.path(name);
    let source = disk.open(name).map_err(Error::io("open", &path))?;
    let mut number = 1;
    let (mut copy, copy_path) = loop {
        let copy = format!("{name}.damaged-{number}");
        match disk.create(&copy) {
            Ok(file) => break (file, disk.path(&copy)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(Error::io("create", disk.path(&copy))(error)),
        }
    };
    let mut chunk = vec![0; COPY_BYTES];
    let mut at = 0;
    loop {
        let read = source.read_at(&mut chunk, at).map_err(Error::io("read", &path))?;
        if read == 0 {
            break;
        }
        copy.write_at(&chunk[..read], at).map_err(Error::io("write", &copy_path))?;
        at += read as u64;
    }
    copy.sync().map_err(Error::io("sync", &copy_path))
}
