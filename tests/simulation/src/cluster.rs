//! A broker of several shards, driven as the node drives it, with everything that may come late in the caller's hands.

use crate::wire::{Got, Login};
use crate::{Disk, Random, Rights};
use ravelin_broker::{
    Authorizer, Broker, Close, Connecting, Delivered, Limits, LinkId, Now, Observed, Outbound, Output,
    RestoreSummary, ShardMessage, Stats, home_shard,
};
use ravelin_event::{DisconnectCause, Event, Principal};
use ravelin_mqtt::{Packet, ReasonCode, Sender, Version, decode, peek};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// A client's end of a connection, by the number that the cluster gave it.
pub type Conn = u64;

struct Wire {
    shard: u16,
    link: Option<LinkId>,
    version: Version,
    /// Bytes that the broker has written.
    to_client: Vec<u8>,
    /// How far it has read.
    read_to: usize,
    /// Bytes that it has read since the beginning.
    bytes_read: u64,
    /// The client does not read: nothing is taken from the link.
    stalled: bool,
    aliases: BTreeMap<u16, String>,
    largest: usize,
}

/// A broker of one or more shards, its clients' connections and its disk.
pub struct Cluster {
    /// The time.
    pub now: Now,
    /// What the shards were made with.
    pub limits: Limits,
    /// Access rules of new shards.
    pub rights: Rc<dyn Authorizer>,
    /// The disk.
    pub disk: Disk,
    /// How long the next process takes to come up, in milliseconds.
    pub down_ms: u64,
    /// What happened, oldest first; the caller may take it.
    pub events: Vec<(Now, Event)>,
    /// What those who watch topics were told, oldest first.
    pub observed: Vec<Observed>,
    /// What the transmission record was told of deliveries, oldest first.
    pub delivered: Vec<Delivered>,
    shards: Vec<Broker>,
    mail: BTreeMap<(u16, u16), VecDeque<ShardMessage>>,
    wires: BTreeMap<Conn, Wire>,
    last_conn: Conn,
    checkpoint: Option<Vec<Option<u64>>>,
}

impl Cluster {
    /// An empty broker of so many shards.
    pub fn new(shards: u16) -> Cluster {
        Cluster::with_limits(shards, Limits::default())
    }

    /// An empty broker with limits of its own.
    pub fn with_limits(shards: u16, limits: Limits) -> Cluster {
        let mut cluster = Cluster {
            now: Now { mono_ms: 5_000, wall_ms: 1_700_000_000_000 },
            limits,
            rights: Rc::new(Rights::default()),
            disk: Disk::default(),
            down_ms: 0,
            events: Vec::new(),
            observed: Vec::new(),
            delivered: Vec::new(),
            shards: Vec::new(),
            mail: BTreeMap::new(),
            wires: BTreeMap::new(),
            last_conn: 0,
            checkpoint: None,
        };
        cluster.boot(shards);
        cluster
    }

    /// Starts a process on what the disk holds.
    fn boot(&mut self, shards: u16) -> RestoreSummary {
        self.now.wall_ms += std::mem::take(&mut self.down_ms);
        self.mail.clear();
        self.wires.clear();
        self.checkpoint = None;
        self.disk.reopen(shards);
        let mut total = RestoreSummary::default();
        self.shards.clear();
        for shard in 0..shards {
            let mut broker =
                Broker::new(shard, shards, self.limits.clone(), self.rights.clone(), 77 + shard as u64);
            for record in self.disk.records() {
                if let Err(error) = broker.restore(self.now, record) {
                    panic!("{error}: {record:?}");
                }
            }
            let summary = broker.finish_restore(self.now);
            // Whoever's rights went while the process was down has none now.
            broker.set_authorizer(self.now, self.rights.clone());
            total.sessions += summary.sessions;
            total.queued += summary.queued;
            total.retained = summary.retained;
            self.shards.push(broker);
        }
        for shard in 0..shards {
            self.turn(shard);
        }
        // Nobody connects before the shards know of each other.
        while self.deliver_all_mail() {}
        total
    }

    /// The process dies and starts again with so many shards. All that is not durable may be lost.
    pub fn crash(&mut self, random: &mut Random, shards: u16) -> RestoreSummary {
        self.disk.crash(random);
        // The monotonic clock starts anew with each process.
        self.now.mono_ms = 1_000 + random.below(1_000_000) as u64;
        self.boot(shards)
    }

