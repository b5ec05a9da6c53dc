//! What a decision costs: `cargo run --release -p ravelin-protect --example access_bench`.

use ravelin_event::Principal;
use ravelin_protect::AccessRules;
use std::hint::black_box;
use std::time::Instant;

const DECISIONS: u32 = 2_000_000;

fn main() {
    let principal = Principal { identity: Some("dms".into()), ..Principal::anonymous("dms") };
    println!("{:<44} {:>12}", "rules", "ns/decision");
    for count in [10, 1_000, 100_000] {
        let mut own = String::from("user dms\n");
        for index in 0..count {
            own += &format!("topic read plant/area-{}/meter-{index}/+\n", index % 50);
        }
        measure(&format!("{count} of the user"), &own, &principal, "plant/area-7/meter-7/reading");
    }
    let mut users = String::new();
    for index in 0..1_000 {
        users += &format!(
            "user meter-{index}\ntopic write meters/meter-{index}/#\ntopic deny meters/meter-{index}/raw\n"
        );
    }
    users += "user dms\ntopic read meters/+/reading\npattern write status/%c\npattern read commands/%u/#\n";
    measure("2000 of 1000 users, and patterns", &users, &principal, "meters/meter-500/reading");
    let patterns = "pattern write meters/%u/#\npattern read commands/%u/#\npattern readwrite x/%c/y\n";
    measure("3 patterns only", patterns, &principal, "commands/dms/switch/1");
}

fn measure(name: &str, text: &str, principal: &Principal, topic: &str) {
    let rules = AccessRules::parse(text, "bench").expect("the rules are well-formed");
    assert!(rules.may_receive(principal, topic));
    let start = Instant::now();
    for _ in 0..DECISIONS {
        black_box(rules.may_receive(black_box(principal), black_box(topic)));
    }
    println!("{name:<44} {:>12.1}", start.elapsed().as_nanos() as f64 / f64::from(DECISIONS));
}
