//! The key file: the master keys of a store, the newest of which encrypts what is written from now on.
//!
//! ```text
//! ravelin-key-file 1
//! current 3f1c...  9b2e...      (id, 32 bytes in hex)
//! retired 77aa...  01d4...
//! ```

use crate::{
    Error,
    crypto::{self, SealingKey, Secret},
};
use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

const FIRST_LINE: &str = "ravelin-key-file 1";
const KEY_FILE_BYTES_MAX: u64 = 64 << 10;

/// The public name of a master key: a fingerprint of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub(crate) [u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

impl KeyId {
    /// Its bytes, as files name it.
    pub fn to_bytes(self) -> [u8; 8] {
        self.0
    }

    /// The id with these bytes.
    pub fn from_bytes(bytes: [u8; 8]) -> KeyId {
        KeyId(bytes)
    }
}

/// The master keys of a store. Has no `Debug`; zeroed on drop.
pub struct Keys {
    path: Option<PathBuf>,
    /// The current one first, then the retired ones, newest first. Never empty.
    keys: Vec<(KeyId, Secret)>,
}

impl Keys {
    /// Makes a new key file with one random key. Fails when there is a file already.
    pub fn create(path: impl AsRef<Path>) -> Result<Keys, Error> {
        let path = path.as_ref();
        let mut keys = Keys::generate()?;
        keys.path = Some(path.to_path_buf());
        let _guard = lock_folder_of(path)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(Error::io("create key file", path))?;
        keys.write_to(&mut file, path)?;
        sync_folder_of(path)?;
        Ok(keys)
    }

