//! Event logs in CSV: a header, then one event a row, in the order of time.
//!
//! The columns are found by their names: `t` (seconds since the Unix epoch, with a fraction), `conn`, `src` and `ev` must be
//! there; `sport`, `dir` (`c` from the client, `b` from the broker), `client`, `user`, `keepalive`, `clean`, `will`, `qos`,
//! `retain`, `dup`, `mid`, `topic`, `plen`, `pay`, `code` and `label` may be; others are not looked at. Quotes are those of
//! RFC 4180.

use crate::{Error, Place, Row, Sink, Warning, What};
use std::borrow::Cow;
use std::io::BufRead;
use std::net::{IpAddr, SocketAddr};

/// A row may be so long, in bytes: a topic has 64 KiB at most.
const ROW_BYTES_MAX: usize = 256 << 10;
/// Columns that a table may have.
const COLUMNS_MAX: usize = 256;

/// The columns that are read, in the order of [`Columns`].
const NAMES: [&str; 20] = [
    "t",
    "conn",
    "src",
    "sport",
    "ev",
    "dir",
    "client",
    "user",
    "keepalive",
    "clean",
    "will",
    "qos",
    "retain",
    "dup",
    "mid",
    "topic",
    "plen",
    "pay",
    "code",
    "label",
];
/// Those without which a row says nothing.
const NEEDED: [&str; 4] = ["t", "conn", "src", "ev"];

/// Where each of [`NAMES`] is in a row.
type Columns = [Option<usize>; NAMES.len()];

/// Reads a table to its end.
pub(crate) fn read(input: impl BufRead, sink: &mut impl Sink) -> Result<(), Error> {
    let mut table = Table { input, line: 0, record: Vec::new(), fields: Vec::new(), unquoted: Vec::new() };
    let columns = header(&mut table)?;
    let mut address = Address::default();
    let (mut read, mut odd) = (0_u64, 0_u64);
    let (column, what) = loop {
        let (column, what) = match table.next_record()? {
            Record::End if read > 0 => return Ok(()),
            Record::End if odd > 0 => {
                let line = table.line;
                let what = format!("line {line}: the table ends, and not one of {odd} rows could be read");
                return Err(Error::Unknown(what));
            }
            Record::End => break ("", "the table ends: it has a header, and no row".into()),
            Record::Empty => continue,
            Record::Odd(what) => ("", what.into()),
            Record::Fields => {
                let text = table.text();
                let fields = Fields { text: &text, ends: &table.fields, columns: &columns };
                match row(&fields, &mut address) {
                    Ok((row, label)) => {
                        read += 1;
                        sink.row(&row, label);
                        continue;
                    }
                    Err(wrong) => wrong,
                }
            }
        };
        odd += 1;
        sink.warn(Warning { place: Place::Line(table.line), column, what });
    };
    sink.warn(Warning { place: Place::Line(table.line), column, what });
    Ok(())
}

fn header(table: &mut Table<impl BufRead>) -> Result<Columns, Error> {
    let mut columns = Columns::default();
    if let Record::Fields = table.next_record()? {
        let text = table.text();
        let mut start = 0;
        for (place, &end) in table.fields.iter().enumerate() {
            let name = text.get(start..end).unwrap_or_default().trim().trim_start_matches('\u{feff}');
            if let Some(column) = NAMES.iter().position(|known| *known == name) {
                columns[column].get_or_insert(place);
            }
            start = end + 1;
        }
    }
    let missing: Vec<&str> = NEEDED
        .into_iter()
        .filter(|needed| NAMES.iter().position(|name| name == needed).is_none_or(|at| columns[at].is_none()))
        .collect();
    if missing.is_empty() {
        return Ok(columns);
    }
    Err(Error::Unknown(format!(
        "line 1: a table of events begins with the names of its columns, and {} is not among them; write at least {}",
        missing.join(", "),
        NEEDED.join(",")
    )))
}

/// The last address that was read: it is mostly the same again.
#[derive(Default)]
struct Address {
    text: String,
    parsed: Option<IpAddr>,
}

