//! The posture: what a stage closes outside of the shards, and who is told.

use super::super::Control;
use crate::reload;
use ravelin_event::Event;
use ravelin_identify::Known;
use ravelin_respond::Posture;

impl Control {
    /// Who is known to the inventory, and who is declared.
    pub(crate) fn known_devices(&self) -> (Known, Known) {
        self.inventory(|inventory, _| (inventory.known(), inventory.declared()))
    }

    /// Has the accept ladder and the rates go by the posture, and tells of the change.
    pub(super) fn follow_posture(&self, order: u64, before: Posture) {
        let config = self.config();
        let now = self.posture();
        let stage = config.restrict.stage(now);
        self.lock_ladder().set_limits(reload::ladder_limits(&reload::stricter(&config.limits, stage)));
        if now != before {
            self.emit(Event::PostureChanged {
                from: before.name(),
                to: now.name(),
                by: format!("order {order}"),
                closes: config.restrict.closes(now),
            });
        }
    }
}
