//! `-D COMMAND PROPERTY VALUE`: the properties of MQTT 5.0 that a user adds to a packet, named as `mosquitto_pub` names them.

use super::Error;
use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches};
use ravelin_mqtt::{PropertiesBuilder, check_text, check_topic};

/// The arguments of every `-D`, as typed. Clap's derive cannot group the values of one occurrence, so this is by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PropertyArgs {
    occurrences: Vec<Vec<String>>,
}

/// User properties, in order.
pub type UserProperties = Vec<(String, String)>;

/// The properties that were asked for, by the packet they belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PacketProperties {
    /// Of CONNECT.
    pub connect: ConnectProperties,
    /// Of PUBLISH.
    pub publish: MessageProperties,
    /// Of the will in CONNECT.
    pub will: MessageProperties,
    /// Of SUBSCRIBE: the Subscription Identifier.
    pub subscription_id: Option<u32>,
    /// Of SUBSCRIBE: User Properties.
    pub subscribe_user: UserProperties,
    /// Of UNSUBSCRIBE: User Properties.
    pub unsubscribe_user: UserProperties,
    /// Of DISCONNECT: Session Expiry Interval in seconds.
    pub disconnect_expiry_s: Option<u32>,
    /// Of DISCONNECT: User Properties.
    pub disconnect_user: UserProperties,
}

/// Properties of CONNECT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectProperties {
    /// Session Expiry Interval in seconds.
    pub session_expiry_s: Option<u32>,
    /// Receive Maximum.
    pub receive_max: Option<u16>,
    /// Maximum Packet Size.
    pub packet_bytes_max: Option<u32>,
    /// Topic Alias Maximum.
    pub topic_alias_max: Option<u16>,
    /// Request Response Information.
    pub request_response_info: Option<bool>,
    /// Request Problem Information.
    pub request_problem_info: Option<bool>,
    /// Authentication Method.
    pub auth_method: Option<String>,
    /// Authentication Data.
    pub auth_data: Option<Vec<u8>>,
    /// User Properties.
    pub user: UserProperties,
}

/// Properties of a PUBLISH or of a will.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageProperties {
    /// Payload Format Indicator is 1.
    pub payload_is_text: bool,
    /// Message Expiry Interval in seconds.
    pub expiry_s: Option<u32>,
    /// Content Type.
    pub content_type: Option<String>,
    /// Response Topic.
    pub response_topic: Option<String>,
    /// Correlation Data.
    pub correlation_data: Option<Vec<u8>>,
    /// Topic Alias, of a PUBLISH.
    pub topic_alias: Option<u16>,
    /// Will Delay Interval in seconds, of a will.
    pub delay_s: Option<u32>,
    /// User Properties.
    pub user: UserProperties,
}

impl MessageProperties {
    /// What travels with the message, as a builder of the codec.
    pub fn builder(&self) -> PropertiesBuilder {
        let mut builder = user_builder(&self.user);
        if self.payload_is_text {
            builder = builder.payload_is_text();
        }
        if let Some(text) = &self.content_type {
            builder = builder.content_type(text);
        }
        if let Some(topic) = &self.response_topic {
            builder = builder.response_topic(topic);
        }
        if let Some(data) = &self.correlation_data {
            builder = builder.correlation_data(data);
        }
        builder
    }
}

/// User properties as a builder of the codec.
pub fn user_builder(user: &UserProperties) -> PropertiesBuilder {
    user.iter().fold(PropertiesBuilder::new(), |builder, (key, value)| builder.user_property(key, value))
}

impl PropertyArgs {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.occurrences.is_empty()
    }

    /// Parses what was typed.
    pub fn parse(&self) -> Result<PacketProperties, Error> {
        let mut properties = PacketProperties::default();
        for words in &self.occurrences {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            properties.add(&words).map_err(|why| Error::Usage(format!("-D {}: {why}", words.join(" "))))?;
        }
        Ok(properties)
    }
}

