//! The records that the core writes so that its state survives: how they are laid out, and how they are read back.
//!
//! Integers are LEB128, strings and byte strings carry their length. A journal batch is a row of records, each behind
//! its length as 4 bytes, little-endian.

use crate::deliver::RemoteMember;
use crate::message::{Message, Parts};
use crate::{Now, RestoreError};
use ravelin_event::{CertificateAttributes, Principal};
use ravelin_mqtt::{QoS, RetainHandling, SubscribeOptions};
use std::rc::Rc;
use std::sync::Arc;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// The whole state of a session: at its start and in checkpoints.
    Session = 1,
    SessionEnded = 2,
    Subscribed = 3,
    Unsubscribed = 4,
    /// A message, where it came from and for whom.
    Published = 5,
    Acked = 6,
    Received = 7,
    Released = 8,
    Connected = 9,
    Disconnected = 10,
    /// A retained message, in checkpoints.
    Retained = 11,
    /// A will was published or withdrawn.
    WillGone = 12,
    /// A QoS 2 message that is under way, in checkpoints.
    Taken = 13,
    /// A will was published that not all who get it have on disk yet; its name is released when they do.
    WillPublished = 14,
}

impl Kind {
    pub fn from_u8(value: u8) -> Option<Kind> {
        use Kind::*;
        [
            Session,
            SessionEnded,
            Subscribed,
            Unsubscribed,
            Published,
            Acked,
            Received,
            Released,
            Connected,
            Disconnected,
            Retained,
            WillGone,
            Taken,
            WillPublished,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == value)
    }
}

/// The journal of a shard: records since it was last taken.
#[derive(Default)]
pub(crate) struct Journal {
    bytes: Vec<u8>,
    /// Records written since the start of the process.
    seq: u64,
    durable: u64,
}

impl Journal {
    /// Writes one record; returns its sequence number.
    pub fn record(&mut self, kind: Kind, write: impl FnOnce(&mut Writer<'_>)) -> u64 {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.push(kind as u8);
        write(&mut Writer(&mut self.bytes));
        let len = (self.bytes.len() - at - 4) as u32;
        self.bytes[at..at + 4].copy_from_slice(&len.to_le_bytes());
        self.seq += 1;
        self.seq
    }

    /// The sequence number of the last record.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The sequence number up to which all is on disk.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    pub fn set_durable(&mut self, seq: u64) {
        debug_assert!(seq <= self.seq);
        self.durable = self.durable.max(seq);
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn take(&mut self, empty: Vec<u8>) -> Option<Vec<u8>> {
        (!self.bytes.is_empty()).then(|| std::mem::replace(&mut self.bytes, empty))
    }
}

/// Appends fields to a record.
pub(crate) struct Writer<'a>(pub &'a mut Vec<u8>);

