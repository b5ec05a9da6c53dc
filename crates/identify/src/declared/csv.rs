//! Declarations as CSV (RFC 4180): one line of field names, then a device a line. The entries of a list are separated by `;`.

use super::fields::{Draft, is_list, texts};
use super::{Declared, FIELDS};
use crate::error::{Error, Place};
use std::collections::BTreeSet;

/// Reads declarations.
///
/// # Errors
///
/// [`Error::Import`] with the line, the column and the field of the first thing that is wrong. Nothing is taken then.
pub fn import_csv(text: &str) -> Result<Vec<Declared>, Error> {
    // A byte order mark, as spreadsheets write it.
    let mut reader = Reader { rest: text.strip_prefix('\u{FEFF}').unwrap_or(text), line: 1, column: 1 };
    let header = reader.row()?.unwrap_or_default();
    let fields = header_fields(&header)?;
    let (mut devices, mut names) = (Vec::new(), BTreeSet::new());
    while let Some(row) = reader.row()? {
        // An empty line, as at the end of many files.
        if let [only] = &row[..]
            && only.text.is_empty()
        {
            continue;
        }
        let line = row[0].line;
        if row.len() != fields.len() {
            let what = format!("{} values where the first line names {} fields", row.len(), fields.len());
            return Err(Error::Import { place: Place { line, ..Place::default() }, what });
        }
        let declared = device(&fields, &row)?;
        if !names.insert(declared.name.clone()) {
            let place = Place { line, column: 0, field: "name".into() };
            return Err(Error::Import { place, what: format!("{:?} is there twice", declared.name) });
        }
        devices.push(declared);
    }
    Ok(devices)
}

fn header_fields(header: &[Cell]) -> Result<Vec<String>, Error> {
    let mut fields: Vec<String> = Vec::new();
    for cell in header {
        let name = cell.text.trim();
        let wrong = |what: String| Err(Error::Import { place: cell.place(name), what });
        if !FIELDS.contains(&name) {
            return wrong(format!("is not a field; there are {}", FIELDS.join(", ")));
        }
        if fields.iter().any(|field| field == name) {
            return wrong("is there twice".into());
        }
        fields.push(name.to_owned());
    }
    if !fields.iter().any(|field| field == "name") {
        let place = Place { line: 1, column: 0, field: "name".into() };
        return Err(Error::Import { place, what: "the first line must name it".into() });
    }
    Ok(fields)
}

fn device(fields: &[String], row: &[Cell]) -> Result<Declared, Error> {
    let mut draft = Draft::default();
    for (field, cell) in fields.iter().zip(row) {
        let text = cell.text.trim();
        let values: Vec<String> = match is_list(field) {
            true => text.split(';').map(|entry| entry.trim().to_owned()).collect(),
            false => vec![text.to_owned()],
        };
        draft.set(field, &values).map_err(|what| Error::Import { place: cell.place(field), what })?;
    }
    draft.finish().map_err(|(field, what)| {
        let column = fields.iter().position(|name| name == field).map_or(0, |index| row[index].column);
        Error::Import { place: Place { line: row[0].line, column, field: field.into() }, what }
    })
}

/// Writes declarations so that [`import_csv`] reads the same.
pub fn export_csv<'a>(devices: impl Iterator<Item = &'a Declared>) -> String {
    let fields: Vec<&str> = FIELDS.into_iter().filter(|field| *field != "note").collect();
    let mut text = fields.join(",");
    text.push_str("\r\n");
    for declared in devices {
        for (index, field) in fields.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            write_cell(&texts(declared, field).join(";"), &mut text);
        }
        text.push_str("\r\n");
    }
    text
}

fn write_cell(cell: &str, text: &mut String) {
    if !cell.contains([',', '"', '\r', '\n']) {
        return text.push_str(cell);
    }
    text.push('"');
    text.push_str(&cell.replace('"', "\"\""));
    text.push('"');
}

struct Cell {
    text: String,
    line: usize,
    column: usize,
}

impl Cell {
    fn place(&self, field: &str) -> Place {
        Place { line: self.line, column: self.column, field: field.to_owned() }
    }
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
    column: usize,
}

