//! The event log: a bounded queue, one thread that writes lines, and what keeps a flood of refusals out of it.
//!
//! A shard never waits for the log: a full queue drops the record and counts it. Every field is escaped, so that what
//! a client chose (a Client Identifier, a topic) can neither start a line of its own nor drive a terminal.

use crate::control::record::EventRecorder;
use crate::control::{WatchQueue, Watched};
use foldhash::HashMap;
use ravelin_event::{Event, Level, Record};
use std::fmt::Write as _;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

/// Records that may wait to be written.
const QUEUE_RECORDS_MAX: usize = 8192;

/// How a record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `time LEVEL id field=value ...`.
    Text,
    /// The same with the level as journald reads it (`<4>` in front), without the time, which the journal has.
    Journal,
    /// One JSON object a line.
    Json,
}

/// Where events go. Cheap to clone; one for every thread.
#[derive(Clone)]
pub struct EventSink {
    sender: SyncSender<Message>,
    shared: Arc<Shared>,
}

struct Shared {
    level: AtomicU8,
    /// From which level on events go to whoever watches; above all levels while nobody does.
    watched: AtomicU8,
    watch: OnceLock<Arc<WatchQueue>>,
    record: OnceLock<EventRecorder>,
    dropped: AtomicU64,
}

/// Above every level.
const NOBODY: u8 = u8::MAX;

enum Message {
    Record(Arc<Record>),
    Stop,
}

/// The thread that writes.
pub struct LogThread {
    sender: SyncSender<Message>,
    thread: Option<JoinHandle<()>>,
}

impl EventSink {
    /// Starts the thread that writes the events of `level` and above to `out`.
    pub fn start(
        format: Format,
        level: Level,
        out: Box<dyn Write + Send>,
    ) -> std::io::Result<(EventSink, LogThread)> {
        let (sender, receiver) = sync_channel(QUEUE_RECORDS_MAX);
        let shared = Arc::new(Shared {
            level: AtomicU8::new(level as u8),
            watched: AtomicU8::new(NOBODY),
            watch: OnceLock::new(),
            record: OnceLock::new(),
            dropped: AtomicU64::new(0),
        });
        let thread = std::thread::Builder::new().name("ravelin-log".into()).spawn({
            let shared = Arc::clone(&shared);
            move || write_records(&receiver, &shared, format, out)
        })?;
        let sink = EventSink { sender: sender.clone(), shared };
        Ok((sink, LogThread { sender, thread: Some(thread) }))
    }

    /// Whether events of `level` are wanted.
    #[inline]
    pub fn wants(&self, level: Level) -> bool {
        let level = level as u8;
        level >= self.shared.level.load(Ordering::Relaxed)
            || level >= self.shared.watched.load(Ordering::Relaxed)
    }

    /// Whether events of `level` go to whoever watches.
    #[inline]
    pub(crate) fn is_watched(&self, level: Level) -> bool {
        level as u8 >= self.shared.watched.load(Ordering::Relaxed)
    }

    /// Where events go beside the log. Set once, before anything happens.
    pub(crate) fn set_watch(&self, watch: Arc<WatchQueue>) {
        let _ = self.shared.watch.set(watch);
    }

    /// What keeps orders and refusals, whatever the level of the log. Set once.
    pub(crate) fn set_record(&self, record: EventRecorder) {
        let _ = self.shared.record.set(record);
    }

    /// Has the record write what it has summed up, if it is due.
    pub(crate) fn flush_record(&self, now_ms: u64, all: bool) {
        if let Some(record) = self.shared.record.get() {
            record.flush(now_ms, all);
        }
    }

    /// From which level on whoever watches wants to know.
    pub(crate) fn set_watched(&self, level: Level) {
        self.shared.watched.store(level as u8, Ordering::Relaxed);
    }

    /// The level from which on events are written.
    pub fn level(&self) -> Level {
        match self.shared.level.load(Ordering::Relaxed) {
            0 => Level::Trace,
            1 => Level::Debug,
            2 => Level::Info,
            _ => Level::Warn,
        }
    }

    /// Changes the level from which on events are written.
    pub fn set_level(&self, level: Level) {
        self.shared.level.store(level as u8, Ordering::Relaxed);
    }

