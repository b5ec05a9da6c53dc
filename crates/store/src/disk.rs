//! The directory the log lives in, as a trait so that tests can put a failing one in its place.

use std::{
    any::Any,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// One directory. Names are plain file names in it.
pub trait Disk: Send + Sync + 'static {
    /// Takes the directory for this process until the value is dropped. Fails with `WouldBlock` when it is taken.
    fn lock(&self) -> io::Result<Box<dyn Any + Send>>;
    /// Creates a file that does not exist.
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;
    /// Opens a file that exists, to read and to write.
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>>;
    /// Renames a file, replacing the target.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// The names of all files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes creations, renames and removals durable.
    fn sync_dir(&self) -> io::Result<()>;
    /// The path of a file (or of the directory, for ""), for messages.
    fn path(&self, name: &str) -> PathBuf;
}

/// One open file.
pub trait DiskFile: Send {
    /// Reads up to `buffer.len()` bytes at `offset`; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// The length in bytes.
    fn length(&self) -> io::Result<u64>;
    /// Sets the length; what is added reads as zeros.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
    /// Reserves blocks without changing the length.
    fn reserve(&mut self, offset: u64, length: u64) -> io::Result<()>;
    /// Makes what was written durable.
    fn sync(&mut self) -> io::Result<()>;
}

/// A directory of the operating system: mode 0700, its files 0600.
#[derive(Debug)]
pub struct RealDisk {
    directory: PathBuf,
}

const LOCK: &str = "LOCK";

impl RealDisk {
    /// Opens the directory, creating it (not its parents) where it does not exist. A looser mode is tightened.
    pub fn open(directory: impl AsRef<Path>) -> io::Result<RealDisk> {
        let directory = directory.as_ref().to_path_buf();
        match fs::DirBuilder::new().mode(0o700).create(&directory) {
            Ok(()) => {
                // The directory's own entry must survive too, or a power failure takes the whole log.
                if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                    File::open(parent)?.sync_all()?;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if fs::metadata(&directory)?.permissions().mode() & 0o077 != 0 {
                    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700))?;
                }
            }
            Err(error) => return Err(error),
        }
        Ok(RealDisk { directory })
    }

    fn options() -> OpenOptions {
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(0o600).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
        options
    }
}

impl Disk for RealDisk {
    fn lock(&self) -> io::Result<Box<dyn Any + Send>> {
        let file = RealDisk::options().create(true).truncate(false).open(self.directory.join(LOCK))?;
        file.try_lock().map_err(io::Error::from)?;
        Ok(Box::new(file))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealDisk::options().create_new(true).open(self.directory.join(name))?))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(RealDisk::options().open(self.directory.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.directory.join(from), self.directory.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.directory.join(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            // A name that is not UTF-8 is none of ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }

    fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.directory.clone() } else { self.directory.join(name) }
    }
}

impl DiskFile for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn reserve(&mut self, offset: u64, length: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&*self, rustix::fs::FallocateFlags::KEEP_SIZE, offset, length) {
            // Only a matter of speed: a file system that cannot do it is as good.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => Ok(()),
            other => Ok(other?),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}
