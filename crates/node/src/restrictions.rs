//! What is taken from clients for a time, as the shards go by it: a snapshot that follows from the orders in force, the
//! configuration and the clients' trust. Nothing is undone by hand: without the order, it is what it was.

use crate::config::{RestrictConfig, Stage};
use crate::rates::Throttle;
use ravelin_broker::Watch;
use ravelin_event::Principal;
use ravelin_identify::Known;
use ravelin_protect::Restraints;
use ravelin_respond::{Action, Direction, Frozen, Posture, Retained};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Restrictions in force. Cheap to copy.
#[derive(Clone, Default)]
pub(crate) struct Restrictions(Arc<Inner>);

#[derive(Clone, Default)]
struct Inner {
    settings: Arc<RestrictConfig>,
    /// By the order that made them.
    orders: BTreeMap<u64, Action>,
    freezes: Vec<(Arc<str>, Watch)>,
    restraints: Restraints,
    throttles: HashMap<Arc<str>, Arc<Throttle>, foldhash::fast::FixedState>,
    /// Who is known, while the posture asks.
    known: Arc<Known>,
    /// Who is declared, while the posture asks.
    declared: Arc<Known>,
}

impl Restrictions {
    /// The same by another configuration. Who was trusted too little is asked about anew when the rules have changed.
    pub fn with_settings(&self, settings: Arc<RestrictConfig>) -> Restrictions {
        let mut inner = Inner::clone(&self.0);
        let same = inner.settings.trust == settings.trust && inner.settings.quarantine == settings.quarantine;
        if !same {
            inner.restraints = Restraints::new(settings.quarantine.clone(), settings.trust.clone());
        }
        inner.settings = settings;
        inner.compile();
        Restrictions(Arc::new(inner))
    }

    /// The same with one more order. `None`: it is in force already.
    pub fn with_order(&self, order: u64, action: &Action) -> Option<Restrictions> {
        if self.0.orders.get(&order) == Some(action) {
            return None;
        }
        let mut inner = Inner::clone(&self.0);
        inner.orders.insert(order, action.clone());
        inner.compile();
        Some(Restrictions(Arc::new(inner)))
    }

    /// The same without an order. `None`: it is not in force.
    pub fn without_order(&self, order: u64) -> Option<Restrictions> {
        let mut inner = Inner::clone(&self.0);
        inner.orders.remove(&order)?;
        inner.compile();
        Some(Restrictions(Arc::new(inner)))
    }

    /// The same with other scores of clients, and for which of them something has changed.
    pub fn with_scores(&self, scores: &[(Arc<str>, u8)]) -> (Restrictions, Vec<Arc<str>>) {
        let (restraints, changed) = self.0.restraints.with_scores(scores);
        (Restrictions(Arc::new(Inner { restraints, ..Inner::clone(&self.0) })), changed)
    }

    /// The same with those who are known, and those who are declared.
    pub fn with_known(&self, known: Known, declared: Known) -> Restrictions {
        let (known, declared) = (Arc::new(known), Arc::new(declared));
        Restrictions(Arc::new(Inner { known, declared, ..Inner::clone(&self.0) }))
    }

    /// How many orders are in force.
    pub fn len(&self) -> usize {
        self.0.orders.len()
    }

    /// What is taken from clients' rights.
    pub fn restraints(&self) -> &Restraints {
        &self.0.restraints
    }

    /// All ways in which any topic is frozen.
    pub fn freezes(&self) -> Watch {
        self.0.freezes.iter().fold(Watch::NONE, |all, (_, watch)| all | *watch)
    }

    /// How a topic is frozen. What is the system's never is.
    pub fn watch(&self, topic: &str) -> Watch {
        if self.0.freezes.is_empty() || is_system(topic) {
            return Watch::NONE;
        }
        let matching = self.0.freezes.iter().filter(|(filter, _)| ravelin_mqtt::matches(filter, topic));
        matching.fold(Watch::NONE, |all, (_, watch)| all | *watch)
    }

    /// Whether anybody's messages are throttled.
    pub fn throttles(&self) -> bool {
        !self.0.throttles.is_empty()
    }

    /// The throttle of a client.
    pub fn throttle(&self, client_id: &str) -> Option<Arc<Throttle>> {
        self.0.throttles.get(client_id).cloned()
    }

    /// The posture: what the order with the highest number says.
    pub fn posture(&self) -> Posture {
        let postures = self.0.orders.values().rev();
        let mut levels = postures.filter_map(|action| match action {
            Action::Posture { level } => Some(*level),
            _ => None,
        });
        levels.next().unwrap_or_default()
    }

    /// What the posture closes; `None` where everything is as configured.
    pub fn stage(&self) -> Option<&Stage> {
        self.0.settings.stage(self.posture())
    }

    /// Whether the inventory knows the client, or knew it when the posture was raised.
    pub fn is_known(&self, who: &Principal) -> bool {
        self.0.known.contains(&who.client_id, who.identity.as_deref())
    }

    /// Whether the client is declared.
    pub fn is_declared(&self, who: &Principal) -> bool {
        self.0.declared.contains(&who.client_id, who.identity.as_deref())
    }
}

