//! The password hashes that a file can hold: argon2id (what Ravelin writes), and Mosquitto's PBKDF2 and salted SHA-512.

use crate::{Error, Secret, random};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use aws_lc_rs::{constant_time, digest, pbkdf2};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use std::num::NonZeroU32;

const SHA512_BYTES: usize = 64;
/// An iteration count from a file is bounded: hashing must not become a denial of service.
const PBKDF2_ITERATIONS_MAX: u32 = 2_000_000;
const SALT_BYTES_MAX: usize = 64;

/// Above what glibc's allocator ever keeps for itself (`M_MMAP_THRESHOLD` is 32 MiB at most).
const MAPPED_BYTES: usize = 33 << 20;

/// The cost of an argon2id hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Argon2Params {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Default for Argon2Params {
    /// OWASP's recommendation: 19 MiB, 2 passes, 1 lane.
    fn default() -> Argon2Params {
        Argon2Params { memory_kib: 19_456, passes: 2, lanes: 1 }
    }
}

impl Argon2Params {
    /// Bounds on what a file may demand: not so weak that it is no protection, not so dear that it is an attack.
    fn check(self) -> Result<Argon2Params, String> {
        let Argon2Params { memory_kib, passes, lanes } = self;
        if !(4_096..=262_144).contains(&memory_kib) {
            return Err(format!("argon2id memory of {memory_kib} KiB is not within 4096..262144"));
        }
        if !(1..=16).contains(&passes) || !(1..=16).contains(&lanes) {
            return Err(format!("argon2id with t={passes}, p={lanes} is not within 1..16"));
        }
        if u64::from(memory_kib) * u64::from(passes) > 1_048_576 {
            return Err(format!("argon2id with m={memory_kib}, t={passes} costs too much"));
        }
        Ok(self)
    }
}

/// A password hash as it is stored.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoredHash {
    /// `$argon2id$v=19$m=..,t=..,p=..$salt$hash`.
    Argon2id {
        /// The cost.
        params: Argon2Params,
        /// The salt.
        salt: Vec<u8>,
        /// The hash.
        hash: Vec<u8>,
    },
    /// Mosquitto's `$7$iterations$salt$hash`: PBKDF2 with HMAC-SHA-512.
    Pbkdf2Sha512 {
        /// The iterations.
        iterations: NonZeroU32,
        /// The salt.
        salt: Vec<u8>,
        /// The hash.
        hash: Vec<u8>,
    },
    /// Mosquitto's `$6$salt$hash`: one SHA-512 over password and salt. Weak; `check` warns of it.
    Sha512 {
        /// The salt.
        salt: Vec<u8>,
        /// The hash.
        hash: Vec<u8>,
    },
}

impl StoredHash {
    /// Hashes a new password with argon2id, a random salt and the default cost.
    pub fn create(password: &Secret) -> Result<StoredHash, Error> {
        StoredHash::create_with(password, &random::<16>()?, Argon2Params::default())
    }

    /// Hashes a new password with argon2id, this salt and this cost.
    pub fn create_with(password: &Secret, salt: &[u8], params: Argon2Params) -> Result<StoredHash, Error> {
        if password.expose().is_empty() || password.expose().len() > super::PASSWORD_BYTES_MAX {
            return Err(Error::Value(format!("a password has 1 to {} bytes", super::PASSWORD_BYTES_MAX)));
        }
        let params = params.check().map_err(Error::Value)?;
        let mut hash = vec![0; 32];
        argon2id(password.expose(), salt, params, &mut hash).map_err(Error::Value)?;
        Ok(StoredHash::Argon2id { params, salt: salt.into(), hash })
    }

    /// A hash that no password has, with the default cost: what an unknown user is verified against.
    pub(crate) fn dummy() -> StoredHash {
        StoredHash::Argon2id { params: Argon2Params::default(), salt: vec![0; 16], hash: vec![0; 32] }
    }

    /// Whether the hash is one that should be replaced: it is cheap to guess.
    pub fn is_weak(&self) -> bool {
        match self {
            StoredHash::Argon2id { params, .. } => params.memory_kib < 12_288,
            StoredHash::Pbkdf2Sha512 { iterations, .. } => iterations.get() < 100_000,
            StoredHash::Sha512 { .. } => true,
        }
    }