impl Reader<'_> {
    /// The next row; `None` at the end.
    fn row(&mut self) -> Result<Option<Vec<Cell>>, Error> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let mut row = Vec::new();
        loop {
            let (line, column) = (self.line, self.column);
            let text = if self.peek() == Some('"') { self.quoted()? } else { self.plain()? };
            row.push(Cell { text, line, column });
            match self.next() {
                Some(',') => {}
                Some('\r') if self.peek() == Some('\n') => {
                    self.next();
                    return Ok(Some(row));
                }
                Some('\n') | None => return Ok(Some(row)),
                Some(other) => return self.wrong(format!("{other:?} after the end of a quoted value")),
            }
        }
    }

    fn quoted(&mut self) -> Result<String, Error> {
        let (line, column) = (self.line, self.column);
        self.next();
        let mut text = String::new();
        loop {
            match self.next() {
                Some('"') if self.peek() == Some('"') => {
                    self.next();
                    text.push('"');
                }
                Some('"') => return Ok(text),
                Some(character) => text.push(character),
                None => {
                    let place = Place { line, column, field: String::new() };
                    return Err(Error::Import { place, what: "a quoted value without its end".into() });
                }
            }
        }
    }

    fn plain(&mut self) -> Result<String, Error> {
        let mut text = String::new();
        while let Some(character) = self.peek() {
            match character {
                ',' | '\n' => break,
                '\r' if self.rest[1..].starts_with('\n') => break,
                '"' => {
                    return self
                        .wrong("a quotation mark within a value: quote the whole and double it".into());
                }
                _ => text.extend(self.next()),
            }
        }
        Ok(text)
    }

    fn wrong<T>(&self, what: String) -> Result<T, Error> {
        Err(Error::Import {
            place: Place { line: self.line, column: self.column, field: String::new() },
            what,
        })
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let character = self.peek()?;
        self.rest = &self.rest[character.len_utf8()..];
        match character {
            '\n' => (self.line, self.column) = (self.line + 1, 1),
            _ => self.column += 1,
        }
        Some(character)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreadsheets_are_read() {
        let text = "\u{FEFF}name,owner,networks,latitude,longitude,note\r\nmeter1,\"Grid, \"\"North\"\"\",10.1.0.0/16; 10.2.0.0/16,48.2,16.37,x\r\n\r\nmeter2,,,,,\n";
        let devices = import_csv(text).unwrap();
        assert_eq!(devices.len(), 2);
        assert_eq!(devices[0].owner.as_deref(), Some("Grid, \"North\""));
        assert_eq!(devices[0].networks.len(), 2);
        assert_eq!(devices[1], Declared::named("meter2"));
    }

    #[test]
    fn an_error_names_line_column_and_field() {
        for (text, expected) in [
            (
                "name,networks\nm1,10.0.0.0/8\nm2,10.0.0.0/99\n",
                "line 3, column 4, field \"networks\": \"10.0.0.0/99\" is not a network such as 10.0.0.0/8 or 2001:db8::/32",
            ),
            ("name,colour\nm1,red\n", "line 1, column 6, field \"colour\": is not a field; there are"),
            ("name,owner\nm1\n", "line 2: 1 values where the first line names 2 fields"),
            ("name,owner\nm1,\"a\n\nb\n", "line 2, column 4: a quoted value without its end"),
            ("name,latitude\nm1,48\n", "line 2, field \"longitude\": is missing beside latitude"),
            ("name\nm1\nm1\n", "line 3, field \"name\": \"m1\" is there twice"),
            ("owner\nx\n", "line 1, field \"name\": the first line must name it"),
            ("", "line 1, field \"name\""),
            ("name,state\nm1,active\n", "line 2, column 4, field \"state\": active cannot be declared"),
            (
                "name,publishes\nm1,a/#/b\n",
                "line 2, column 4, field \"publishes\": \"a/#/b\" is not a topic filter",
            ),
            ("name,owner\nm1,a\"b\n", "line 2, column 5: a quotation mark within a value"),
            ("name,owner\n\"m1\"x,a\n", "line 2, column 6: 'x' after the end of a quoted value"),
        ] {
            let error = import_csv(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text:?}: {error}");
        }
    }
}
