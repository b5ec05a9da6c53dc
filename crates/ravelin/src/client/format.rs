//! How `ravelin sub` prints a message: `-F FORMAT` in the language of `mosquitto_sub`, `-v`, or the bare payload.
//!
//! Times are in UTC.

use super::calendar::Moment;
use super::message::Message;
use super::{Error, json};
use std::io::{self, Write};

/// A parsed output format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    parts: Vec<Part>,
    /// `\n` after each message.
    newline: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Vec<u8>),
    Field { name: char, width: Width },
    Strftime(char),
}

/// `%-010.5t`: how a field is padded and cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Width {
    left: bool,
    zero: bool,
    least: usize,
    most: Option<usize>,
}

/// The longest padding that a format may ask for.
const WIDTH_MAX: usize = 10_000;

impl Format {
    /// The payload as it is.
    pub fn payload(newline: bool) -> Format {
        Format { parts: vec![Part::field('p')], newline }
    }

    /// The topic, a space and the payload.
    pub fn verbose(newline: bool) -> Format {
        Format { parts: vec![Part::field('t'), Part::Literal(b" ".to_vec()), Part::field('p')], newline }
    }

    /// One JSON object a message.
    pub fn json(newline: bool) -> Format {
        Format { parts: vec![Part::field('j')], newline }
    }

    /// Parses a format; `newline` ends each message with a line break.
    pub fn parse(text: &str, newline: bool) -> Result<Format, Error> {
        let mut parts = Vec::new();
        let mut literal = Vec::new();
        let mut rest = text.chars().peekable();
        while let Some(start) = rest.next() {
            let part = match start {
                '%' => percent(&mut rest)?,
                '@' => match rest.next() {
                    Some('@') => Part::Literal(b"@".to_vec()),
                    Some(conversion) if Moment::from_unix(0, 0).strftime(conversion).is_some() => {
                        Part::Strftime(conversion)
                    }
                    other => return Err(unknown("time conversion", '@', other)),
                },
                '\\' => Part::Literal(vec![escape(rest.next())?]),
                other => {
                    literal.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes());
                    continue;
                }
            };
            match part {
                Part::Literal(bytes) => literal.extend_from_slice(&bytes),
                part => {
                    if !literal.is_empty() {
                        parts.push(Part::Literal(std::mem::take(&mut literal)));
                    }
                    parts.push(part);
                }
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Format { parts, newline })
    }

    /// Writes `message`, received at `at`. A message that the format cannot express (`%J` with a payload that is not JSON) is
    /// left out; its reason is the `Ok(Err(..))`.
    pub fn write(
        &self,
        out: &mut dyn Write,
        message: &Message,
        at: Moment,
    ) -> io::Result<Result<(), String>> {
        let mut line = Vec::with_capacity(message.payload.len() + 64);
        for part in &self.parts {
            match part {
                Part::Literal(bytes) => line.extend_from_slice(bytes),
                Part::Strftime(conversion) => {
                    line.extend_from_slice(at.strftime(*conversion).unwrap_or_default().as_bytes());
                }
                Part::Field { name, width } => match field(*name, message, at) {
                    Ok(value) => width.write(&mut line, &value),
                    Err(why) => return Ok(Err(why)),
                },
            }
        }
        if self.newline {
            line.push(b'\n');
        }
        out.write_all(&line)?;
        Ok(Ok(()))
    }
}

impl Part {
    fn field(name: char) -> Part {
        Part::Field { name, width: Width::default() }
    }
}

impl Width {
    fn write(&self, line: &mut Vec<u8>, value: &[u8]) {
        let value = match self.most {
            Some(most) => match std::str::from_utf8(value) {
                Ok(text) => text.char_indices().nth(most).map_or(value, |(end, _)| &value[..end]),
                Err(_) => &value[..most.min(value.len())],
            },
            None => value,
        };
        let shown = std::str::from_utf8(value).map_or(value.len(), |text| text.chars().count());
        let padding = self.least.saturating_sub(shown);
        let with = if self.zero && !self.left { b'0' } else { b' ' };
        if !self.left {
            line.extend(std::iter::repeat_n(with, padding));
        }
        line.extend_from_slice(value);
        if self.left {
            line.extend(std::iter::repeat_n(with, padding));
        }
    }
}

