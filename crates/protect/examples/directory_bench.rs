//! What a decision of the directory costs, and a change of one identity among many:
//! `cargo run --release -p ravelin-protect --example directory_bench`.

use ravelin_event::Principal;
use ravelin_protect::directory::*;
use ravelin_protect::{AccessRules, Rights};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

/// The best of many short runs: on a machine that does something else, the others measure that.
const RUNS: u32 = 400;
const DECISIONS: u32 = 5_000;

fn main() {
    println!("{:<58} {:>12}", "decision", "ns");
    for count in [1, 100, 10_000] {
        let rules = (0..count).map(|index| allow(&format!("plant/area-{}/meter-{index}/+", index % 50)));
        measure(&format!("{count} rules of one role"), vec![rules.collect()], "plant/area-0/meter-0/reading");
    }
    let mut rules: Vec<Rule> = (0..9_998).map(|index| allow(&format!("plant/+/meter-{index}/#"))).collect();
    rules.push(allow("meters/%u/#"));
    rules.push(Rule::new(RuleType::PublishClientSend, "meters/+/raw", false));
    measure("10000 rules of one role, decided by `meters/%u/#`", vec![rules], "meters/dms/1/reading");
    let roles = (0..10).map(|role| (0..1_000).map(|index| allow(&format!("r{role}/m-{index}/+"))).collect());
    measure("10000 rules of ten roles, decided by the last", roles.collect(), "r9/m-999/x");
    change();
}

fn allow(topic: &str) -> Rule {
    Rule::new(RuleType::PublishClientSend, topic, true)
}

fn measure(name: &str, roles: Vec<Vec<Rule>>, topic: &str) {
    let mut edit = Directory::default().edit();
    let mut dms = Identity::new("dms");
    for (index, rules) in roles.into_iter().enumerate() {
        let name = format!("role-{index:02}");
        dms.roles.push(Membership::new(name.as_str()));
        edit.create_role(Role { rules, ..Role::new(name) }).expect("a role");
    }
    edit.create_identity(dms).expect("an identity");
    let (directory, _) = edit.finish().expect("a directory");
    directory.usage_clock().set(1);
    let rights = Rights {
        access: Arc::new(AccessRules::deny_everything()),
        directory,
        restraints: Default::default(),
    };
    let who = Principal { identity: Some("dms".into()), ..Principal::anonymous("dms") };
    let action = |topic| Action::Publish { topic, qos: 0, retain: false };
    assert!(rights.may(&who, action(topic)));
    let run = |_| {
        let start = Instant::now();
        for _ in 0..DECISIONS {
            black_box(rights.may(black_box(&who), action(black_box(topic))));
        }
        start.elapsed().as_nanos() as f64 / f64::from(DECISIONS)
    };
    let nanoseconds = (0..RUNS).map(run).fold(f64::INFINITY, f64::min);
    println!("{name:<58} {nanoseconds:>12.1}");
}

/// One identity changes among a hundred thousand.
fn change() {
    let mut edit = Directory::default().edit();
    edit.create_role(Role::new("r")).expect("a role");
    for index in 0..100_000 {
        let mut identity = Identity::new(format!("meter-{index}"));
        identity.roles.push(Membership::new("r"));
        edit.create_identity(identity).expect("an identity");
    }
    let (mut directory, _) = edit.finish().expect("a directory");
    let mut each = f64::INFINITY;
    for index in 0..1_000 {
        let start = Instant::now();
        let mut edit = directory.edit();
        let name = format!("meter-{}", index * 97);
        edit.modify_identity(&name, |identity| {
            identity.disabled = !identity.disabled;
            Ok(())
        })
        .expect("a change");
        directory = edit.finish().expect("a directory").0;
        each = each.min(start.elapsed().as_nanos() as f64 / 1000.0);
    }
    println!("{:<58} {each:>9.1} us", "one identity changed among 100000");
}
