//! A reference model beside the log: what was appended, what was promised, and whether what comes back agrees.

use ravelin_store::{
    Error, Keys, Options, Preallocate, Recovery, push_record,
    testing::{Engine, Fault, SimDisk, keys},
};
use std::{collections::BTreeMap, sync::Arc};

pub const PRODUCERS: usize = 3;
const CELLS: u64 = 7;

/// A record: the producer, its number within the producer, and the cell it sets; the value is the number.
type Entry = (u64, u64);

/// The records of one producer, in the order they were appended.
#[derive(Default, Clone)]
pub struct History {
    /// Numbers count from 1; `entries[n - 1]` is number n's cell.
    cells: Vec<Entry>,
    durable: usize,
}

impl History {
    fn state(entries: &[Entry]) -> BTreeMap<u64, u64> {
        entries.iter().copied().collect()
    }
}

/// A log on a simulated disk, with the model of it.
pub struct World {
    pub disk: SimDisk,
    pub seed: u64,
    engine: Option<Engine>,
    options: Options,
    histories: Vec<History>,
    random: u64,
    keys: Vec<u8>,
    checkpoint: Option<u64>,
    /// For each producer, how many cells it has re-emitted in this checkpoint.
    emitted: Vec<u64>,
}

impl World {
    pub fn new(seed: u64) -> World {
        let preallocate = match seed % 3 {
            0 => Preallocate::Off,
            1 => Preallocate::Zero(2048),
            _ => Preallocate::Reserve(4096),
        };
        let options = Options { segment_bytes_max: 700, preallocate, ..Options::default() };
        World {
            disk: SimDisk::new(seed),
            seed,
            engine: None,
            options,
            histories: vec![History::default(); PRODUCERS],
            random: seed ^ 0x5eed,
            keys: vec![1],
            checkpoint: None,
            emitted: vec![0; PRODUCERS],
        }
    }

