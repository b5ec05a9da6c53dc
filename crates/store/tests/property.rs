//! Whatever batches go in come out, whatever their sizes and wherever frames and segments end.

use proptest::prelude::*;
use ravelin_store::{
    Options, push_record,
    testing::{Engine, SimDisk, fuzz_open, keys},
};
use std::sync::Arc;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn any_batches_come_back(
        batches in prop::collection::vec(
            prop::collection::vec((any::<u8>(), prop_oneof![Just(0usize), 1..200usize, 300_000..1_400_000usize]), 1..5),
            1..6,
        ),
        segment_bytes_max in prop_oneof![Just(1u64), 100..5000u64, Just(1 << 26)],
    ) {
        let disk = Arc::new(SimDisk::new(0));
        let options = Options { segment_bytes_max, ..Options::default() };
        let (mut engine, _) = Engine::open(disk.clone(), keys(&[1]), &options).unwrap();
        let mut expected = Vec::new();
        for records in batches {
            let mut batch = Vec::new();
            for (byte, length) in records {
                expected.push(vec![byte; length]);
                push_record(&mut batch, &vec![byte; length]);
            }
            engine.append(&[&batch]).unwrap();
        }
        engine.sync().unwrap();
        disk.restart(true);
        let (_, recovery) = Engine::open(disk, keys(&[1]), &options).unwrap();
        let records: Vec<Vec<u8>> = recovery.map(Result::unwrap).collect();
        prop_assert!(records == expected);
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        fuzz_open(&bytes);
    }
}
