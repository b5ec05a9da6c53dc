//! What is taken from clients for a time, beyond what rules say: quarantine, and what little trust costs.
//!
//! It can only restrict: [`crate::Rights`] allows what its rules allow and no restraint denies.

use crate::directory::{Action, Directory};
use foldhash::fast::FixedState;
use ravelin_event::Principal;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Rules for trust that there may be: as many as a word has bits.
pub const TRUST_RULES_MAX: usize = 32;

/// A filter in which `%c` as a whole level stands for the Client Identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Box<str>);

impl Pattern {
    /// Reads one; `None`: it is no topic filter, or one of a shared subscription.
    pub fn parse(text: &str) -> Option<Pattern> {
        let plain = matches!(ravelin_mqtt::check_filter(text, 128), Ok(None));
        plain.then(|| Pattern(text.into()))
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it covers a topic, or a filter: whatever that matches, this matches.
    pub fn covers(&self, client_id: &str, name: &str) -> bool {
        // A wildcard at the front is not about the system's topics (MQTT-4.7.2-1).
        if name.starts_with('$') && self.0.starts_with(['+', '#']) {
            return false;
        }
        let (mut pattern, mut levels) = (self.0.split('/'), name.split('/'));
        loop {
            match (pattern.next(), levels.next()) {
                (Some("#"), _) | (None, None) => return true,
                (Some("+"), Some(level)) if level != "#" => {}
                // A name that is not one level, or that is a wildcard, stands for nobody.
                (Some("%c"), Some(level)) if level == client_id && !client_id.contains(['+', '#', '/']) => {}
                (Some(wanted), Some(level)) if wanted == level && wanted != "%c" && wanted != "+" => {}
                _ => return false,
            }
        }
    }
}

/// All that a client in quarantine may do, as far as its rules allow it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// The class that holds for it while it lasts: its rates. `None`: it keeps its own.
    pub class: Option<Arc<str>>,
    /// What it may publish to.
    pub publish: Vec<Pattern>,
    /// What it may receive.
    pub receive: Vec<Pattern>,
}

/// It publishes to `quarantine/%c`, and receives nothing.
impl Default for Quarantine {
    fn default() -> Quarantine {
        Quarantine {
            class: None,
            publish: Pattern::parse("quarantine/%c").into_iter().collect(),
            receive: Vec::new(),
        }
    }
}

impl Quarantine {
    fn allows(&self, who: &Principal, action: Action<'_>) -> bool {
        let (patterns, name) = match action {
            Action::Publish { topic, .. } => (&self.publish, topic),
            Action::Receive { topic } => (&self.receive, topic),
            Action::Subscribe { filter, .. } => (&self.receive, filter),
            Action::Unsubscribe { .. } => return true,
        };
        patterns.iter().any(|pattern| pattern.covers(&who.client_id, name))
    }
}

/// Something that is denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denial {
    /// To publish to topics.
    Publish(Pattern),
    /// To subscribe to filters, and to receive by whatever filter.
    Subscribe(Pattern),
    /// To receive.
    Receive(Pattern),
}

impl Denial {
    /// Reads `publish FILTER`, `subscribe FILTER` or `receive FILTER`.
    pub fn parse(text: &str) -> Option<Denial> {
        let (word, filter) = text.trim().split_once(char::is_whitespace)?;
        let pattern = Pattern::parse(filter.trim())?;
        match word {
            "publish" => Some(Denial::Publish(pattern)),
            "subscribe" => Some(Denial::Subscribe(pattern)),
            "receive" => Some(Denial::Receive(pattern)),
            _ => None,
        }
    }

    fn meets(&self, who: &Principal, action: Action<'_>) -> bool {
        let (pattern, name) = match (self, action) {
            (Denial::Publish(pattern), Action::Publish { topic, .. }) => (pattern, topic),
            (Denial::Subscribe(pattern), Action::Subscribe { filter, .. }) => (pattern, filter),
            (Denial::Subscribe(pattern) | Denial::Receive(pattern), Action::Receive { topic }) => {
                (pattern, topic)
            }
            _ => return false,
        };
        pattern.covers(&who.client_id, name)
    }
}

/// What is taken from clients that are trusted too little.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustRule {
    /// Of those with a score below this, 0 to 100.
    pub below: u8,
    /// It holds until the score is so much above that.
    pub hysteresis: u8,
    /// What is denied to them.
    pub deny: Vec<Denial>,
    /// The class that holds for them: its rates, and quarantine if it has that flag.
    pub class: Option<Arc<str>>,
    /// They are in quarantine.
    pub quarantine: bool,
    /// The highest QoS at which they publish and subscribe.
    pub qos_max: Option<u8>,
}