    /// The process dies with everything on disk, and starts again.
    pub fn restart(&mut self, shards: u16) -> RestoreSummary {
        self.sync_all();
        self.now.mono_ms += 123;
        self.boot(shards)
    }

    /// The shard that is the home of a Client Identifier, and the time.
    pub fn home(&mut self, client_id: &str) -> (&mut Broker, Now) {
        let shard = home_shard(client_id, self.shards());
        (&mut self.shards[shard as usize], self.now)
    }

    /// New access rules for all shards; those of the next process, too.
    pub fn set_rights(&mut self, rights: Rc<dyn Authorizer>) {
        self.rights = rights;
        for shard in 0..self.shards() {
            self.set_rights_on(shard);
        }
    }

    /// A shard hears of the access rules that are in force.
    pub fn set_rights_on(&mut self, shard: u16) {
        self.shards[shard as usize].set_authorizer(self.now, self.rights.clone());
        self.turn(shard);
    }

    /// The same where only freezes have changed.
    pub fn set_freezes(&mut self, rights: Rc<dyn Authorizer>) {
        self.rights = rights;
        for shard in 0..self.shards() {
            self.shards[shard as usize].set_freezes(self.now, self.rights.clone());
            self.turn(shard);
        }
    }

    /// The number of shards.
    pub fn shards(&self) -> u16 {
        self.shards.len() as u16
    }

    /// A shard.
    pub fn shard(&mut self, shard: u16) -> &mut Broker {
        &mut self.shards[shard as usize]
    }

    /// The gauges and counters of all shards, by shard.
    pub fn stats(&self) -> Vec<Stats> {
        self.shards.iter().map(Broker::stats).collect()
    }

    /// Opens a connection and sends a CONNECT.
    pub fn connect(&mut self, login: &Login) -> Result<Conn, ReasonCode> {
        let bytes = login.encode();
        let frame = peek(&bytes, u32::MAX).ok().flatten().expect("a whole packet");
        let limits = self.limits.decode;
        let body = &bytes[frame.header_len..];
        let Ok(Packet::Connect(connect)) = decode(frame.first, body, login.version, Sender::Client, &limits)
        else {
            panic!("not a CONNECT: {login:?}");
        };
        let shard = home_shard(&login.client_id, self.shards());
        self.last_conn += 1;
        let conn = self.last_conn;
        let principal = Principal {
            identity: login.identity.map(Into::into),
            ..Principal::anonymous(login.client_id.as_str())
        };
        let connecting = Connecting {
            connect: &connect,
            token: conn,
            principal,
            client_id_assigned: false,
            auth_method: None,
            auth_data: None,
        };
        let link = self.shards[shard as usize].handle_connect(self.now, connecting)?;
        let wire = Wire {
            shard,
            link: Some(link),
            version: login.version,
            to_client: Vec::new(),
            read_to: 0,
            bytes_read: 0,
            stalled: false,
            aliases: BTreeMap::new(),
            largest: 0,
        };
        self.wires.insert(conn, wire);
        self.turn(shard);
        Ok(conn)
    }

    /// Sends whole packets.
    pub fn send(&mut self, conn: Conn, mut bytes: &[u8]) {
        while let Some(frame) = peek(bytes, u32::MAX).expect("a packet") {
            let (packet, rest) = bytes.split_at(frame.total_len);
            self.send_frame(conn, frame.first, &packet[frame.header_len..]);
            bytes = rest;
        }
    }

    /// Sends one frame, whatever is in it.
    pub fn send_frame(&mut self, conn: Conn, first: u8, body: &[u8]) {
        let Some(wire) = self.wires.get(&conn) else { return };
        let (shard, Some(link)) = (wire.shard, wire.link) else { return };
        self.shards[shard as usize].handle_frame(self.now, link, first, body);
        self.turn(shard);
    }

    /// The version that a connection speaks.
    pub fn version(&self, conn: Conn) -> Version {
        self.wires.get(&conn).map_or(Version::V5, |wire| wire.version)
    }

    /// Whether the broker still has the connection.
    pub fn is_open(&self, conn: Conn) -> bool {
        self.wires.get(&conn).is_some_and(|wire| wire.link.is_some())
    }