impl Inner {
    /// Makes of the orders what is looked up.
    fn compile(&mut self) {
        let mut quarantined = Vec::new();
        let mut throttles: BTreeMap<Arc<str>, (u64, u32)> = BTreeMap::new();
        self.freezes.clear();
        for (order, action) in &self.orders {
            match action {
                Action::Freeze { filter, messages, direction, retained } => {
                    self.freezes.push((filter.clone(), frozen(*messages, *direction, *retained)));
                }
                Action::Quarantine { client_id } => quarantined.push(client_id.clone()),
                Action::Throttle { client_id, messages_per_s } => {
                    let least = throttles.entry(client_id.clone()).or_insert((*order, *messages_per_s));
                    if *messages_per_s < least.1 {
                        *least = (*order, *messages_per_s);
                    }
                }
                _ => {}
            }
        }
        self.restraints = self.restraints.with_quarantined(quarantined);
        let before = std::mem::take(&mut self.throttles);
        for (client_id, (order, per_s)) in throttles {
            // What was taken from one that goes on is taken.
            let same = before.get(&client_id).filter(|throttle| throttle.is(order, per_s)).cloned();
            let throttle = same.or_else(|| Throttle::new(order, &client_id, per_s).map(Arc::new));
            self.throttles.extend(throttle.map(|throttle| (client_id, throttle)));
        }
    }
}

/// Whether a topic or filter is the system's own.
pub(crate) fn is_system(name: &str) -> bool {
    ["$SYS", "$CONTROL", "$share"]
        .iter()
        .any(|root| name.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// A freeze, as the core knows it. Where nobody may receive what is held, publishers wait as well: what they were
/// acknowledged would have to be kept for everybody.
fn frozen(messages: Frozen, direction: Direction, retained: Retained) -> Watch {
    let ways = match (messages, direction) {
        (Frozen::Drop, Direction::Both) => Watch::REFUSE | Watch::MUTE,
        (Frozen::Drop, Direction::Publish) => Watch::REFUSE,
        (Frozen::Drop, Direction::Receive) => Watch::MUTE,
        (Frozen::Hold, Direction::Publish) => Watch::HOLD,
        (Frozen::Hold, Direction::Both | Direction::Receive) => Watch::HOLD | Watch::DELAY,
    };
    match retained {
        Retained::Withhold => ways | Watch::WITHHOLD,
        Retained::Serve => ways,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn freeze(filter: &str, messages: Frozen) -> Action {
        let (direction, retained) = Default::default();
        Action::Freeze { filter: filter.into(), messages, direction, retained }
    }

    #[test]
    fn an_order_counts_once_and_what_is_lifted_leaves_what_was() {
        let none = Restrictions::default();
        let one = none.with_order(1, &freeze("a/#", Frozen::Drop)).unwrap();
        assert!(one.with_order(1, &freeze("a/#", Frozen::Drop)).is_none(), "it is in force already");
        let two = one.with_order(2, &freeze("a/b", Frozen::Hold)).unwrap();
        assert!(two.watch("a/b").contains(Watch::REFUSE | Watch::HOLD | Watch::DELAY | Watch::MUTE));
        let lifted = two.without_order(1).unwrap();
        assert!(!lifted.watch("a/b").contains(Watch::REFUSE) && lifted.watch("a/b").contains(Watch::HOLD));
        assert_eq!(lifted.watch("a/c"), Watch::NONE);
        assert!(lifted.without_order(1).is_none());
        let back = lifted.without_order(2).unwrap();
        assert!(!back.freezes().is_frozen() && back.watch("a/b") == Watch::NONE && back.len() == 0);
    }

    #[test]
    fn the_system_is_never_frozen() {
        let all = Restrictions::default().with_order(1, &freeze("#", Frozen::Drop)).unwrap();
        for topic in ["$SYS/broker/uptime", "$CONTROL/dynamic-security/v1"] {
            assert_eq!(all.watch(topic), Watch::NONE, "{topic}");
        }
        assert!(
            is_system("$SYS/#") && is_system("$CONTROL") && !is_system("$SYSTEM/a") && !is_system("a/$SYS")
        );
    }

    #[test]
    fn the_latest_order_says_the_posture_and_the_smallest_rate_holds() {
        let mut now = Restrictions::default();
        for (order, level) in [(1, Posture::Lockdown), (2, Posture::Elevated)] {
            now = now.with_order(order, &Action::Posture { level }).unwrap();
            assert_eq!(now.posture(), level);
        }
        assert_eq!(now.without_order(2).unwrap().posture(), Posture::Lockdown);
        for (order, messages_per_s) in [(3, 10), (4, 5), (5, 7)] {
            let action = Action::Throttle { client_id: "c".into(), messages_per_s };
            now = now.with_order(order, &action).unwrap();
        }
        let throttle = now.throttle("c").unwrap();
        assert!(throttle.is(4, 5));
        let more = now.with_order(6, &Action::Quarantine { client_id: "d".into() }).unwrap();
        assert!(Arc::ptr_eq(&throttle, &more.throttle("c").unwrap()), "it goes on where it was");
        assert!(more.without_order(4).unwrap().throttle("c").unwrap().is(5, 7));
    }
}
