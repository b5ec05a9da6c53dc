//! The directory: how questions are answered, in which order, and that its records are all of it.

use proptest::prelude::*;
use ravelin_event::{CertificateAttributes, Principal};
use ravelin_protect::directory::*;
use ravelin_protect::{AccessRules, Rights, SecondFactor};
use std::sync::Arc;

fn who(client_id: &str, identity: Option<&str>) -> Principal {
    let mut who = Principal::anonymous(client_id);
    who.identity = identity.map(Arc::from);
    who.address = Some("192.0.2.1:1000".parse().unwrap());
    who
}

fn publish(topic: &str) -> Action<'_> {
    Action::Publish { topic, qos: 0, retain: false }
}

fn receive(topic: &str) -> Action<'_> {
    Action::Receive { topic }
}

fn subscribe(filter: &str) -> Action<'_> {
    Action::Subscribe { filter, group: None, qos: 0 }
}

fn rule(rule_type: RuleType, topic: &str, priority: i32, allow: bool) -> Rule {
    Rule { priority, ..Rule::new(rule_type, topic, allow) }
}

fn role(name: &str, rules: Vec<Rule>) -> Role {
    Role { rules, ..Role::new(name) }
}

fn identity(name: &str, roles: &[(&str, i32)], groups: &[(&str, i32)]) -> Identity {
    let list = |names: &[(&str, i32)]| {
        names
            .iter()
            .map(|(name, priority)| Membership { name: (*name).into(), priority: *priority })
            .collect()
    };
    Identity { roles: list(roles), groups: list(groups), ..Identity::new(name) }
}

fn directory(build: impl FnOnce(&mut Edit) -> Result<(), DirectoryError>) -> Directory {
    let mut edit = Directory::new(DirectoryLimits::default()).edit();
    build(&mut edit).unwrap();
    edit.finish().unwrap().0
}

#[track_caller]
fn ask(directory: &Directory, who: &Principal, action: Action<'_>) -> bool {
    let verdict = directory.decide(who, action);
    let reasoning = directory.explain(who, action);
    assert_eq!(
        (verdict.allowed, verdict.explicit),
        (reasoning.allowed, reasoning.explicit),
        "{:?}",
        reasoning.steps
    );
    verdict.allowed
}

use RuleType::*;

#[test]
fn roles_of_the_client_come_before_those_of_its_groups_and_higher_priorities_before_lower_ones() {
    let directory = directory(|edit| {
        for (name, topic, allow) in [
            ("own", "a", true),
            ("own-low", "b", true),
            ("own-high", "b", false),
            ("by-group", "a", false),
            ("by-group-2", "c", false),
            ("first", "c", true),
        ] {
            edit.create_role(role(name, vec![rule(PublishClientSend, topic, 0, allow)]))?;
        }
        edit.create_group(Group {
            roles: vec![Membership::new("by-group"), Membership::new("by-group-2")],
            ..Group::new("g")
        })?;
        edit.create_group(Group { roles: vec![Membership::new("first")], ..Group::new("z") })?;
        edit.create_identity(identity(
            "u",
            &[("own", 1), ("own-low", 1), ("own-high", 2)],
            &[("g", 1), ("z", 2)],
        ))
    });
    let u = who("c", Some("u"));
    assert!(ask(&directory, &u, publish("a")), "its own role before the group's denial");
    assert!(!ask(&directory, &u, publish("b")), "the role with the higher priority");
    assert!(ask(&directory, &u, publish("c")), "the group with the higher priority");
    assert!(!ask(&directory, &u, publish("d")), "nothing says so");
    assert!(!ask(&directory, &who("c", Some("stranger")), publish("a")));
}