impl TrustRule {
    /// Whether it holds for a client with a score, if it held before or not.
    pub fn holds(&self, held: bool, score: u8) -> bool {
        let until = self.below.saturating_add(if held { self.hysteresis } else { 0 });
        score < until
    }

    fn denies(&self, who: &Principal, action: Action<'_>) -> bool {
        let over = match action {
            Action::Publish { qos, .. } | Action::Subscribe { qos, .. } => {
                self.qos_max.is_some_and(|most| qos > most)
            }
            _ => false,
        };
        over || self.deny.iter().any(|denial| denial.meets(who, action))
    }
}

/// Who is restrained, and how. A snapshot, cheap to copy.
#[derive(Clone, Default)]
pub struct Restraints(Arc<Inner>);

#[derive(Clone, Default)]
struct Inner {
    quarantine: Quarantine,
    quarantined: HashSet<Arc<str>, FixedState>,
    rules: Vec<TrustRule>,
    /// The rules that hold for a client, as bits.
    distrusted: HashMap<Arc<str>, u32, FixedState>,
}

/// Why something is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restraint {
    /// The client is in quarantine by an order.
    Quarantined,
    /// Its class is in quarantine.
    ClassQuarantined,
    /// The rule for trust of this number.
    Trust(usize),
}

impl Restraints {
    /// The rules alone: nobody is restrained by name. More than [`TRUST_RULES_MAX`] rules are cut.
    pub fn new(quarantine: Quarantine, mut rules: Vec<TrustRule>) -> Restraints {
        rules.truncate(TRUST_RULES_MAX);
        Restraints(Arc::new(Inner { quarantine, rules, ..Inner::default() }))
    }

    /// The same with these clients in quarantine, and no others by name.
    pub fn with_quarantined(&self, clients: impl IntoIterator<Item = Arc<str>>) -> Restraints {
        let quarantined = clients.into_iter().collect();
        Restraints(Arc::new(Inner { quarantined, ..Inner::clone(&self.0) }))
    }

    /// The same with other scores for some clients; and for which of them anything has changed.
    pub fn with_scores(&self, scores: &[(Arc<str>, u8)]) -> (Restraints, Vec<Arc<str>>) {
        let mut changed = Vec::new();
        if self.0.rules.is_empty() {
            return (self.clone(), changed);
        }
        let mut inner = Inner::clone(&self.0);
        for (client_id, score) in scores {
            let before = inner.distrusted.get(client_id).copied().unwrap_or(0);
            let rules = inner.rules.iter().enumerate();
            let after = rules.fold(0, |bits, (at, rule)| {
                bits | u32::from(rule.holds(before & 1 << at != 0, *score)) << at
            });
            if after == before {
                continue;
            }
            match after {
                0 => inner.distrusted.remove(client_id),
                _ => inner.distrusted.insert(client_id.clone(), after),
            };
            changed.push(client_id.clone());
        }
        (Restraints(Arc::new(inner)), changed)
    }

    /// The clients that some rule for trust holds for.
    pub fn distrusted(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.distrusted.keys()
    }

    /// Whether a client is in quarantine, and by what.
    pub fn quarantine_of(&self, who: &Principal, directory: &Directory) -> Option<Restraint> {
        if self.0.quarantined.contains(&who.client_id) {
            return Some(Restraint::Quarantined);
        }
        let apart = |class: Option<&str>| {
            class.and_then(|name| directory.class(name)).is_some_and(|class| class.quarantine)
        };
        if apart(who.class.as_deref()) {
            return Some(Restraint::ClassQuarantined);
        }
        let by_rule =
            self.rules_of(&who.client_id).find(|(_, rule)| rule.quarantine || apart(rule.class.as_deref()));
        by_rule.map(|(at, _)| Restraint::Trust(at))
    }

    /// The class whose rates hold for a client instead of those of its own.
    pub fn class_of(&self, client_id: &str) -> Option<&str> {
        let by_rule = self.rules_of(client_id).find_map(|(_, rule)| rule.class.as_deref());
        let quarantined = self.0.quarantined.contains(client_id)
            || self.rules_of(client_id).any(|(_, rule)| rule.quarantine);
        by_rule.or(self.0.quarantine.class.as_deref().filter(|_| quarantined))
    }

