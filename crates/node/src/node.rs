//! A running node: what is opened on start, in which order, and closed again.

use crate::config::{Config, Diagnostic, LogFormat};
use crate::control::record;
use crate::control::{
    Control, Detection, Devices, Inner, Keys, KeysThread, Loading, Records, RecordsThread, Responding, Tree,
    WATCH_REST, WatchQueue, WatchThread, cached_lists, refuse_if_fenced, seal,
};
use crate::error::Error;
use crate::hashpool::HashPool;
use crate::issuers::IssuersThread;
use crate::ladder::{Ladder, LadderCounters};
use crate::listen;
use crate::log::{EventSink, Format, LogThread};
use crate::memory::{MemoryThread, Pressure, Told};
use crate::metrics::Figures;
use crate::policy::Programme;
use crate::reload;
use crate::shard::mailbox::{Mail, Mailbox, Wake};
use crate::shard::{self, Begin, Clock, Seed};
use crate::storage::{self, Opened};
use crate::sys::{SysThread, SystemFigures};
use ravelin_audit::Recording;
use ravelin_broker::{RestoreSummary, SHARDS_MAX};
use ravelin_event::Event;
use ravelin_store::{KeyId, Store};
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Barrier, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Batches of records that a shard may be behind in the replay.
const REPLAY_BATCHES_MAX: usize = 4;

/// A node that serves. Dropping it without [`Node::shutdown`] leaves its threads running.
pub struct Node {
    control: Control,
    threads: Vec<JoinHandle<io::Result<()>>>,
    store: Store,
    /// The store's current key.
    key: KeyId,
    storage: storage::Place,
    log: LogThread,
    sys: Option<SysThread>,
    issuers: IssuersThread,
    /// Keeps certificates and revocation lists up to date.
    keys: KeysThread,
    records: RecordsThread,
    watch: WatchThread,
    /// Feeds the detectors.
    detect: WatchThread,
    /// The record of transmissions, where the node keeps state.
    recording: Option<Recording>,
    memory: MemoryThread,
}

/// One shard between the start of its thread and the begin of its service.
struct Starting {
    thread: JoinHandle<io::Result<()>>,
    records: SyncSender<Arc<Vec<u8>>>,
    begin: SyncSender<Begin>,
    restored: Receiver<RestoreSummary>,
}

impl Node {
    /// Starts a node: state is restored before the first listener opens, and when this returns, clients can connect.
    pub fn start(config: Config) -> Result<Node, Error> {
        Node::start_with_log(config, Box::new(io::stderr()))
    }