#[test]
fn within_a_role_priority_counts_and_a_denial_at_the_same_priority() {
    let directory = directory(|edit| {
        edit.create_role(role(
            "r",
            vec![
                rule(PublishClientSend, "a/#", 0, true),
                rule(PublishClientSend, "a/+/x", 5, false),
                rule(PublishClientSend, "a/ok/x", 9, true),
                rule(PublishClientSend, "a/tie", 0, false),
                rule(PublishClientSend, "b/#", -1, false),
                rule(PublishClientSend, "b/low", -2, true),
            ],
        ))?;
        edit.create_identity(identity("u", &[("r", 0)], &[]))
    });
    let u = who("c", Some("u"));
    for (topic, allowed) in
        [("a", true), ("a/1", true), ("a/1/x", false), ("a/ok/x", true), ("a/tie", false), ("b/low", false)]
    {
        assert_eq!(ask(&directory, &u, publish(topic)), allowed, "{topic}");
    }
}

#[test]
fn who_may_subscribe_receives_and_a_broad_filter_defeats_no_denial() {
    let directory = directory(|edit| {
        edit.create_role(role(
            "r",
            vec![
                rule(SubscribePattern, "plant/#", 0, true),
                rule(SubscribePattern, "plant/secret/#", 1, false),
                rule(SubscribeLiteral, "logs/+", 0, true),
                rule(PublishClientReceive, "plant/noise", 0, false),
            ],
        ))?;
        edit.create_identity(identity("u", &[("r", 0)], &[]))
    });
    let u = who("c", Some("u"));
    assert!(ask(&directory, &u, subscribe("plant/#")));
    assert!(ask(&directory, &u, receive("plant/1")));
    assert!(!ask(&directory, &u, receive("plant/secret/1")), "through `plant/#`");
    assert!(!ask(&directory, &u, receive("plant/noise")));
    assert!(ask(&directory, &u, subscribe("logs/+")));
    assert!(!ask(&directory, &u, subscribe("logs/a")), "literally another filter");
    assert!(ask(&directory, &u, receive("logs/a")));
    assert!(!ask(&directory, &u, subscribe("#")));
    assert!(!ask(&directory, &u, receive("other")));
}

/// CVE-2017-7650 and its kin: a name that is a wildcard, or several levels.
#[test]
fn a_name_with_a_wildcard_or_a_slash_allows_nothing_and_is_denied_all_the_same() {
    let directory = directory(|edit| {
        edit.create_role(role(
            "r",
            vec![
                rule(PublishClientSend, "own/%c/#", 0, true),
                rule(PublishClientSend, "user/%u", 0, true),
                rule(PublishClientSend, "all/#", 0, true),
                rule(PublishClientSend, "all/%c/#", 1, false),
            ],
        ))?;
        for name in ["+", "#", "a/b", "u"] {
            edit.create_identity(identity(name, &[("r", 0)], &[]))?;
        }
        Ok(())
    });
    for name in ["+", "#", "a/b", ""] {
        let bad = who(name, Some("u"));
        for topic in ["own/+/x", "own/#/x", "own/a/b", "own/a", "own//x", "own/", "own/x/y"] {
            assert!(!ask(&directory, &bad, publish(topic)), "{name:?} {topic}");
        }
        assert!(!ask(&directory, &bad, publish("all/anything/x")), "{name:?}: the denial holds");
        assert!(ask(&directory, &bad, publish("user/u")), "a rule without the bad name");
        if !name.is_empty() {
            assert!(!ask(&directory, &who("c", Some(name)), publish(&format!("user/{name}"))));
        }
    }
    let good = who("c", Some("u"));
    assert!(ask(&directory, &good, publish("own/c/x")));
    assert!(!ask(&directory, &good, publish("own/d/x")));
    assert!(ask(&directory, &good, publish("all/d")));
    assert!(!ask(&directory, &good, publish("all/c/d")));
}