impl Address {
    fn parse(&mut self, text: &str) -> Option<IpAddr> {
        if self.parsed.is_none() || self.text != text {
            self.parsed = text.parse().ok();
            text.clone_into(&mut self.text);
        }
        self.parsed
    }
}

struct Fields<'a> {
    text: &'a str,
    /// Where each field ends; the next begins one byte later.
    ends: &'a [usize],
    columns: &'a Columns,
}

impl<'a> Fields<'a> {
    /// The field of a column of [`NAMES`]; empty where there is none.
    fn field(&self, column: usize) -> &'a str {
        let Some(at) = self.columns[column] else { return "" };
        let Some(&end) = self.ends.get(at) else { return "" };
        let start = if at == 0 { 0 } else { self.ends[at - 1] + 1 };
        self.text.get(start..end).unwrap_or_default()
    }

    fn number<T: std::str::FromStr + Default>(&self, column: usize) -> Result<T, (&'static str, String)> {
        let field = self.field(column);
        // Most are empty, and need no trimming.
        if field.is_empty() || field.trim().is_empty() {
            return Ok(T::default());
        }
        let field = field.trim();
        field.parse().map_err(|_| (NAMES[column], format!("{} is no number that fits", shown(field))))
    }

    fn flag(&self, column: usize) -> bool {
        matches!(self.field(column), "1" | "true" | "True")
    }
}

fn row<'a>(
    fields: &Fields<'a>,
    address: &mut Address,
) -> Result<(Row<'a>, Option<&'a str>), (&'static str, String)> {
    let at_us = microseconds(fields.field(0))
        .ok_or_else(|| ("t", format!("{} is no time in seconds", shown(fields.field(0)))))?;
    let what = What::parse(fields.field(4))
        .ok_or_else(|| ("ev", format!("{} is no event", shown(fields.field(4)))))?;
    let ip = address
        .parse(fields.field(2))
        .ok_or_else(|| ("src", format!("{} is no address", shown(fields.field(2)))))?;
    let from_client = match fields.field(5) {
        "c" => true,
        "b" => false,
        "" => !matches!(what, What::ConnAck | What::SubAck | What::UnsubAck | What::PingResp),
        other => return Err(("dir", format!("{} is neither c nor b", shown(other)))),
    };
    let connection = fields.field(1);
    let connection =
        connection.parse().map_err(|_| ("conn", format!("{} is no number", shown(connection))))?;
    let mut row = Row::new(at_us, connection, SocketAddr::new(ip, fields.number(3)?), what, from_client);
    row.client_id = fields.field(6);
    row.user_name = fields.field(7);
    row.keep_alive_s = fields.number(8)?;
    row.clean_start = fields.field(9) != "0";
    row.will = fields.flag(10);
    row.qos = fields.number(11)?;
    row.retain = fields.flag(12);
    row.dup = fields.flag(13);
    row.packet_id = fields.number(14)?;
    row.topic = fields.field(15);
    row.payload_len = fields.number(16)?;
    row.payload = fields.field(17).as_bytes();
    row.code = match fields.field(18) {
        "" => None,
        _ => Some(fields.number(18)?),
    };
    Ok((row, fields.columns[19].map(|_| fields.field(19)).filter(|label| !label.is_empty())))
}

/// `1571608802.449277` in microseconds. More digits are cut.
fn microseconds(text: &str) -> Option<u64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        // With an exponent, as some programs write large numbers.
        let value = text.parse::<f64>().ok().filter(|value| (0.0..1e13).contains(value))?;
        return Some((value * 1e6).round() as u64);
    }
    let mut micros: u64 = 0;
    for place in 0..6 {
        micros = micros * 10 + u64::from(fraction.as_bytes().get(place).map_or(0, |digit| digit - b'0'));
    }
    let seconds: u64 = seconds.parse().ok()?;
    seconds.checked_mul(1_000_000)?.checked_add(micros)
}

/// A field in a message: quoted, and not too much of it.
fn shown(field: &str) -> String {
    let mut short: String = field.chars().take(40).collect();
    if short.len() < field.len() {
        short.push('…');
    }
    format!("{short:?}")
}

