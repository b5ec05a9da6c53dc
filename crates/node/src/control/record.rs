//! The record of transmissions: what of everything that happens becomes an entry.
//!
//! The shards hand over publishes to recorded topics and their deliveries themselves, not through the watch thread, which may
//! drop: an acknowledgement waits until its entry is durable. Orders of administrators and refusals come from the event
//! log, whatever its level; refusals at a bounded rate, what is beyond it summed up.

use super::{Control, Watched, Watcher};
use crate::config::Config;
use crate::error::Error;
use crate::log::EventSink;
use ravelin_audit::entry::{Administration, Delivery, Entry, How, Refusal, Refusals, Transmission, What};
use ravelin_audit::{Draft, Notice, Options, Recorder, Recording, Status, hex, sha256};
use ravelin_broker::{Delivered, How as Way, Now, Observed};
use ravelin_event::Event;
use ravelin_store::{Keys, RealDisk};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Refusals that have an entry of their own: so many at once, and one more in each second.
const REFUSALS_BURST: u64 = 256;
/// Refusals beyond that are summed up for so long.
const SUMMARY_MS: u64 = 60_000;
/// Kinds of them that are told apart.
const KINDS_MAX: usize = 64;
/// A signature is told to the log so often.
const SIGNED_MS: u64 = 60_000;
/// Longer fields of refusals are cut: a stranger chooses them.
const FIELD_BYTES_MAX: usize = 512;

/// Opens the record of a node that keeps state.
pub(crate) fn open(
    config: &Config,
    keys: Keys,
    sink: &EventSink,
    now_ms: u64,
) -> Result<Option<Recording>, Error> {
    let Some(directory) = config.record_directory() else { return Ok(None) };
    let failed = |operation: &'static str| {
        let path = directory.clone();
        move |source| Error::Directory { operation, path, source }
    };
    if let Some(parent) = directory.parent() {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(parent);
        made.map_err(failed("create the directory above"))?;
    }
    let disk = RealDisk::open(&directory).map_err(failed("open the directory"))?;
    let record = &config.record;
    let options = Options {
        node: config.node.name.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        bytes_max: record.bytes_max,
        retention: record.retention,
        on_full: record.on_full,
        checkpoint_interval: record.checkpoint_interval,
        ..Options::default()
    };
    let notices = Notices { sink: sink.clone(), signed_ms: AtomicU64::new(now_ms) };
    let started = Recording::start(Arc::new(disk), keys, options, now_ms, move |notice| notices.tell(notice));
    let (recording, report) = started?;
    if report.torn_bytes > 0 {
        sink.emit(now_ms, Event::RecordTornTail { bytes: report.torn_bytes });
    }
    for detail in report.damage {
        sink.emit(now_ms, Event::RecordDamaged { detail });
    }
    let status = recording.recorder().status();
    let event = Event::RecordOpened {
        record: status.record,
        directory: directory.display().to_string(),
        created: report.created,
        sequence: report.sequence,
    };
    sink.emit(now_ms, event);
    let recorder = EventRecorder::new(recording.recorder(), now_ms);
    // They were told before there was a record.
    for warning in &config.warnings {
        if let Some(setting) = warning.key().filter(|key| key.starts_with("dangerous_")) {
            let event = Event::DangerousSetting { setting: setting.into(), meaning: warning.what.clone() };
            recorder.take(now_ms, &event);
        }
    }
    sink.set_record(recorder);
    Ok(Some(recording))
}

/// What the record's thread has to tell, as events.
struct Notices {
    sink: EventSink,
    signed_ms: AtomicU64,
}

impl Notices {
    fn tell(&self, notice: Notice) {
        let now_ms = wall_ms();
        let event = match notice {
            Notice::Signed(head) => {
                let due = now_ms.abs_diff(self.signed_ms.load(Ordering::Relaxed)) >= SIGNED_MS;
                if !due && !head.checkpoint.closed {
                    return;
                }
                self.signed_ms.store(now_ms, Ordering::Relaxed);
                let signed = head.checkpoint;
                Event::RecordSigned {
                    record: signed.record,
                    sequence: signed.sequence,
                    head: signed.head,
                    key: signed.key,
                }
            }
            Notice::Failed { error, refusing } => Event::RecordFailed { error, refusing },
            Notice::Recovered { lost } => Event::RecordRecovered { lost },
            Notice::Full { refusing } => Event::RecordFull { refusing },
            Notice::Pruned { up_to } => Event::RecordPruned { up_to },
            Notice::ClockJump { from_ms, to_ms } => Event::ClockJumped { from_ms, to_ms },
            _ => return,
        };
        self.sink.emit(now_ms, event);
    }
}