    /// The same with the event log going to `out`.
    pub fn start_with_log(config: Config, out: Box<dyn io::Write + Send>) -> Result<Node, Error> {
        refuse_if_fenced(&config)?;
        listen::raise_file_limit();
        let clock = Clock::start();
        let shards = shard_count(&config);
        let (sink, log) = EventSink::start(log_format(&config), config.log.level, out)
            .map_err(Error::system("start the log"))?;
        let storage = storage::Place::prepare(&config)?;
        let now = clock.now();
        let fetched = cached_lists(&config);
        let files = config.load_files_with(storage.secret()?, now.wall_ms / 1000, &fetched)?;
        warn(&sink, now.wall_ms, config.warnings.iter().chain(&files.warnings));
        let playbooks = files.playbooks.clone();
        let policy = Arc::new(reload::policy(&config, files, shards, Programme::default(), None));
        let ladder = Ladder::new(reload::ladder_limits(&config.limits), now.mono_ms);
        let ladder = Arc::new(Mutex::new(ladder));
        let pressure = Pressure::new(shards, reload::memory_max(&config.limits));
        let authentication = &config.authentication;
        let hash_pool = HashPool::start(authentication.hash_workers, authentication.hash_queue_max)
            .map_err(Error::system("start the threads that verify passwords"))?;
        let mut polls = Vec::new();
        let mut mailboxes = Vec::new();
        for _ in 0..shards {
            let poll = mio::Poll::new().map_err(Error::system("open a poll"))?;
            let waker =
                mio::Waker::new(poll.registry(), shard::WAKE).map_err(Error::system("open a waker"))?;
            mailboxes.push(Arc::new(Mailbox::new(Wake::new(waker))));
            polls.push(poll);
        }
        let mailboxes: Arc<[_]> = mailboxes.into();
        let figures: Arc<[Arc<Mutex<Figures>>]> = (0..shards).map(|_| Arc::default()).collect();
        let met = Arc::new(Barrier::new(shards));
        let (watched, tree) = (WatchQueue::new(), Tree::new());
        let mut starting = Vec::new();
        for (id, poll) in polls.into_iter().enumerate() {
            let (records, records_receiver) = sync_channel(REPLAY_BATCHES_MAX);
            let (begin, begin_receiver) = sync_channel(1);
            let seed = Seed {
                id: id as u16,
                clock,
                poll,
                mailboxes: Arc::clone(&mailboxes),
                policy: Arc::clone(&policy),
                ladder: Arc::clone(&ladder),
                pressure: Arc::clone(&pressure),
                hash_pool: hash_pool.clone(),
                sink: sink.clone(),
                watch: Arc::clone(&watched),
                requests: tree.requests(),
                figures: Arc::clone(&figures[id]),
                random: u64::from_le_bytes(ravelin_protect::random()?),
                records: records_receiver,
                begin: begin_receiver,
                met: Arc::clone(&met),
            };
            starting.push(start_shard(seed, records, begin)?);
        }
        drop(hash_pool);
        let opened = storage.open(&config, shards)?;
        let key = opened.key;
        // The store may drop older keys once it is written: not before the keys of the record are sealed with the new one.
        let recording = match config.record_directory() {
            Some(_) => record::open(&config, storage.keys(&config)?, &sink, clock.now().wall_ms)?,
            None => None,
        };
        let (store, loading) = restore(opened, &starting, &sink, clock)?;
        let mut bound = listen::bind_all(&config, shards)?;
        let seed = u64::from_le_bytes(ravelin_protect::random()?);
        let devices = Devices::new(&config, seed, clock.now().wall_ms);
        let detection = Detection::new(&config, seed);
        let responding = Responding::new(&config.respond, playbooks);
        let control = Control(Arc::new(Inner {
            clock,
            mailboxes: Arc::clone(&mailboxes),
            figures,
            ladder,
            sink: sink.clone(),
            records: Records::new(loading),
            watch: watched,
            recorder: recording.as_ref().map(Recording::recorder),
            tree,
            seen: Default::default(),
            directory: crate::control::Held::new(policy.programme.directory.clone()),
            policy: Mutex::new(policy),
            config: tokio::sync::watch::Sender::new(Arc::new(config)),
            addresses: std::mem::take(&mut bound.addresses),
            runner: Mutex::default(),
            keys: Keys::new(fetched),
            ban_records: Default::default(),
            devices,
            detection,
            responding,
            pressure: Arc::clone(&pressure),
            outward: Default::default(),
            drills: Default::default(),
            fence: Default::default(),
            restricting: Default::default(),
        }));
        sink.set_watch(Arc::clone(&control.0.watch));
        let records = control.records().start(|wake| store.producer(shards, wake).map_err(Error::from))?;
        control.open()?;
        let config = control.config();
        let mut threads = Vec::new();
        for (id, (shard, bound)) in starting.into_iter().zip(bound.shards).enumerate() {
            let wake = mailboxes[id].wake().clone();
            let producer = store.producer(id, Box::new(move || wake.ring()))?;
            // It fails only if the thread has ended, which is found out below.
            let (policy, recorder) = (control.policy(), control.0.recorder.clone());
            let _ = shard.begin.send(Begin { producer, bound, policy, recorder });
            threads.push(shard.thread);
        }
        control.0.restricting.begin();
        let watch = (control.0.watch).start("ravelin-watch", WATCH_REST, move || clock.now());
        let watch = watch.map_err(Error::system("start the thread that watches"))?;
        let detect = control.start_detection().map_err(Error::system("start the thread that detects"))?;
        let memory = MemoryThread::start(Told {
            clock,
            pressure,
            ladder: Arc::clone(&control.0.ladder),
            mailboxes: Arc::clone(&mailboxes),
            sink: sink.clone(),
        });
        let memory = memory.map_err(Error::system("start the thread that measures memory"))?;
        let (figures, ladder) = (Arc::clone(&control.0.figures), Arc::clone(&control.0.ladder));
        let system = SystemFigures::new(clock, figures, ladder);
        let sys = SysThread::start(system, Arc::clone(&mailboxes[0]), config.sys.interval)
            .map_err(Error::system("start the $SYS thread"))?;
        for (listener, address) in config.listeners.iter().zip(&control.0.addresses) {
            let (transport, address) = (listener.transport.name().into(), *address);
            sink.emit(
                clock.now().wall_ms,
                Event::Listening { listener: listener.name.clone(), address, transport },
            );
        }
        let keys = KeysThread::start(control.clone())
            .map_err(Error::system("start the thread that keeps certificates"))?;
        let issuers = IssuersThread::start(control.clone())
            .map_err(Error::system("start the thread that fetches keys"))?;
        Ok(Node {
            issuers,
            keys,
            control,
            threads,
            store,
            key,
            storage,
            log,
            sys,
            records,
            watch,
            detect,
            recording,
            memory,
        })
    }