impl PacketProperties {
    fn add(&mut self, words: &[&str]) -> Result<(), String> {
        let (command, name, values) = match words {
            [command, name, values @ ..] if !values.is_empty() => (*command, *name, values),
            _ => return Err("expected COMMAND PROPERTY VALUE".into()),
        };
        if name == "user-property" {
            let [key, value] = values else { return Err("a user-property has a name and a value".into()) };
            self.user(command)?.push((text(key)?, text(value)?));
            return Ok(());
        }
        let [value] = values else { return Err("only a user-property has two values".into()) };
        match command {
            "connect" => self.connect.add(name, value),
            "publish" => self.publish.add(name, value, false),
            "will" => self.will.add(name, value, true),
            "subscribe" if name == "subscription-identifier" => {
                self.subscription_id = Some(number(value, 1, 268_435_455)?);
                Ok(())
            }
            "disconnect" if name == "session-expiry-interval" => {
                self.disconnect_expiry_s = Some(number(value, 0, u32::MAX.into())?);
                Ok(())
            }
            "subscribe" | "unsubscribe" | "disconnect" => Err(unknown(command)),
            _ => {
                Err("the command is none of connect, publish, subscribe, unsubscribe, disconnect, will"
                    .into())
            }
        }
    }

    fn user(&mut self, command: &str) -> Result<&mut UserProperties, String> {
        Ok(match command {
            "connect" => &mut self.connect.user,
            "publish" => &mut self.publish.user,
            "will" => &mut self.will.user,
            "subscribe" => &mut self.subscribe_user,
            "unsubscribe" => &mut self.unsubscribe_user,
            "disconnect" => &mut self.disconnect_user,
            _ => {
                return Err(
                    "the command is none of connect, publish, subscribe, unsubscribe, disconnect, will"
                        .into(),
                );
            }
        })
    }
}

impl ConnectProperties {
    fn add(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "session-expiry-interval" => self.session_expiry_s = Some(number(value, 0, u32::MAX.into())?),
            "receive-maximum" => self.receive_max = Some(number(value, 1, u16::MAX.into())?),
            "maximum-packet-size" => self.packet_bytes_max = Some(number(value, 1, u32::MAX.into())?),
            "topic-alias-maximum" => self.topic_alias_max = Some(number(value, 0, u16::MAX.into())?),
            "request-response-information" => {
                self.request_response_info = Some(number::<u8>(value, 0, 1)? == 1);
            }
            "request-problem-information" => {
                self.request_problem_info = Some(number::<u8>(value, 0, 1)? == 1)
            }
            "authentication-method" => self.auth_method = Some(text(value)?),
            "authentication-data" => self.auth_data = Some(data(value)?),
            _ => return Err(unknown("connect")),
        }
        Ok(())
    }
}

impl MessageProperties {
    fn add(&mut self, name: &str, value: &str, will: bool) -> Result<(), String> {
        match name {
            "payload-format-indicator" => self.payload_is_text = number::<u8>(value, 0, 1)? == 1,
            "message-expiry-interval" => self.expiry_s = Some(number(value, 0, u32::MAX.into())?),
            "content-type" => self.content_type = Some(text(value)?),
            "response-topic" => {
                check_topic(value, u16::MAX).map_err(|why| why.to_string())?;
                self.response_topic = Some(text(value)?);
            }
            "correlation-data" => self.correlation_data = Some(data(value)?),
            "topic-alias" if !will => self.topic_alias = Some(number(value, 1, u16::MAX.into())?),
            "will-delay-interval" if will => self.delay_s = Some(number(value, 0, u32::MAX.into())?),
            _ => return Err(unknown(if will { "will" } else { "publish" })),
        }
        Ok(())
    }
}

fn unknown(command: &str) -> String {
    let known = match command {
        "connect" => {
            "authentication-data, authentication-method, maximum-packet-size, receive-maximum, \
             request-problem-information, request-response-information, session-expiry-interval, topic-alias-maximum, \
             user-property"
        }
        "publish" => {
            "content-type, correlation-data, message-expiry-interval, payload-format-indicator, response-topic, \
             topic-alias, user-property"
        }
        "will" => {
            "content-type, correlation-data, message-expiry-interval, payload-format-indicator, response-topic, \
             user-property, will-delay-interval"
        }
        "subscribe" => "subscription-identifier, user-property",
        "disconnect" => "session-expiry-interval, user-property",
        _ => "user-property",
    };
    format!("the properties of {command} are {known}")
}