fn percent(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Part, Error> {
    let mut width = Width::default();
    loop {
        match rest.peek() {
            Some('-') => width.left = true,
            Some('0') => width.zero = true,
            _ => break,
        }
        rest.next();
    }
    width.least = digits(rest)?.unwrap_or(0);
    if rest.next_if_eq(&'.').is_some() {
        width.most = Some(digits(rest)?.unwrap_or(0));
    }
    match rest.next() {
        Some('%') => Ok(Part::Literal(b"%".to_vec())),
        Some(name) if "ACDEFIJPRSUXjlmpqrtx".contains(name) => Ok(Part::Field { name, width }),
        other => Err(unknown("field", '%', other)),
    }
}

fn digits(rest: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Option<usize>, Error> {
    let mut number = None;
    while let Some(digit) = rest.peek().and_then(|next| next.to_digit(10)) {
        rest.next();
        let value = number.unwrap_or(0) * 10 + digit as usize;
        if value > WIDTH_MAX {
            return Err(Error::Usage(format!("the format has a width over {WIDTH_MAX}")));
        }
        number = Some(value);
    }
    Ok(number)
}

fn escape(next: Option<char>) -> Result<u8, Error> {
    Ok(match next {
        Some('\\') => b'\\',
        Some('0') => 0,
        Some('a') => 0x07,
        Some('e') => 0x1B,
        Some('n') => b'\n',
        Some('r') => b'\r',
        Some('t') => b'\t',
        Some('v') => 0x0B,
        other => return Err(unknown("escape", '\\', other)),
    })
}

fn unknown(what: &str, start: char, found: Option<char>) -> Error {
    match found {
        Some(found) => Error::Usage(format!("the format has an unknown {what} {start}{found}")),
        None => Error::Usage(format!("the format ends after {start}")),
    }
}

fn field(name: char, message: &Message, at: Moment) -> Result<Vec<u8>, String> {
    fn text(value: Option<impl ToString>) -> Vec<u8> {
        value.map(|value| value.to_string().into_bytes()).unwrap_or_default()
    }
    Ok(match name {
        'A' => text(message.topic_alias),
        'C' => text(message.content_type.as_ref()),
        'D' => message.correlation_data.clone().unwrap_or_default(),
        'E' => text(message.expiry_s),
        'F' => text(message.payload_format),
        'I' => at.iso8601().into_bytes(),
        'J' => json::object(message, at, true)?.into_bytes(),
        'j' => json::object(message, at, false)?.into_bytes(),
        'l' => text(Some(message.payload.len())),
        'm' => text(Some(message.packet_id)),
        'P' => {
            let pairs: Vec<String> =
                message.user_properties.iter().map(|(key, value)| format!("{key}:{value}")).collect();
            pairs.join(" ").into_bytes()
        }
        'p' => message.payload.clone(),
        'q' => text(Some(message.qos as u8)),
        'R' => text(message.response_topic.as_ref()),
        'r' => text(Some(u8::from(message.retain))),
        'S' => {
            let ids: Vec<String> = message.subscription_ids.iter().map(u32::to_string).collect();
            ids.join(" ").into_bytes()
        }
        't' => message.topic.clone().into_bytes(),
        'U' => format!("{}.{:09}", at.unix_s, at.nanoseconds).into_bytes(),
        'X' => message.payload.iter().flat_map(|byte| format!("{byte:02X}").into_bytes()).collect(),
        'x' => message.payload.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect(),
        _ => Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ravelin_mqtt::QoS;

    fn message() -> Message {
        Message {
            topic: "site/1".into(),
            payload: vec![b'o', b'k', 0xAB],
            qos: QoS::ExactlyOnce,
            retain: true,
            packet_id: 9,
            expiry_s: Some(60),
            content_type: Some("text/plain".into()),
            response_topic: Some("r".into()),
            correlation_data: Some(b"c".to_vec()),
            payload_format: Some(1),
            topic_alias: Some(4),
            subscription_ids: vec![5],
            user_properties: vec![("k".into(), "v".into()), ("k".into(), "w".into())],
            ..Message::default()
        }
    }

    fn shown(format: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let format = Format::parse(format, false).unwrap();
        format.write(&mut out, &message(), Moment::from_unix(1_795_503_240, 5)).unwrap().unwrap();
        out
    }

    #[test]
    fn every_field() {
        assert_eq!(
            shown("%A|%C|%D|%E|%F|%l|%m|%P|%q|%R|%r|%S|%t|%x|%X|%%"),
            b"4|text/plain|c|60|1|3|9|k:v k:w|2|r|1|5|site/1|6f6bab|6F6BAB|%"
        );
        assert_eq!(shown("%p"), [b'o', b'k', 0xAB]);
        assert_eq!(shown("%I %U"), b"2026-11-24T06:54:00+0000 1795503240.000000005");
    }

    #[test]
    fn absent_properties_are_empty() {
        let mut out = Vec::new();
        let format = Format::parse("[%A%C%D%E%F%P%R%S]", true).unwrap();
        format.write(&mut out, &Message::default(), Moment::from_unix(0, 0)).unwrap().unwrap();
        assert_eq!(out, b"[]\n");
    }

    #[test]
    fn widths_pad_and_cut() {
        assert_eq!(shown("[%8t][%-8t][%.4t][%8.4t]"), b"[  site/1][site/1  ][site][    site]");
        assert_eq!(shown("[%05l][%-05l][%5m]"), b"[00003][3    ][    9]");
    }

    #[test]
    fn escapes_and_times() {
        assert_eq!(shown(r"\\\0\a\e\n\r\t\v@@@Y-@m"), b"\\\0\x07\x1b\n\r\t\x0b@2026-11");
    }

    #[test]
    fn wrong_formats_say_what_is_wrong() {
        for (format, part) in [
            ("%z", "unknown field %z"),
            ("%", "ends after %"),
            ("%5", "ends after %"),
            (r"\q", r"unknown escape \q"),
            ("@!", "unknown time conversion @!"),
            ("%99999t", "width over"),
        ] {
            let Err(Error::Usage(why)) = Format::parse(format, true) else { panic!("{format} was accepted") };
            assert!(why.contains(part), "{format}: {why}");
        }
    }

    #[test]
    fn payload_that_is_not_json_leaves_the_message_out() {
        let mut out = Vec::new();
        let written =
            Format::parse("%J", true).unwrap().write(&mut out, &message(), Moment::from_unix(0, 0)).unwrap();
        assert_eq!(written, Err("the payload on topic site/1 is not valid JSON".into()));
        assert!(out.is_empty());
    }
}
