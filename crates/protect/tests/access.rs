//! Access rules: Mosquitto's semantics, the ways around them that were found elsewhere, and a naive model.

use proptest::prelude::*;
use ravelin_event::Principal;
use ravelin_protect::AccessRules;
use ravelin_protect::access::Action;

fn rules(text: &str) -> AccessRules {
    AccessRules::parse(text, "access.rules").unwrap()
}

fn user(identity: &str, client_id: &str) -> Principal {
    Principal { identity: Some(identity.into()), ..Principal::anonymous(client_id) }
}

fn named(name: &str) -> Principal {
    user(name, name)
}

#[test]
fn no_rules_allow_nothing() {
    // CVE-2018-12550: an empty file allowed everything.
    for rules in [rules(""), rules("# only a comment\n\n"), AccessRules::deny_everything()] {
        for principal in [named("alice"), Principal::anonymous("x")] {
            assert!(!rules.may_publish(&principal, "a") && !rules.may_receive(&principal, "a"));
            assert!(!rules.may_subscribe(&principal, "a") && !rules.may_subscribe(&principal, "#"));
        }
    }
}

#[test]
fn sections_are_for_whom_they_name() {
    let rules = rules(
        "topic read public/#\n\nuser alice\ntopic write a/+\ntopic both\ntopic readwrite with space\n\
         user bob\ntopic read a/#\nuser alice\ntopic read again\n",
    );
    let (alice, bob, nobody) = (named("alice"), named("bob"), Principal::anonymous("alice"));
    assert!(rules.may_receive(&nobody, "public/x") && !rules.may_publish(&nobody, "public/x"));
    // As in Mosquitto: the rules in front are for anonymous clients only.
    assert!(!rules.may_receive(&alice, "public/x"));
    assert!(
        rules.may_publish(&alice, "a/b")
            && !rules.may_receive(&alice, "a/b")
            && !rules.may_publish(&alice, "a/b/c")
    );
    assert!(rules.may_publish(&alice, "both") && rules.may_receive(&alice, "both"));
    assert!(rules.may_publish(&alice, "with space") && rules.may_receive(&alice, "again"));
    assert!(
        rules.may_receive(&bob, "a") && rules.may_receive(&bob, "a/b/c") && !rules.may_publish(&bob, "a/b")
    );
    assert!(!rules.may_receive(&named("Alice"), "again") && !rules.may_receive(&named("carol"), "again"));
}

#[test]
fn a_denial_wins() {
    let rules = rules(
        "user alice\ntopic readwrite plant/#\ntopic deny plant/secret/#\npattern deny plant/+/of/%u\npattern read plant/#\n",
    );
    let alice = named("alice");
    assert!(rules.may_receive(&alice, "plant/x"));
    for denied in ["plant/secret", "plant/secret/x", "plant/1/of/alice"] {
        assert!(!rules.may_receive(&alice, denied) && !rules.may_publish(&alice, denied), "{denied}");
    }
    // A broad subscription does not get around it: delivery is checked per topic.
    assert!(rules.may_subscribe(&alice, "plant/#") && !rules.may_receive(&alice, "plant/secret/x"));
    // A filter that lies wholly in what is denied is refused.
    assert!(!rules.may_subscribe(&alice, "plant/secret/+") && !rules.may_subscribe(&alice, "plant/secret/#"));
}

#[test]
fn a_subscription_must_be_covered_by_what_may_be_read() {
    let rules = rules("user a\ntopic read x/+/y\ntopic read z/#\ntopic write w/#\n");
    let a = named("a");
    for allowed in ["x/1/y", "x/+/y", "z", "z/#", "z/+", "z/1/+/#", "$share/group/z/#", "$share/g/x/+/y"] {
        assert!(rules.may_subscribe(&a, allowed), "{allowed}");
    }
    for refused in
        ["#", "+", "x/#", "x/+/+", "x/1/+", "+/1/y", "w/1", "zz", "$share/group/#", "$share/z/#", "+/#"]
    {
        assert!(!rules.may_subscribe(&a, refused), "{refused}");
    }
}

