//! OCSP answers for the listeners' own certificates: from a file, or fetched from the responder that the certificate
//! names; checked, stapled to new handshakes without a reload, and taken off before they run out.

use super::super::{Changed, Control};
use super::keeper::stamp;
use super::lock;
use crate::config::{Config, ListenerTls, StapleConfig};
use crate::fetch::{self, FetchLimits};
use ravelin_event::Event;
use ravelin_protect::ocsp::{self, Answer, Status};
use ravelin_protect::tls::{self, ServerIdentity};
use ravelin_protect::{file, trust};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What could not be had is tried again after so many seconds.
const RETRY_S: u64 = 60;
/// An answer is not asked for more often than this.
const ASK_EVERY_S: u64 = 30;

/// The answers of all listeners.
#[derive(Default)]
pub(super) struct Staples(BTreeMap<usize, Staple>);

#[derive(Default)]
struct Staple {
    /// When it is to be looked at again, in seconds since the Unix epoch.
    due_s: u64,
    /// When the answer that is stapled runs out.
    until_s: Option<i64>,
    /// Of which certificate it is, and what its file was.
    of: Vec<u8>,
    file: Option<(u64, u64, i64, i64)>,
    failing: bool,
}

/// What the answer about a certificate is kept under: its SHA-256.
pub(super) fn name_of(identity: &ServerIdentity) -> Vec<u8> {
    let der = identity.end_entity().map(|der| der.as_ref()).unwrap_or_default();
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der).as_ref().to_vec()
}

impl Staples {
    /// Looks at those that are due.
    pub fn refresh(&mut self, control: &Control, config: &Config, now_s: u64) {
        for (index, listener) in config.listeners.iter().enumerate() {
            let Some(paths) = listener.tls.as_ref().filter(|paths| paths.staple.is_wanted()) else {
                continue;
            };
            let policy = control.policy();
            let files = policy.entrances.get(index).and_then(|entrance| entrance.files.as_ref());
            let Some(identity) = files.map(|files| files.identity.clone()) else { continue };
            let staple = self.0.entry(index).or_default();
            let (of, file) = (name_of(&identity), paths.staple.file.as_deref().and_then(stamp));
            let changed = of != staple.of || file != staple.file;
            if !changed && now_s < staple.due_s {
                continue;
            }
            (staple.of, staple.file) = (of, file);
            let result = obtain(paths, &identity, &config.certificates.fetch, now_s);
            staple.take(control, index, &listener.name, &identity, result, now_s);
        }
    }
}

impl Staple {
    fn take(
        &mut self,
        control: &Control,
        index: usize,
        listener: &str,
        identity: &ServerIdentity,
        result: Result<(Answer, Vec<u8>), String>,
        now_s: u64,
    ) {
        let failed = match result {
            Ok((answer, bytes)) if answer.status == Status::Good => {
                let half_s = ((answer.next_update_s - now_s as i64) / 2).max(0) as u64;
                self.due_s = now_s + half_s.max(ASK_EVERY_S);
                (self.until_s, self.failing) = (Some(answer.next_update_s), false);
                put(control, index, identity, Some(bytes));
                control.emit(Event::OcspStapled {
                    listener: listener.into(),
                    next_update_s: answer.next_update_s,
                });
                return;
            }
            Ok((answer, _)) if answer.status == Status::Revoked => {
                self.until_s = None;
                put(control, index, identity, None);
                "the responder says that the listener's certificate is revoked: issue another one".to_owned()
            }
            Ok(_) => "the responder does not know the listener's certificate".to_owned(),
            Err(error) => error,
        };
        self.due_s = now_s + RETRY_S;
        if self.until_s.is_some_and(|until_s| until_s <= now_s as i64) {
            // A client that insists on a current answer refuses an old one as it refuses none; others are served.
            self.until_s = None;
            put(control, index, identity, None);
        } else if let Some(until_s) = self.until_s {
            self.due_s = self.due_s.min(until_s.max(0) as u64);
        }
        if !std::mem::replace(&mut self.failing, true) {
            control.emit(Event::OcspFailed { listener: listener.into(), error: failed });
        }
    }
}

/// Staples an answer to what new connections get, or takes it off.
fn put(control: &Control, index: usize, identity: &ServerIdentity, answer: Option<Vec<u8>>) {
    let keys = &control.0.keys;
    let held = keys.hold_files();
    let name = name_of(identity);
    match &answer {
        Some(answer) => drop(lock(&keys.staples).insert(name.clone(), answer.clone())),
        None => drop(lock(&keys.staples).remove(&name)),
    }
    control.change_policy(Changed::Ahead, |policy| {
        let files = policy.entrances.get_mut(index).and_then(|entrance| entrance.files.as_mut());
        // A reload may have brought another certificate meanwhile.
        if let Some(files) = files.filter(|files| name_of(&files.identity) == name) {
            files.tls = Arc::new(tls::with_staple(&files.tls, &files.identity, answer));
        }
    });
    drop(held);
}

/// The answer from the file, or from the responder.
fn obtain(
    paths: &ListenerTls,
    identity: &ServerIdentity,
    limits: &FetchLimits,
    now_s: u64,
) -> Result<(Answer, Vec<u8>), String> {
    let StapleConfig { file, issuer, .. } = &paths.staple;
    let certificate = identity.end_entity().ok_or("the listener has no certificate")?;
    let issuer = match issuer {
        Some(path) => trust::load_certificates(path).map_err(|error| error.to_string())?.into_iter().next(),
        None => identity.chain().get(1).cloned(),
    };
    let issuer = issuer
        .ok_or("the issuer's certificate is not known: add it to the chain, or name it with `ocsp_issuer`")?;
    let bytes = match file {
        Some(path) => {
            file::read(path, ocsp::ANSWER_BYTES_MAX as u64).map_err(|error| error.to_string())?.to_vec()
        }
        None => {
            let url = ocsp::responder(certificate).ok_or("the certificate names no OCSP responder")?;
            let question = ocsp::question(certificate, &issuer).map_err(|error| error.to_string())?;
            let limits = FetchLimits { bytes_max: ocsp::ANSWER_BYTES_MAX as u64, ..limits.clone() };
            fetch::post(&url, "application/ocsp-request", &question, &limits)
                .map_err(|error| error.to_string())?
        }
    };
    let answer =
        ocsp::check(&bytes, certificate, &issuer, now_s as i64).map_err(|error| error.to_string())?;
    Ok((answer, bytes))
}
