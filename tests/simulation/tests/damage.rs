//! Damaged records and frames of any bytes.

use ravelin_simulation::{Random, World, damage, frames, restore};

#[test]
fn no_record_makes_the_core_panic() {
    for seed in 0..150 {
        let mut world = World::new(seed);
        world.live(600);
        let records = world.records();
        let mut random = Random::new(seed);
        for _ in 0..60 {
            restore(&damage(&mut random, &records));
        }
    }
    let mut random = Random::new(1);
    for _ in 0..100_000 {
        let data: Vec<u8> = (0..random.below(60)).map(|_| random.number() as u8).collect();
        restore(&data);
    }
}

#[test]
fn no_frame_makes_the_core_panic() {
    let mut random = Random::new(2);
    for _ in 0..20_000 {
        let mut data = Vec::new();
        for _ in 0..random.below(12) {
            // Mostly a packet type and a body that begin as they may.
            let first = match random.one_in(3) {
                true => random.number() as u8,
                false => {
                    *random.pick(&[0x30, 0x32, 0x34, 0x3D, 0x40, 0x50, 0x62, 0x70, 0x82, 0xA2, 0xC0, 0xE0])
                }
            };
            let len = random.below(30);
            data.extend([len as u8, first]);
            data.extend((0..len).map(|_| match random.below(4) {
                0 => random.number() as u8,
                1 => b'a' + random.below(3) as u8,
                _ => random.below(5) as u8,
            }));
        }
        frames(&data);
    }
}
