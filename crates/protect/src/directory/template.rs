//! The topic of a rule: levels, wildcards, and variables that stand for what is known of the client.
//!
//! A variable fills a whole level. A value with `+`, `#` or `/`, or an empty one, never makes an allowance (CVE-2017-7650);
//! a denial holds for it whatever the topic has in that level.

use super::DirectoryError;
use super::limits::{LEVELS_MAX, TOPIC_BYTES_MAX};
use ravelin_event::{CertificateAttributes, Principal};

/// What a level of a rule stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Variable {
    ClientId,
    Identity,
    /// The name of any one group of the identity.
    Group,
    CommonName,
    Organization,
    OrganizationalUnit,
    Country,
    Serial,
    Dns,
    Uri,
    Email,
}

/// Every variable and how it is written.
pub(super) const VARIABLES: &[(&str, Variable)] = &[
    ("%c", Variable::ClientId),
    ("%u", Variable::Identity),
    ("%g", Variable::Group),
    ("%{cert.cn}", Variable::CommonName),
    ("%{cert.o}", Variable::Organization),
    ("%{cert.ou}", Variable::OrganizationalUnit),
    ("%{cert.c}", Variable::Country),
    ("%{cert.serial}", Variable::Serial),
    ("%{cert.dns}", Variable::Dns),
    ("%{cert.uri}", Variable::Uri),
    ("%{cert.email}", Variable::Email),
];

/// A level of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Name(Box<str>),
    Plus,
    /// The last one: this level and all below.
    Hash,
    Variable(Variable),
}

/// The topic of a rule, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    pub levels: Vec<Level>,
    /// The filter without `$share/group/`.
    pub filter: Box<str>,
    /// The group of `$share/group/`, where the topic begins with that.
    pub share: Option<Box<str>>,
}

/// Whether a variable may be what a level of a topic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// It is not.
    No,
    /// It is.
    Yes,
    /// It cannot be said: only a denial holds.
    Unsafe,
}

impl Template {
    /// Reads the topic of a rule. `variables`: whether there can be some.
    pub fn parse(topic: &str, variables: bool) -> Result<Template, DirectoryError> {
        let bad = |what: String| Err(DirectoryError::BadTopic(what));
        if topic.len() > TOPIC_BYTES_MAX {
            return bad(format!("it is longer than {TOPIC_BYTES_MAX} bytes"));
        }
        if topic.chars().any(char::is_control) {
            return bad("there is a control character in it".into());
        }
        let shared = match ravelin_mqtt::check_filter(topic, LEVELS_MAX) {
            Ok(shared) => shared,
            Err(error) => return bad(error.to_string()),
        };
        let (filter, share) = match &shared {
            Some(shared) => (shared.filter, Some(shared.group.into())),
            None => (topic, None),
        };
        let mut levels = Vec::new();
        let mut group_seen = Vec::new();
        for level in filter.split('/') {
            let level = match level {
                "+" => Level::Plus,
                "#" => Level::Hash,
                name if !variables => Level::Name(name.into()),
                name => read_level(name)?,
            };
            if let Level::Variable(variable) = level
                && variable.has_many()
            {
                // The same one twice would have to be the same value twice.
                if group_seen.contains(&variable) {
                    return bad("a variable that can have several values stands twice in it".into());
                }
                group_seen.push(variable);
            }
            levels.push(level);
        }
        Ok(Template { levels, filter: filter.into(), share })
    }
}

fn read_level(level: &str) -> Result<Level, DirectoryError> {
    if let Some((_, variable)) = VARIABLES.iter().find(|(text, _)| *text == level) {
        return Ok(Level::Variable(*variable));
    }
    if level.contains("%{") {
        return Err(DirectoryError::BadTopic(format!(
            "{level:?} is not a variable; they are {}",
            VARIABLES.iter().map(|(text, _)| *text).collect::<Vec<_>>().join(" ")
        )));
    }
    if ["%c", "%u", "%g"].iter().any(|variable| level.contains(variable)) {
        return Err(DirectoryError::BadTopic(format!(
            "a variable fills a whole level, {level:?} has more in it"
        )));
    }
    Ok(Level::Name(level.into()))
}

/// Who a rule is asked about.
pub(super) struct Subject<'a> {
    pub who: &'a Principal,
    /// The names of the identity's groups.
    pub groups: GroupNames<'a>,
}

/// The names of the groups that an identity is in, without a list of them.
#[derive(Clone, Copy)]
pub(super) struct GroupNames<'a> {
    pub slots: &'a super::table::Slots<super::GroupEntry>,
    pub numbers: &'a [u32],
    /// The names of those that a token gives; they need not exist.
    pub granted: &'a [std::sync::Arc<str>],
}

