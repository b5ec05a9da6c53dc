//! Who publishes where and who listens to what, in each of the scenarios with steady traffic.

use super::phases::Filters;

/// Where a publisher sends its messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topics {
    /// One topic.
    One(String),
    /// Topic numbers below `exact`, at random, of a [`grid_topic`]; those below `plus` and `hash` have one more subscription.
    Grid {
        /// Subscriptions to one topic.
        exact: u32,
        /// Subscriptions with `+`.
        plus: u32,
        /// Subscriptions with `#`.
        hash: u32,
    },
}

/// A publisher.
#[derive(Clone, Debug)]
pub struct PublisherPlan {
    /// Where it publishes.
    pub topics: Topics,
    /// Deliveries that a message causes; with a grid, on average.
    pub deliveries: f64,
}

/// A scenario's cast.
pub struct Plan {
    /// The publishers.
    pub publishers: Vec<PublisherPlan>,
    /// The filters of each subscriber.
    pub subscribers: Vec<Filters>,
    /// Subscriber `n` hears publisher `n` only.
    pub paired: bool,
}

impl Plan {
    /// Every publisher has a topic, every subscriber hears all of them.
    pub fn fan_in(publishers: usize, subscribers: usize) -> Plan {
        Plan {
            publishers: publishers_on(publishers, subscribers, |number| format!("bench/in/{number}/v")),
            subscribers: (0..subscribers).map(|_| Filters::one("bench/in/+/v")).collect(),
            paired: false,
        }
    }

    /// Every subscriber hears every publisher; with one publisher, by its exact topic.
    pub fn fan_out(publishers: usize, subscribers: usize) -> Plan {
        let filter = if publishers == 1 { "bench/out/0/v" } else { "bench/out/+/v" };
        Plan {
            publishers: publishers_on(publishers, subscribers, |number| format!("bench/out/{number}/v")),
            subscribers: (0..subscribers).map(|_| Filters::one(filter)).collect(),
            paired: false,
        }
    }

    /// Every publisher has a subscriber of its own.
    pub fn pairs(pairs: usize) -> Plan {
        Plan {
            publishers: publishers_on(pairs, 1, |number| format!("bench/pair/{number}/v")),
            subscribers: (0..pairs).map(|number| Filters::one(format!("bench/pair/{number}/v"))).collect(),
            paired: true,
        }
    }

    /// Publishers in groups; of ten subscribers, nine hear their group by `+` and one hears everything by `#`.
    pub fn exchange(publishers: usize, subscribers: usize, groups: usize) -> Plan {
        let hears_all = |subscriber: usize| subscriber % 10 == 9;
        let hears = |subscriber: usize, group: usize| hears_all(subscriber) || subscriber % groups == group;
        let publishers = (0..publishers)
            .map(|number| {
                let group = number % groups;
                let deliveries = (0..subscribers).filter(|&subscriber| hears(subscriber, group)).count();
                PublisherPlan {
                    topics: Topics::One(format!("bench/x/{group}/{number}/v")),
                    deliveries: deliveries as f64,
                }
            })
            .collect();
        let subscribers = (0..subscribers)
            .map(|subscriber| match hears_all(subscriber) {
                true => Filters::one("bench/x/#"),
                false => Filters::one(format!("bench/x/{}/+/v", subscriber % groups)),
            })
            .collect();
        Plan { publishers, subscribers, paired: false }
    }

    /// Many subscriptions on thirty connections: of ten, seven name one topic, two have a `+`, one has a `#`. Messages go to
    /// random topics, so each matches one to three of them.
    pub fn subscriptions(publishers: usize, subscriptions: usize) -> Plan {
        const LANES: usize = 10;
        let (exact, plus) = (subscriptions * 7 / 10, subscriptions * 2 / 10);
        let hash = subscriptions - exact - plus;
        let topics = Topics::Grid { exact: exact as u32, plus: plus as u32, hash: hash as u32 };
        let deliveries = 1.0 + (plus + hash) as f64 / exact as f64;
        let lanes = |total: usize, filter: fn(usize) -> String| {
            (0..LANES).map(move |lane| Filters {
                count: total / LANES + usize::from(lane < total % LANES),
                make: Box::new(move |at| filter(at * LANES + lane)),
            })
        };
        let with_plus = |number| format!("site/{}/+/{}/temp", number / 100, number % 100);
        let with_hash = |number| format!("site/{}/dev/{}/#", number / 100, number % 100);
        let subscribers =
            lanes(exact, grid_topic).chain(lanes(plus, with_plus)).chain(lanes(hash, with_hash)).collect();
        let publisher = PublisherPlan { topics, deliveries };
        Plan { publishers: vec![publisher; publishers], subscribers, paired: false }
    }

    /// How many subscriptions there are.
    pub fn subscription_count(&self) -> usize {
        self.subscribers.iter().map(|filters| filters.count).sum()
    }
}

/// The topic with a number in the scenario of many subscriptions.
pub fn grid_topic(number: usize) -> String {
    format!("site/{}/dev/{}/temp", number / 100, number % 100)
}

fn publishers_on(count: usize, deliveries: usize, topic: impl Fn(usize) -> String) -> Vec<PublisherPlan> {
    (0..count)
        .map(|number| PublisherPlan { topics: Topics::One(topic(number)), deliveries: deliveries as f64 })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ravelin_mqtt::{check_filter, check_topic, matches};

    /// The deliveries that the filters of `plan` cause for `topic`.
    fn deliveries(plan: &Plan, topic: &str) -> usize {
        let all = plan.subscribers.iter().flat_map(|filters| (0..filters.count).map(|at| (filters.make)(at)));
        all.filter(|filter| {
            assert!(check_filter(filter, u16::MAX).is_ok());
            matches(filter, topic)
        })
        .count()
    }

    #[test]
    fn a_message_causes_the_deliveries_that_the_plan_says() {
        for plan in [
            Plan::fan_in(5, 2),
            Plan::fan_out(1, 7),
            Plan::fan_out(3, 7),
            Plan::pairs(6),
            Plan::exchange(20, 20, 5),
            Plan::exchange(7, 31, 3),
        ] {
            for publisher in &plan.publishers {
                let Topics::One(topic) = &publisher.topics else { panic!("a grid") };
                assert!(check_topic(topic, u16::MAX).is_ok());
                assert_eq!(deliveries(&plan, topic) as f64, publisher.deliveries, "{topic}");
            }
        }
    }

    #[test]
    fn a_grid_has_its_subscriptions_and_its_deliveries() {
        let plan = Plan::subscriptions(2, 1000);
        assert_eq!(plan.subscription_count(), 1000);
        let Topics::Grid { exact, plus, hash } = plan.publishers[0].topics else { panic!("no grid") };
        assert_eq!((exact, plus, hash), (700, 200, 100));
        let mut total = 0;
        for number in 0..exact {
            let expected = 1 + usize::from(number < plus) + usize::from(number < hash);
            assert_eq!(deliveries(&plan, &grid_topic(number as usize)), expected, "topic {number}");
            total += expected;
        }
        let mean = total as f64 / f64::from(exact);
        assert!((mean - plan.publishers[0].deliveries).abs() < 1e-9);
    }
}
