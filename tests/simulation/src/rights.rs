//! Access rules for tests.

use ravelin_broker::{Authorizer, Publishing, Subscribing, Watch};
use ravelin_event::Principal;
use ravelin_mqtt::QoS;

/// Access rules: everything is allowed but what begins with a forbidden word.
#[derive(Clone, Default)]
pub struct Rights {
    /// The Client Identifier that they are for; everybody's, without.
    pub who: Option<&'static str>,
    /// Topics that may not be published to.
    pub publish: Option<&'static str>,
    /// Topics that may not be retained.
    pub retain: Option<&'static str>,
    /// Filters that may not be subscribed to.
    pub subscribe: Option<&'static str>,
    /// Filters that subscriptions may not be ended to.
    pub unsubscribe: Option<&'static str>,
    /// Topics that may not be received.
    pub receive: Option<&'static str>,
    /// The highest QoS that may be published and subscribed with.
    pub qos_max: Option<QoS>,
    /// Topics that somebody watches.
    pub watch: Option<(&'static str, Watch)>,
}

impl Rights {
    fn allow(&self, who: &Principal, forbidden: Option<&str>, name: &str) -> bool {
        self.who.is_some_and(|only| *only != *who.client_id)
            || forbidden.is_none_or(|prefix| !name.starts_with(prefix))
    }

    fn is_low(&self, qos: QoS) -> bool {
        self.qos_max.is_none_or(|most| qos <= most)
    }
}

impl Authorizer for Rights {
    fn may_publish(&self, who: &Principal, what: &Publishing<'_>) -> bool {
        self.allow(who, self.publish, what.topic)
            && (!what.retain || self.allow(who, self.retain, what.topic))
            && self.is_low(what.qos)
    }

    fn may_subscribe(&self, who: &Principal, what: &Subscribing<'_>) -> bool {
        self.allow(who, self.subscribe, what.filter)
            && what.group.is_none_or(|group| self.allow(who, self.subscribe, &format!("group {group}")))
            && self.is_low(what.qos)
    }

    fn may_unsubscribe(&self, who: &Principal, filter: &str) -> bool {
        self.allow(who, self.unsubscribe, filter)
    }

    fn may_receive(&self, who: &Principal, topic: &str) -> bool {
        self.allow(who, self.receive, topic)
    }

    fn watch(&self, topic: &str) -> Watch {
        match self.watch {
            Some((prefix, watch)) if topic.starts_with(prefix) => watch,
            _ => Watch::NONE,
        }
    }

    fn freezes(&self) -> Watch {
        self.watch.map_or(Watch::NONE, |(_, watch)| watch)
    }
}