    fn rules_of(&self, client_id: &str) -> impl Iterator<Item = (usize, &TrustRule)> {
        let bits = match self.0.distrusted.is_empty() {
            true => 0,
            false => self.0.distrusted.get(client_id).copied().unwrap_or(0),
        };
        let all = self.0.rules.iter().enumerate();
        all.filter(move |(at, _)| bits & 1 << at != 0)
    }

    /// What denies this to `who`, if anything does.
    pub fn denies(&self, who: &Principal, action: Action<'_>, directory: &Directory) -> Option<Restraint> {
        if let Some(restraint) = self.quarantine_of(who, directory)
            && !self.0.quarantine.allows(who, action)
        {
            return Some(restraint);
        }
        self.rules_of(&who.client_id)
            .find(|(_, rule)| rule.denies(who, action))
            .map(|(at, _)| Restraint::Trust(at))
    }
}

/// In words, for the explanation of a decision.
impl std::fmt::Display for Restraint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Restraint::Quarantined => f.write_str("the client is in quarantine"),
            Restraint::ClassQuarantined => f.write_str("the client's class is in quarantine"),
            Restraint::Trust(at) => {
                write!(f, "the client is trusted too little ([[trust]] number {})", at + 1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Class;
    use proptest::prelude::*;

    const PUBLISH: fn(&str) -> Action<'_> = |topic| Action::Publish { topic, qos: 1, retain: false };

    fn rule(below: u8, deny: &[&str]) -> TrustRule {
        let deny = deny.iter().map(|text| Denial::parse(text).unwrap()).collect();
        TrustRule { below, hysteresis: 10, deny, class: None, quarantine: false, qos_max: None }
    }

    #[test]
    fn a_pattern_covers_what_it_matches_and_no_more() {
        let covers = |pattern: &str, name: &str| Pattern::parse(pattern).unwrap().covers("m1", name);
        for (pattern, name) in [
            ("a/#", "a"),
            ("a/#", "a/b/c"),
            ("a/#", "a/#"),
            ("a/#", "a/+/b"),
            ("+/b", "a/b"),
            ("+/b", "+/b"),
            ("q/%c", "q/m1"),
            ("#", "a/b"),
            ("$SYS/#", "$SYS/a"),
            ("a/b", "a/b"),
        ] {
            assert!(covers(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("a/+", "a/#"),
            ("a/b", "a/+"),
            ("q/%c", "q/m2"),
            ("q/%c", "q/%c"),
            ("q/%c", "q/+"),
            ("#", "$SYS/a"),
            ("+/a", "$SYS/a"),
            ("a/b", "a"),
            ("a", "a/b"),
            ("a/+", "a"),
        ] {
            assert!(!covers(pattern, name), "{pattern} {name}");
        }
        assert!(!Pattern::parse("q/%c").unwrap().covers("+", "q/+"), "a client that is called as a wildcard");
        assert!(Pattern::parse("a/#/b").is_none() && Pattern::parse("$share/g/a").is_none());
    }

    #[test]
    fn quarantine_is_for_the_named_and_for_classes_with_the_flag() {
        let mut edit = Directory::default().edit();
        edit.set_class(Class { name: "kept-apart".into(), quarantine: true, ..Class::default() }).unwrap();
        let (directory, _) = edit.finish().unwrap();
        let restraints = Restraints::default().with_quarantined([Arc::from("bad")]);
        let (bad, good) = (Principal::anonymous("bad"), Principal::anonymous("good"));
        let apart = Principal { class: Some("kept-apart".into()), ..Principal::anonymous("good") };
        for (who, expected) in
            [(&bad, Some(Restraint::Quarantined)), (&apart, Some(Restraint::ClassQuarantined)), (&good, None)]
        {
            assert_eq!(restraints.denies(who, PUBLISH("plant/x"), &directory), expected);
            assert_eq!(restraints.denies(who, Action::Receive { topic: "plant/x" }, &directory), expected);
            let subscribe = Action::Subscribe { filter: "#", group: None, qos: 0 };
            assert_eq!(restraints.denies(who, subscribe, &directory), expected);
            let own = format!("quarantine/{}", who.client_id);
            assert_eq!(restraints.denies(who, PUBLISH(&own), &directory), None, "its own topic");
            assert_eq!(restraints.denies(who, Action::Unsubscribe { filter: "#" }, &directory), None);
        }
        assert!(restraints.denies(&bad, PUBLISH("quarantine/good"), &directory).is_some());
    }

    #[test]
    fn trust_is_lost_below_a_score_and_comes_back_above_it_by_the_hysteresis() {
        let restraints = Restraints::new(Quarantine::default(), vec![rule(30, &["publish plant/+/cmd/#"])]);
        let (client, directory) = (Arc::<str>::from("a"), Directory::default());
        let who = Principal::anonymous("a");
        let mut now = restraints;
        for (score, denied, changes) in
            [(30, false, false), (29, true, true), (39, true, false), (5, true, false), (40, false, true)]
        {
            let (next, changed) = now.with_scores(&[(client.clone(), score)]);
            assert_eq!(!changed.is_empty(), changes, "{score}");
            let found = next.denies(&who, PUBLISH("plant/1/cmd/open"), &directory);
            assert_eq!(found.is_some(), denied, "{score}");
            assert_eq!(next.denies(&who, PUBLISH("plant/1/state"), &directory), None);
            now = next;
        }
        assert_eq!(now.distrusted().count(), 0, "nobody is remembered who is trusted");
    }

    fn pattern() -> impl Strategy<Value = Pattern> {
        let level = prop::sample::select(vec!["a", "b", "cmd", "+", "%c", "c0"]);
        let levels = prop::collection::vec(level, 1..4);
        (levels, any::<bool>()).prop_filter_map("a filter", |(mut levels, all)| {
            if all {
                levels.push("#");
            }
            Pattern::parse(&levels.join("/"))
        })
    }

    fn denial() -> impl Strategy<Value = Denial> {
        let kinds = prop::sample::select(vec![Denial::Publish, Denial::Subscribe, Denial::Receive]);
        (kinds, pattern()).prop_map(|(kind, pattern)| kind(pattern))
    }

    proptest! {
        /// Whatever is denied to whomever, nobody may do what it may not without.
        #[test]
        fn restraints_only_take(
            publish in prop::collection::vec(pattern(), 0..3),
            receive in prop::collection::vec(pattern(), 0..3),
            deny in prop::collection::vec(denial(), 0..4),
            quarantine in any::<bool>(),
            qos_max in prop::option::of(0u8..3),
            score in 0u8..=100,
            quarantined in any::<bool>(),
            topic in prop::collection::vec(prop::sample::select(vec!["a", "b", "cmd", "c0", "+"]), 1..4),
            qos in 0u8..3,
        ) {
            let rule = TrustRule { below: 50, hysteresis: 10, deny, class: None, quarantine, qos_max };
            let restraints = Restraints::new(Quarantine { class: None, publish, receive }, vec![rule]);
            let client: Arc<str> = "c0".into();
            let (mut restraints, _) = restraints.with_scores(&[(client.clone(), score)]);
            if quarantined {
                restraints = restraints.with_quarantined([client.clone()]);
            }
            let rules = "user u\ntopic write a/#\ntopic read +/b\ntopic deny a/cmd/#\n";
            let access = Arc::new(crate::AccessRules::parse(rules, "test").unwrap());
            let with = crate::Rights { access, directory: Directory::default(), restraints };
            let without = crate::Rights { restraints: Restraints::default(), ..with.clone() };
            let who = Principal { identity: Some("u".into()), ..Principal::anonymous("c0") };
            let topic = topic.join("/");
            for action in [
                Action::Publish { topic: &topic, qos, retain: false },
                Action::Receive { topic: &topic },
                Action::Subscribe { filter: &topic, group: None, qos },
                Action::Unsubscribe { filter: &topic },
            ] {
                let (may, could) = (with.may(&who, action), without.may(&who, action));
                prop_assert!(could || !may, "{action:?} is granted");
                prop_assert_eq!(with.explain(&who, action).allowed, may);
            }
        }
    }

    #[test]
    fn a_denial_to_subscribe_is_one_to_receive() {
        let denial = Denial::parse("subscribe plant/+/cmd/#").unwrap();
        let who = Principal::anonymous("a");
        assert!(denial.meets(&who, Action::Subscribe { filter: "plant/1/cmd/#", group: None, qos: 0 }));
        assert!(!denial.meets(&who, Action::Subscribe { filter: "#", group: None, qos: 0 }), "it is broader");
        assert!(denial.meets(&who, Action::Receive { topic: "plant/1/cmd/open" }), "but brings nothing");
        assert!(Denial::parse("write a").is_none() && Denial::parse("publish").is_none());
    }
}
