//! Keeps certificates, keys and revocation lists up to date without a reload: a thread of its own looks at the files,
//! fetches what comes from URLs, and renews the CA's list before it runs out.
//!
//! Nothing is ever taken up half: what is read is checked whole, and until it is, what was in force stays. What runs out
//! meanwhile stops to count by itself, and that is said.

use super::super::{Changed, Control};
use super::{lock, staple::Staples};
use crate::config::{Config, CrlSource, Fetched};
use crate::fetch;
use ravelin_event::Event;
use ravelin_protect::trust::{ListFacts, parse_crls};
use ravelin_protect::{file, hex};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The thread looks whether something is due so often.
const TICK: Duration = Duration::from_millis(500);
/// What could not be fetched is tried again after so long, or after the configured time if that is shorter.
const RETRY: Duration = Duration::from_secs(30);
/// Whether lists are about to run out is looked at so often.
const EXPIRY_LOOK: Duration = Duration::from_secs(10);

/// The thread.
pub(crate) struct KeysThread {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

/// What a file was when it was looked at: enough to see that it is another one now.
type Stamp = Option<(u64, u64, i64, i64)>;

struct Keeper {
    control: Control,
    config: Arc<Config>,
    /// What the files were when they were last taken up, or found broken.
    known: BTreeMap<PathBuf, Stamp>,
    /// What they were when last looked at.
    seen: BTreeMap<PathBuf, Stamp>,
    next_look: Instant,
    next_expiry_look: Instant,
    sources: BTreeMap<String, Source>,
    staples: Staples,
    /// What was said to be out of date, so that it is said once.
    told: BTreeSet<String>,
}

/// A list that is fetched.
struct Source {
    next: Instant,
    failing: bool,
}

impl KeysThread {
    pub fn start(control: Control) -> std::io::Result<KeysThread> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new().name("ravelin-keys".into()).spawn(move || {
            let mut keeper = Keeper::new(control);
            keeper.run(&stopped);
        })?;
        Ok(KeysThread { stop, thread })
    }