impl Writer<'_> {
    pub fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub fn int(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    pub fn bytes(&mut self, value: &[u8]) {
        self.int(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    pub fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    pub fn optional_text(&mut self, value: Option<&str>) {
        self.u8(value.is_some() as u8);
        if let Some(value) = value {
            self.text(value);
        }
    }

    /// Without the address, which belongs to the connection. What access rules ask for is kept: a session that was restored
    /// keeps its rights. Older records end with the certificate.
    pub fn principal(&mut self, who: &Principal) {
        self.text(&who.client_id);
        self.optional_text(who.identity.as_deref());
        let more = who.class.is_some() || who.attributes.is_some();
        self.u8(who.certificate.is_some() as u8 | (more as u8) << 1);
        if let Some(certificate) = &who.certificate {
            self.text(certificate);
        }
        if more {
            self.optional_text(who.class.as_deref());
            self.attributes(who.attributes.as_deref());
        }
    }

    fn attributes(&mut self, attributes: Option<&CertificateAttributes>) {
        self.u8(attributes.is_some() as u8);
        let Some(it) = attributes else { return };
        for text in [&it.common_name, &it.organization, &it.organizational_unit, &it.country] {
            self.optional_text(text.as_deref());
        }
        self.text(&it.serial);
        self.text(&it.issuer);
        for names in [&it.dns, &it.uri, &it.email] {
            self.int(names.len() as u64);
            names.iter().for_each(|name| self.text(name));
        }
        // What ended before 1970 has ended.
        self.int((it.not_after_s.max(0) as u64).min(INT_MAX));
    }

    /// The author of a retained message, at the end of a record.
    pub fn author(&mut self, who: Option<&Principal>) {
        if let Some(who) = who {
            self.principal(who);
        }
    }

    /// 0 is none.
    pub fn optional_int(&mut self, value: Option<u64>) {
        self.int(value.map_or(0, |value| value + 1));
    }

    pub fn options(&mut self, options: SubscribeOptions) {
        self.u8(options.qos as u8
            | (options.no_local as u8) << 2
            | (options.retain_as_published as u8) << 3
            | (options.retain_handling as u8) << 4);
    }

    pub fn parts(&mut self, now: Now, parts: Parts<'_>) {
        self.u8(parts.qos as u8 | (parts.retain as u8) << 2 | ((parts.record != 0) as u8) << 3);
        if parts.record != 0 {
            self.int(parts.record);
        }
        self.optional_int(parts.expires_ms.map(|at| now.wall_of(at)));
        self.text(parts.topic);
        self.bytes(parts.forward);
        self.bytes(parts.payload);
    }

    pub fn members(&mut self, members: &[RemoteMember]) {
        self.int(members.len() as u64);
        for member in members {
            self.int(member.shard as u64);
            self.int(member.uid);
            self.u8(member.qos as u8 | (member.retain as u8) << 2);
            self.int(member.subscription_id as u64);
        }
    }

    pub fn ids(&mut self, ids: Option<&[u32]>) {
        let ids = ids.unwrap_or_default();
        self.int(ids.len() as u64);
        for &id in ids {
            self.int(id as u64);
        }
    }
}

/// Reads fields of a record.
pub(crate) struct Reader<'a>(pub &'a [u8]);

type Read<T> = Result<T, RestoreError>;

/// Above all that is ever written (times, names, stamps), and low enough that sums of a few do not overflow.
const INT_MAX: u64 = 1 << 60;
const TOO_LARGE: RestoreError = RestoreError("an integer is too large");

/// The largest Variable Byte Integer (section 1.5.5).
const SUBSCRIPTION_ID_MAX: u32 = 268_435_455;

impl<'a> Reader<'a> {
    pub fn u8(&mut self) -> Read<u8> {
        let (&first, rest) = self.0.split_first().ok_or(RestoreError("a record ends too early"))?;
        self.0 = rest;
        Ok(first)
    }

    pub fn int(&mut self) -> Read<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            value |= ((byte & 0x7F) as u64) << shift;
            if byte < 0x80 {
                return (value <= INT_MAX).then_some(value).ok_or(TOO_LARGE);
            }
        }
        Err(TOO_LARGE)
    }

    pub fn bytes(&mut self) -> Read<&'a [u8]> {
        let len = usize::try_from(self.int()?).map_err(|_| RestoreError("a length is out of range"))?;
        let (bytes, rest) = self.0.split_at_checked(len).ok_or(RestoreError("a record ends too early"))?;
        self.0 = rest;
        Ok(bytes)
    }

    pub fn text(&mut self) -> Read<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| RestoreError("a text is not UTF-8"))
    }

    pub fn optional_text(&mut self) -> Read<Option<&'a str>> {
        Ok(if self.u8()? != 0 { Some(self.text()?) } else { None })
    }

    pub fn principal(&mut self) -> Read<Principal> {
        let who = Principal::anonymous(self.text()?);
        let identity = self.optional_text()?.map(Into::into);
        let flags = self.u8()?;
        let certificate = if flags & 1 != 0 { Some(self.text()?.into()) } else { None };
        let (mut class, mut attributes) = (None, None);
        if flags & 2 != 0 {
            class = self.optional_text()?.map(Into::into);
            attributes = self.attributes()?.map(Arc::new);
        }
        Ok(Principal { identity, certificate, class, attributes, ..who })
    }

    fn attributes(&mut self) -> Read<Option<CertificateAttributes>> {
        if self.u8()? == 0 {
            return Ok(None);
        }
        let mut own = || Ok(self.optional_text()?.map(str::to_owned));
        Ok(Some(CertificateAttributes {
            common_name: own()?,
            organization: own()?,
            organizational_unit: own()?,
            country: own()?,
            serial: self.text()?.to_owned(),
            issuer: self.text()?.to_owned(),
            dns: self.names()?,
            uri: self.names()?,
            email: self.names()?,
            not_after_s: self.int()? as i64,
        }))
    }

    fn names(&mut self) -> Read<Vec<String>> {
        let mut names = Vec::new();
        for _ in 0..self.int()? {
            names.push(self.text()?.to_owned());
        }
        Ok(names)
    }

    /// The author of a retained message, if the rest of the record names one.
    pub fn author(&mut self) -> Read<Option<Principal>> {
        if self.0.is_empty() { Ok(None) } else { self.principal().map(Some) }
    }

    pub fn optional_int(&mut self) -> Read<Option<u64>> {
        Ok(self.int()?.checked_sub(1))
    }

    pub fn qos(&mut self) -> Read<(QoS, u8)> {
        let flags = self.u8()?;
        Ok((QoS::from_u8(flags & 3).ok_or(RestoreError("a QoS is out of range"))?, flags >> 2))
    }

    pub fn options(&mut self) -> Read<SubscribeOptions> {
        let (qos, flags) = self.qos()?;
        Ok(SubscribeOptions {
            qos,
            no_local: flags & 1 != 0,
            retain_as_published: flags & 2 != 0,
            retain_handling: match flags >> 2 {
                0 => RetainHandling::Send,
                1 => RetainHandling::SendIfNew,
                _ => RetainHandling::DoNotSend,
            },
        })
    }

    pub fn message(&mut self, now: Now) -> Read<Message> {
        Ok(self.parts(now)?.to_message())
    }

    pub fn parts(&mut self, now: Now) -> Read<Parts<'a>> {
        let (qos, flags) = self.qos()?;
        let record = if flags & 2 != 0 { self.int()? } else { 0 };
        let expires_ms = self.optional_int()?.map(|wall_ms| now.mono_of(wall_ms));
        let topic = self.text()?;
        if topic.len() > u16::MAX as usize {
            return Err(RestoreError("a topic is too long"));
        }
        Ok(Parts {
            topic,
            forward: self.bytes()?,
            payload: self.bytes()?,
            qos,
            retain: flags & 1 != 0,
            expires_ms,
            record,
        })
    }

    pub fn members(&mut self) -> Read<Vec<RemoteMember>> {
        let mut members = Vec::new();
        for _ in 0..self.int()? {
            let (shard, uid, (qos, flags)) = (self.int()? as u16, self.int()?, self.qos()?);
            let subscription_id = self.id()?;
            members.push(RemoteMember { shard, uid, qos, retain: flags & 1 != 0, subscription_id });
        }
        Ok(members)
    }

    /// A Subscription Identifier, or 0 for none.
    pub fn id(&mut self) -> Read<u32> {
        let id = u32::try_from(self.int()?).ok().filter(|id| *id <= SUBSCRIPTION_ID_MAX);
        id.ok_or(RestoreError("a subscription identifier is out of range"))
    }

    pub fn ids(&mut self) -> Read<Option<Rc<[u32]>>> {
        let n = self.int()?;
        if n as usize > self.0.len() {
            return Err(RestoreError("a record ends too early"));
        }
        let mut ids = Vec::with_capacity(n as usize);
        for _ in 0..n {
            ids.push(self.id()?);
        }
        Ok((!ids.is_empty()).then(|| ids.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_back_as_they_were_written() {
        let mut bytes = Vec::new();
        let mut writer = Writer(&mut bytes);
        writer.int(300);
        writer.optional_int(None);
        writer.optional_int(Some(0));
        writer.optional_text(Some("ä"));
        writer.ids(Some(&[1, 268_435_455]));
        let mut reader = Reader(&bytes);
        assert_eq!(reader.int(), Ok(300));
        assert_eq!(reader.optional_int(), Ok(None));
        assert_eq!(reader.optional_int(), Ok(Some(0)));
        assert_eq!(reader.optional_text(), Ok(Some("ä")));
        assert_eq!(reader.ids().unwrap().as_deref(), Some(&[1, 268_435_455][..]));
        assert!(reader.u8().is_err());
    }

    #[test]
    fn a_principal_comes_back_with_all_that_rules_ask_for() {
        let attributes = CertificateAttributes {
            common_name: Some("meter-7".into()),
            country: Some("NL".into()),
            serial: "0a".into(),
            issuer: "CN=ca".into(),
            dns: vec!["a.example".into(), "b.example".into()],
            not_after_s: 1_900_000_000,
            ..Default::default()
        };
        let mut who = Principal::anonymous("c");
        for (class, attributes) in [
            (None, None),
            (Some("meter".into()), None),
            (None, Some(Arc::new(attributes.clone()))),
            (Some("meter".into()), Some(Arc::new(attributes))),
        ] {
            who = Principal {
                identity: Some("i".into()),
                certificate: Some("f0".into()),
                class,
                attributes,
                ..who
            };
            let mut bytes = Vec::new();
            Writer(&mut bytes).principal(&who);
            let mut reader = Reader(&bytes);
            assert_eq!(reader.principal(), Ok(who.clone()));
            assert!(reader.0.is_empty());
        }
        // As an earlier version wrote it.
        let mut bytes = Vec::new();
        let mut writer = Writer(&mut bytes);
        writer.text("c");
        writer.optional_text(None);
        writer.optional_text(Some("f0"));
        let old = Reader(&bytes).principal().unwrap();
        assert_eq!((old.certificate.as_deref(), old.class), (Some("f0"), None));
    }

    #[test]
    fn a_length_beyond_the_record_is_an_error_not_an_allocation() {
        let mut bytes = Vec::new();
        Writer(&mut bytes).int(u64::MAX);
        assert!(Reader(&bytes).bytes().is_err());
        assert!(Reader(&bytes).ids().is_err());
    }

    #[test]
    fn a_subscription_identifier_that_no_packet_can_carry_is_an_error() {
        for (id, good) in [(268_435_455, true), (268_435_456, false), (1 << 32, false)] {
            let mut bytes = Vec::new();
            Writer(&mut bytes).int(id);
            assert_eq!(Reader(&bytes).id().is_ok(), good, "{id}");
        }
    }
}
