//! What may be retained for each topic.

use std::collections::BTreeMap;

/// A message that was retained, or, without a tag, the clearing of a topic.
#[derive(Clone, Debug)]
struct Set {
    tag: Option<u64>,
    /// Wall clock of the first and the last time that it was published.
    first_ms: u64,
    last_ms: u64,
    /// Which publish it was, to tell clearings apart.
    publish: u64,
    step: u64,
    certain: bool,
    /// It may never have been taken: it waited for the end of a freeze and its publisher went, or it was refused.
    waits: bool,
    /// Each time that it was published: which of them counts depends on what the broker knew.
    expires_ms: Vec<Option<u64>>,
}

/// By topic, what was retained since everything was quiet.
#[derive(Default)]
pub(crate) struct Retained(BTreeMap<String, Vec<Set>>);

impl Retained {
    fn of(&mut self, topic: &str) -> &mut Vec<Set> {
        let nothing = Set {
            tag: None,
            first_ms: 0,
            last_ms: 0,
            publish: 0,
            step: 0,
            certain: true,
            waits: false,
            expires_ms: vec![None],
        };
        self.0.entry(topic.to_owned()).or_insert_with(|| vec![nothing])
    }

    /// A retained message was published, perhaps again; an empty one clears the topic.
    pub fn published(
        &mut self,
        topic: &str,
        publish: u64,
        empty: bool,
        now_ms: u64,
        expires_ms: Option<u64>,
        step: u64,
    ) {
        let sets = self.of(topic);
        match sets.iter_mut().find(|set| set.publish == publish) {
            Some(set) => {
                set.last_ms = now_ms;
                set.expires_ms.push(expires_ms);
            }
            None => sets.push(Set {
                tag: (!empty).then_some(publish),
                first_ms: now_ms,
                last_ms: now_ms,
                publish,
                step,
                certain: false,
                waits: false,
                expires_ms: vec![expires_ms],
            }),
        }
    }

    /// What was published to topics that are not frozen any more may have waited until now.
    pub fn waited(&mut self, now_ms: u64, is_frozen: impl Fn(&str) -> bool) {
        for (_, sets) in self.0.iter_mut().filter(|(topic, _)| !is_frozen(topic)) {
            sets.iter_mut().filter(|set| !set.certain).for_each(|set| set.last_ms = now_ms);
        }
    }

    /// It was published to a frozen topic, or before it was allowed.
    pub fn waits(&mut self, topic: &str, publish: u64) {
        for set in self.of(topic).iter_mut().filter(|set| set.publish == publish) {
            set.waits = true;
        }
    }

    /// The broker has taken over responsibility for it.
    pub fn accepted(&mut self, publish: u64) {
        for set in self.0.values_mut().flatten().filter(|set| set.publish == publish) {
            set.certain = true;
        }
    }

    /// Everything is quiet, and this is what the broker has retained.
    pub fn check(&mut self, actual: &BTreeMap<String, u64>, now_ms: u64, last_crash: u64) {
        for topic in actual.keys() {
            assert!(self.0.contains_key(topic), "{topic} was never retained");
        }
        for (topic, sets) in &mut self.0 {
            let tag = actual.get(topic).copied();
            for set in sets.iter_mut().filter(|set| set.step > last_crash && !set.waits) {
                set.certain = true;
            }
            let beaten = |set: &Set| {
                sets.iter().any(|other| {
                    other.certain && other.publish != set.publish && other.first_ms > set.last_ms
                })
            };
            let past = |at: &Option<u64>| at.is_some_and(|at| at <= now_ms);
            let found = sets.iter().find(|set| {
                let is = |at| tag == if past(at) { None } else { set.tag };
                set.expires_ms.iter().any(is) && !beaten(set)
            });
            let Some(found) = found else { panic!("{tag:?} is retained for {topic}: {sets:?}") };
            let kept = Set { certain: true, first_ms: now_ms, last_ms: now_ms, ..found.clone() };
            *sets = vec![kept];
        }
    }
}