    /// The handle that administers the node.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Where the node listens, in the order of the configuration's listeners, with the ports that were chosen for 0.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.control.0.addresses
    }

    /// The configuration in force.
    pub fn config(&self) -> Arc<Config> {
        self.control.config()
    }

    /// The figures of all shards, at most a second old.
    pub fn figures(&self) -> Figures {
        self.control.figures()
    }

    /// What the first rungs of the accept ladder let in and refused.
    pub fn ladder(&self) -> LadderCounters {
        self.control.ladder()
    }

    /// Whether all shards run. A shard that ended by itself is a fault; the node must be stopped.
    pub fn is_running(&self) -> bool {
        self.threads.iter().all(|thread| !thread.is_finished())
    }

    /// Goes by `config` from now on: users, rules, certificates, limits. All of it is read and checked first; if
    /// anything is wrong, nothing changes.
    pub fn reload(&mut self, config: Config) -> Result<(), Error> {
        let result = self.try_reload(config);
        self.control.emit(match &result {
            Ok(()) => Event::Reloaded { what: "configuration, certificates, access rules, passwords".into() },
            Err(error) => Event::ReloadFailed { error: error.to_string() },
        });
        result
    }

    fn try_reload(&mut self, config: Config) -> Result<(), Error> {
        if let Some(why) = reload::needs_restart(&self.config(), &config) {
            return Err(Error::NeedsRestart(why));
        }
        let (control, now) = (&self.control, self.control.now());
        let held = control.0.keys.hold_files();
        let mut files =
            config.load_files_with(self.storage.secret()?, now.wall_ms / 1000, &control.0.keys.fetched())?;
        let playbooks = std::mem::take(&mut files.playbooks);
        files.access.continue_from(&control.policy().access);
        warn(&control.0.sink, now.wall_ms, config.warnings.iter().chain(&files.warnings));
        if let Some(keys) = self.storage.new_keys(&config, self.key)? {
            let key = keys.current_id();
            // First: the store may drop the older keys at once.
            if let Some(recorder) = &control.0.recorder {
                recorder.rotate_key(self.storage.keys(&config)?)?;
            }
            self.store.rotate_key(keys)?;
            self.key = key;
            control.emit(Event::StoreKeyRotated { key: key.to_string() });
        }
        control.0.keys.staple(&mut files.listeners);
        let stage = config.restrict.stage(control.posture());
        control.lock_ladder().set_limits(reload::ladder_limits(&reload::stricter(&config.limits, stage)));
        control.0.pressure.set_ceiling(reload::memory_max(&config.limits));
        control.0.sink.set_level(config.log.level);
        control.reload_policy(&config.directory.administrators, |policy| {
            let programme = policy.programme.clone();
            let shards = usize::from(control.shards());
            let mut next = reload::policy(&config, files, shards, programme, policy.rates.as_ref());
            // One-time codes that were used stay used, and keys that were fetched need not be fetched again.
            next.authenticator = next.authenticator.after(&policy.authenticator);
            control.trust_again(&mut next);
            *policy = next;
        });
        control.0.config.send_replace(Arc::new(config));
        drop(held);
        control.configure_inventory();
        control.configure_detection();
        control.configure_outward();
        control.configure_response(playbooks);
        self.issuers.look();
        Ok(())
    }

    /// Says why a configuration that could not even be read does not take effect.
    pub fn reload_failed(&self, error: &str) {
        self.control.emit(Event::ReloadFailed { error: error.into() });
    }

    /// Stops: DISCONNECT to the clients, then the end of the shards, then of the store, which has written everything.
    pub fn shutdown(self) -> Result<(), Error> {
        if let Some(sys) = self.sys {
            sys.stop();
        }
        // What was ordered is carried out, as long as there is something that it could be done to.
        self.control.close_response();
        self.keys.stop();
        self.issuers.stop();
        self.memory.stop();
        for mailbox in self.control.0.mailboxes.iter() {
            mailbox.post(Mail::Shutdown);
        }
        let mut failed = None;
        for thread in self.threads {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(source)) => failed = Some(Error::System { operation: "run a shard", source }),
                Err(_) => failed = Some(Error::ThreadEnded { thread: "a shard" }),
            }
        }
        self.control.0.tree.stop();
        // What the shards told last may still be recorded.
        self.watch.stop();
        self.detect.stop();
        self.control.close_detection();
        self.control.close_outward();
        self.records.stop();
        let closed = self.store.close();
        self.control.emit(match &closed {
            Ok(()) => Event::Stopped { sessions: self.control.figures().stats.sessions },
            Err(error) => Event::StoreFailed { error: error.to_string() },
        });
        self.control.0.sink.flush_record(self.control.now().wall_ms, true);
        if let Some(Err(error)) = self.recording.map(Recording::close) {
            self.control.emit(Event::RecordFailed { error: error.to_string(), refusing: true });
        }
        if self.control.0.fence.is_stopping()
            && let Err(error) = seal(&self.control.config())
        {
            self.control.emit(Event::InternalError { what: error.to_string(), address: None });
        }
        self.log.stop();
        self.storage.remove_if_temporary();
        closed?;
        failed.map_or(Ok(()), Err)
    }
}