    /// Hands an event to the log; drops it when the queue is full.
    pub fn emit(&self, at_ms: u64, event: Event) {
        let level = event.level() as u8;
        if let Some(record) = self.shared.record.get() {
            record.take(at_ms, &event);
        }
        if !self.wants(event.level()) {
            return;
        }
        let record = Arc::new(Record::new(at_ms, event));
        if level >= self.shared.watched.load(Ordering::Relaxed)
            && let Some(watch) = self.shared.watch.get()
        {
            watch.push(Watched::Event(Arc::clone(&record)));
        }
        if level < self.shared.level.load(Ordering::Relaxed) {
            return;
        }
        let message = Message::Record(record);
        if let Err(TrySendError::Full(_)) = self.sender.try_send(message) {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Records that were dropped because the queue was full and that no line has told of yet.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }
}

impl LogThread {
    /// Writes all that was handed over, and ends the thread.
    pub fn stop(mut self) {
        let _ = self.sender.send(Message::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn write_records(
    receiver: &Receiver<Message>,
    shared: &Shared,
    format: Format,
    mut out: Box<dyn Write + Send>,
) {
    let mut text = String::new();
    let mut last_ms = 0;
    loop {
        text.clear();
        let mut stop = false;
        match receiver.recv_timeout(Duration::from_secs(1)) {
            Ok(Message::Record(record)) => {
                last_ms = record.at_ms;
                format_record(&mut text, format, &record);
            }
            Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => stop = true,
            Err(RecvTimeoutError::Timeout) => {}
        }
        // What is already there goes out with one write.
        while text.len() < 64 << 10 && !stop {
            match receiver.try_recv() {
                Ok(Message::Record(record)) => format_record(&mut text, format, &record),
                Ok(Message::Stop) => stop = true,
                Err(_) => break,
            }
        }
        let dropped = shared.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let event = Event::Suppressed { id: "log.queue_full".into(), address: None, count: dropped };
            format_record(&mut text, format, &Record::new(last_ms, event));
        }
        // There is nowhere to tell that standard error is gone.
        let _ = out.write_all(text.as_bytes());
        let _ = out.flush();
        if stop {
            return;
        }
    }
}

/// Appends one line.
pub fn format_record(line: &mut String, format: Format, record: &Record) {
    let start = line.len();
    match format {
        Format::Json => match serde_json::to_string(record) {
            Ok(json) => escape_json(line, &json),
            Err(_) => line.push_str("{}"),
        },
        Format::Text => {
            push_time(line, record.at_ms);
            let _ = write!(line, " {:5} ", level_name(record.event.level()));
            push_fields(line, record);
        }
        Format::Journal => {
            let priority = match record.event.level() {
                Level::Warn => 4,
                Level::Info => 6,
                Level::Debug | Level::Trace => 7,
            };
            let _ = write!(line, "<{priority}>");
            push_fields(line, record);
        }
    }
    debug_assert!(!line[start..].contains('\n'));
    line.push('\n');
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::Warn => "WARN",
        Level::Info => "INFO",
        Level::Debug => "DEBUG",
        Level::Trace => "TRACE",
    }
}

fn push_fields(line: &mut String, record: &Record) {
    line.push_str(record.event.id());
    let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(&record.event) else { return };
    for (name, value) in fields {
        match value {
            serde_json::Value::Null => {}
            serde_json::Value::String(text) => {
                let _ = write!(line, " {name}=");
                push_text(line, &text);
            }
            other => {
                let _ = write!(line, " {name}={other}");
            }
        }
    }
}

/// A value, quoted unless it is plain, with everything escaped that a terminal or a log reader could act on.
fn push_text(line: &mut String, text: &str) {
    let plain = |c: char| c.is_alphanumeric() || "-_.:/@+#$[]%,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        line.push_str(text);
        return;
    }
    line.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                line.push('\\');
                line.push(c);
            }
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            c if must_escape(c) => {
                let _ = write!(line, "\\u{{{:x}}}", c as u32);
            }
            c => line.push(c),
        }
    }
    line.push('"');
}

