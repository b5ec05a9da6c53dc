//! Behaviours as AWS IoT Device Defender has them: `[[behaviour]]`. Names are AWS's, in snake case; the camel case of its API is
//! read as well.

use ravelin_event::Severity;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

/// What clients are expected to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Behaviour {
    /// Its name, as in alarms.
    pub name: Arc<str>,
    /// What is measured.
    pub metric: Metric,
    /// The classes that it is for (AWS: the target groups); none: all clients.
    #[serde(default)]
    pub classes: Vec<Arc<str>>,
    /// What is expected.
    pub criteria: Criteria,
    /// Whether to measure and not to tell.
    #[serde(default, alias = "suppressAlerts")]
    pub suppress_alerts: bool,
    /// How bad it is.
    #[serde(default = "medium")]
    pub severity: Severity,
}

fn medium() -> Severity {
    Severity::Medium
}

/// What is measured of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Metric {
    /// Bytes of a message's payload: the largest of a meter, or for `less-than` the mean.
    #[serde(rename = "aws:message-byte-size")]
    MessageByteSize,
    /// Messages that the client sent.
    #[serde(rename = "aws:num-messages-sent")]
    NumMessagesSent,
    /// Messages that were sent to the client.
    #[serde(rename = "aws:num-messages-received")]
    NumMessagesReceived,
    /// Topics, filters and actions that were denied.
    #[serde(rename = "aws:num-authorization-failures")]
    NumAuthorizationFailures,
    /// The address from which the client connects.
    #[serde(rename = "aws:source-ip-address")]
    SourceIpAddress,
    /// Attempts to connect, let in or refused.
    #[serde(rename = "aws:num-connection-attempts")]
    NumConnectionAttempts,
    /// Ends of connections.
    #[serde(rename = "aws:num-disconnects")]
    NumDisconnects,
    /// Seconds since the connection ended.
    #[serde(rename = "aws:disconnect-duration")]
    DisconnectDuration,
    /// Bytes of payload that the client sent.
    #[serde(rename = "aws:all-bytes-out")]
    AllBytesOut,
    /// Control packets that the client sent.
    #[serde(rename = "aws:all-packets-out")]
    AllPacketsOut,
    /// Messages of the client that no subscription matched.
    #[serde(rename = "ravelin:num-messages-undelivered")]
    NumMessagesUndelivered,
    /// Messages of the client with RETAIN.
    #[serde(rename = "ravelin:num-messages-retained")]
    NumMessagesRetained,
    /// Messages for the client that were dropped because it did not take them.
    #[serde(rename = "ravelin:num-messages-dropped")]
    NumMessagesDropped,
}

impl Metric {
    /// All of them, with their names.
    pub const ALL: [(Metric, &'static str); 13] = [
        (Metric::MessageByteSize, "aws:message-byte-size"),
        (Metric::NumMessagesSent, "aws:num-messages-sent"),
        (Metric::NumMessagesReceived, "aws:num-messages-received"),
        (Metric::NumAuthorizationFailures, "aws:num-authorization-failures"),
        (Metric::SourceIpAddress, "aws:source-ip-address"),
        (Metric::NumConnectionAttempts, "aws:num-connection-attempts"),
        (Metric::NumDisconnects, "aws:num-disconnects"),
        (Metric::DisconnectDuration, "aws:disconnect-duration"),
        (Metric::AllBytesOut, "aws:all-bytes-out"),
        (Metric::AllPacketsOut, "aws:all-packets-out"),
        (Metric::NumMessagesUndelivered, "ravelin:num-messages-undelivered"),
        (Metric::NumMessagesRetained, "ravelin:num-messages-retained"),
        (Metric::NumMessagesDropped, "ravelin:num-messages-dropped"),
    ];

    /// Whether each event is a datapoint; otherwise what came within `duration_seconds` is one.
    pub fn is_immediate(self) -> bool {
        matches!(self, Metric::MessageByteSize | Metric::SourceIpAddress)
    }

    /// The unit.
    pub fn unit(self) -> &'static str {
        match self {
            Metric::MessageByteSize | Metric::AllBytesOut => "bytes",
            Metric::SourceIpAddress => "address",
            Metric::DisconnectDuration => "s",
            Metric::NumAuthorizationFailures => "failures",
            Metric::NumConnectionAttempts => "attempts",
            Metric::NumDisconnects => "disconnects",
            Metric::AllPacketsOut => "packets",
            _ => "messages",
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Metric::ALL.iter().find(|(metric, _)| metric == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

/// What is expected of a metric. One of `value` with `comparison_operator`, `statistical_threshold` with it, or
/// `ml_detection_config`.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Criteria {
    /// How the metric compares when all is well.
    #[serde(alias = "comparisonOperator")]
    pub comparison_operator: Option<ComparisonOperator>,
    /// With what it is compared.
    pub value: Option<MetricValue>,
    /// Seconds of one datapoint, 300 if none is said; 10 to 86,400.
    #[serde(alias = "durationSeconds")]
    pub duration_seconds: Option<u32>,
    /// Datapoints in a row that must violate it; 1 to 10.
    #[serde(alias = "consecutiveDatapointsToAlarm")]
    pub consecutive_datapoints_to_alarm: Option<u8>,
    /// Datapoints in a row that must not, to clear the alarm; 1 to 10.
    #[serde(alias = "consecutiveDatapointsToClear")]
    pub consecutive_datapoints_to_clear: Option<u8>,
    /// Instead of a value: a percentile of what all clients of the behaviour's classes do.
    #[serde(alias = "statisticalThreshold")]
    pub statistical_threshold: Option<StatisticalThreshold>,
    /// Instead of both: what is learned of each client.
    #[serde(alias = "mlDetectionConfig")]
    pub ml_detection_config: Option<MlDetectionConfig>,
}

/// How a metric compares when all is well. An alarm is raised when it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ComparisonOperator {
    /// `<`
    LessThan,
    /// `<=`
    LessThanEquals,
    /// `>`
    GreaterThan,
    /// `>=`
    GreaterThanEquals,
    /// The address is in one of the networks.
    InCidrSet,
    /// The address is in none.
    NotInCidrSet,
}

impl ComparisonOperator {
    /// Whether `metric` compares so with `value`.
    pub fn holds(self, metric: f64, value: f64) -> bool {
        match self {
            ComparisonOperator::LessThan => metric < value,
            ComparisonOperator::LessThanEquals => metric <= value,
            ComparisonOperator::GreaterThan => metric > value,
            ComparisonOperator::GreaterThanEquals => metric >= value,
            ComparisonOperator::InCidrSet | ComparisonOperator::NotInCidrSet => true,
        }
    }
}

/// With what a metric is compared.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetricValue {
    /// A count.
    pub count: Option<u64>,
    /// A number.
    pub number: Option<f64>,
    /// Networks.
    pub cidrs: Vec<Cidr>,
}

/// A percentile of what all clients do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatisticalThreshold {
    /// `p0.1` to `p99.99`.
    pub statistic: Percentile,
}