#[test]
fn a_rule_may_speak_of_groups_and_of_the_certificate() {
    let directory = directory(|edit| {
        edit.create_role(role(
            "r",
            vec![
                rule(PublishClientSend, "group/%g/x", 0, true),
                rule(PublishClientSend, "unit/%{cert.ou}/%{cert.dns}", 0, true),
                rule(PublishClientSend, "open/#", 0, true),
                rule(PublishClientSend, "open/%{cert.ou}/#", 1, false),
            ],
        ))?;
        for group in ["north", "so/uth", "east"] {
            edit.create_group(Group::new(group))?;
        }
        edit.create_identity(identity("u", &[("r", 0)], &[("north", 0), ("so/uth", 0)]))
    });
    let mut u = who("c", Some("u"));
    assert!(ask(&directory, &u, publish("group/north/x")));
    assert!(!ask(&directory, &u, publish("group/east/x")));
    assert!(!ask(&directory, &u, publish("group/so/uth/x")));
    assert!(!ask(&directory, &u, publish("unit/meters/a.example")), "there is no certificate");
    assert!(ask(&directory, &u, publish("open/meters/1")), "the denial is not about clients without one");
    u.certificate = Some("ab".into());
    assert!(!ask(&directory, &u, publish("open/meters/1")), "restored from disk: not known what it said");
    u.attributes = Some(Arc::new(CertificateAttributes {
        organizational_unit: Some("meters".into()),
        dns: vec!["a.example".into(), "b.example".into()],
        ..CertificateAttributes::default()
    }));
    assert!(ask(&directory, &u, publish("unit/meters/b.example")));
    assert!(!ask(&directory, &u, publish("unit/meters/c.example")));
    assert!(!ask(&directory, &u, publish("open/meters/1")));
    assert!(ask(&directory, &u, publish("open/pumps/1")));
}

#[test]
fn qos_retain_and_shared_groups_are_conditions() {
    let directory = directory(|edit| {
        edit.create_role(role(
            "r",
            vec![
                Rule { qos_max: Some(1), retain: Some(false), ..Rule::new(PublishClientSend, "a", true) },
                Rule { retain: Some(true), ..rule(PublishClientSend, "b/#", 1, false) },
                rule(PublishClientSend, "b/#", 0, true),
            ]
            .into_iter()
            .take(2)
            .collect(),
        ))?;
        edit.create_role(role("r2", vec![rule(PublishClientSend, "b/#", 0, true)]))?;
        edit.create_role(role(
            "s",
            vec![
                Rule { shared_group: Some("workers".into()), ..Rule::new(SubscribePattern, "jobs/#", true) },
                rule(SubscribeLiteral, "$share/others/mail", 0, true),
                Rule {
                    shared_group: Some("".into()),
                    qos_max: Some(0),
                    ..Rule::new(SubscribePattern, "alone", true)
                },
            ],
        ))?;
        edit.create_identity(identity("u", &[("r", 3), ("r2", 2), ("s", 1)], &[]))
    });
    let u = who("c", Some("u"));
    let publish = |topic, qos, retain| Action::Publish { topic, qos, retain };
    for (action, allowed) in [
        (publish("a", 1, false), true),
        (publish("a", 2, false), false),
        (publish("a", 1, true), false),
        (publish("b/x", 2, false), true),
        (publish("b/x", 0, true), false),
        (Action::Subscribe { filter: "jobs/1", group: Some("workers"), qos: 2 }, true),
        (Action::Subscribe { filter: "jobs/1", group: Some("thieves"), qos: 2 }, false),
        (Action::Subscribe { filter: "jobs/1", group: None, qos: 2 }, false),
        (Action::Subscribe { filter: "mail", group: Some("others"), qos: 2 }, true),
        (Action::Subscribe { filter: "mail", group: None, qos: 2 }, false),
        (Action::Subscribe { filter: "alone", group: None, qos: 0 }, true),
        (Action::Subscribe { filter: "alone", group: None, qos: 1 }, false),
        (Action::Subscribe { filter: "alone", group: Some("g"), qos: 0 }, false),
        (receive("jobs/1"), true),
    ] {
        assert_eq!(ask(&directory, &u, action), allowed, "{action:?}");
    }
}