impl<'a> GroupNames<'a> {
    fn iter(self) -> impl Iterator<Item = &'a str> {
        let listed = self.numbers.iter().filter_map(move |slot| Some(&*self.slots.at(*slot)?.group.name));
        listed.chain(self.granted.iter().filter_map(move |name| Some(&*self.slots.get(name)?.group.name)))
    }
}

impl Variable {
    /// Whether there can be several values.
    fn has_many(self) -> bool {
        matches!(self, Variable::Group | Variable::Dns | Variable::Uri | Variable::Email)
    }

    /// Whether this may be `level` for `subject`.
    pub fn fit(self, level: &str, subject: &Subject<'_>) -> Fit {
        match self {
            Variable::ClientId => one(Some(&subject.who.client_id), level),
            // As in Mosquitto: a rule with %u is not for anonymous clients.
            Variable::Identity => one(subject.who.identity.as_deref(), level),
            Variable::Group => any(subject.groups.iter(), level),
            _ => match &subject.who.attributes {
                Some(attributes) => self.fit_certificate(level, attributes),
                // Without a certificate the rule is not about this client. But of a session that was restored from
                // disk it is not known what its certificate said: what would be denied by that stays denied.
                None if subject.who.certificate.is_some() || subject.who.address.is_none() => Fit::Unsafe,
                None => Fit::No,
            },
        }
    }

    fn fit_certificate(self, level: &str, attributes: &CertificateAttributes) -> Fit {
        match self {
            Variable::CommonName => one(attributes.common_name.as_deref(), level),
            Variable::Organization => one(attributes.organization.as_deref(), level),
            Variable::OrganizationalUnit => one(attributes.organizational_unit.as_deref(), level),
            Variable::Country => one(attributes.country.as_deref(), level),
            Variable::Serial => one(Some(&attributes.serial), level),
            Variable::Dns => any(attributes.dns.iter().map(String::as_str), level),
            Variable::Uri => any(attributes.uri.iter().map(String::as_str), level),
            Variable::Email => any(attributes.email.iter().map(String::as_str), level),
            Variable::ClientId | Variable::Identity | Variable::Group => Fit::No,
        }
    }

    /// How it is written.
    pub fn text(self) -> &'static str {
        VARIABLES.iter().find(|(_, variable)| *variable == self).map_or("%?", |(text, _)| text)
    }
}

fn one(value: Option<&str>, level: &str) -> Fit {
    match value {
        None => Fit::No,
        Some(value) if is_unsafe(value) => Fit::Unsafe,
        Some(value) if value == level => Fit::Yes,
        Some(_) => Fit::No,
    }
}

fn any<'a>(values: impl Iterator<Item = &'a str>, level: &str) -> Fit {
    let mut fit = Fit::No;
    for value in values {
        match one(Some(value), level) {
            Fit::Yes => return Fit::Yes,
            Fit::Unsafe => fit = Fit::Unsafe,
            Fit::No => {}
        }
    }
    fit
}

/// A value that could change the meaning of a rule.
pub(super) fn is_unsafe(value: &str) -> bool {
    value.is_empty() || value.bytes().any(|byte| matches!(byte, b'+' | b'#' | b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_fill_a_whole_level() {
        for topic in ["%c", "a/%u/b", "%g/#", "%{cert.ou}/+", "a/%{cert.dns}/%{cert.email}", "100%/x", "%/x"]
        {
            assert!(Template::parse(topic, true).is_ok(), "{topic}");
        }
        for topic in
            ["a%c", "%u-x/y", "%{cert.ou}x", "%{cert.nothing}", "%{", "%g/%g", "a/%{cert.dns}/%{cert.dns}"]
        {
            assert!(matches!(Template::parse(topic, true), Err(DirectoryError::BadTopic(_))), "{topic}");
        }
        assert!(Template::parse("a%c", false).is_ok(), "a literal filter has no variables");
    }

    #[test]
    fn what_is_no_filter_is_no_rule() {
        for topic in ["", "a#", "a/#/b", "a+/b", "a\0b", "a\nb", "$share//a", "$share/g"] {
            assert!(Template::parse(topic, true).is_err(), "{topic:?}");
        }
        assert!(Template::parse(&"a/".repeat(3_000), true).is_err());
        let shared = Template::parse("$share/workers/jobs/+", false).unwrap();
        assert_eq!(
            (shared.share.as_deref(), &*shared.filter, shared.levels.len()),
            (Some("workers"), "jobs/+", 2)
        );
    }
}