/// A percentile: `p99.9`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percentile(pub f64);

impl FromStr for Percentile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let percent = text.strip_prefix('p').and_then(|number| number.parse::<f64>().ok());
        let percent = percent.filter(|percent| (0.1..=99.99).contains(percent));
        percent.map(Percentile).ok_or_else(|| format!("`{text}` is no percentile from p0.1 to p99.99"))
    }
}

impl Serialize for Percentile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("p{}", self.0))
    }
}

impl<'de> Deserialize<'de> for Percentile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// What is learned of each client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MlDetectionConfig {
    /// How sure an alarm must be: with `HIGH` there are fewer.
    #[serde(alias = "confidenceLevel")]
    pub confidence_level: ConfidenceLevel,
}

/// How sure an alarm must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ConfidenceLevel {
    /// 6 mean deviations.
    Low,
    /// 9 mean deviations.
    Medium,
    /// 12 mean deviations.
    High,
}

impl ConfidenceLevel {
    /// Mean deviations from the mean.
    pub fn deviations(self) -> f32 {
        match self {
            ConfidenceLevel::Low => 6.0,
            ConfidenceLevel::Medium => 9.0,
            ConfidenceLevel::High => 12.0,
        }
    }
}

/// A network: `192.0.2.0/24`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

impl Cidr {
    /// Whether `address` is in it; an IPv4 address that is written as IPv6 is one of IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            _ => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, bits) =
            text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let wrong = || format!("`{text}` is no network such as 192.0.2.0/24");
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), |bits| bits.parse().map_err(|_| wrong()))?;
        if bits > most { Err(wrong()) } else { Ok(Cidr { address, bits }) }
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}/{}", self.address, self.bits))
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Behaviour {
    /// Seconds of one datapoint.
    pub fn duration_s(&self) -> u32 {
        self.criteria.duration_seconds.unwrap_or(300)
    }

    /// Datapoints in a row that raise the alarm.
    pub fn to_alarm(&self) -> u8 {
        self.criteria.consecutive_datapoints_to_alarm.unwrap_or(1)
    }

    /// Datapoints in a row that clear it.
    pub fn to_clear(&self) -> u8 {
        self.criteria.consecutive_datapoints_to_clear.unwrap_or(1)
    }

    /// Whether it is for a client of `class`.
    pub fn is_for(&self, class: Option<&Arc<str>>) -> bool {
        self.classes.is_empty() || class.is_some_and(|class| self.classes.contains(class))
    }

    /// Whether its parts make sense together.
    ///
    /// # Errors
    /// What does not, and what to write instead.
    pub fn check(&self) -> Result<(), String> {
        use ComparisonOperator as Operator;
        let criteria = &self.criteria;
        let ranges = [
            ("duration_seconds", self.duration_s(), 10, 86_400),
            ("consecutive_datapoints_to_alarm", self.to_alarm().into(), 1, 10),
            ("consecutive_datapoints_to_clear", self.to_clear().into(), 1, 10),
        ];
        for (name, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return Err(format!("{name} is {value}; it may be {least} to {most}"));
            }
        }
        if self.name.is_empty() || self.name.len() > 128 {
            return Err("name must have 1 to 128 bytes".into());
        }
        let networks =
            matches!(criteria.comparison_operator, Some(Operator::InCidrSet | Operator::NotInCidrSet));
        if networks != (self.metric == Metric::SourceIpAddress) {
            return Err(format!(
                "{} compares with in-cidr-set or not-in-cidr-set, and nothing else does",
                Metric::SourceIpAddress
            ));
        }
        let value = criteria.value.as_ref();
        if networks {
            let any = value.is_some_and(|value| !value.cidrs.is_empty());
            return if any { Ok(()) } else { Err("value.cidrs must name a network".into()) };
        }
        let number = value.is_some_and(|value| value.count.is_some() != value.number.is_some());
        let (statistical, ml) =
            (criteria.statistical_threshold.is_some(), criteria.ml_detection_config.is_some());
        if u8::from(number) + u8::from(statistical) + u8::from(ml) != 1 {
            return Err(
                "give one of value.count, value.number, statistical_threshold and ml_detection_config".into(),
            );
        }
        if ml == criteria.comparison_operator.is_some() {
            return Err(
                "comparison_operator goes with value and statistical_threshold, not with ml_detection_config"
                    .into(),
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Behaviour {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_users_of_aws_have_is_read_as_it_is() {
        let behaviour = read(
            r#"{"name":"MessagesSent","metric":"aws:num-messages-sent","suppressAlerts":true,"criteria":{
            "comparisonOperator":"less-than-equals","value":{"count":500},"durationSeconds":300,
            "consecutiveDatapointsToAlarm":2,"consecutiveDatapointsToClear":3}}"#,
        );
        assert_eq!(behaviour.check(), Ok(()));
        assert_eq!((behaviour.to_alarm(), behaviour.to_clear(), behaviour.suppress_alerts), (2, 3, true));
        let percentile = read(
            r#"{"name":"x","metric":"aws:message-byte-size","criteria":{"comparisonOperator":"less-than",
            "statisticalThreshold":{"statistic":"p99.9"}}}"#,
        );
        assert_eq!(percentile.check(), Ok(()));
        let ml = r#"{"name":"x","metric":"aws:num-disconnects","criteria":{"mlDetectionConfig":{"confidenceLevel":"HIGH"}}}"#;
        assert_eq!(read(ml).check(), Ok(()));
        let again: Behaviour = serde_json::from_str(&serde_json::to_string(&read(ml)).unwrap()).unwrap();
        assert_eq!(again, read(ml));
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (metric, criteria) in [
            (
                "aws:num-messages-sent",
                r#"{"comparisonOperator":"in-cidr-set","value":{"cidrs":["10.0.0.0/8"]}}"#,
            ),
            ("aws:source-ip-address", r#"{"comparisonOperator":"in-cidr-set"}"#),
            ("aws:num-messages-sent", r#"{"comparisonOperator":"less-than"}"#),
            ("aws:num-messages-sent", r#"{"value":{"count":3}}"#),
            (
                "aws:num-messages-sent",
                r#"{"comparisonOperator":"less-than","value":{"count":3},"durationSeconds":1}"#,
            ),
        ] {
            let json = format!(r#"{{"name":"x","metric":"{metric}","criteria":{criteria}}}"#);
            assert!(read(&json).check().is_err(), "{json}");
        }
        assert!("p0".parse::<Percentile>().is_err() && "99".parse::<Percentile>().is_err());
    }

    #[test]
    fn networks_contain_addresses() {
        let contains = |network: &str, address: &str| {
            network.parse::<Cidr>().unwrap().contains(address.parse().unwrap())
        };
        assert!(contains("10.0.0.0/8", "10.9.8.7") && !contains("10.0.0.0/8", "11.0.0.1"));
        assert!(contains("0.0.0.0/0", "1.2.3.4") && contains("10.0.0.1", "::ffff:10.0.0.1"));
        assert!(contains("2001:db8::/32", "2001:db8:1::1") && !contains("2001:db8::/32", "10.0.0.1"));
        for wrong in ["10.0.0.0/33", "x", "10.0.0.0/", "::/129"] {
            assert!(wrong.parse::<Cidr>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_metric_has_its_name() {
        for (metric, name) in Metric::ALL {
            assert_eq!(metric.to_string(), name);
            assert_eq!(serde_json::to_string(&metric).unwrap(), format!("\"{name}\""));
        }
    }
}
