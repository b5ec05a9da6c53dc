//! What is kept over a restart: trust, baselines, inspections, suppressions, alarms, and the number of the
//! last of them.

use crate::{Engine, Error, Suppression, trust};
use ravelin_event::Alarm;
use std::sync::Arc;

/// A record to be stored, or to be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Its key.
    pub key: String,
    /// Its value; `None` deletes it.
    pub value: Option<Vec<u8>>,
}

/// What has changed and is to be written. Numbers first: none may be used again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Changed {
    Numbers,
    Suppression(u64),
    Alarm(u64),
    Trust(Arc<str>),
}

impl Changed {
    fn key(&self) -> String {
        match self {
            Changed::Numbers => "numbers".into(),
            Changed::Suppression(id) => format!("suppression/{id}"),
            Changed::Alarm(id) => format!("alarm/{id}"),
            Changed::Trust(client_id) => format!("trust/{client_id}"),
        }
    }
}

impl Engine {
    /// What is to be written. Take it before the notices: what is told must not be forgotten.
    pub fn poll_write(&mut self) -> Option<Write> {
        let Some(changed) = self.cx.changed.pop_first() else { return self.traffic.poll_write() };
        Some(Write { key: changed.key(), value: self.stored(&changed) })
    }

    /// All that is kept over a restart, for a checkpoint.
    pub fn dump(&self) -> Vec<Write> {
        let episodes = &self.cx.episodes;
        let suppressions = episodes.suppressions.keys().map(|id| Changed::Suppression(*id));
        let alarms = episodes.alarms.newest_first().map(|alarm| Changed::Alarm(alarm.id));
        let clients = &self.cx.clients;
        let trust = (0..clients.len() as u32).map(|slot| Changed::Trust(Arc::clone(clients.key(slot))));
        let all = std::iter::once(Changed::Numbers).chain(suppressions).chain(alarms).chain(trust);
        let all = all.map(|changed| Write { key: changed.key(), value: self.stored(&changed) });
        all.chain(self.traffic.dump(&self.cx)).collect()
    }

    fn stored(&self, changed: &Changed) -> Option<Vec<u8>> {
        let episodes = &self.cx.episodes;
        match changed {
            Changed::Numbers => serde_json::to_vec(&episodes.reserved).ok(),
            Changed::Suppression(id) => serde_json::to_vec(episodes.suppressions.get(id)?).ok(),
            Changed::Alarm(id) => serde_json::to_vec(episodes.alarms.find(*id)?).ok(),
            Changed::Trust(client_id) => {
                let client = self.cx.clients.at(self.cx.clients.find(client_id)?);
                serde_json::to_vec(&client.trust.stored(client.known_since_ms, client.connection.has_acted))
                    .ok()
            }
        }
    }

    /// Takes a record that [`Engine::poll_write`] or [`Engine::dump`] has handed out, before the first sight.
    ///
    /// # Errors
    /// [`Error::Stored`] if it is not one; everything else is kept as it is.
    pub fn restore(&mut self, key: &str, value: &[u8]) -> Result<(), Error> {
        let unreadable = |why: String| Error::Stored { key: key.into(), why: why.into() };
        let read = |error: serde_json::Error| unreadable(error.to_string());
        match key.split_once('/') {
            None if key == "numbers" => {
                let reserved: u64 = serde_json::from_slice(value).map_err(read)?;
                self.cx.episodes.number_from(reserved);
            }
            Some(("suppression", _)) => {
                let suppression: Suppression = serde_json::from_slice(value).map_err(read)?;
                self.cx.episodes.number_from(suppression.id + 1);
                self.cx.episodes.suppressions.insert(suppression.id, suppression);
            }
            Some(("alarm", _)) => {
                let alarm: Alarm = serde_json::from_slice(value).map_err(read)?;
                self.cx.restore_alarm(alarm);
            }
            Some(("trust", client_id)) => {
                let stored: trust::Stored = serde_json::from_slice(value).map_err(read)?;
                self.cx.restore_trust(client_id, &stored);
            }
            Some(("baseline", client_id)) => {
                self.traffic.restore_baseline(&self.cx.settings, client_id, value).map_err(unreadable)?;
            }
            Some(("inspection", _)) => self.traffic.restore_inspection(value).map_err(unreadable)?,
            _ => return Err(unreadable("no such kind of record".into())),
        }
        Ok(())
    }
}