#[test]
fn system_topics_are_reached_by_their_name_only_and_control_by_administrators_only() {
    let directory = directory(|edit| {
        let all = ["#", "$SYS/#", "$CONTROL/#", "$CONTROL/dynamic-security/v1"];
        let rules = all.iter().flat_map(|topic| {
            [PublishClientSend, PublishClientReceive, SubscribePattern].map(|kind| rule(kind, topic, 0, true))
        });
        edit.create_role(role("all", rules.collect()))?;
        edit.create_role(role(
            "broad",
            vec![rule(PublishClientReceive, "#", 0, true), rule(PublishClientReceive, "+/x", 0, true)],
        ))?;
        edit.create_group(Group { roles: vec![Membership::new(ADMIN_ROLE)], ..Group::new("admins") })?;
        edit.create_identity(identity("u", &[("all", 0)], &[]))?;
        edit.create_identity(identity("broad", &[("broad", 0)], &[]))?;
        edit.create_identity(identity("admin", &[("admin", 0)], &[]))?;
        edit.create_identity(identity("by-group", &[], &[("admins", 0)]))?;
        edit.create_identity(Identity { disabled: true, ..identity("gone", &[("admin", 0)], &[]) })
    })
    .with_administrators(["configured", "gone"]);
    let control = "$CONTROL/dynamic-security/v1";
    let u = who("c", Some("u"));
    assert!(!ask(&directory, &u, publish("$SYS/broker/x")), "nobody publishes there");
    assert!(ask(&directory, &u, receive("$SYS/broker/x")));
    assert!(!ask(&directory, &u, publish(control)) && !ask(&directory, &u, receive(control)));
    assert!(!ask(&directory, &u, subscribe("$CONTROL/#")));
    let broad = who("c", Some("broad"));
    assert!(ask(&directory, &broad, receive("a/x")));
    assert!(!ask(&directory, &broad, receive("$SYS/x")));
    for admin in ["admin", "by-group", "configured"] {
        let admin = who("c", Some(admin));
        assert!(
            ask(&directory, &admin, publish(control))
                && ask(&directory, &admin, subscribe("$CONTROL/dynamic-security/v1/response"))
        );
        assert!(!ask(&directory, &admin, publish("a")), "an administrator is no user");
        assert!(!ask(&directory, &admin, publish("$CONTROL/other/v1")));
    }
    assert!(!ask(&directory, &who("c", Some("gone")), publish(control)), "disabled");
}

#[test]
fn wildcards_can_be_refused_and_defaults_be_set() {
    let mut edit = Directory::new(DirectoryLimits::default()).edit();
    edit.create_role(Role {
        allow_wildcard_subscriptions: false,
        ..role("r", vec![rule(SubscribePattern, "a/#", 0, true)])
    })
    .unwrap();
    edit.create_identity(identity("u", &[("r", 0)], &[])).unwrap();
    let (directory, _) = edit.finish().unwrap();
    let u = who("c", Some("u"));
    assert!(ask(&directory, &u, subscribe("a/1")) && !ask(&directory, &u, subscribe("a/+")));
    assert!(ask(&directory, &u, Action::Unsubscribe { filter: "x" }));
    let anonymous = who("c", None);
    let mut edit = directory.edit();
    edit.set_defaults(Defaults {
        publish_client_send: true,
        publish_client_receive: true,
        subscribe: true,
        unsubscribe: false,
    });
    let (open, _) = edit.finish().unwrap();
    assert!(ask(&open, &u, publish("x")) && ask(&open, &u, receive("x")) && ask(&open, &u, subscribe("x")));
    assert!(!ask(&open, &u, subscribe("+")) && !ask(&open, &u, Action::Unsubscribe { filter: "x" }));
    assert!(!ask(&open, &u, receive("$SYS/x")) && !ask(&open, &u, publish("$CONTROL/x")));
    assert!(!ask(&open, &anonymous, publish("x")) && !ask(&open, &who("c", Some("stranger")), publish("x")));
    let mut edit = open.edit();
    edit.create_group(Group::new("anyone")).unwrap();
    edit.set_anonymous_group(Some("anyone")).unwrap();
    assert_eq!(edit.delete_group("anyone"), Err(DirectoryError::AnonymousGroup));
    let (open, _) = edit.finish().unwrap();
    assert!(ask(&open, &anonymous, publish("x")));
}