    /// Ends it, when what it fetches has come or its time is over.
    pub fn stop(self) {
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

impl Keeper {
    fn new(control: Control) -> Keeper {
        let (config, now) = (control.config(), Instant::now());
        let known = stamps(&config);
        Keeper {
            control,
            config,
            seen: known.clone(),
            known,
            next_look: now,
            next_expiry_look: now,
            sources: BTreeMap::new(),
            staples: Staples::default(),
            told: BTreeSet::new(),
        }
    }

    fn run(&mut self, stopped: &Receiver<()>) {
        loop {
            self.tick();
            match stopped.recv_timeout(TICK) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn tick(&mut self) {
        let config = self.control.config();
        if !Arc::ptr_eq(&config, &self.config) {
            // A reload has read everything; what has changed since is found below.
            self.config = config;
            self.known = stamps(&self.config);
            self.seen = self.known.clone();
            self.staples = Staples::default();
        }
        let mut changed = self.fetch_due();
        changed |= self.files_changed();
        if changed {
            self.take_up();
        }
        if Instant::now() >= self.next_expiry_look {
            self.next_expiry_look = Instant::now() + EXPIRY_LOOK;
            self.tell_of_expired();
            self.renew_list();
        }
        let now = self.control.now();
        self.staples.refresh(&self.control, &self.config, now.wall_ms / 1000);
    }

    /// Whether a file is another one than was taken up, and stays so: a file that is still being written is left alone.
    fn files_changed(&mut self) -> bool {
        let every = self.config.certificates.watch;
        if every.is_zero() || Instant::now() < self.next_look {
            return false;
        }
        self.next_look = Instant::now() + every;
        let now = stamps(&self.config);
        let settled = now == self.seen;
        self.seen = now;
        if settled && self.seen != self.known {
            self.known = self.seen.clone();
            return true;
        }
        if !settled {
            // Soon again.
            self.next_look = Instant::now() + TICK.min(every);
        }
        false
    }

    /// Reads the listeners' files and goes by them, if all of it can be.
    fn take_up(&mut self) {
        let keys = &self.control.0.keys;
        let held = keys.hold_files();
        if !Arc::ptr_eq(&self.control.config(), &self.config) {
            return;
        }
        let now_s = self.control.now().wall_ms / 1000;
        match self.config.load_listeners(now_s, &keys.fetched()) {
            Ok((mut listeners, _)) => {
                keys.staple(&mut listeners);
                self.control.change_policy(Changed::Trust, |policy| {
                    for (entrance, files) in policy.entrances.iter_mut().zip(listeners) {
                        entrance.files = files;
                    }
                });
                let what = "certificates, keys and revocation lists of the listeners".into();
                self.control.emit(Event::Reloaded { what });
            }
            Err(errors) => {
                let help = "what was in force stays until the file is repaired; nobody new is trusted by it";
                self.control
                    .emit(Event::CertificateFilesRefused { error: errors.to_string(), help: help.into() });
            }
        }
        drop(held);
    }

    /// Fetches the lists that are due; true if one is another one now.
    fn fetch_due(&mut self) -> bool {
        let urls = urls(&self.config);
        self.sources.retain(|url, _| urls.contains(url));
        let mut changed = false;
        for url in urls {
            let now = Instant::now();
            let failing = match self.sources.get(&url) {
                Some(source) if source.next > now => continue,
                Some(source) => source.failing,
                None => false,
            };
            let refresh = self.config.certificates.crl_refresh;
            let outcome = self.fetch(&url);
            let next = now + if outcome.is_ok() { refresh } else { refresh.min(RETRY) };
            if let Err(error) = &outcome
                && !failing
            {
                let help = "the list that was fetched last counts until it runs out; then no client of its CA is accepted";
                self.control.emit(Event::RevocationListFailed {
                    source: CrlSource::Url(url.clone()).to_string(),
                    error: error.clone(),
                    help: help.into(),
                });
            }
            changed |= outcome == Ok(true);
            self.sources.insert(url, Source { next, failing: outcome.is_err() });
        }
        changed
    }

    /// Fetches one list; true if it is newer than the one that is there.
    fn fetch(&self, url: &str) -> Result<bool, String> {
        let bytes = fetch::get(url, &self.config.certificates.fetch).map_err(|error| error.to_string())?;
        let lists = parse_crls(&bytes).map_err(|detail| format!("what it answers {detail}"))?;
        let keys = &self.control.0.keys;
        let before = keys.fetched().get(url).cloned().unwrap_or_default();
        if before == lists {
            return Ok(false);
        }
        let made = |lists: &[rustls::pki_types::CertificateRevocationListDer<'_>]| {
            lists
                .iter()
                .filter_map(|list| Some(ListFacts::read(list)?.this_update_s))
                .max()
                .unwrap_or(i64::MIN)
        };
        // Whoever is on the way could otherwise bring back a list from before somebody was revoked.
        if made(&lists) < made(&before) {
            return Err("the list is older than the one that was fetched before".into());
        }
        // Whether a trusted CA signed it is found out when it is taken up with that CA; what is not is not kept.
        let mut fetched = Fetched::clone(&keys.fetched());
        fetched.insert(url.into(), lists.clone());
        let now_s = self.control.now().wall_ms / 1000;
        self.config.load_listeners(now_s, &fetched).map_err(|errors| errors.to_string())?;
        *lock(&keys.fetched) = Arc::new(fetched);
        if let Some(path) = cache_path(&self.config, url) {
            let made = path.parent().map(file_dir).unwrap_or(Ok(()));
            if let Err(error) = made.and_then(|()| file::replace(&path, &bytes)) {
                self.control.emit(Event::RevocationListFailed {
                    source: CrlSource::Url(url.into()).to_string(),
                    error: error.to_string(),
                    help: "it counts, but will have to be fetched again after a restart".into(),
                });
            }
        }
        let facts = lists.first().and_then(|list| ListFacts::read(list));
        self.control.emit(Event::RevocationListFetched {
            source: CrlSource::Url(url.into()).to_string(),
            issuer: facts.as_ref().map(|facts| facts.issuer.clone()).unwrap_or_default(),
            bytes: bytes.len() as u64,
            next_update_s: facts.and_then(|facts| facts.next_update_s),
        });
        Ok(true)
    }

    /// Says once of each list that it is out of date, or missing, and what to do.
    fn tell_of_expired(&mut self) {
        let now_s = self.control.now().wall_ms / 1000;
        let policy = self.control.policy();
        let mut found = BTreeSet::new();
        for (listener, entrance) in self.config.listeners.iter().zip(&policy.entrances) {
            let Some(trust) = entrance.files.as_ref().and_then(|files| files.trust.as_ref()) else {
                continue;
            };
            let expired = trust.expired_list(now_s);
            let missing =
                trust.missing().iter().map(|source| format!("the revocation list at {source} is missing"));
            for what in expired.into_iter().chain(missing) {
                found.insert((listener.name.clone(), what));
            }
        }
        for (listener, what) in &found {
            if !self.told.contains(&format!("{listener}: {what}")) {
                let help = "until a current list is there, no client of its CA is accepted";
                self.control.emit(Event::RevocationListFailed {
                    source: listener.clone(),
                    error: what.clone(),
                    help: help.into(),
                });
            }
        }
        self.told = found.into_iter().map(|(listener, what)| format!("{listener}: {what}")).collect();
    }

    /// Renews the list of our own CA when half of its time has passed.
    fn renew_list(&mut self) {
        let Some(ca) = &self.config.ca else { return };
        let Some(path) = &ca.crl else { return };
        let now_s = (self.control.now().wall_ms / 1000) as i64;
        let facts =
            ravelin_protect::trust::load_crls(path).ok().and_then(|lists| ListFacts::read(lists.first()?));
        let half_s = (ca.crl_validity.as_secs() / 2) as i64;
        if facts.is_some_and(|facts| facts.next_update_s.is_some_and(|next| next - now_s > half_s)) {
            self.told.remove("ca");
            return;
        }
        if let Err(error) = self.control.publish_list()
            && self.told.insert("ca".into())
        {
            self.control.emit(Event::RevocationListFailed {
                source: path.display().to_string(),
                error: error.to_string(),
                help: "renew it with the CA's key before it runs out, or no client of this CA is accepted"
                    .into(),
            });
        }
    }
}

fn file_dir(path: &Path) -> Result<(), ravelin_protect::Error> {
    if path.is_dir() { Ok(()) } else { file::create_dir(path) }
}

/// The URLs of all listeners.
fn urls(config: &Config) -> BTreeSet<String> {
    let tls = config.listeners.iter().filter_map(|listener| listener.tls.as_ref());
    let sources = tls.flat_map(|tls| &tls.crl).filter_map(|source| match source {
        CrlSource::Url(url) => Some(url.clone()),
        CrlSource::File(_) => None,
    });
    sources.collect()
}

/// Where a list that was fetched is kept.
fn cache_path(config: &Config, url: &str) -> Option<PathBuf> {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, url.as_bytes());
    let name = hex(&digest.as_ref()[..16]);
    Some(config.node.data.as_ref()?.join("revocation-lists").join(format!("{name}.crl")))
}

/// The lists that were fetched before this start. A list that has run out since counts for nothing; the CA's signature
/// on each is verified like that of any other.
pub(crate) fn cached_lists(config: &Config) -> Fetched {
    let read = |url: String| {
        let lists = ravelin_protect::trust::load_crls(&cache_path(config, &url)?).ok()?;
        Some((url, lists))
    };
    let mut cached: Fetched = urls(config).into_iter().filter_map(read).collect();
    // One that does not belong to the CA any more must not keep the node from starting.
    if config.load_listeners(0, &cached).is_err() {
        cached.clear();
    }
    cached
}

/// What the files of all listeners are now.
fn stamps(config: &Config) -> BTreeMap<PathBuf, Stamp> {
    let mut stamps = BTreeMap::new();
    for tls in config.listeners.iter().filter_map(|listener| listener.tls.as_ref()) {
        let files =
            [Some(&tls.certificate), Some(&tls.key), tls.client_ca.as_ref(), tls.staple.issuer.as_ref()];
        let lists = tls.crl.iter().filter_map(|source| match source {
            CrlSource::File(path) => Some(path),
            CrlSource::Url(_) => None,
        });
        for path in files.into_iter().flatten().chain(lists) {
            stamps.insert(path.clone(), stamp(path));
        }
    }
    stamps
}

pub(super) fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
}