    /// The network connection breaks. What the client has not read is lost.
    pub fn drop_conn(&mut self, conn: Conn) {
        let Some(wire) = self.wires.remove(&conn) else { return };
        if let Some(link) = wire.link {
            self.shards[wire.shard as usize].handle_closed(self.now, link, DisconnectCause::Reset, None);
            self.turn(wire.shard);
        }
    }

    /// A client stops or starts to read.
    pub fn set_stalled(&mut self, conn: Conn, stalled: bool) {
        let Some(wire) = self.wires.get_mut(&conn) else { return };
        wire.stalled = stalled;
        let shard = wire.shard;
        if let Some(link) = wire.link.filter(|_| !stalled) {
            self.take_bytes(shard, link, conn);
            self.turn(shard);
        }
    }

    /// What has arrived at the client since the last call.
    pub fn receive(&mut self, conn: Conn) -> Vec<Got> {
        std::iter::from_fn(|| self.receive_one(conn)).collect()
    }

    /// The next packet that has arrived at the client.
    pub fn receive_one(&mut self, conn: Conn) -> Option<Got> {
        let wire = self.wires.get_mut(&conn)?;
        let bytes = wire.to_client.get(wire.read_to..).filter(|bytes| !bytes.is_empty());
        let Some(bytes) = bytes else {
            wire.to_client.clear();
            wire.read_to = 0;
            return None;
        };
        let frame = peek(bytes, u32::MAX).ok().flatten().expect("the core writes whole packets");
        assert!(frame.total_len <= bytes.len(), "the core writes whole packets");
        wire.read_to += frame.total_len;
        wire.bytes_read += frame.total_len as u64;
        wire.largest = wire.largest.max(frame.total_len);
        let mut got = Got::read(frame.first, &bytes[frame.header_len..frame.total_len], wire.version);
        if let Got::Publish(message) = &mut got
            && let Some(alias) = message.alias
        {
            if message.topic.is_empty() {
                message.topic = wire.aliases.get(&alias).expect("an alias that was set before").clone();
            } else {
                wire.aliases.insert(alias, message.topic.clone());
            }
        }
        Some(got)
    }

    /// Bytes that the client has read of a connection.
    pub fn bytes_read(&self, conn: Conn) -> u64 {
        self.wires.get(&conn).map_or(0, |wire| wire.bytes_read)
    }

    /// Bytes of the largest packet that the client has received.
    pub fn largest_packet(&self, conn: Conn) -> usize {
        self.wires.get(&conn).map_or(0, |wire| wire.largest)
    }

    /// Delivers the oldest message from one shard to another. False: there is none.
    pub fn deliver_mail(&mut self, from: u16, to: u16) -> bool {
        let Some(message) = self.mail.get_mut(&(from, to)).and_then(VecDeque::pop_front) else {
            return false;
        };
        self.shards[to as usize].handle_shard(self.now, from, message);
        self.turn(to);
        true
    }

    /// Pairs of shards with mail under way.
    pub fn mail_routes(&self) -> Vec<(u16, u16)> {
        self.mail.iter().filter(|(_, queue)| !queue.is_empty()).map(|(route, _)| *route).collect()
    }

    fn deliver_all_mail(&mut self) -> bool {
        let routes = self.mail_routes();
        for &(from, to) in &routes {
            while self.deliver_mail(from, to) {}
        }
        !routes.is_empty()
    }

    /// Makes up to `most` records of a shard durable and tells it.
    pub fn sync(&mut self, shard: u16, most: usize) {
        self.disk.sync(shard, most);
        let durable = self.disk.durable(shard);
        self.shards[shard as usize].handle_durable(self.now, durable);
        self.turn(shard);
    }

    fn sync_all(&mut self) {
        for shard in 0..self.shards() {
            self.sync(shard, usize::MAX);
        }
    }

    /// Everything that is late arrives.
    pub fn settle(&mut self) {
        loop {
            self.sync_all();
            if !self.deliver_all_mail() && (0..self.shards()).all(|shard| self.disk.pending(shard) == 0) {
                return;
            }
        }
    }

    /// Time passes, and what is due is done, in order.
    pub fn advance(&mut self, ms: u64) {
        let end = self.now.mono_ms + ms;
        loop {
            let due = self.shards.iter().filter_map(Broker::poll_timeout).filter(|at| *at <= end).min();
            let at = due.unwrap_or(end).max(self.now.mono_ms);
            self.now.wall_ms += at - self.now.mono_ms;
            self.now.mono_ms = at;
            if due.is_none() {
                return;
            }
            for shard in 0..self.shards() {
                self.shards[shard as usize].handle_timeout(self.now);
                self.turn(shard);
            }
        }
    }

