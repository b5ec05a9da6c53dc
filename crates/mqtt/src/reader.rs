//! Reading the basic data types (section 1.5) off the front of a packet's bytes. Never past their end.

use crate::{Error, check_text, varint};

/// What is left to read.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    pub(crate) rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(CUT_SHORT);
        };
        self.rest = rest;
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let Some((taken, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(CUT_SHORT);
        };
        self.rest = rest;
        Ok(*taken)
    }

    #[inline]
    pub(crate) fn u8(&mut self) -> Result<u8, Error> {
        self.array::<1>().map(|[byte]| byte)
    }

    #[inline]
    pub(crate) fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_be_bytes)
    }

    #[inline]
    pub(crate) fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_be_bytes)
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u32, Error> {
        let (value, length) = varint::read(self.rest)?.ok_or(CUT_SHORT)?;
        self.rest = &self.rest[length..];
        Ok(value)
    }

    /// Binary Data (section 1.5.6).
    #[inline]
    pub(crate) fn binary(&mut self) -> Result<&'a [u8], Error> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    /// A UTF-8 Encoded String (section 1.5.4).
    #[inline]
    pub(crate) fn text(&mut self) -> Result<&'a str, Error> {
        check_text(self.binary()?)
    }

    /// A Packet Identifier (section 2.2.1).
    #[inline]
    pub(crate) fn packet_id(&mut self) -> Result<u16, Error> {
        match self.u16()? {
            // MQTT-2.2.1-3, MQTT-2.2.1-4 (3.1.1: MQTT-2.3.1-1): it is never 0.
            0 => Err(Error::ProtocolError("packet identifier is 0 (MQTT-2.2.1-3)")),
            id => Ok(id),
        }
    }

    /// After the last field.
    pub(crate) fn end(&self) -> Result<(), Error> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Error::Malformed("bytes follow the end of the packet's content"))
        }
    }
}

/// A field ends after the packet does.
const CUT_SHORT: Error = Error::Malformed("packet ends within a field");