#[test]
fn file_and_directory_go_together() {
    let access =
        AccessRules::parse("user u\ntopic readwrite a/#\ntopic deny a/deny\ntopic write both\n", "test")
            .unwrap();
    let directory = directory(|edit| {
        edit.create_role(role(
            "r",
            vec![
                rule(PublishClientSend, "a/deny", 0, true),
                rule(PublishClientSend, "a/no", 0, false),
                rule(PublishClientSend, "mine", 0, true),
            ],
        ))?;
        edit.create_identity(identity("u", &[("r", 0)], &[]))
    });
    let rights = Rights { access: Arc::new(access), directory, restraints: Default::default() };
    let u = who("c", Some("u"));
    for (topic, allowed) in [
        ("a/deny", false),
        ("a/no", false),
        ("a/yes", true),
        ("mine", true),
        ("both", true),
        ("neither", false),
        ("$SYS/a", false),
    ] {
        let explanation = rights.explain(&u, publish(topic));
        assert_eq!(rights.may(&u, publish(topic)), allowed, "{explanation}");
        assert_eq!(explanation.allowed, allowed, "{explanation}");
        assert_eq!(explanation.steps.iter().filter(|step| step.decides).count(), 1, "{explanation}");
    }
    let text = rights.explain(&u, publish("a/deny")).to_string();
    assert!(text.contains("=> file: line 3: topic deny a/deny: denies"), "{text}");
    let text = rights.explain(&u, publish("mine")).to_string();
    assert!(
        text.contains("=> directory role r: allow publishClientSend mine (priority 0): allows"),
        "{text}"
    );
}