fn number<T: TryFrom<u64>>(value: &str, least: u64, most: u64) -> Result<T, String> {
    let wrong = || format!("expected a number from {least} to {most}");
    let number =
        value.parse::<u64>().ok().filter(|number| (least..=most).contains(number)).ok_or_else(wrong)?;
    T::try_from(number).map_err(|_| wrong())
}

fn text(value: &str) -> Result<String, String> {
    if value.len() > usize::from(u16::MAX) {
        return Err("the value is longer than 65,535 bytes".into());
    }
    check_text(value.as_bytes()).map(str::to_owned).map_err(|why| why.to_string())
}

fn data(value: &str) -> Result<Vec<u8>, String> {
    if value.len() > usize::from(u16::MAX) {
        return Err("the value is longer than 65,535 bytes".into());
    }
    Ok(value.as_bytes().to_vec())
}

impl clap::Args for PropertyArgs {
    fn augment_args(command: Command) -> Command {
        command.arg(
            Arg::new("property")
                .short('D')
                .long("property")
                .num_args(2..=4)
                .action(ArgAction::Append)
                .value_names(["COMMAND", "PROPERTY", "VALUE"])
                .help_heading("MQTT 5.0")
                .help("Add a property to a packet, for example: -D publish content-type text/plain")
                .long_help(
                    "Add a property of MQTT 5.0 to a packet, for example:\n  \
                     -D publish content-type text/plain\n  \
                     -D publish user-property NAME VALUE\n\
                     COMMAND is one of connect, publish, subscribe, unsubscribe, disconnect, will. Properties have the names \
                     of the specification with hyphens, as in mosquitto_pub. May be repeated",
                ),
        )
    }

    fn augment_args_for_update(command: Command) -> Command {
        PropertyArgs::augment_args(command)
    }
}

impl FromArgMatches for PropertyArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<PropertyArgs, clap::Error> {
        let occurrences = matches
            .get_occurrences::<String>("property")
            .map(|all| all.map(|words| words.cloned().collect()).collect())
            .unwrap_or_default();
        Ok(PropertyArgs { occurrences })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = PropertyArgs::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Args as _;

    fn parse(line: &str) -> Result<PacketProperties, Error> {
        let command = PropertyArgs::augment_args(Command::new("test"));
        let matches = command.try_get_matches_from(std::iter::once("test").chain(line.split(' '))).unwrap();
        PropertyArgs::from_arg_matches(&matches).unwrap().parse()
    }

    #[test]
    fn occurrences_stay_apart() {
        let properties = parse(
            "-D publish content-type text/plain -D publish user-property k v -D publish user-property k w -D connect \
             receive-maximum 7 -D will will-delay-interval 3 -D subscribe subscription-identifier 9 -D disconnect \
             session-expiry-interval 0",
        )
        .unwrap();
        assert_eq!(properties.publish.content_type.as_deref(), Some("text/plain"));
        assert_eq!(properties.publish.user, [("k".into(), "v".into()), ("k".into(), "w".into())]);
        assert_eq!(properties.connect.receive_max, Some(7));
        assert_eq!(properties.will.delay_s, Some(3));
        assert_eq!(properties.subscription_id, Some(9));
        assert_eq!(properties.disconnect_expiry_s, Some(0));
    }

    #[test]
    fn what_does_not_exist_is_refused_with_what_does() {
        for (line, part) in [
            ("-D publish will-delay-interval 3", "the properties of publish are content-type"),
            ("-D will topic-alias 1", "the properties of will are"),
            ("-D unsubscribe content-type x", "the properties of unsubscribe are user-property"),
            ("-D ping user-property a b", "the command is none of"),
            ("-D connect receive-maximum 0", "from 1 to 65535"),
            ("-D connect receive-maximum 65536", "from 1 to 65535"),
            ("-D publish payload-format-indicator 2", "from 0 to 1"),
            ("-D publish response-topic a/#", "wildcard"),
            ("-D publish user-property a", "a name and a value"),
            ("-D publish content-type a b", "only a user-property"),
            ("-D publish content-type", "expected COMMAND PROPERTY VALUE"),
        ] {
            let Err(Error::Usage(why)) = parse(line) else { panic!("{line} was accepted") };
            assert!(why.contains(part), "{line}: {why}");
        }
    }
}