/// Control characters, and those that change the direction or the lines of the text around them.
fn must_escape(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// JSON leaves DEL, C1 controls and direction marks as they are; in a log they are escaped too.
fn escape_json(line: &mut String, json: &str) {
    for c in json.chars() {
        if must_escape(c) {
            let _ = write!(line, "\\u{:04x}", c as u32);
        } else {
            line.push(c);
        }
    }
}

/// RFC 3339 in UTC, with milliseconds.
fn push_time(line: &mut String, at_ms: u64) {
    let (days, ms) = (at_ms / 86_400_000, at_ms % 86_400_000);
    // Days to a civil date, by eras of 400 years that begin in March.
    let z = days as i64 + 719_468;
    let (era, doe) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    let _ = write!(line, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1000);
}

/// How many times more often than be refused somebody may connect and leave before it is summed up.
const COMING_AND_GOING: u32 = 50;

/// An event's place in the catalogue, and whose it is.
type Key = (usize, Option<IpAddr>);

/// Lets a few warnings of one kind from one address through and counts the rest (attack 49).
pub struct Suppressor {
    window_ms: u64,
    burst: u32,
    entries_max: usize,
    since_ms: u64,
    seen: HashMap<Key, Seen>,
}

struct Seen {
    id: &'static str,
    address: Option<SocketAddr>,
    burst: u32,
    count: u32,
}

impl Suppressor {
    /// Lets `burst` events of one kind and address through in `window_ms`.
    pub fn new(window_ms: u64, burst: u32) -> Suppressor {
        Suppressor { window_ms, burst, entries_max: 4096, since_ms: 0, seen: HashMap::default() }
    }

    /// Whether to log `event`.
    pub fn admit(&mut self, event: &Event) -> bool {
        let address = match event {
            Event::ConnectionRefused { address, .. } | Event::CredentialRefused { address, .. } => {
                Some(*address)
            }
            Event::PublishRefused { address, .. }
            | Event::SubscribeRefused { address, .. }
            | Event::WillRefused { address, .. }
            | Event::InternalError { address, .. } => *address,
            Event::QueueFull { .. } | Event::ResourceExhausted { .. } | Event::RecordUnreadable { .. } => {
                None
            }
            Event::Connected { address, .. } | Event::Disconnected { address, .. } => {
                return self.admit_coming_and_going(event, *address);
            }
            _ => return true,
        };
        let mut key = (event.index(), address.map(|address| address.ip()));
        if self.seen.len() >= self.entries_max && !self.seen.contains_key(&key) {
            // The table is full of other addresses: the rest shares one entry.
            key.1 = None;
        }
        self.count(key, event.id(), address, self.burst)
    }

    /// One who comes and goes without end is summed up; a fleet that comes back is told of, each by its own address.
    fn admit_coming_and_going(&mut self, event: &Event, address: Option<SocketAddr>) -> bool {
        let key = (event.index(), address.map(|address| address.ip()));
        if address.is_none() || self.seen.len() >= self.entries_max && !self.seen.contains_key(&key) {
            return true;
        }
        self.count(key, event.id(), address, self.burst * COMING_AND_GOING)
    }

    fn count(&mut self, key: Key, id: &'static str, address: Option<SocketAddr>, burst: u32) -> bool {
        let seen = self.seen.entry(key).or_insert(Seen { id, address, burst, count: 0 });
        seen.count += 1;
        seen.count <= burst
    }

    /// Ends the window when its time has come, and returns what was left out in it.
    pub fn poll(&mut self, now_ms: u64) -> Vec<Event> {
        if now_ms < self.since_ms + self.window_ms {
            return Vec::new();
        }
        self.since_ms = now_ms;
        let mut summaries = Vec::new();
        for (_, seen) in self.seen.drain() {
            if seen.count > seen.burst {
                summaries.push(Event::Suppressed {
                    id: seen.id.into(),
                    address: seen.address,
                    count: u64::from(seen.count - seen.burst),
                });
            }
        }
        summaries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ravelin_event::Refusal;

    fn refused(address: &str, client_id: &str) -> Event {
        Event::ConnectionRefused {
            address: address.parse().unwrap(),
            client_id: Some(client_id.into()),
            identity: None,
            why: Refusal::BadCredentials,
        }
    }

    #[test]
    fn a_client_id_cannot_forge_a_line() {
        let record = Record::new(0, refused("192.0.2.1:1", "a\n<0>forged\u{9b}31m\u{202e}\u{7f} x\"\\"));
        for format in [Format::Text, Format::Journal, Format::Json] {
            let mut line = String::new();
            format_record(&mut line, format, &record);
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            assert!(!line.trim_end().chars().any(must_escape), "{line}");
        }
        let mut line = String::new();
        format_record(&mut line, Format::Json, &record);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["fields"]["client_id"], "a\n<0>forged\u{9b}31m\u{202e}\u{7f} x\"\\");
    }

    #[test]
    fn times_are_rfc_3339() {
        let mut line = String::new();
        push_time(&mut line, 1_795_503_223_007);
        assert_eq!(line, "2026-11-24T06:53:43.007Z");
        line.clear();
        push_time(&mut line, 951_782_400_000);
        assert_eq!(line, "2000-02-29T00:00:00.000Z");
    }

    #[test]
    fn a_flood_is_cut_and_summed_up() {
        let mut suppressor = Suppressor::new(10_000, 5);
        let mut admitted = 0;
        for _ in 0..1000 {
            admitted += u32::from(suppressor.admit(&refused("192.0.2.1:1", "a")));
        }
        assert!(suppressor.admit(&refused("192.0.2.2:1", "a")), "another address is not affected");
        assert_eq!(admitted, 5);
        let summaries = suppressor.poll(10_000);
        assert_eq!(summaries.len(), 1);
        assert!(matches!(&summaries[0], Event::Suppressed { count: 995, .. }));
        assert!(suppressor.poll(10_001).is_empty());
    }

    #[test]
    fn the_table_of_addresses_is_bounded() {
        let mut suppressor = Suppressor::new(10_000, 1);
        for i in 0..10_000u32 {
            suppressor.admit(&refused(&format!("10.0.{}.{}:1", i >> 8 & 0xFF, i & 0xFF), "a"));
        }
        assert!(suppressor.seen.len() <= 4097);
    }

    #[test]
    fn a_full_queue_drops_and_tells() {
        struct Slow(std::sync::mpsc::Sender<Vec<u8>>);
        impl Write for Slow {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                let _ = self.0.send(bytes.to_vec());
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let (sender, receiver) = std::sync::mpsc::channel();
        let (sink, thread) = EventSink::start(Format::Json, Level::Info, Box::new(Slow(sender))).unwrap();
        sink.shared.dropped.store(3, Ordering::Relaxed);
        sink.emit(1, Event::Stopped { sessions: 1 });
        sink.emit(1, Event::SessionEnded { client_id: "debug".into(), expired: false });
        thread.stop();
        let text = String::from_utf8(receiver.try_iter().flatten().collect()).unwrap();
        assert!(text.contains("node.stopped") && text.contains("log.queue_full") && !text.contains("debug"));
    }
}
