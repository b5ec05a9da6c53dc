//! An issuer that is trusted: its settings, its keys as they are now, and the verdict on a token.

use super::claims::{ClaimNames, Claims, Registered};
use super::compact::{Compact, object};
use super::keys::{KeyId, KeySet, Shared};
use super::{Algorithm, TokenError};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// What is demanded of an issuer's tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerSettings {
    /// `iss`, exactly.
    pub issuer: String,
    /// One of these must be in `aud`.
    pub audience: Vec<String>,
    /// Which algorithms are accepted.
    pub algorithms: Vec<Algorithm>,
    /// By how much clocks may differ, in seconds.
    pub leeway_s: u64,
    /// The longest a token may be valid, in seconds.
    pub lifetime_max_s: u64,
    /// Where its keys are fetched; `None`: they came from a file, and do not age.
    pub keys_url: Option<String>,
    /// How old keys may become that cannot be fetched again, in seconds.
    pub keys_age_max_s: u64,
    /// Which claims say what.
    pub claims: ClaimNames,
}

/// The keys of an issuer, shared by all snapshots of the authenticator. Written by whoever fetches them; read once for
/// each log-in with a token.
#[derive(Clone, Default)]
pub struct KeyCell(Arc<Cell>);

#[derive(Default)]
struct Cell {
    keys: RwLock<Option<(Shared, u64)>>,
    /// A token named a key that is not there: fetch early.
    wanted: AtomicBool,
}

/// How it stands with an issuer's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// There were never any.
    Missing,
    /// They are so many seconds old.
    Aged(u64),
}

impl KeyCell {
    /// Puts in what was fetched at `now_s` (seconds since the Unix epoch); says whether the keys are others than before.
    pub fn set(&self, keys: KeySet, now_s: u64) -> bool {
        let mut held = self.0.keys.write().unwrap_or_else(PoisonError::into_inner);
        let changed = held.as_ref().is_none_or(|(old, _)| **old != keys);
        *held = Some((Arc::new(keys), now_s));
        changed
    }

    /// Whether a token has asked for a key that is not there, since this was asked last.
    pub fn take_wanted(&self) -> bool {
        self.0.wanted.swap(false, Ordering::AcqRel)
    }

    /// How old the keys are at `now_s`.
    pub fn freshness(&self, now_s: u64) -> Freshness {
        match &*self.0.keys.read().unwrap_or_else(PoisonError::into_inner) {
            Some((_, at_s)) => Freshness::Aged(now_s.saturating_sub(*at_s)),
            None => Freshness::Missing,
        }
    }

    /// Whether a key is one of them.
    pub(crate) fn has(&self, id: KeyId) -> bool {
        let held = self.0.keys.read().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().is_some_and(|(keys, _)| keys.has(id))
    }

    fn get(&self, now_s: u64, age_max_s: u64) -> Option<Shared> {
        let held = self.0.keys.read().unwrap_or_else(PoisonError::into_inner);
        let (keys, at_s) = held.as_ref()?;
        let young = now_s.saturating_sub(*at_s) <= age_max_s;
        young.then(|| keys.clone())
    }
}

/// An issuer whose tokens are accepted.
#[derive(Clone)]
pub struct Issuer {
    settings: Arc<IssuerSettings>,
    keys: KeyCell,
}

impl Issuer {
    /// An issuer with these settings, whose keys are in `keys`.
    pub fn new(settings: IssuerSettings, keys: KeyCell) -> Issuer {
        Issuer { settings: Arc::new(settings), keys }
    }

    /// Its `iss`.
    pub fn name(&self) -> &str {
        &self.settings.issuer
    }

    /// What is demanded of its tokens.
    pub fn settings(&self) -> &IssuerSettings {
        &self.settings
    }

    /// With the keys that one of `earlier` has, if it fetches them at the same place.
    pub(crate) fn after(self, earlier: &[Issuer]) -> Issuer {
        let Some(url) = &self.settings.keys_url else { return self };
        let same =
            |other: &&Issuer| other.name() == self.name() && other.settings.keys_url.as_ref() == Some(url);
        let keys = earlier.iter().find(same).map(|other| other.keys.clone());
        Issuer { keys: keys.unwrap_or(self.keys), settings: self.settings }
    }

    /// Where its keys are.
    pub fn keys(&self) -> &KeyCell {
        &self.keys
    }

    /// Verifies a token that names one of `issuers`; gives what it claims, and which key signed it. Never panics,
    /// whatever the bytes.
    pub fn verify(issuers: &[Issuer], token: &[u8], now_s: u64) -> Result<(Claims, KeyId), TokenError> {
        let compact = Compact::parse(token)?;
        // What is not trusted yet says whose key is to be asked; the key then says whether to believe it.
        let claims = object(&compact.payload)?;
        let registered = Registered::read(&claims)?;
        let named = issuers.iter().find(|issuer| issuer.name() == registered.issuer);
        let issuer = named.ok_or(TokenError::Issuer)?;
        let key = issuer.check_signature(&compact, now_s)?;
        let until_s = issuer.check_registered(&registered, now_s)?;
        Ok((Claims::read(&claims, &issuer.settings.claims, until_s)?, key))
    }

    fn check_signature(&self, compact: &Compact<'_>, now_s: u64) -> Result<KeyId, TokenError> {
        if !self.settings.algorithms.contains(&compact.algorithm) {
            return Err(TokenError::Algorithm);
        }
        let age_max_s = self.settings.keys_url.as_ref().map_or(u64::MAX, |_| self.settings.keys_age_max_s);
        let keys = self.keys.get(now_s, age_max_s).ok_or(TokenError::NoKeys)?;
        match keys.verify(compact.algorithm, compact.kid.as_deref(), compact.signed, &compact.signature) {
            Some(Ok(key)) => Ok(key),
            Some(Err(())) => Err(TokenError::Signature),
            None => {
                self.keys.0.wanted.store(true, Ordering::Release);
                Err(TokenError::UnknownKey)
            }
        }
    }

    /// Until when it is accepted.
    fn check_registered(&self, registered: &Registered, now_s: u64) -> Result<u64, TokenError> {
        let IssuerSettings { audience, leeway_s, lifetime_max_s, .. } = &*self.settings;
        let Registered { expires_s, not_before_s, issued_s, .. } = registered;
        if !registered.audience.iter().any(|one| audience.contains(one)) {
            return Err(TokenError::Audience);
        }
        let until_s = expires_s + leeway_s;
        // RFC 7519, 4.1.4: on or after it, the token must not be accepted.
        if now_s >= until_s {
            return Err(TokenError::Expired);
        }
        let latest_s = now_s + leeway_s;
        if not_before_s.is_some_and(|start_s| start_s > latest_s)
            || issued_s.is_some_and(|at_s| at_s > latest_s)
        {
            return Err(TokenError::NotYet);
        }
        // From now, whatever it says; and from when it was made, if it says so.
        let start_s = issued_s.unwrap_or(now_s).min(latest_s);
        if expires_s.saturating_sub(start_s) > *lifetime_max_s
            || expires_s.saturating_sub(latest_s) > *lifetime_max_s
        {
            return Err(TokenError::Lifetime);
        }
        Ok(until_s)
    }
}