    /// Reads a key file. Refuses one that the group or others may read.
    pub fn load(path: impl AsRef<Path>) -> Result<Keys, Error> {
        let path = path.as_ref();
        let mut file = File::open(path).map_err(Error::io("open key file", path))?;
        let metadata = file.metadata().map_err(Error::io("inspect key file", path))?;
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            let problem =
                format!("its mode is {mode:04o}, so others than its owner have access; set it to 0600");
            return Err(Error::key_file(path, problem));
        }
        if metadata.len() > KEY_FILE_BYTES_MAX {
            return Err(Error::key_file(path, "it is far too large"));
        }
        // Sized ahead: a growing buffer would leave copies of the keys in freed memory.
        let mut text = Zeroizing::new(Vec::with_capacity(metadata.len() as usize + 1));
        Read::by_ref(&mut file)
            .take(KEY_FILE_BYTES_MAX)
            .read_to_end(&mut text)
            .map_err(Error::io("read key file", path))?;
        let keys = parse(&text).map_err(|problem| Error::key_file(path, problem))?;
        Ok(Keys { path: Some(path.to_path_buf()), keys })
    }

    /// Adds a new current key to the file; the one before it is kept as retired until no segment uses it.
    /// A running store takes the new key up through `Store::rotate_key`.
    pub fn rotate(path: impl AsRef<Path>) -> Result<Keys, Error> {
        let path = path.as_ref();
        let _guard = lock_folder_of(path)?;
        let mut keys = Keys::load(path)?;
        let secret = Secret::random()?;
        keys.keys.insert(0, (id_of(&secret)?, secret));
        keys.replace_file(path)?;
        Ok(keys)
    }

    /// A random key that is kept in no file: what is written with it is unreadable once this value is dropped.
    pub fn generate() -> Result<Keys, Error> {
        let secret = Secret::random()?;
        Ok(Keys { path: None, keys: vec![(id_of(&secret)?, secret)] })
    }

    /// Keys that somebody else keeps, the current one first; there must be one. They are in no file.
    pub fn kept_elsewhere(bytes: &[[u8; 32]]) -> Result<Keys, Error> {
        if bytes.is_empty() {
            return Err(Error::Crypto { operation: "find a key among none" });
        }
        Keys::fixed(bytes)
    }

    /// A key for the one `purpose`, derived from the master key `id` with `salt`; `None` when there is no such key. The
    /// purposes of the store itself begin with "ravelin segment", "ravelin manifest" and "ravelin key id".
    pub fn derive(&self, id: KeyId, salt: &[u8; 32], purpose: &str) -> Result<Option<SealingKey>, Error> {
        let Some(secret) = self.secret(id) else { return Ok(None) };
        SealingKey::derive(secret, salt, &[purpose.as_bytes()]).map(Some)
    }

    /// A known key, for tests.
    pub(crate) fn fixed(bytes: &[[u8; 32]]) -> Result<Keys, Error> {
        let keys = bytes.iter().map(|bytes| {
            let secret = Secret(*bytes);
            Ok((id_of(&secret)?, secret))
        });
        Ok(Keys { path: None, keys: keys.collect::<Result<_, Error>>()? })
    }

    pub(crate) fn parse_for_fuzzing(text: &[u8]) -> bool {
        parse(text).is_ok()
    }

    /// The key that encrypts what is written from now on.
    pub fn current_id(&self) -> KeyId {
        self.keys[0].0
    }

    /// All keys, the current one first.
    pub fn ids(&self) -> Vec<KeyId> {
        self.keys.iter().map(|(id, _)| *id).collect()
    }

    pub(crate) fn current(&self) -> (KeyId, &Secret) {
        (self.keys[0].0, &self.keys[0].1)
    }

    pub(crate) fn secret(&self, wanted: KeyId) -> Option<&Secret> {
        self.keys.iter().find(|(id, _)| *id == wanted).map(|(_, secret)| secret)
    }

    /// Takes over the keys of `older` that are not among these: segments may still use them.
    pub(crate) fn adopt(&mut self, older: Keys) {
        for (id, secret) in older.keys {
            if self.secret(id).is_none() {
                self.keys.push((id, secret));
            }
        }
    }

    /// Fails unless the key file still holds the current key, so that nothing is encrypted with a key that is
    /// nowhere.
    pub(crate) fn check_file(&self) -> Result<(), Error> {
        let Some(path) = &self.path else { return Ok(()) };
        if Keys::load(path)?.secret(self.current_id()).is_none() {
            return Err(Error::key_file(path, format!("it does not hold the key {}", self.current_id())));
        }
        Ok(())
    }

    /// Drops the retired keys that are not in `used`, here and in the key file. What others added to the file
    /// meanwhile stays. True when something was dropped.
    pub(crate) fn drop_unused(&mut self, used: &[KeyId]) -> Result<bool, Error> {
        let current = self.current_id();
        let unused = |id: &KeyId| *id != current && !used.contains(id);
        let dropped: Vec<KeyId> = self.ids().into_iter().filter(unused).collect();
        if dropped.is_empty() {
            return Ok(false);
        }
        if let Some(path) = &self.path {
            let _guard = lock_folder_of(path)?;
            let mut file = Keys::load(path)?;
            let file_current = file.current_id();
            let before = file.keys.len();
            file.keys.retain(|(id, _)| *id == file_current || !dropped.contains(id));
            if file.keys.len() != before {
                file.replace_file(path)?;
            }
        }
        self.keys.retain(|(id, _)| !dropped.contains(id));
        Ok(true)
    }

    fn replace_file(&self, path: &Path) -> Result<(), Error> {
        let mut name = path.file_name().unwrap_or_default().to_os_string();
        name.push(".tmp");
        let temporary = path.with_file_name(name);
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &temporary)(error));
            }
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
            .map_err(Error::io("create key file", &temporary))?;
        self.write_to(&mut file, &temporary)?;
        fs::rename(&temporary, path).map_err(Error::io("replace key file", path))?;
        sync_folder_of(path)
    }

    fn write_to(&self, file: &mut File, path: &Path) -> Result<(), Error> {
        // Sized ahead, as in `load`: word, space, id, space, key, line feed.
        let mut text = Zeroizing::new(Vec::with_capacity(FIRST_LINE.len() + 1 + self.keys.len() * 90));
        text.extend_from_slice(FIRST_LINE.as_bytes());
        text.push(b'\n');
        for (place, (id, secret)) in self.keys.iter().enumerate() {
            text.extend_from_slice(if place == 0 { b"current " } else { b"retired " });
            push_hex(&mut text, &id.0);
            text.push(b' ');
            push_hex(&mut text, &secret.0);
            text.push(b'\n');
        }
        file.write_all(&text).map_err(Error::io("write key file", path))?;
        file.sync_all().map_err(Error::io("sync key file", path))
    }
}