    pub fn draw(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.random >> 33) % below
    }

    fn keys(&self) -> Keys {
        keys(&self.keys)
    }

    /// Opens, and checks what comes back.
    pub fn open(&mut self) -> Result<(), Error> {
        self.checkpoint = None;
        let (engine, recovery) = Engine::open(Arc::new(self.disk.clone()), self.keys(), &self.options)?;
        self.engine = Some(engine);
        self.check(recovery);
        Ok(())
    }

    pub fn reopen_and_check(&mut self) {
        if let Err(error) = self.open() {
            panic!("seed {}: a crash alone must never look like damage: {error}", self.seed);
        }
    }

    fn check(&mut self, recovery: Recovery) {
        let seed = self.seed;
        let report = recovery.report().clone();
        assert!(report.damage.is_empty());
        let mut replayed: Vec<Vec<(u64, Entry)>> = vec![Vec::new(); PRODUCERS];
        let mut count = 0;
        for record in recovery {
            let record = record.unwrap();
            let field = |at: usize| u64::from_le_bytes(record[at..at + 8].try_into().unwrap());
            replayed[field(0) as usize].push((field(8), (field(16), field(24))));
            count += 1;
        }
        assert_eq!(count, report.records);
        for (producer, (history, replayed)) in self.histories.iter_mut().zip(replayed).enumerate() {
            let last = replayed.last().map_or(0, |(number, _)| *number as usize);
            assert!(
                last >= history.durable,
                "seed {seed}: producer {producer}: {} were durable, {last} came back",
                history.durable
            );
            assert!(last <= history.cells.len(), "seed {seed}: more came back than was appended");
            let first = last - replayed.len();
            for (index, (number, entry)) in replayed.iter().enumerate() {
                assert_eq!(*number as usize, first + index + 1, "seed {seed}: a gap or another order");
                assert_eq!(*entry, history.cells[first + index], "seed {seed}: another record");
            }
            // What a checkpoint cut off at the front was re-emitted behind it.
            assert_eq!(
                History::state(&history.cells[first..last]),
                History::state(&history.cells[..last]),
                "seed {seed}: producer {producer}: state was lost by a checkpoint"
            );
            history.cells.truncate(last);
            // What came back once comes back again: opening made it durable.
            history.durable = last;
        }
    }

    fn engine(&mut self) -> &mut Engine {
        self.engine.as_mut().expect("the log is open")
    }

    fn encode(&mut self, producer: usize, cell: u64, value: Option<u64>, batch: &mut Vec<u8>) {
        let number = self.histories[producer].cells.len() as u64 + 1;
        let value = value.unwrap_or(number);
        self.histories[producer].cells.push((cell, value));
        let mut record = Vec::new();
        for field in [producer as u64, number, cell, value] {
            record.extend_from_slice(&field.to_le_bytes());
        }
        record.resize(32 + self.draw(60) as usize, 0xaa);
        push_record(batch, &record);
    }

    /// Appends about so many records, from some of the producers.
    pub fn append(&mut self, records: u64) -> Result<(), Error> {
        let mut batches: Vec<Vec<u8>> = Vec::new();
        for producer in 0..PRODUCERS {
            let mut batch = Vec::new();
            for _ in 0..self.draw(records + 1) {
                let cell = self.draw(CELLS);
                self.encode(producer, cell, None, &mut batch);
            }
            batches.push(batch);
        }
        self.write(&batches)
    }

    fn write(&mut self, batches: &[Vec<u8>]) -> Result<(), Error> {
        let batches: Vec<&[u8]> = batches.iter().map(Vec::as_slice).collect();
        self.engine().append(&batches)
    }

    pub fn sync(&mut self) -> Result<(), Error> {
        self.engine().sync()?;
        self.all_durable();
        Ok(())
    }

    fn all_durable(&mut self) {
        self.histories.iter_mut().for_each(|history| history.durable = history.cells.len());
    }

    pub fn anchor(&mut self) -> Result<(), Error> {
        self.engine().anchor()
    }

    pub fn begin_checkpoint(&mut self) -> Result<(), Error> {
        if self.checkpoint.is_none() {
            self.checkpoint = Some(self.engine().begin_checkpoint()?);
            self.emitted = vec![0; PRODUCERS];
        }
        Ok(())
    }

    /// Re-emits a part (or the rest) of every producer's state.
    pub fn emit_state(&mut self, part: bool) -> Result<(), Error> {
        let mut batches = Vec::new();
        for producer in 0..PRODUCERS {
            let mut batch = Vec::new();
            let until = if part { CELLS.min(self.emitted[producer] + 2) } else { CELLS };
            for cell in self.emitted[producer]..until {
                let state = History::state(&self.histories[producer].cells);
                if let Some(value) = state.get(&cell) {
                    self.encode(producer, cell, Some(*value), &mut batch);
                }
            }
            self.emitted[producer] = until;
            batches.push(batch);
        }
        self.write(&batches)
    }

    /// Ends the checkpoint, if all state was re-emitted.
    pub fn end_checkpoint(&mut self) -> Result<(), Error> {
        if self.emitted.iter().all(|emitted| *emitted == CELLS)
            && let Some(first) = self.checkpoint.take()
        {
            self.engine().end_checkpoint(first)?;
            self.all_durable();
        }
        Ok(())
    }

    pub fn rotate_key(&mut self) -> Result<(), Error> {
        let newest = self.keys[0] + 1;
        self.keys.insert(0, newest);
        let keys = self.keys();
        self.engine().replace_keys(keys)
    }

    pub fn close(&mut self) -> Result<(), Error> {
        self.engine().close()?;
        self.all_durable();
        self.engine = None;
        Ok(())
    }

    fn random_step(&mut self) -> Result<(), Error> {
        match self.draw(14) {
            0..5 => {
                let records = 1 + self.draw(12);
                self.append(records)
            }
            5..8 => self.sync(),
            8 => self.begin_checkpoint(),
            9..11 if self.checkpoint.is_some() => {
                let part = self.draw(2) == 0;
                self.emit_state(part)
            }
            11 => self.end_checkpoint(),
            12 => self.anchor(),
            13 if self.keys[0] < 200 && self.draw(4) == 0 => self.rotate_key(),
            _ => Ok(()),
        }
    }
}

/// One random history: several lives of the process, each ended by a crash, an error or a close.
pub fn run_seed(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..12 {
        let fault = if world.draw(5) == 0 { Fault::Error } else { Fault::Crash };
        let nth = 1 + world.draw(120);
        world.disk.plan(nth, fault);
        let mut alive = world.open().is_ok();
        for _ in 0..60 {
            alive = alive && world.random_step().is_ok();
        }
        if alive && world.draw(2) == 0 {
            let _ = world.close();
        }
        let power_lost = world.draw(4) != 0;
        world.disk.restart(power_lost);
    }
    world.reopen_and_check();
}
