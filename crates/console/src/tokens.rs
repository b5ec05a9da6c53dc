//! API tokens: who has one may do what its role allows, until it expires or is revoked.
//!
//! A token is 256 random bits and shown once; only its SHA-256 is kept, in the encrypted store. Nothing slower is needed
//! against guessing: there is nothing to guess. Looking one up takes the same time whatever part of it is right, since
//! what is looked up is the digest.

use aws_lc_rs::{constant_time, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ravelin_node::control::{Records, RecordsError, Role, Space};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use utoipa::ToSchema;

/// What a token begins with, so that a scanner for leaked secrets finds it.
pub const PREFIX: &str = "ravelin_";
/// The last use is written down at most so often.
const LAST_USE_STEP_S: u64 = 3600;

/// A token, without what proves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// What it is called in lists, events and paths.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// What it may do.
    #[schema(value_type = String, example = "viewer")]
    pub role: Role,
    /// When it was made, in seconds since the Unix epoch.
    pub created_s: u64,
    /// Who made it.
    pub created_by: String,
    /// When it ends.
    pub expires_s: u64,
    /// When it was last used; exact while the node runs, to the hour after a restart.
    #[serde(default)]
    pub last_used_s: Option<u64>,
    /// From where it was last used.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub last_address: Option<IpAddr>,
}

/// As it is kept.
#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    token: Token,
    /// SHA-256 of the token, in hex.
    digest: String,
}

/// What a new token shall be.
#[derive(Clone, Debug)]
pub(crate) struct NewToken {
    pub name: String,
    pub role: Role,
    pub expires_s: u64,
    pub created_by: String,
}

/// Why there is no new token.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokensError {
    #[error("there are {0} tokens already, which is the limit")]
    TooMany(usize),
    #[error("no random bytes are to be had")]
    Random,
    #[error(transparent)]
    Records(#[from] RecordsError),
}

/// All tokens.
#[derive(Clone)]
pub(crate) struct Tokens {
    records: Records,
    all: Arc<All>,
}

#[derive(Default)]
struct All {
    /// As they are on disk. Held while a record is written, which may take a while.
    kept: Mutex<BTreeMap<String, Kept>>,
    /// As they are accepted. Held for a lookup only.
    live: Mutex<BTreeMap<String, Kept>>,
}

impl Tokens {
    /// Those that the store holds. A record that cannot be read is left out: its token is not accepted.
    pub fn load(records: &Records) -> Tokens {
        let read = |(id, value): (String, Vec<u8>)| Some((id, serde_json::from_slice::<Kept>(&value).ok()?));
        let kept: BTreeMap<_, _> = records.load(Space::Tokens).into_iter().filter_map(read).collect();
        let all = Arc::new(All { live: Mutex::new(kept.clone()), kept: Mutex::new(kept) });
        let owned = Arc::clone(&all);
        records.register(Space::Tokens, move |dump| {
            for (id, kept) in lock(&owned.kept).iter() {
                if let Ok(value) = serde_json::to_vec(kept) {
                    dump.write(id, &value);
                }
            }
        });
        Tokens { records: records.clone(), all }
    }

    /// All of them, in the order of their ids.
    pub fn list(&self) -> Vec<Token> {
        lock(&self.all.live).values().map(|kept| kept.token.clone()).collect()
    }

    /// Makes one. Returns the secret, which nobody can ask for again, and the number of the record. May wait for the
    /// store: not for the lane's own thread.
    pub fn create(&self, new: NewToken, now_s: u64, max: usize) -> Result<(String, Token, u64), TokensError> {
        let bits: [u8; 32] = ravelin_protect::random().map_err(|_| TokensError::Random)?;
        let id: [u8; 6] = ravelin_protect::random().map_err(|_| TokensError::Random)?;
        let secret = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bits));
        let token = Token {
            id: ravelin_protect::hex(&id),
            name: new.name,
            role: new.role,
            created_s: now_s,
            created_by: new.created_by,
            expires_s: new.expires_s,
            last_used_s: None,
            last_address: None,
        };
        let new = Kept { token: token.clone(), digest: digest_of(&secret) };
        let mut kept = lock(&self.all.kept);
        if kept.len() >= max {
            self.forget_expired(&mut kept, now_s)?;
        }
        if kept.len() >= max {
            return Err(TokensError::TooMany(max));
        }
        let number = self.put(&new)?;
        lock(&self.all.live).insert(token.id.clone(), new.clone());
        kept.insert(token.id.clone(), new);
        Ok((secret, token, number))
    }

    fn forget_expired(&self, kept: &mut BTreeMap<String, Kept>, now_s: u64) -> Result<(), RecordsError> {
        let expired = kept.values().filter(|kept| kept.token.expires_s <= now_s);
        let expired: Vec<String> = expired.map(|kept| kept.token.id.clone()).collect();
        for id in expired {
            lock(&self.all.live).remove(&id);
            self.records.delete(Space::Tokens, &id)?;
            kept.remove(&id);
        }
        Ok(())
    }

    /// Revokes one: from now on it is not accepted, whatever the disk says to it. `None`: there is none with this id.
    /// May wait for the store.
    pub fn revoke(&self, id: &str) -> Result<Option<(Token, u64)>, RecordsError> {
        lock(&self.all.live).remove(id);
        let mut kept = lock(&self.all.kept);
        let Some(token) = kept.get(id).map(|kept| kept.token.clone()) else { return Ok(None) };
        let number = self.records.delete(Space::Tokens, id)?;
        kept.remove(id);
        // A last use that was just being written down has not brought it back.
        lock(&self.all.live).remove(id);
        Ok(Some((token, number)))
    }

    /// The token with this secret, if it has one and has not expired. Notes its use; true: that should be written down
    /// ([`Tokens::write_down`]).
    pub fn verify(&self, secret: &str, now_s: u64, address: IpAddr) -> Option<(Token, bool)> {
        if !secret.starts_with(PREFIX) || secret.len() > 128 {
            return None;
        }
        let digest = digest_of(secret);
        let mut live = lock(&self.all.live);
        let mut found = None;
        // All are compared, whichever it is: they are few.
        for kept in live.values_mut() {
            if constant_time::verify_slices_are_equal(kept.digest.as_bytes(), digest.as_bytes()).is_ok() {
                found = Some(kept);
            }
        }
        let token = &mut found?.token;
        if token.expires_s <= now_s {
            return None;
        }
        let before = token.last_used_s.replace(now_s).unwrap_or(0);
        let moved = token.last_address.replace(address) != Some(address);
        let write = moved || now_s.saturating_sub(before) >= LAST_USE_STEP_S;
        Some((token.clone(), write))
    }

    /// Writes down when a token was last used. May wait for the store.
    pub fn write_down(&self, id: &str) {
        let mut kept = lock(&self.all.kept);
        let used = lock(&self.all.live).get(id).cloned();
        // One that was revoked meanwhile is in neither.
        if let (Some(kept), Some(used)) = (kept.get_mut(id), used) {
            *kept = used;
            // Not worth an error: the next use tries again.
            let _ = self.put(kept);
        }
    }

    fn put(&self, kept: &Kept) -> Result<u64, RecordsError> {
        let value = serde_json::to_vec(kept).unwrap_or_default();
        self.records.put(Space::Tokens, &kept.token.id, &value)
    }
}

fn digest_of(secret: &str) -> String {
    ravelin_protect::hex(digest::digest(&digest::SHA256, secret.as_bytes()).as_ref())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
