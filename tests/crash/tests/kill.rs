//! SIGKILL under load, at random moments: nothing acknowledged is lost, doubled at QoS 2, or out of order.

use ravelin_crash::node::Durability;
use ravelin_crash::scene::{Kill, Plan, kills, run};

const PLAN: Plan = Plan {
    name: "",
    workers: &[1],
    kills: 0,
    kill: Kill::Within(200),
    durability: Durability::Commit,
    filler_max: 400,
    quota: 150,
};

#[test]
fn one_worker() {
    run(Plan { name: "one worker", kills: kills(50), ..PLAN });
}

#[test]
fn two_workers() {
    run(Plan { name: "two workers", workers: &[2], kills: kills(50), ..PLAN });
}

#[test]
fn three_workers() {
    run(Plan { name: "three workers", workers: &[3], kills: kills(40), ..PLAN });
}

#[test]
fn another_number_of_workers_each_time() {
    run(Plan { name: "changing workers", workers: &[1, 3, 2, 4], kills: kills(30), ..PLAN });
}

#[test]
fn while_one_worker_compacts_the_log() {
    run(Plan { name: "checkpoints, one worker", kills: kills(10), kill: Kill::AtCheckpoint(30), ..PLAN });
}

#[test]
fn while_three_workers_compact_the_log() {
    let kill = Kill::AtCheckpoint(30);
    run(Plan { name: "checkpoints, three workers", workers: &[3], kills: kills(10), kill, ..PLAN });
}

#[test]
fn synced_at_intervals() {
    let durability = Durability::Interval;
    run(Plan { name: "interval", workers: &[2], kills: kills(15), durability, ..PLAN });
}

#[test]
fn never_synced() {
    run(Plan { name: "none", workers: &[1], kills: kills(15), durability: Durability::None, ..PLAN });
}
