//! Fetches the keys of those whose tokens are accepted, in time: a thread of its own, which may wait.
//!
//! What was fetched last counts for as long as the configuration says, and no longer: then nobody gets in by a token, and
//! an event says so. A token that names a key which is not there makes for an early fetch, but not for many: anybody can
//! make up the name of a key.

use crate::config::JwtConfig;
use crate::control::{Changed, Control};
use crate::fetch::{self, FetchLimits};
use ravelin_event::Event;
use ravelin_protect::jwt::{Freshness, Issuer, KEY_SET_BYTES_MAX, KeySet};
use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Whether it is time to fetch is looked at so often.
const LOOK: Duration = Duration::from_secs(1);
/// Between an early fetch and the one before it.
const EARLY_MIN_MS: u64 = 30_000;
/// After the first failure; it doubles up to the configured interval.
const RETRY_FIRST_MS: u64 = 5_000;
const TIMEOUT: Duration = Duration::from_secs(10);

/// The thread. It ends when it is stopped, or after the fetch that it is in.
pub(crate) struct IssuersThread {
    wake: Sender<Wake>,
}

enum Wake {
    Look,
    Stop,
}

impl IssuersThread {
    pub fn start(control: Control) -> std::io::Result<IssuersThread> {
        let (wake, woken) = channel();
        std::thread::Builder::new().name("ravelin-issuers".into()).spawn(move || run(&control, &woken))?;
        Ok(IssuersThread { wake })
    }

    /// The configuration is another one.
    pub fn look(&self) {
        // It fails only if the thread has ended.
        let _ = self.wake.send(Wake::Look);
    }

    pub fn stop(self) {
        let _ = self.wake.send(Wake::Stop);
    }
}

/// When the keys at one address are fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Schedule {
    last_ms: Option<u64>,
    failures: u32,
}

impl Schedule {
    fn is_due(&self, now_ms: u64, refresh_ms: u64, wanted: bool) -> bool {
        let Some(last_ms) = self.last_ms else { return true };
        let wait_ms = match self.failures {
            0 if wanted => EARLY_MIN_MS.min(refresh_ms),
            0 => refresh_ms,
            failures => (RETRY_FIRST_MS << (failures - 1).min(16)).min(refresh_ms),
        };
        now_ms >= last_ms.saturating_add(wait_ms)
    }

    fn done(&mut self, now_ms: u64, succeeded: bool) {
        self.last_ms = Some(now_ms);
        self.failures = if succeeded { 0 } else { self.failures.saturating_add(1) };
    }
}

/// Of one address: when it is fetched, and whether a token has asked for more than it had.
#[derive(Default)]
struct State {
    schedule: Schedule,
    wanted: bool,
}

fn run(control: &Control, woken: &Receiver<Wake>) {
    let mut states: HashMap<(String, String), State> = HashMap::new();
    loop {
        let config = control.config();
        let policy = control.policy();
        let mut fetched = false;
        for provider in &config.jwt {
            let Some(url) = provider.settings.keys_url.clone() else { continue };
            let same = |issuer: &&Issuer| issuer.name() == provider.settings.issuer;
            let Some(issuer) = policy.authenticator.issuers().iter().find(same) else { continue };
            fetched = true;
            let state = states.entry((provider.settings.issuer.clone(), url)).or_default();
            state.wanted |= issuer.keys().take_wanted();
            let now_ms = control.now().mono_ms;
            if state.schedule.is_due(now_ms, provider.refresh.as_millis() as u64, state.wanted) {
                state.wanted = false;
                let succeeded = refresh(control, provider, issuer);
                state.schedule.done(control.now().mono_ms, succeeded);
            }
        }
        states.retain(|(name, url), _| {
            let used = |provider: &JwtConfig| {
                provider.settings.issuer == *name && provider.settings.keys_url.as_ref() == Some(url)
            };
            config.jwt.iter().any(used)
        });
        drop(policy);
        let woke = match fetched {
            true => woken.recv_timeout(LOOK),
            // Nothing to fetch until the configuration is another one.
            false => woken.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        if matches!(woke, Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected)) {
            return;
        }
    }
}

/// Fetches the keys of one issuer; whether they came.
fn refresh(control: &Control, provider: &JwtConfig, issuer: &Issuer) -> bool {
    let Some(url) = &provider.settings.keys_url else { return true };
    let limits = FetchLimits {
        bytes_max: KEY_SET_BYTES_MAX as u64,
        timeout: TIMEOUT,
        ca: provider.jwks_ca.clone(),
        ..FetchLimits::default()
    };
    let keys = fetch::get(url, &limits).map_err(|error| error.to_string());
    let keys = keys.and_then(|bytes| KeySet::parse(&bytes).map_err(|error| error.to_string()));
    let now_s = control.now().wall_ms / 1000;
    let before = issuer.keys().freshness(now_s);
    let name = issuer.name().to_owned();
    match keys {
        Ok(keys) => {
            let count = keys.len() as u64;
            if issuer.keys().set(keys, now_s) {
                control.emit(Event::IssuerKeysChanged { issuer: name, keys: count });
                if before != Freshness::Missing {
                    // Whoever was let in by a key that is gone does not stay.
                    control.change_policy(Changed::Rights, |_| ());
                }
            }
            true
        }
        Err(error) => {
            let age_s = match before {
                Freshness::Aged(age_s) => Some(age_s),
                Freshness::Missing => None,
            };
            let trusted = age_s.is_some_and(|age_s| age_s <= provider.settings.keys_age_max_s);
            control.emit(Event::IssuerKeysStale { issuer: name, error, age_s, trusted });
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_fetched_at_once_then_in_turn_and_early_but_not_often() {
        let mut schedule = Schedule::default();
        let refresh_ms = 600_000;
        assert!(schedule.is_due(0, refresh_ms, false), "at the start");
        schedule.done(1000, true);
        assert!(!schedule.is_due(600_999, refresh_ms, false) && schedule.is_due(601_000, refresh_ms, false));
        assert!(!schedule.is_due(30_999, refresh_ms, true), "a made-up key is no reason for a fetch each");
        assert!(schedule.is_due(31_000, refresh_ms, true));
    }

    #[test]
    fn what_fails_is_tried_again_ever_more_seldom() {
        let mut schedule = Schedule::default();
        let mut waits = Vec::new();
        let mut now_ms = 0;
        for _ in 0..9 {
            schedule.done(now_ms, false);
            let from_ms = now_ms;
            while !schedule.is_due(now_ms, 600_000, true) {
                now_ms += 1000;
            }
            waits.push((now_ms - from_ms) / 1000);
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 600, 600]);
        schedule.done(now_ms, true);
        assert_eq!(schedule.failures, 0);
    }
}
