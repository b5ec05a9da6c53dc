//! Seeded simulations: the disk crashes at any step, and what comes back is compared with what was promised.

mod model;

use model::{World, run_seed};
use ravelin_store::testing::Fault;

/// Every step of one history that has everything in it: appends, rotations, a checkpoint, a key rotation, an anchor,
/// a close. The crash is tried at each of its operations, with several fates for what was not synced.
#[test]
fn crash_at_every_operation_of_one_history() {
    let script = |world: &mut World| {
        for round in 0..3 {
            world.append(3)?;
            world.sync()?;
            world.append(40)?;
            world.append(5)?;
            world.sync()?;
            world.begin_checkpoint()?;
            world.append(2)?;
            world.emit_state(true)?;
            world.sync()?;
            world.append(2)?;
            world.emit_state(false)?;
            world.end_checkpoint()?;
            world.append(1)?;
            world.sync()?;
            world.anchor()?;
            world.append(4)?;
            if round == 1 {
                world.rotate_key()?;
                world.append(2)?;
                world.sync()?;
            }
        }
        world.close()
    };
    for fate in 0..8 {
        let mut operation = 0;
        loop {
            operation += 1;
            // One seed per fate, so that each crash is of the same history; the disk's luck is its own.
            let mut world = World::new(fate);
            world.open().unwrap();
            world.disk.plan(operation, Fault::Crash);
            if script(&mut world).is_ok() {
                break;
            }
            world.disk.reseed(operation);
            world.disk.restart(fate != 0);
            world.reopen_and_check();
            world.append(2).unwrap();
            world.sync().unwrap();
            world.disk.restart(true);
            world.reopen_and_check();
        }
        assert!(operation > 100, "only {operation} operations");
    }
}

/// A crash while the log is being opened, at each operation of it, again and again.
#[test]
fn crash_at_every_operation_of_opening() {
    for operation in 1..40 {
        for fate in 0..8 {
            let mut world = World::new(operation * 1000 + fate);
            world.open().unwrap();
            world.append(10).unwrap();
            world.sync().unwrap();
            world.append(10).unwrap();
            world.disk.restart(true);
            for _ in 0..3 {
                world.disk.plan(operation, Fault::Crash);
                if world.open().is_ok() {
                    break;
                }
                world.disk.restart(true);
            }
            world.disk.restart(true);
            world.reopen_and_check();
        }
    }
}

/// An error of the disk at each operation: nothing may be promised afterwards that is not kept.
#[test]
fn error_at_every_operation() {
    for operation in 1..300 {
        for fate in 0..3 {
            let mut world = World::new(operation * 77 + fate);
            world.open().unwrap();
            world.disk.plan(operation, Fault::Error);
            for _ in 0..12 {
                // What comes after the error is attempted too, and must be refused.
                let _ = world.append(4);
                let _ = world.sync();
                let _ = world.begin_checkpoint();
                let _ = world.emit_state(false);
                let _ = world.end_checkpoint();
            }
            world.disk.restart(fate != 0);
            world.reopen_and_check();
        }
    }
}

#[test]
fn full_disk_keeps_what_was_promised() {
    for seed in 0..40 {
        let mut world = World::new(seed);
        world.open().unwrap();
        world.disk.limit(Some(3000 + seed as usize * 97));
        let mut failed = false;
        for _ in 0..60 {
            failed |= world.append(5).and_then(|()| world.sync()).is_err();
        }
        assert!(failed);
        world.disk.limit(None);
        world.disk.restart(seed % 2 == 0);
        world.reopen_and_check();
    }
}

/// Random histories with random crashes, all durations of them.
#[test]
fn random_histories() {
    for seed in 0..3000 {
        run_seed(seed);
    }
}

#[test]
fn random_seeds_of_this_run() {
    // Other seeds each time; the message of a failure names the seed.
    let start = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    for seed in 0..500 {
        run_seed(start.wrapping_add(seed));
    }
}
