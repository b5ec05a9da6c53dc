//! A disk in memory that fails on demand: crashes that drop, reorder and tear what was not synced, errors of writes
//! and syncs, a full disk. The same seed gives the same failures.

use crate::{Disk, DiskFile};
use std::{
    any::Any,
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

const SECTOR_BYTES: usize = 512;

/// A disk in memory. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

/// What happens at a given operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The power goes: the operation may or may not have happened, and nothing works until [`SimDisk::restart`].
    Crash,
    /// The operation fails once. A failed sync loses what it should have made durable, as on Linux, where a second
    /// sync of the same file then succeeds.
    Error,
}

#[derive(Clone, Default)]
struct State {
    files: Vec<Inode>,
    seen: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    pending: Vec<NameChange>,
    random: u64,
    operations: u64,
    fault: Option<(u64, Fault)>,
    capacity: Option<usize>,
    crashed: bool,
    locked: bool,
}

#[derive(Clone, Default)]
struct Inode {
    seen: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

#[derive(Clone)]
enum NameChange {
    Link(String, usize),
    Unlink(String),
    Rename(String, String, usize),
}

impl SimDisk {
    /// An empty disk.
    pub fn new(seed: u64) -> SimDisk {
        let state = State { random: seed, ..State::default() };
        SimDisk { state: Arc::new(Mutex::new(state)) }
    }

    /// An independent disk with the same contents, all of it durable.
    pub fn fork(&self) -> SimDisk {
        let mut state = self.lock_state().clone();
        state.locked = false;
        state.settle(true);
        SimDisk { state: Arc::new(Mutex::new(state)) }
    }

    /// Lets the `nth` operation from now (1 is the next) that changes something meet a fault.
    pub fn plan(&self, nth: u64, fault: Fault) {
        let mut state = self.lock_state();
        state.fault = Some((state.operations + nth, fault));
    }

    /// Lets coming crashes end differently.
    pub fn reseed(&self, seed: u64) {
        self.lock_state().random ^= seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    /// Limits the sum of the files' sizes.
    pub fn limit(&self, capacity: Option<usize>) {
        self.lock_state().capacity = capacity;
    }

    /// True after a planned crash, until the restart.
    pub fn crashed(&self) -> bool {
        self.lock_state().crashed
    }

    /// How many operations changed something so far.
    pub fn operations(&self) -> u64 {
        self.lock_state().operations
    }

    /// Comes up again. After a loss of power, an arbitrary part of what was not synced is lost; after the mere end
    /// of the process (`power_lost` false) nothing is.
    pub fn restart(&self, power_lost: bool) {
        let mut state = self.lock_state();
        state.crashed = false;
        state.locked = false;
        state.fault = None;
        state.settle(!power_lost);
    }

    /// The names of all files.
    pub fn names(&self) -> Vec<String> {
        self.lock_state().seen.keys().cloned().collect()
    }

    /// The contents of a file; empty when it does not exist.
    pub fn read(&self, name: &str) -> Vec<u8> {
        let state = self.lock_state();
        state.seen.get(name).map(|inode| state.files[*inode].seen.clone()).unwrap_or_default()
    }

    /// Replaces or creates a file, durably: what an attacker does.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let mut state = self.lock_state();
        let inode = state.files.len();
        state.files.push(Inode { seen: bytes.to_vec(), durable: bytes.to_vec(), pending: Vec::new() });
        state.seen.insert(name.to_owned(), inode);
        state.durable.insert(name.to_owned(), inode);
    }

    /// Removes a file, durably.
    pub fn delete(&self, name: &str) {
        let mut state = self.lock_state();
        state.seen.remove(name);
        state.durable.remove(name);
    }