/// A publish to a recorded topic, as an entry to be: the payload is hashed on the record's thread.
pub(crate) fn transmission(observed: Arc<Observed>) -> Draft {
    let bytes = observed.payload.len() + observed.topic.len() + observed.properties.len();
    Draft::traffic(bytes, move || {
        let who = &observed.who;
        let entry = Transmission {
            id: name(observed.id),
            client_id: who.client_id.to_string(),
            identity: who.identity.as_deref().map(str::to_owned),
            certificate: who.certificate.as_deref().map(str::to_owned),
            address: who.address.map(|address| address.to_string()),
            topic: observed.topic.to_string(),
            sha256: hex(&sha256(&observed.payload)),
            bytes: observed.payload.len() as u64,
            qos: observed.qos as u8,
            retain: observed.retain,
            duplicate: observed.duplicate,
        };
        Entry::new(observed.wall_ms, What::Transmission(entry))
    })
}

/// A delivery of a recorded message.
pub(crate) fn delivery(delivered: Delivered) -> Draft {
    Draft::traffic(delivered.to.len(), move || {
        let entry = Delivery {
            id: name(delivered.id),
            client_id: delivered.to.to_string(),
            identity: delivered.identity.as_deref().map(str::to_owned),
            qos: delivered.qos as u8,
            how: match delivered.how {
                Way::Written => How::Written,
                Way::Acknowledged => How::Acknowledged,
                Way::Refused => How::Refused,
            },
        };
        Entry::new(delivered.wall_ms, What::Delivery(entry))
    })
}

/// Milliseconds since the Unix epoch.
fn wall_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap_or_default().as_millis() as u64
}

fn name(id: u64) -> String {
    format!("{id:016x}")
}

/// Makes entries of events: of every order, of refusals as many as are worth the disk.
pub(crate) struct EventRecorder {
    recorder: Recorder,
    refusals: Mutex<RefusalMeter>,
}

#[derive(Default)]
struct RefusalMeter {
    tokens: u64,
    filled_ms: u64,
    /// Summed up, by event and reason.
    summed: BTreeMap<(String, String), Refusals>,
    since_ms: u64,
}

impl EventRecorder {
    pub fn new(recorder: Recorder, now_ms: u64) -> EventRecorder {
        let meter = RefusalMeter { tokens: REFUSALS_BURST, filled_ms: now_ms, ..RefusalMeter::default() };
        EventRecorder { recorder, refusals: Mutex::new(meter) }
    }

    /// Takes an event, if it is one that the record keeps. Cheap for all others.
    pub fn take(&self, at_ms: u64, event: &Event) {
        match event {
            Event::Administered { actor, role, via, address, action, subject, done, detail } => {
                let entry = Administration {
                    actor: actor.clone(),
                    role: (*role).into(),
                    via: (*via).into(),
                    address: address.map(|address| address.to_string()),
                    action: action.clone(),
                    subject: subject.clone(),
                    done: *done,
                    detail: detail.clone(),
                };
                self.recorder.note(at_ms, What::Administration(entry));
            }
            Event::Suppressed { id, address, count } if is_refusal(id) => {
                let mut meter = self.meter();
                let address = address.map(|address| address.to_string());
                meter.sum(at_ms, id, "suppressed", address, *count);
            }
            event if is_of_the_node(event) => {
                self.recorder.note(at_ms, What::Administration(of_the_node(event)));
            }
            event if is_refusal(event.id()) => self.refusal(at_ms, event),
            _ => {}
        }
    }

    fn refusal(&self, at_ms: u64, event: &Event) {
        let Ok(Value::Object(fields)) = serde_json::to_value(event) else { return };
        let text = |name: &str| fields.get(name).and_then(Value::as_str).map(cut);
        let why = text("why").unwrap_or_default();
        let mut meter = self.meter();
        if !meter.admit(at_ms) {
            return meter.sum(at_ms, event.id(), &why, text("address"), 1);
        }
        drop(meter);
        let entry = Refusal {
            event: event.id().into(),
            why,
            client_id: text("client_id"),
            identity: text("identity"),
            address: text("address"),
            subject: text("topic").or_else(|| text("filter")),
        };
        self.recorder.note(at_ms, What::Refusal(entry));
    }

    /// Writes the summaries that are due, or all.
    pub fn flush(&self, now_ms: u64, all: bool) {
        let mut meter = self.meter();
        if meter.summed.is_empty() || !all && now_ms.abs_diff(meter.since_ms) < SUMMARY_MS {
            return;
        }
        for (_, summary) in std::mem::take(&mut meter.summed) {
            self.recorder.note(now_ms, What::Refusals(summary));
        }
    }

    fn meter(&self) -> std::sync::MutexGuard<'_, RefusalMeter> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RefusalMeter {
    fn admit(&mut self, now_ms: u64) -> bool {
        let seconds = now_ms.saturating_sub(self.filled_ms) / 1000;
        if seconds > 0 {
            self.tokens = (self.tokens + seconds).min(REFUSALS_BURST);
            self.filled_ms += seconds * 1000;
        } else if now_ms < self.filled_ms {
            // The clock was set back.
            self.filled_ms = now_ms;
        }
        let admitted = self.tokens > 0;
        self.tokens = self.tokens.saturating_sub(1);
        admitted
    }