/// Logs what is not wrong but deserves attention; whatever lowers security by its name as an event of its own.
fn warn<'a>(sink: &EventSink, wall_ms: u64, warnings: impl Iterator<Item = &'a Diagnostic>) {
    for warning in warnings {
        let text = warning.what.clone();
        let event = match warning.key() {
            Some(key) if key.starts_with("dangerous_") => {
                Event::DangerousSetting { setting: key.to_owned(), meaning: text }
            }
            _ => Event::ConfigurationWarning { place: warning.place(), warning: text },
        };
        sink.emit(wall_ms, event);
    }
}

fn start_shard(
    seed: Seed,
    records: SyncSender<Arc<Vec<u8>>>,
    begin: SyncSender<Begin>,
) -> Result<Starting, Error> {
    let (restored_sender, restored) = sync_channel(1);
    let thread = std::thread::Builder::new()
        .name(format!("ravelin-shard-{}", seed.id))
        .spawn(move || shard::run(seed, &restored_sender))
        .map_err(Error::system("start a shard"))?;
    Ok(Starting { thread, records, begin, restored })
}

/// Replays the log: every record goes to every shard, which keeps what is its own.
fn restore(
    opened: Opened,
    shards: &[Starting],
    sink: &EventSink,
    clock: Clock,
) -> Result<(Store, Loading), Error> {
    let Opened { store, recovery, .. } = opened;
    storage::report(recovery.report(), sink, clock.now().wall_ms);
    let ended = || Error::ThreadEnded { thread: "a shard" };
    let mut loading = Loading::default();
    let programme = |record: &[u8]| {
        if !loading.take(record) {
            let detail = "a record of the programme is damaged".into();
            sink.emit(clock.now().wall_ms, Event::RecordUnreadable { detail });
        }
    };
    let (records, bytes) = storage::replay(recovery, programme, |batch| {
        shards.iter().try_for_each(|shard| shard.records.send(Arc::clone(&batch)).map_err(|_| ended()))
    })?;
    let mut total = RestoreSummary::default();
    // An empty batch tells a shard that it was the last one.
    for shard in shards {
        shard.records.send(Arc::default()).map_err(|_| ended())?;
    }
    for shard in shards {
        let one = shard.restored.recv_timeout(Duration::from_secs(3600)).map_err(|_| ended())?;
        total.sessions += one.sessions;
        total.retained = total.retained.max(one.retained);
        total.queued += one.queued;
    }
    if records > 0 {
        let RestoreSummary { sessions, retained, queued } = total;
        sink.emit(clock.now().wall_ms, Event::Restored { sessions, retained, queued, records, bytes });
    }
    Ok((store, loading))
}

fn shard_count(config: &Config) -> usize {
    let wanted = match config.node.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    };
    wanted.min(usize::from(SHARDS_MAX))
}

fn log_format(config: &Config) -> Format {
    match config.log.format {
        LogFormat::Json => Format::Json,
        // systemd says where standard error goes, and reads the level from the line.
        LogFormat::Text if std::env::var_os("JOURNAL_STREAM").is_some() => Format::Journal,
        LogFormat::Text => Format::Text,
    }
}
