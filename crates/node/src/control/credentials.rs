//! What log-ins leave behind: which one-time codes were used.

use super::{Changed, Control, Records, Space};
use crate::error::Error;
use ravelin_event::Event;
use ravelin_protect::totp::{Keeper, Ledger};
use serde_json::json;

/// The prefix of the records' keys.
const TOTP: &str = "totp/";

/// Keeps uses in the store. A client is let in once the use of its code is on disk, so that no crash makes it good again.
struct InStore(Records);

impl Keeper for InStore {
    fn keep(&self, identity: &str, step: u64, over_s: u64) -> Option<u64> {
        let (key, value) = record(identity, step, over_s);
        self.0.put(Space::Used, &key, &value).ok()
    }

    fn settle(&self, number: u64) -> bool {
        self.0.blocking_settled(number).is_ok()
    }
}

fn record(identity: &str, step: u64, over_s: u64) -> (String, Vec<u8>) {
    (format!("{TOTP}{identity}"), json!({ "step": step, "over_s": over_s }).to_string().into_bytes())
}

fn read(value: &[u8]) -> Option<(u64, u64)> {
    let value: serde_json::Value = serde_json::from_slice(value).ok()?;
    Some((value.get("step")?.as_u64()?, value.get("over_s")?.as_u64()?))
}

impl Control {
    /// Takes up which codes were used before the restart, and keeps those that will be.
    pub(crate) fn open_credentials(&self) -> Result<(), Error> {
        let ledger = Ledger::new(InStore(self.records().clone()));
        for (key, value) in self.records().load(Space::Used) {
            match key.strip_prefix(TOTP).zip(read(&value)) {
                Some((identity, (step, over_s))) => ledger.restore(identity, step, over_s),
                None => {
                    self.emit(Event::RecordUnreadable { detail: format!("the record of a use: {key:?}") })
                }
            }
        }
        let (uses, clock) = (ledger.clone(), self.0.clock);
        self.records().register(Space::Used, move |dump| {
            uses.each_use(clock.now().wall_ms / 1000, |identity, step, over_s| {
                let (key, value) = record(identity, step, over_s);
                dump.write(&key, &value);
            });
        });
        self.change_policy(Changed::Ahead, |policy| {
            policy.authenticator = policy.authenticator.clone().with_ledger(ledger);
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_a_use_is_written_and_read() {
        let (key, value) = record("meter/7", 60_000_000, 1_800_000_060);
        assert_eq!(
            (key.strip_prefix(TOTP), read(&value)),
            (Some("meter/7"), Some((60_000_000, 1_800_000_060)))
        );
        for bad in ["", "{}", "[]", "{\"step\":1}", "{\"step\":-1,\"over_s\":2}"] {
            assert_eq!(read(bad.as_bytes()), None, "{bad}");
        }
    }
}