    fn lock_state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn draw(&mut self) -> u64 {
        // splitmix64
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.random;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// What survives becomes all there is.
    fn settle(&mut self, keep_all: bool) {
        for index in 0..self.files.len() {
            let pending = std::mem::take(&mut self.files[index].pending);
            if keep_all {
                self.files[index].durable = self.files[index].seen.clone();
            } else {
                // 0: nothing unsynced reached the disk; 1: all of it; otherwise each change is on its own.
                let luck = self.draw() % 4;
                for change in pending {
                    if luck == 0 || (luck > 1 && self.draw().is_multiple_of(3)) {
                        continue;
                    }
                    let torn = luck > 1 && self.draw().is_multiple_of(2);
                    self.survive(index, change, torn);
                }
            }
            self.files[index].seen = self.files[index].durable.clone();
        }
        let pending = std::mem::take(&mut self.pending);
        if keep_all {
            self.durable = self.seen.clone();
        } else {
            for change in pending {
                if !self.draw().is_multiple_of(2) {
                    continue;
                }
                match change {
                    NameChange::Link(name, inode) => drop(self.durable.insert(name, inode)),
                    NameChange::Unlink(name) => drop(self.durable.remove(&name)),
                    NameChange::Rename(from, to, inode) => {
                        self.durable.remove(&from);
                        self.durable.insert(to, inode);
                    }
                }
            }
        }
        self.seen = self.durable.clone();
    }

    fn survive(&mut self, index: usize, change: Change, torn: bool) {
        match change {
            Change::Length(length) => self.files[index].durable.resize(length, 0),
            Change::Write(offset, bytes) => {
                let mut at = 0;
                while at < bytes.len() {
                    // Sectors are written whole, each or not.
                    let take = (SECTOR_BYTES - (offset + at) % SECTOR_BYTES).min(bytes.len() - at);
                    if !torn || self.draw().is_multiple_of(2) {
                        write(&mut self.files[index].durable, &bytes[at..at + take], offset + at);
                    }
                    at += take;
                }
            }
        }
    }

    /// Counts an operation. `Ok(None)`: do it. `Ok(Some(error))`: do it (or part of it), then fail.
    fn operation(&mut self) -> io::Result<Option<Fault>> {
        if self.crashed {
            return Err(io::Error::other("the disk has crashed"));
        }
        self.operations += 1;
        match self.fault {
            Some((at, fault)) if at == self.operations => {
                self.crashed = fault == Fault::Crash;
                Ok(Some(fault))
            }
            _ => Ok(None),
        }
    }

    fn change_name(&mut self, change: NameChange) -> io::Result<()> {
        let fault = self.operation()?;
        if fault == Some(Fault::Error) {
            return Err(io::Error::other("planned error"));
        }
        match &change {
            NameChange::Link(name, inode) => drop(self.seen.insert(name.clone(), *inode)),
            NameChange::Unlink(name) => drop(self.seen.remove(name)),
            NameChange::Rename(from, to, inode) => {
                self.seen.remove(from);
                self.seen.insert(to.clone(), *inode);
            }
        }
        self.pending.push(change);
        finish(fault)
    }

    fn find(&self, name: &str) -> io::Result<usize> {
        if self.crashed {
            return Err(io::Error::other("the disk has crashed"));
        }
        self.seen.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn finish(fault: Option<Fault>) -> io::Result<()> {
    match fault {
        None => Ok(()),
        Some(Fault::Crash) => Err(io::Error::other("the disk has crashed")),
        Some(Fault::Error) => Err(io::Error::other("planned error")),
    }
}

fn write(file: &mut Vec<u8>, bytes: &[u8], offset: usize) {
    let end = offset + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset..end].copy_from_slice(bytes);
}

struct SimLock(SimDisk);

impl Drop for SimLock {
    fn drop(&mut self) {
        self.0.lock_state().locked = false;
    }
}

impl Disk for SimDisk {
    fn lock(&self) -> io::Result<Box<dyn Any + Send>> {
        let mut state = self.lock_state();
        if std::mem::replace(&mut state.locked, true) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(SimLock(self.clone())))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.lock_state();
        if state.seen.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = state.files.len();
        state.files.push(Inode::default());
        state.change_name(NameChange::Link(name.to_owned(), inode))?;
        Ok(Box::new(SimFile { disk: self.clone(), inode }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let inode = self.lock_state().find(name)?;
        Ok(Box::new(SimFile { disk: self.clone(), inode }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock_state();
        let inode = state.find(from)?;
        state.change_name(NameChange::Rename(from.to_owned(), to.to_owned(), inode))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock_state();
        state.find(name)?;
        state.change_name(NameChange::Unlink(name.to_owned()))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.lock_state();
        let fault = state.operation()?;
        if fault.is_none() {
            state.durable = state.seen.clone();
        }
        if fault != Some(Fault::Crash) {
            state.pending.clear();
        }
        finish(fault)
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("/simulated").join(name)
    }
}

struct SimFile {
    disk: SimDisk,
    inode: usize,
}

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.lock_state();
        let file = &state.files[self.inode].seen;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(file.len());
        let length = buffer.len().min(file.len() - start);
        buffer[..length].copy_from_slice(&file[start..start + length]);
        Ok(length)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.lock_state();
        let offset = offset as usize;
        let fault = state.operation()?;
        let mut fit = bytes.len();
        if fault == Some(Fault::Error) {
            fit = (state.draw() % (bytes.len() as u64 + 1)) as usize;
        }
        if let Some(capacity) = state.capacity {
            let used: usize = state.seen.values().map(|inode| state.files[*inode].seen.len()).sum();
            let growth = (offset + fit).saturating_sub(state.files[self.inode].seen.len());
            if used + growth > capacity {
                fit = fit.saturating_sub(used + growth - capacity);
            }
        }
        let file = &mut state.files[self.inode];
        write(&mut file.seen, &bytes[..fit], offset);
        file.pending.push(Change::Write(offset, bytes[..fit].to_vec()));
        finish(fault)?;
        if fit < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.lock_state().files[self.inode].seen.len() as u64)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let mut state = self.disk.lock_state();
        let fault = state.operation()?;
        if fault != Some(Fault::Error) {
            let file = &mut state.files[self.inode];
            file.seen.resize(length as usize, 0);
            file.pending.push(Change::Length(length as usize));
        }
        finish(fault)
    }

    fn reserve(&mut self, _offset: u64, _length: u64) -> io::Result<()> {
        finish(self.disk.lock_state().operation()?)
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.lock_state();
        let fault = state.operation()?;
        let file = &mut state.files[self.inode];
        if fault.is_none() {
            file.durable = file.seen.clone();
        }
        if fault != Some(Fault::Crash) {
            file.pending.clear();
        }
        finish(fault)
    }
}