#[test]
fn a_change_leaves_the_old_snapshot_and_the_records_are_all_of_it() {
    let mut edit = Directory::new(DirectoryLimits::default()).edit();
    edit.set_class(Class { name: "meter".into(), second_factor: SecondFactor::Totp, ..Class::default() })
        .unwrap();
    let conditional =
        Rule { qos_max: Some(1), retain: Some(true), ..Rule::new(PublishClientSend, "a/%c", true) };
    edit.create_role(role("r", vec![conditional, rule(SubscribePattern, "a/#", 5, false)])).unwrap();
    edit.create_group(Group {
        roles: vec![Membership::new("r")],
        text_name: Some("G".into()),
        ..Group::new("g")
    })
    .unwrap();
    edit.set_anonymous_group(Some("g")).unwrap();
    for number in 0..300 {
        let credentials = Credentials::parse(["$7$101$c2FsdHNhbHQ=$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="]).unwrap();
        let mut identity = identity(&format!("u{number}"), &[], &[("g", number)]);
        identity.credentials = credentials;
        identity.class = Some("meter".into());
        edit.create_identity(identity).unwrap();
    }
    let (first, changes) = edit.finish().unwrap();
    assert_eq!(changes.len(), 304);

    let mut edit = first.edit();
    edit.delete_role("r").unwrap();
    edit.delete_identity("u7").unwrap();
    edit.modify_identity("u8", |identity| {
        identity.disabled = true;
        Ok(())
    })
    .unwrap();
    let (second, more) = edit.finish().unwrap();
    let keys: Vec<_> = more.iter().map(|change| (change.key(), change.value().is_some())).collect();
    assert_eq!(
        keys,
        [
            ("group/g", true),
            ("identity/u7", false),
            ("identity/u8", true),
            ("role/r", false),
            ("settings/", true)
        ]
    );
    assert!(
        first.role("r").is_some()
            && first.identity("u7").is_some()
            && !first.identity("u8").unwrap().disabled
    );
    assert!(second.group("g").unwrap().roles.is_empty());

    for (directory, disabled) in [(&first, false), (&second, true)] {
        let records: Vec<(String, Vec<u8>)> = directory
            .records()
            .map(|change| (change.key().to_string(), serde_json::to_vec(change.value().unwrap()).unwrap()))
            .collect();
        // In the order of their keys, as the store hands them out.
        let records: std::collections::BTreeMap<_, _> = records.into_iter().collect();
        let read = records.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
        let again = Directory::from_records(DirectoryLimits::default(), read).unwrap();
        let values = |directory: &Directory| {
            directory
                .records()
                .map(|change| (change.key().to_string(), change.value().cloned()))
                .collect::<Vec<_>>()
        };
        assert_eq!(values(&again), values(directory));
        assert_eq!(again.identity("u8").unwrap().disabled, disabled);
        assert_eq!(again.class_of("u8").unwrap().second_factor, SecondFactor::Totp);
        assert!(again.identity("u8").unwrap().credentials.user().password.is_some());
    }
    for (key, value) in [
        ("role/r", "{}"),
        ("role/x", r#"{"rolename":"r"}"#),
        ("what/x", "{}"),
        ("x", ""),
        (
            "role/r",
            r#"{"rolename":"r","acls":[{"acltype":"publishClientSend","topic":"a","allow":true,"onlyat":"night"}]}"#,
        ),
    ] {
        let read = Directory::from_records(DirectoryLimits::default(), [(key, value.as_bytes())]);
        assert!(matches!(read, Err(DirectoryError::Record { .. })), "{key} {value}");
    }
}

#[test]
fn a_certificate_is_one_identitys() {
    let print = |digit: &str| Arc::<str>::from(digit.repeat(64));
    let with = |name: &str, prints: Vec<Arc<str>>| Identity { fingerprints: prints, ..Identity::new(name) };
    let mut edit = Directory::new(DirectoryLimits::default()).edit();
    edit.create_identity(with("u", vec![print("a"), print("b")])).unwrap();
    assert_eq!(edit.create_identity(with("v", vec![print("b")])), Err(DirectoryError::FingerprintTaken));
    assert_eq!(edit.create_identity(with("v", vec![print("B")])), Err(DirectoryError::BadFingerprint));
    edit.create_identity(with("v", vec![print("c")])).unwrap();
    edit.modify_identity("u", |u| {
        u.fingerprints = vec![print("b"), print("d")];
        Ok(())
    })
    .unwrap();
    let (directory, _) = edit.finish().unwrap();
    let whose = |directory: &Directory, digit| {
        directory.identity_by_fingerprint(&print(digit)).map(|identity| identity.name.to_string())
    };
    let found = ["a", "b", "c", "d"].map(|digit| whose(&directory, digit));
    assert_eq!(found, [None, Some("u".into()), Some("v".into()), Some("u".into())]);
    let mut edit = directory.edit();
    edit.delete_identity("u").unwrap();
    assert_eq!(whose(&edit.directory(), "b"), None);
}

#[test]
fn what_is_wrong_is_refused_and_everything_has_a_limit() {
    let limits = DirectoryLimits {
        identities_max: 2,
        groups_max: 1,
        roles_max: 3,
        classes_max: 1,
        rules_per_role_max: 2,
        rules_max: 11,
        roles_each_max: 1,
        groups_each_max: 1,
    };
    let mut edit = Directory::new(limits).edit();
    let full = |what: Result<(), DirectoryError>| {
        assert!(matches!(what, Err(DirectoryError::LimitExceeded { .. })), "{what:?}")
    };
    edit.create_role(role(
        "a",
        vec![rule(PublishClientSend, "a", 0, true), rule(PublishClientSend, "b", 0, true)],
    ))
    .unwrap();
    full(edit.add_rule("a", rule(PublishClientSend, "c", 0, true)));
    edit.create_role(role("b", vec![rule(PublishClientSend, "a", 0, true)])).unwrap();
    full(edit.add_rule("b", rule(PublishClientSend, "c", 0, true)));
    full(edit.create_role(role("c", vec![])));
    edit.create_group(Group::new("g")).unwrap();
    full(edit.create_group(Group::new("h")));
    full(edit.create_identity(identity("u", &[("a", 0), ("b", 0)], &[])));
    edit.create_identity(identity("u", &[("a", 0)], &[("g", 0)])).unwrap();
    edit.create_identity(identity("v", &[], &[])).unwrap();
    full(edit.create_identity(identity("w", &[], &[])));
    edit.set_class(Class { name: "c".into(), ..Class::default() }).unwrap();
    full(edit.set_class(Class { name: "d".into(), ..Class::default() }));

    use DirectoryError as E;
    assert_eq!(edit.create_identity(identity("u", &[], &[])), Err(E::IdentityExists));
    assert_eq!(edit.add_member("g", "u", 0), Err(E::AlreadyMember));
    assert_eq!(edit.add_rule("a", rule(PublishClientSend, "a", 9, false)), Err(E::RuleExists));
    assert_eq!(edit.remove_rule("a", SubscribeLiteral, "a"), Err(E::RuleNotFound));
    assert_eq!(edit.delete_role("nobody"), Err(E::RoleNotFound));
    assert_eq!(edit.delete_role("admin"), Err(E::BuiltInRole));
    assert_eq!(edit.add_rule("admin", rule(PublishClientSend, "#", 0, true)), Err(E::BuiltInRole));
    assert!(matches!(
        edit.modify_identity("v", |v| {
            v.roles = vec![Membership::new("x")];
            Ok(())
        }),
        Err(E::RoleNotFound)
    ));
    for name in ["", "a\nb", &"x".repeat(257)] {
        assert!(matches!(
            Directory::new(limits).edit().create_group(Group::new(name)),
            Err(E::EmptyName(_) | E::BadName(_))
        ));
    }
    let mut edit = Directory::new(DirectoryLimits::default()).edit();
    edit.create_role(role("r", vec![])).unwrap();
    for bad in [
        Rule { qos_max: Some(3), ..rule(PublishClientSend, "a", 0, true) },
        Rule { qos_max: Some(1), ..rule(PublishClientSend, "a", 0, false) },
        Rule { qos_max: Some(1), ..rule(PublishClientReceive, "a", 0, true) },
        Rule { retain: Some(true), ..rule(SubscribePattern, "a", 0, true) },
        Rule { shared_group: Some("g".into()), ..rule(PublishClientSend, "a", 0, true) },
        Rule { shared_group: Some("g/h".into()), ..rule(SubscribePattern, "a", 0, true) },
        Rule { shared_group: Some("g".into()), ..rule(SubscribePattern, "$share/g/a", 0, true) },
        rule(PublishClientSend, "$share/g/a", 0, true),
        rule(PublishClientSend, "a", 100_001, true),
        rule(PublishClientSend, "a/#/b", 0, true),
        rule(PublishClientSend, "a%u", 0, true),
    ] {
        assert!(edit.add_rule("r", bad.clone()).is_err(), "{bad}");
    }
    assert!(edit.role("r").unwrap().rules.is_empty());
}

#[test]
fn a_rule_that_is_used_says_when() {
    let directory = directory(|edit| {
        edit.create_role(role(
            "r",
            vec![rule(PublishClientSend, "a", 0, true), rule(PublishClientSend, "b", 0, true)],
        ))?;
        edit.create_identity(identity("u", &[("r", 0)], &[]))
    });
    let u = who("c", Some("u"));
    for now_s in [100, 100, 101] {
        directory.usage_clock().set(now_s);
        directory.decide(&u, publish("a"));
    }
    let mut edit = directory.edit();
    edit.add_rule("r", rule(PublishClientSend, "c", 0, true)).unwrap();
    let (changed, _) = edit.finish().unwrap();
    let usage = |topic| changed.role("r").unwrap().rule(PublishClientSend, topic).unwrap().usage.clone();
    assert_eq!(
        (usage("a").last_s(), usage("a").seconds()),
        (Some(101), 2),
        "also after a change of its role"
    );
    assert_eq!((usage("b").last_s(), usage("c").last_s()), (None, None));
}

fn any_level() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop_oneof![Just("a"), Just("b"), Just("u"), Just("g1"), Just(""), Just("$SYS")].prop_map(String::from),
        2 => Just("+".to_string()),
        3 => prop_oneof![Just("%c"), Just("%u"), Just("%g"), Just("%{cert.ou}"), Just("%{cert.dns}")].prop_map(String::from),
    ]
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let topic = (prop::collection::vec(any_level(), 1..4), any::<bool>());
    (
        topic,
        0..6_usize,
        -2..3_i32,
        any::<bool>(),
        prop::option::of(0..3_u8),
        prop::option::of(any::<bool>()),
        0..4_u8,
    )
        .prop_map(|((levels, hash), kind, priority, allow, qos_max, retain, shared)| {
            let rule_type = RuleType::ALL[kind];
            let mut topic = levels.join("/");
            if hash {
                topic.push_str("/#");
            }
            let subscribes = matches!(rule_type, SubscribeLiteral | SubscribePattern);
            let mut rule = rule(rule_type, &topic, priority, allow);
            rule.qos_max = qos_max.filter(|_| allow && (subscribes || rule_type == PublishClientSend));
            rule.retain = retain.filter(|_| rule_type == PublishClientSend);
            rule.shared_group = match shared {
                1 if subscribes => Some("".into()),
                2 if subscribes => Some("s".into()),
                _ => None,
            };
            rule
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// Compiled or not, in whatever order: one opinion.
    #[test]
    fn compiled_rules_decide_as_a_walk_through_them_does(
        rules in prop::collection::vec(prop::collection::vec(any_rule(), 0..12), 1..4),
        filter in prop::collection::vec(prop_oneof![4 => any_level(), 1 => Just("#".to_string())], 1..4),
        client_id in prop_oneof![Just("a"), Just("b"), Just("+"), Just("a/b"), Just("$SYS")],
        certificate in 0..4_u8,
        qos in 0..3_u8,
        retain in any::<bool>(),
        shared in any::<bool>(),
    ) {
        let mut edit = Directory::new(DirectoryLimits::default()).edit();
        for name in ["g1", "g#"] {
            edit.create_group(Group::new(name)).unwrap();
        }
        let mut u = identity("u", &[], &[("g1", 0), ("g#", 0)]);
        for (index, rules) in rules.into_iter().enumerate() {
            let name = format!("r{index}");
            edit.create_role(role(&name, Vec::new())).unwrap();
            for rule in rules {
                // Some say the same twice, or have one variable twice: those are refused.
                let _ = edit.add_rule(&name, rule);
            }
            u.roles.push(Membership::new(name.as_str()));
        }
        edit.create_identity(u).unwrap();
        let (directory, _) = edit.finish().unwrap();
        let mut u = who(client_id, Some("u"));
        u.certificate = (certificate > 0).then(|| "ab".into());
        u.attributes = (certificate > 1).then(|| Arc::new(CertificateAttributes {
            organizational_unit: Some(if certificate == 2 { "a" } else { "x/y" }.into()),
            dns: vec!["b".into(), "+".into()],
            ..CertificateAttributes::default()
        }));
        let topic = filter.join("/");
        for action in [
            Action::Publish { topic: &topic, qos, retain },
            Action::Receive { topic: &topic },
            Action::Subscribe { filter: &topic, group: shared.then_some("s"), qos },
            Action::Unsubscribe { filter: &topic },
        ] {
            let verdict = directory.decide(&u, action);
            let reasoning = directory.explain(&u, action);
            prop_assert_eq!((verdict.allowed, verdict.explicit), (reasoning.allowed, reasoning.explicit), "{:?} {:#?}", action, reasoning.steps);
            if let Reason::Rule { rule, .. } = verdict.reason {
                let decides = reasoning.steps.iter().find(|step| step.decides).unwrap();
                prop_assert_eq!(&decides.what, &rule.to_string());
            }
        }
    }
}