struct Table<R> {
    input: R,
    /// The line at which the last record ended.
    line: u64,
    record: Vec<u8>,
    /// Where the fields of the last record end.
    fields: Vec<usize>,
    unquoted: Vec<u8>,
}

enum Record {
    Fields,
    Empty,
    Odd(&'static str),
    End,
}

impl<R: BufRead> Table<R> {
    /// Reads one record: a line, or more if a line end is between quotes.
    fn next_record(&mut self) -> Result<Record, Error> {
        self.record.clear();
        self.fields.clear();
        let mut quotes = 0;
        loop {
            let from = self.record.len();
            let (bytes, whole) = self.next_line()?;
            if bytes == 0 && from == 0 {
                return Ok(Record::End);
            }
            self.line += 1;
            if !whole {
                return Ok(Record::Odd("the row is too long, or does not end"));
            }
            quotes += self.scan(from);
            if quotes % 2 == 0 || bytes == 0 {
                break;
            }
        }
        while matches!(self.record.last(), Some(b'\n' | b'\r')) {
            self.record.pop();
        }
        if self.record.is_empty() {
            return Ok(Record::Empty);
        }
        if quotes > 0 {
            self.unquote();
        } else {
            self.fields.push(self.record.len());
        }
        Ok(if self.fields.len() > COLUMNS_MAX { Record::Odd("too many columns") } else { Record::Fields })
    }

    /// Looks at each byte of the line that begins at `from` once: notes its commas, and counts its quotes.
    fn scan(&mut self, from: usize) -> usize {
        let line = &self.record[from..];
        let (mut at, mut quotes) = (0, 0);
        while at < line.len() {
            match line[at] {
                b',' => self.fields.push(from + at),
                b'"' => quotes += 1,
                _ => {}
            }
            at += 1;
        }
        quotes
    }

    /// Appends a line to the record: its bytes, and whether it is whole. Of a longer one the rest is skipped.
    fn next_line(&mut self) -> Result<(usize, bool), Error> {
        let line = self.line;
        let fail = |source| Error::Read { what: format!("the table after line {line}"), source };
        let room = ROW_BYTES_MAX.saturating_sub(self.record.len()) as u64;
        let mut limited = std::io::Read::take(&mut self.input, room);
        let bytes = limited.read_until(b'\n', &mut self.record).map_err(fail)?;
        if self.record.len() < ROW_BYTES_MAX {
            return Ok((bytes, true));
        }
        if self.record.last() != Some(&b'\n') {
            self.input.skip_until(b'\n').map_err(fail)?;
        }
        Ok((bytes, false))
    }

    /// Takes the quotes out of the record, and finds where its fields end.
    fn unquote(&mut self) {
        self.unquoted.clear();
        self.fields.clear();
        let mut inside = false;
        let mut bytes = self.record.iter().copied().peekable();
        while let Some(byte) = bytes.next() {
            match byte {
                b'"' if inside && bytes.peek() == Some(&b'"') => {
                    bytes.next();
                    self.unquoted.push(b'"');
                }
                b'"' => inside = !inside,
                b',' if !inside => {
                    self.fields.push(self.unquoted.len());
                    self.unquoted.push(b',');
                }
                byte => self.unquoted.push(byte),
            }
        }
        self.fields.push(self.unquoted.len());
        std::mem::swap(&mut self.record, &mut self.unquoted);
    }