    /// Begins a checkpoint on all shards.
    pub fn checkpoint_begin(&mut self) {
        self.disk.checkpoint_begun();
        for shard in &mut self.shards {
            shard.checkpoint_begin();
        }
        self.checkpoint = Some(vec![None; self.shards.len()]);
    }

    /// Writes more of the checkpoint on one shard.
    pub fn checkpoint_step(&mut self, shard: u16, budget_bytes: usize) {
        let Some(checkpoint) = &mut self.checkpoint else { return };
        let place = &mut checkpoint[shard as usize];
        if place.is_none() && self.shards[shard as usize].checkpoint_step(self.now, budget_bytes) {
            self.turn(shard);
            let end = self.disk.durable(shard) + self.disk.pending(shard) as u64;
            if let Some(checkpoint) = &mut self.checkpoint {
                checkpoint[shard as usize] = Some(end);
            }
        }
        self.turn(shard);
    }

    /// Cuts the log if the checkpoint is complete and durable. True: no checkpoint is under way any more.
    pub fn checkpoint_end(&mut self) -> bool {
        let Some(checkpoint) = &self.checkpoint else { return true };
        let disk = &self.disk;
        let durable =
            |(shard, end): (usize, &Option<u64>)| end.is_some_and(|end| disk.durable(shard as u16) >= end);
        if !checkpoint.iter().enumerate().all(durable) {
            return false;
        }
        self.disk.checkpoint_done();
        self.checkpoint = None;
        true
    }

    /// A whole checkpoint in small steps.
    pub fn checkpoint(&mut self) {
        self.checkpoint_begin();
        for shard in 0..self.shards() {
            while self.checkpoint.as_ref().is_some_and(|checkpoint| checkpoint[shard as usize].is_none()) {
                self.checkpoint_step(shard, 1);
            }
        }
        self.sync_all();
        assert!(self.checkpoint_end());
    }

    /// The rest of all shards' turns, after something was done to one directly.
    pub fn turn_all(&mut self) {
        for shard in 0..self.shards() {
            self.turn(shard);
        }
    }

    /// The rest of a shard's turn: the journal first, then the sisters, then the sockets.
    pub fn turn(&mut self, shard: u16) {
        loop {
            let broker = &mut self.shards[shard as usize];
            let mut idle = true;
            if let Some(batch) = broker.take_journal(Vec::new()) {
                self.disk.append(shard, &batch);
                idle = false;
            }
            while let Some(output) = self.shards[shard as usize].poll_output() {
                idle = false;
                match output {
                    Output::Observed(seen) => self.observed.push(*seen),
                    Output::Delivered(delivered) => self.delivered.push(delivered),
                    Output::Event(event) => self.events.push((self.now, event)),
                    Output::Send(to, message) => {
                        self.mail.entry((shard, to)).or_default().push_back(message);
                    }
                    Output::Close(close) => self.close(close),
                }
            }
            while let Some((link, token)) = self.shards[shard as usize].poll_flush() {
                idle = false;
                self.take_bytes(shard, link, token);
            }
            if idle {
                return;
            }
        }
    }

    fn take_bytes(&mut self, shard: u16, link: LinkId, conn: Conn) {
        let Some(wire) = self.wires.get_mut(&conn) else { return };
        if wire.stalled {
            return;
        }
        let broker = &mut self.shards[shard as usize];
        let Some(outbound) = broker.outbound(link) else { return };
        drain(outbound, &mut wire.to_client);
        broker.handle_drained(self.now, link);
    }

    fn close(&mut self, mut close: Close) {
        if let Some(wire) = self.wires.get_mut(&close.token) {
            wire.link = None;
            if !wire.stalled {
                drain(&mut close.last, &mut wire.to_client);
            }
        }
    }
}

fn drain(outbound: &mut Outbound, into: &mut Vec<u8>) {
    while !outbound.is_empty() {
        let mut slices = [&[][..]; 8];
        let filled = outbound.slices(&mut slices);
        let before = into.len();
        slices[..filled].iter().for_each(|slice| into.extend_from_slice(slice));
        outbound.consume(into.len() - before);
    }
}
