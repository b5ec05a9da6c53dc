//! Who may do what, what is watched, and how much: the questions that the core asks its shell.

use crate::Now;
use ravelin_event::Principal;
use ravelin_mqtt::QoS;

/// A PUBLISH or a will, as access rules see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publishing<'a> {
    /// The topic; never an alias.
    pub topic: &'a str,
    /// The publisher's QoS.
    pub qos: QoS,
    /// Whether the message is to be retained.
    pub retain: bool,
}

/// A subscription, asked for or in force, as access rules see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribing<'a> {
    /// The filter, without `$share/group/`.
    pub filter: &'a str,
    /// The group of a shared subscription.
    pub group: Option<&'a str>,
    /// The most that the subscriber asks for.
    pub qos: QoS,
}

/// Who may do what. Asked when something is not remembered; answers must not depend on anything but the arguments until
/// [`crate::Broker::set_authorizer`] says that they changed.
pub trait Authorizer {
    /// May `who` publish this? Also asked for wills, and for the author of a retained message when it is delivered.
    fn may_publish(&self, who: &Principal, what: &Publishing<'_>) -> bool;
    /// May `who` subscribe so?
    fn may_subscribe(&self, who: &Principal, what: &Subscribing<'_>) -> bool;
    /// May `who` end its subscription to `filter` (without `$share/group/`)?
    fn may_unsubscribe(&self, _who: &Principal, _filter: &str) -> bool {
        true
    }
    /// May `who` receive messages of `topic`?
    fn may_receive(&self, who: &Principal, topic: &str) -> bool;
    /// Who looks on when something is published to `topic`. Remembered with the route: an unwatched topic costs nothing.
    fn watch(&self, _topic: &str) -> Watch {
        Watch::NONE
    }
    /// May `who` make a subscription that it does not have? Those that it has stay.
    fn may_subscribe_anew(&self, _who: &Principal, _what: &Subscribing<'_>) -> bool {
        true
    }
    /// All ways in which any topic is frozen, as [`Authorizer::watch`] says it.
    fn freezes(&self) -> Watch {
        Watch::NONE
    }
}

/// Who looks on at a topic, and which limit it falls under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    bits: u16,
    limit: u16,
}

impl Watch {
    /// Nobody.
    pub const NONE: Watch = Watch { bits: 0, limit: 0 };
    /// The transmission record: publishes come out as [`crate::Observed`] and deliveries as [`crate::Delivered`].
    pub const RECORD: Watch = Watch { bits: 1, limit: 0 };
    /// Publishes come out as [`crate::Observed`].
    pub const OBSERVE: Watch = Watch { bits: 2, limit: 0 };
    /// Publishes are for the broker itself: they come out as [`crate::Observed`] and go nowhere else. All of `$CONTROL/` has
    /// this, whatever the authorizer says.
    pub const CONTROL: Watch = Watch { bits: 4, limit: 0 };
    /// Publishes come out as [`crate::Observed`], for detectors.
    pub const DETECT: Watch = Watch { bits: 8, limit: 0 };
    /// Frozen: what is published is refused.
    pub const REFUSE: Watch = Watch { bits: 256, limit: 0 };
    /// Frozen: what is published waits; QoS 1 and 2 are not acknowledged meanwhile. [`Watch::REFUSE`] goes before it.
    pub const HOLD: Watch = Watch { bits: 16, limit: 0 };
    /// Frozen: nobody receives anything, and what waits for subscribers is withdrawn.
    pub const MUTE: Watch = Watch { bits: 32, limit: 0 };
    /// Frozen: what waits for subscribers goes on waiting. [`Watch::MUTE`] goes before it.
    pub const DELAY: Watch = Watch { bits: 64, limit: 0 };
    /// Frozen: retained messages are not handed out.
    pub const WITHHOLD: Watch = Watch { bits: 128, limit: 0 };
    /// Publishes come out as [`crate::Observed`] while somebody subscribes to the topic below [`TAP`]; else it costs nothing.
    pub const TAP: Watch = Watch { bits: 512, limit: 0 };

    const SEEN: u16 =
        Watch::RECORD.bits | Watch::OBSERVE.bits | Watch::CONTROL.bits | Watch::DETECT.bits | Watch::TAP.bits;
    const FROZEN: u16 =
        Watch::REFUSE.bits | Watch::HOLD.bits | Watch::MUTE.bits | Watch::DELAY.bits | Watch::WITHHOLD.bits;
    const SPECIAL: u16 = Watch::CONTROL.bits | Watch::REFUSE.bits | Watch::HOLD.bits;

    /// Also falls under the limit of this number, which only the [`Meter`] understands. 0: none.
    pub const fn with_limit(self, limit: u16) -> Watch {
        Watch { limit, ..self }
    }

    /// The number of the limit; 0 is none.
    pub const fn limit(self) -> u16 {
        self.limit
    }

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: Watch) -> bool {
        self.bits & other.bits == other.bits
    }

    /// Whether anybody gets to see what is published. A limit alone shows nothing, nor does a freeze.
    pub const fn is_watched(self) -> bool {
        self.bits & Watch::SEEN != 0
    }