    fn text(&self) -> Cow<'_, str> {
        match std::str::from_utf8(&self.record) {
            Ok(text) => Cow::Borrowed(text),
            // Another length would move the fields: what is no text becomes one byte that is.
            Err(_) => {
                let ascii = self.record.iter().map(|byte| if byte.is_ascii() { *byte as char } else { '?' });
                Cow::Owned(ascii.collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ravelin_detect::Sight;

    #[derive(Default)]
    struct Kept {
        rows: Vec<(u64, What, String, String, Option<String>)>,
        warnings: Vec<Warning>,
    }

    impl Sink for Kept {
        fn row(&mut self, row: &Row<'_>, label: Option<&str>) {
            self.rows.push((
                row.at_us,
                row.what,
                row.client_id.into(),
                row.topic.into(),
                label.map(ToString::to_string),
            ));
        }

        fn sight(&mut self, _: u64, _: Sight) {}

        fn warn(&mut self, warning: Warning) {
            self.warnings.push(warning);
        }
    }

    fn kept(text: &[u8]) -> Kept {
        let mut kept = Kept::default();
        read(text, &mut kept).unwrap();
        kept
    }

    const HEADER: &str = "t,conn,src,sport,ev,dir,client,topic,plen,label\n";

    #[test]
    fn rows_are_read_by_the_names_of_their_columns() {
        let text = format!("{HEADER}1.5,7,10.0.0.1,99,PUBLISH,c,meter,a/b,3,benign\r\n");
        let kept = kept(text.as_bytes());
        assert_eq!(
            kept.rows,
            [(1_500_000, What::Publish, "meter".to_string(), "a/b".to_string(), Some("benign".to_string()))]
        );
        let turned = b"ev,src,conn,t\nOPEN,::1,1,2\n";
        assert_eq!(self::kept(turned).rows[0].1, What::Open);
    }

    #[test]
    fn an_odd_row_is_named_by_line_and_column_and_the_next_is_read() {
        let text = format!(
            "{HEADER}x,7,10.0.0.1,9,OPEN,c,,,,\n1,7,10.0.0,9,OPEN,c,,,,\n1,7,10.0.0.1,99999,OPEN,c,,,,\n\
             1,7,10.0.0.1,9,HELLO,c,,,,\n1,7,10.0.0.1,9,OPEN,q,,,,\n\n2,7,10.0.0.1,9,OPEN,c,,,,\n"
        );
        let kept = kept(text.as_bytes());
        let places: Vec<_> = kept.warnings.iter().map(|warning| (warning.place, warning.column)).collect();
        let expected = [(2, "t"), (3, "src"), (4, "sport"), (5, "ev"), (6, "dir")];
        assert_eq!(places, expected.map(|(line, column)| (Place::Line(line), column)));
        assert_eq!(kept.rows.len(), 1);
    }

    #[test]
    fn quotes_hold_commas_quotes_and_line_ends() {
        let text = format!(
            "{HEADER}1,7,10.0.0.1,9,PUBLISH,c,\"a,\"\"b\"\"\",\"x\ny\",3,\n2,7,10.0.0.1,9,OPEN,c,,,,\n"
        );
        let kept = kept(text.as_bytes());
        assert_eq!((kept.rows[0].2.as_str(), kept.rows[0].3.as_str()), ("a,\"b\"", "x\ny"));
        assert_eq!(kept.rows.len(), 2);
    }

    #[test]
    fn bytes_that_are_no_text_do_not_end_the_reading() {
        let mut text = HEADER.as_bytes().to_vec();
        text.extend_from_slice(b"1,7,10.0.0.1,9,PUBLISH,c,a\xff\xfe,t,3,\n2,7,10.0.0.1,9,OPEN,c,,,,");
        let kept = kept(&text);
        assert_eq!(kept.rows[0].2, "a??");
        assert_eq!(kept.rows.len(), 2);
    }

    #[test]
    fn a_row_without_end_is_left_out_in_bounded_memory() {
        let mut text = HEADER.as_bytes().to_vec();
        text.extend(std::iter::repeat_n(b'x', ROW_BYTES_MAX * 3));
        text.extend_from_slice(b"\n2,7,10.0.0.1,9,OPEN,c,,,,\n");
        let kept = kept(&text);
        assert_eq!((kept.warnings.len(), kept.rows.len()), (1, 1));
    }

    #[test]
    fn a_table_without_its_header_is_refused_with_what_is_missing() {
        let error = read(&b"1,2,3\n"[..], &mut Kept::default()).unwrap_err().to_string();
        assert!(error.starts_with("line 1") && error.contains("t, conn, src, ev"), "{error}");
    }

    #[test]
    fn times_have_six_places() {
        assert_eq!(microseconds("12.3456789"), Some(12_345_678));
        assert_eq!(microseconds("12"), Some(12_000_000));
        assert_eq!(microseconds("1.5e3"), Some(1_500_000_000));
        assert_eq!(microseconds("-1"), None);
        assert_eq!(microseconds("99999999999999999999"), None);
    }
}
