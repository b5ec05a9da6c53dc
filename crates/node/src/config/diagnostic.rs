//! What is wrong with a configuration: where, what, and what to do.

use super::FILE_NAME;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Largest configuration file.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration can be used.
    Warning,
    /// It cannot.
    Error,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The file.
    pub file: String,
    /// The line, from 1; 0 is the file as a whole.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// How many characters are meant.
    pub width: usize,
    /// The line's text; empty where it could hold a secret.
    pub source_line: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub help: String,
}

impl Diagnostic {
    /// The configuration key on the line that is meant, if it is one.
    pub fn key(&self) -> Option<&str> {
        self.source_line.split_once('=').map(|(key, _)| key.trim())
    }

    /// The file, and the line if one is meant.
    pub fn place(&self) -> String {
        match self.line {
            0 => self.file.clone(),
            line => format!("{}:{line}", self.file),
        }
    }

    /// An error of a file as a whole.
    pub fn error(file: String, what: String, help: &str) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            file,
            line: 0,
            column: 0,
            width: 0,
            source_line: String::new(),
            what,
            help: help.into(),
        }
    }
}

/// As a compiler shows it: the place, the line with a caret, what to do.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{kind}: {}\n  --> {}", self.what, self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.source_line.is_empty() {
            let number = self.line.to_string();
            let margin = " ".repeat(number.len());
            // Tabs stay tabs, so that the caret stands under what it points at.
            let before: String = self.source_line.chars().take(self.column.saturating_sub(1)).collect();
            let indent: String = before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            let carets = "^".repeat(self.width.max(1));
            write!(f, "\n {margin} |\n {number} | {}\n {margin} | {indent}{carets}", self.source_line)?;
        }
        if self.help.is_empty() { Ok(()) } else { write!(f, "\n  help: {}", self.help) }
    }
}

/// Everything that is wrong: at least one error, and the warnings that came with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<Diagnostic>);

impl ConfigErrors {
    pub(super) fn of(diagnostic: Diagnostic) -> ConfigErrors {
        ConfigErrors(vec![diagnostic])
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            diagnostic.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Bytes of the source that are meant.
pub(super) type Place = Range<usize>;

/// The text of a configuration and what it is called.
#[derive(Debug)]
pub(super) struct Source {
    pub name: String,
    pub text: String,
}

impl Source {
    /// The file at `path`, or [`FILE_NAME`] in the directory at `path`, and the directory that it is in. `help` is said if
    /// it cannot be read.
    pub fn load(path: &Path, help: &str) -> Result<(Arc<Source>, PathBuf), ConfigErrors> {
        let path = if path.is_dir() { path.join(FILE_NAME) } else { path.to_path_buf() };
        let name = path.display().to_string();
        let text = ravelin_protect::file::read_text(&path, FILE_BYTES_MAX)
            .map_err(|error| ConfigErrors::of(Diagnostic::error(name.clone(), error.to_string(), help)))?;
        let base = path.parent().unwrap_or(Path::new("")).to_path_buf();
        Ok((Arc::new(Source::new(&name, &text)), base))
    }

    pub fn new(name: &str, text: &str) -> Source {
        Source { name: name.into(), text: text.into() }
    }

    pub fn diagnostic(
        &self,
        severity: Severity,
        place: Option<&Place>,
        what: String,
        help: &str,
    ) -> Diagnostic {
        let mut diagnostic = Diagnostic::error(self.name.clone(), what, help);
        diagnostic.severity = severity;
        let Some(place) = place else { return diagnostic };
        let mut start = place.start.min(self.text.len());
        while !self.text.is_char_boundary(start) {
            start -= 1;
        }
        let line_start = self.text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = self.text[start..].find('\n').map_or(self.text.len(), |at| start + at);
        let line = self.text[line_start..line_end].trim_end_matches('\r');
        let width = self.text.get(start..place.end.clamp(start, line_end.max(start)));
        diagnostic.line = self.text[..start].matches('\n').count() + 1;
        diagnostic.column = self.text[line_start..start].chars().count() + 1;
        diagnostic.width = width.map_or(1, |text| text.chars().count().max(1));
        // A line that is too long to be shown is not, nor is what would move the cursor of whoever reads it.
        if line.chars().count() <= 200 && !line.contains(|c: char| c.is_control() && c != '\t') {
            diagnostic.source_line = line.into();
        }
        diagnostic
    }
}