    /// Whether it is frozen in any way.
    pub const fn is_frozen(self) -> bool {
        self.bits & Watch::FROZEN != 0
    }

    /// Without those of `other`.
    pub(crate) const fn without(self, other: Watch) -> Watch {
        Watch { bits: self.bits & !other.bits, limit: self.limit }
    }

    /// Whether what is published does not simply go on to subscribers.
    pub(crate) const fn is_special(self) -> bool {
        self.bits & Watch::SPECIAL != 0
    }
}

impl std::ops::BitOr for Watch {
    type Output = Watch;

    /// Both; the limit is the one of the left side that has one.
    fn bitor(self, other: Watch) -> Watch {
        let limit = if self.limit == 0 { other.limit } else { self.limit };
        Watch { bits: self.bits | other.bits, limit }
    }
}

/// Counts what clients publish, and says what is too much.
pub trait Meter {
    /// Asked once for each PUBLISH, once its topic is known and before anything else is decided. `token` is the shell's name for
    /// the connection, `bytes` the length of the packet behind its fixed header.
    fn publish(&self, now: Now, token: u64, who: &Principal, what: &Metered<'_>) -> Verdict;
}

/// A PUBLISH, as a meter sees it.
#[derive(Clone, Copy, Debug)]
pub struct Metered<'a> {
    /// The topic; never an alias.
    pub topic: &'a str,
    /// What the authorizer said of the topic: here is the number of its limit.
    pub watch: Watch,
    /// Bytes of the packet behind its fixed header.
    pub bytes: usize,
    /// The publisher's QoS.
    pub qos: QoS,
}

/// What becomes of a PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Pass,
    /// It is not passed on. At QoS 0 it is dropped; above, MQTT 5.0 has a reason for it (0x97), and a client of 3.1.1, whose
    /// acknowledgement could only say that all is well, is disconnected.
    Refuse,
    /// The connection ends.
    Disconnect,
}

/// What is remembered of a publisher's rights to one topic: an answer for each QoS, with and without RETAIN.
#[derive(Clone, Copy, Default)]
pub(crate) struct Permit {
    asked: u8,
    allowed: u8,
}

impl Permit {
    fn bit(qos: QoS, retain: bool) -> u8 {
        1 << (qos as u8 * 2 + retain as u8)
    }

    /// Whether it is known to be allowed.
    #[inline]
    pub fn allows(self, qos: QoS, retain: bool) -> bool {
        self.allowed & Permit::bit(qos, retain) != 0
    }

    pub fn get(self, qos: QoS, retain: bool) -> Option<bool> {
        let bit = Permit::bit(qos, retain);
        (self.asked & bit != 0).then_some(self.allowed & bit != 0)
    }

    pub fn with(self, qos: QoS, retain: bool, allowed: bool) -> Permit {
        let bit = Permit::bit(qos, retain);
        Permit { asked: self.asked | bit, allowed: self.allowed | if allowed { bit } else { 0 } }
    }
}

/// Whether a topic or filter is the control tree's.
pub(crate) fn is_control(name: &str) -> bool {
    name.strip_prefix("$CONTROL").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Where monitors subscribe to learn who publishes what: `$MONITOR/tap/a/b` for the topic `a/b`.
pub const TAP: &str = "$MONITOR/tap/";

/// The parts of a filter that rules see.
pub(crate) fn subscribing(filter: &str, qos: QoS) -> Subscribing<'_> {
    match ravelin_mqtt::check_filter(filter, u16::MAX) {
        Ok(Some(shared)) => Subscribing { filter: shared.filter, group: Some(shared.group), qos },
        _ => Subscribing { filter, group: None, qos },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_knows_each_kind_of_publish_apart() {
        let permit = Permit::default().with(QoS::AtLeastOnce, true, true).with(QoS::AtMostOnce, false, false);
        assert_eq!(permit.get(QoS::AtLeastOnce, true), Some(true));
        assert_eq!(permit.get(QoS::AtMostOnce, false), Some(false));
        for (qos, retain) in [(QoS::AtLeastOnce, false), (QoS::AtMostOnce, true), (QoS::ExactlyOnce, true)] {
            assert_eq!(permit.get(qos, retain), None, "{qos:?} {retain}");
        }
    }

    #[test]
    fn watches_add_up() {
        let both = Watch::RECORD | Watch::OBSERVE.with_limit(7);
        assert!(
            both.contains(Watch::RECORD) && both.contains(Watch::OBSERVE) && !both.contains(Watch::CONTROL)
        );
        assert_eq!(both.limit(), 7);
        assert!(both.is_watched() && !Watch::NONE.with_limit(3).is_watched());
    }

    #[test]
    fn the_control_tree_is_told_by_its_first_level() {
        assert!(is_control("$CONTROL") && is_control("$CONTROL/a") && is_control("$CONTROL/#"));
        assert!(!is_control("$CONTROLS/a") && !is_control("a/$CONTROL") && !is_control("#"));
    }
}
