//! Whom the posture keeps out: asked once for each connection.

use super::Shard;
use ravelin_event::{Principal, Refusal};

impl Shard {
    /// Whether the posture of the node closes it to a client that has just proven who it is. Whoever is of a class that is
    /// never cut off comes in.
    pub(super) fn posture_refuses(&self, who: &Principal, listener: u16) -> Option<Refusal> {
        let programme = &self.policy.programme;
        let stage = programme.restrictions.stage()?;
        let class = who.class.as_deref().and_then(|name| programme.directory.class(name));
        if class.is_some_and(|class| class.never_cut) {
            return None;
        }
        let restrictions = &programme.restrictions;
        let name = self.policy.entrances.get(usize::from(listener)).map(|entrance| &*entrance.name);
        let is_closed = name.is_some_and(|name| stage.closed_listeners.iter().any(|closed| *closed == *name));
        let is_new = || self.broker.session(self.now, &who.client_id).is_none();
        let refused = is_closed
            || stage.refuse_anonymous && who.identity.is_none()
            || stage.refuse_new_devices && !restrictions.is_known(who)
            || stage.refuse_new_sessions && !restrictions.is_declared(who) && is_new();
        refused.then_some(Refusal::Posture)
    }
}
