//! As much of Sparkplug B's protocol buffer as names and scalar values of metrics need.
//!
//! `Payload { timestamp = 1, metrics = 2, seq = 3, uuid = 4, body = 5 }` and `Metric { name = 1, alias = 2, timestamp = 3, datatype = 4,
//! is_historical = 5, is_transient = 6, is_null = 7, metadata = 8, properties = 9, int_value = 10, long_value = 11, float_value = 12,
//! double_value = 13, boolean_value = 14, string_value = 15, bytes_value = 16, dataset_value = 17, template_value = 18 }` (Sparkplug
//! specification 3.0, section 6.4). Data sets and templates are skipped, never descended into: the work is linear in the bytes.

use super::Value;

/// A metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Its name; empty where only an alias is told.
    pub name: String,
    /// Its value, if it is a scalar and not null.
    pub value: Option<Value>,
}

/// Metrics of one message beyond this are not looked at.
pub const METRICS_MAX: usize = 4_096;
/// A name or text beyond this is not kept.
const TEXT_MAX: usize = 256;

/// The bytes are not such a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotSparkplug;

/// The metrics of a payload, at most [`METRICS_MAX`] of them.
///
/// # Errors
///
/// [`NotSparkplug`] if the bytes are not a protocol buffer, or a field that is read has another wire type.
pub fn metrics(payload: &[u8]) -> Result<Vec<Metric>, NotSparkplug> {
    let mut found = Vec::new();
    let mut reader = Reader(payload);
    while let Some((field, wire)) = reader.field()? {
        match (field, wire) {
            (2, Wire::Bytes(bytes)) if found.len() < METRICS_MAX => found.push(metric(bytes)?),
            (2, Wire::Bytes(_)) => {}
            (2, _) => return Err(NotSparkplug),
            _ => {}
        }
    }
    Ok(found)
}

fn metric(bytes: &[u8]) -> Result<Metric, NotSparkplug> {
    let (mut name, mut datatype, mut value, mut null) = (String::new(), 0, None, false);
    let mut reader = Reader(bytes);
    while let Some((field, wire)) = reader.field()? {
        match (field, wire) {
            (1, Wire::Bytes(bytes)) => name = text(bytes).unwrap_or_default(),
            (4, Wire::Varint(kind)) => datatype = kind,
            (7, Wire::Varint(flag)) => null = flag != 0,
            (10 | 11, Wire::Varint(raw)) => value = Some(Raw::Integer(raw)),
            (12, Wire::Fixed32(bits)) => value = Some(Raw::Float(f64::from(f32::from_bits(bits)))),
            (13, Wire::Fixed64(bits)) => value = Some(Raw::Float(f64::from_bits(bits))),
            (14, Wire::Varint(flag)) => value = Some(Raw::Boolean(flag != 0)),
            (15, Wire::Bytes(bytes)) => value = text(bytes).map(Raw::Text),
            (1 | 4 | 7 | 10..=15, _) => return Err(NotSparkplug),
            _ => {}
        }
    }
    let value = value.filter(|_| !null).and_then(|raw| raw.value(datatype));
    Ok(Metric { name, value })
}

enum Raw {
    Integer(u64),
    Float(f64),
    Boolean(bool),
    Text(String),
}

impl Raw {
    fn value(self, datatype: u64) -> Option<Value> {
        match self {
            // Int8, Int16, Int32 and Int64 are 1 to 4, in two's complement of the field's width.
            Raw::Integer(raw) if (1..=3).contains(&datatype) => {
                Some(Value::Number(f64::from(raw as u32 as i32)))
            }
            Raw::Integer(raw) if datatype == 4 => Some(Value::Number(raw as i64 as f64)),
            Raw::Integer(raw) => Some(Value::Number(raw as f64)),
            Raw::Float(number) => number.is_finite().then_some(Value::Number(number)),
            Raw::Boolean(flag) => Some(Value::Text(flag.to_string())),
            Raw::Text(text) => Some(Value::Text(text)),
        }
    }
}

fn text(bytes: &[u8]) -> Option<String> {
    (bytes.len() <= TEXT_MAX).then(|| std::str::from_utf8(bytes).ok().map(str::to_owned)).flatten()
}

enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next field and its value; `None` at the end.
    fn field(&mut self) -> Result<Option<(u64, Wire<'a>)>, NotSparkplug> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let wire = match key & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| NotSparkplug)?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Fixed32(u32::from_le_bytes(self.array()?)),
            // Groups (3, 4) are of an older protocol buffer, 6 and 7 of none.
            _ => return Err(NotSparkplug),
        };
        match key >> 3 {
            0 => Err(NotSparkplug),
            field => Ok(Some((field, wire))),
        }
    }

    fn varint(&mut self) -> Result<u64, NotSparkplug> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            // The tenth byte has one bit left.
            if shift == 63 && byte > 1 {
                return Err(NotSparkplug);
            }
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(NotSparkplug)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], NotSparkplug> {
        let (array, rest) = self.0.split_first_chunk::<N>().ok_or(NotSparkplug)?;
        self.0 = rest;
        Ok(*array)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], NotSparkplug> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(NotSparkplug)?;
        self.0 = rest;
        Ok(taken)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A length-delimited field.
    fn bytes(field: u8, content: &[u8]) -> Vec<u8> {
        let mut encoded = vec![field << 3 | 2, u8::try_from(content.len()).unwrap()];
        encoded.extend(content);
        encoded
    }

    /// A payload of text metrics.
    pub(crate) fn payload(metrics: &[(&str, &str)]) -> Vec<u8> {
        let metric = |(name, value): &(&str, &str)| {
            bytes(2, &[bytes(1, name.as_bytes()), vec![4 << 3, 12], bytes(15, value.as_bytes())].concat())
        };
        let metrics: Vec<u8> = metrics.iter().flat_map(metric).collect();
        [vec![1 << 3, 0x80, 0x01], metrics, vec![3 << 3, 0]].concat()
    }

    #[test]
    fn scalars_of_every_kind() {
        let one = |fields: &[u8]| metrics(&bytes(2, fields)).unwrap().remove(0).value;
        assert_eq!(one(&[4 << 3, 3, 10 << 3, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F]), Some(Value::Number(-1.0)));
        assert_eq!(one(&[4 << 3, 7, 10 << 3, 5]), Some(Value::Number(5.0)));
        assert_eq!(one(&[&[12 << 3 | 5][..], &1.5f32.to_le_bytes()].concat()), Some(Value::Number(1.5)));
        assert_eq!(one(&[&[13 << 3 | 1][..], &2.5f64.to_le_bytes()].concat()), Some(Value::Number(2.5)));
        assert_eq!(one(&[&[13 << 3 | 1][..], &f64::NAN.to_le_bytes()].concat()), None);
        assert_eq!(one(&[14 << 3, 1]), Some(Value::Text("true".into())));
        assert_eq!(one(&[7 << 3, 1, 10 << 3, 5]), None);
    }

    #[test]
    fn what_is_not_a_protocol_buffer_is_told() {
        for bad in [
            &b"\x12\x05ab"[..],
            b"\x12",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
            b"\x13",
            b"\x10\x01",
            b"\x00\x01",
            b"{}",
        ] {
            assert_eq!(metrics(bad), Err(NotSparkplug), "{bad:?}");
        }
    }

    #[test]
    fn the_number_of_metrics_is_bounded() {
        let many = bytes(2, &bytes(1, b"m")).repeat(METRICS_MAX + 10);
        assert_eq!(metrics(&many).unwrap().len(), METRICS_MAX);
    }
}