    fn sum(&mut self, at_ms: u64, event: &str, why: &str, address: Option<String>, count: u64) {
        if self.summed.is_empty() {
            self.since_ms = at_ms;
        }
        let mut key = (event.to_owned(), why.to_owned());
        if self.summed.len() >= KINDS_MAX && !self.summed.contains_key(&key) {
            key = ("other".into(), "other".into());
        }
        let (event, why) = key.clone();
        let empty = || Refusals { event, why, count: 0, since_ms: at_ms, last_address: None };
        let summary = self.summed.entry(key).or_insert_with(empty);
        summary.count += count;
        summary.last_address = address.or_else(|| summary.last_address.take());
    }
}

fn is_refusal(id: &str) -> bool {
    id.ends_with(".refused")
}

/// What the node does to itself, on somebody's word or its own.
fn is_of_the_node(event: &Event) -> bool {
    matches!(
        event,
        Event::Reloaded { .. }
            | Event::ReloadFailed { .. }
            | Event::DangerousSetting { .. }
            | Event::StoreKeyRotated { .. }
            | Event::StoreDamaged { .. }
            | Event::RecordDamaged { .. }
            | Event::Fenced { .. }
            | Event::Released { .. }
            | Event::FirewallStraysRemoved { .. }
    )
}

fn of_the_node(event: &Event) -> Administration {
    let detail = serde_json::to_string(event).unwrap_or_default();
    let done = !matches!(event, Event::ReloadFailed { .. });
    Administration {
        actor: "ravelin".into(),
        role: "admin".into(),
        via: "node".into(),
        address: None,
        action: event.id().into(),
        subject: "node".into(),
        done,
        detail,
    }
}

fn cut(text: &str) -> String {
    let mut end = text.len().min(FIELD_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// The record, as one shard sees it.
pub(crate) struct RecordLane {
    recorder: Option<Recorder>,
    drafts: Vec<Draft>,
    /// The last name among the drafts.
    last: u64,
    /// Batches that were handed over: their number, and the last name in each.
    handed: std::collections::VecDeque<(u64, u64)>,
}

impl RecordLane {
    pub fn new(recorder: Option<Recorder>) -> RecordLane {
        RecordLane { recorder, drafts: Vec::new(), last: 0, handed: Default::default() }
    }

    pub fn is_kept(&self) -> bool {
        self.recorder.is_some()
    }

    /// Whether publishes that must be recorded are to be refused.
    pub fn refuses(&self) -> bool {
        self.recorder.as_ref().is_some_and(Recorder::refuses)
    }

    /// Whether sockets must not be read.
    pub fn is_full(&self) -> bool {
        self.recorder.as_ref().is_some_and(Recorder::is_full)
    }

    pub fn observed(&mut self, observed: &Arc<Observed>) {
        if self.recorder.is_some() {
            self.last = observed.id;
            self.drafts.push(transmission(Arc::clone(observed)));
        }
    }

    pub fn delivered(&mut self, delivered: Delivered) {
        if self.recorder.is_some() {
            self.drafts.push(delivery(delivered));
        }
    }

    /// Hands over what a turn has brought.
    pub fn post(&mut self) {
        let Some(recorder) = &self.recorder else { return };
        if !self.drafts.is_empty() {
            let ticket = recorder.append(self.drafts.drain(..));
            let last = std::mem::take(&mut self.last);
            if last != 0 {
                self.handed.push_back((ticket, last));
            }
        }
    }

    /// The last name that is on disk, if that is news.
    pub fn poll_durable(&mut self) -> Option<u64> {
        let durable = self.recorder.as_ref()?.durable();
        let mut last = None;
        while self.handed.front().is_some_and(|(ticket, _)| *ticket <= durable) {
            last = self.handed.pop_front().map(|(_, id)| id);
        }
        last
    }
}

/// Writes summaries of refusals when they are due.
struct Summaries(EventSink);

impl Watcher for Summaries {
    fn watch(&mut self, now: Now, _: &[Watched], _: u64) {
        self.0.flush_record(now.wall_ms, false);
    }
}

impl Control {
    /// Has summaries written, and the shards woken when the record has caught up.
    pub(crate) fn open_record(&self) {
        let Some(recorder) = &self.0.recorder else { return };
        self.0.watch.add(Box::new(Summaries(self.0.sink.clone())));
        let mailboxes = Arc::clone(&self.0.mailboxes);
        recorder.on_progress(move || mailboxes.iter().for_each(|mailbox| mailbox.wake().ring()));
    }

    /// How the record is; `None` where the node keeps no state.
    pub fn record_status(&self) -> Option<Status> {
        self.0.recorder.as_ref().map(Recorder::status)
    }
}