    /// The name of the scheme.
    pub fn scheme(&self) -> &'static str {
        match self {
            StoredHash::Argon2id { .. } => "argon2id",
            StoredHash::Pbkdf2Sha512 { .. } => "sha512-pbkdf2",
            StoredHash::Sha512 { .. } => "sha512",
        }
    }

    /// Verifies a password, in constant time for a given hash. An empty password never succeeds.
    pub fn verify(&self, password: &Secret) -> bool {
        let password = password.expose();
        let matches = match self {
            StoredHash::Argon2id { params, salt, hash } => {
                let mut computed = zeroize::Zeroizing::new(vec![0; hash.len()]);
                argon2id(password, salt, *params, &mut computed).is_ok() && equal(&computed, hash)
            }
            StoredHash::Pbkdf2Sha512 { iterations, salt, hash } => {
                pbkdf2::verify(pbkdf2::PBKDF2_HMAC_SHA512, *iterations, salt, password, hash).is_ok()
            }
            StoredHash::Sha512 { salt, hash } => {
                let mut context = digest::Context::new(&digest::SHA512);
                context.update(password);
                context.update(salt);
                equal(context.finish().as_ref(), hash)
            }
        };
        matches && !password.is_empty()
    }

    /// Reads the part of a line after `user:`.
    pub(crate) fn parse(text: &str) -> Result<StoredHash, String> {
        let Some(fields) = text.strip_prefix('$') else {
            return Err("the password is not hashed".into());
        };
        let mut fields = fields.split('$');
        let mut next = |what: &str| match fields.next() {
            Some(field) if !field.is_empty() => Ok(field),
            _ => Err(format!("the {what} is missing")),
        };
        let hash = match next("scheme")? {
            "argon2id" => {
                if next("version")? != "v=19" {
                    return Err("only version 19 of argon2id is accepted".into());
                }
                let params = parse_params(next("cost")?)?.check()?;
                let salt = decode(next("salt")?, "salt")?;
                let hash = decode(next("hash")?, "hash")?;
                if salt.len() < 8 || !(16..=64).contains(&hash.len()) {
                    return Err("the salt has 8 to 64 bytes and the hash 16 to 64".into());
                }
                StoredHash::Argon2id { params, salt, hash }
            }
            "7" => {
                let iterations = next("number of iterations")?;
                let iterations = iterations
                    .parse::<NonZeroU32>()
                    .ok()
                    .filter(|count| count.get() <= PBKDF2_ITERATIONS_MAX && !iterations.starts_with('+'))
                    .ok_or_else(|| format!("the iterations are a number in 1..{PBKDF2_ITERATIONS_MAX}"))?;
                let salt = decode(next("salt")?, "salt")?;
                StoredHash::Pbkdf2Sha512 { iterations, salt, hash: sha512_hash(next("hash")?)? }
            }
            "6" => {
                let salt = decode(next("salt")?, "salt")?;
                StoredHash::Sha512 { salt, hash: sha512_hash(next("hash")?)? }
            }
            scheme => return Err(format!("`${}$` is not a known scheme", scheme.escape_debug())),
        };
        if fields.next().is_some() { Err("there is more after the hash".into()) } else { Ok(hash) }
    }
}

impl Drop for StoredHash {
    /// Whoever has the hash can guess the password offline.
    fn drop(&mut self) {
        use zeroize::Zeroize;
        let (StoredHash::Argon2id { hash, .. }
        | StoredHash::Pbkdf2Sha512 { hash, .. }
        | StoredHash::Sha512 { hash, .. }) = self;
        hash.zeroize();
    }
}

/// The form in which it stands in a file.
impl std::fmt::Display for StoredHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StoredHash::Argon2id { params, salt, hash } => write!(
                f,
                "$argon2id$v=19$m={},t={},p={}${}${}",
                params.memory_kib,
                params.passes,
                params.lanes,
                STANDARD_NO_PAD.encode(salt),
                STANDARD_NO_PAD.encode(hash)
            ),
            StoredHash::Pbkdf2Sha512 { iterations, salt, hash } => {
                write!(f, "$7${iterations}${}${}", STANDARD.encode(salt), STANDARD.encode(hash))
            }
            StoredHash::Sha512 { salt, hash } => {
                write!(f, "$6${}${}", STANDARD.encode(salt), STANDARD.encode(hash))
            }
        }
    }
}

fn argon2id(password: &[u8], salt: &[u8], params: Argon2Params, out: &mut [u8]) -> Result<(), String> {
    let params = Params::new(params.memory_kib, params.passes, params.lanes, Some(out.len()))
        .map_err(|error| error.to_string())?;
    // From 32 MiB on the C library asks the kernel for a mapping and gives it back at once; less than that it keeps, in
    // pieces, and a flood of log-ins left hundreds of megabytes behind. Only what is used of it becomes memory. And what
    // is given back can be read by nobody: the first blocks would be a cheaper thing to guess the password by.
    let mut memory = Vec::with_capacity(params.block_count().max(MAPPED_BYTES / Block::SIZE));
    memory.resize(params.block_count(), Block::new());
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into_with_memory(password, salt, out, &mut memory)
        .map_err(|error| error.to_string())
}

fn parse_params(text: &str) -> Result<Argon2Params, String> {
    let error = || "the cost is written `m=19456,t=2,p=1`".to_string();
    let mut fields = text.split(',');
    let mut next = |key: &str| -> Result<u32, String> {
        let digits = fields.next().and_then(|field| field.strip_prefix(key)).ok_or_else(error)?;
        if digits.starts_with('+') { Err(error()) } else { digits.parse().map_err(|_| error()) }
    };
    let params = Argon2Params { memory_kib: next("m=")?, passes: next("t=")?, lanes: next("p=")? };
    if fields.next().is_some() { Err(error()) } else { Ok(params) }
}

/// Base64 with or without padding: PHC strings have none, Mosquitto's have it.
pub(crate) fn decode(text: &str, what: &str) -> Result<Vec<u8>, String> {
    let bytes = STANDARD_NO_PAD
        .decode(text.trim_end_matches('='))
        .map_err(|_| format!("the {what} is not base64"))?;
    if bytes.is_empty() || bytes.len() > SALT_BYTES_MAX {
        return Err(format!("the {what} has 1 to {SALT_BYTES_MAX} bytes"));
    }
    Ok(bytes)
}

fn sha512_hash(text: &str) -> Result<Vec<u8>, String> {
    let hash = decode(text, "hash")?;
    if hash.len() == SHA512_BYTES { Ok(hash) } else { Err("the hash of SHA-512 has 64 bytes".into()) }
}

fn equal(a: &[u8], b: &[u8]) -> bool {
    constant_time::verify_slices_are_equal(a, b).is_ok()
}