#[test]
fn subscribe_alone_gives_mosquittos_breadth_without_delivery() {
    let rules = rules("user a\ntopic subscribe #\ntopic read x/1\n");
    let a = named("a");
    assert!(rules.may_subscribe(&a, "#") && rules.may_subscribe(&a, "x/+"));
    assert!(rules.may_receive(&a, "x/1") && !rules.may_receive(&a, "x/2") && !rules.may_publish(&a, "x/1"));
    assert!(!rules.may_subscribe(&a, "$SYS/#"));
    // One word is a topic, as in Mosquitto, also if it is the name of an access.
    let rules = AccessRules::parse("topic subscribe\ntopic read\n", "f").unwrap();
    let nobody = Principal::anonymous("x");
    assert!(rules.may_publish(&nobody, "subscribe") && rules.may_publish(&nobody, "read"));
}

#[test]
fn patterns_put_the_names_in() {
    let rules =
        rules("pattern write c/%c/#\npattern read u/%u\npattern read dev-%c-of-%u/x\npattern write any/+\n");
    let client = user("alice", "meter-7");
    assert!(rules.may_publish(&client, "c/meter-7/x") && !rules.may_publish(&client, "c/meter-8/x"));
    assert!(rules.may_receive(&client, "u/alice") && !rules.may_receive(&client, "u/bob"));
    assert!(rules.may_receive(&client, "dev-meter-7-of-alice/x"));
    assert!(
        !rules.may_receive(&client, "dev-meter-7-of-alicex/x") && !rules.may_receive(&client, "dev--of-/x")
    );
    // %u is not for clients without identity; %c and plain patterns are.
    let nobody = Principal::anonymous("meter-7");
    assert!(rules.may_publish(&nobody, "c/meter-7/x") && rules.may_publish(&nobody, "any/x"));
    assert!(!rules.may_receive(&nobody, "u/") && !rules.may_receive(&nobody, "u/alice"));
    // %c in a `topic` rule is text.
    let literal = AccessRules::parse("user a\ntopic read %c\n", "f").unwrap();
    assert!(literal.may_receive(&named("a"), "%c") && !literal.may_receive(&named("a"), "a"));
}

#[test]
fn names_with_wildcards_or_slashes_gain_nothing_from_patterns() {
    // CVE-2017-7650, CVE-2026-85724.
    let rules = rules(
        "pattern readwrite c/%c\npattern readwrite u/%u\npattern read open/#\npattern readwrite %c%u\n",
    );
    for name in ["+", "#", "a/b", "", "+/x", "a#"] {
        for principal in [user("alice", name), user(name, "alice"), named(name), Principal::anonymous(name)] {
            for topic in ["c/x", "c/+", "c/#", "c/a/b", "c/", "u/x", "u/alice", "c/alice", "open/x", "a/b"] {
                assert!(!rules.may_publish(&principal, topic), "{principal:?} {topic}");
                assert!(!rules.may_receive(&principal, topic), "{principal:?} {topic}");
                assert!(!rules.may_subscribe(&principal, topic), "{principal:?} {topic}");
            }
        }
    }
}

#[test]
fn names_with_slashes_do_not_escape_a_pattern_that_denies() {
    let rules = rules("user alice\ntopic readwrite #\npattern deny locked/%c/x\npattern deny shut/#\n");
    assert!(rules.may_receive(&user("alice", "c2"), "locked/c1/x"));
    let evasive = user("alice", "c1/");
    assert!(!rules.may_receive(&evasive, "locked/c1/x") && !rules.may_receive(&evasive, "shut/x"));
    assert!(rules.may_receive(&evasive, "other"));
}

