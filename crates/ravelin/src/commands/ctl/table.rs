//! Tables for people: aligned columns, and nothing in them that could drive a terminal.

use std::fmt;

/// Longest cell that is shown whole.
const CELL_MAX: usize = 64;

/// Rows below a header.
pub struct Table {
    rows: Vec<Vec<String>>,
    header: bool,
}

impl Table {
    /// A table with these columns.
    pub fn new(columns: &[&str]) -> Table {
        Table { rows: vec![columns.iter().map(|name| (*name).to_owned()).collect()], header: true }
    }

    /// Names and their values, below each other.
    pub fn pairs() -> Table {
        Table { rows: Vec::new(), header: false }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl fmt::Display>) {
        self.rows.push(cells.into_iter().map(|cell| shortened(&plain(&cell.to_string()))).collect());
    }

    /// Adds a name and its value, which is shown whole.
    pub fn pair(&mut self, name: &str, value: impl fmt::Display) {
        self.rows.push(vec![name.to_owned(), plain(&value.to_string())]);
    }

    /// The same table with these rows.
    pub fn with<R: IntoIterator<Item = String>>(mut self, rows: impl IntoIterator<Item = R>) -> Table {
        for row in rows {
            self.row(row);
        }
        self
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let last = row.len().saturating_sub(1);
            for (index, cell) in row.iter().enumerate() {
                let pad = if index == last { 0 } else { widths[index] + 2 - cell.chars().count() };
                write!(f, "{cell}{:pad$}", "")?;
            }
            writeln!(f)?;
        }
        if self.header && self.rows.len() == 1 {
            writeln!(f, "(none)")?;
        }
        Ok(())
    }
}

/// Text without what could move a cursor, ring a bell or turn the direction of what follows.
pub fn plain(text: &str) -> String {
    let bad = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
    };
    text.chars().map(|c| if bad(c) { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}

fn shortened(text: &str) -> String {
    let line = text.replace('\n', "\\n");
    if line.chars().count() <= CELL_MAX {
        return line;
    }
    let kept: String = line.chars().take(CELL_MAX - 1).collect();
    format!("{kept}…")
}

/// Milliseconds since the Unix epoch, as RFC 3339 in UTC to the second.
pub fn time(ms: u64) -> String {
    let record = ravelin_event::Record::new(ms, ravelin_event::Event::Stopped { sessions: 0 });
    let mut line = String::new();
    ravelin_node::log::format_record(&mut line, ravelin_node::log::Format::Text, &record);
    match line.split('.').next() {
        Some(seconds) => format!("{seconds}Z"),
        None => ms.to_string(),
    }
}

/// A value, or a dash.
pub fn or_dash<T: fmt::Display>(value: &Option<T>) -> String {
    value.as_ref().map_or_else(|| "-".into(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_cells_cannot_drive_a_terminal() {
        let mut table = Table::new(&["CLIENT", "QUEUED"]);
        table.row(["a\u{1b}[2Jb", "1"]);
        table.row(["é\nx", "22"]);
        let text = table.to_string();
        assert_eq!(text, "CLIENT       QUEUED\na\\u{1b}[2Jb  1\né\\nx         22\n");
        assert!(Table::new(&["A"]).to_string().ends_with("(none)\n"));
        assert_eq!(shortened(&"x".repeat(100)).chars().count(), CELL_MAX);
    }

    #[test]
    fn times_are_readable() {
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(1_795_521_600_123), "2026-11-24T12:00:00Z");
    }
}
