//! The files that hold secrets and rules: created once and private, replaced whole, read with a bound.

use crate::Error;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Who may read a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The owner only (0600).
    Private,
    /// Everyone (0644): certificates.
    Public,
}

impl Mode {
    fn bits(self) -> u32 {
        match self {
            Mode::Private => 0o600,
            Mode::Public => 0o644,
        }
    }
}

/// Creates a directory that only its owner can enter (0700). An existing one is an error.
pub fn create_dir(path: &Path) -> Result<(), Error> {
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(path)
        .map_err(|error| Error::io("create the directory", path, &error))
}

/// Creates a file that must not exist yet (`O_EXCL`: never through a link, never over another), and writes it to disk.
pub fn create(path: &Path, content: &[u8], mode: Mode) -> Result<(), Error> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode.bits())
        .open(path)
        .map_err(|error| Error::io("create", path, &error))?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    written.map_err(|error| Error::io("write", path, &error))?;
    sync_parent(path)
}

/// Replaces a file whole: readers see the old content or the new, never a part. The permissions (and, where the
/// process may set it, the owner) are kept; a new file is private. A symbolic link is followed, not replaced.
pub fn replace(path: &Path, content: &[u8]) -> Result<(), Error> {
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let old = std::fs::metadata(&target).ok();
    let temporary = sibling(&target)?;
    let result = (|| {
        create(&temporary, content, Mode::Private)?;
        if let Some(old) = &old {
            let kept = std::fs::Permissions::from_mode(old.permissions().mode() & 0o777);
            std::fs::set_permissions(&temporary, kept)
                .map_err(|error| Error::io("set the permissions of", &temporary, &error))?;
            use std::os::unix::fs::MetadataExt;
            // Only root can give files away; a file that its owner replaces stays the owner's anyway.
            let _ = std::os::unix::fs::chown(&temporary, Some(old.uid()), Some(old.gid()));
        }
        std::fs::rename(&temporary, &target).map_err(|error| Error::io("replace", &target, &error))
    })();
    if result.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    result?;
    sync_parent(&target)
}

fn sibling(path: &Path) -> Result<PathBuf, Error> {
    let mut name = path.file_name().map(ToOwned::to_owned).unwrap_or_default();
    name.push(format!(".{}.new", crate::certificate::hex(&crate::random::<8>()?)));
    Ok(path.with_file_name(name))
}

/// Makes the entry of a new file in its directory durable.
fn sync_parent(path: &Path) -> Result<(), Error> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(parent)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| Error::io("sync the directory", parent, &error))
}

/// Reads a file of at most `bytes_max` bytes. What was read is wiped when dropped.
pub fn read(path: &Path, bytes_max: u64) -> Result<Zeroizing<Vec<u8>>, Error> {
    let file = File::open(path).map_err(|error| Error::io("read", path, &error))?;
    let metadata = file.metadata().map_err(|error| Error::io("read", path, &error))?;
    if !metadata.is_file() {
        return Err(Error::content(path, "is not a regular file"));
    }
    // One allocation, so that no copy is left behind by a buffer that grew.
    let mut content = Zeroizing::new(Vec::with_capacity(metadata.len().min(bytes_max) as usize + 1));
    file.take(bytes_max + 1).read_to_end(&mut content).map_err(|error| Error::io("read", path, &error))?;
    if content.len() as u64 > bytes_max {
        return Err(Error::content(path, format!("is larger than {bytes_max} bytes")));
    }
    Ok(content)
}

/// Reads a text file of at most `bytes_max` bytes.
pub fn read_text(path: &Path, bytes_max: u64) -> Result<Zeroizing<String>, Error> {
    let bytes = read(path, bytes_max)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(error) => {
            let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
            Err(Error::content(path, format!("line {line} is not UTF-8")))
        }
    }
}

/// Whether others than the owner could read or change the file. A group may read it, so that a service account can be
/// given it (`root:ravelin 0640`).
pub fn is_exposed(path: &Path) -> Result<bool, Error> {
    let metadata = std::fs::metadata(path).map_err(|error| Error::io("read", path, &error))?;
    Ok(metadata.permissions().mode() & 0o037 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_is_created_once_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        create(&path, b"one", Mode::Private).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert!(matches!(
            create(&path, b"two", Mode::Private),
            Err(Error::Io { kind: std::io::ErrorKind::AlreadyExists, .. })
        ));
        assert_eq!(&**read(&path, 100).unwrap(), b"one");
        assert!(!is_exposed(&path).unwrap());
    }

    #[test]
    fn a_dangling_link_is_not_followed_when_creating() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &link).unwrap();
        assert!(create(&link, b"x", Mode::Private).is_err());
        assert!(!dir.path().join("elsewhere").exists());
    }

    #[test]
    fn replacing_keeps_permissions_and_links_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("passwords");
        create(&path, b"one", Mode::Private).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        replace(&link, b"two").unwrap();
        assert_eq!((&**read(&path, 100).unwrap(), mode(&path)), (&b"two"[..], 0o640));
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn reading_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("big");
        create(&path, &[b'x'; 101], Mode::Public).unwrap();
        assert!(read(&path, 101).is_ok());
        assert!(matches!(read(&path, 100), Err(Error::Content { .. })));
        assert!(read(dir.path(), 100).is_err());
        std::fs::write(&path, b"a\nb\n\xFF").unwrap();
        assert!(read_text(&path, 100).unwrap_err().to_string().contains("line 3"));
    }
}