#[test]
fn system_topics_need_a_rule_of_their_own() {
    let rules = rules(
        "user a\ntopic readwrite #\ntopic readwrite +/x\nuser b\ntopic readwrite $SYS/#\npattern readwrite %u/x\n",
    );
    let (a, b) = (named("a"), named("b"));
    assert!(
        !rules.may_receive(&a, "$SYS/x")
            && !rules.may_publish(&a, "$other/x")
            && !rules.may_subscribe(&a, "$SYS/#")
    );
    assert!(rules.may_receive(&b, "$SYS/x") && rules.may_subscribe(&b, "$SYS/#"));
    // An identity cannot become the first level of a system topic.
    assert!(!rules.may_receive(&named("$SYS"), "$SYS/x"));
    for rules in [&rules, &AccessRules::allow_everything()] {
        assert!(!rules.may_publish(&b, "$SYS/x") && !rules.may_publish(&b, "$SYS"));
    }
    assert!(
        AccessRules::allow_everything().may_publish(&a, "$SYSTEM")
            && AccessRules::allow_everything().may_receive(&a, "$SYS/x")
    );
}

#[test]
fn decisions_are_explained_by_the_line_that_made_them() {
    let rules = rules("# c\nuser a\ntopic read x/#\ntopic read x/1\ntopic deny x/2\npattern write %u/#\n");
    let a = named("a");
    let line = |action, topic| {
        let decision = rules.explain(&a, action, topic);
        (decision.allowed, decision.rule.map(|rule| rule.line))
    };
    assert_eq!(line(Action::Receive, "x/1"), (true, Some(3)));
    assert_eq!(line(Action::Receive, "x/2"), (false, Some(5)));
    assert_eq!(line(Action::Publish, "a/b"), (true, Some(6)));
    assert_eq!(line(Action::Publish, "x/1"), (false, None));
    assert_eq!(line(Action::Subscribe, "x/#"), (true, Some(3)));
    assert_eq!(rules.explain(&a, Action::Receive, "x/2").rule.unwrap().text, "topic deny x/2");
}

#[test]
fn every_error_is_reported_at_its_place() {
    let text = "topic read a/#/b\nuser\n  frobnicate x\ntopic\ntopic reed a\npattern write a+\n user bob\ntopic x y\ntopic read $share/g/t\n";
    let errors = AccessRules::parse(text, "acl").err().unwrap();
    let places: Vec<_> = errors.0.iter().map(|error| (error.line, error.column)).collect();
    assert_eq!(places, [(1, 12), (2, 5), (3, 3), (4, 6), (5, 7), (6, 15), (8, 7), (9, 12)], "{errors}");
    assert!(errors.to_string().contains("acl:5:7: `reed` is not an access"));
    assert!(AccessRules::parse("topic read a\0b", "acl").is_err());
    assert!(AccessRules::parse(&format!("topic read {}a", "a/".repeat(200)), "acl").is_err());
    // Windows line ends and leading spaces, as Mosquitto takes them.
    let rules = AccessRules::parse("user a\r\n   topic   read   x \r\n", "acl").unwrap();
    assert!(rules.may_receive(&named("a"), "x"));
}

#[test]
fn deep_topics_and_hostile_rules_cost_little() {
    let mut text = String::from("user a\n");
    for depth in 1..100 {
        text += &format!("topic read {}x\ntopic read {}#\n", "+/".repeat(depth), "a/".repeat(depth));
    }
    let rules = rules(&text);
    let topic = format!("{}b", "a/".repeat(32_000));
    let start = std::time::Instant::now();
    for _ in 0..100 {
        assert!(rules.may_receive(&named("a"), &topic));
    }
    assert!(start.elapsed().as_secs() < 2);
}