fn parse(text: &[u8]) -> Result<Vec<(KeyId, Secret)>, String> {
    let mut lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    if lines.next() != Some(FIRST_LINE.as_bytes()) {
        return Err(format!("its first line is not '{FIRST_LINE}'"));
    }
    let mut keys: Vec<(KeyId, Secret)> = Vec::new();
    for (number, line) in lines.enumerate().filter(|(_, line)| !line.is_empty()) {
        let problem = |what: &str| Err(format!("line {}: {what}", number + 2));
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let (Some(state), Some(id), Some(key), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return problem("expected 'current' or 'retired', an id and a key");
        };
        match (state, keys.is_empty()) {
            (b"current", true) | (b"retired", false) => {}
            _ => return problem("the first key must be 'current', and every other 'retired'"),
        }
        let Some(secret) = parse_hex(key).map(Secret) else { return problem("the key is not 64 hex digits") };
        let computed = id_of(&secret).map_err(|error| error.to_string())?;
        if parse_hex(id).map(KeyId) != Some(computed) {
            return problem("the key does not belong to its id: one of them was altered");
        }
        if keys.iter().any(|(id, _)| *id == computed) {
            return problem("the key occurs twice");
        }
        keys.push((computed, secret));
    }
    if keys.is_empty() { Err("it holds no key".into()) } else { Ok(keys) }
}

fn id_of(secret: &Secret) -> Result<KeyId, Error> {
    let print = crypto::fingerprint(secret, b"ravelin key id")?;
    let mut id = [0; 8];
    id.copy_from_slice(&print[..8]);
    Ok(KeyId(id))
}

fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

fn parse_hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Keeps two processes from rewriting the file at once. The folder is locked, since the file itself is replaced.
fn lock_folder_of(path: &Path) -> Result<File, Error> {
    let folder = folder_of(path);
    let file = File::open(folder).map_err(Error::io("open folder", folder))?;
    file.lock().map_err(Error::io("lock folder", folder))?;
    Ok(file)
}

fn sync_folder_of(path: &Path) -> Result<(), Error> {
    let folder = folder_of(path);
    File::open(folder).and_then(|file| file.sync_all()).map_err(Error::io("sync folder", folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        (folder, path)
    }

    fn problem(text: &str) -> String {
        parse(text.as_bytes()).err().expect("must be refused")
    }

    #[test]
    fn keys_are_created_once_loaded_and_rotated() {
        let (_folder, path) = site();
        let created = Keys::create(&path).unwrap();
        assert!(matches!(Keys::create(&path), Err(Error::Io { .. })));
        assert_eq!(Keys::load(&path).unwrap().ids(), created.ids());
        let rotated = Keys::rotate(&path).unwrap();
        assert_eq!(rotated.ids()[1..], created.ids());
        let loaded = Keys::load(&path).unwrap();
        assert_eq!(loaded.ids(), rotated.ids());
        assert!(loaded.current().1.0 == rotated.current().1.0);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn only_unused_retired_keys_are_dropped() {
        let (_folder, path) = site();
        let first = Keys::create(&path).unwrap().current_id();
        let mut running = Keys::rotate(&path).unwrap();
        let second = running.current_id();
        assert!(!running.drop_unused(&[first, second]).unwrap());
        // Somebody rotates beside the running process, which does not know of it yet.
        let third = Keys::rotate(&path).unwrap().current_id();
        assert!(running.drop_unused(&[second]).unwrap());
        assert_eq!(running.ids(), [second]);
        assert_eq!(Keys::load(&path).unwrap().ids(), [third, second]);
    }

    #[test]
    fn altered_key_files_are_refused_without_quoting_them() {
        let (_folder, path) = site();
        Keys::create(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(parse(text.as_bytes()).is_ok());
        let key = text.trim_end().rsplit(' ').next().unwrap();
        for at in FIRST_LINE.len() + 9..text.len() - 1 {
            let mut altered = text.clone().into_bytes();
            altered[at] = if altered[at] == b'0' { b'1' } else { b'0' };
            let refused = parse(&altered).err().unwrap_or_else(|| panic!("byte {at}"));
            assert!(!refused.contains(&key[..16]));
        }
        assert!(problem("").contains("first line"));
        assert!(problem("ravelin-key-file 1\n").contains("no key"));
        assert!(problem(&text.replace("current", "retired")).contains("first key must be 'current'"));
        let twice = format!("{text}{}", text.lines().nth(1).unwrap().replace("current", "retired"));
        assert!(problem(&twice).contains("twice"));
    }
}