/// What the rules mean, said slowly.
fn naive(text: &str, principal: &Principal, access: &str, topic: &str) -> bool {
    let mut section: Option<&str> = None;
    let (mut allowed, mut denied) = (false, false);
    for line in text.lines() {
        let words: Vec<_> = line.split(' ').collect();
        let filter = match words[..] {
            ["user", name] => {
                section = Some(name);
                continue;
            }
            ["topic", _, filter] if section == principal.identity.as_deref() => filter.to_string(),
            ["pattern", _, filter] => {
                let Some(identity) = principal.identity.as_deref().or((!filter.contains("%u")).then_some(""))
                else {
                    continue;
                };
                filter.replace("%c", &principal.client_id).replace("%u", identity)
            }
            _ => continue,
        };
        if ravelin_mqtt::matches(&filter, topic) {
            denied |= words[1] == "deny";
            allowed |= words[1] == access || words[1] == "readwrite";
        }
    }
    allowed && !denied
}

fn filters() -> impl Strategy<Value = String> {
    let level = prop_oneof![3 => "[ab]", 1 => Just("+".to_string()), 1 => Just("%c".to_string()), 1 => Just("%u".to_string()), 1 => Just(String::new())];
    (proptest::collection::vec(level, 1..4), any::<bool>())
        .prop_map(|(levels, hash)| if hash { format!("{}/#", levels.join("/")) } else { levels.join("/") })
        .prop_filter("a filter has a character", |filter| !filter.is_empty())
}

proptest! {
    #[test]
    fn a_decision_is_what_a_naive_reading_gives(
        lines in proptest::collection::vec((0..5u8, 0..4usize, filters()), 0..20),
        topic in "[ab]?(/[ab]?){0,3}",
        identity in proptest::option::of("[ab]"),
        client_id in "[ab]",
    ) {
        prop_assume!(!topic.is_empty());
        let mut text = String::new();
        for (kind, access, filter) in &lines {
            let access = ["read", "write", "readwrite", "deny"][*access];
            match kind {
                0 => text += "user a\n",
                1 => text += "user b\n",
                2 | 3 => text += &format!("topic {access} {}\n", filter.replace('%', "")),
                _ => text += &format!("pattern {access} {filter}\n"),
            }
        }
        let rules = rules(&text);
        let principal = Principal { identity: identity.map(Into::into), ..Principal::anonymous(client_id) };
        prop_assert_eq!(rules.may_receive(&principal, &topic), naive(&text, &principal, "read", &topic), "{}", text);
        prop_assert_eq!(rules.may_publish(&principal, &topic), naive(&text, &principal, "write", &topic), "{}", text);
        for action in [Action::Receive, Action::Publish, Action::Subscribe] {
            let decided = match action {
                Action::Receive => rules.may_receive(&principal, &topic),
                Action::Publish => rules.may_publish(&principal, &topic),
                Action::Subscribe => rules.may_subscribe(&principal, &topic),
            };
            let explained = rules.explain(&principal, action, &topic);
            prop_assert_eq!(explained.allowed, decided);
            prop_assert!(explained.rule.is_some() || !decided);
        }
    }

    #[test]
    fn whoever_may_subscribe_may_receive_all_that_is_not_denied(
        allowed in filters(), filter in filters(), topic in "[ab]?(/[ab]?){0,3}",
    ) {
        prop_assume!(!topic.is_empty());
        let (allowed, filter) = (allowed.replace('%', ""), filter.replace('%', ""));
        let rules = rules(&format!("user a\ntopic read {allowed}\n"));
        if rules.may_subscribe(&named("a"), &filter) && ravelin_mqtt::matches(&filter, &topic) {
            prop_assert!(rules.may_receive(&named("a"), &topic), "{} {} {}", allowed, filter, topic);
        }
    }

    #[test]
    fn no_text_makes_the_parsers_panic(text in "\\PC{0,200}", lines in "((user|topic|pattern|read|deny|%c|%u|\\$|[a/+#: =,0-9]){0,12}\n){0,6}") {
        for text in [&text, &lines] {
            let _ = AccessRules::parse(text, "f");
            let _ = ravelin_protect::PasswordFile::parse(text, "f");
            let _ = ravelin_protect::scram::ClientFirst::parse(text.as_bytes());
        }
    }
}
